"""SIGINT and SIGTERM to each command: it ends in seconds, children too, and the command that it names goes on."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks.reliability.cohort import Inputs, digests
from benchmarks.reliability.kills import commands
from benchmarks.reliability.process import Running, run, start
from volumetric.interrupts import GRACE_S

LIMIT_S = GRACE_S + 1.5


def try_signals(inputs: Inputs, folder: Path, verbs: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """Signal, verb and problem of each."""
    for verb in verbs:
        command = commands(inputs)[verb]
        command = [2 if before == "--jobs" else word for before, word in zip([None, *command], command, strict=False)]
        whole = folder / verb / "whole"
        assert run([*command, "--out", whole], limit_s=600).status == 0
        for number in (signal.SIGINT, signal.SIGTERM):
            out = folder / verb / number.name
            problem = _interrupted(start([*command, "--out", out], _slow(verb)), number, verb, out)
            if not problem:
                ended = run([*command, "--out", out], limit_s=600)
                same = ended.status == 0 and digests(out) == digests(whole)
                problem = "" if same else f"other bytes after the rerun, status {ended.status}: {ended.said[-200:]}"
            yield number.name, verb, problem
    for verb, command in _quick(inputs, folder).items():
        for number in (signal.SIGINT, signal.SIGTERM):
            ended = run(command, _at_the_start(number), limit_s=60)
            yield number.name, verb, _problem(ended.status, ended.said, verb, number)


def _quick(inputs: Inputs, folder: Path) -> dict[str, list[object]]:
    """Commands of a second, which get the signal before they begin."""
    return {
        "discover": ["discover", inputs.manifest.parent, "--out", folder / "found.csv"],
        "fetch": ["fetch", "template", "--out", folder / "template"],
        "models": ["models"],
        "compare": ["compare", inputs.run],
        "report": ["report", inputs.run],
        "config": ["config", "demo"],
    }


def _interrupted(running: Running, number: signal.Signals, verb: str, out: Path) -> str:
    deadline = time.monotonic() + 120
    while not _at_work(verb, running, out) and not running.ended() and time.monotonic() < deadline:
        time.sleep(0.01)
    children = descendants(running.pid)
    sent = time.monotonic()
    if not running.ended():
        running.kill(number)
    ended = running.wait(600)
    seconds = time.monotonic() - sent
    time.sleep(0.2)
    left = [pid for pid in children if Path(f"/proc/{pid}").exists() and b"spawn_main" in _command_line(pid)]
    problem = _problem(ended.status, ended.said, verb, number)
    if not problem and left:
        problem = f"{len(left)} children are left"
    if not problem and seconds > LIMIT_S:
        problem = f"took {seconds:.1f} s"
    if not problem and verb == "train" and not (out / "checkpoints" / "last.ckpt").is_file():
        problem = "no checkpoint"
    return problem


def _problem(status: int, said: str, verb: str, number: signal.Signals) -> str:
    if status != 128 + number:
        return f"status {status}: {said[-300:]}"
    if "Traceback" in said:
        return f"a traceback: {said[-300:]}"
    return "" if f"volumetric {verb}" in said else f"no command that goes on: {said[-300:]}"


def _at_work(verb: str, running: Running, out: Path) -> bool:
    """True where the command has written something, or its workers are there."""
    if verb in ("prepare", "evaluate"):
        return len(descendants(running.pid)) >= 2
    if verb == "train":
        return "training:" in running.log.read_text()
    return out.exists() and any(path.is_file() and path.name != ".lock" for path in out.rglob("*.nii.gz"))


def descendants(parent: int) -> list[int]:
    """Processes that a process has started."""
    listed = Path(f"/proc/{parent}/task/{parent}/children")
    return [int(pid) for pid in listed.read_text().split()] if listed.exists() else []


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _slow(verb: str) -> Callable[[], None] | None:
    """Steps of a fifth of a second for a training, which would be over too soon."""

    def hook() -> None:
        from volumetric.learning.optimization import Optimization

        step = Optimization.step

        def slow(self: Optimization, *arguments: object) -> None:
            time.sleep(0.2)
            step(self, *arguments)

        Optimization.step = slow

    return hook if verb == "train" else None


def _at_the_start(number: signal.Signals) -> Callable[[], None]:
    def hook() -> None:
        import typer

        call = typer.Typer.__call__

        def signaled(self: typer.Typer, *arguments: object, **options: object) -> object:
            os.kill(os.getpid(), number)
            return call(self, *arguments, **options)

        typer.Typer.__call__ = signaled

    return hook
