"""Ranges of training pairs that are simulated from label maps."""

from __future__ import annotations

from pydantic import Field

from volumetric.config.section import Probability, Section


class SimulationConfig(Section):
    """Ranges of simulated pairs; each `_probability` is that of a pair."""

    table: str = Field("freesurfer", description="label -> tissue: a shipped table, or a YAML file")
    deformation: float = Field(1, ge=0, le=2, description="factor on pose, size and warp; 0 keeps each anatomy's shape")
    lesion_probability: Probability = Field(0.5, description="white-matter lesions")
    tumor_probability: Probability = Field(0.2, description="a tumor with edema, or a cavity")
    random_contrast_probability: Probability = Field(
        0, description="a source of random tissue intensities, no protocol"
    )
    clean_target: bool = Field(
        True,
        description="a target without noise, shading, ringing, thick slices and motion, which nothing could predict",
    )
    thick_slice_probability: Probability = Field(0.4, description="slices of 2 to 7 mm, source and target apart")
    ringing_probability: Probability = Field(0.2, description="Gibbs ringing")
    motion_probability: Probability = Field(0.1, description="moves of the head during a scan, source and target apart")
    motion_mm: float = Field(2, ge=0, le=20, description="largest shift of a move along each axis")
    motion_deg: float = Field(2, ge=0, le=20, description="largest turn of a move about each axis")
    deface_probability: Probability = Field(
        0.2, description="of heads alone: the face is air in both scans, cut by a plane clear of the brain"
    )
    misalignment_mm: float = Field(0.5, ge=0, le=5, description="largest shift of the source along each axis")
    bias: float = Field(0.12, ge=0, le=1, description="largest SD of the logarithm of the shading")
    noise: float = Field(0.05, ge=0, le=0.5, description="largest SD of the noise, of the brain's median")
