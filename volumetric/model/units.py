"""Network units of sources: the one way from reference units, for training and inference."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from volumetric.imaging.normalization import NORMALIZERS, Statistics, Units
from volumetric.model.spec import ModelSpec


def measure_sources(
    normalization: str, contrasts: Sequence[str], sources: NDArray[np.float32], mask: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Numbers that a normalization takes from a subject's own sources.

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


def source_units(normalization: str, measured: NDArray[np.float64], learned: Sequence[Statistics] = ()) -> list[Units]:
    """The units of each source.

    Args:
        normalization: a key of `NORMALIZERS`.
        measured: `(C, N)`, what `measure_sources` returned.
        learned: for each source what the normalization learned from the training subjects; empty where it learns
            nothing.
    """
    units = NORMALIZERS[normalization].units
    learned = learned or [()] * len(measured)
    return [units(tuple(own), shared) for own, shared in zip(measured.tolist(), learned, strict=True)]


def in_network_units(
    spec: ModelSpec,
    sources: NDArray[np.float32],
    mask: NDArray[np.bool_],
    measured: NDArray[np.float64] | None = None,
) -> NDArray[np.float32]:
    """Sources in network units.

    Args:
        spec: its normalization, with what that learned from the training subjects.
        sources: `(C, I, J, K)` in reference units; a whole volume, or a patch of one.
        mask: `(I, J, K)`.
        measured: of the whole volume in the brain; None measures `sources` in the mask.

    Returns:
        float32 `(C, I, J, K)`, 0 outside the mask.

    Raises:
        IntensityError: as `measure_sources`.
    """
    if measured is None:
        measured = measure_sources(spec.source_normalization, spec.sources, sources, mask)
    units = source_units(spec.source_normalization, measured, [source_map.numbers for source_map in spec.source_maps])
    return np.stack([unit.apply(source, mask) for unit, source in zip(units, sources, strict=True)])
