"""Which prediction belongs to which truth, and both brought to the same units."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from string import Formatter

import numpy as np
from numpy.typing import NDArray

from volumetric.errors import InputError
from volumetric.imaging.geometry import Space, same_space
from volumetric.imaging.intensity import INTENSITY_SCALE, in_reference_units, reference_scale
from volumetric.imaging.mask import MaskRule, brain_mask
from volumetric.imaging.nifti import SUFFIXES, Image, read_image, read_labels, stem
from volumetric.manifest import ManifestRow
from volumetric.subject import check_one_grid


class PairingError(InputError):
    """A prediction that is not there or does not fit its truth."""


@dataclass(frozen=True, eq=False)
class Scored:
    """One subject as it is scored, on the truth's grid, in reference units, 0 outside the mask.

    Attributes:
        source: float32 `(I, J, K)`, the first source contrast.
        truth: float32 `(I, J, K)`.
        mask: brain `(I, J, K)`.
        rule: how the mask came about.
        grid: an image on that grid.
        source_median: what the source was divided by: its in-mask median.
        truth_median: the same of the truth.
    """

    source: NDArray[np.float32]
    truth: NDArray[np.float32]
    mask: NDArray[np.bool_]
    rule: MaskRule
    grid: Image
    source_median: float
    truth_median: float


@dataclass(frozen=True)
class Predictions:
    """A folder of predictions.

    Attributes:
        folder: where they are.
        facts: what their sidecars agree on (`sources`, `target`, `data_range`, `intensity_scale`); empty
            for the files of another tool.
        listed: what `predictions.csv` says of each subject and session; None without one.
        pattern: where another tool's files lie in the folder, by `{subject_id}` and `{session_id}`; wildcards allowed.
    """

    folder: Path
    facts: Mapping[str, object]
    listed: Mapping[tuple[str, str], Mapping[str, str]] | None
    pattern: str | None = None

    def find(self, row: ManifestRow) -> Path:
        """The prediction of a subject.

        Raises:
            PairingError: there is none, inference failed, or several files could be meant.
        """
        if self.pattern is not None:
            return self._by_pattern(row, self.pattern)
        if self.listed is not None:
            entry = self.listed.get((row.subject_id, row.session_id))
            if entry is None:
                raise PairingError(
                    f"subject {row.name}: no prediction in {self.folder / 'predictions.csv'}; run infer on this subject"
                )
            if entry["status"] == "failed":
                raise PairingError(f"subject {row.name}: inference failed: {entry['error']}")
            return self.folder / entry["path"]
        files = [f for f in sorted(self.folder.rglob("*.nii*")) if f.name.endswith(SUFFIXES) and _names(f, row)]
        if len(files) != 1:
            found = f"{len(files)} files are ({', '.join(f.name for f in files[:3])})" if files else "no file is"
            raise PairingError(
                f"subject {row.name}: {found} named for this subject in {self.folder}; expected one file "
                f"{row.subject_id}.nii.gz or sub-{row.subject_id}_*.nii.gz; name others by --pattern"
            )
        return files[0]

    def _by_pattern(self, row: ManifestRow, pattern: str) -> Path:
        named = pattern.format(subject_id=escape(row.subject_id), session_id=escape(row.session_id))
        files = [file for file in sorted(self.folder.glob(named)) if file.name.endswith(SUFFIXES)]
        if len(files) != 1:
            found = f"{len(files)} files match" if files else "no NIfTI file matches"
            raise PairingError(f"subject {row.name}: {found} {named} in {self.folder}; expected one")
        return files[0]


def open_predictions(folder: Path, pattern: str | None = None) -> Predictions:
    """Look into a folder of predictions, or a run folder with one in it.

    Args:
        folder: where they are.
        pattern: how another tool names its files there, such as `{subject_id}/*_synth.nii.gz`.

    Raises:
        PairingError: no such folder, a pattern without `{subject_id}`, or predictions made for different targets or
            data ranges.
    """
    if not folder.is_dir():
        raise PairingError(f"{folder}: there is no such folder; name the folder that infer wrote")
    if pattern is not None:
        fields = {name for _, name, _, _ in Formatter().parse(pattern) if name is not None}
        if "subject_id" not in fields or not fields <= {"subject_id", "session_id"}:
            raise PairingError(
                f"--pattern {pattern}: expected a path with {{subject_id}} and perhaps {{session_id}} in it, such as "
                "'{subject_id}/*_synth.nii.gz'"
            )
        return Predictions(folder, {}, None, pattern)
    if not (folder / "predictions.csv").is_file() and (folder / "predictions" / "predictions.csv").is_file():
        folder = folder / "predictions"
    if not (folder / "predictions.csv").is_file():
        return Predictions(folder, {}, None)
    with (folder / "predictions.csv").open(newline="") as file:
        listed = {(row["subject_id"], row["session_id"]): row for row in csv.DictReader(file)}
    facts: dict[str, object] = {}
    for row in listed.values():
        sidecar = folder / (row["path"].removesuffix(".nii.gz") + ".json")
        if row["status"] == "failed" or not sidecar.is_file():
            continue
        content = json.loads(sidecar.read_text())
        these = {key: content[key] for key in ("sources", "target", "data_range", "intensity_scale", "model_sha256")}
        if facts and facts != these:
            differing = ", ".join(key for key in these if facts[key] != these[key])
            raise PairingError(
                f"{folder}: its predictions come from different models ({differing} differ, first at {sidecar.name}); "
                "infer each model into a folder of its own"
            )
        facts = these
    return Predictions(folder, facts, listed)


def on_its_grid(row: ManifestRow, prediction: Path, target: str) -> ManifestRow:
    """The row's prepared pair, or its native one where that is on the prediction's grid."""
    native = row.native()
    if native is None:
        return row
    space = read_image(prediction).space
    prepared = same_space(read_image(row.path(target)).space, space)
    return row if prepared or not same_space(read_image(native.path(target)).space, space) else native


def read_scored(row: ManifestRow, source: str, target: str) -> Scored:
    """Read source and truth of a subject by the intensity rule: each divided by its own in-mask median.

    Raises:
        InputError: a missing or unusable file, or images on different grids.
    """
    images = {source: read_image(row.path(source)), target: read_image(row.path(target))}
    check_one_grid(images, name=row.name)
    given = read_labels(row.path("mask")) if "mask" in row.paths else None
    mask, rule = brain_mask(images[source], given, name=str(row.path(source)))
    medians = [reference_scale(image.array, mask, name=str(row.path(c))) for c, image in images.items()]
    units = [in_reference_units(i.array, mask, median) for i, median in zip(images.values(), medians, strict=True)]
    return Scored(units[0], units[1], mask, rule, images[target], *medians)


def read_prediction(path: Path, scored: Scored, scale: str, *, name: str) -> tuple[NDArray[np.float32], float]:
    """Read a prediction into reference units, 0 outside the mask.

    Args:
        path: the file.
        scored: its truth.
        scale: `reference` (the file holds 1000 times reference units), `own-median` (divide by its own in-mask
            median) or the number to divide by.
        name: of the subject, for messages.

    Returns:
        float32 `(I, J, K)`, and the number it was divided by.

    Raises:
        PairingError: another grid than the truth.
        InputError: an unusable file.
    """
    image = read_image(path)
    if not same_space(image.space, scored.grid.space):
        raise PairingError(
            f"subject {name}: the prediction {path.name} (shape {image.space.shape}) and the truth "
            f"(shape {scored.grid.space.shape}) lie on different grids; infer from the source image that shares the "
            "truth's grid"
        )
    if scale == "own-median":
        divisor = reference_scale(image.array, scored.mask, name=str(path))
    else:
        divisor = INTENSITY_SCALE if scale == "reference" else float(scale)
    return in_reference_units(image.array, scored.mask, divisor), divisor


def window_borders(prediction: Path, space: Space) -> NDArray[np.bool_] | None:
    """Where the windows of `infer` ended, by the prediction's sidecar: voxels within one model voxel of such a plane.

    Args:
        prediction: its file.
        space: of the truth.

    Returns:
        `(I, J, K)`, or None where the file is another tool's or was made in one window.
    """
    sidecar = prediction.with_name(stem(prediction) + ".json")
    content = json.loads(sidecar.read_text()) if sidecar.is_file() else {}
    windows = content.get("windows", {})
    if "starts" not in windows or content.get("prepared_here"):
        return None
    starts, size = np.array(windows["starts"]), np.array(windows["size"])
    to_model = np.linalg.inv(np.array(windows["grid_affine"])) @ space.affine
    voxels = np.ogrid[tuple(slice(0, n) for n in space.shape)]
    borders = np.zeros(space.shape, bool)
    for axis, side in enumerate(windows["grid_shape"]):
        planes = {*starts[:, axis], *(starts[:, axis] + size[axis])}
        along = to_model[axis, 3] + sum(c * v for c, v in zip(to_model[axis, :3], voxels, strict=True))
        for plane in planes:
            if 0 < plane < side:
                borders |= np.abs(along - (plane - 0.5)) <= 1
    return borders if borders.any() else None


def check_scale(scale: str) -> str:
    """`scale` if it is one.

    Raises:
        PairingError: it is none.
    """
    if scale in ("reference", "own-median"):
        return scale
    try:
        if 0 < float(scale) < float("inf"):
            return scale
    except ValueError:
        pass
    raise PairingError(f"--prediction-scale {scale}: expected reference, own-median or a positive number")


def _names(path: Path, row: ManifestRow) -> bool:
    name, subject = stem(path), row.subject_id.removeprefix("sub-")
    session = row.session_id.removeprefix("ses-")
    bids = f"sub-{subject}" + (f"_ses-{session}" if session else "")
    plain = subject + (f"_{session}" if session else "")
    return name in (bids, plain) or name.startswith(f"{bids}_")
