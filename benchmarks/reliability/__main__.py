"""Proofs that the program keeps its promises: `python -m benchmarks.reliability [--sample]` prints one table."""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.reliability import damaged, faults, kills, signals
from benchmarks.reliability.cohort import make_inputs
from benchmarks.reliability.process import preload

RESULTS = Path(__file__).parent / "results.csv"
FAMILIES = ("configuration", "nifti", "manifest", "model")
VERBS = ("phantom", "prepare", "train", "infer", "evaluate")


def main() -> int:
    """Run what is named, print the table, and return 1 if anything was improper."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sample", action="store_true", help="a twelfth of the damage, in minutes")
    parser.add_argument("--kills", type=int, default=50, help="of each verb")
    parser.add_argument("--every", type=int, default=1, help="take one case of so many")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--only", nargs="*", default=["damage", "kills", "faults", "signals", "leaks"], help="parts to run"
    )
    parser.add_argument("--verbs", nargs="*", default=list(VERBS), help="to kill, to fault and to signal")
    parser.add_argument("--write", type=Path, help="CSV file for the table; the page of the docs shows results.csv")
    options = parser.parse_args()
    if options.sample:
        options.kills, options.every, options.only = 4, 12, ["damage"]
    preload()
    table = Table()
    with tempfile.TemporaryDirectory(prefix="reliability-") as folder:
        inputs = make_inputs(Path(folder) / "inputs")
        for part in options.only:
            globals()[f"_{part}"](table, inputs, Path(folder) / part, options)
    table.print()
    if options.write:
        table.write(options.write)
    return int(bool(table.problems))


class Table:
    """Rows of the result, printed as they come, and everything that was improper."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str, str]] = []
        self.problems: list[str] = []
        self._start = time.monotonic()

    def add(self, what: str, kind: str, good: int | str, tried: int | None = None) -> None:
        """Add a row: so many of those tried, or a plain number."""
        self.rows.append((what, kind, str(good) if tried is None else f"{good} / {tried}"))
        print(f"{time.monotonic() - self._start:6.0f} s  {what:<24} {kind:<44} {self.rows[-1][2]}", flush=True)

    def problem(self, text: str) -> None:
        """Keep what was improper."""
        self.problems.append(text)
        print(f"          improper: {text}", file=sys.stderr, flush=True)

    def print(self) -> None:
        """The whole table."""
        for what, kind, result in self.rows:
            print(f"{what:<24} {kind:<44} {result}")
        print(f"{len(self.problems)} improper, {time.monotonic() - self._start:.0f} s")

    def write(self, path: Path) -> None:
        """As CSV; rows of proofs that did not run this time stay."""
        ran = {what for what, *_ in self.rows}
        kept = []
        if path.exists():
            with path.open(newline="") as file:
                kept = [row for row in list(csv.reader(file))[1:] if row[0] not in ran]
        with path.open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([("proof", "kind", "result"), *kept, *self.rows])


def _damage(table, inputs, folder, options) -> None:
    for family in FAMILIES:
        counts: dict[str, list[int]] = {}
        for finding in damaged.try_all(family, inputs, folder / family, seed=options.seed, every=options.every):
            count = counts.setdefault(finding.case.kind, [0, 0])
            count[0] += not finding.problem
            count[1] += 1
            if finding.problem:
                case = finding.case
                value = str(case.value)[:60]
                table.problem(f"{family}, {case.kind}, {value}, seed {case.seed}: {finding.problem}")
        for kind, (good, tried) in counts.items():
            table.add(f"damaged {family}", kind, good, tried)
        good, tried = (sum(column) for column in zip(*counts.values(), strict=True))
        table.add(f"damaged {family}", "all", good, tried)


def _kills(table, inputs, folder, options) -> None:
    lost = 0
    for verb in options.verbs:
        done = kills.kill(verb, inputs, folder / verb, options.kills, seed=options.seed)
        table.add("kills survived", f"{verb}, {done.inside_a_write} inside a write", done.survived, done.tried)
        lost += done.bytes_lost
        if done.problem:
            table.problem(f"{verb} killed: {done.problem}")
    table.add("bytes lost", "finished files after a kill", lost)
    if lost:
        table.problem(f"{lost} bytes lost")


def _faults(table, inputs, folder, options) -> None:
    _count(table, "faults survived", faults.try_faults(inputs, folder, options.verbs))


def _signals(table, inputs, folder, options) -> None:
    _count(table, "signals obeyed", signals.try_signals(inputs, folder, options.verbs))


def _count(table, what, tried) -> None:
    counts: dict[str, list[int]] = {}
    for name, verb, problem in tried:
        count = counts.setdefault(name, [0, 0])
        count[0] += not problem
        count[1] += 1
        print(f"          {name}, {verb}: {problem or 'ok'}", file=sys.stderr, flush=True)
        if problem:
            table.problem(f"{name}, {verb}: {problem}")
    for name, (good, tried) in counts.items():
        table.add(what, name, good, tried)


def _leaks(table, inputs, folder, options) -> None:
    leaks = faults.find_leaks(inputs, folder)
    table.add("leaks found", "names of headers in outputs", leaks)
    if leaks:
        table.problem(f"{leaks} leaks")


if __name__ == "__main__":
    sys.exit(main())
