"""The checkerboard of two volumes, by hand, and the figure's bytes."""

import numpy as np
from PIL import Image as PillowImage

from volumetric.figures.alignment import ImageColumn, _board, alignment_figure


def test_squares_of_the_checkerboard_have_18_mm_a_side_for_any_voxel_size():
    board = _board((4, 6), np.array([9.0, 18.0, 1.0]), 0, 1)  # 18 mm up, 9 mm along: squares of 1 x 2 voxels
    np.testing.assert_array_equal(board[0], [True, True, False, False, True, True])
    np.testing.assert_array_equal(board[1], ~board[0])
    np.testing.assert_array_equal(board[2], board[0])


def test_a_column_of_two_volumes_alternates_between_them_and_equal_figures_are_equal_bytes(tmp_path):
    mask = np.zeros((27, 31, 29), bool)
    mask[4:-4, 5:-5, 6:-6] = True
    dark, bright = (np.full(mask.shape, value, np.float32) * mask for value in (1e-9, 1.0))
    columns = [ImageColumn("one", (bright,)), ImageColumn("two", (bright, dark))]
    files = [tmp_path / "a.png", tmp_path / "b.png"]
    for file in files:
        alignment_figure(columns, mask, spacing_mm=np.array([3.0, 3, 3]), title="a", out=file)
    assert files[0].read_bytes() == files[1].read_bytes()
    with PillowImage.open(files[0]) as figure:
        pixels = np.asarray(figure.convert("L"))
    assert pixels.shape[1] > 300
    assert (pixels == 255).mean() > 0.1
