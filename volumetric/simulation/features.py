"""Ten numbers of a T1w/T2w pair that tell made pairs from scanned ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage


def pair_features(t1w: NDArray[np.float32], t2w: NDArray[np.float32], mask: NDArray[np.bool_]) -> dict[str, float]:
    """Numbers of a pair in reference units.

    Classes come from ranks of T1w in the mask: the darkest 8 % (fluid, dura, vessels, the rim), the middle fifth (gray
    matter), the brightest 15 % (white matter).

    Args:
        t1w: `(I, J, K)`, each divided by its median in the mask.
        t2w: the same.
        mask: brain `(I, J, K)`.

    Returns:
        By name; all without unit. `detail` is the SD of what a Gaussian of one voxel takes away, in the mask's inside.
    """
    inside1, inside2 = t1w[mask], t2w[mask]
    dark, low, high, bright = np.quantile(inside1, (0.08, 0.4, 0.6, 0.85))
    gray = float(np.median(inside2[(inside1 > low) & (inside1 < high)]))
    white = float(np.median(inside2[inside1 > bright]))
    core = ndimage.binary_erosion(mask, iterations=2)
    return {
        "T2w white / gray": white / gray,
        "T2w share above 1.8": float((inside2 > 1.8).mean()),
        "T2w where T1w is darkest": float(np.median(inside2[inside1 < dark])),
        "T2w 2nd percentile": float(np.quantile(inside2, 0.02)),
        "T1w 98th percentile": float(np.quantile(inside1, 0.98)),
        "T1w 8th percentile": float(dark),
        "T1w white / gray": float(np.median(inside1[inside1 > bright])),
        "T1w detail": _detail(t1w, mask, core),
        "T2w detail": _detail(t2w, mask, core),
        "correlation": float(np.corrcoef(inside1, inside2)[0, 1]),
    }


def _detail(image: NDArray[np.float32], mask: NDArray[np.bool_], core: NDArray[np.bool_]) -> float:
    weights = ndimage.gaussian_filter(mask.astype(np.float32), 1.0)
    smooth = ndimage.gaussian_filter(image * mask, 1.0) / np.maximum(weights, 1e-3)
    return float((image - smooth)[core].std())
