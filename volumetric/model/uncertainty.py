"""Uncertainty of a prediction: from the network's second output to the half-width of a 90 % interval."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from volumetric.config.section import Probability, Section

if TYPE_CHECKING:
    from torch import Tensor  # whoever lists models needs no torch

NOMINAL_COVERAGE = 0.9
"""Share of voxels whose error is meant to be smaller than the half-width."""
LAPLACE_FACTOR = -math.log(1 - NOMINAL_COVERAGE)
"""Half-width of that interval in widths of a Laplace distribution."""
LOG_WIDTH_LIMITS = (-7.0, 5.0)
"""Of the logarithm of a width in network units, by which neither the likelihood nor its gradient grows without end."""


class Calibration(Section):
    """The factor from widths to half-widths that holds on the validation subjects (split conformal prediction).

    Attributes:
        coverage_low: of the subject with the least.
        coverage_high: of the subject with the most.
    """

    factor: float = Field(gt=0, description="90 % of the validation voxels have an error below this many widths")
    num_subjects: int = Field(ge=1, description="validation subjects")
    coverage: Probability | None = Field(
        None, description="mean share of a subject's voxels in the interval by the factor of the others; null for one"
    )
    coverage_low: Probability | None = None
    coverage_high: Probability | None = None


class UncertaintySpec(Section):
    """The second output of a network."""

    kind: Literal["laplace"] = Field("laplace", description="logarithm of the width of a Laplace distribution")
    calibration: Calibration | None = Field(
        None, description="null: no validation subjects; the half-width is then that of the Laplace distribution"
    )

    @property
    def factor(self) -> float:
        """Half-width of the 90 % interval in widths."""
        return LAPLACE_FACTOR if self.calibration is None else self.calibration.factor


def width_of(log_width: Tensor) -> Tensor:
    """The width, in network units, from the network's second output."""
    return log_width.clamp(*LOG_WIDTH_LIMITS).exp()
