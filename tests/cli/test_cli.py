import pytest

from tests.conftest import TINY, write_cohort, write_raw_cohort
from volumetric.manifest import read_manifest
from volumetric.outputs import write_text


@pytest.mark.parametrize(
    "verb",
    [
        "phantom",
        "fetch",
        "discover",
        "prepare",
        "train",
        "models",
        "verify",
        "infer",
        "evaluate",
        "compare",
        "report",
        "config",
    ],
)
def test_help_has_an_example(volumetric, verb):
    result = volumetric(verb, "--help")
    assert result.returncode == 0
    assert f"volumetric {verb}" in result.stdout
    assert "Example" in result.stdout


def test_version(volumetric):
    from importlib.metadata import version

    assert volumetric("--version").stdout == f"volumetric {version('volumetric')}\n"


def test_config_prints_what_resolves(volumetric, tmp_path):
    result = volumetric("config", TINY, "--set", "optim.lr=3e-4")
    assert result.returncode == 0
    assert "lr: 0.0003" in result.stdout
    assert '"stem_stride"' in volumetric("config", "--schema").stdout
    assert "num_starts: 3" in volumetric("config", "--recipe", "--set", "registration.num_starts=3").stdout


def test_an_output_below_a_file_is_one_sentence_and_exit_code_2(tmp_path, volumetric, monkeypatch):
    (tmp_path / "file").write_text("in the way")

    def report(*_, **__):
        write_text(tmp_path / "file" / "report.html", "page")

    monkeypatch.setattr("volumetric.reporting.report.report", report)
    ended = volumetric("report", tmp_path, "--out", tmp_path / "file" / "report.html")
    assert ended.returncode == 2
    assert ended.stderr == f"error: {tmp_path / 'file'}: File exists; check the path, or choose another --out\n"


def test_every_mistake_is_one_sentence_and_exit_code_2(tmp_path, run_folder, volumetric):
    good = write_cohort(tmp_path / "cohort", ["train", "test"])
    no_column = tmp_path / "no_column.csv"
    no_column.write_text("subject,t1w,t2w\np0,a.nii.gz,b.nii.gz\n")
    two_splits = tmp_path / "two_splits.csv"
    two_splits.write_text("subject_id,session_id,split\np0,1,train\np0,2,test\n")
    no_target = tmp_path / "no_target.csv"
    no_target.write_text("subject_id,split,t1w,t2w\np0,train,cohort/p0/t1w.nii.gz,\n")
    out = tmp_path / "out"
    t1w = tmp_path / "cohort" / "p0" / "t1w.nii.gz"
    train, infer = ("train", "--config", TINY, "--out", out), ("infer", "--model", run_folder, "--out", out)
    cases = {
        (*train, tmp_path / "none.csv"): "there is no such file",
        (*train, no_column): "the column `subject_id` is missing",
        (*train, two_splits): "subject p0 is in more than one split (test and train)",
        (*train, no_target): "subject p0: no `t2w` is given",
        (*train, good, "--set", "optim.lrr=1"): "did you mean `optim.lr`?",
        (*infer, tmp_path / "none.nii.gz"): "there is no such file or folder",
        (*infer, t1w, t1w): "two inputs",
        (*infer, "--input", "t1w"): "expected contrast=file",
        ("evaluate", tmp_path / "none", good, "--out", out): "there is no such folder",
        ("evaluate", tmp_path, good, "--out", out, "--split", "val"): "no row has split `val`",
        ("report", tmp_path): "holds no per_subject.csv",
    }
    for arguments, sentence in cases.items():
        ended = volumetric(*arguments)
        said = ended.stderr
        assert ended.returncode == 2, (arguments, said)
        assert sentence in said
        assert said.startswith("error: ")
        assert said.count("\n") == 1
    assert not out.exists()


def test_a_choice_that_is_none_is_answered_by_the_list(tmp_path, volumetric):
    ended = volumetric("infer", "t1w.nii.gz", "--model", tmp_path, "--out", tmp_path, "--device", "gpu")
    assert ended.returncode == 2
    assert all(word in ended.stderr for word in ("--device", "auto", "cpu", "cuda"))


def test_a_failed_subject_is_exit_code_1(volumetric, tmp_path, run_folder, caplog):
    cohort = write_cohort(tmp_path / "cohort", ["test", "test"])
    (tmp_path / "cohort" / "p1" / "t1w.nii.gz").write_bytes(b"no image")
    result = volumetric("infer", cohort, "--model", run_folder, "--out", tmp_path / "out")
    assert result.returncode == 1
    assert "p1: " in caplog.text
    assert "not a NIfTI file" in caplog.text
    assert len(list((tmp_path / "out").rglob("*_T2w.nii.gz"))) == 1


def test_config_auto_plans_trains_and_keeps_its_plan(volumetric, tmp_path, caplog):
    cohort = write_cohort(tmp_path / "cohort", ["train", "test"])
    quick = ("--set", "optim.num_steps=2", "--set", "validation.every_steps=2", "--set", "device=cpu")
    first = volumetric("train", cohort, "--config", "auto", "--out", tmp_path / "run", *quick)
    assert first.returncode == 0, first.stderr
    assert (tmp_path / "run" / "model" / "model.yaml").is_file()
    plan = (tmp_path / "run" / "auto.yaml").read_text()
    assert "spacing_mm: [4.0, 5.0, 4.5]  # that of all scans read" in plan
    again = volumetric("train", cohort, "--config", "auto", "--out", tmp_path / "run", *quick)
    assert again.returncode == 0
    assert "as it is" in caplog.text
    assert (tmp_path / "run" / "auto.yaml").read_text() == plan
    rates = volumetric("train", cohort, "--config", TINY, "--out", tmp_path / "rates", "--find-lr")
    assert rates.returncode == 0, rates.stderr
    assert 0 < float(rates.stdout) < 1


def test_prepare_prints_each_pair_and_loses_only_the_damaged_one(volumetric, tmp_path, caplog):
    raw = write_raw_cohort(tmp_path, ["train", "test"], size=0.35)
    (tmp_path / "p1" / "t1w.nii.gz").write_bytes(b"no image")
    quick = ("--set", "registration.num_starts=1", "--set", "bias.enabled=false", "--jobs", "2")
    result = volumetric("prepare", raw, "--out", tmp_path / "out", *quick)
    assert result.returncode == 1
    assert "p1/t1w.nii.gz: not a NIfTI file" in caplog.text
    assert str(tmp_path / "out" / "manifest.csv") in result.stdout
    assert "p0" in result.stdout
    assert [row.subject_id for row in read_manifest(tmp_path / "out" / "manifest.csv").rows] == ["p0"]
    refused = volumetric("prepare", raw, "--out", tmp_path / "out", "--set", "bias.iteration=[1]")
    assert refused.returncode == 2
    assert "did you mean `bias.iterations`?" in refused.stderr
