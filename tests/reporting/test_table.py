"""The scores by column."""

import json

from tests.reporting.conftest import evaluated, failed_row, rows_of
from volumetric.records.table import SessionKey
from volumetric.reporting.page import to_json
from volumetric.reporting.table import subject_table


def test_the_table_is_by_columns_with_missing_numbers_as_none(tmp_path):
    rows = rows_of("a", 0, tissues=False) + rows_of("b", 1, tissues=False)
    rows[0]["psnr_db"], rows[3]["psnr_db"], rows[3]["ssim"] = "nan", "inf", 0.123456789
    results = evaluated(tmp_path, [*rows, failed_row("c", "gone")])
    data = to_json(subject_table(results, {SessionKey("b")}))
    assert data["subjects"][2] == {"name": "c", "failed": True, "error": "gone", "shown": False}
    assert [s["shown"] for s in data["subjects"]] == [False, True, False]
    assert data["values"]["model"]["brain"]["psnr_db"] == [None, "Infinity", None]
    assert data["values"]["model"]["brain"]["ssim"] == [0.75, 0.123457, None]
    assert data["values"]["cubic"]["brain"]["psnr_db"] == [28, 27, None]
    assert data["covariates"] == {"site": ["site0", "site1", ""], "age": ["40", "41", ""]}
    assert json.loads(json.dumps(data, allow_nan=False)) == data


def test_of_very_many_subjects_the_page_has_spreads_and_few_single_scores(tmp_path, monkeypatch):
    monkeypatch.setattr("volumetric.reporting.table.MANY_SUBJECTS", 4)
    rows = [row for index, name in enumerate("abcde") for row in rows_of(name, index)]
    rows[0]["mae"] = "inf"  # of the model in the brain
    table = subject_table(evaluated(tmp_path, [*rows, failed_row("f", "gone")]), set())
    assert table.methods == ["model"]
    assert set(table.values["model"]["brain"]) == {"psnr_db", "ssim", "mae", "bias", "num_voxels"}
    assert set(table.values["model"]["csf"]) == {"psnr_db", "ssim", "mae"}  # the headline metrics
    spread = table.spreads["constant"]["wm"]["psnr_db"]  # 24, 23, 22, 21, 20
    assert (spread.n, spread.least, spread.q1, spread.median, spread.q3, spread.most) == (5, 20, 21, 22, 23, 24)
    assert (spread.low, spread.high) == (20, 24)
    assert [number for number, count in enumerate(spread.counts) for _ in range(count)] == [0, 10, 20, 30, 39]
    assert table.spreads["model"]["brain"]["mae"].n == 4
    assert subject_table(evaluated(tmp_path, rows[:48]), set()).spreads == {}


def test_whiskers_end_within_one_and_a_half_boxes(tmp_path, monkeypatch):
    monkeypatch.setattr("volumetric.reporting.table.MANY_SUBJECTS", 4)
    rows = [row for index, name in enumerate("abcdef") for row in rows_of(name, index, tissues=False)]
    for row, value in zip(rows[::3], (1, 2, 3, 4, 5, 100), strict=True):
        row["bias"] = value
    spread = subject_table(evaluated(tmp_path, rows), set()).spreads["model"]["brain"]["bias"]
    assert (spread.q1, spread.q3, spread.low, spread.high, spread.most) == (2.25, 4.75, 1, 5, 100)
