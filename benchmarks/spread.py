"""A batch of simulated heads by Ray and on this machine: overhead per subject, and two workers against one.

    python benchmarks/spread.py [--stages infer prepare] [--heads 24] [--spacing 2] [--runs 3]

Each worker has one thread. The cluster is started on this machine, of two nodes of one core. What counts is the time
from end to end of subjects once all workers are at work; starting them is told apart.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

os.environ["OMP_NUM_THREADS"] = "1"  # before torch

from ray.cluster_utils import Cluster

from volumetric.batch import spread
from volumetric.batch.spread import HERE, Spread
from volumetric.batch.subjects import Outcome
from volumetric.cohort.phantom import phantom
from volumetric.config.preparation import PreparationConfig
from volumetric.config.resolve import resolve, resolve_as
from volumetric.learning.train import train
from volumetric.manifest import ManifestRow, write_manifest
from volumetric.preparation.prepare import prepare
from volumetric.synthesis.infer import infer

NODE: dict[str, Any] = {"num_cpus": 1, "memory": 50e9, "object_store_memory": 80_000_000, "include_dashboard": False}
RECIPE = ["registration.num_starts=1", "bias.iterations=[5]"]
"""Of `prepare`: seconds for each head, not minutes."""

Stage = Callable[..., object]


class Ends(NamedTuple):
    """Seconds since the start at which subjects ended, and the seconds of each one's own work, in order of ends."""

    at: list[float]
    own: list[float]

    def each(self, jobs: int) -> float:
        """Seconds per subject while all workers are at work: without the first quarter and the end of the last."""
        first, last = len(self.at) // 4, len(self.at) - jobs
        return (self.at[last] - self.at[first]) / (last - first)

    def outside(self) -> float:
        """Median seconds between one subject's own work and the next one's, for one worker."""
        return statistics.median(b - a - own for a, b, own in zip(self.at, self.at[1:], self.own[1:], strict=False))


def main() -> None:
    """Print a Markdown table."""
    options = _options()
    logging.getLogger("volumetric").setLevel(logging.CRITICAL)
    cluster = Cluster(initialize_head=True, head_node_args=NODE)
    cluster.add_node(**NODE)
    try:
        with tempfile.TemporaryDirectory() as name:
            _compare(Path(name), options, Spread(address=cluster.address))
    finally:
        cluster.shutdown()


def _compare(folder: Path, options: argparse.Namespace, there: Spread) -> None:
    manifest, run = _inputs(folder, options.heads, options.spacing)
    recipe = resolve_as(PreparationConfig, None, RECIPE)
    stages: dict[str, Stage] = {
        "infer": partial(infer, [manifest], model=run),
        "prepare": partial(prepare, [manifest], config=recipe),
    }
    print(f"load {os.getloadavg()[0]:.1f} at the start; medians of {options.runs} runs, in turn\n")
    print("| stage | local | Ray, 1 worker | overhead a subject | Ray, 2 workers | 2 against 1 | until the first end |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for title in options.stages:
        runs = [
            (
                _ends(stages[title], folder, HERE, 1),
                _ends(stages[title], folder, there, 1),
                _ends(stages[title], folder, there, 2),
            )
            for _ in range(options.runs)
        ]
        local = statistics.median(one.each(1) for one, _, _ in runs)
        single = statistics.median(one.each(1) for _, one, _ in runs)
        double = statistics.median(two.each(2) for _, _, two in runs)
        overhead = statistics.median(one.outside() - here.outside() for here, one, _ in runs)
        gain = statistics.median(one.each(1) / two.each(2) for _, one, two in runs)
        begin = statistics.median(one.at[0] for _, one, _ in runs)
        print(
            f"| `{title}` | {local:.3f} s | {single:.3f} s | {1000 * overhead:.1f} ms | {double:.3f} s | {gain:.2f} "
            f"| {begin:.1f} s |",
            flush=True,
        )


def _ends(stage: Stage, folder: Path, where: Spread, jobs: int) -> Ends:
    out = folder / "out"
    with _clocked() as ends:
        stage(out=out, jobs=jobs, spread=where)
    shutil.rmtree(out)
    return ends


@contextmanager
def _clocked() -> Iterator[Ends]:
    """Note when subjects end; a single local job then does one after the other, as a worker of Ray does."""
    original, ends, start = spread.run_subjects, Ends([], []), time.perf_counter()

    def clocked(*args: Any, ended: Callable[[int, Outcome[Any]], None], **options: Any) -> object:
        def note(number: int, outcome: Outcome[Any]) -> None:
            if outcome.status != "ok":
                raise RuntimeError(f"{outcome.name} {outcome.status}: {outcome.error}")
            ends.at.append(time.perf_counter() - start)
            ends.own.append(outcome.seconds)
            ended(number, outcome)

        return original(*args, **options | {"overlap": False}, ended=note)

    spread.run_subjects = clocked
    try:
        yield ends
    finally:
        spread.run_subjects = original


def _inputs(folder: Path, heads: int, spacing_mm: float) -> tuple[Path, Path]:
    """A manifest of copies of one simulated head, and an untrained run of the default network."""
    phantom(folder / "data", subjects=4, spacing_mm=spacing_mm)
    config = resolve("t1w_to_t2w_cpu", [f"space.spacing_mm={[spacing_mm] * 3}", "optim.num_steps=1", "num_workers=0"])
    train([folder / "data" / "manifest.csv"], config, folder / "run")
    rows = []
    for number in range(heads):
        own = folder / "heads" / f"h{number:03d}"
        own.mkdir(parents=True)
        paths = {contrast: own / f"{contrast}.nii.gz" for contrast in ("t1w", "t2w")}
        for contrast, path in paths.items():
            shutil.copy(folder / "data" / "sim000" / f"{contrast}.nii.gz", path)
        rows.append(ManifestRow(own.name, split="test", paths=paths))
    write_manifest(folder / "heads" / "manifest.csv", rows)
    return folder / "heads" / "manifest.csv", folder / "run"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stages", nargs="+", choices=["infer", "prepare"], default=["infer", "prepare"])
    parser.add_argument("--heads", type=int, default=24)
    parser.add_argument("--spacing", type=float, default=2.0, help="millimeters")
    parser.add_argument("--runs", type=int, default=3)
    return parser.parse_args()


if __name__ == "__main__":
    main()
