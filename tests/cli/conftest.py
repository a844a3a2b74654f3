import logging
import subprocess
import sys

import pytest

from volumetric.cli import main


@pytest.fixture
def volumetric(monkeypatch, capsys):
    """The command line without a process of its own, which takes seconds to import torch; log lines are in `caplog`."""

    def run(*arguments):
        command = ["volumetric", *map(str, arguments)]
        monkeypatch.setattr(sys, "argv", command)
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return subprocess.CompletedProcess(command, ended.value.code or 0, said.out, said.err)

    level = logging.getLogger("volumetric").level
    yield run
    logging.getLogger("volumetric").setLevel(level)
