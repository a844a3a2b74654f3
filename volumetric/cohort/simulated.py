"""The files of simulated subjects: their names, images, and rows of the manifest."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from volumetric.batch.subjects import LoadedT
from volumetric.errors import InputError
from volumetric.imaging.header import ImageError
from volumetric.imaging.nifti import Image, read_image, write_image
from volumetric.manifest import ManifestRow
from volumetric.records.record import Record
from volumetric.records.settings import PhantomSettings
from volumetric.simulation.scan import SimulatedScan

DrawnT = TypeVar("DrawnT")
SubjectT = TypeVar("SubjectT")

IMAGES = ("t1w", "t2w", "mask", "tissues", "lesions")

SPLIT_OF = ("train", "test", "train", "val", "train", "test", "train", "test")
"""Split of anatomy k, by k modulo 8: any four have all three, and sixteen have 8, 2 and 6."""


class PhantomError(InputError):
    """A simulated cohort that cannot be made."""


def split_of(anatomy: int) -> str:
    """The split of anatomy k, the same in a cohort of any size."""
    return SPLIT_OF[anatomy % len(SPLIT_OF)]


@dataclass(frozen=True)
class CohortTask(ABC, Generic[LoadedT, DrawnT, SubjectT]):
    """Makes subject k of the cohort that starts from `seed` and writes it into `out`.

    Attributes:
        out: folder of the cohort.
        seed: of the cohort.
        spacing_mm: of the isotropic grids.
    """

    out: Path
    seed: int
    spacing_mm: float

    def name(self, item: int) -> str:
        """`sim003` for 3."""
        return f"sim{item:03d}"

    def paths(self, item: int) -> dict[str, Path]:
        """The files of a subject."""
        return {image: self.out / self.name(item) / f"{image}.nii.gz" for image in IMAGES}

    def order(self, subjects: int) -> Sequence[int]:
        """The subjects of a cohort in the order in which they are made."""
        return range(subjects)

    def finished(self, item: int) -> SubjectT | None:
        """The drawn numbers, if all files are whole; the settings of the folder say that they are the right ones."""
        try:
            for path in self.paths(item).values():
                read_image(path)
        except ImageError:
            return None
        return self.recorded(item, self.drawn(item))

    def write(self, item: int, result: tuple[DrawnT, SimulatedScan]) -> SubjectT:
        """Write the five images."""
        drawn, scan = result
        for image, path in self.paths(item).items():
            write_image(path, Image(getattr(scan, image), scan.space.affine))
        return self.recorded(item, drawn)

    def row(self, item: int, subject: SubjectT) -> ManifestRow:
        """The subject's row of the manifest."""
        paths, covariates = self.paths(item), self.covariates(subject)
        return ManifestRow(self.name(item), split=self.split(item), paths=paths, covariates=covariates)

    def split(self, item: int) -> str:
        """Split of a subject, the same in a cohort of any size."""
        return split_of(item)

    @abstractmethod
    def settings(self) -> PhantomSettings:
        """The settings that the folder is begun with."""

    @abstractmethod
    def drawn(self, item: int) -> DrawnT:
        """The drawn numbers, which depend on seed and k alone."""

    @abstractmethod
    def read(self, item: int) -> LoadedT:
        """The anatomy that the subject is made from."""

    @abstractmethod
    def compute(self, item: int, loaded: LoadedT) -> tuple[DrawnT, SimulatedScan]:
        """Simulate the scans."""

    @abstractmethod
    def recorded(self, item: int, drawn: DrawnT) -> SubjectT:
        """The drawn numbers as `phantom.json` holds them."""

    @abstractmethod
    def covariates(self, subject: SubjectT) -> dict[str, str]:
        """Columns of the manifest besides the files."""

    @abstractmethod
    def record(
        self, settings: PhantomSettings, versions: Mapping[str, str], subjects: Mapping[str, SubjectT]
    ) -> Record:
        """The content of `phantom.json`."""
