"""A subject in reference units, made in memory."""

import numpy as np

from tests.conftest import brain_pair
from volumetric.evaluation.subject import NormalizedSubject
from volumetric.manifest import ManifestRow


def normalized_pair(seed: int = 0, **fields) -> NormalizedSubject:
    t1w, t2w = brain_pair(seed)
    mask = t1w.array != 0
    source, truth = (np.where(mask, i.array / np.median(i.array[mask]), 0).astype(np.float32) for i in (t1w, t2w))
    return NormalizedSubject(ManifestRow("p"), source, truth, mask, "given", t2w.space, 1.0, 1.0, **fields)
