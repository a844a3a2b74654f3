import errno
import os
import subprocess
import sys

import pytest

from volumetric.errors import file_problem
from volumetric.outputs import (
    OutputError,
    hash_file,
    locked,
    write_bytes,
    write_csv,
    write_text,
)
from volumetric.records.table import read_cells


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    write_bytes(tmp_path / "a", b"old")

    def broken(descriptor):
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", broken)
    with pytest.raises(OSError, match="disk full"):
        write_bytes(tmp_path / "a", b"new")
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("a", b"old")]


def test_item_11_a_full_disk_names_the_file_and_leaves_no_other(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left") as caught:
        write_bytes(tmp_path / "table.csv", b"new")
    assert caught.value.filename == str(tmp_path / "table.csv")
    assert list(tmp_path.iterdir()) == []
    assert file_problem(caught.value) == (
        f"{tmp_path / 'table.csv'}: No space left on device; make room on the disk, then repeat the command, which "
        "goes on from what is finished"
    )


def test_item_18_a_name_that_is_not_utf_8_is_written_in_ascii(tmp_path):
    write_csv(tmp_path / "table.csv", [{"path": "caf\udce9/ä"}])
    assert (tmp_path / "table.csv").read_text(encoding="utf-8") == "path\ncaf\\udce9/ä\n"


def test_a_folder_where_a_file_is_written_is_named(tmp_path):
    (tmp_path / "table.csv").mkdir()
    with pytest.raises(OutputError, match=r"table\.csv: a folder stands where a file is to be written; rename"):
        write_text(tmp_path / "table.csv", "text")
    assert [path.name for path in tmp_path.iterdir()] == ["table.csv"]


def test_csv_has_the_union_of_keys_and_nine_digits(tmp_path):
    write_csv(tmp_path / "a.csv", [{"a": 1 / 3, "b": "x, y"}, {"a": 2, "c": None}])
    assert (tmp_path / "a.csv").read_text() == 'a,b,c\n0.333333333,"x, y",\n2,,\n'


def test_hash_file_is_sha256(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert hash_file(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_folder_in_use_by_another_process_is_refused(tmp_path):
    code = (
        "import sys, pathlib; from volumetric.outputs import locked\n"
        f"with locked(pathlib.Path({str(tmp_path)!r})):\n    print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(OutputError, match="another process"), locked(tmp_path):
            pass
        holder.communicate("")


def test_a_folder_in_which_nothing_was_written_goes_with_those_made_for_it(tmp_path):
    for wrote in (False, True):
        with locked(tmp_path / "new" / "deep" / "empty"):
            if wrote:
                (tmp_path / "new" / "other").touch()
        assert (tmp_path / "new").exists() == wrote
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["other"]


@pytest.mark.parametrize(
    "text", ['=HYPERLINK("http://x")', "+1+cmd|' /C calc'!A0", "@SUM(A1)", "-2+3", "'=1", "\tx", "'a"]
)
def test_issue_17_23_no_cell_is_a_formula_and_each_reads_back(tmp_path, text):
    write_csv(tmp_path / "t.csv", [{"a": text, "b": 1}])
    _, (row,), _ = read_cells(tmp_path / "t.csv", remedy="")
    assert row["a"] == text
    written = (tmp_path / "t.csv").read_text().splitlines()[1].lstrip('"')
    assert written.startswith("'")


@pytest.mark.parametrize("number", ["-1.5", "+2", "-inf"])
def test_a_number_in_text_is_no_formula(tmp_path, number):
    write_csv(tmp_path / "t.csv", [{"a": number}])
    assert (tmp_path / "t.csv").read_text() == f"a\n{number}\n"


def test_issue_17_23_litter_of_a_killed_write_is_removed_and_nothing_else(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    old, fresh, running, other = (
        tmp_path / "deep" / name
        for name in (f".a.csv.{ended.pid}.tmp", f".b.csv.{ended.pid}.tmp", f".c.csv.{os.getpid()}.tmp", ".notes.tmp")
    )
    for path in (old, fresh, running, other):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"half")
        if path is not fresh:
            os.utime(path, (1, 1))
    with locked(tmp_path):
        assert sorted(path.name for path in old.parent.iterdir()) == sorted(p.name for p in (fresh, running, other))
