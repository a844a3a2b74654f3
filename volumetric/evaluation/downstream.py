"""What a prediction is good for: the tissues a segmenter finds with it, and the lesions a reader would see."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, binary_erosion, label

from volumetric.evaluation.pairing import Scored
from volumetric.evaluation.regions import TISSUES
from volumetric.evaluation.segmentation import combine, segment

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

Mask = NDArray[np.bool_]
Volume = NDArray[np.float32]


def tissue_agreement(scored: Scored, prediction: Volume) -> dict[str, dict[str, float]]:
    """Segment T1w with the true and with the predicted T2w by the same segmenter, and compare.

    Returns:
        From `csf`, `gm`, `wm` to `dice` in [0, 1], and `volume_bias`: the relative difference of volumes, above 0 where
        the prediction makes more of that tissue.
    """
    true, synthetic = (
        segment(combine(scored.source, image, scored.mask), scored.mask) for image in (scored.truth, prediction)
    )
    found = {}
    for name, tissue in TISSUES.items():
        a, b = true == tissue, synthetic == tissue
        num_a, num_b = int(a.sum()), int(b.sum())
        found[name] = {
            "dice": 2 * int((a & b).sum()) / (num_a + num_b) if num_a + num_b else float("nan"),
            "volume_bias": (num_b - num_a) / num_a if num_a else float("nan"),
        }
    return found


def lesion_visibility(
    scored: Scored, prediction: Volume, lesions: Mask, white: Mask, spacing_mm: NDArray[np.float64]
) -> dict[str, float]:
    """How marked lesions show in truth and prediction, how many are lost, and how many spots are invented.

    Args:
        scored: truth and brain.
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
    found: dict[str, float] = {}
    for name, image in (("truth", scored.truth), ("prediction", prediction)):
        found[f"cnr_{name}"] = _contrast(image, lesions, around, float(image[around].std()) if around.any() else 0)
    levels = {id(image): _robust(image[clean]) for image in (scored.truth, prediction)}
    num_least = max(1, round(_MIN_LESION_MM3 / float(np.prod(spacing_mm))))
    marked = lost = 0
    for lesion in _parts(lesions, num_least):
        shell = _near(lesion, reach) & clean
        true, made = (_contrast(image, lesion, shell, levels[id(image)][1]) for image in (scored.truth, prediction))
        if true >= _VISIBLE_SD:
            marked += 1
            lost += not made >= _LOST * true
    middle, sd = levels[id(prediction)]
    true_middle, true_sd = levels[id(scored.truth)]
    # Not at the rim of white matter, where a voxel holds gray matter or fluid too.
    inner = binary_erosion(clean)
    spots = _parts(inner & (prediction > middle + _SPOT_SD * sd), num_least)
    invented = sum(scored.truth[spot].mean() < true_middle + _QUIET_SD * true_sd for spot in spots)
    return found | {"lesions_marked": marked, "lesions_lost": lost, "spots_invented": int(invented)}


def _contrast(image: Volume, inside: Mask, around: Mask, sd: float) -> float:
    if not around.any() or sd <= 0:
        return float("nan")
    return float(image[inside].mean() - image[around].mean()) / sd


def _robust(values: Volume) -> tuple[float, float]:
    """Median, and SD from the median absolute deviation."""
    middle = float(np.median(values))
    return middle, 1.4826 * float(np.median(np.abs(values - middle)))


def _near(mask: Mask, reach: list[int]) -> Mask:
    """Voxels within an ellipsoid of `reach` voxels around the mask."""
    axes = np.ogrid[tuple(slice(-r, r + 1) for r in reach)]
    ball = sum((axis / r) ** 2 for axis, r in zip(axes, reach, strict=True)) <= 1
    grown: Mask = binary_dilation(mask, ball)
    return grown


def _parts(mask: Mask, num_least: int) -> list[Mask]:
    numbered, number = label(mask, np.ones((3, 3, 3)))
    sizes = np.bincount(numbered.ravel(), minlength=number + 1)
    return [numbered == n for n in range(1, number + 1) if sizes[n] >= num_least]
