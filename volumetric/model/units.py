"""Network units of sources: the one way from reference units, for training and inference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from volumetric.config.run import LABEL_SOURCE
from volumetric.errors import InputError
from volumetric.imaging.normalization import NORMALIZERS, Statistics, Units
from volumetric.model.spec import ModelSpec


class LabelClassError(InputError):
    """A label map with labels that a model has no class for."""


def classes_of(
    labels: NDArray[np.float32], classes: Mapping[str, Sequence[int]], *, name: str = "the label map"
) -> NDArray[np.int64]:
    """The place of each label's class among the classes, of the shape of `labels`.

    Raises:
        LabelClassError: labels in no class.
    """
    numbers = labels.astype(np.int64)
    places = np.full(max(int(numbers.max(initial=0)), *map(max, classes.values())) + 1, -1)
    for place, own in enumerate(classes.values()):
        places[list(own)] = place
    found: NDArray[np.int64] = places[numbers]
    if unknown := sorted(set(numbers[found < 0].tolist())):
        shown = ", ".join(map(str, unknown[:8])) + (" and more" if len(unknown) > 8 else "")
        raise LabelClassError(
            f"{name}: no class has the labels {shown}; train with a table that has them, labels.table, or mend the map"
        )
    return found


def one_hot(
    labels: NDArray[np.float32], mask: NDArray[np.bool_], classes: Mapping[str, Sequence[int]]
) -> NDArray[np.float32]:
    """Channels of a label map, one a class: 1 in the class's voxels inside the mask, 0 elsewhere.

    Args:
        labels: whole numbers `(I, J, K)`.
        mask: `(I, J, K)`.
        classes: class -> its labels, in the order of the channels.

    Returns:
        float32 `(N, I, J, K)`.

    Raises:
        LabelClassError: labels inside the mask that are in no class.
    """
    channels = np.zeros((len(classes), *labels.shape), np.float32)
    channels[(classes_of(labels[mask], classes), *np.nonzero(mask))] = 1
    return channels


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
        `(C, N)`, the normalizer's numbers for each source, such as mean and SD; N is 0 where it takes none. A source
        that is 0 everywhere is missing, and has the numbers of the first that is not.

    Raises:
        IntensityError: an image without the spread, or the peak, that the normalization needs.
    """
    if tuple(contrasts) == (LABEL_SOURCE,):
        return np.zeros((1, 0))
    measure = NORMALIZERS[normalization].measure
    given = [place for place, source in enumerate(sources) if source.any()] or [0]
    own = {place: measure(sources[place], mask, contrasts[place]) for place in given}
    return np.array([own.get(place, own[given[0]]) for place in range(len(contrasts))], np.float64)


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
        float32 `(C, I, J, K)`, 0 outside the mask and where a source is 0 everywhere; of a label map a channel for each
        class.

    Raises:
        IntensityError: as `measure_sources`.
        LabelClassError: as `one_hot`.
    """
    if spec.label_classes is not None:
        return one_hot(sources[0], mask, spec.label_classes)
    if measured is None:
        measured = measure_sources(spec.source_normalization, spec.sources, sources, mask)
    units = source_units(spec.source_normalization, measured, [source_map.numbers for source_map in spec.source_maps])
    return np.stack([unit.apply(s, mask) if s.any() else s for unit, s in zip(units, sources, strict=True)])
