from types import SimpleNamespace

import numpy as np

from volumetric.evaluation.windows import window_borders
from volumetric.imaging.geometry import Space
from volumetric.records.prediction import WindowRecord

EYE = tuple(map(tuple, np.eye(4).tolist()))


def sidecar(starts, size, *, prepared_here=False, affine=EYE):
    windows = WindowRecord(
        size=size, number=len(starts), starts=tuple(starts), grid_shape=(8, 5, 6), grid_affine=affine
    )
    return SimpleNamespace(windows=windows, prepared_here=prepared_here)


def test_borders_lie_beside_the_planes_where_windows_end():
    borders = window_borders(sidecar([(0, 0, 0), (3, 0, 0)], (5, 5, 6)), Space((8, 5, 6), np.eye(4)))
    # Windows 0-4 and 3-7: the second starts between voxels 2 and 3, the first ends between 4 and 5.
    assert borders.any(axis=(1, 2)).tolist() == [False, False, True, True, True, True, False, False]
    assert borders.all(axis=(1, 2)).sum() == 4


def test_planes_follow_the_affine_of_the_truth():
    borders = window_borders(sidecar([(0, 0, 0), (4, 0, 0)], (4, 5, 6)), Space((16, 5, 6), np.diag([0.5, 1, 1, 1])))
    assert np.flatnonzero(borders.any(axis=(1, 2))).tolist() == [5, 6, 7, 8, 9]  # 3.5 within 1, in halves


def test_one_window_and_another_grid_have_no_borders():
    space = Space((8, 5, 6), np.eye(4))
    assert window_borders(sidecar([(0, 0, 0)], (8, 5, 6)), space) is None
    assert window_borders(sidecar([(0, 0, 0), (3, 0, 0)], (5, 5, 6), prepared_here=True), space) is None
