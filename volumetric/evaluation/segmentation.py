"""Three tissue classes of a brain from intensities alone: DIPY's hidden Markov random field."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

from volumetric.imaging.geometry import bounding_box

CSF, GM, WM = 1, 2, 3
"""The labels, as in a manifest's `tissues`."""
_BETA = 0.1
_ITERATIONS = 20
_DARKEST = 0.05


def segment(image: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Divide a brain into CSF, gray and white matter: the darkest, middle and brightest of three classes.

    Expectation maximization of a Gaussian mixture with a Markov random field (Zhang, Brady and Smith, IEEE Trans. Med.
    Imaging 20(1), 2001), beta 0.1, at most 20 iterations. Intensities alone decide, so deep gray nuclei of a T1w often
    come out as white matter. Voxels that the classifier takes for background get the class with the nearest mean.

    Args:
        image: `(I, J, K)`, bias-corrected; CSF darkest, white matter brightest.
        mask: brain `(I, J, K)`.

    Returns:
        Labels `(I, J, K)`: 0 outside the mask, 1 CSF, 2 gray and 3 white matter; the same for the same image.
    """
    from dipy.segment.tissue import TissueClassifierHMRF

    box = bounding_box(mask)
    inside, values = mask[box], image[box].astype(np.float64)
    low, high = np.quantile(values[inside], (0.005, 0.995))
    scaled = ((values - low) / max(high - low, 1e-6)).clip(0, 1)
    # The classifier has a fourth class for the air and lays unseeded noise over exact zeros; this air is seeded.
    air = np.random.default_rng(0).normal(1e-3, 1e-4, inside.shape)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a class of one value divides by its SD on the way
        _, classes, _ = TissueClassifierHMRF(verbose=False).classify(
            np.where(inside, _DARKEST + (1 - _DARKEST) * scaled, air), 3, _BETA, max_iter=_ITERATIONS
        )
    missed = inside & ~np.isin(classes, (CSF, GM, WM))
    if missed.any():
        means = [
            scaled[classed].mean() if (classed := inside & (classes == k)).any() else (2 * k - 1) / 6 for k in (1, 2, 3)
        ]
        classes[missed] = 1 + np.abs(scaled[missed][:, None] - means).argmin(axis=1)
    labels = np.zeros(mask.shape, np.uint8)
    labels[box] = np.where(inside, classes, 0)
    return labels


def combine(t1w: NDArray[np.float32], t2w: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(T1w - T2w) / (T1w + T2w) of images in reference units: both contrasts in one, CSF darkest.

    After Misaki et al. (Magn. Reson. Med. 74(6), 2015), who sharpen gray against white matter so.

    Returns:
        float32 `(I, J, K)` in [-1, 1], 0 outside the mask.
    """
    ratio = (t1w - t2w) / np.maximum(t1w + t2w, 1e-3)
    return np.where(mask, ratio.clip(-1, 1), 0).astype(np.float32)
