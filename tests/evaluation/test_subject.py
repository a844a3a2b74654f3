import numpy as np
import pytest

from tests.conftest import brain_pair
from volumetric.evaluation import subject as module
from volumetric.evaluation.subject import PredictionGridError, read_normalized, read_prediction, row_on_grid
from volumetric.imaging.nifti import Image, write_image
from volumetric.manifest import ManifestRow
from volumetric.outputs import hash_file


@pytest.fixture
def row(tmp_path):
    paths = {contrast: tmp_path / f"{contrast}.nii.gz" for contrast in ("t1w", "t2w")}
    for path, image in zip(paths.values(), brain_pair(0), strict=True):
        write_image(path, image)
    return ManifestRow("p", paths=paths)


def test_source_and_truth_are_divided_by_their_own_in_mask_median(row):
    t1w, t2w = brain_pair(0)
    subject = read_normalized(row, "t1w", "t2w")
    mask = t1w.array != 0
    assert np.array_equal(subject.mask, mask)
    assert subject.mask_rule == "nonzero"
    assert subject.source_median == pytest.approx(np.median(t1w.array[mask]))
    np.testing.assert_allclose(subject.truth, np.where(mask, t2w.array / np.median(t2w.array[mask]), 0), rtol=1e-6)
    assert subject.sha256 == {contrast: hash_file(row.paths[contrast]) for contrast in ("t1w", "t2w")}


def test_a_prediction_is_divided_by_what_the_scale_says(row, tmp_path):
    subject = read_normalized(row, "t1w", "t2w")
    file = tmp_path / "p.nii.gz"
    write_image(file, Image((500 * subject.truth).astype(np.float32), subject.space.affine))
    for scale, divisor in (("reference", 1000), ("250", 250), ("own-median", 500)):
        prediction = read_prediction(file, subject, scale)
        assert prediction.divisor == pytest.approx(divisor)
        np.testing.assert_allclose(prediction.array, subject.truth * 500 / divisor, rtol=1e-5)
    assert prediction.sha256 == hash_file(file)


def test_a_prediction_on_another_grid_is_refused(row, tmp_path):
    subject = read_normalized(row, "t1w", "t2w")
    write_image(tmp_path / "p.nii.gz", Image(subject.truth[:-1], subject.space.affine))
    with pytest.raises(PredictionGridError, match=r"subject p: the prediction p.nii.gz \(shape .*different grids"):
        read_prediction(tmp_path / "p.nii.gz", subject, "reference")


def test_the_row_on_the_grid_of_the_prediction_is_chosen_without_reading_a_volume(row, tmp_path, monkeypatch):
    native = {f"native_{c}": tmp_path / f"native_{c}.nii.gz" for c in ("t1w", "t2w")}
    for path in native.values():
        write_image(path, Image(np.ones((4, 5, 6), np.float32), np.eye(4)))
    both = ManifestRow("p", paths={**row.paths, **native})
    monkeypatch.setattr(module, "read_image", None)
    assert row_on_grid(row, tmp_path / "not-read.nii.gz", "t2w") is row
    assert row_on_grid(both, row.paths["t2w"], "t2w") is both
    assert row_on_grid(both, native["native_t2w"], "t2w").path("t2w") == native["native_t2w"]
