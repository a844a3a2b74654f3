"""The average brain that every simulated subject is bent from: tissue fractions, iron, ventricles."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from volumetric.errors import InputError
from volumetric.imaging.geometry import Space
from volumetric.imaging.nifti import Image
from volumetric.simulation.fields import axes_mm

_FILE = "mni_icbm152_{}_tal_nlin_sym_09a_converted.nii.gz"
_PAD_VOX = 2


class TemplateError(InputError):
    """The template's files cannot be found."""


class Nucleus(NamedTuple):
    """A deep gray nucleus of both sides, roughly: an ellipsoid cut by the template's gray-matter fraction.

    Attributes:
        center_mm: MNI152 coordinates on the right; the left is its mirror image.
        semi_axes_mm: half lengths along x, y, z.
        gray: least and greatest gray-matter fraction of a voxel that belongs to it.
        iron: non-haem iron in mg per 100 g of fresh tissue.
    """

    center_mm: tuple[float, float, float]
    semi_axes_mm: tuple[float, float, float]
    gray: tuple[float, float]
    iron: float


NUCLEI = {
    "pallidum": Nucleus((19, -5, -1), (8, 10, 7), (0.04, 0.45), 21.30),
    "red_nucleus": Nucleus((5, -21, -10), (4, 4, 5), (0.04, 0.70), 19.48),
    "substantia_nigra": Nucleus((10, -17, -12), (5, 6, 4), (0.15, 0.90), 18.46),
    "putamen": Nucleus((26, 3, 1), (9, 20, 12), (0.30, 0.95), 13.32),
    "dentate": Nucleus((15, -58, -34), (8, 9, 6), (0.20, 0.90), 10.35),
    "caudate": Nucleus((14, 11, 9), (6, 15, 14), (0.50, 1.01), 9.28),
    "thalamus": Nucleus((12, -19, 7), (10, 14, 9), (0.25, 1.01), 4.76),
}
"""Iron: means of Hallgren and Sourander, J. Neurochem. 3, 1958. Places: read off the template's own T1w image."""

IRON_OF_CORTEX = 2.92
"""Frontal cortex, mg per 100 g (Hallgren and Sourander 1958)."""

_VENTRICLE_BOX_MM = ((-38.0, 38.0), (-50.0, 34.0), (-8.0, 34.0))
_VENTRICLE_DEPTH_MM = 26.0
_VENTRICLE_SMOOTHING_MM = 5.0

SLOPE_STRIDE = 4
"""Voxels of the template per voxel of `Template.ventricle_slope`, which is too smooth to need more."""


@dataclass(frozen=True, eq=False)
class Template:
    """Maps of the average brain on one grid, world mm being MNI152 coordinates.

    Attributes:
        space: 1 mm grid of shape `(I, J, K)`, cropped to the brain.
        fractions: `(3, I, J, K)` CSF, GM, WM in 0..1; their sum is 1 in the brain and 0 outside.
        iron: `(I, J, K)` mg per 100 g above that of cortex, 0 outside the nuclei.
        ventricles: `(I, J, K)` bool, fluid deep inside the brain.
        ventricle_slope: `(3, I', J', K')` gradient of the smoothed ventricles on every fourth voxel, longest 1.
        white: `(N, 3)` mm, voxels of pure white matter, where lesions may begin.
        white_depth: `(N,)` mm, their distances from the ventricles.
    """

    space: Space
    fractions: NDArray[np.float32]
    iron: NDArray[np.float32]
    ventricles: NDArray[np.bool_]
    ventricle_slope: NDArray[np.float32]
    white: NDArray[np.float32]
    white_depth: NDArray[np.float32]


@lru_cache(maxsize=1)
def load_template() -> Template:
    """The ICBM152 2009a nonlinear symmetric average that the nilearn package carries.

    Gray and white matter are its probability maps (Fonov et al., NeuroImage 54(1), 2011). The brain is where its
    brain-only T1w image is above 0, holes filled, and what is neither gray nor white there is fluid.

    Raises:
        TemplateError: nilearn or its files are absent.
    """
    t1w, affine = _read("t1")
    gray, white = (_read(name)[0] / np.float32(255) for name in ("gm", "wm"))
    brain = ndimage.binary_fill_holes(t1w > 0)
    box = tuple(
        slice(max(s.start - _PAD_VOX, 0), s.stop + _PAD_VOX) for s in ndimage.find_objects(brain.astype(np.uint8))[0]
    )
    brain, gray, white = brain[box], gray[box], white[box]
    affine = affine.copy()
    affine[:3, 3] += [s.start for s in box]
    solid = np.maximum(gray + white, 1)
    gray, white = gray / solid * brain, white / solid * brain
    fluid = np.clip(brain - gray - white, 0, 1)
    i, j, k = brain.shape
    space = Space((i, j, k), affine)
    ventricles = _ventricles(space, fluid, brain)
    in_white = (white > 0.97) & (axes_mm(space)[2] > -10)  # none in brain stem and cerebellum
    return Template(
        space,
        np.stack([fluid, gray, white]).astype(np.float32),
        _iron(space, gray),
        ventricles,
        _slope(ventricles),
        (np.argwhere(in_white) + affine[:3, 3]).astype(np.float32),
        _depth_mm(~ventricles)[in_white],
    )


def load_template_t1w() -> Image:
    """The same average's T1w image, brain only: float32 on its 1 mm grid in MNI152 space.

    Raises:
        TemplateError: nilearn or its files are absent.
    """
    return Image(*_read("t1"))


def _read(name: str) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    # Found without importing: `import nilearn.datasets` would import scikit-learn too.
    spec = importlib.util.find_spec("nilearn")
    folder = Path(spec.origin).parent / "datasets" / "data" if spec and spec.origin else Path("nilearn")
    path = folder / _FILE.format(name)
    if not path.is_file():
        raise TemplateError(f"{path}: the brain template is missing; install it with `pip install 'nilearn>=0.14'`")
    image = nib.Nifti1Image.from_filename(path)
    return np.asarray(image.dataobj, dtype=np.float32), np.asarray(image.affine, dtype=np.float64)


def _iron(space: Space, gray: NDArray[np.float32]) -> NDArray[np.float32]:
    x, y, z = np.meshgrid(*axes_mm(space), indexing="ij", sparse=True)
    iron = np.zeros(space.shape, dtype=np.float32)
    for nucleus in NUCLEI.values():
        (cx, cy, cz), (ax, ay, az), (low, high) = nucleus.center_mm, nucleus.semi_axes_mm, nucleus.gray
        inside = ((np.abs(x) - cx) / ax) ** 2 + ((y - cy) / ay) ** 2 + ((z - cz) / az) ** 2 < 1
        inside &= (gray > low) & (gray < high)
        # thresholds leave crumbs at the rims of neighbors
        inside = ndimage.binary_opening(inside)
        iron = np.maximum(iron, inside * np.float32(nucleus.iron - IRON_OF_CORTEX))
    return np.asarray(ndimage.gaussian_filter(iron, 0.7), dtype=np.float32)


def _ventricles(space: Space, fluid: NDArray[np.float32], brain: NDArray[np.bool_]) -> NDArray[np.bool_]:
    deep = _depth_mm(brain) > _VENTRICLE_DEPTH_MM
    for axis, (low, high) in enumerate(_VENTRICLE_BOX_MM):
        coordinates = axes_mm(space)[axis].reshape([-1 if a == axis else 1 for a in range(3)])
        deep &= (coordinates >= low) & (coordinates <= high)
    return np.asarray(deep & (fluid > 0.5), dtype=np.bool_)


def _depth_mm(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Distance of each 1 mm voxel from where the mask ends, to 2 mm."""
    # on every other voxel, in a tenth of the time
    depth = ndimage.distance_transform_edt(mask[::2, ::2, ::2], sampling=2).astype(np.float32)
    i, j, k = (np.arange(n) // 2 for n in mask.shape)
    return np.asarray(depth[np.ix_(i, j, k)])


def _slope(ventricles: NDArray[np.bool_]) -> NDArray[np.float32]:
    smooth = ndimage.gaussian_filter(ventricles.astype(np.float32), _VENTRICLE_SMOOTHING_MM)
    slope = np.stack(np.gradient(smooth[::SLOPE_STRIDE, ::SLOPE_STRIDE, ::SLOPE_STRIDE]))
    return np.asarray(slope / np.sqrt((slope**2).sum(0)).max(), dtype=np.float32)
