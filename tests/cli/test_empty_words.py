"""Empty words on the command line, of which a path would be the current folder."""

import pytest

from volumetric.cli import main

EMPTY = "an empty word was given; name a file, a folder or a value"


@pytest.fixture
def volumetric(monkeypatch, capsys, tmp_path):
    """Run a command in an empty folder; exit status and standard error."""
    monkeypatch.chdir(tmp_path)

    def run(*words):
        monkeypatch.setattr("sys.argv", ["volumetric", *words])
        with pytest.raises(SystemExit) as stop:
            main()
        return stop.value.code, capsys.readouterr().err

    return run


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (("infer", "", "--out", "o"), "INPUT..."),
        (("infer", "a.nii.gz", "", "--out", "o"), "INPUT..."),
        (("infer", "a.nii.gz", "--out", ""), "--out"),
        (("infer", "a.nii.gz", "--out="), "--out"),
        (("infer", "a.nii.gz", "--out", "o", "--model", "m", "--model", ""), "--model"),
        (("prepare", "", "--out", "o"), "MANIFEST..."),
        (("train", "", "--out", "o"), "MANIFEST..."),
        (("train", "a.csv", "--out", ""), "--out"),
        (("evaluate", "", "a.csv", "--out", "o"), "PREDICTIONS"),
        (("evaluate", "p", "", "--out", "o"), "MANIFEST..."),
        (("report", ""), "RUN_OR_EVALUATION"),
        (("discover", "", "--out", "a.csv"), "ROOT"),
        (("phantom", "--out", ""), "--out"),
    ],
)
def test_issue_17_23_an_empty_word_is_refused_and_nothing_is_written(volumetric, tmp_path, words, name):
    assert volumetric(*words) == (2, f"error: {name}: {EMPTY}\n")
    assert not list(tmp_path.iterdir())


def test_an_option_whose_default_is_empty_may_be_given_empty(volumetric):
    status, said = volumetric("infer", "absent.nii.gz", "--flips", "", "--sources=", "--out", "o")
    assert status == 2
    assert "absent.nii.gz: there is no such file" in said
