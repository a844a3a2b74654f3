"""Metrics that need more than two volumes and a region: tissues, lesions and clipped voxels."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, binary_erosion, label

from volumetric.evaluation.regions import TISSUES
from volumetric.evaluation.segmentation import combine, segment
from volumetric.evaluation.subject import NormalizedSubject

_MIN_LESION_MM3 = 10.0
_SHELL_MM = 3.0
_VISIBLE_SD = 1.0
"""A lesion shows from this contrast to its surroundings on, in SD of white matter."""
_LOST = 0.5
"""Of the truth's contrast: less is lost."""
_SPOT_SD = 3.0
"""From this many SD over white matter on, a spot looks like a lesion."""
_QUIET_SD = 2.0
"""The truth's mean in an invented spot stays below."""


def tissue_agreement(subject: NormalizedSubject, prediction: NDArray[np.float32]) -> dict[str, dict[str, float]]:
    """Segment T1w with the true and with the predicted T2w by the same segmenter, and compare.

    Returns:
        From `csf`, `gm`, `wm` to `dice` in [0, 1], and `volume_bias`: the relative difference of volumes, above 0 where
        the prediction makes more of that tissue.
    """
    true, synthetic = (
        segment(combine(subject.source, image, subject.mask), subject.mask) for image in (subject.truth, prediction)
    )
    agreement = {}
    for name, tissue in TISSUES.items():
        a, b = true == tissue, synthetic == tissue
        num_a, num_b = int(a.sum()), int(b.sum())
        agreement[name] = {
            "dice": 2 * int((a & b).sum()) / (num_a + num_b) if num_a + num_b else float("nan"),
            "volume_bias": (num_b - num_a) / num_a if num_a else float("nan"),
        }
    return agreement


def lesion_visibility(
    subject: NormalizedSubject,
    prediction: NDArray[np.float32],
    lesions: NDArray[np.bool_],
    white: NDArray[np.bool_],
    spacing_mm: NDArray[np.float64],
) -> dict[str, float]:
    """Contrast of marked lesions in truth and prediction, lesions that are lost, and spots that are invented.

    Args:
        subject: truth and brain.
        prediction: `(I, J, K)`, reference units.
        lesions: where experts marked them.
        white: white matter.
        spacing_mm: voxel size, `(3,)`.

    Returns:
        `cnr_truth`, `cnr_prediction`: (mean of the lesions - mean of white matter within 3 mm of them) / SD there;
        `lesions_marked`: those of at least 10 mm3 that show in the truth by 1 SD of white matter;
        `lesions_lost`: of these, those with less than half of the truth's contrast, each in its own SD;
        `spots_invented`: connected voxels of at least 10 mm3 in white matter away from lesions that lie 3 robust SD
        over the prediction's white matter, while the truth's mean there stays under 2 SD of its own.
    """
    reach = [max(1, round(_SHELL_MM / s)) for s in spacing_mm]
    clean = white & ~binary_dilation(lesions)
    if not clean.any():
        return {}
    around = _near(lesions, reach) & clean
    num_least = max(1, round(_MIN_LESION_MM3 / float(np.prod(spacing_mm))))
    truth, predicted = (_Levels(image, *_robust(image[clean])) for image in (subject.truth, prediction))
    marked = lost = 0
    for lesion in _parts(lesions, num_least):
        shell = _near(lesion, reach) & clean
        true_contrast = _contrast(truth.image, lesion, shell, truth.sd)
        if true_contrast >= _VISIBLE_SD:
            marked += 1
            lost += not _contrast(predicted.image, lesion, shell, predicted.sd) >= _LOST * true_contrast
    return {
        "cnr_truth": _contrast(truth.image, lesions, around),
        "cnr_prediction": _contrast(predicted.image, lesions, around),
        "lesions_marked": marked,
        "lesions_lost": lost,
        "spots_invented": _count_invented(truth, predicted, clean, num_least),
    }


class _Levels(NamedTuple):
    """An image, and median and robust SD of its white matter."""

    image: NDArray[np.float32]
    median: float
    sd: float


def _count_invented(truth: _Levels, predicted: _Levels, clean: NDArray[np.bool_], num_least: int) -> int:
    # Not at the rim of white matter, where a voxel holds gray matter or fluid too.
    inner = binary_erosion(clean)
    spots = _parts(inner & (predicted.image > predicted.median + _SPOT_SD * predicted.sd), num_least)
    return sum(bool(truth.image[spot].mean() < truth.median + _QUIET_SD * truth.sd) for spot in spots)


def _contrast(
    image: NDArray[np.float32], inside: NDArray[np.bool_], around: NDArray[np.bool_], sd: float | None = None
) -> float:
    """Difference of means in SD, by default that of the surroundings; NaN without surroundings or spread."""
    if not around.any():
        return float("nan")
    sd = float(image[around].std()) if sd is None else sd
    return float(image[inside].mean() - image[around].mean()) / sd if sd > 0 else float("nan")


def _robust(values: NDArray[np.float32]) -> tuple[float, float]:
    """Median, and SD from the median absolute deviation."""
    middle = float(np.median(values))
    return middle, 1.4826 * float(np.median(np.abs(values - middle)))


def _near(mask: NDArray[np.bool_], reach: list[int]) -> NDArray[np.bool_]:
    """Voxels within an ellipsoid of `reach` voxels around the mask."""
    axes = np.ogrid[tuple(slice(-r, r + 1) for r in reach)]
    ball = sum((axis / r) ** 2 for axis, r in zip(axes, reach, strict=True)) <= 1
    grown: NDArray[np.bool_] = binary_dilation(mask, ball)
    return grown


def _parts(mask: NDArray[np.bool_], num_least: int) -> list[NDArray[np.bool_]]:
    numbered, number = label(mask, np.ones((3, 3, 3)))
    sizes = np.bincount(numbered.ravel(), minlength=number + 1)
    return [numbered == n for n in range(1, number + 1) if sizes[n] >= num_least]


def clipped_fraction(prediction: NDArray[np.float32], mask: NDArray[np.bool_]) -> float:
    """Share of the mask's voxels at an end of the scale: 0 or less, or at the highest value where several share it."""
    values = prediction[mask]
    highest = values == values.max()
    return float(((values <= 0) | highest if highest.sum() > 1 else values <= 0).mean())
