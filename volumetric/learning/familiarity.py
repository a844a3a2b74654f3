"""Statistics of the training scans in the features of the network that learned from them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from volumetric.batch.progress import progress
from volumetric.learning.pairs import TrainingPair
from volumetric.model.features import MIN_SUBJECTS, FeatureStatistics, pooled_features
from volumetric.model.spec import ModelSpec
from volumetric.model.units import in_network_units

_MOST_SUBJECTS = 200


def described(network: nn.Module, spec: ModelSpec, pairs: Sequence[TrainingPair], device: torch.device) -> ModelSpec:
    """The specification with the features of up to 200 scanned training subjects; as it is with fewer than four.

    Args:
        network: on the device; put into evaluation mode.
        spec: of the model to be.
        pairs: scanned training subjects.
        device: where to compute.
    """
    if len(pairs) < MIN_SUBJECTS:
        return spec
    network.eval()
    chosen = pairs[:: -(-len(pairs) // _MOST_SUBJECTS)]
    features = []
    with progress("features", len(chosen), "subjects") as advance:
        for pair in chosen:
            volume = in_network_units(spec, pair.sources, pair.mask[0], pair.measured)
            features.append(pooled_features(network, volume, spec.patch_size, device))
            advance(pair.name)
    return spec.model_copy(update={"features": FeatureStatistics.of(np.stack(features))})
