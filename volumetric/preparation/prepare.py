"""Preparation over a cohort: raw scans in, prepared pairs, their quality and a manifest out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from volumetric.batch.jobs import usual_jobs
from volumetric.batch.subjects import Outcome, run_subjects
from volumetric.config.preparation import RECIPE_FILE, PreparationConfig
from volumetric.config.resolve import as_yaml
from volumetric.errors import InputError
from volumetric.figures.alignment import ImageColumn, alignment_figure
from volumetric.imaging.alignment import Alignment, align
from volumetric.imaging.geometry import flips_to_ras, moved, same_space
from volumetric.imaging.nifti import Image, write_image
from volumetric.imaging.registration import write_transform
from volumetric.imaging.resample import resample
from volumetric.manifest import CONTRASTS, LABELS, NATIVE, Manifest, ManifestRow, read_manifest, write_manifest
from volumetric.outputs import hash_file, locked, versions, write_text
from volumetric.preparation.quality import Assessment, grade, measure, quality_rows
from volumetric.records.preparation import QUALITY, SIDECAR, PreparationSidecar, Quality, QualityRow
from volumetric.records.settings import SETTINGS_FILE, PreparationSettings
from volumetric.records.table import SessionKey
from volumetric.simulation.template import load_template_t1w
from volumetric.subject import RawSubject, read_raw_subject

_GB_A_JOB = 3.0


class PreparationError(InputError):
    """Scans that cannot be prepared with these settings."""


@dataclass(frozen=True)
class Preparation:
    """The result of `prepare`.

    Attributes:
        outcomes: one per row of the manifests.
        manifest: of the prepared pairs.
        quality: rows of `quality.csv`.
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
        fresh: prepare all of them again.

    Raises:
        InputError: the call itself is wrong, or no subject could be prepared.
    """
    manifest = read_manifest(*manifests)
    rows = manifest.rows
    _check(manifest, config)
    with locked(out):
        if fresh:
            _delete_outputs(out)
        settings = PreparationSettings.model_validate(dict(config))
        if not settings.began(out):
            settings.begin(out)
        write_text(out / RECIPE_FILE, as_yaml(config))
        task = _PrepareSubject(out, config)
        jobs = min(jobs or usual_jobs(_GB_A_JOB), len(rows))
        outcomes = run_subjects(task, rows, title="prepare", jobs=jobs)
        prepared: list[ManifestRow] = []
        quality: list[QualityRow] = []
        for row, outcome in zip(rows, outcomes, strict=True):
            if outcome.record is None:
                quality.append(QualityRow(**row.key._asdict(), qc="fail", reasons=outcome.error))
                continue
            assessment = grade(outcome.record.quality, config.quality)
            quality += quality_rows(row.key, outcome.record.quality, assessment)
            prepared.append(task.prepared_row(row, outcome.record, assessment))
        QualityRow.write_table(out / QUALITY, quality)
        if not prepared:
            raise PreparationError(
                f"{manifest.name}: none of {len(rows)} subjects could be prepared; {out / QUALITY} says why"
            )
        write_manifest(out / "manifest.csv", prepared)
    return Preparation(outcomes, out / "manifest.csv", quality)


@dataclass(frozen=True, eq=False)
class _PreparedSubject:
    alignment: Alignment
    quality: Quality
    labels: dict[str, Image]
    unregistered: dict[str, NDArray[np.float32]]
    sources_sha256: dict[str, str]


@dataclass(frozen=True)
class _PrepareSubject:
    """The batch task: the raw scans of one subject and session in, its prepared images out."""

    out: Path
    config: PreparationConfig

    def name(self, item: ManifestRow) -> str:
        return item.name

    def finished(self, item: ManifestRow) -> PreparationSidecar | None:
        folder = self._folder(item)
        sidecar = PreparationSidecar.read_if_usable(folder / SIDECAR)
        if sidecar is None:
            return None
        owner = SessionKey(sidecar.subject_id, sidecar.session_id)
        if owner != item.key:
            raise PreparationError(
                f"subject {item.name}: {folder} holds subject {owner.name}; rename one, or choose another --out"
            )
        if sidecar.sources_sha256 != _source_hashes(item):
            return None
        files = [(folder / name, sha256) for name, sha256 in sidecar.files_sha256.items()]
        return sidecar if all(file.is_file() and hash_file(file) == sha256 for file, sha256 in files) else None

    def read(self, item: ManifestRow) -> RawSubject:
        reference = self.config.reference
        contrasts = [reference, *(c for c in CONTRASTS if c in item.paths and c != reference)]
        return read_raw_subject(item, contrasts, LABELS)

    def compute(self, item: ManifestRow, loaded: RawSubject) -> _PreparedSubject:
        template = _template() if self.config.grid.space == "mni" else None
        scan = loaded.images[self.config.reference]
        _check_labels(loaded, self.config.reference)
        alignment = align(
            loaded.images, self.config, given=loaded.labels.get("mask"), template=template, name=item.name
        )
        return _PreparedSubject(
            alignment=alignment,
            quality=measure(loaded, alignment, self.config),
            labels={name: _prepared_label(label, alignment) for name, label in loaded.labels.items() if name != "mask"},
            unregistered={
                contrast: resample(loaded.images[contrast].array, loaded.images[contrast].space, scan.space)
                for contrast in alignment.to_contrast
            },
            sources_sha256=loaded.sha256,
        )

    def write(self, item: ManifestRow, result: _PreparedSubject) -> PreparationSidecar:
        folder, alignment = self._folder(item), result.alignment
        (folder / SIDECAR).unlink(missing_ok=True)  # without a sidecar the images count as unfinished
        images = _columns(alignment) | result.labels
        transforms = {f"{alignment.reference}_to_{c}.tfm": matrix for c, matrix in alignment.to_contrast.items()}
        if self.config.grid.space == "mni":
            transforms[f"{alignment.reference}_to_mni.tfm"] = alignment.to_prepared
        for column, image in images.items():
            write_image(folder / f"{column}.nii.gz", image)
        for name, matrix in transforms.items():
            write_transform(folder / name, matrix)
        _draw(item, result, folder / "quality.png")
        files = {column: f"{column}.nii.gz" for column in images}
        sidecar = PreparationSidecar(
            subject_id=item.subject_id,
            session_id=item.session_id,
            files=files,
            files_sha256={name: hash_file(folder / name) for name in (*files.values(), *transforms, "quality.png")},
            quality=result.quality,
            sources={column: str(path) for column, path in item.paths.items()},
            sources_sha256=result.sources_sha256,
            versions=versions(),
        )
        sidecar.write(folder / SIDECAR)
        return sidecar

    def prepared_row(self, item: ManifestRow, sidecar: PreparationSidecar, assessment: Assessment) -> ManifestRow:
        """The row of the prepared manifest."""
        paths = {column: self._folder(item) / file for column, file in sidecar.files.items()}
        covariates = dict(item.covariates) | {"qc": assessment.grade, "qc_reasons": "; ".join(assessment.reasons)}
        return ManifestRow(item.subject_id, item.session_id, item.split, item.fold, paths, covariates)

    def _folder(self, item: ManifestRow) -> Path:
        return self.out / _folder_name(item)


def _columns(alignment: Alignment) -> dict[str, Image]:
    """Images and masks by column of the prepared manifest."""
    grids = {"": alignment.prepared}
    if alignment.native is not alignment.prepared:
        grids[NATIVE] = alignment.native
    images = {prefix + contrast: image for prefix, grid in grids.items() for contrast, image in grid.images.items()}
    return images | {prefix + "mask": grid.mask for prefix, grid in grids.items()}


def _prepared_label(label: Image, alignment: Alignment) -> Image:
    """The label map on the prepared grid."""
    target = alignment.prepared.mask
    if alignment.prepared is alignment.native:
        return target.with_array(label.array)
    space = moved(label.space, alignment.to_prepared)
    return target.with_array(resample(label.array, space, target.space, "nearest").astype(np.uint8))


def _check_labels(subject: RawSubject, reference: str) -> None:
    scan = subject.images[reference]
    for name, label in subject.labels.items():
        if not same_space(label.space, scan.space):
            raise PreparationError(
                f"subject {subject.name}: `{name}` has shape {label.space.shape} and another grid than "
                f"`{reference}` {scan.space.shape}; draw it on that scan, or resample it there"
            )


def _source_hashes(row: ManifestRow) -> dict[str, str]:
    return {column: hash_file(row.path(column)) for column in (*CONTRASTS, *LABELS) if column in row.paths}


def _folder_name(row: ManifestRow) -> Path:
    return Path(*(re.sub(r"[^\w-]", "_", part) for part in row.key if part))


@lru_cache(maxsize=1)
def _template() -> Image:
    return load_template_t1w()


def _check(manifest: Manifest, config: PreparationConfig) -> None:
    if not any(config.reference in row.paths for row in manifest.rows):
        raise PreparationError(
            f"{manifest.name}: no row has a `{config.reference}`, the reference; fill the column, or choose another "
            "contrast with --set reference=t2w"
        )
    folders: dict[Path, ManifestRow] = {}
    for row in manifest.rows:
        folder = _folder_name(row)
        other = folders.setdefault(folder, row)
        if other is not row:
            raise PreparationError(
                f"{manifest.name}: {other.name} and {row.name} would share the folder {folder}; rename one"
            )


def _delete_outputs(out: Path) -> None:
    """Delete what marks the subjects as finished, and the files that are made from all of them."""
    for sidecar in out.glob(f"**/{SIDECAR}"):
        sidecar.unlink()
    for name in (SETTINGS_FILE, RECIPE_FILE, "manifest.csv", QUALITY):
        (out / name).unlink(missing_ok=True)


def _draw(item: ManifestRow, result: _PreparedSubject, path: Path) -> None:
    native, name = result.alignment.native, result.alignment.reference
    flips = flips_to_ras(native.mask.affine)
    reference = flips.apply(native.images[name].array)
    columns = [ImageColumn(f"{name}, mask", (reference,))]
    for contrast, unregistered in result.unregistered.items():
        registered = flips.apply(native.images[contrast].array)
        columns += [
            ImageColumn(f"{contrast}, mask", (registered,)),
            ImageColumn(f"{contrast}: as scanned", (reference, flips.apply(unregistered))),
            ImageColumn(f"{contrast}: registered", (reference, registered)),
        ]
    alignment_figure(
        columns,
        flips.apply(native.mask.array),
        spacing_mm=flips.apply_to_space(native.mask.space).spacing_mm,
        title=item.name,
        out=path,
    )
