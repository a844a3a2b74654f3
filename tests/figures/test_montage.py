"""Planes and gray levels of the montage, by the images that matplotlib holds."""

import numpy as np

from volumetric.figures.montage import ERROR_UPPER, GRAY_UPPER, SOURCE_UPPER, draw_montage


def test_each_column_has_the_planes_and_the_range_of_its_volume():
    shape = (16, 20, 34)
    source = np.arange(np.prod(shape), dtype=np.float32).reshape(shape) / np.prod(shape)
    truth, prediction = source * 2, source * 2 + np.float32(0.5)
    figure = draw_montage({"t1w": source}, truth, prediction, spacing_mm=np.array([1.0, 2, 3]), title="")
    panels = [axes.images[0] for axes in figure.axes if axes.images]
    axial = panels[:4]
    np.testing.assert_array_equal(axial[0].get_array(), source[:, :, 18].T)  # the middle is 17
    np.testing.assert_allclose(axial[3].get_array(), np.full((20, 16), 0.5), atol=1e-6)
    assert [image.get_clim() for image in axial] == [
        (0, SOURCE_UPPER),
        (0, GRAY_UPPER),
        (0, GRAY_UPPER),
        (-ERROR_UPPER, ERROR_UPPER),
    ]
    coronal, sagittal = panels[4], panels[8]
    np.testing.assert_array_equal(coronal.get_array(), source[:, 10].T)
    np.testing.assert_array_equal(sagittal.get_array(), source[9].T)  # the middle is 8
    assert [axes.get_title() for axes in figure.axes[:4]] == ["t1w", "truth", "prediction", "prediction - truth"]
