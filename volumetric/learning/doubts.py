"""Doubts about training scans, named once for all subjects: contrasts that may be swapped, and too few voxels."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

import numpy as np

from volumetric.config.run import RunConfig
from volumetric.imaging.intensity import PooledIntensities
from volumetric.learning.pairs import TrainingPair
from volumetric.learning.statistics import intensities_of

log = logging.getLogger(__name__)

LEAST_RATIO = 0.9
"""Skew of a T2w over that of the T1w: 0.94 or more is measured; docs/explanation/recognition.md has the numbers."""

_DARKEST, _BRIGHTEST = 0.02, 0.98
_NUM_SHOWN = 5


def warn_of_doubts(pairs: Sequence[TrainingPair], config: RunConfig) -> None:
    """Log what may be wrong with the scans of a training, a warning of each kind that names the subjects.

    Args:
        pairs: in model space.
        config: for the patch and the contrasts.
    """
    if swapped := [pair.name for pair in pairs if _may_be_swapped(pair, config)]:
        log.warning(
            "%s: the t1w looks like a T2w and the t2w like a T1w, since fluid is bright in a T2w and dark in a T1w; "
            "open them, and correct the manifest if its columns are swapped",
            _listed(swapped),
        )
    shapes = {pair.name: pair.target.shape[1:] for pair in pairs}
    small = {name: shape for name, shape in shapes.items() if math.prod(shape) < math.prod(config.patch.size)}
    if small:
        log.warning(
            "%s: there is little to learn from, since in model space these scans have fewer voxels than a patch (%s; "
            "of the first %s) and are padded with 0; leave them out, or set a smaller patch.size or space.spacing_mm",
            _listed(list(small)),
            _sides(config.patch.size),
            _sides(next(iter(small.values()))),
        )


def _may_be_swapped(pair: TrainingPair, config: RunConfig) -> bool:
    """True where the T1w is more skewed to bright voxels than the T2w."""
    if not {"t1w", "t2w"} <= {*config.task.images} - {*pair.missing}:
        return False
    t1w, t2w = (_skew(intensities_of(pair, contrast)) for contrast in ("t1w", "t2w"))
    return t2w < LEAST_RATIO * t1w


def _skew(intensities: PooledIntensities) -> float:
    """The distance of the brightest voxels from the median over that of the darkest; nan where none are darker."""
    dark, median, bright = intensities.quantile(np.array([_DARKEST, 0.5, _BRIGHTEST])).tolist()
    return float((bright - median) / (median - dark)) if median > dark else float("nan")


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _NUM_SHOWN
    return ", ".join(names[:_NUM_SHOWN]) + f" and {more} more" * (more > 0)


def _sides(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))
