"""What ends a command: one sentence and an exit status, and a defect shown whole."""

import errno
import subprocess
import sys

import pytest

from volumetric.cli import main
from volumetric.cli.endings import ending
from volumetric.errors import InputError


@pytest.fixture
def report(monkeypatch, capsys, tmp_path):
    """The command `report`, whose work raises an error; exit status and standard error."""

    def run(error):
        def work(*_, **__):
            raise error

        monkeypatch.setattr("volumetric.reporting.report.report", work)
        monkeypatch.setattr("sys.argv", ["volumetric", "report", str(tmp_path)])
        with pytest.raises(SystemExit) as stop:
            main()
        return stop.value.code, capsys.readouterr().err

    return run


FULL = OSError(errno.ENOSPC, "No space left on device", "/out/table.csv")


@pytest.mark.parametrize(
    ("error", "status", "sentence"),
    [
        (InputError("a.csv: no rows; add some"), 2, "error: a.csv: no rows; add some"),
        (FULL, 2, "error: /out/table.csv: No space left on device; make room on the disk, then repeat the command, "
                  "which goes on from what is finished"),
        (OSError(errno.ENOSPC, "No space left on device"), 2, "error: No space left on device; make room on the disk, "
                  "then repeat the command, which goes on from what is finished"),
        (PermissionError(errno.EACCES, "Permission denied", "/out"), 2,
         "error: /out: Permission denied; ask for the right to write there, or choose another --out"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "/out/xx"), 2,
         "error: /out/xx: File name too long; give it a shorter name"),
        (FileExistsError(errno.EEXIST, "File exists", "/out"), 2,
         "error: /out: File exists; check the path, or choose another --out"),
        (OSError("of no number"), 2, "error: of no number"),
        (EOFError("Ran out of input"), 2, "error: a file, or what another process sends, ended too early "
                  "(Ran out of input); repeat the command"),
        (MemoryError(), 2,
         "error: the memory ran out (MemoryError); give it more, or fewer --jobs or smaller windows"),
        (InputError("out of memory with patches of 96; lower one"), 2,
         "error: out of memory with patches of 96; lower one"),
    ],
)  # fmt: skip
def test_items_11_and_13_an_error_is_one_sentence(report, error, status, sentence):
    assert report(error) == (status, f"{sentence}\n")


def test_a_defect_is_shown_whole(report):
    with pytest.raises(RuntimeError, match="shape mismatch"):
        report(RuntimeError("shape mismatch"))
    assert ending(RuntimeError("shape mismatch")) is None


def test_item_13_an_interruption_is_said_by_the_command_itself(tmp_path):
    code = (
        "import os, signal, volumetric.reporting.report as r\n"
        "r.report = lambda *a, **k: os.kill(os.getpid(), signal.SIGINT)\n"
        f"import sys; sys.argv = ['volumetric', 'report', {str(tmp_path)!r}]\n"
        "from volumetric.cli import main; main()"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (result.returncode, result.stderr.splitlines()[-1:]) == (
        130,
        [f"interrupted; what is finished stays, and this goes on from there: volumetric report {tmp_path}"],
    )


def test_item_18_a_file_name_that_is_not_utf_8_is_printed_as_it_is(tmp_path):
    command = [sys.executable, "-m", "volumetric", "report", b"/no/caf\xe9"]
    result = subprocess.run(command, capture_output=True)
    assert result.returncode == 2
    assert b"error: /no/caf\\udce9 is no folder" in result.stderr
    code = "from volumetric.cli import print_any_file_name; print_any_file_name(); print('caf\\udce9')"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).stdout == b"caf\xe9\n"
