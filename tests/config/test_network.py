"""The size of a network is bounded before it is built."""

import pytest
from pydantic import TypeAdapter, ValidationError

from volumetric.config.network import NETWORK_NAMES, NetworkConfig, least_weights
from volumetric.model.networks import build_network, num_parameters

SMALL = {
    "unet": {"channels": [8, 16], "num_blocks": 3},
    "segresnet": {"width": 8, "num_blocks": [1, 2]},
    "dynunet": {"channels": [8, 16, 32]},
    "swinunetr": {"width": 12},
    "seed_unet": {},
    "spade": {"channels": [8, 16], "hidden": 12},
}


def network(name, **settings):
    return TypeAdapter(NetworkConfig).validate_python({"name": name, **settings})


@pytest.mark.parametrize("name", NETWORK_NAMES)
def test_the_estimate_is_a_lower_bound_and_near(name):
    config = network(name, **SMALL[name])
    weights = num_parameters(build_network(config, 1))
    assert least_weights(config) < weights
    if name != "seed_unet":
        assert least_weights(config) > weights / 3


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("unet", {"channels": [2048, 2048, 2048]}),
        ("segresnet", {"width": 64, "num_blocks": [2048, 2048]}),
        ("dynunet", {"channels": [2048, 2048, 2048]}),
        ("swinunetr", {"width": 384}),
        ("spade", {"channels": [2048, 2048, 2048]}),
    ],
)
def test_a_network_too_large_to_build_is_refused_at_once(name, settings):
    with pytest.raises(ValidationError, match="million weights, expected at most 500 million"):
        network(name, **settings)
