"""Section of the configuration for a second output of the network: the width of its error in each voxel."""

from __future__ import annotations

from pydantic import Field

from volumetric.config.section import Section


class UncertaintyConfig(Section):
    """A Laplace distribution in each voxel, whose width the network learns beside the image; weight 0: none."""

    weight: float = Field(
        0,
        ge=0,
        description="of the Laplace negative log likelihood, beside the weights of `loss`; 0: the network has no "
        "second output",
    )
