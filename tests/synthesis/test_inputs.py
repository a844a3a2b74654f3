import logging

import pytest

from volumetric.model.folder import load_model
from volumetric.synthesis.inputs import InputsError, find_cases


@pytest.fixture(scope="module")
def spec(run_folder):
    return load_model(run_folder).spec


@pytest.fixture
def files(tmp_path):
    def make(*names):
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(b"")
        return [tmp_path / name for name in names]

    return make


@pytest.mark.parametrize(
    ("file", "subject", "output"),
    [
        ("sub-07_ses-2_T1w.nii.gz", "07/2", "sub-07/ses-2/anat/sub-07_ses-2_desc-synth_T2w.nii.gz"),
        ("sub-07_run-1_T1w.nii", "07", "sub-07/anat/sub-07_desc-synth_T2w.nii.gz"),
        ("ms19/t1w.nii.gz", "ms19", "sub-ms19/anat/sub-ms19_desc-synth_T2w.nii.gz"),
        ("IXI2-Guys-T1.nii.gz", "IXI2-Guys", "sub-IXI2Guys/anat/sub-IXI2Guys_desc-synth_T2w.nii.gz"),
        ("head.nii.gz", "head", "sub-head/anat/sub-head_desc-synth_T2w.nii.gz"),
    ],
)  # fmt: skip
def test_file_names_say_who_it_is(files, spec, file, subject, output):
    (found,) = find_cases(files(file), spec)
    assert found.row.name == subject
    assert found.output == output


def test_a_folder_is_searched_for_the_source_contrast_alone(files, spec, tmp_path):
    files("a/t1w.nii.gz", "a/t2w.nii.gz", "b/t1w.nii.gz", "sub-c_T1w.nii", "sub-d_desc-synth_T1w.nii.gz", "notes.txt")
    assert [s.row.subject_id for s in find_cases([tmp_path], spec)] == ["a", "b", "c"]


def test_manifest_rows_of_a_split(cohort, spec):
    assert [s.row.subject_id for s in find_cases([cohort], spec, split="test")] == ["p3", "p4"]
    assert len(find_cases([cohort], spec)) == 5


def test_two_inputs_of_one_name_are_refused_before_any_work(files, spec, tmp_path):
    with pytest.raises(InputsError, match=r"two inputs would be written to sub-a.*a/t1w\.nii\.gz and .*sub-a_T1w"):
        find_cases(files("a/t1w.nii.gz", "sub-a_T1w.nii.gz"), spec)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["t2w.nii.gz"], "no file there is named like a t1w"),
        (["scan.dcm"], "no file there is named like a t1w"),
    ],
)
def test_folders_without_a_source_say_so(files, spec, tmp_path, names, message):
    files(*names)
    with pytest.raises(InputsError, match=message):
        find_cases([tmp_path], spec)


def test_wrong_inputs_are_named(files, spec, tmp_path, cohort):
    with pytest.raises(InputsError, match=r"none\.nii\.gz: there is no such file or folder"):
        find_cases([tmp_path / "none.nii.gz"], spec)
    with pytest.raises(InputsError, match=r"scan\.dcm: expected a NIfTI"):
        find_cases(files("scan.dcm"), spec)
    with pytest.raises(InputsError, match="no row has split `nobody`"):
        find_cases([cohort], spec, split="nobody")
    with pytest.raises(InputsError, match="no input is given"):
        find_cases([], spec)
    with pytest.raises(InputsError, match="no letter from A to Z"):
        find_cases(files("---.nii.gz"), spec)


def test_a_model_of_two_sources_takes_named_inputs(files, spec, tmp_path):
    both = spec.model_copy(update={"sources": ("t1w", "pdw")})
    t1w, pdw = files("sub-1_T1w.nii.gz", "sub-1_PDw.nii.gz")
    (found,) = find_cases([], both, named={"t1w": t1w, "pdw": pdw})
    assert found.row.subject_id == "1"
    assert dict(found.row.paths) == {"t1w": t1w, "pdw": pdw}
    with pytest.raises(InputsError, match=r"needs t1w, pdw of each subject.*--input t1w=FILE --input pdw=FILE"):
        find_cases([t1w], both)
    with pytest.raises(InputsError, match=r"--input flair=.*reads t1w, pdw"):
        find_cases([], both, named={"flair": t1w})
    with pytest.raises(InputsError, match="there is no such file"):
        find_cases([], both, named={"t1w": tmp_path / "none.nii.gz"})


def test_attack_10_files_of_a_folder_that_are_left_out_are_named(files, spec, tmp_path, caplog):
    files("a/t1w.nii.gz", "b.nii.gz", "c.nii", "d.nii", "e.nii", "sub-f_desc-synth_T2w.nii.gz")
    with caplog.at_level(logging.INFO):
        assert len(find_cases([tmp_path], spec)) == 1
    assert f"{tmp_path}: left out, since not named like a t1w: b.nii.gz, c.nii, d.nii and 1 more" in caplog.text


def test_attack_10_a_split_without_manifests_is_refused(files, spec):
    with pytest.raises(InputsError, match="--split test: it is about the rows of manifests, and none is given"):
        find_cases(files("t1w.nii.gz"), spec, split="test")
