"""Volumes in 8 bits to embed in the page, the error that this makes, and the program that shows them."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import nibabel as nib
import numpy as np
from isal import igzip
from numpy.typing import NDArray

from volumetric.errors import InputError

_LEVELS = 255
_UPPER_LIMIT = 2.0
"""A voxel brighter than this many times the 99.9th percentile is clipped, since it would make all steps coarser."""
_LOWER_LIMIT = -0.25
"""A voxel below this share of the brightest is clipped too; the output of a network may be a little below 0."""


class ViewerError(InputError):
    """The viewer cannot be put into a page."""


@dataclass(frozen=True)
class RoundingError:
    """The error of 8-bit volumes, in reference units, over the brain voxels of truth and prediction.

    Attributes:
        step: between two neighboring gray levels of truth and prediction.
        mean: mean distance between the embedded and the real value.
        largest: largest distance.
        clipped: share of values outside the range of the levels, 0 to 1.
        mae: mean |prediction - truth| of the real values.
        mae_shown: mean |prediction - truth| of the embedded values.
    """

    step: float
    mean: float
    largest: float
    clipped: float
    mae: float
    mae_shown: float


@dataclass(frozen=True, eq=False)
class PackedVolumes:
    """The volumes of one subject, ready to embed.

    Attributes:
        source: gzipped uint8 NIfTI as base64 text; its slope gives reference units.
        truth: the same.
        prediction: the same, with the truth's slope, so that their difference is a difference of levels.
        error: of the 8 bits.
    """

    source: str
    truth: str
    prediction: str
    error: RoundingError


def pack(
    source: NDArray[np.float32],
    truth: NDArray[np.float32],
    prediction: NDArray[np.float32],
    mask: NDArray[np.bool_],
    affine: NDArray[np.float64],
) -> PackedVolumes:
    """Pack three volumes of one grid in 256 gray levels.

    The levels reach from the lowest value (at most 0) to the highest. The source has levels of its own; truth and
    prediction share theirs, so that both have the same steps. Outliers beyond twice the 99.9th percentile are clipped.

    Args:
        source: `(I, J, K)`, reference units, 0 outside the mask.
        truth: `(I, J, K)`, the same.
        prediction: `(I, J, K)`, the same.
        mask: `(I, J, K)`, not empty.
        affine: `(4, 4)` of that grid, voxel index -> world mm.

    Returns:
        The volumes and their error.
    """
    own, shared = _Scale.of(source[mask]), _Scale.of(truth[mask], prediction[mask])
    real = [volume[mask].astype(np.float64) for volume in (truth, prediction)]
    shown = [shared.values(shared.levels(volume)) for volume in real]
    distance = np.abs(np.concatenate(shown) - np.concatenate(real))
    error = RoundingError(
        step=shared.step,
        mean=float(distance.mean()),
        largest=float(distance.max()),
        clipped=float((distance > 0.501 * shared.step).mean()),  # more than rounding does
        mae=float(np.abs(real[1] - real[0]).mean()),
        mae_shown=float(np.abs(shown[1] - shown[0]).mean()),
    )
    return PackedVolumes(
        own.nifti(source, affine), shared.nifti(truth, affine), shared.nifti(prediction, affine), error
    )


@dataclass(frozen=True)
class _Scale:
    """Gray levels: `value = (level - zero) * step`, so that 0 is exact."""

    step: float
    zero: int

    @classmethod
    def of(cls, *values: NDArray[np.float32]) -> _Scale:
        upper = max(min(float(v.max()), _UPPER_LIMIT * max(float(np.quantile(v, 0.999)), 1e-6)) for v in values)
        lower = max(min(0.0, *(float(v.min()) for v in values)), _LOWER_LIMIT * upper)
        # float32, the precision of a NIfTI header
        step = float(np.float32((upper - lower) / (_LEVELS - 1)))
        return cls(step, round(-lower / step))

    def levels(self, volume: NDArray[np.floating]) -> NDArray[np.uint8]:
        levels: NDArray[np.uint8] = np.clip(np.rint(volume / self.step) + self.zero, 0, _LEVELS).astype(np.uint8)
        return levels

    def values(self, levels: NDArray[np.uint8]) -> NDArray[np.float64]:
        values: NDArray[np.float64] = (levels.astype(np.float64) - self.zero) * self.step
        return values

    def nifti(self, volume: NDArray[np.float32], affine: NDArray[np.float64]) -> str:
        """The volume as a gzipped uint8 NIfTI in base64."""
        image = nib.Nifti1Image(self.levels(volume), affine)
        image.set_qform(affine, 1)
        image.set_sform(affine, 1)
        image.header.set_xyzt_units("mm")
        image.header.set_slope_inter(self.step, -self.zero * self.step)
        return base64.b64encode(igzip.compress(image.to_bytes(), compresslevel=3, mtime=0)).decode()


def niivue_script() -> str:
    """The program text of NiiVue as nilearn ships it, safe inside a `<script>`.

    Raises:
        ViewerError: nilearn is not installed, or has it at another place than nilearn 0.14.
    """
    package = find_spec("nilearn")
    if package is None or package.origin is None:
        raise ViewerError("the 3D viewer comes with nilearn, which is not installed; pip install 'nilearn>=0.14'")
    path = Path(package.origin).parent / "_assets" / "js" / "niivue.umd.js"
    if not path.is_file():
        raise ViewerError(
            f"{path}: the 3D viewer of nilearn is expected there; pip install 'nilearn>=0.14', or --viewer none"
        )
    return path.read_text(encoding="utf-8").replace("</script", "<\\/script").replace("<!--", "<\\!--")
