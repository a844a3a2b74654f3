import numpy as np

from tests.conftest import oblique_affine
from volumetric.cohort.candidates import Candidate, Listing, select
from volumetric.imaging.nifti import Image, write_image


def scan(path, *, affine=None):
    write_image(path, Image(np.ones((3, 4, 5), np.float32), oblique_affine() if affine is None else affine))
    return path


def test_the_first_readable_by_rank_is_taken_and_every_other_file_has_a_reason(tmp_path):
    (tmp_path / "damaged.nii.gz").write_bytes(b"no image")
    ranks = {"damaged": 0, "second": 1, "third": 2}
    for name in ("second", "third"):
        scan(tmp_path / f"{name}.nii.gz")
    candidates = [
        Candidate(tmp_path / f"{n}.nii.gz", "s", "", "t1w", (rank,), rule="rule") for n, rank in ranks.items()
    ]
    selection = select(Listing(tuple(reversed(candidates))), tmp_path)
    assert [row.paths for row in selection.rows] == [{"t1w": tmp_path / "second.nii.gz"}]
    reasons = dict(selection.skipped)
    assert reasons["third.nii.gz"] == "rule; taken: second.nii.gz"
    assert reasons.keys() == {"damaged.nii.gz", "third.nii.gz"}


def test_covariates_of_the_session_come_before_the_subjects_and_these_before_the_files(tmp_path):
    path = scan(tmp_path / "a.nii.gz")
    candidate = Candidate(path, "s", "2", "t1w", covariates={"age": "1", "site": "file", "sex": ""})
    covariates = {("s", "2"): {"age": "3"}, ("s", ""): {"age": "2", "sex": "F"}}
    (row,) = select(Listing((candidate,), covariates=covariates), tmp_path).rows
    assert (row.name, row.covariates) == ("s/2", {"age": "3", "sex": "F", "site": "file"})


def test_sessions_off_one_grid_are_counted_and_labels_alone_are_no_row(tmp_path):
    paths = {name: scan(tmp_path / f"{name}.nii.gz") for name in ("t1w", "mask")}
    paths["t2w"] = scan(tmp_path / "t2w.nii.gz", affine=np.diag([1.0, 2, 3, 1]))
    candidates = [Candidate(paths[column], "a", "", column) for column in ("t1w", "t2w")]
    selection = select(Listing((*candidates, Candidate(paths["mask"], "b", "", "mask"))), tmp_path)
    assert [row.name for row in selection.rows] == ["a"]
    assert selection.num_off_grid == 1
    assert selection.skipped == (("mask.nii.gz", "this session has labels but no contrast"),)
