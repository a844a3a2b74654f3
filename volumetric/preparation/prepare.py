"""Preparation over a cohort: raw scans in, prepared pairs, their quality and a manifest out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from volumetric.batch.jobs import usual_jobs
from volumetric.batch.spread import HERE, Spread
from volumetric.batch.subjects import Outcome
from volumetric.config.preparation import RECIPE_FILE, PreparationConfig
from volumetric.config.resolve import as_yaml
from volumetric.manifest import Manifest, ManifestError, ManifestRow, read_manifest, write_manifest
from volumetric.outputs import check_unclaimed, without_folders, write_text
from volumetric.preparation.quality import grade, quality_rows
from volumetric.preparation.task import PreparationError, PreparationTask
from volumetric.records.preparation import QUALITY, SIDECAR, PreparationSidecar, QualityRow
from volumetric.records.settings import SETTINGS_FILE, PreparationSettings
from volumetric.records.shards import SHARDS

_GB_A_JOB = 3.0
_TABLES = (RECIPE_FILE, "manifest.csv", QUALITY)


@dataclass(frozen=True)
class Preparation:
    """The result of `prepare`.

    Attributes:
        outcomes: one per row of the manifests, or of the shard.
        manifest: of the prepared pairs.
        quality: rows of `quality.csv`; none of a shard.
    """

    outcomes: list[Outcome[PreparationSidecar]]
    manifest: Path
    quality: list[QualityRow]


def prepare(
    manifests: Sequence[Path],
    out: Path,
    config: PreparationConfig,
    *,
    jobs: int | None = None,
    spread: Spread = HERE,
    fresh: bool = False,
) -> Preparation:
    """Make prepared pairs of raw scans.

    Args:
        manifests: CSV files; each contrast may lie on a grid of its own, `mask`, `tissues` and `lesions` on that of
            the reference.
        out: folder to write: `manifest.csv`, `quality.csv`, `preparation.yaml`, and for each subject and session the
            images, the mask, the transforms, a figure and `preparation.json`. Those whose files are whole and come
            from the same scans are skipped.
        config: the recipe.
        jobs: subjects at a time; None takes as many as there are cores, and memory for 3 GB each.
        spread: machines and shard, or a dry run.
        fresh: prepare all of them again.

    Raises:
        InputError: the call itself is wrong, would replace one of its inputs or a file of others, or no subject could
            be prepared.
    """
    manifest = read_manifest(*manifests)
    rows = manifest.rows
    _check(manifest, config)
    _check_inputs(manifest, manifests, out)
    with spread.held(out):
        task = PreparationTask(out, config)
        settings = PreparationSettings.model_validate(dict(config))
        _check_claimed(manifest, out)
        if fresh and not spread.is_dry:
            settings.check_own(out)
            _require_any(manifest, task)
            _delete_outputs(out)
        began = not fresh and settings.began(out)
        if spread.is_whole:
            if not began:
                settings.begin(out)
            write_text(out / RECIPE_FILE, as_yaml(config))
        outcomes = spread.run(
            task,
            rows,
            out=out,
            command="prepare",
            arguments={"manifests": manifests, "config": config},
            jobs=jobs,
            usual=usual_jobs(_GB_A_JOB),
            gb_each=_GB_A_JOB,
        )
        quality = _write_tables(task, manifest, outcomes) if spread.is_whole else []
    return Preparation(outcomes, out / "manifest.csv", quality)


def _check_claimed(manifest: Manifest, out: Path) -> None:
    """Check that files in a folder that no preparation began would not be replaced; errors as `check_unclaimed`."""
    if not ((out / SETTINGS_FILE).exists() or (out / SHARDS).exists()):
        check_unclaimed([*(out / name for name in _TABLES), *_images(manifest, out)])


def _write_tables(
    task: PreparationTask, manifest: Manifest, outcomes: Sequence[Outcome[PreparationSidecar]]
) -> list[QualityRow]:
    """Write `quality.csv` and the manifest of the prepared pairs."""
    prepared: list[ManifestRow] = []
    quality: list[QualityRow] = []
    for row, outcome in zip(manifest.rows, outcomes, strict=True):
        if outcome.record is None:
            reasons = without_folders(outcome.error, [*row.paths.values(), task.out / row.key.folder])
            quality.append(QualityRow(**row.key._asdict(), qc="fail", reasons=reasons))
            continue
        assessment = grade(outcome.record.quality, task.config.quality)
        quality += quality_rows(row.key, outcome.record.quality, assessment)
        prepared.append(task.prepared_row(row, outcome.record, assessment))
    QualityRow.write_table(task.out / QUALITY, quality)
    if not prepared:
        raise PreparationError(
            f"{manifest.name}: none of {len(manifest.rows)} subjects could be prepared; {task.out / QUALITY} says why"
        )
    write_manifest(task.out / "manifest.csv", prepared)
    return quality


def _check(manifest: Manifest, config: PreparationConfig) -> None:
    if not any(config.reference in row.paths for row in manifest.rows):
        raise PreparationError(
            f"{manifest.name}: no row has a `{config.reference}`, the reference; fill the column, or choose another "
            "contrast with --set reference=t2w"
        )
    folders: dict[Path, ManifestRow] = {}
    for row in manifest.rows:
        folder = row.key.folder
        other = folders.setdefault(folder, row)
        if other is not row:
            raise PreparationError(
                f"{manifest.name}: {other.name} and {row.name} would share the folder {folder}; rename one"
            )


def _check_inputs(manifest: Manifest, manifests: Sequence[Path], out: Path) -> None:
    """Check that no manifest and no raw scan has the path of a file to be written.

    Raises:
        PreparationError: one has, and would be lost.
    """
    real = Path(os.path.realpath(out))
    written = {real / name for name in _TABLES} | set(_images(manifest, real))
    names = {path.name for path in written}
    scans = (path for row in manifest.rows for path in row.paths.values())
    for path in (*manifests, *scans):
        if path.name in names and Path(os.path.realpath(path.parent), path.name) in written:
            raise PreparationError(f"{path}: what is prepared would replace this input; choose another --out")


def _images(manifest: Manifest, out: Path) -> list[Path]:
    """The images that are written of the columns of a row."""
    return [out / row.key.folder / f"{column}.nii.gz" for row in manifest.rows for column in {*row.paths, "mask"}]


def _require_any(manifest: Manifest, task: PreparationTask) -> None:
    """Check that one subject at least has its files, before those of all are deleted.

    Raises:
        ManifestError: the problem of the first.
    """
    problems = []
    for row in manifest.rows:
        try:
            task.inputs(row)
            return
        except ManifestError as error:
            problems.append(error)
    raise problems[0]


def _delete_outputs(out: Path) -> None:
    """Delete what marks the subjects as finished, and the files that are made from all of them."""
    for sidecar in out.glob(f"**/{SIDECAR}"):
        sidecar.unlink()
    for name in (*_TABLES, SETTINGS_FILE):
        (out / name).unlink(missing_ok=True)
