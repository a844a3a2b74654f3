import numpy as np
import pytest

from volumetric.learning.cache import cached
from volumetric.learning.pairs import TrainingPair
from volumetric.learning.reading import read_pairs
from volumetric.manifest import read_manifest
from volumetric.model.spec import AffineMap, ModelSpec, TrainingStatistics


@pytest.fixture
def pairs(cohort, tiny_config, tmp_path):
    return read_pairs(read_manifest(cohort).split("train"), tiny_config, tmp_path / "cache", title="t")


@pytest.fixture
def spec(tiny_config):
    """Of a model whose network units are reference units."""
    return ModelSpec(
        sources=("t1w",),
        target="t2w",
        spacing_mm=None,
        target_map=AffineMap(center=0, scale=1),
        data_range=2.5,
        network=tiny_config.network,
        patch_size=tiny_config.patch.size,
        overlap=0.5,
        training=TrainingStatistics(
            num_subjects=1,
            source_quantiles={"t1w": (0.0, 0.5, 1.0, 1.5, 2.0)},
            spacing_mm_low=(1, 1, 1),
            spacing_mm_high=(1, 1, 1),
        ),
        training_manifest_sha256="",
        versions={},
    )


@pytest.fixture
def make_pair(tmp_path):
    """A pair of given arrays `(I, J, K)`, foreground everywhere; sources are not changed by standardization."""

    def make(name, source, target, mask=None):
        mask = np.ones(source.shape, bool) if mask is None else mask
        arrays = {
            "sources": source[None].astype(np.float32),
            "target": target[None].astype(np.float32),
            "mask": mask[None],
            "centers": np.flatnonzero(mask),
            "measured": np.array([[0.0, 1.0]]),
            "spacing_mm": np.ones(3),
        }
        folder = cached(tmp_path / "made", name, arrays, lambda: arrays)
        return TrainingPair(name, folder, folder)

    return make
