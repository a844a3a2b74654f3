import pytest

from volumetric.cohort.tables import TableError, read_table
from volumetric.errors import InputError


def test_tables_in_other_countries(tmp_path):
    (tmp_path / "t.csv").write_bytes("IXI_ID;AGE;Ort\n2;35,8;Köln\n".encode("latin-1"))
    table = read_table(tmp_path / "t.csv", "IXI_ID")
    assert table.cells == {"2": {"AGE": "35,8", "Ort": "Köln"}}
    with pytest.raises(TableError, match=r"`who` is missing \(columns are: IXI_ID, AGE, Ort\)"):
        read_table(tmp_path / "t.csv", "who")


def test_lines_of_one_key_fill_each_other_and_a_conflict_leaves_the_cell_empty(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("id,age,sex,site\na,31,F,\nb,,M,x\na,31,M,y\na,31,U,y\n,99,F,z\nn/a,1,F,z\n")
    table = read_table(path, "id")
    assert table.columns == ("age", "sex", "site")
    assert table.cells == {"a": {"age": "31", "sex": "", "site": "y"}, "b": {"age": "", "sex": "M", "site": "x"}}
    assert table.conflicts == (("a", "sex", "two lines give sex F and M; neither is used"),)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"id,age\n\x00,1\n", "expected a text file of comma-separated values; export the table as CSV"),
        (b"id,age\n1," + b"3" * 131_073 + b"\n", "field larger than field limit.*; export the table as CSV"),
    ],
    ids=["binary", "a field of 131073 characters"],
)
def test_a_file_that_is_no_table_is_one_sentence(tmp_path, content, message):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_table(tmp_path / "t.csv", "id")
    with pytest.raises(InputError, match="cannot be read"):
        read_table(tmp_path, "id")
