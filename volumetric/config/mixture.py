"""Section of the configuration for simulated pairs and sources among the training draws."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from volumetric.config.section import Probability, Section


class MixtureConfig(Section):
    """Simulated pairs among the training draws, from rows of the manifest with `labels` and no scans; and simulated
    sources, from rows with both.
    """

    simulated: Probability = Field(0, description="share of the draws that are simulated; 1 needs no scanned pairs")
    simulated_first: bool = Field(False, description="all simulated draws before the first scanned one")
    simulated_source: Probability = Field(
        0,
        exclude_if=lambda share: share == 0,
        description="share of the scanned draws of subjects with a label map whose source is simulated from it; the "
        "target stays the scan",
    )

    @property
    def simulates(self) -> bool:
        """True where anything is simulated."""
        return self.simulated > 0 or self.simulated_source > 0

    @model_validator(mode="after")
    def _draws_scans(self) -> Self:
        if self.simulated == 1 and self.simulated_source:
            raise ValueError(
                "mixture.simulated 1 leaves no scanned draw for mixture.simulated_source; lower it, or set "
                "mixture.simulated_source=0"
            )
        return self
