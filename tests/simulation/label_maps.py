"""A label map of ellipsoids that has an answer for everything: white matter in cortex in fluid in bone in skin."""

import numpy as np
from scipy.spatial.transform import Rotation

from volumetric.imaging.nifti import Image

CENTER_MM = np.array([12.0, -7.0, 30.0])
RADII_MM = {
    "skin": (72, 86, 76),
    "bone": (66, 80, 70),
    "fluid": (60, 74, 64),
    "cortex": (56, 70, 60),
    "white": (50, 64, 54),
}
LABELS = {"skin": 511, "bone": 515, "fluid": 24, "cortex": 3, "white": 2, "ventricle": 4, "putamen": 12}
VENTRICLE_MM, PUTAMEN_MM = np.array([0.0, -10.0, 5.0]), np.array([28.0, 8.0, -6.0])


def oblique(spacing_mm):
    """An affine of turned axes, left-handed."""
    turn = Rotation.from_euler("xyz", [7, -5, 9], degrees=True).as_matrix()
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag(spacing_mm) @ np.array([[-1, 0, 0], [0, 0, 1], [0, -1, 0]])
    return affine


def label_map(affine=None, shape=(60, 52, 58), spacing_mm=(3.0, 3.5, 3.2), *, outside=True):
    """Whole numbers `(I, J, K)`; the head's center lies at `CENTER_MM` in the world.

    The axes of `shape` are those of the array, whatever the affine makes of them.
    """
    affine = oblique(spacing_mm) if affine is None else affine.copy()
    affine[:3, 3] = CENTER_MM - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    places = affine[:3, :3] @ np.indices(shape).reshape(3, -1) + affine[:3, 3:] - CENTER_MM[:, None]
    labels = np.zeros(places.shape[1], np.uint16)
    for name, radii in RADII_MM.items():
        if outside or name not in ("skin", "bone"):
            labels[(np.abs(places / np.array(radii)[:, None]) ** 2).sum(0) < 1] = LABELS[name]
    for name, center in (("ventricle", VENTRICLE_MM), ("putamen", PUTAMEN_MM)):
        labels[((places - center[:, None]) ** 2).sum(0) < 13**2] = LABELS[name]
    return Image(labels.reshape(shape), affine)
