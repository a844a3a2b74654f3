"""A simulated pair from a label map and drawn numbers, rendered on any grid."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtri
from torch import Tensor
from torch.nn.functional import grid_sample

from volumetric.config.choices import MaskKind
from volumetric.simulation.label_map import SLOPE_MM, STEPS_PER_MM, LabelMap
from volumetric.simulation.motion import acquired_in_motion
from volumetric.simulation.parameters import PairParameters, SimulatedContrast
from volumetric.simulation.pathology import with_lesions
from volumetric.simulation.point_spread import PairGrid, refined, scan_matrices, smoothing_matrix
from volumetric.simulation.tensors import Axes, SmoothField, along_axes, hat_matrix, integrate, noise
from volumetric.simulation.tissues import NUMBER

VELOCITY_KNOTS_MM = (60.0, 25.0, 12.0)
REGION_KNOTS_MM = 20.0
BIAS_KNOTS_MM = 80.0
OVERVIEW_MM = 3.0
"""Voxel side of the whole volume that gives a draw its intensity statistics."""

_FINE_MM = 1.0
_COARSE_MM, _NUM_COARSE = 5.0, 53
_MARGIN_MM = 3.0
_BOX_MARGIN_MM, _STRIDE_MM = 12.0, 6.0


@dataclass(frozen=True, eq=False)
class RenderedPair:
    """Both scans on one grid.

    Attributes:
        source: float32 `(I, J, K)`, magnitude in units of proton density.
        target: the same.
        mask: bool, the region that is simulated: brain, or head.
        brain: bool, the brain mask.
        tissues: uint8, the tissue at each voxel's center.
    """

    source: Tensor
    target: Tensor
    mask: Tensor
    brain: Tensor
    tissues: Tensor


@dataclass(frozen=True, eq=False)
class _Samples:
    """Tissues at fine samples, `(I, J, K)`, with the masks."""

    axes: Axes
    tissues: Tensor
    mask: Tensor
    brain: Tensor


class PairSimulation:
    """One simulated subject: its shape and fields drawn once, its scans rendered on any grid."""

    def __init__(
        self,
        label_map: LabelMap,
        parameters: PairParameters,
        *,
        region: MaskKind = "brain",
        brain: tuple[PairGrid, Tensor] | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        """Draw the fields and warp.

        Args:
            label_map: the anatomy.
            parameters: the drawn numbers.
            region: `brain` or `head`, what the mask of a rendered pair is.
            brain: the brain mask of a scan on a coarse grid, which then decides the units; None simulates one.
            device: where tensors live; values agree between devices but for rounding.
        """
        self._map, self._numbers, self._region, self._brain = label_map, parameters, region, brain
        self._device = torch.device(device)
        streams = np.random.default_rng(parameters.field_seed).spawn(4)
        lesions, warp, surfaces, scans = streams
        self._tissues = torch.from_numpy(with_lesions(lesions, label_map, parameters.lesions)).to(self._device)
        self._distances = {
            name: torch.from_numpy(array).to(self._device)
            for name, array in (("cortex", label_map.cortex_distance), ("hull", label_map.hull_distance))
        }
        self._displacement = integrate(self._velocity(warp), _COARSE_MM)
        knots = {"cortex": 8.0, "vessel": 4.0, "mask": 25.0, "soft": 10.0}
        self._surfaces = {
            name: SmoothField.draw(stream, 1, mm, self._device)
            for (name, mm), stream in zip(knots.items(), surfaces.spawn(len(knots)), strict=True)
        }
        region_stream, bias_stream = scans.spawn(2)
        self._regions = SmoothField.draw(region_stream, 2, REGION_KNOTS_MM, self._device)
        self._bias = SmoothField.draw(bias_stream, 2, BIAS_KNOTS_MM, self._device)

    @cached_property
    def overview(self) -> RenderedPair:
        """The whole subject on `overview_grid`, without noise and motion."""
        rendered = self.render(self.overview_grid, fine=False)
        return rendered if self._brain is None else replace(rendered, brain=self._brain[1])

    @cached_property
    def overview_grid(self) -> PairGrid:
        """A coarse grid that holds the brain, or the head."""
        if self._brain is not None:
            return self._brain[0]
        space = self._map.space
        inside = self._map.hull_distance < 0 if self._region == "brain" else self._map.tissues != NUMBER["air"]
        stride = np.maximum(1, np.rint(_STRIDE_MM / space.spacing_mm)).astype(int)
        corners = np.argwhere(inside[:: stride[0], :: stride[1], :: stride[2]]) * stride
        places = corners @ space.affine[:3, :3].T + space.affine[:3, 3] - self._map.center_mm
        places = places @ np.linalg.inv(self._numbers.shape.to_map).T
        low, high = places.min(0) - _BOX_MARGIN_MM, places.max(0) + _BOX_MARGIN_MM
        i, j, k = (int(n) for n in np.ceil((high - low) / OVERVIEW_MM) + 1)
        x, y, z = (float(v) for v in low)
        return PairGrid((x, y, z), (OVERVIEW_MM,) * 3, (i, j, k))

    def render(self, grid: PairGrid, *, fine: bool = True) -> RenderedPair:
        """The pair on a grid.

        Args:
            grid: any upright grid.
            fine: sample tissues each millimeter, with noise and motion; False samples each voxel once.
        """
        samples = self._sample(self._fine_axes(grid, fine=fine))
        texture = self._texture(samples)
        source = self._scan(0, samples, texture, grid, fine=fine)
        target = self._scan(1, samples, -texture, grid, fine=fine)
        centers = np.ix_(
            *(np.abs(fine[:, None] - axis).argmin(0) for fine, axis in zip(samples.axes, grid.axes(), strict=True))
        )
        tissues = samples.tissues[centers].to(torch.uint8)
        return RenderedPair(source, target, samples.mask[centers], samples.brain[centers], tissues)

    def render_source(self, grid: PairGrid) -> Tensor:
        """The source alone, float32 `(I, J, K)`, as `render` gives it."""
        samples = self._sample(self._fine_axes(grid, fine=True))
        return self._scan(0, samples, self._texture(samples), grid, fine=True)

    def _fine_axes(self, grid: PairGrid, *, fine: bool) -> Axes:
        """Positions of the samples of tissue along each axis."""
        return [
            refined(axis, side, max(1, round(side / _FINE_MM)) if fine else 1, margin)
            for axis, side, margin in zip(grid.axes(), grid.spacing_mm, self._margins(), strict=True)
        ]

    def _texture(self, samples: _Samples) -> Tensor:
        return noise(self._numbers.noise_seed, samples.tissues.shape, self._device)

    def _scan(self, place: int, samples: _Samples, texture: Tensor, grid: PairGrid, *, fine: bool) -> Tensor:
        """The source (0) or target (1) on a grid, from its tissues at fine samples."""
        contrast = (self._numbers.source, self._numbers.target)[place]
        signals = self._signals(samples.tissues, contrast, texture)
        acquired = along_axes(signals[None], scan_matrices(contrast, samples.axes, grid))[0]
        acquired = acquired_in_motion(acquired, contrast.motion, grid) if fine and contrast.motion else acquired.abs()
        region, bias = (field.channel(place).on(grid.axes())[0] for field in (self._regions, self._bias))
        acquired *= torch.exp(contrast.region_sd * region + contrast.bias * bias)
        return self._with_noise(acquired, contrast, place, grid) if fine else acquired

    def _margins(self) -> NDArray[np.float64]:
        """Millimeters around a grid that reach into it, along each axis."""
        margins = np.full(3, _MARGIN_MM)
        for contrast in (self._numbers.source, self._numbers.target):
            if contrast.thick_axis >= 0:
                axis = contrast.thick_axis
                margins[axis] = max(margins[axis], 1.5 * contrast.slice_mm)
        return margins

    def _velocity(self, rng: np.random.Generator) -> Tensor:
        """Velocity `(3, I, J, K)` of the warp on the coarse grid, mm in subject space."""
        shape = self._numbers.shape
        axis = np.asarray((np.arange(_NUM_COARSE) - (_NUM_COARSE - 1) / 2) * _COARSE_MM, np.float64)
        velocity = torch.zeros((3, *[_NUM_COARSE] * 3), device=self._device)
        for knots_mm, rms_mm, stream in zip(VELOCITY_KNOTS_MM, shape.velocity_mm, rng.spawn(3), strict=True):
            velocity += rms_mm * SmoothField.draw(stream, 3, knots_mm, self._device).on([axis] * 3)
        return velocity + shape.ventricle_flow_mm * self._ventricle_flow(axis)

    def _ventricle_flow(self, axis: NDArray[np.float64]) -> Tensor:
        """Velocity toward the ventricles, greatest speed about 1: subject points then come from further inside."""
        space, slope = self._map.space, self._map.ventricle_slope
        to_map, axes_of_map = self._numbers.shape.to_map, space.affine[:3, :3] / space.spacing_mm
        points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij")).reshape(3, -1)
        stride = np.maximum(1, np.rint(SLOPE_MM / space.spacing_mm))
        voxels = np.linalg.inv(space.affine[:3, :3]) @ (
            to_map @ points + (self._map.center_mm - space.affine[:3, 3])[:, None]
        )
        places = voxels / stride[:, None] / (np.array(slope.shape[1:])[:, None] - 1) * 2 - 1
        grid = torch.from_numpy(places[::-1].T.astype(np.float32).copy()).reshape(1, *[_NUM_COARSE] * 3, 3)
        flow: Tensor = grid_sample(torch.from_numpy(slope)[None], grid, align_corners=True)[0].to(self._device)
        to_subject = torch.from_numpy((np.linalg.inv(to_map) @ axes_of_map).astype(np.float32)).to(self._device)
        turned: Tensor = torch.tensordot(to_subject, flow, dims=1)
        return turned

    def _sample(self, axes: Axes) -> _Samples:
        """Tissues and masks at the samples of a grid."""
        flat = self._places(axes)
        tissues = self._tissues.reshape(-1)[flat].to(torch.int32)
        cortex_mm, hull_mm = (
            self._distances[name].reshape(-1)[flat].float() / STEPS_PER_MM for name in ("cortex", "hull")
        )
        surfaces = self._numbers.surfaces
        fluid, cortex, dura = (NUMBER[name] for name in ("fluid", "cortex", "dura"))
        is_fluid = tissues == fluid
        edge_mm = surfaces.cortex_mm + surfaces.cortex_sd_mm * self._field("cortex", axes)
        tissues = torch.where(is_fluid & (cortex_mm < edge_mm), cortex, tissues)
        tissues = torch.where((tissues == cortex) & (cortex_mm > edge_mm), fluid, tissues)
        if surfaces.vessel_share:
            vessels = self._field("vessel", axes) > ndtri(1 - surfaces.vessel_share)
            tissues = torch.where((tissues == fluid) & vessels, dura, tissues)
        mask_mm = surfaces.mask_mm + surfaces.mask_sd_mm * self._field("mask", axes)
        brain = (hull_mm < mask_mm) & (tissues != NUMBER["air"])
        outer = (hull_mm > mask_mm - surfaces.rim_mm) & (cortex_mm > edge_mm) & (tissues == fluid)
        if self._region == "brain":
            return _Samples(axes, torch.where(outer, dura, tissues), brain, brain)
        soft = torch.where(self._field("soft", axes) > ndtri(1 - surfaces.fat_share), NUMBER["fat"], NUMBER["muscle"])
        tissues = torch.where(tissues == NUMBER["soft_tissue"], soft, tissues)
        head = tissues != NUMBER["air"]
        if self._numbers.face_cut is not None:
            head &= brain | (self._ahead(axes) <= self._face_mm)
        return _Samples(axes, tissues, head, brain)

    def _ahead(self, axes: Axes) -> Tensor:
        """Places along the normal of the face's cut, mm, `(1, J, K)`."""
        assert self._numbers.face_cut is not None
        tilt = np.deg2rad(self._numbers.face_cut.tilt_deg)
        ahead = np.cos(tilt) * axes[1][:, None] - np.sin(tilt) * axes[2]
        return torch.from_numpy(ahead.astype(np.float32))[None].to(self._device)

    @cached_property
    def _face_mm(self) -> float:
        """Place of the cut: the margin beyond the foremost point of the brain."""
        assert self._numbers.face_cut is not None
        axes = self.overview_grid.axes()
        in_brain = self._distances["hull"].reshape(-1)[self._places(axes)] < 0
        foremost = torch.where(in_brain, self._ahead(axes), -torch.inf).max()
        return float(foremost) + self._numbers.face_cut.margin_mm

    def _field(self, name: str, axes: Axes) -> Tensor:
        return self._surfaces[name].on(axes)[0]

    def _places(self, axes: Axes) -> Tensor:
        """Flat index into the label map of each sample, `(I, J, K)`."""
        space = self._map.space
        to_voxel = np.linalg.inv(space.affine[:3, :3])
        linear = to_voxel @ self._numbers.shape.to_map
        offset = to_voxel @ (self._map.center_mm - space.affine[:3, 3])
        first = -(_NUM_COARSE - 1) / 2 * _COARSE_MM
        hats = [hat_matrix(axis, first, _COARSE_MM, _NUM_COARSE) for axis in axes]
        mixing = torch.from_numpy(linear.astype(np.float32)).to(self._device)
        displacement = along_axes(torch.tensordot(mixing, self._displacement, dims=1), hats)
        flat = torch.zeros((), dtype=torch.int32, device=self._device)
        for row, size in enumerate(space.shape):
            place = displacement[row] + float(offset[row])
            for column, axis in enumerate(axes):
                part = torch.from_numpy((linear[row, column] * axis).astype(np.float32)).to(self._device)
                place += part.reshape([-1 if a == column else 1 for a in range(3)])
            flat = flat * size + torch.round(place).clamp_(0, size - 1).to(torch.int32)
        return flat

    def _signals(self, tissues: Tensor, contrast: SimulatedContrast, texture: Tensor) -> Tensor:
        signals = torch.from_numpy(contrast.signals).to(self._device)
        textures = torch.from_numpy(contrast.signals * contrast.textures).to(self._device)
        return signals[tissues] + textures[tissues] * texture

    def _with_noise(self, image: Tensor, contrast: SimulatedContrast, place: int, grid: PairGrid) -> Tensor:
        """Rician noise, as smooth as resampling leaves it, and rounding to gray levels."""
        if not contrast.noise and not contrast.levels:
            return image
        seeds = [self._numbers.noise_seed + 1 + 2 * place + channel for channel in (0, 1)]
        drawn = torch.stack([noise(seed, image.shape, self._device) for seed in seeds])
        if contrast.noise_width_vox > 0.2:
            matrices = [smoothing_matrix(n, contrast.noise_width_vox) for n in image.shape]
            drawn = along_axes(drawn, matrices)
        sigma = contrast.noise * self.medians[place] / np.sqrt(np.prod(grid.spacing_mm))
        noisy = torch.hypot(image + sigma * drawn[0], sigma * drawn[1])
        if not contrast.levels:
            return noisy
        step = 4 * self.medians[place] / contrast.levels
        return torch.round(noisy / step) * step

    @cached_property
    def medians(self) -> tuple[float, float]:
        """Median of source and target in the brain mask: what reference units divide by."""
        brain = self.overview.brain
        return float(self.overview.source[brain].median()), float(self.overview.target[brain].median())
