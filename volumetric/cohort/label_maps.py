"""Subjects that are simulated from a folder of label maps."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from volumetric.cohort.label_map_record import LabelMapCohortRecord, LabelMapSubject
from volumetric.cohort.rendering import render_scan
from volumetric.cohort.simulated import CohortTask, PhantomError, split_of
from volumetric.config.choices import MaskKind
from volumetric.config.simulation import SimulationConfig
from volumetric.imaging.nifti import SUFFIXES, read_labels, stem
from volumetric.manifest import SPLITS
from volumetric.outputs import hash_file
from volumetric.records.settings import LabelMapSettings, PhantomSettings
from volumetric.simulation.artifacts import draw_scale
from volumetric.simulation.draws import draw_pair
from volumetric.simulation.label_map import LabelMap, prepare_label_map
from volumetric.simulation.label_table import LabelTable
from volumetric.simulation.pair import PairSimulation
from volumetric.simulation.parameters import PairParameters
from volumetric.simulation.scan import SimulatedScan
from volumetric.subject import HIGHEST_LABEL

log = logging.getLogger(__name__)

LABEL_MAP_RECIPE = 1
"""Raised whenever the same seed and label map begin to give other images."""

MIN_BRAIN_ML = 100.0
"""Of a label map; that of a newborn has about 350."""

_GET_SOME = "name another with --anatomies, or get some with `volumetric fetch label-maps`"


@dataclass(frozen=True)
class LabelMapFile:
    """A label map on disk, and the hash of its content when the command began."""

    path: Path
    sha256: str


@dataclass(frozen=True)
class LabelMapDraw:
    """The drawn numbers of a subject: those of its pair, and the factors on its T1w and T2w scan."""

    pair: PairParameters
    scales: tuple[float, float]


def find_label_maps(folder: Path) -> tuple[LabelMapFile, ...]:
    """The label maps of a folder in order of name.

    Raises:
        PhantomError: no such folder, none in it, or two of one name with different endings.
    """
    if not folder.is_dir():
        raise PhantomError(f"{folder}: there is no such folder of label maps; {_GET_SOME}")
    paths = sorted(path for path in folder.iterdir() if path.is_file() and _is_named_as_image(path))
    if not paths:
        raise PhantomError(f"{folder}: no label maps (*.nii.gz, *.nii) in this folder; {_GET_SOME}")
    _check_names(paths)
    return tuple(LabelMapFile(path, hash_file(path)) for path in paths)


def _check_names(paths: Sequence[Path]) -> None:
    by_stem: dict[str, Path] = {}
    for path in paths:
        first = by_stem.setdefault(stem(path), path)
        if first is not path:
            raise PhantomError(f"{path.parent}: {first.name} and {path.name} differ in their ending alone; keep one")


def _is_named_as_image(path: Path) -> bool:
    return path.name.endswith(SUFFIXES) and not path.name.startswith(".")


@dataclass(frozen=True)
class LabelMapTask(CohortTask[LabelMap, LabelMapDraw, LabelMapSubject]):
    """Makes subjects from label maps: subject k has map k modulo their number, and the split of that map.

    Attributes:
        label_maps: in order of name.
        table: labels to tissues.
        config: ranges of the drawn numbers.
        region: what the scans hold.
    """

    label_maps: tuple[LabelMapFile, ...]
    table: LabelTable
    config: SimulationConfig
    region: MaskKind

    def settings(self) -> PhantomSettings:
        """The settings of the cohort, with the hash of each label map."""
        label_maps = LabelMapSettings(
            table=Path(self.table.name).name,
            table_sha256=self.table.sha256,
            region=self.region,
            files={file.path.name: file.sha256 for file in self.label_maps},
        )
        return PhantomSettings(
            seed=self.seed, spacing_mm=self.spacing_mm, recipe=LABEL_MAP_RECIPE, label_maps=label_maps
        )

    def order(self, subjects: int) -> Sequence[int]:
        """All subjects of a map one after another, so that it is prepared once."""
        return sorted(range(subjects), key=lambda item: item % len(self.label_maps))

    def split(self, item: int) -> str:
        """Split of the subject's map; maps of equal content are one anatomy."""
        return split_of(self._anatomies.index(self._file(item).sha256))

    def warn_of_empty_splits(self) -> None:
        """Log which splits remain empty whatever the number of subjects."""
        filled = {split_of(anatomy) for anatomy in range(len(self._anatomies))}
        empty = [split for split in SPLITS if split not in filled]
        if empty:
            log.warning(
                "no subject is in %s: all subjects of a label map are in one split, and it takes four maps to fill all",
                " or ".join(empty),
            )

    def drawn(self, item: int) -> LabelMapDraw:
        """The drawn numbers."""
        rng = np.random.default_rng([self.seed, item])
        pair = draw_pair(rng, self.config)
        source, target = rng.spawn(2)  # after those that the pair took, so that it is the one that training draws
        return LabelMapDraw(pair, (draw_scale(source), draw_scale(target)))

    def read(self, item: int) -> LabelMap:
        """The subject's label map, prepared."""
        return _prepared(self._file(item), self.table.name, tuple(self.table.tissue_of.items()))

    def compute(self, item: int, loaded: LabelMap) -> tuple[LabelMapDraw, SimulatedScan]:
        """Simulate the scans."""
        drawn, path = self.drawn(item), self._file(item).path
        if self.region == "head" and not loaded.has_head:
            raise PhantomError(f"{path}: no voxel lies outside the brain and its fluid; give --region brain")
        brain_ml = float((loaded.hull_distance < 0).sum() * np.prod(loaded.space.spacing_mm)) / 1000
        if brain_ml < MIN_BRAIN_ML:
            raise PhantomError(
                f"{path}: the brain has {brain_ml:.3g} ml, expected at least {MIN_BRAIN_ML:g}; correct the voxel size, "
                "or choose another --table"
            )
        simulation = PairSimulation(loaded, drawn.pair, region=self.region)
        return drawn, render_scan(simulation, drawn.scales, self.spacing_mm)

    def recorded(self, item: int, drawn: LabelMapDraw) -> LabelMapSubject:
        """The drawn numbers with the name of the label map."""
        return LabelMapSubject.of(self._file(item).path.name, drawn.pair, drawn.scales)

    def covariates(self, subject: LabelMapSubject) -> dict[str, str]:
        """Field strength, label map and sequences."""
        return {
            "field_strength": str(subject.field_strength),
            "anatomy": stem(Path(subject.anatomy)),
            "t1w_sequence": subject.t1w.sequence,
            "t2w_sequence": subject.t2w.sequence,
        }

    def record(
        self, settings: PhantomSettings, versions: Mapping[str, str], subjects: Mapping[str, LabelMapSubject]
    ) -> LabelMapCohortRecord:
        """The content of `phantom.json`."""
        return LabelMapCohortRecord(settings=settings, versions=versions, subjects=subjects)

    @property
    def _anatomies(self) -> list[str]:
        return list(dict.fromkeys(file.sha256 for file in self.label_maps))

    def _file(self, item: int) -> LabelMapFile:
        return self.label_maps[item % len(self.label_maps)]


@lru_cache(maxsize=1)  # one is about 40 MB and takes seconds; subjects come map by map
def _prepared(file: LabelMapFile, table: str, tissue_of: tuple[tuple[int, str], ...]) -> LabelMap:
    image = read_labels(file.path, HIGHEST_LABEL)
    if image.sha256 != file.sha256:
        raise PhantomError(f"{file.path}: the label map changed while the cohort was made; repeat the call")
    return prepare_label_map(image, LabelTable(table, dict(tissue_of)), name=str(file.path))
