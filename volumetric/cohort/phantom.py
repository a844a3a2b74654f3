"""The simulated cohort on disk: its subjects, their files, the manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from volumetric.batch.subjects import Outcome, run_subjects
from volumetric.errors import InputError
from volumetric.imaging.header import ImageError
from volumetric.imaging.nifti import Image, read_image, write_image
from volumetric.manifest import ManifestRow, write_manifest
from volumetric.outputs import locked, versions
from volumetric.records.record import Record
from volumetric.records.settings import PhantomSettings
from volumetric.simulation.scan import SimulatedScan, SubjectParameters, draw_subject, simulate
from volumetric.simulation.template import load_template

RECIPE = 1
"""Raised whenever the same seed begins to give other images, so that two recipes never mix in one folder."""

SPLIT_OF = ("train", "test", "train", "val", "train", "test", "train", "test")
"""Split of subject k, by k modulo 8: any four have all three, and sixteen have 8, 2 and 6."""

IMAGES = ("t1w", "t2w", "mask", "tissues", "lesions")
SPACING_LIMITS_MM = (0.5, 4.0)


class PhantomError(InputError):
    """A simulated cohort that cannot be made."""


@dataclass(frozen=True)
class PhantomSubject(SubjectParameters):
    """The drawn numbers of a subject, and how many lesions that makes."""

    num_lesions: int


class PhantomRecord(Record):
    """`phantom.json`: every number that was drawn for a simulated cohort.

    Attributes:
        settings: of the cohort.
        versions: of the packages that made it.
        subjects: the drawn numbers by subject id.
    """

    REMEDY: ClassVar[str] = "repeat `volumetric phantom`, which writes it again"

    settings: PhantomSettings
    versions: Mapping[str, str]
    subjects: Mapping[str, PhantomSubject]


def phantom(out: Path, *, subjects: int = 16, seed: int = 0, spacing_mm: float = 2.0, fresh: bool = False) -> Path:
    """Make a simulated cohort: paired T1w and T2w with mask, tissues, lesions and a manifest.

    Repeating the call continues; a larger number adds subjects and leaves the others as they are.

    Args:
        out: folder to write: `simNNN/{t1w,t2w,mask,tissues,lesions}.nii.gz`, `manifest.csv`, `settings.json`, and
            `phantom.json` with every number that was drawn.
        subjects: number of subjects.
        seed: subject k of a seed is the same, its split included, in a cohort of any size.
        spacing_mm: of the isotropic grids, 0.5 to 4.
        fresh: delete the files of an earlier call, and start over.

    Returns:
        The manifest.

    Raises:
        PhantomError: an argument that makes no sense, or a subject that could not be written.
        OutputError: `out` holds a cohort of another seed or spacing and `fresh` is not set.
    """
    _check(subjects, seed, spacing_mm)
    settings = PhantomSettings(seed=seed, spacing_mm=float(spacing_mm), recipe=RECIPE)
    with locked(out):
        if fresh:
            _delete_outputs(out)
        if not settings.began(out):
            settings.begin(out)
        task = PhantomTask(out, seed, float(spacing_mm))
        outcomes = run_subjects(task, range(subjects), title="phantom")
        _raise_failures(outcomes)
        drawn = {outcome.name: outcome.result for outcome in outcomes}
        PhantomRecord(settings=settings, versions=versions(), subjects=drawn).write(out / "phantom.json")
        manifest = out / "manifest.csv"
        write_manifest(manifest, [_manifest_row(task, item, drawn[task.name(item)]) for item in range(subjects)])
    return manifest


@dataclass(frozen=True)
class PhantomTask:
    """Makes subject k of the cohort that starts from `seed` and writes it into `out`."""

    out: Path
    seed: int
    spacing_mm: float

    def name(self, item: int) -> str:
        """`sim003` for 3."""
        return f"sim{item:03d}"

    def paths(self, item: int) -> dict[str, Path]:
        """The files of a subject."""
        return {image: self.out / self.name(item) / f"{image}.nii.gz" for image in IMAGES}

    def parameters(self, item: int) -> tuple[np.random.Generator, SubjectParameters]:
        """The drawn numbers, which depend on seed and k alone, and the generator for the rest."""
        numbers, fields = np.random.default_rng([self.seed, item]).spawn(2)
        return fields, draw_subject(numbers, load_template())

    def finished(self, item: int) -> PhantomSubject | None:
        """The drawn numbers, if all files are whole; the settings of the folder say that they are the right ones."""
        try:
            for path in self.paths(item).values():
                read_image(path)
        except ImageError:
            return None
        return _recorded(self.parameters(item)[1])

    def read(self, item: int) -> tuple[np.random.Generator, SubjectParameters]:
        """The drawn numbers; nothing is read but the template."""
        return self.parameters(item)

    def compute(
        self, item: int, loaded: tuple[np.random.Generator, SubjectParameters]
    ) -> tuple[SubjectParameters, SimulatedScan]:
        """Simulate the scans."""
        rng, parameters = loaded
        return parameters, simulate(rng, parameters, load_template(), self.spacing_mm)

    def write(self, item: int, result: tuple[SubjectParameters, SimulatedScan]) -> PhantomSubject:
        """Write the five images."""
        parameters, scan = result
        for image, path in self.paths(item).items():
            write_image(path, Image(getattr(scan, image), scan.space.affine))
        return _recorded(parameters)


def split_of(item: int) -> str:
    """The split of subject k, the same in a cohort of any size."""
    return SPLIT_OF[item % len(SPLIT_OF)]


def _manifest_row(task: PhantomTask, item: int, subject: PhantomSubject) -> ManifestRow:
    covariates = {"field_strength": str(subject.field_strength)}
    return ManifestRow(task.name(item), split=split_of(item), paths=task.paths(item), covariates=covariates)


def _recorded(parameters: SubjectParameters) -> PhantomSubject:
    return PhantomSubject(**vars(parameters), num_lesions=len(parameters.lesions.centers_mm))


def _check(subjects: int, seed: int, spacing_mm: float) -> None:
    low, high = SPACING_LIMITS_MM
    if subjects < 1:
        raise PhantomError(f"a cohort of {subjects} subjects: expected at least 1; give --subjects 16")
    if seed < 0:
        raise PhantomError(f"seed {seed}: expected a whole number from 0 on; give --seed 0")
    if not low <= spacing_mm <= high:
        raise PhantomError(f"a spacing of {spacing_mm:g} mm: expected {low:g} to {high:g}; give --spacing-mm 2")


def _delete_outputs(out: Path) -> None:
    # Only what this module writes, and from larger cohorts too: their subjects would pass for finished ones later.
    for image in IMAGES:
        for path in out.glob(f"sim[0-9]*/{image}.nii.gz"):
            path.unlink()
    for name in ("manifest.csv", "phantom.json", "settings.json"):
        (out / name).unlink(missing_ok=True)


def _raise_failures(outcomes: Sequence[Outcome[PhantomSubject]]) -> None:
    failed = [f"{outcome.name} ({outcome.error})" for outcome in outcomes if outcome.status == "failed"]
    if failed:
        raise PhantomError(
            f"{len(failed)} of {len(outcomes)} subjects failed: {', '.join(failed)}; mend the cause and repeat the call"
        )
