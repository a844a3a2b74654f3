"""CSV files of the project's own: typed rows there and back, and one sentence for anything else."""

import pytest

from volumetric.records.record import RecordError
from volumetric.records.table import TableRow, read_cells


class Score(TableRow):
    """A row for these tests."""

    REMEDY = "repeat `volumetric score`"
    subject_id: str
    psnr_db: float
    num_voxels: int | None = None


def test_what_was_written_is_read(tmp_path):
    rows = [Score(subject_id="a,b", psnr_db=21.25, num_voxels=7), Score(subject_id='"c"', psnr_db=float("inf"))]
    Score.write_table(tmp_path / "scores.csv", rows)
    assert (tmp_path / "scores.csv").read_text() == 'subject_id,psnr_db,num_voxels\n"a,b",21.25,7\n"""c""",inf,\n'
    assert Score.read_table(tmp_path / "scores.csv") == rows


def test_a_byte_order_mark_and_a_short_row_are_read(tmp_path):
    (tmp_path / "scores.csv").write_text("\ufeffsubject_id, psnr_db,num_voxels\na,3\n", encoding="utf-8")
    assert Score.read_table(tmp_path / "scores.csv") == [Score(subject_id="a", psnr_db=3)]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "the columns subject_id, psnr_db are missing"),
        (b"subject_id\na\n", "the columns psnr_db are missing"),
        (b"subject_id,psnr_db\na,much\n", "line 2: `psnr_db` is 'much'"),
        (b"subject_id,psnr_db\na,1,2\n", "line 2: more cells than columns"),
        (b"subject_id,psnr_db,num_voxels\na,1,2\nb,1", "the file is cut short"),
        (b"subject_id,psnr_db,num_voxels\na,1,2\nb,1,2", "the file is cut short"),
        (b"subject_id,psnr_db\n\xff\xfe,1\n", "not a readable CSV file"),
        (b"subject_id,psnr_db\n" + b"a" * 200_000 + b",1\n", "not a readable CSV file (field larger than"),
    ],
)
def test_a_damaged_table_is_named_with_its_problem_and_the_way_out(tmp_path, content, problem):
    path = tmp_path / "scores.csv"
    path.write_bytes(content)
    with pytest.raises(RecordError) as error:
        Score.read_table(path)
    assert problem in str(error.value)
    assert str(error.value).startswith(str(path))
    assert str(error.value).endswith("repeat `volumetric score`")


def test_a_table_that_is_absent_or_a_folder(tmp_path):
    with pytest.raises(RecordError, match="there is no such file"):
        Score.read_table(tmp_path / "absent.csv")
    with pytest.raises(RecordError, match="a folder or a pipe stands where a file belongs"):
        Score.read_table(tmp_path)


def test_attack_3_lines_are_counted_as_an_editor_counts_them(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text('\nsubject_id,psnr_db\n\n"a\nb",1\r\n\r\n\nc,much\n')  # lines 1 to 8
    assert read_cells(path, remedy="").lines == [4, 8]
    with pytest.raises(RecordError, match="line 8: `psnr_db` is 'much'"):
        Score.read_table(path)
