"""Known moves come back, and so does every matrix from its file."""

import numpy as np
import pytest
import SimpleITK as sitk

from tests.conftest import oblique_affine, raw_pair
from volumetric.imaging.geometry import Space, displacement_mm, inverse, mask_points, moved, overlap, rotation_deg
from volumetric.imaging.itk import to_sitk
from volumetric.imaging.nifti import Image
from volumetric.imaging.registration import (
    RegistrationError,
    random_moves,
    read_transform,
    register,
    usual_starts,
    write_transform,
)
from volumetric.imaging.resample import resample

QUARTER_TURN = np.array([[0, -1.0, 0, 4], [1, 0, 0, -3], [0, 0, 1, 12], [0, 0, 0, 1]])  # about the world's origin


@pytest.fixture(scope="module")
def scans(simulated_scan):
    """T1w, T2w on a turned grid of its own, and the mask of a simulated subject."""
    space = simulated_scan.space
    grid = Space((76, 70, 81), oblique_affine("PIR", spacing=(2.6, 2.9, 2.4), degrees=6))
    centers = [s.affine @ [*((np.array(s.shape) - 1) / 2), 1] for s in (space, grid)]
    grid.affine[:3, 3] += (centers[0] - centers[1])[:3]
    t2w = Image(resample(simulated_scan.t2w, space, grid, "cubic"), grid.affine)
    return Image(simulated_scan.t1w, space.affine), t2w, simulated_scan.mask > 0


def test_a_known_move_is_recovered_between_oblique_grids(scans):
    t1w, t2w, mask = scans
    points = mask_points(t1w.space, mask)
    (move,) = random_moves(1, points.mean(axis=0), seed=1)
    moving = Image(t2w.array, move @ t2w.affine)
    found = register(t1w, moving, mask)
    assert displacement_mm(move, points) > 10
    assert displacement_mm(inverse(move) @ found.fixed_to_moving, points) < 0.3


def test_affine_finds_a_scaling_that_rigid_cannot(scans, monkeypatch):
    monkeypatch.setattr("volumetric.imaging.registration.LEVELS_MM", (4.0, 2.5))  # the scans have voxels of 2.5 mm
    t1w, t2w, mask = scans
    stretch = np.diag([1.05, 0.97, 1.0, 1.0])
    moving = Image(t2w.array, stretch @ t2w.affine)
    points = mask_points(t1w.space, mask)
    rigid, affine = (
        register(t1w, moving, mask, kind=kind, starts=[np.eye(4)]).fixed_to_moving for kind in ("rigid", "affine")
    )
    assert displacement_mm(inverse(stretch) @ affine, points) < 0.5
    assert displacement_mm(inverse(stretch) @ rigid, points) > 1


def test_two_registrations_end_in_the_same_bits_because_itk_sums_on_one_thread(scans, monkeypatch):
    monkeypatch.setattr("volumetric.imaging.registration.LEVELS_MM", (5.0, 4.0))
    monkeypatch.setattr("volumetric.imaging.registration._SAMPLES", 10_000)  # fewer than the mask has
    t1w, t2w, mask = scans
    first, second = (register(t1w, t2w, mask, starts=[np.eye(4)]).fixed_to_moving for _ in range(2))
    assert first.tobytes() == second.tobytes()


def test_scans_far_apart_are_refused_with_a_way_out():
    t1w, t2w = raw_pair(2)
    away = np.eye(4)
    away[0, 3] = 500
    mask = t1w.array > 0
    with pytest.raises(RegistrationError, match=r"subject p2: from none of 1 starts .* check that both"):
        register(t1w, Image(t2w.array, away @ t2w.affine), mask, starts=[np.eye(4)], name="subject p2")


def test_centers_of_intensity_are_a_start_for_scans_far_apart():
    t1w, t2w = raw_pair(2)
    away = np.eye(4)
    away[:3, 3] = 500, -200, 90
    starts = usual_starts(t1w, Image(t2w.array, away @ t2w.affine), t1w.array > 0, number=3, seed=0)
    assert len(starts) == 3
    np.testing.assert_array_equal(starts[0], np.eye(4))
    np.testing.assert_allclose(starts[1][:3, 3], away[:3, 3], atol=5)


def test_a_transform_file_takes_itk_to_the_same_voxels(scans, tmp_path):
    write_transform(tmp_path / "a.tfm", QUARTER_TURN)
    np.testing.assert_allclose(read_transform(tmp_path / "a.tfm"), QUARTER_TURN, atol=1e-12)
    t1w, t2w, _ = scans
    by_itk = sitk.Resample(
        to_sitk(t2w.array, t2w.space),
        to_sitk(t1w.array, t1w.space),
        sitk.ReadTransform(str(tmp_path / "a.tfm")),
        sitk.sitkNearestNeighbor,
    )
    ours = resample(t2w.array, moved(t2w.space, inverse(QUARTER_TURN)), t1w.space, "nearest")
    assert (ours > 0).mean() > 0.05
    assert (sitk.GetArrayFromImage(by_itk).transpose(2, 1, 0) == ours).mean() > 0.999  # ties of rounding


def test_a_damaged_transform_file_is_named(tmp_path):
    (tmp_path / "b.tfm").write_text("nothing")
    with pytest.raises(RegistrationError, match=r"b\.tfm"):
        read_transform(tmp_path / "b.tfm")


def test_sizes_of_moves_by_hand():
    assert rotation_deg(QUARTER_TURN) == pytest.approx(90)
    assert displacement_mm(QUARTER_TURN, np.array([[0.0, 0, 0]])) == pytest.approx(13)  # (4, -3, 12)
    stretched = QUARTER_TURN @ np.diag([1.1, 0.9, 1.0, 1.0])
    assert rotation_deg(stretched) == pytest.approx(90)
    moves = random_moves(50, np.array([10.0, 0, 0]), seed=1, shift_mm=3, turn_deg=0)
    assert max(np.abs(move[:3, 3]).max() for move in moves) <= 3


def test_overlap_counts_points_inside_a_grid():
    space = Space((4, 5, 6), oblique_affine("PIR", spacing=(1.0, 2.0, 3.0)))
    points = mask_points(space, np.ones(space.shape, bool))
    assert overlap(space, points) == 1
    half = Space((2, 5, 6), space.affine)
    assert overlap(half, points) == pytest.approx(0.5)
