"""Rigid and affine registration of one scan to another by mutual information."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation
from scipy.spatial.transform import Rotation

from volumetric.errors import InputError
from volumetric.imaging.geometry import (
    bounding_box,
    crop,
    mask_points,
    overlap,
    transform_points,
    widened,
    with_spacing,
)
from volumetric.imaging.itk import RAS_TO_LPS, one_thread, to_sitk
from volumetric.imaging.nifti import Image
from volumetric.imaging.resample import resample
from volumetric.outputs import write_bytes

Matrix = NDArray[np.float64]
TransformKind = Literal["rigid", "affine"]

LEVELS_MM = (4.0, 2.0, 1.0)
"""Isotropic voxels of the search, coarse to fine, for thick slices too: see docs/explanation/preparation.md."""
MAX_SHIFT_MM, MAX_TURN_DEG = 15.0, 12.0
"""Limits of a random start, along and about each axis, relative to the scanner's coordinates."""

_LPS = np.diag([*np.diag(RAS_TO_LPS), 1.0])
_FIRST_MARGIN_MM = 20.0  # around the mask on the first level: scalp and air lead there from afar
_MARGIN_MM = 6.0  # on the others: the brain's rim, and nothing that moves against it
_MIN_OVERLAP = 0.5
_KEPT = 2  # starts that go on to the second level
_SAMPLES = 50_000  # voxels that the metric samples, at most
_BINS = 48


class RegistrationError(InputError):
    """Two scans that do not overlap from any start."""


@dataclass(frozen=True, eq=False)
class Registration:
    """The place of the moving scan in the world of the fixed one.

    Attributes:
        fixed_to_moving: `(4, 4)`, world mm (RAS+) of the fixed scan -> world mm of the moving one.
        mutual_information: Mattes' at the finest level, in nats, higher is better.
    """

    fixed_to_moving: Matrix
    mutual_information: float


def register(
    fixed: Image,
    moving: Image,
    mask: NDArray[np.bool_],
    *,
    kind: TransformKind = "rigid",
    num_starts: int = 4,
    starts: Sequence[Matrix] | None = None,
    seed: int = 0,
    name: str = "the scans",
) -> Registration:
    """Register the moving scan to the fixed one by Mattes' mutual information.

    Mattes et al., IEEE Trans. Med. Imaging 22(1), 2003. Each start is tried on voxels of 4 mm, the best two go on at
    2 mm and the best at 1 mm. One thread and a seed: the same scans give the same bits.

    Args:
        fixed: the scan that stays.
        moving: the other one, of any contrast and grid.
        mask: brain `(I, J, K)` on the fixed scan's grid.
        kind: `rigid` (6 numbers) or `affine` (12, from the second level on).
        num_starts: how many of `usual_starts` to begin from.
        starts: `fixed_to_moving` matrices to begin from instead.
        seed: of the voxels that the metric samples, and of `usual_starts`.
        name: how to call the two in an error.

    Raises:
        RegistrationError: from no start do the scans overlap.
    """
    points = mask_points(fixed.space, mask)
    candidates = list(usual_starts(fixed, moving, mask, number=num_starts, seed=seed) if starts is None else starts)
    results = _overlapping([Registration(start, 0.0) for start in candidates], moving, points)
    if not results:
        raise RegistrationError(
            f"{name}: from none of {len(candidates)} starts does half of the brain lie in the other scan's field of "
            "view; check that both are of this subject, and their headers"
        )
    for level, size_mm in enumerate(LEVELS_MM):
        first = level == 0
        pair = _AtLevel(fixed, moving, mask, size_mm, _FIRST_MARGIN_MM if first else _MARGIN_MM, seed)
        results = [pair.improve(result.fixed_to_moving, "rigid" if first else kind) for result in results]
        results = _overlapping(results, moving, points) or results[:1]
        results = sorted(results, key=lambda result: result.mutual_information, reverse=True)[: _KEPT if first else 1]
    return results[0]


def _overlapping(results: Sequence[Registration], moving: Image, points: NDArray[np.float64]) -> list[Registration]:
    """The results that keep half of the points `(N, 3)` of the fixed scan inside the moving one."""
    return [
        result
        for result in results
        if overlap(moving.space, transform_points(result.fixed_to_moving, points)) >= _MIN_OVERLAP
    ]


def usual_starts(fixed: Image, moving: Image, mask: NDArray[np.bool_], *, number: int, seed: int) -> list[Matrix]:
    """The scanner's coordinates, the centers of the two images' intensities on one another, and random moves."""
    center = mask_points(fixed.space, mask).mean(axis=0)
    shift = np.eye(4)
    shift[:3, 3] = _center_of_intensity(moving) - center
    return [np.eye(4), shift, *random_moves(number, center, seed=seed)][:number]


def random_moves(
    number: int,
    center: NDArray[np.float64],
    *,
    seed: int,
    shift_mm: float = MAX_SHIFT_MM,
    turn_deg: float = MAX_TURN_DEG,
) -> list[Matrix]:
    """Rigid moves, uniform within a shift along and a turn about each axis, turning about `center` (mm)."""
    rng = np.random.default_rng(seed)
    moves = []
    for _ in range(number):
        move = np.eye(4)
        move[:3, :3] = Rotation.from_euler("xyz", rng.uniform(-turn_deg, turn_deg, 3), degrees=True).as_matrix()
        move[:3, 3] = center - move[:3, :3] @ center + rng.uniform(-shift_mm, shift_mm, 3)
        moves.append(move)
    return moves


def write_transform(path: Path, fixed_to_moving: Matrix) -> None:
    """Write a matrix as an ITK transform (`.tfm`, LPS mm), which maps points of the fixed scan to the moving one.

    ITK and ANTs resample the moving scan onto the fixed grid with it as it is.
    """
    in_lps = _LPS @ fixed_to_moving @ _LPS
    transform: Any = sitk.AffineTransform(3)
    transform.SetMatrix([float(x) for x in in_lps[:3, :3].ravel()])
    transform.SetTranslation([float(x) for x in in_lps[:3, 3]])
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "transform.tfm"
        sitk.WriteTransform(transform, str(file))
        write_bytes(path, file.read_bytes())


def read_transform(path: Path) -> Matrix:
    """The matrix of a linear `.tfm`, `(4, 4)` RAS mm.

    Raises:
        RegistrationError: no such file, or not a linear transform.
    """
    try:
        transform = sitk.ReadTransform(str(path))
    except RuntimeError as error:
        raise RegistrationError(f"{path}: no ITK transform can be read there; write it again") from error
    if not transform.IsLinear():
        raise RegistrationError(f"{path}: the transform is not linear; only rigid and affine ones are used here")
    return _matrix(transform)


class _AtLevel:
    """Both scans at one voxel size, ready for the optimizer."""

    def __init__(
        self, fixed: Image, moving: Image, mask: NDArray[np.bool_], size_mm: float, margin_mm: float, seed: int
    ) -> None:
        box = widened(
            bounding_box(mask), fixed.space.shape, np.ceil(2 * margin_mm / fixed.space.spacing_mm).astype(int)
        )
        cut = crop(fixed.space, box)
        grid = with_spacing(cut, (size_mm,) * 3)
        self._size_mm, self._seed = size_mm, seed
        self._fixed = to_sitk(resample(fixed.array[box], cut, grid, "cubic"), grid)
        there = with_spacing(moving.space, (size_mm,) * 3)
        self._moving = to_sitk(resample(moving.array, moving.space, there, "cubic"), there)
        inside = resample(mask[box], cut, grid) > 0.5
        reach = np.maximum(1, np.round(margin_mm / grid.spacing_mm)).astype(int)
        for axis, steps in enumerate(reach):  # a box-shaped margin is as good as a round one here
            line = np.ones([2 * steps + 1 if a == axis else 1 for a in range(3)], bool)
            inside = binary_dilation(inside, line)
        self._mask = sitk.Cast(to_sitk(inside.astype(np.float32), grid), sitk.sitkUInt8)
        self._share = min(1.0, _SAMPLES / float(inside.sum()))
        self._center = RAS_TO_LPS @ mask_points(cut, mask[box]).mean(axis=0)

    def improve(self, start: Matrix, kind: TransformKind) -> Registration:
        """The local optimum that is reached from `start`."""
        transform = self._transform(start, kind)
        method = sitk.ImageRegistrationMethod()
        method.SetMetricAsMattesMutualInformation(_BINS)
        method.SetMetricFixedMask(self._mask)
        if self._share < 1:
            method.SetMetricSamplingStrategy(method.RANDOM)
            method.SetMetricSamplingPercentage(self._share, self._seed + 1)  # 0 would mean the clock
        method.SetInterpolator(sitk.sitkLinear)
        method.SetOptimizerAsRegularStepGradientDescent(
            learningRate=self._size_mm,
            minStep=self._size_mm / 1000,
            numberOfIterations=100,
            relaxationFactor=0.7,
            gradientMagnitudeTolerance=1e-7,
        )
        method.SetOptimizerScalesFromPhysicalShift()
        method.SetInitialTransform(transform, inPlace=True)
        try:
            with one_thread():
                method.Execute(self._fixed, self._moving)
        except RuntimeError as error:
            if "map outside" not in str(error):  # the optimizer moved the scans apart
                raise
            return Registration(start, -np.inf)
        return Registration(_matrix(transform), -float(method.GetMetricValue()))

    def _transform(self, start: Matrix, kind: TransformKind) -> Any:
        in_lps = _LPS @ start @ _LPS
        transform: Any = sitk.Euler3DTransform() if kind == "rigid" else sitk.AffineTransform(3)
        transform.SetCenter([float(x) for x in self._center])
        transform.SetMatrix([float(x) for x in in_lps[:3, :3].ravel()], *([1e-6] if kind == "rigid" else []))
        shift = in_lps[:3, 3] + in_lps[:3, :3] @ self._center - self._center
        transform.SetTranslation([float(x) for x in shift])
        return transform


def _matrix(transform: sitk.Transform) -> Matrix:
    origin = np.array(transform.TransformPoint((0.0, 0.0, 0.0)))
    in_lps = np.eye(4)
    for axis, point in enumerate(np.eye(3)):
        in_lps[:3, axis] = np.array(transform.TransformPoint([float(x) for x in point])) - origin
    in_lps[:3, 3] = origin
    matrix: Matrix = _LPS @ in_lps @ _LPS
    return matrix


def _center_of_intensity(image: Image) -> NDArray[np.float64]:
    weights = np.clip(image.array, 0, float(np.quantile(image.array, 0.99))).astype(np.float64)
    total = weights.sum() or 1.0
    voxel = [
        float((weights.sum(axis=tuple(a for a in range(3) if a != axis)) * np.arange(n)).sum() / total)
        for axis, n in enumerate(weights.shape)
    ]
    return transform_points(image.affine, np.array(voxel))
