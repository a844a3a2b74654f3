"""Channels of a source left out at random, so that a network learns to do without any of them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.transforms import MapTransform, Randomizable


class RandMissingd(Randomizable, MapTransform):
    """Each channel of volumes `(C, I, J, K)` in network units is 0 with a probability, but never all of them.

    Channels that a subject lacks are 0 always: where `given_key` is there, it has booleans `(C,)`. Of channels that all
    were to be left out, one that is drawn evenly is kept.
    """

    def __init__(self, keys: KeysCollection, prob: float = 0.5, given_key: str = "given") -> None:
        """Leave channels of `keys` out, each with probability `prob`; 0.5 makes every subset but one equally likely."""
        super().__init__(keys)
        self.prob, self.given_key = prob, given_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The dictionary with channels of 0."""
        result = dict(data)
        for key in self.key_iterator(result):
            given = np.asarray(result.get(self.given_key, np.ones(len(result[key]), bool)))
            kept = given & (self.R.random(len(given)) >= self.prob)
            spare = self.R.choice(np.flatnonzero(given))
            if not kept.any():
                kept[spare] = True
            volume = result[key].clone()
            volume[np.flatnonzero(~kept)] = 0
            result[key] = volume
        return result
