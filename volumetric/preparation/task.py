"""Preparation of one subject and session: raw scans in, prepared images, transforms, figure and sidecar out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from volumetric.config.preparation import PreparationConfig
from volumetric.errors import InputError
from volumetric.figures.alignment import ImageColumn, alignment_figure
from volumetric.imaging.alignment import Alignment, align
from volumetric.imaging.geometry import flips_to_ras, moved, same_space
from volumetric.imaging.itk import named_failure
from volumetric.imaging.nifti import Image, write_image
from volumetric.imaging.registration import write_transform
from volumetric.imaging.resample import resample
from volumetric.manifest import CONTRASTS, LABELS, NATIVE, ManifestRow
from volumetric.outputs import hash_file, versions
from volumetric.preparation.quality import Assessment, measure
from volumetric.records.preparation import SIDECAR, PreparationSidecar, Quality
from volumetric.records.table import SessionKey
from volumetric.simulation.template import load_template_t1w
from volumetric.subject import RawSubject, check_distinct, read_raw_subject


class PreparationError(InputError):
    """Scans that cannot be prepared with these settings."""


@dataclass(frozen=True, eq=False)
class _PreparedSubject:
    alignment: Alignment
    quality: Quality
    labels: dict[str, Image]
    unregistered: dict[str, NDArray[np.float32]]
    sources_sha256: dict[str, str]


@dataclass(frozen=True)
class PreparationTask:
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
        if sidecar.sources_sha256 != {column: hash_file(path) for column, path in self.inputs(item).items()}:
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
        check_distinct(loaded.sha256, loaded.images, name=item.name)
        _check_labels(loaded, self.config.reference)
        alignment = align(
            loaded.images, self.config, given=loaded.labels.get("mask"), template=template, name=item.name
        )
        with named_failure(f"subject {item.name}"):
            quality = measure(loaded, alignment, self.config)
        return _PreparedSubject(
            alignment=alignment,
            quality=quality,
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
            sources={column: path.name for column, path in item.paths.items()},
            sources_sha256=result.sources_sha256,
            versions=versions(),
        )
        sidecar.write(folder / SIDECAR)
        return sidecar

    def recall(self, item: ManifestRow) -> PreparationSidecar:
        """Read the sidecar of a subject that is done; errors as `Record.read`."""
        return PreparationSidecar.read(self._folder(item) / SIDECAR)

    def inputs(self, item: ManifestRow) -> dict[str, Path]:
        """The images that `read` reads, by column; errors as `ManifestRow.path`."""
        columns = dict.fromkeys((self.config.reference, *(c for c in (*CONTRASTS, *LABELS) if c in item.paths)))
        return {column: item.path(column) for column in columns}

    def into(self, out: Path) -> PreparationTask:
        """The same task with another output folder."""
        return replace(self, out=out)

    def prepared_row(self, item: ManifestRow, sidecar: PreparationSidecar, assessment: Assessment) -> ManifestRow:
        """The row of the prepared manifest."""
        paths = {column: self._folder(item) / file for column, file in sidecar.files.items()}
        covariates = dict(item.covariates) | {"qc": assessment.grade, "qc_reasons": "; ".join(assessment.reasons)}
        return ManifestRow(item.subject_id, item.session_id, item.split, item.fold, paths, covariates)

    def _folder(self, item: ManifestRow) -> Path:
        return self.out / item.key.folder


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


@lru_cache(maxsize=1)
def _template() -> Image:
    return load_template_t1w()


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
