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
