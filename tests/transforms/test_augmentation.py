import numpy as np
import torch

from volumetric.config.run import AugmentationConfig
from volumetric.transforms import RandAppearanced


def test_appearance_changes_the_keys_alone_and_repeats_by_seed():
    rng = np.random.default_rng(0)
    data = {key: torch.from_numpy(rng.random((1, 14, 16, 18), dtype=np.float32)) for key in ("t1w", "t2w")}
    transform = RandAppearanced("t1w", AugmentationConfig(noise_probability=1, bias_probability=1))
    first, again, other = (transform.set_random_state(seed=seed)(dict(data)) for seed in (1, 1, 2))
    assert torch.equal(first["t1w"], again["t1w"])
    assert not torch.equal(first["t1w"], other["t1w"])
    assert not torch.equal(first["t1w"], data["t1w"])
    assert torch.equal(first["t2w"], data["t2w"])
    assert len(RandAppearanced("t1w").transforms) == 5
