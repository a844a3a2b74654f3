"""Preparation over a cohort: raw scans in, prepared pairs, their quality and a manifest out."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from volumetric.batch.jobs import usual_jobs
from volumetric.batch.subjects import Outcome, run_subjects
from volumetric.config.preparation import RECIPE_FILE, SIDECAR, PreparationConfig
from volumetric.config.resolve import as_yaml
from volumetric.errors import InputError
from volumetric.figures.alignment import Panel, alignment_figure
from volumetric.imaging.alignment import Alignment, align
from volumetric.imaging.geometry import flips_to_ras, moved, same_space
from volumetric.imaging.nifti import Image, read_image, read_labels, write_image
from volumetric.imaging.registration import write_transform
from volumetric.imaging.resample import resample
from volumetric.manifest import CONTRASTS, LABELS, NATIVE, Manifest, ManifestRow, read_manifest, write_manifest
from volumetric.outputs import hash_file, locked, versions, write_csv, write_json, write_text
from volumetric.preparation.quality import Quality, Verdict, assess, judge
from volumetric.records.settings import PreparationSettings
from volumetric.simulation.template import load_template_t1w

_GB_A_JOB = 3.0


class PreparationError(InputError):
    """Scans that cannot be prepared as asked."""


@dataclass(frozen=True)
class Preparation:
    """What a call of `prepare` came to.

    Attributes:
        outcomes: one per row of the manifests.
        manifest: of the prepared pairs.
        quality: rows of `quality.csv`.
    """

    outcomes: list[Outcome[Mapping[str, object]]]
    manifest: Path
    quality: list[Mapping[str, object]]


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
        out: folder to write: `manifest.csv`, `quality.csv`, `preparation.yaml`, and per visit the images, the mask, the
            transforms, a picture and `preparation.json`. Visits that are there, from the same scans, are skipped.
        config: the recipe.
        jobs: visits at a time; None takes as many as there are cores, and memory for 3 GB each.
        fresh: prepare again what is there.

    Raises:
        InputError: the call itself is wrong, or no visit could be prepared.
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
        task = _Preparing(out, config)
        jobs = min(jobs or usual_jobs(_GB_A_JOB), len(rows))
        outcomes = run_subjects(task, rows, title="prepare", jobs=jobs)
        prepared: list[ManifestRow] = []
        quality: list[Mapping[str, object]] = []
        for row, outcome in zip(rows, outcomes, strict=True):
            ids: dict[str, object] = {"subject_id": row.subject_id, "session_id": row.session_id}
            if outcome.status == "failed":
                quality.append(ids | {"qc": "fail", "reasons": outcome.error})
                continue
            measured = Quality.restore(_mapping(outcome.result["quality"]))
            quality += [ids | pair for pair in measured.rows(config.quality)]
            prepared.append(task.prepared_row(row, outcome.result, judge(measured, config.quality)))
        write_csv(out / "quality.csv", quality)
        if not prepared:
            raise PreparationError(
                f"{manifest.name}: none of {len(rows)} visits could be prepared; {out / 'quality.csv'} says why"
            )
        write_manifest(out / "manifest.csv", prepared)
    return Preparation(outcomes, out / "manifest.csv", quality)


@dataclass(frozen=True, eq=False)
class _Loaded:
    images: dict[str, Image]
    labels: dict[str, Image]


@dataclass(frozen=True, eq=False)
class _Result:
    alignment: Alignment
    quality: Quality
    labels: dict[str, Image]
    before: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]


@dataclass(frozen=True)
class _Preparing:
    """One visit."""

    out: Path
    config: PreparationConfig

    def name(self, item: ManifestRow) -> str:
        return item.name

    def finished(self, item: ManifestRow) -> Mapping[str, object] | None:
        sidecar = self._folder(item) / SIDECAR
        if not sidecar.is_file():
            return None
        kept: dict[str, object] = json.loads(sidecar.read_text())
        whole = all((self._folder(item) / str(file)).is_file() for file in _mapping(kept["files"]).values())
        return kept if whole and kept["sources_sha256"] == self._hashes(item) else None

    def read(self, item: ManifestRow) -> _Loaded:
        contrasts = [self.config.reference, *(c for c in CONTRASTS if c in item.paths and c != self.config.reference)]
        images = {contrast: read_image(item.path(contrast)) for contrast in contrasts}
        return _Loaded(images, {c: read_labels(item.path(c)) for c in LABELS if c in item.paths})

    def compute(self, item: ManifestRow, loaded: _Loaded) -> _Result:
        template = _template() if self.config.grid.space == "mni" else None
        scan = loaded.images[self.config.reference]
        for label, image in loaded.labels.items():
            if not same_space(image.space, scan.space):
                raise PreparationError(
                    f"subject {item.name}: `{label}` has shape {image.space.shape} and another grid than "
                    f"`{self.config.reference}` {scan.space.shape}; draw it on that scan, or resample it there"
                )
        given = loaded.labels.get("mask")
        alignment = align(loaded.images, self.config, given=given, template=template, name=item.name)
        labels = {label: self._placed(image, alignment) for label, image in loaded.labels.items() if label != "mask"}
        before = {
            contrast: resample(loaded.images[contrast].array, loaded.images[contrast].space, scan.space)
            for contrast in alignment.to_contrast
        }
        return _Result(alignment, assess(loaded.images, alignment, self.config), labels, before)

    def write(self, item: ManifestRow, result: _Result) -> Mapping[str, object]:
        folder, alignment = self._folder(item), result.alignment
        (folder / SIDECAR).unlink(missing_ok=True)  # images whose sidecar is absent count as unfinished
        grids = {"": alignment.prepared} | (
            {} if alignment.native is alignment.prepared else {NATIVE: alignment.native}
        )
        images = {prefix + c: image for prefix, grid in grids.items() for c, image in grid.images.items()}
        images |= {prefix + "mask": grid.mask for prefix, grid in grids.items()} | result.labels
        for column, image in images.items():
            write_image(folder / f"{column}.nii.gz", image)
        for contrast, matrix in alignment.to_contrast.items():
            write_transform(folder / f"{alignment.reference}_to_{contrast}.tfm", matrix)
        if self.config.grid.space == "mni":
            write_transform(folder / f"{alignment.reference}_to_mni.tfm", alignment.to_prepared)
        _draw(item, result, folder / "quality.png")
        content = {
            "files": {column: f"{column}.nii.gz" for column in images},
            "quality": asdict(result.quality),
            "sources": {column: str(path) for column, path in item.paths.items()},
            "sources_sha256": self._hashes(item),
            "versions": versions(),
        }
        write_json(folder / SIDECAR, content)
        return content

    def prepared_row(self, item: ManifestRow, kept: Mapping[str, object], verdict: Verdict) -> ManifestRow:
        """The row of the prepared manifest."""
        files = _mapping(kept["files"])
        paths = {column: self._folder(item) / str(file) for column, file in files.items()}
        covariates = dict(item.covariates) | {"qc": verdict.grade, "qc_reasons": "; ".join(verdict.reasons)}
        return ManifestRow(item.subject_id, item.session_id, item.split, item.fold, paths, covariates)

    def _placed(self, label: Image, alignment: Alignment) -> Image:
        target = alignment.prepared.mask
        if alignment.prepared is alignment.native:
            return target.with_array(label.array)
        seen = moved(label.space, alignment.to_prepared)
        return target.with_array(resample(label.array, seen, target.space, "nearest").astype(np.uint8))

    def _folder(self, item: ManifestRow) -> Path:
        return self.out / _folder_name(item)

    def _hashes(self, item: ManifestRow) -> dict[str, str]:
        return {c: hash_file(item.path(c)) for c in (*CONTRASTS, *LABELS) if c in item.paths}


def _folder_name(row: ManifestRow) -> Path:
    parts = [row.subject_id, *([row.session_id] if row.session_id else [])]
    return Path(*(re.sub(r"[^\w-]", "_", part) for part in parts))


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
        other = folders.setdefault(_folder_name(row), row)
        if other is not row:
            raise PreparationError(
                f"{manifest.name}: {other.name} and {row.name} would share the folder {_folder_name(row)}; rename one"
            )


def _delete_outputs(out: Path) -> None:
    """Make every visit count as unfinished, and drop what is made from all of them."""
    for sidecar in out.glob(f"**/{SIDECAR}"):
        sidecar.unlink()
    for name in ("settings.json", RECIPE_FILE, "manifest.csv", "quality.csv"):
        (out / name).unlink(missing_ok=True)


def _mapping(content: object) -> Mapping[str, object]:
    assert isinstance(content, Mapping)
    return content


def _draw(item: ManifestRow, result: _Result, path: Path) -> None:
    native = result.alignment.native
    flips = flips_to_ras(native.mask.affine)
    mask = flips.apply(native.mask.array)
    reference = flips.apply(native.images[result.alignment.reference].array)
    panels = [Panel(f"{result.alignment.reference}, mask", (reference,))]
    for contrast, before in result.before.items():
        after = flips.apply(native.images[contrast].array)
        panels += [
            Panel(f"{contrast}, mask", (after,)),
            Panel(f"{contrast}: as scanned", (reference, flips.apply(before))),
            Panel(f"{contrast}: registered", (reference, after)),
        ]
    alignment_figure(
        panels,
        mask,
        spacing_mm=flips.apply_to_space(native.mask.space).spacing_mm,
        title=item.name,
        out=path,
    )
