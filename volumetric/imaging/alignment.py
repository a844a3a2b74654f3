"""Alignment of one session's raw scans on one grid: headers checked, brain masked, registered, bias corrected."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from volumetric.config.preparation import GridConfig, PreparationConfig
from volumetric.errors import InputError
from volumetric.imaging.bias import bias_field
from volumetric.imaging.geometry import (
    Space,
    bounding_box,
    crop,
    flips_to_ras,
    inverse,
    moved,
    same_space,
    spacing_mm,
    widened,
    with_spacing,
)
from volumetric.imaging.itk import named_failure
from volumetric.imaging.mask import BrainMask, MaskRule, brain_mask
from volumetric.imaging.nifti import Image
from volumetric.imaging.registration import Matrix, register
from volumetric.imaging.resample import continue_outward, resample

VOXEL_LIMITS_MM = (0.2, 6.0)
"""A scan with other voxels has a wrong header, or cannot be used."""


class AlignmentError(InputError):
    """Scans that cannot be aligned on one grid."""


@dataclass(frozen=True, eq=False)
class AlignedImages:
    """Images and brain mask of one session on one grid.

    Attributes:
        images: by contrast, float32 `(I, J, K)` in the scanner's units, shading removed.
        mask: boolean `(I, J, K)`.
    """

    images: Mapping[str, Image]
    mask: Image


@dataclass(frozen=True, eq=False)
class Alignment:
    """The aligned scans of one session, and the transforms between their grids.

    Attributes:
        reference: the contrast that stayed where it was.
        prepared: on the grid that the recipe states.
        native: on the reference scan's own grid; the same object as `prepared` where that is the same grid.
        rule: the origin of the brain mask.
        to_contrast: per other contrast, `(4, 4)` world mm of the reference -> world mm of that scan.
        to_prepared: `(4, 4)` world mm of the reference -> world mm of `prepared`; the identity unless that is MNI.
        warnings: contradictions in the headers.
    """

    reference: str
    prepared: AlignedImages
    native: AlignedImages
    rule: MaskRule
    to_contrast: Mapping[str, Matrix]
    to_prepared: Matrix
    warnings: tuple[str, ...]

    def return_to_native(self, image: Image, region: NDArray[np.bool_] | None = None) -> Image:
        """Resample a volume from the prepared grid to the reference scan's own.

        Args:
            image: on the prepared grid.
            region: `(I, J, K)` there, where the volume has values; None is the brain.

        Returns:
            float32, interpolated once, 0 outside the region; the same image where both grids are one.
        """
        if self.prepared is self.native:
            return image
        scan = self.native.mask
        placed = moved(image.space, inverse(self.to_prepared))
        there, here = self.prepared.mask.array, scan.array
        if region is not None:
            there, here = region, here | (resample(region, placed, scan.space) >= 0.5)
        spread = continue_outward(image.array, there)
        return scan.with_array(resample(spread, placed, scan.space, "cubic") * here)


def align(
    images: Mapping[str, Image],
    recipe: PreparationConfig,
    *,
    given: Image | None = None,
    template: Image | None = None,
    name: str,
) -> Alignment:
    """Align the raw scans of one session on one grid, each by one interpolation from its own voxels.

    Args:
        images: raw scans by contrast, each on its own grid.
        recipe: of the preparation; the reference is its `reference`, or the first image where that contrast is missing.
        given: brain mask on the reference's grid, taken as it is.
        template: T1w brain in MNI152 space, for a recipe with `grid.space: mni`.
        name: of the subject, for messages.

    Raises:
        InputError: a header that cannot be right, no brain mask, no positive voxels, scans that do not overlap.
    """
    reference = recipe.reference if recipe.reference in images else next(iter(images))
    warnings = tuple(f"the {contrast} {text}" for contrast, image in images.items() for text in image.warnings)
    for contrast, image in images.items():
        check_voxels(image, name=f"subject {name}: `{contrast}`")
        _check_varies(image, name=f"subject {name}: `{contrast}`")
    with named_failure(f"subject {name}"):
        return _align(images, reference, recipe, given, template, name, warnings)


def _align(
    images: Mapping[str, Image],
    reference: str,
    recipe: PreparationConfig,
    given: Image | None,
    template: Image | None,
    name: str,
    warnings: tuple[str, ...],
) -> Alignment:
    scan = images[reference]
    brain = brain_mask(scan, given, name=f"subject {name}: `{reference}`")
    corrected = {reference: _corrected(scan, brain.array, recipe, name=f"subject {name}: `{reference}`")}
    to_contrast: dict[str, Matrix] = {}
    for contrast, image in images.items():
        if contrast == reference:
            continue
        pair_name = f"subject {name}: `{reference}` and `{contrast}`"
        result = register(
            corrected[reference],
            image,
            brain.array,
            kind=recipe.registration.transform,
            num_starts=recipe.registration.num_starts,
            seed=recipe.seed,
            name=pair_name,
        )
        to_contrast[contrast] = result.fixed_to_moving
        mask = resample(brain.array, moved(scan.space, result.fixed_to_moving), image.space, "nearest") > 0
        corrected[contrast] = _corrected(image, mask, recipe, name=f"subject {name}: `{contrast}`")
    placed = _Placed(corrected, brain, reference, to_contrast, recipe.interpolation)
    native = placed.on(scan.space, np.eye(4), scan)
    space, to_prepared = _prepared_space(corrected[reference], brain.array, recipe, template, name)
    same = same_space(space, scan.space) and np.array_equal(to_prepared, np.eye(4))
    prepared = native if same else placed.on(space, to_prepared, None)
    return Alignment(reference, prepared, native, brain.rule, to_contrast, to_prepared, warnings)


@dataclass(frozen=True, eq=False)
class _Placed:
    """Corrected scans on their own grids, and the transforms between them."""

    images: Mapping[str, Image]
    brain: BrainMask
    reference: str
    to_contrast: Mapping[str, Matrix]
    interpolation: str

    def on(self, space: Space, to_space: Matrix, like: Image | None) -> AlignedImages:
        """Images and mask on a grid in another world; `to_space` maps the reference's world to it."""
        header = like.header if like is not None else None
        images = {}
        for contrast, image in self.images.items():
            to_reference = inverse(self.to_contrast.get(contrast, np.eye(4)))
            placed = moved(image.space, to_space @ to_reference)
            images[contrast] = Image(self._resampled(image.array, placed, space), space.affine, header)
        scan = self.images[self.reference].space
        inside = self.brain.array
        if like is None:
            inside = resample(inside, moved(scan, to_space), space) >= 0.5
        return AlignedImages(images, Image(inside, space.affine, header))

    def _resampled(self, array: NDArray[np.float32], source: Space, target: Space) -> NDArray[np.float32]:
        if same_space(source, target, tolerance_mm=1e-3):
            return array
        cubic = self.interpolation == "cubic"
        resampled = resample(array, source, target, "cubic" if cubic else "linear")
        return resampled.clip(min(0, array.min()), array.max()) if cubic else resampled


def check_voxels(image: Image, *, name: str) -> None:
    """Check the voxel size of a scan.

    Raises:
        AlignmentError: a side lies outside `VOXEL_LIMITS_MM`.
    """
    sides = spacing_mm(image.affine)
    low, high = VOXEL_LIMITS_MM
    if (sides < low).any() or (sides > high).any():
        raise AlignmentError(
            f"{name} has voxels of {' x '.join(f'{s:.3g}' for s in sides)} mm, expected {low:g} to {high:g} mm a side; "
            "check the header (is it in meters or microns?), or give a scan with thinner slices"
        )


def _check_varies(image: Image, *, name: str) -> None:
    low, high = float(image.array.min()), float(image.array.max())
    if low == high:
        raise AlignmentError(f"{name}: every voxel is {low:g}; this is no scan, name another")


def _corrected(image: Image, mask: NDArray[np.bool_], recipe: PreparationConfig, *, name: str) -> Image:
    if not recipe.bias.enabled:
        return image
    if not mask.any():
        raise AlignmentError(f"{name}: the brain lies outside this scan; check that both are of this subject")
    field = bias_field(
        image.array,
        image.space,
        mask,
        working_mm=recipe.bias.working_mm,
        iterations=recipe.bias.iterations,
        name=name,
    )
    return image.with_array(image.array / field)


def _prepared_space(
    scan: Image, mask: NDArray[np.bool_], recipe: PreparationConfig, template: Image | None, name: str
) -> tuple[Space, Matrix]:
    grid = recipe.grid
    if grid.space == "mni":
        if template is None:
            raise AlignmentError(f"subject {name}: the recipe has grid.space `mni`, and there is no template")
        result = register(
            template,
            scan.with_array(np.where(mask, scan.array, np.float32(0))),
            template.array > 0,
            kind="affine",
            num_starts=recipe.registration.num_starts,
            seed=recipe.seed,
            name=f"subject {name}: the MNI template and `t1w`",
        )
        return _cut(template.space, template.array > 0, grid), inverse(result.fixed_to_moving)
    return _cut(scan.space, mask, grid), np.eye(4)


def _cut(space: Space, mask: NDArray[np.bool_], grid: GridConfig) -> Space:
    """The grid cropped and re-spaced by the recipe; along RAS axes where it is re-spaced."""
    if grid.crop_margin_mm is not None:
        margin = np.ceil(grid.crop_margin_mm / space.spacing_mm).astype(int)
        space = crop(space, widened(bounding_box(mask), space.shape, margin))
    if grid.spacing_mm is not None:
        upright = flips_to_ras(space.affine).apply_to_space(space)
        space = with_spacing(upright, (grid.spacing_mm,) * 3)
    return space
