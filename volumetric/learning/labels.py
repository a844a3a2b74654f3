"""Classes of label maps that are sources of a training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from volumetric.config.run import LABEL_SOURCE, RunConfig
from volumetric.learning.pairs import TrainingPair
from volumetric.model.units import classes_of
from volumetric.simulation.label_table import read_label_table


def label_classes(config: RunConfig) -> dict[str, tuple[int, ...]] | None:
    """Class -> its labels by the configured table; None where the source is no label map.

    Raises:
        LabelTableError: no such table.
    """
    if LABEL_SOURCE not in config.task.sources:
        return None
    return read_label_table(config.labels.table).classes(lesions=config.labels.lesions)


def check_label_maps(pairs: Sequence[TrainingPair], classes: Mapping[str, Sequence[int]] | None) -> None:
    """Check that every label of every pair has a class.

    Raises:
        LabelClassError: naming the first subject that has others.
    """
    for pair in pairs if classes is not None else ():
        classes_of(pair.sources[0][pair.mask[0]], classes or {}, name=f"subject {pair.name}")
