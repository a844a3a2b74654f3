"""Cost of a cohort from what one subject takes: core-hours, traffic, and where storage or cores are the limit.

    python benchmarks/cost.py --subjects 100000 --cores 1000 --storage-mb-s 2000

The table below is measured (docs/how-to/recipes.md says where); give your own after `--dry-run` with
`--stage NAME=SECONDS,READ_MB,WRITTEN_MB`, seconds of one core.
"""

from __future__ import annotations

import argparse
from typing import NamedTuple


class Stage(NamedTuple):
    """Needs of one subject: seconds of one core, and MB read and written."""

    core_s: float
    read_mb: float
    written_mb: float

    @classmethod
    def parse(cls, text: str) -> Stage:
        """From `53.5,6,12.7`."""
        core_s, read_mb, written_mb = map(float, text.split(","))
        return cls(core_s, read_mb, written_mb)


MEASURED = {
    "prepare": Stage(53.5, 5.9, 12.7),
    "infer, small network": Stage(1.6, 2.1, 2.3),
    "infer, large network": Stage(15.7, 2.1, 2.3),
    "evaluate": Stage(34.6, 15.0, 0.1),
}


class Cost(NamedTuple):
    """Cost of a stage over a cohort.

    Attributes:
        core_hours: of computing.
        terabytes: read and written.
        mb_s_per_core: that a busy core moves.
        cores: with which the storage is saturated.
        hours: with the cores that there are, or with those that saturate the storage.
    """

    core_hours: float
    terabytes: float
    mb_s_per_core: float
    cores: float
    hours: float


def cost(stage: Stage, *, subjects: int, cores: int, storage_mb_s: float) -> Cost:
    """Cost of a stage; cores beyond those that saturate the storage wait for it."""
    moved_mb = stage.read_mb + stage.written_mb
    rate = moved_mb / stage.core_s
    core_hours = subjects * stage.core_s / 3600
    saturating = storage_mb_s / rate
    return Cost(core_hours, subjects * moved_mb / 1e6, rate, saturating, core_hours / min(cores, saturating))


def main() -> None:
    """Print a row a stage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subjects", type=int, default=100_000)
    parser.add_argument("--cores", type=int, default=1000)
    parser.add_argument("--storage-mb-s", type=float, default=2000)
    parser.add_argument("--stage", action="append", default=[], metavar="NAME=SECONDS,READ_MB,WRITTEN_MB")
    given = parser.parse_args()
    own = {name: Stage.parse(text) for name, _, text in (stage.partition("=") for stage in given.stage)}
    print("| stage | core-hours | TB moved | MB/s a core | cores that saturate the storage | hours |")
    print("|---|---|---|---|---|---|")
    for name, stage in (own or MEASURED).items():
        of = cost(stage, subjects=given.subjects, cores=given.cores, storage_mb_s=given.storage_mb_s)
        rates = f"{of.mb_s_per_core:.2f} | {of.cores:,.0f} | {of.hours:.1f}"
        print(f"| {name} | {of.core_hours:,.0f} | {of.terabytes:.2f} | {rates} |")


if __name__ == "__main__":
    main()
