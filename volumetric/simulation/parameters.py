"""Numbers drawn for one simulated pair; its fields and noise follow from the seeds among them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class PairShape:
    """Pose and shape of the head against its label map.

    Attributes:
        mirrored: left and right exchanged.
        to_map: `(3, 3)` of the affine part, from subject mm to map mm about the brain's center.
        velocity_mm: root mean square of each component of the warp's parts, one for each of `VELOCITY_KNOTS_MM`.
        ventricle_flow_mm: greatest speed of the ventricles' walls, outward above 0.
    """

    mirrored: bool
    to_map: NDArray[np.float64]
    velocity_mm: Triple
    ventricle_flow_mm: float


@dataclass(frozen=True)
class Surfaces:
    """Borders of fluid, cortex, dura and the mask.

    Attributes:
        cortex_mm: mean shift of the cortex's outer surface, outward above 0.
        cortex_sd_mm: its SD from place to place.
        vessel_share: share of the sulcal fluid that vessels and meninges take, dark in both contrasts.
        mask_mm: distance of the mask's rim from the closed brain surface.
        mask_sd_mm: its SD from place to place.
        rim_mm: thickness of the dark rim that brain extraction left, 0 for none.
        fat_share: share of unnamed soft tissue that is fat.
    """

    cortex_mm: float
    cortex_sd_mm: float
    vessel_share: float
    mask_mm: float
    mask_sd_mm: float
    rim_mm: float
    fat_share: float


@dataclass(frozen=True)
class Lesion:
    """A rough ellipsoid of one tissue.

    Attributes:
        site: a number in 0..1, place among the map's sites by their odds.
        radii_mm: along the axes.
        tissue: name.
        shells: (scale, tissue) outside in, each over the one before, such as edema around a tumor.
    """

    site: float
    radii_mm: Triple
    shells: tuple[tuple[float, str], ...]


@dataclass(frozen=True)
class Pose:
    """The head against where the scan has it.

    Attributes:
        turn_deg: about the axes, x first.
        shift_mm: along them.
    """

    turn_deg: Triple = (0.0, 0.0, 0.0)
    shift_mm: Triple = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Motion:
    """Poses of the head during a scan.

    Attributes:
        axis: along which lines of k-space are taken, from one end to the other.
        ends: 0 to 1, share of the lines that is taken at each move.
        poses: one more than there are moves.
    """

    axis: int
    ends: tuple[float, ...]
    poses: tuple[Pose, ...]


@dataclass(frozen=True, eq=False)
class SimulatedContrast:
    """One scan of the pair.

    Attributes:
        signals: signed signal by tissue, `(T,)`, in units of proton density.
        textures: SD of the logarithm of the signal by tissue.
        region_sd: the same over `REGION_KNOTS_MM`.
        width_mm: full width at half maximum of the scanner's point spread.
        thick_axis: axis of thick slices, -1 for none.
        slice_mm: distance of thick slices.
        slice_offset: 0 to 1, of the first.
        ringing: 0 to 1, share of the point spread that is a cut-off sinc.
        shift_mm: misalignment.
        bias: SD of the logarithm of the shading.
        noise: SD of either channel at 1 mm, of the brain's median.
        noise_width_vox: sigma of the noise's smoothness.
        levels: gray levels from 0 to the brightest voxel, 0 for no rounding.
        sequence: for the record.
        motion: of the head, None for a head at rest.
    """

    signals: NDArray[np.float32]
    textures: NDArray[np.float32]
    region_sd: float
    width_mm: float
    thick_axis: int
    slice_mm: float
    slice_offset: float
    ringing: float
    shift_mm: Triple
    bias: float
    noise: float
    noise_width_vox: float
    levels: int
    sequence: str
    motion: Motion | None = None


@dataclass(frozen=True)
class FaceCut:
    """Plane in front of and below the brain, beyond which a head is defaced.

    Attributes:
        tilt_deg: of its normal: 0 straight ahead, 90 down.
        margin_mm: least distance from the closed brain surface.
    """

    tilt_deg: float
    margin_mm: float


@dataclass(frozen=True, eq=False)
class PairParameters:
    """The numbers of one simulated pair.

    Attributes:
        field_strength: tesla.
        shape: of the head.
        surfaces: of cortex, fluid and mask.
        lesions: in the order they are laid over the map.
        source: the network's input.
        target: what it is to predict.
        field_seed: of the smooth fields.
        noise_seed: of noise and texture.
        face_cut: of a defaced head, None for a face.
    """

    field_strength: float
    shape: PairShape
    surfaces: Surfaces
    lesions: tuple[Lesion, ...]
    source: SimulatedContrast
    target: SimulatedContrast
    field_seed: int
    noise_seed: int
    face_cut: FaceCut | None = None
