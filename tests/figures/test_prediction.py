import numpy as np
import pytest
from matplotlib.image import imread

from tests.conftest import oblique_affine
from volumetric.errors import InputError
from volumetric.figures import prediction as module
from volumetric.figures.prediction import draw_prediction, figure_path
from volumetric.imaging.nifti import Image, write_image


@pytest.fixture
def files(tmp_path):
    """A scan of 200, and 400 in one slice, in the box where the prediction is 1500, on an oblique grid."""
    affine = oblique_affine("LAS", spacing=(2, 3, 4))
    inside = np.zeros((21, 17, 13), bool)
    inside[4:16, 3:14, 2:11] = True
    scan, prediction = tmp_path / "t1w.nii.gz", tmp_path / "sub-a_desc-synth_T2w.nii.gz"
    values = np.where(inside, 200, 37).astype(np.float32)
    values[4][inside[4]] = 400  # the first slice of the box is the rightmost, the last one in RAS
    write_image(scan, Image(values, affine))
    write_image(prediction, Image(np.where(inside, 1500, 0).astype(np.float32), affine))
    return scan, prediction


def test_scan_and_prediction_are_drawn_in_reference_units_where_there_is_a_prediction(files, monkeypatch):
    drawn = {}
    monkeypatch.setattr(module, "montage", lambda *volumes, **options: drawn.update(volumes=volumes, **options))
    scan, prediction = files
    draw_prediction({"t1w": scan}, prediction, title="a")
    sources, truth, synthetic = drawn["volumes"]
    assert truth is None
    assert synthetic.shape == sources["t1w"].shape == (12, 11, 9)
    assert np.unique(synthetic) == pytest.approx([1.5])
    assert np.unique(sources["t1w"][:-1]) == pytest.approx([1])
    assert np.unique(sources["t1w"][-1]) == pytest.approx([2])
    assert drawn["spacing_mm"] == pytest.approx([2, 3, 4])


def test_the_figure_is_a_png_beside_the_prediction(files):
    scan, prediction = files
    draw_prediction({"t1w": scan}, prediction, title="a")
    assert figure_path(prediction) == prediction.parent / "sub-a_desc-synth_T2w.png"
    assert imread(figure_path(prediction)).std() > 0.05


def test_a_source_on_another_grid_is_left_out(files, tmp_path, monkeypatch):
    drawn = {}
    monkeypatch.setattr(module, "montage", lambda *volumes, **options: drawn.update(volumes=volumes))
    scan, prediction = files
    write_image(tmp_path / "other.nii.gz", Image(np.ones((21, 17, 13), np.float32), oblique_affine()))
    draw_prediction({"t1w": scan, "pdw": tmp_path / "other.nii.gz"}, prediction, title="")
    assert list(drawn["volumes"][0]) == ["t1w"]


def test_nothing_to_draw_is_said(files):
    scan, prediction = files
    write_image(prediction, Image(np.zeros((21, 17, 13), np.float32), oblique_affine("LAS")))
    with pytest.raises(InputError, match="0 everywhere"):
        draw_prediction({"t1w": scan}, prediction, title="")
