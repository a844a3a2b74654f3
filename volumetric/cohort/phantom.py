"""The simulated cohort on disk: the folder, its settings, record, manifest and preview."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from volumetric.batch.subjects import LoadedT, check_all_done, run_subjects
from volumetric.cohort.label_maps import LabelMapTask, find_label_maps
from volumetric.cohort.preview import PREVIEW_FILE, write_preview
from volumetric.cohort.simulated import IMAGES, CohortTask, DrawnT, PhantomError, SubjectT
from volumetric.config.choices import MaskKind
from volumetric.config.simulation import SimulationConfig
from volumetric.manifest import write_manifest
from volumetric.outputs import check_unclaimed, locked, versions
from volumetric.records.record import Record
from volumetric.records.settings import SETTINGS_FILE, PhantomSettings
from volumetric.simulation.label_table import read_label_table
from volumetric.simulation.scan import SimulatedScan, SubjectParameters, draw_subject, simulate
from volumetric.simulation.template import load_template

RECIPE = 1
"""Raised whenever the same seed begins to give other images, so that two recipes never mix in one folder."""

SPACING_LIMITS_MM = (0.5, 4.0)

_DEFAULTS = SimulationConfig()
_MAX_SUBJECTS = 1_000_000


@dataclass(frozen=True)
class PhantomSubject(SubjectParameters):
    """The drawn numbers of a subject, and how many lesions that makes."""

    num_lesions: int


class PhantomRecord(Record):
    """`phantom.json`: every number that was drawn for a cohort simulated from the template.

    Attributes:
        settings: of the cohort.
        versions: of the packages that made it.
        subjects: the drawn numbers by subject id.
    """

    REMEDY: ClassVar[str] = "repeat `volumetric phantom`, which writes it again"

    settings: PhantomSettings
    versions: Mapping[str, str]
    subjects: Mapping[str, PhantomSubject]


def phantom(
    out: Path,
    *,
    subjects: int = 16,
    seed: int = 0,
    spacing_mm: float = 2.0,
    anatomies: Path | None = None,
    table: str = _DEFAULTS.table,
    region: MaskKind = "brain",
    preview: bool = False,
    fresh: bool = False,
) -> Path:
    """Make a simulated cohort: paired T1w and T2w with mask, tissues, lesions and a manifest.

    Repeating the call continues; a larger number adds subjects and leaves the others as they are.

    Args:
        out: folder to write: `simNNN/{t1w,t2w,mask,tissues,lesions}.nii.gz`, `manifest.csv`, `settings.json`, and
            `phantom.json` with every number that was drawn.
        subjects: number of subjects.
        seed: subject k of a seed is the same, its split included, in a cohort of any size.
        spacing_mm: of the isotropic grids, 0.5 to 4.
        anatomies: folder of label maps, `.nii.gz` or `.nii`: of n maps in order of name, subject k has number k modulo
            n, and all subjects of a map are in one split. None for the average brain that comes with the program.
        table: tissues of their labels: `freesurfer`, `three_tissues`, or a YAML file.
        region: `brain` for scans that are 0 outside the brain, `head` for heads; the mask is the brain's.
        preview: write `preview.png`, a slice of the first twelve subjects.
        fresh: delete the files of an earlier call, and start over.

    Returns:
        The manifest.

    Raises:
        PhantomError: an argument that makes no sense, or no label maps.
        FailedSubjectsError: subjects that could not be made; the others are made, and are in the manifest.
        LabelTableError: no such table, or one that is wrong.
        OutputError: `out` holds a cohort of other settings, or files of others, and `fresh` is not set.
    """
    _check(subjects, seed, spacing_mm)
    if anatomies is None:
        if (table, region) != (_DEFAULTS.table, "brain"):
            raise PhantomError("--table and --region are about label maps; give their folder with --anatomies")
        task = PhantomTask(out, seed, float(spacing_mm))
        return _make(task, subjects, preview=preview, fresh=fresh)
    if region not in ("brain", "head"):
        raise PhantomError(f"--region {region}: expected brain or head")
    config = SimulationConfig(table=table, clean_target=False, motion_probability=0, deface_probability=0)
    label_maps = find_label_maps(anatomies)
    from_maps = LabelMapTask(out, seed, float(spacing_mm), label_maps, read_label_table(table), config, region)
    from_maps.warn_of_empty_splits()
    return _make(from_maps, subjects, preview=preview, fresh=fresh)


def _make(task: CohortTask[LoadedT, DrawnT, SubjectT], subjects: int, *, preview: bool, fresh: bool) -> Path:
    """Make all subjects in the task's folder; returns the manifest."""
    settings = task.settings()
    with locked(task.out):
        if fresh:
            settings.check_own(task.out)
        if fresh and (task.out / SETTINGS_FILE).exists():
            for path in _outputs(task.out):
                path.unlink(missing_ok=True)
        if not settings.began(task.out):
            check_unclaimed(_outputs(task.out))
            settings.begin(task.out)
        return _make_subjects(task, settings, subjects, preview=preview)


def _make_subjects(
    task: CohortTask[LoadedT, DrawnT, SubjectT], settings: PhantomSettings, subjects: int, *, preview: bool
) -> Path:
    outcomes = run_subjects(task, task.order(subjects), title="phantom")
    made = {outcome.name: outcome.result for outcome in outcomes if outcome.status != "failed"}
    drawn = {item: made[name] for item in range(subjects) if (name := task.name(item)) in made}
    manifest = _describe(task, settings, drawn)
    if preview and drawn:
        write_preview(manifest)
    check_all_done(outcomes)
    return manifest


def _describe(
    task: CohortTask[LoadedT, DrawnT, SubjectT], settings: PhantomSettings, subjects: Mapping[int, SubjectT]
) -> Path:
    """Write record and manifest of the subjects that are made, if any; returns the manifest's path."""
    manifest = task.out / "manifest.csv"
    if not subjects:
        return manifest
    by_name = {task.name(item): subject for item, subject in subjects.items()}
    task.record(settings, versions(), by_name).write(task.out / "phantom.json")
    write_manifest(manifest, [task.row(item, subject) for item, subject in subjects.items()])
    return manifest


@dataclass(frozen=True)
class PhantomTask(CohortTask[tuple[np.random.Generator, SubjectParameters], SubjectParameters, PhantomSubject]):
    """Makes subjects from the template of an average brain."""

    def settings(self) -> PhantomSettings:
        """The settings of the cohort."""
        return PhantomSettings(seed=self.seed, spacing_mm=self.spacing_mm, recipe=RECIPE)

    def parameters(self, item: int) -> tuple[np.random.Generator, SubjectParameters]:
        """The drawn numbers, which depend on seed and k alone, and the generator for the rest."""
        numbers, fields = np.random.default_rng([self.seed, item]).spawn(2)
        return fields, draw_subject(numbers, load_template())

    def drawn(self, item: int) -> SubjectParameters:
        """The drawn numbers."""
        return self.parameters(item)[1]

    def read(self, item: int) -> tuple[np.random.Generator, SubjectParameters]:
        """The drawn numbers; nothing is read but the template."""
        return self.parameters(item)

    def compute(
        self, item: int, loaded: tuple[np.random.Generator, SubjectParameters]
    ) -> tuple[SubjectParameters, SimulatedScan]:
        """Simulate the scans."""
        rng, parameters = loaded
        return parameters, simulate(rng, parameters, load_template(), self.spacing_mm)

    def recorded(self, item: int, drawn: SubjectParameters) -> PhantomSubject:
        """The drawn numbers and the number of lesions."""
        return PhantomSubject(**vars(drawn), num_lesions=len(drawn.lesions.centers_mm))

    def covariates(self, subject: PhantomSubject) -> dict[str, str]:
        """The field strength."""
        return {"field_strength": str(subject.field_strength)}

    def record(
        self, settings: PhantomSettings, versions: Mapping[str, str], subjects: Mapping[str, PhantomSubject]
    ) -> PhantomRecord:
        """The content of `phantom.json`."""
        return PhantomRecord(settings=settings, versions=versions, subjects=subjects)


def _check(subjects: int, seed: int, spacing_mm: float) -> None:
    low, high = SPACING_LIMITS_MM
    if not 1 <= subjects <= _MAX_SUBJECTS:
        raise PhantomError(f"a cohort of {subjects} subjects: expected 1 to {_MAX_SUBJECTS}; give --subjects 16")
    if seed < 0:
        raise PhantomError(f"seed {seed}: expected a whole number from 0 on; give --seed 0")
    if not low <= spacing_mm <= high:
        raise PhantomError(f"a spacing of {spacing_mm:g} mm: expected {low:g} to {high:g}; give --spacing-mm 2")


def _outputs(out: Path) -> list[Path]:
    """All files that this module writes, of larger cohorts too: their subjects would pass for finished ones later.

    The settings come last, since they mark the others as this module's.
    """
    images = [path for image in IMAGES for path in out.glob(f"sim[0-9]*/{image}.nii.gz")]
    return [*images, *(out / name for name in ("manifest.csv", "phantom.json", PREVIEW_FILE, SETTINGS_FILE))]
