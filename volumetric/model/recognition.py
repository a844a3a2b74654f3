"""Recognition of scans that a model does not read: another contrast, noise, a CT, something other than a brain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from volumetric.config.run import Contrast, Source
from volumetric.imaging.geometry import bounding_box
from volumetric.imaging.nifti import Image
from volumetric.model.space import ModelSpace
from volumetric.model.spec import ModelSpec
from volumetric.model.training_range import training_range_warnings

BRAIN_ML = (600.0, 2200.0)
BRAIN_EXTENT_MM = (70.0, 220.0)


class Limits(NamedTuple):
    """Limits between contrasts, in the measures of `Appearance`; docs/explanation/recognition.md has the numbers.

    Attributes:
        t1w_cortex: highest of a T1w; 0.88 is measured, and 0.93 or more in other contrasts below the next limit.
        t1w_brightest: the same of `brightest`; 1.48 is measured, and 1.59 or more in other contrasts whose cortex is
            as dark as a T1w's.
        clear_t1w_cortex: a scan below this and the next is a T1w; between the two lies no judgment.
        clear_t1w_brightest: as above.
        t2w_brightest: only fluid of a T2w is brighter; a FLAIR reaches 1.72.
        likeness: lowest of a scan; 0.46 in the least of them, 0 in noise.
        enhancement: highest of a T1w; 1.29 is measured, and 1.38 or more with contrast agent.
        negative_share: most negative voxels of a scan; interpolation leaves a few.
        extreme: farthest voxel from 0, in medians of the brain: vessels and fat stay far below.
    """

    t1w_cortex: float = 0.92
    t1w_brightest: float = 1.55
    clear_t1w_cortex: float = 0.90
    clear_t1w_brightest: float = 1.50
    t2w_brightest: float = 1.82
    likeness: float = 0.25
    enhancement: float = 1.34
    negative_share: float = 0.01
    extreme: float = 100.0


LIMITS = Limits()
_STEP_MM = 2.0
_RIM_MM, _NEAR_MM, _DEEP_MM, _CORE_MM = 2.5, 3.0, 6.0, 4.0
_FLUID = 0.6  # of the median; only dark fluid lies below
_MIN_VOXELS = 100
_MIN_ENHANCING = 5  # voxels above the quantile of enhancement
_NAMES = {"t1w": "T1w", "t2w": "T2w", "flair": "FLAIR"}


class Appearance(NamedTuple):
    """Measures of a scan in its brain mask, in reference units.

    Attributes:
        cortex: median of tissue up to 3 mm from the surface or from dark fluid / of tissue deeper than 6 mm.
        brightest: 98th percentile.
        likeness: correlation of neighbors about 2 mm apart, along the axis where it is largest.
        enhancement: 99.9th percentile / 90th percentile of what is deeper than 4 mm.

    Cortex and likeness are nan where voxels are larger than 3 mm along all axes, or too few; enhancement where too few.
    """

    cortex: float
    brightest: float
    likeness: float
    enhancement: float = float("nan")


def measure_appearance(
    source: NDArray[np.float32], mask: NDArray[np.bool_], spacing_mm: NDArray[np.float64]
) -> Appearance:
    """Measure a scan on every n-th voxel, so that sides are near 2 mm; finer voxels make little difference.

    Args:
        source: `(I, J, K)` in reference units.
        mask: brain `(I, J, K)`.
        spacing_mm: `(3,)`.
    """
    steps = np.maximum(1, np.round(_STEP_MM / spacing_mm)).astype(int)
    box = bounding_box(mask)
    every = tuple(slice(s.start, s.stop, step) for s, step in zip(box, steps.tolist(), strict=True))
    values, inside, sides = source[every], mask[every], spacing_mm * steps
    depth = _depth_mm(inside, sides)
    tissue = inside & (values > _FLUID) & (depth > _RIM_MM)
    below = _depth_mm(tissue, sides)
    near = values[tissue & (below <= _NEAR_MM)]
    deep = values[below > _DEEP_MM]
    enough = min(near.size, deep.size) >= _MIN_VOXELS
    core = depth > _CORE_MM
    return Appearance(
        cortex=float(np.median(near) / np.median(deep)) if enough else float("nan"),
        brightest=float(np.quantile(values[inside], 0.98)),
        likeness=_likeness(values, core, sides),
        enhancement=_enhancement(values[core]),
    )


def possible_contrasts(appearance: Appearance) -> tuple[Contrast, ...]:
    """Those of T1w, T2w and FLAIR that a scan may be; all three where it cannot be told."""
    cortex, brightest, *_ = appearance
    if brightest > LIMITS.t2w_brightest:
        return ("t2w",)
    if cortex > LIMITS.t1w_cortex or brightest > LIMITS.t1w_brightest:
        return ("t2w", "flair")
    if cortex < LIMITS.clear_t1w_cortex and brightest < LIMITS.clear_t1w_brightest:
        return ("t1w",)
    return ("t1w", "t2w", "flair")


def scan_warnings(
    spec: ModelSpec, images: Mapping[str, Image], sources: NDArray[np.float32], space: ModelSpace
) -> tuple[str, ...]:
    """One sentence for each way in which scans are not what a model reads; the kind stands before the colon.

    Args:
        spec: of the model.
        images: the scans as they were read, by contrast.
        sources: `(C, I, J, K)` in model space, reference units.
        space: model space.
    """
    warnings = [f"the {contrast} {text}" for contrast in spec.sources for text in images[contrast].warnings]
    warnings += _size_warnings(space.brain, space.grid.spacing_mm)
    if spec.label_classes is not None:
        return tuple(warnings)
    for contrast, source in zip(spec.sources, sources, strict=True):
        warnings += [*_negative_warnings(contrast, images[contrast]), *_extreme_warnings(contrast, source)]
        warnings += _contrast_warnings(contrast, measure_appearance(source, space.brain, space.grid.spacing_mm))
    return (*warnings, *training_range_warnings(spec, images[spec.sources[0]], sources, space.brain))


def _contrast_warnings(contrast: Source, appearance: Appearance) -> list[str]:
    if appearance.likeness < LIMITS.likeness:
        return [
            f"the {contrast} scan is mostly noise: neighboring voxels correlate by {appearance.likeness:.2f}, "
            "those of measured scans by 0.46 or more"
        ]
    possible = possible_contrasts(appearance)
    if contrast == "t1w" in possible and appearance.enhancement > LIMITS.enhancement:
        return [
            "the scan looks like a T1w with contrast agent, not a T1w: the brightest 0.1 % deep in the brain exceed "
            f"{appearance.enhancement:.2f} times its 90th percentile; a prediction from such a scan is worse"
        ]
    if contrast not in _NAMES or contrast in possible:
        return []
    cortex = (
        ""
        if np.isnan(appearance.cortex)
        else f"tissue near the surface and fluid is {appearance.cortex:.2f} times as bright as deep tissue, and "
    )
    return [
        f"the scan looks like a {' or '.join(_NAMES[other] for other in possible)}, not a {_NAMES[contrast]}: {cortex}"
        f"the brightest 2 % of the brain exceed {appearance.brightest:.2f} times its median"
    ]


def _size_warnings(mask: NDArray[np.bool_], spacing_mm: NDArray[np.float64]) -> list[str]:
    volume_ml = float(mask.sum() * spacing_mm.prod() / 1000)
    extents = [(s.stop - s.start) * side for s, side in zip(bounding_box(mask), spacing_mm.tolist(), strict=True)]
    (few, much), (short, long) = BRAIN_ML, BRAIN_EXTENT_MM
    if few <= volume_ml <= much and short <= min(extents) and max(extents) <= long:
        return []
    sides = " x ".join(f"{extent:.0f}" for extent in extents)
    return [
        f"the mask does not look like a brain: it has {volume_ml:.0f} ml and {sides} mm, a brain {few:.0f} to "
        f"{much:.0f} ml and {short:.0f} to {long:.0f} mm a side"
    ]


def _negative_warnings(contrast: str, image: Image) -> list[str]:
    share = float((image.array < 0).mean())
    if share <= LIMITS.negative_share:
        return []
    return [
        f"the {contrast} scan has negative values, as a CT or a normalized image has: {100 * share:.0f} % of its "
        f"voxels, down to {float(image.array.min()):.4g}; magnitude images have none"
    ]


def _extreme_warnings(contrast: str, source: NDArray[np.float32]) -> list[str]:
    farthest = float(np.abs(source).max())
    if farthest <= LIMITS.extreme:
        return []
    return [
        f"the {contrast} scan has extreme voxels: up to {farthest:.3g} times the brain's median, expected at most "
        f"{LIMITS.extreme:g}, so the prediction around them means nothing"
    ]


def _depth_mm(mask: NDArray[np.bool_], sides_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each voxel inside, the distance from the nearest outside; what lies beyond the array is outside."""
    depth: NDArray[np.float64] = distance_transform_edt(np.pad(mask, 1), sampling=sides_mm)[1:-1, 1:-1, 1:-1]
    return depth


def _enhancement(core: NDArray[np.float32]) -> float:
    if core.size < 1000 * _MIN_ENHANCING:
        return float("nan")
    usual, highest = np.quantile(core, (0.9, 0.999))
    return float(highest / usual) if usual > 0 else float("nan")


def _likeness(values: NDArray[np.float32], core: NDArray[np.bool_], sides_mm: NDArray[np.float64]) -> float:
    found = [_correlation(values, core, axis) for axis in range(3) if sides_mm[axis] <= _NEAR_MM]
    return max((correlation for correlation in found if correlation is not None), default=float("nan"))


def _correlation(values: NDArray[np.float32], core: NDArray[np.bool_], axis: int) -> float | None:
    """Of neighbors in the core along an axis; None where there are too few of them or they are constant."""
    values, core = np.moveaxis(values, axis, 0), np.moveaxis(core, axis, 0)
    both = core[1:] & core[:-1]
    first, second = values[:-1][both], values[1:][both]
    if first.size < _MIN_VOXELS or first.std() == 0 or second.std() == 0:
        return None
    return float(np.corrcoef(first, second)[0, 1])
