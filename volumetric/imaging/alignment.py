"""One subject's raw scans on one grid: headers checked, brain masked, contrasts registered, shading removed."""

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
    transform_points,
    widened,
    with_spacing,
)
from volumetric.imaging.mask import BrainMask, MaskRule, brain_mask
from volumetric.imaging.nifti import Image
from volumetric.imaging.registration import Matrix, register
from volumetric.imaging.resample import continue_outward, resample

VOXEL_LIMITS_MM = (0.2, 6.0)
"""A scan with other voxels has a wrong header, or is no scan of a head that can be used."""
_SAME_FORM_MM = 0.1


class AlignmentError(InputError):
    """Scans that cannot be brought onto one grid."""


@dataclass(frozen=True, eq=False)
class Grid:
    """Images and brain mask of one subject on one grid.

    Attributes:
        images: by contrast, float32 `(I, J, K)` in the scanner's units, shading removed.
        mask: boolean `(I, J, K)`.
    """

    images: Mapping[str, Image]
    mask: Image


@dataclass(frozen=True, eq=False)
class Alignment:
    """What became of one subject's scans.

    Attributes:
        reference: the contrast that stayed where it was.
        prepared: on the grid that the recipe asks for.
        native: on the reference scan's own grid; the same object as `prepared` where that is the grid asked for.
        rule: how the brain mask came about.
        to_contrast: per other contrast, `(4, 4)` world mm of the reference -> world mm of that scan.
        to_prepared: `(4, 4)` world mm of the reference -> world mm of `prepared`; the identity unless that is MNI.
        warnings: what is odd about the headers.
    """

    reference: str
    prepared: Grid
    native: Grid
    rule: MaskRule
    to_contrast: Mapping[str, Matrix]
    to_prepared: Matrix
    warnings: tuple[str, ...]

    def return_to_native(self, image: Image) -> Image:
        """A volume on the prepared grid, on the reference scan's own: exact where they are one, else interpolated once.

        Returns:
            float32, 0 outside the brain.
        """
        if self.prepared is self.native:
            return image
        scan = self.native.mask
        spread = continue_outward(image.array, self.prepared.mask.array)
        seen = moved(image.space, inverse(self.to_prepared))
        return scan.with_array(resample(spread, seen, scan.space, "cubic") * scan.array)


def align(
    images: Mapping[str, Image],
    recipe: PreparationConfig,
    *,
    given: Image | None = None,
    template: Image | None = None,
    name: str,
) -> Alignment:
    """Bring the raw scans of one visit onto one grid, each by one interpolation from its own voxels.

    Args:
        images: raw scans by contrast, each on its own grid.
        recipe: what to do; the reference is its `reference`, or the first image where that is not given.
        given: brain mask on the reference's grid, taken as it is.
        template: T1w brain in MNI152 space, for a recipe that asks for it.
        name: of the subject, for messages.

    Raises:
        InputError: a header that cannot be right, no brain mask, no positive voxels, scans that do not overlap.
    """
    reference = recipe.reference if recipe.reference in images else next(iter(images))
    warnings = tuple(f"{contrast}: {text}" for contrast, image in images.items() for text in header_warnings(image))
    for contrast, image in images.items():
        check_voxels(image, name=f"subject {name}: `{contrast}`")
    scan = images[reference]
    brain = brain_mask(scan, given, name=f"subject {name}: `{reference}`")
    inside = {reference: brain.array}
    corrected = {reference: _corrected(scan, brain.array, recipe, name=f"subject {name}: `{reference}`")}
    to_contrast: dict[str, Matrix] = {}
    for contrast, image in images.items():
        if contrast == reference:
            continue
        pair_name = f"subject {name}: `{reference}` and `{contrast}`"
        found = register(
            corrected[reference],
            image,
            brain.array,
            kind=recipe.registration.transform,
            num_starts=recipe.registration.num_starts,
            seed=recipe.seed,
            name=pair_name,
        )
        to_contrast[contrast] = found.fixed_to_moving
        there = resample(brain.array, moved(scan.space, found.fixed_to_moving), image.space, "nearest") > 0
        inside[contrast] = there
        corrected[contrast] = _corrected(image, there, recipe, name=f"subject {name}: `{contrast}`")
    placed = _Placed(corrected, brain, reference, to_contrast, recipe.interpolation)
    native = placed.on(scan.space, np.eye(4), scan)
    space, to_prepared = _prepared_space(corrected[reference], brain.array, recipe, template, name)
    same = same_space(space, scan.space) and np.array_equal(to_prepared, np.eye(4))
    prepared = native if same else placed.on(space, to_prepared, None)
    return Alignment(reference, prepared, native, brain.rule, to_contrast, to_prepared, warnings)


@dataclass(frozen=True, eq=False)
class _Placed:
    """Corrected scans on their own grids, and where each lies."""

    images: Mapping[str, Image]
    brain: BrainMask
    reference: str
    to_contrast: Mapping[str, Matrix]
    interpolation: str

    def on(self, space: Space, to_space: Matrix, like: Image | None) -> Grid:
        """Everything on a grid of another world, `to_space` leading there from the reference's."""
        header = like.header if like is not None else None
        images = {}
        for contrast, image in self.images.items():
            to_reference = inverse(self.to_contrast.get(contrast, np.eye(4)))
            seen = moved(image.space, to_space @ to_reference)
            images[contrast] = Image(self._seen_on(space, image.array, seen), space.affine, header)
        scan = self.images[self.reference].space
        inside = self.brain.array
        if like is None:
            inside = resample(inside, moved(scan, to_space), space) >= 0.5
        return Grid(images, Image(inside, space.affine, header))

    def _seen_on(self, space: Space, array: NDArray[np.float32], seen: Space) -> NDArray[np.float32]:
        if same_space(seen, space, tolerance_mm=1e-3):
            return array
        cubic = self.interpolation == "cubic"
        brought = resample(array, seen, space, "cubic" if cubic else "linear")
        return brought.clip(min(0, array.min()), array.max()) if cubic else brought


def check_voxels(image: Image, *, name: str) -> None:
    """Check that a scan's voxels have a size that scans of heads have.

    Raises:
        AlignmentError: they have not.
    """
    sides = spacing_mm(image.affine)
    low, high = VOXEL_LIMITS_MM
    if (sides < low).any() or (sides > high).any():
        raise AlignmentError(
            f"{name} has voxels of {' x '.join(f'{s:.3g}' for s in sides)} mm, expected {low:g} to {high:g} mm a side; "
            "check the header (is it in meters or microns?), or give a scan with thinner slices"
        )


def header_warnings(image: Image) -> list[str]:
    """What a header says twice and differently: the qform and the sform."""
    header = image.header
    if header is None or header["qform_code"] == 0 or header["sform_code"] == 0:
        return []
    forms = [Space(image.space.shape, header.get_qform()), Space(image.space.shape, header.get_sform())]
    if same_space(*forms, tolerance_mm=_SAME_FORM_MM):
        return []
    corners = np.array(np.meshgrid(*[[0, n - 1] for n in image.space.shape])).reshape(3, -1).T
    ends = [transform_points(form.affine, corners) for form in forms]
    apart = float(np.linalg.norm(ends[0] - ends[1], axis=1).max())
    return [f"the header's qform and sform lie up to {apart:.1f} mm apart; the sform is used"]


def _corrected(image: Image, mask: NDArray[np.bool_], recipe: PreparationConfig, *, name: str) -> Image:
    if not recipe.bias.enabled:
        return image
    if not mask.any():
        raise AlignmentError(f"{name}: the brain lies outside this scan; check that both are of this person")
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
            raise AlignmentError(f"subject {name}: the recipe asks for MNI space and no template is given")
        found = register(
            template,
            scan.with_array(np.where(mask, scan.array, np.float32(0))),
            template.array > 0,
            kind="affine",
            num_starts=recipe.registration.num_starts,
            seed=recipe.seed,
            name=f"subject {name}: the MNI template and `t1w`",
        )
        return _cut(template.space, template.array > 0, grid), inverse(found.fixed_to_moving)
    return _cut(scan.space, mask, grid), np.eye(4)


def _cut(space: Space, mask: NDArray[np.bool_], grid: GridConfig) -> Space:
    """The grid cropped and re-spaced as asked; along RAS axes where it is re-spaced."""
    if grid.crop_margin_mm is not None:
        margin = np.ceil(grid.crop_margin_mm / space.spacing_mm).astype(int)
        space = crop(space, widened(bounding_box(mask), space.shape, margin))
    if grid.spacing_mm is not None:
        upright = flips_to_ras(space.affine).apply_to_space(space)
        space = with_spacing(upright, (grid.spacing_mm,) * 3)
    return space
