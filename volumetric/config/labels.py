"""Section of the configuration for label maps that are sources."""

from __future__ import annotations

from pydantic import Field

from volumetric.config.section import Section


class LabelsConfig(Section):
    """Classes of a label map that is the source: each is a channel of the network's input, 1 in its voxels."""

    table: str = Field(
        "freesurfer", min_length=1, description="classes of the labels: freesurfer, three_tissues, or a YAML file"
    )
    lesions: bool = Field(True, description="lesions are a class of their own; false: they are white matter")
