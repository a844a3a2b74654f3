import csv

import pytest
from typer.testing import CliRunner

from volumetric.cli import app
from volumetric.records.evaluation import EvaluationInfo, RunIdentity

COLUMNS = (
    "subject_id", "method", "region", "status", "num_voxels", "psnr_db", "ssim", "mae", "bias", "data_range",
    "mask_rule",
)  # fmt: skip


def write(path, shift):
    path.parent.mkdir(parents=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for method, more in (("model", shift), ("cubic", 0)):
            for number in range(4):
                psnr = 20 + number + more
                row = (f"p{number}", method, "brain", "ok", 9, psnr, psnr / 40, 4 / psnr, psnr - 22, 2.6, "given")
                writer.writerow(row)
    return path


def volumetric(*arguments):
    result = CliRunner().invoke(app, ["compare", *map(str, arguments)], terminal_width=150)
    assert result.exception is None, result.exception
    return result.stdout


def test_the_table_the_sentences_and_the_files(tmp_path):
    old, new = (write(tmp_path / name / "per_subject.csv", shift) for name, shift in (("old", 1), ("new", 2.5)))
    out = volumetric(old, new, "--out", tmp_path / "out", "--metric", "psnr_db", "--metric", "bias")
    assert "+1.500 [+1.500, +1.500]" in out
    assert "4/0/0" in out
    assert "|bias|" in out
    assert "With 4 subjects the smallest two-sided p is 0.125; no test can be significant" in out
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"comparison.csv", "comparison.json", "comparison.png"}
    out = volumetric(old, "--methods", "model, cubic", "--label", "mine")
    assert "model" in out
    assert "cubic" in out
    assert "nothing is written" in out


def test_seeds_have_a_table_of_their_own(tmp_path):
    tables = []
    for seed in (0, 1):
        tables.append(write(tmp_path / f"unet{seed}" / "per_subject.csv", seed))
        run = RunIdentity(seed=seed, settings_sha256="abc")
        info = EvaluationInfo(
            predictions="/p", source="t1w", target="t2w", split="test", data_range=2.6, num_training_subjects=0,
            prediction_scale="reference", run=run, versions={},
        )  # fmt: skip
        info.write(tables[-1].with_name("evaluation.json"))
    out = volumetric(*tables, "--metric", "psnr_db")
    assert "seeds of one configuration" in out
    assert "paired differences" not in out
    assert "22.000" in out  # of 21.5 and 22.5
    assert "psnr_db: 22, SD 0.71 over seeds 0 1 (21.5 to 22.5)" in out


def test_help_has_an_example():
    out = volumetric("--help")
    assert "volumetric compare runs/old runs/new" in " ".join(out.split())


def test_an_unknown_region_is_answered_by_the_list(tmp_path):
    tables = [write(tmp_path / name / "per_subject.csv", shift) for name, shift in (("a", 0), ("b", 1))]
    for named in (tables, tables[:1]):
        result = CliRunner().invoke(app, ["compare", *map(str, named), "--region", "foo"])
        assert str(result.exception) == f"--region foo: {tables[0]} has no such region; it has brain"


@pytest.mark.parametrize("name", ["evaluation.json", "definitions.json"])
def test_item_12_a_folder_in_the_place_of_a_file_does_not_count_as_absent(tmp_path, name):
    table = write(tmp_path / "a" / "per_subject.csv", 1)
    table.with_name(name).mkdir()
    result = CliRunner().invoke(app, ["compare", str(table)])
    assert f"{table.with_name(name)}: a folder or a pipe stands where a file belongs" in str(result.exception)
