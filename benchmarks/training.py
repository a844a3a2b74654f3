"""Training against the plain MONAI loop on the same network and patches, and what a larger cohort costs.

    python benchmarks/training.py [--config t1w_to_t2w_cpu] [--steps 5] [--runs 5]

Simulated subjects at 1 mm for the steps; for memory and start 20 and 200 subjects at 4 mm, each of its own voxels.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from plain_training import plain_loss, train_steps
from processes import Measured, measure

from volumetric.cohort.phantom import phantom
from volumetric.config.resolve import resolve
from volumetric.config.run import RunConfig
from volumetric.imaging.nifti import read_image, write_image
from volumetric.learning.losses import MaskedLoss
from volumetric.learning.optimization import Optimization
from volumetric.learning.train import train
from volumetric.manifest import ManifestRow, read_manifest, write_manifest
from volumetric.model.spec import AffineMap

FEW, MANY = 20, 200
CHILD = """
import sys, time
start = time.perf_counter()
from pathlib import Path
from volumetric.config.resolve import resolve
from volumetric.learning import optimization, train
imported = time.perf_counter()
def first(self, batch, number, lr, step=optimization.Optimization.step):
    loss = step(self, batch, number, lr)
    if number == 0:
        print(imported - start, time.perf_counter() - imported, flush=True)
    return loss
optimization.Optimization.step = first
manifest, config, out, cache, steps = sys.argv[1:]
overrides = [f"optim.num_steps={steps}", f"validation.every_steps={steps}", f"cache={cache}"]
train.train([Path(manifest)], resolve(config, overrides), Path(out))
"""


def main() -> None:
    """Print a Markdown table."""
    options = _options()
    logging.getLogger("volumetric").setLevel(logging.ERROR)
    print(f"{torch.get_num_threads()} threads, medians of {options.runs} runs\n")
    print("| what | measured | against |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        _steps(options, Path(name))
        _cohorts(Path(name))
    helps = [measure([sys.executable, "-m", "volumetric", "--help"]).seconds for _ in range(options.runs)]
    print(f"| `volumetric --help` | {statistics.median(helps):.2f} s | |")


def _steps(options: argparse.Namespace, folder: Path) -> None:
    """Steps of both loops in turn, and the time in which ours waits for data."""
    phantom(folder / "data", subjects=2, spacing_mm=1.0)
    manifest = folder / "data" / "manifest.csv"
    rows = [ManifestRow(row.subject_id, split="train", paths=row.paths) for row in read_manifest(manifest).rows]
    write_manifest(folder / "data" / "train.csv", rows)
    pairs = [(row.path("t1w"), row.path("t2w")) for row in rows]
    overrides = [f"optim.num_steps={options.steps}", f"validation.every_steps={options.steps}", "num_workers=0"]
    config = resolve(options.config, [*overrides, f"cache={folder / 'cache'}"])
    ours_s, plain_s, waiting = [], [], []
    for run in range(options.runs + 1):
        with _timed_steps() as spans:
            train([folder / "data" / "train.csv"], config, folder / f"run{run}")
        plain = [time.perf_counter() for _ in train_steps(pairs, config, options.steps)]
        if run:
            whole = spans[-1][1] - spans[0][1]
            ours_s.append(whole / (len(spans) - 1))
            waiting.append(1 - sum(end - start for start, end in spans[1:]) / whole)
            plain_s.append((plain[-1] - plain[0]) / (len(plain) - 1))
    ratio = statistics.median(theirs / our for our, theirs in zip(ours_s, plain_s, strict=True))
    what = f"{config.network.name}, {config.patch.batch_size} x {'x'.join(map(str, config.patch.size))}"
    print(f"| a step of plain MONAI, {what} | {statistics.median(plain_s):.2f} s | |")
    print(f"| a step of volumetric | {statistics.median(ours_s):.2f} s | {ratio:.2f} times faster |")
    print(f"| of it between steps: data, log, progress | {statistics.median(waiting):.1%} | |")
    print(f"| the same loss on the same patch, largest relative difference | {_loss_difference(config):.1e} | |")


@contextmanager
def _timed_steps() -> Iterator[list[tuple[float, float]]]:
    """Yields the start and end of each optimizer step of a training."""
    spans: list[tuple[float, float]] = []
    original = Optimization.step

    def timed(self: Optimization, *arguments: object) -> float:
        start = time.perf_counter()
        loss = original(self, *arguments)
        spans.append((start, time.perf_counter()))
        return loss

    Optimization.step = timed
    try:
        yield spans
    finally:
        Optimization.step = original


def _loss_difference(config: RunConfig) -> float:
    generator = torch.Generator().manual_seed(0)
    loss = MaskedLoss(config.loss, AffineMap(center=0, scale=1), 4.0)
    worst = 0.0
    for _ in range(5):
        target, prediction = (torch.rand(1, 1, 40, 48, 44, generator=generator) for _ in range(2))
        ours = float(loss(target, prediction, torch.ones_like(target, dtype=torch.bool)))
        worst = max(worst, abs(ours / float(plain_loss(target, prediction)) - 1))
    return worst


def _cohorts(folder: Path) -> None:
    """Peak memory and the second start with few and with many subjects."""
    manifests = _subjects(folder / "subjects")
    peaks = {}
    for name, count in (("few", FEW), ("many", MANY)):
        for start in ("first", "second"):
            _, peak_gb, printed = _child(manifests[name], folder / f"{name} {start}", folder / f"cache {name}", 60)
        peaks[name] = peak_gb
        seconds = float(printed.split()[1])
        print(f"| second start, {count} subjects: imports to the end of the first step | {seconds:.2f} s | |")
    _, long_gb, _ = _child(manifests["few"], folder / "long", folder / "cache few", 600)
    print(f"| peak memory with {FEW} subjects, 60 steps | {peaks['few']:.3f} GB | |")
    print(f"| with {MANY} subjects | {peaks['many']:.3f} GB | {peaks['many'] / peaks['few']:.2f} times |")
    print(f"| with {FEW} subjects, 600 steps | {long_gb:.3f} GB | {long_gb / peaks['few']:.2f} times |")


def _subjects(folder: Path) -> dict[str, Path]:
    phantom(folder / "one", subjects=1, spacing_mm=4.0)
    (subject,) = read_manifest(folder / "one" / "manifest.csv").rows
    images = {contrast: read_image(subject.path(contrast)) for contrast in ("t1w", "t2w")}
    rng = np.random.default_rng(0)
    rows = []
    for number in range(MANY):
        paths = {contrast: folder / f"{contrast}{number}.nii.gz" for contrast in images}
        for contrast, image in images.items():
            noise = rng.uniform(0.9, 1.1, image.array.shape)
            write_image(paths[contrast], image.with_array((image.array * noise).astype(np.float32)))
        rows.append(ManifestRow(f"p{number:03d}", split="train", paths=paths))
    write_manifest(folder / "few.csv", rows[:FEW])
    write_manifest(folder / "many.csv", rows)
    return {"few": folder / "few.csv", "many": folder / "many.csv"}


def _child(manifest: Path, out: Path, cache: Path, steps: int) -> Measured:
    return measure([sys.executable, "-c", CHILD, str(manifest), "tiny", str(out), str(cache), str(steps)])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="t1w_to_t2w_cpu")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--runs", type=int, default=5)
    return parser.parse_args()


if __name__ == "__main__":
    main()
