import json
import shutil

import numpy as np
import pytest

from tests.conftest import oblique_affine
from volumetric.cohort.discover import DiscoverError, discover
from volumetric.cohort.tables import TableError
from volumetric.errors import InputError
from volumetric.imaging.nifti import Image, write_image
from volumetric.manifest import read_manifest
from volumetric.outputs import OutputError


def scan(path, *, value=7.0, affine=None):
    write_image(path, Image(np.full((3, 4, 5), value, np.float32), oblique_affine() if affine is None else affine))


def damaged(path):
    scan(path)
    path.write_bytes(path.read_bytes()[:60])


def files(discovery, root):
    return {row.name: {c: p.relative_to(root).as_posix() for c, p in row.paths.items()} for row in discovery.rows}


@pytest.fixture
def bids(tmp_path):
    root = tmp_path / "bids"
    anat = root / "sub-01" / "ses-a" / "anat"
    for name in ("run-1_T1w", "run-2_T1w", "acq-fast_T1w", "ce-gad_T1w", "T2w", "T2starw", "part-phase_T2w"):
        scan(anat / f"sub-01_ses-a_{name}.nii.gz")
    (root / "dataset_description.json").write_text('{"Name": "n", "BIDSVersion": "1.9.0"}')
    (root / "T1w.json").write_text('{"MagneticFieldStrength": 1.5}')
    (anat / "sub-01_ses-a_run-2_T1w.json").write_text('{"MagneticFieldStrength": 3}')
    scan(root / "sub-01" / "ses-b" / "anat" / "sub-01_ses-b_T1w.nii")
    scan(root / "sub-02" / "anat" / "sub-02_T1w.nii.gz")
    damaged(root / "sub-02" / "anat" / "sub-02_T2w.nii.gz")
    scan(root / "sub-03" / "anat" / "sub-04_T1w.nii.gz")
    scan(root / "sub-05" / "anat" / "sub-05_run-1_FLAIR.nii.gz")
    damaged(root / "sub-05" / "anat" / "sub-05_run-2_FLAIR.nii.gz")
    (root / "participants.tsv").write_text(
        "participant_id\tage\tsex\tgroup\tsplit\nsub-01\t31\tF\tcontrol\tA\nsub-02\tn/a\tM\tpatient\tB\n"
    )
    (root / "sub-01" / "sub-01_sessions.tsv").write_text("session_id\tage\nses-b\t33\n")
    synthetic = root / "derivatives" / "volumetric" / "sub-02" / "anat"
    scan(synthetic / "sub-02_desc-synth_T2w.nii.gz")
    scan(root / "derivatives" / "prep" / "sub-02" / "anat" / "sub-02_desc-brain_mask.nii.gz", value=1.0)
    scan(root / "derivatives" / "prep" / "sub-02" / "anat" / "sub-02_desc-preproc_T1w.nii.gz")
    scan(root / "derivatives" / "prep" / "sub-02" / "anat" / "sub-02_space-MNI_desc-preproc_T1w.nii.gz")
    return root


def test_bids_sessions_runs_and_covariates(bids, tmp_path):
    discovery = discover(bids, tmp_path / "m.csv")
    assert (discovery.layout, discovery.evidence) == ("bids", "dataset_description.json is there")
    a = "sub-01/ses-a/anat/sub-01_ses-a_"
    assert files(discovery, bids) == {
        "01/a": {"t1w": f"{a}run-2_T1w.nii.gz", "t2w": f"{a}T2w.nii.gz"},
        "01/b": {"t1w": "sub-01/ses-b/anat/sub-01_ses-b_T1w.nii"},
        "02": {"t1w": "sub-02/anat/sub-02_T1w.nii.gz"},
        "05": {"flair": "sub-05/anat/sub-05_run-1_FLAIR.nii.gz"},
    }
    rows = {row.name: dict(row.covariates) for row in read_manifest(tmp_path / "m.csv").rows}
    assert rows["01/a"] == {
        "age": "31", "sex": "F", "group": "control", "participants_split": "A", "field_strength": "3.0"
    }  # fmt: skip
    assert rows["01/b"]["age"] == "33"  # of the session, before the subject's
    assert rows["01/b"]["field_strength"] == "1.5"  # inherited from the top
    assert rows["02"]["age"] == ""


def test_bids_reports_every_file_it_leaves_out(bids, tmp_path):
    reasons = dict(discover(bids, tmp_path / "m.csv").skipped)
    a = "sub-01/ses-a/anat/sub-01_ses-a_"
    assert reasons[f"{a}run-1_T1w.nii.gz"].endswith(f"taken: {a}run-2_T1w.nii.gz")
    assert reasons[f"{a}acq-fast_T1w.nii.gz"].endswith(f"taken: {a}run-2_T1w.nii.gz")
    assert "contrast agent" in reasons[f"{a}ce-gad_T1w.nii.gz"]
    assert "suffix T2starw" in reasons[f"{a}T2starw.nii.gz"]
    assert "no magnitude" in reasons[f"{a}part-phase_T2w.nii.gz"]
    assert "damaged" in reasons["sub-02/anat/sub-02_T2w.nii.gz"]
    assert "damaged" in reasons["sub-05/anat/sub-05_run-2_FLAIR.nii.gz"]
    assert "its name says sub-04, its folder sub-03" in reasons["sub-03/anat/sub-04_T1w.nii.gz"]
    assert len(reasons) == 8
    table = (tmp_path / "m_skipped.csv").read_text()
    assert all(path in table for path in reasons)


def test_bids_derivatives_when_asked(bids, tmp_path):
    discovery = discover(bids, tmp_path / "m.csv", derivatives=True)
    prep = "derivatives/prep/sub-02/anat/sub-02_desc-"
    assert files(discovery, bids)["02"] == {"t1w": f"{prep}preproc_T1w.nii.gz", "mask": f"{prep}brain_mask.nii.gz"}
    reasons = dict(discovery.skipped)
    assert "synthetic" in reasons["derivatives/volumetric/sub-02/anat/sub-02_desc-synth_T2w.nii.gz"]
    assert "another space" in reasons["derivatives/prep/sub-02/anat/sub-02_space-MNI_desc-preproc_T1w.nii.gz"]


@pytest.fixture
def ixi(tmp_path):
    root = tmp_path / "ixi"
    for name in ("IXI002-Guys-0828-T1", "IXI012-HH-1211-T1", "IXI013-IOP-1212-T1", "IXI013-IOP-1299-T1"):
        scan(root / "IXI-T1" / f"{name}.nii.gz")
    scan(root / "IXI-T2" / "IXI002-Guys-0828-T2.nii.gz")
    scan(root / "IXI-PD" / "IXI002-Guys-0828-PD.nii.gz", affine=np.diag([2.0, 3, 4, 1]))
    damaged(root / "IXI-T2" / "IXI012-HH-1211-T2.nii.gz")
    scan(root / "IXI-MRA" / "IXI012-HH-1211-MRA.nii.gz")
    scan(root / "mean.nii.gz")
    (tmp_path / "ixi.csv").write_text(
        'IXI_ID,"SEX_ID (1=m, 2=f)",HEIGHT,DOB,AGE\n2,2,164,1970-03-07,35.800137\n12,1,175,1966-08-20,38.78\n'
        "12,1,175,1966-08-20,41.00\n13,1,0,,\n,2,160,1950-01-01,50\n"
    )
    return root


def test_ixi_names_sites_and_spreadsheet(ixi, tmp_path):
    discovery = discover(ixi, tmp_path / "m.csv", spreadsheet=tmp_path / "ixi.csv")
    assert {name: sorted(paths) for name, paths in files(discovery, ixi).items()} == {
        "IXI002": ["pdw", "t1w", "t2w"],
        "IXI012": ["t1w"],
        "IXI013/1212": ["t1w"],
        "IXI013/1299": ["t1w"],
    }
    rows = {row.name: dict(row.covariates) for row in discovery.rows}
    assert rows["IXI002"] == {"site": "Guys", "field_strength": "1.5", "age": "35.80", "sex": "F"}
    assert rows["IXI012"] == {"site": "HH", "field_strength": "3.0", "sex": "M"}  # two ages: neither
    reasons = dict(discovery.skipped)
    assert "damaged" in reasons["IXI-T2/IXI012-HH-1211-T2.nii.gz"]
    assert reasons["IXI-MRA/IXI012-HH-1211-MRA.nii.gz"] == "MRA is none of T1, T2, PD"
    assert "none of IXI" in reasons["mean.nii.gz"]
    assert reasons["ixi.csv"] == "IXI_ID 12: two lines give AGE 38.78 and 41.00; neither is used"
    assert len(reasons) == 4
    assert discovery.num_off_grid == 1
    assert "1970" not in (tmp_path / "m.csv").read_text()


def test_ixi_is_seen_without_being_told(ixi, tmp_path):
    discovery = discover(ixi, tmp_path / "m.csv")
    assert (discovery.layout, discovery.evidence) == ("ixi", "8 of 9 NIfTI files are named as in IXI")


def test_ixi_spreadsheet_of_an_office_program_is_refused_with_the_way_out(ixi, tmp_path):
    (tmp_path / "IXI.xls").write_bytes(b"\xd0\xcf\x11\xe0")
    with pytest.raises(TableError, match=r"export it as CSV.*--spreadsheet IXI\.csv"):
        discover(ixi, tmp_path / "m.csv", spreadsheet=tmp_path / "IXI.xls")
    (tmp_path / "IXI.csv").write_bytes(b"\xd0\xcf\x11\xe0\x00")
    with pytest.raises(TableError, match="export the table as CSV"):
        discover(ixi, tmp_path / "m.csv", spreadsheet=tmp_path / "IXI.csv")


def test_plain_folders_by_default(tmp_path):
    root = tmp_path / "in"
    scan(root / "p1" / "T1.nii.gz")
    scan(root / "p1" / "t2w.nii")
    scan(root / "p1" / "brain_mask.nii.gz", value=1.0)
    scan(root / "p1" / "t1ce.nii.gz")
    scan(root / "p2" / "mprage.nii.gz")
    damaged(root / "p2" / "T2.nii.gz")
    scan(root / "p3" / "mask.nii.gz", value=1.0)
    scan(root / "p4" / "mask.nii.gz", value=0.5)
    scan(root / "mean.nii.gz")
    discovery = discover(root, tmp_path / "m.csv")
    assert discovery.layout == "folders"
    assert files(discovery, root) == {
        "p1": {"t1w": "p1/T1.nii.gz", "t2w": "p1/t2w.nii", "mask": "p1/brain_mask.nii.gz"},
        "p2": {"t1w": "p2/mprage.nii.gz"},
    }
    reasons = dict(discovery.skipped)
    assert "'t1ce' is not a known contrast" in reasons["p1/t1ce.nii.gz"]
    assert "damaged" in reasons["p2/T2.nii.gz"]
    assert reasons["p3/mask.nii.gz"] == "this session has labels but no contrast"
    assert "whole numbers" in reasons["p4/mask.nii.gz"]
    assert "does not match" in reasons["mean.nii.gz"]


def test_plain_folders_by_pattern(tmp_path):
    root = tmp_path / "in"
    scan(root / "north" / "p_01" / "p_01_v2_T1_x9.nii.gz")
    scan(root / "north" / "p_01" / "p_02_v2_T1_x9.nii.gz")
    pattern = "{site}/{subject_id}/{subject_id}_{session_id}_{contrast}_*.nii.gz"
    discovery = discover(root, tmp_path / "m.csv", pattern=pattern)
    assert files(discovery, root) == {"p_01/v2": {"t1w": "north/p_01/p_01_v2_T1_x9.nii.gz"}}
    assert dict(discovery.rows[0].covariates) == {"site": "north"}
    assert [path for path, _ in discovery.skipped] == ["north/p_01/p_02_v2_T1_x9.nii.gz"]


def test_a_manifest_that_differs_is_not_written_over(tmp_path):
    root, out = tmp_path / "in", tmp_path / "m.csv"
    scan(root / "p1" / "t1w.nii.gz")
    discover(root, out)
    before = out.read_bytes()
    discover(root, out)
    scan(root / "p2" / "t1w.nii.gz")
    with pytest.raises(OutputError, match=r"1 rows before, 2 now.*--fresh"):
        discover(root, out)
    assert out.read_bytes() == before
    discover(root, out, fresh=True)
    assert len(read_manifest(out).rows) == 2
    assert {path.name for path in tmp_path.iterdir()} == {"in", "m.csv"}


def test_mistakes_are_named_and_nothing_is_written(tmp_path):
    root, out = tmp_path / "in", tmp_path / "out" / "m.csv"
    damaged(root / "p1" / "t1w.nii.gz")
    for options, message in (
        ({}, r"none of 1 files or series can be used.*--pattern"),
        ({"layout": "dicom"}, "no scan was found by the layout dicom"),
        ({"layout": "nifti"}, "expected one of auto, bids"),
        ({"layout": "bids", "pattern": "x"}, r"--pattern is for the layout folders"),
        ({"pattern": "x", "derivatives": True}, "--derivatives is for the layout bids"),
    ):
        with pytest.raises(DiscoverError, match=message):
            discover(root, out, **options)
    with pytest.raises(DiscoverError, match="no such folder"):
        discover(tmp_path / "none", out)
    with pytest.raises(DiscoverError, match=r"ends in \.csv"):
        discover(root, tmp_path / "m")
    assert not out.parent.exists()


def test_every_row_can_be_read_back(bids, tmp_path):
    discovery = discover(bids, tmp_path / "elsewhere" / "m.csv")
    manifest = read_manifest(tmp_path / "elsewhere" / "m.csv")
    for row, again in zip(discovery.rows, manifest.rows, strict=True):
        assert (row.subject_id, row.session_id, row.split) == (again.subject_id, again.session_id, again.split)
        for column in row.paths:
            assert again.path(column).resolve() == row.path(column).resolve()
    moved = tmp_path / "moved"
    moved.mkdir()
    shutil.move(tmp_path / "elsewhere", moved)
    shutil.move(bids, moved)
    assert all(row.path("t1w") for row in read_manifest(moved / "elsewhere" / "m.csv").rows if "t1w" in row.paths)


def test_sidecars_that_say_nothing_are_no_obstacle(bids, tmp_path):
    (bids / "sub-02" / "anat" / "sub-02_T1w.json").write_text("{ not json")
    (bids / "T1w.json").write_text(json.dumps({"MagneticFieldStrength": None}))
    rows = {row.name: row for row in discover(bids, tmp_path / "m.csv").rows}
    assert "field_strength" not in rows["02"].covariates


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fractions": (0.5, 0.5, 0.5)}, "three fractions that add up to 1"),
        ({"num_folds": 1}, "--folds 1: expected 2 or more"),
        ({"num_folds": 5}, "--folds 5: expected 2 to 3"),
        ({"stratify": ["agee"]}, "no subject has this covariate .there are: .*age"),
        ({"out": "folder.csv"}, "is no folder"),
    ],
)
def test_attack_6_options_are_checked_before_scans_are_read(bids, tmp_path, monkeypatch, options, message):
    (tmp_path / "folder.csv").mkdir()
    read = []
    monkeypatch.setattr("volumetric.cohort.candidates.read_image", read.append)
    out = tmp_path / options.pop("out", "m.csv")
    with pytest.raises(InputError, match=message):
        discover(bids, out, **options)
    assert not read
