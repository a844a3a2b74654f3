"""Lesions, tumors and cavities laid over a label map."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from volumetric.simulation.label_map import LabelMap
from volumetric.simulation.parameters import Lesion
from volumetric.simulation.tissues import IN_BRAIN, NUMBER, TISSUES

ROUGHNESS = 0.22
"""SD of the logarithm of a lesion's radius over its surface."""

_NUM_WAVES = 8
_WHITE = np.array([name in ("white_matter", "cerebellar_white_matter", "brain_stem") for name in TISSUES])
_SPREADS_IN_WHITE = {"edema", "white_matter_lesion"}


def with_lesions(rng: np.random.Generator, label_map: LabelMap, lesions: Sequence[Lesion]) -> NDArray[np.uint8]:
    """The tissues of a label map with lesions in them, `(I, J, K)`; the map's own array where there are none.

    Lesions and edema replace white matter, tumors and cavities any solid brain.

    Args:
        rng: source of their surfaces.
        label_map: says where white matter is.
        lesions: in the order they are laid over one another.
    """
    if not lesions:
        return label_map.tissues
    sites = label_map.lesion_sites, label_map.lesion_odds
    return laid_over(rng, label_map.tissues, sites, lesions, label_map.space.spacing_mm)


def laid_over(
    rng: np.random.Generator,
    tissues: NDArray[np.uint8],
    sites: tuple[NDArray[np.int32], NDArray[np.float64]],
    lesions: Sequence[Lesion],
    spacing_mm: NDArray[np.float64],
) -> NDArray[np.uint8]:
    """Tissues `(I, J, K)` with lesions at `label_map.lesion_sites`; as `with_lesions`."""
    result, (voxels, odds) = tissues.copy(), sites
    ends = np.cumsum(odds)
    for lesion in lesions:
        _add(rng, result, voxels[min(int(np.searchsorted(ends, lesion.site)), len(ends) - 1)], lesion, spacing_mm)
    return result


def replaceable(tissue: str) -> NDArray[np.bool_]:
    """The tissues, by their places in `tissues.NAMES`, that a lesion of this tissue may replace."""
    return _WHITE if tissue in _SPREADS_IN_WHITE else IN_BRAIN


def _add(
    rng: np.random.Generator,
    tissues: NDArray[np.uint8],
    site: NDArray[np.int32],
    lesion: Lesion,
    spacing_mm: NDArray[np.float64],
) -> None:
    radii_vox = np.array(lesion.radii_mm) / spacing_mm
    reach = np.ceil(radii_vox * lesion.shells[0][0] * np.exp(2 * ROUGHNESS)).astype(int)
    low, high = np.maximum(site - reach, 0), np.minimum(site + reach + 1, tissues.shape)
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    axes = [(np.arange(a, b) - c) / r for a, b, c, r in zip(low, high, site, radii_vox, strict=True)]
    x, y, z = np.meshgrid(*axes, indexing="ij", sparse=True)
    distance = np.sqrt(x**2 + y**2 + z**2) * np.exp(_rough(rng, x, y, z))
    own = tissues[box]
    before = own.copy()
    for scale, tissue in lesion.shells:
        own[(distance < scale) & replaceable(tissue)[before]] = NUMBER[tissue]


def _rough(
    rng: np.random.Generator, x: NDArray[np.float64], y: NDArray[np.float64], z: NDArray[np.float64]
) -> NDArray[np.float64]:
    """A sum of plane waves of about a radius' length, of SD `ROUGHNESS`."""
    directions, phases = rng.normal(0, 3, (_NUM_WAVES, 3)), rng.uniform(0, 2 * np.pi, _NUM_WAVES)
    waves = sum(np.sin(a * x + b * y + c * z + phase) for (a, b, c), phase in zip(directions, phases, strict=True))
    return np.asarray(ROUGHNESS * np.sqrt(2 / _NUM_WAVES) * waves)
