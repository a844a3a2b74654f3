"""The one way from reference units into what the network sees; training and inference both go it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from volumetric.imaging.normalization import NORMALIZERS
from volumetric.model.spec import ModelSpec


def measure_sources(
    normalization: str, contrasts: Sequence[str], sources: NDArray[np.float32], mask: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """What a normalization takes from a subject's own sources.

    Args:
        normalization: a key of `NORMALIZERS`.
        contrasts: of the sources.
        sources: `(C, I, J, K)` in reference units.
        mask: `(I, J, K)`.

    Returns:
        `(C, N)`, the normalizer's numbers for each source, such as mean and SD; N is 0 where it takes none.

    Raises:
        IntensityError: an image without the spread, or the peak, that the normalization needs.
    """
    measure = NORMALIZERS[normalization].measure
    own = [measure(source, mask, contrast) for contrast, source in zip(contrasts, sources, strict=True)]
    return np.array(own, np.float64)


def in_network_units(
    spec: ModelSpec,
    sources: NDArray[np.float32],
    mask: NDArray[np.bool_],
    measured: NDArray[np.float64] | None = None,
) -> NDArray[np.float32]:
    """What the network sees of sources.

    Args:
        spec: its normalization, with what that learned from the training people.
        sources: `(C, I, J, K)` in reference units; a whole head, or a patch of one.
        mask: `(I, J, K)`.
        measured: of the whole head, where `sources` are a patch; None measures `sources`.

    Returns:
        float32 `(C, I, J, K)`, 0 outside the mask.

    Raises:
        IntensityError: as `measure_sources`.
    """
    if measured is None:
        measured = measure_sources(spec.source_normalization, spec.sources, sources, mask)
    units = NORMALIZERS[spec.source_normalization].units
    learned = [source_map.numbers for source_map in spec.source_maps] or [()] * len(spec.sources)
    seen = [
        units(tuple(own), of_people).apply(source, mask)
        for source, own, of_people in zip(sources, measured.tolist(), learned, strict=True)
    ]
    return np.stack(seen)
