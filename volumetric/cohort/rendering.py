"""The images of a subject that is simulated from a label map, on an isotropic grid."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from volumetric.imaging.geometry import Space, bounding_box
from volumetric.simulation.pair import OVERVIEW_MM, PairSimulation
from volumetric.simulation.point_spread import PairGrid
from volumetric.simulation.scan import SimulatedScan
from volumetric.simulation.tissues import NAMES, TISSUES

GRAY = (
    *("cortex", "thalamus", "caudate", "putamen", "pallidum", "hippocampus", "amygdala", "accumbens"),
    "cerebellar_cortex",
)
"""Tissues that count as gray matter; the rest of the solid brain counts as white, lesions included."""

LESIONS = ("white_matter_lesion", "edema", "tumor", "necrosis")


def _class_of(name: str) -> int:
    """1 CSF, 2 GM, 3 WM, 0 for vessels, meninges and what is outside the brain."""
    tissue = TISSUES[name]
    if tissue.region == "brain":
        return 2 if name in GRAY else 3
    return int(tissue.region == "fluid" and not tissue.flows)


_MARGIN_MM = 2 * OVERVIEW_MM  # thin parts may lie between the voxels of the overview
_CLASSES = np.array([_class_of(name) for name in NAMES], np.uint8)
_IS_LESION = np.array([name in LESIONS for name in NAMES])


def isotropic_grid(simulation: PairSimulation, spacing_mm: float) -> PairGrid:
    """The grid that holds the brain, or the head, with a margin; 0 mm is a voxel's center."""
    axes, box = simulation.overview_grid.axes(), bounding_box(simulation.overview.mask.numpy())
    low = [(axis[s.start] - _MARGIN_MM) / spacing_mm for axis, s in zip(axes, box, strict=True)]
    high = [(axis[s.stop - 1] + _MARGIN_MM) / spacing_mm for axis, s in zip(axes, box, strict=True)]
    first = np.floor(low).astype(int)
    i, j, k = (int(n) for n in np.ceil(high).astype(int) - first + 1)
    x, y, z = (float(place) * spacing_mm for place in first)
    return PairGrid((x, y, z), (spacing_mm,) * 3, (i, j, k))


def render_scan(simulation: PairSimulation, scales: tuple[float, float], spacing_mm: float) -> SimulatedScan:
    """Render both scans, 0 outside what is simulated, and the labels of the brain.

    Args:
        simulation: of the subject; its brain must not be empty.
        scales: arbitrary factors on T1w and T2w.
        spacing_mm: of the isotropic grid.

    Returns:
        The images; `mask`, `tissues` and `lesions` are those of the brain, also where the scans hold the head.
        `tissues` is 0 in vessels, meninges and the rim that brain extraction left.
    """
    grid = isotropic_grid(simulation, spacing_mm)
    pair = simulation.render(grid)
    shown, brain, tissues = pair.mask.numpy(), pair.brain.numpy(), pair.tissues.numpy()
    t1w, t2w = (
        np.asarray(image.numpy() * shown * np.float32(scale), dtype=np.float32)
        for image, scale in zip((pair.source, pair.target), scales, strict=True)
    )
    return SimulatedScan(
        Space(grid.shape, _affine(grid)),
        t1w=t1w,
        t2w=t2w,
        mask=brain,
        tissues=np.asarray(_CLASSES[tissues] * brain, dtype=np.uint8),
        lesions=np.asarray(_IS_LESION[tissues] & brain, dtype=np.bool_),
    )


def _affine(grid: PairGrid) -> NDArray[np.float64]:
    affine = np.diag([*grid.spacing_mm, 1.0])
    affine[:3, 3] = grid.origin_mm
    return affine
