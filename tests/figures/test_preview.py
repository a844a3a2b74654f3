"""Slices, gray levels and places of the preview, by the images that matplotlib holds."""

import numpy as np

from volumetric.figures.montage import GRAY_UPPER, SOURCE_UPPER
from volumetric.figures.preview import PreviewSubject, draw_preview


def subject(number, shape=(16, 20, 11)):
    t1w = np.arange(np.prod(shape), dtype=np.float32).reshape(shape) / np.prod(shape)
    mask = np.zeros(shape, bool)
    mask[3:6, 4:9, 2:8] = True
    mask[3:9, 4:9, 7] = True
    spacing_mm = np.array([1.0, 2, 3])
    return PreviewSubject(f"sim{number:03d}", ("above", "below"), t1w, t1w + number, mask, spacing_mm)


def test_each_subject_has_the_axial_slice_with_the_most_brain_in_both_contrasts():
    figure = draw_preview([subject(0), subject(1, shape=(10, 12, 9))])
    upper, lower = figure.axes[:2], figure.axes[2:]
    first, second = subject(0), subject(1, shape=(10, 12, 9))
    for axes, one in zip(upper, (first, second), strict=True):
        (image,) = axes.images
        np.testing.assert_array_equal(image.get_array(), one.t1w[:, :, 7].T)
        assert image.get_clim() == (0, SOURCE_UPPER)
        assert (image.origin, axes.get_title(), axes.get_xlabel()) == ("lower", one.title, "above")
    for axes, one in zip(lower, (first, second), strict=True):
        (image,) = axes.images
        np.testing.assert_array_equal(image.get_array(), one.t2w[:, :, 7].T)
        assert image.get_clim() == (0, GRAY_UPPER)
    # millimeters, and the view of the largest for all: 16 x 1 by 20 x 2
    assert upper[1].images[0].get_extent() == [-5, 5, -12, 12]
    assert {axes.get_xlim() + axes.get_ylim() for axes in figure.axes} == {(-8, 8, -20, 20)}


def test_twelve_subjects_stand_in_two_lines_of_six():
    figure = draw_preview([subject(number) for number in range(12)])
    titles = [axes.get_title() for axes in figure.axes]
    assert len(figure.axes) == 24
    assert titles[:6] + titles[12:18] == [f"sim{number:03d}" for number in range(12)]
    assert [axes.get_ylabel() for axes in figure.axes[::6]] == ["t1w", "t2w", "t1w", "t2w"]


def test_one_subject_and_a_line_that_is_not_full():
    assert len(draw_preview([subject(0)]).axes) == 2
    figure = draw_preview([subject(number) for number in range(7)])
    assert sum(bool(axes.images) for axes in figure.axes) == 14
