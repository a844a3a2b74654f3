"""Files of the project's own: what was written is read, and anything else is one sentence."""

import json
import os

import pytest

from volumetric.records.record import Record, RecordError


class Note(Record):
    """A record for these tests."""

    REMEDY = "repeat `volumetric note`"
    text: str
    number: float


def test_what_was_written_is_read(tmp_path):
    note = Note(text="T1w → T2w", number=float("nan"))
    note.write(tmp_path / "note.json")
    again = Note.read(tmp_path / "note.json")
    assert again.text == note.text
    assert again.number != again.number
    assert list(json.loads((tmp_path / "note.json").read_text())) == ["format_version", "text", "number"]


def test_a_record_of_a_later_format_reads_what_it_wrote_and_nothing_older(tmp_path):
    class LaterNote(Note):
        format_version: int = 2

    path = tmp_path / "note.json"
    LaterNote(text="a", number=1).write(path)
    assert LaterNote.read(path).text == "a"
    Note(text="a", number=1).write(path)
    with pytest.raises(RecordError, match="format_version is 1, this version of volumetric reads 2"):
        LaterNote.read(path)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "not readable JSON"),
        ('{"format_version": 1, "text": "cut o', "not readable JSON"),
        ("[" * 100_000, "not readable JSON"),
        ("[1, 2]", "expected a JSON object, got list"),
        ("{}", "format_version is None, this version of volumetric reads 1"),
        ('{"format_version": 2, "text": "a", "number": 1}', "format_version is 2"),
        ('{"format_version": 1, "text": "a"}', "`number`: Field required"),
        ('{"format_version": 1, "text": "a", "number": 1, "more": 1}', "`more`: Extra inputs are not permitted"),
    ],
)
def test_a_damaged_file_is_named_with_its_problem_and_the_way_out(tmp_path, caplog, content, problem):
    path = tmp_path / "note.json"
    path.write_text(content)
    with pytest.raises(RecordError) as error:
        Note.read(path)
    assert str(error.value).startswith(f"{path}: {problem}")
    assert str(error.value).endswith("repeat `volumetric note`")
    assert Note.read_if_usable(path) is None
    assert "it is made again" in caplog.text


def test_bytes_that_are_no_text_and_files_that_are_absent(tmp_path, caplog):
    (tmp_path / "note.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecordError, match="not readable JSON"):
        Note.read(tmp_path / "note.json")
    with pytest.raises(RecordError, match="there is no such file"):
        Note.read(tmp_path / "absent.json")
    assert Note.read_if_usable(tmp_path / "absent.json") is None
    assert "absent" not in caplog.text


def test_item_12_a_pipe_and_a_name_too_long_do_not_stop_a_reader(tmp_path, caplog):
    os.mkfifo(tmp_path / "note.json")
    with pytest.raises(RecordError, match="a folder or a pipe stands where a file belongs; mend it here"):
        Note.read(tmp_path / "note.json", remedy="mend it here")
    assert Note.read_if_usable(tmp_path / "note.json", silent=True) is None
    assert not caplog.text
    assert Note.read_if_usable(tmp_path / ("n" * 300)) is None
    with pytest.raises(RecordError, match="there is no such file; repeat `volumetric note`"):
        Note.read(tmp_path / ("n" * 300))


def test_a_version_that_is_text_is_quoted(tmp_path):
    (tmp_path / "note.json").write_text('{"format_version": "1"}')
    with pytest.raises(RecordError, match="format_version is '1', this version of volumetric reads 1"):
        Note.read(tmp_path / "note.json")
