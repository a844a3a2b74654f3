"""Commands killed at random moments, half of them inside a write, that must end in the bytes of one left alone."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.reliability.cohort import Inputs, digests
from benchmarks.reliability.process import run, start
from tests.conftest import TINY

CHAIN = 5
"""Kills of one folder before the command is left to its end and the bytes are compared."""


@dataclass
class Kills:
    """Kills that counted, those whose folder came to the same bytes, and the bytes of finished files that were lost."""

    tried: int = 0
    survived: int = 0
    inside_a_write: int = 0
    bytes_lost: int = 0
    problem: str = ""


def commands(inputs: Inputs) -> dict[str, list[object]]:
    """The killed commands, without their --out."""
    quick = ["--set", "registration.num_starts=1", "--set", "bias.enabled=false"]
    return {
        "phantom": ["phantom", "--subjects", 3, "--spacing-mm", 4],
        "prepare": ["prepare", inputs.raw, "--jobs", 1, *quick],
        "train": ["train", inputs.manifest, "--config", TINY, "--set", "optim.num_steps=30"],
        "infer": ["infer", inputs.manifest, "--model", inputs.run, "--engine", "torch"],
        "evaluate": ["evaluate", inputs.predictions, inputs.manifest, "--jobs", 1, "--no-segmentation"],
    }


def kill(verb: str, inputs: Inputs, folder: Path, number: int, *, seed: int = 0) -> Kills:
    """Kill a command so many times."""
    command, moments, kills = commands(inputs)[verb], random.Random(f"{verb} {seed}"), Kills()
    whole = folder / "whole"
    ended = run([*command, "--out", whole], limit_s=600)
    assert ended.status == 0, ended.said
    expected, seconds = digests(whole), ended.seconds
    attempts = 0
    while kills.tried < number and attempts < 4 * number:
        out, counted = folder / "killed", 0
        while counted < min(CHAIN, number - kills.tried) and attempts < 4 * number:
            attempts += 1
            inside = moments.random() < 0.5
            before = digests(out)
            if not _killed([*command, "--out", out], seconds, moments, inside):
                shutil.rmtree(out)  # it was done before the signal came
                continue
            counted += 1
            kills.inside_a_write += inside
            after = digests(out)
            kills.bytes_lost += sum(
                s for n, (h, s) in before.items() if expected.get(n) == (h, s) and after.get(n) != (h, s)
            )
        for litter in out.rglob(".*.tmp"):
            os.utime(litter, (0, 0))  # it is removed when it is old, since another host may be writing it
        ended = run([*command, "--out", out], limit_s=600)
        same = ended.status == 0 and digests(out) == expected
        kills.tried += counted
        kills.survived += counted if same else 0
        if not same:
            found = digests(out)
            differing = sorted(n for n in expected.keys() | found.keys() if expected.get(n) != found.get(n))
            kills.problem = f"status {ended.status}, {differing[:5]}: {ended.said[-300:]}"
        shutil.rmtree(out, ignore_errors=True)
    return kills


def _killed(command: list[object], seconds: float, moments: random.Random, inside: bool) -> bool:
    """True if the command was killed before its end."""
    if inside:
        return run(command, _kill_at_write(moments.randrange(1, 8)), limit_s=600).status == -signal.SIGKILL
    running = start(command)
    deadline = time.monotonic() + moments.uniform(0.02, 0.9 * seconds)
    while time.monotonic() < deadline and not running.ended():
        time.sleep(0.002)
    if not running.ended():
        running.kill()
    return running.wait(600).status == -signal.SIGKILL


def _kill_at_write(number: int) -> Callable[[], None]:
    """A hook: the process is killed at its n-th `fsync`, when a file is not yet renamed, half of it gone."""

    def hook() -> None:
        left = [number]

        def fsync(handle: int) -> None:
            left[0] -= 1
            if left[0] == 0:
                with suppress(OSError):  # of a file that is open to read
                    os.ftruncate(handle, os.fstat(handle).st_size // 2)
                os.kill(os.getpid(), signal.SIGKILL)

        os.fsync = fsync

    return hook
