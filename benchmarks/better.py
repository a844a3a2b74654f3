"""Flips, ensemble and averaged weights against one plain model, at equal training budget, on real scans at 2 mm.

python benchmarks/better.py mni.csv brats.csv --out runs/better --steps 300

Each method has three times the steps: `plain` in one run, `ensemble` as three seeds, `average` as one run and two
fine-tunings of it, whose weights are averaged. The rows of split `train` are learned from, those of `test` scored, by
the front doors of `train`, `infer` and `evaluate`. `train_s` is the time of a method's trainings, `infer_s` that of a
subject, reading and writing included. Finished trainings are not repeated, and have no time then.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from volumetric.config.inference import InferenceOptions
from volumetric.config.resolve import resolve
from volumetric.evaluation.evaluate import evaluate
from volumetric.learning.train import train
from volumetric.model.average import average
from volumetric.model.spec import SPEC
from volumetric.outputs import write_csv
from volumetric.records.prediction import TIMINGS, TimingRow
from volumetric.synthesis.infer import infer

BASE = [
    "space.spacing_mm=[2,2,2]",
    "intensity.source_normalization=pooled",
    "network.channels=[16,32,64]",
    "network.num_blocks=1",
    "patch.size=[64,64,64]",
    "patch.batch_size=1",
    "patch.num_per_volume=1",
    "device=cpu",
]
METRICS = ("psnr_db", "ssim", "hfen")


def fitted(manifests: Sequence[Path], run: Path, steps: int, *changes: str) -> tuple[Path, float]:
    """A run and the seconds of its training, NaN where it was there."""
    if (run / "model" / SPEC).is_file():
        return run, float("nan")
    config = resolve(None, [*BASE, f"optim.num_steps={steps}", f"validation.every_steps={steps}", *changes])
    start = time.perf_counter()
    train(manifests, config.model_copy(update={"cache": str(run.parent / "cache")}), run)
    return run, time.perf_counter() - start


def fit_all(manifests: Sequence[Path], out: Path, steps: int) -> dict[str, tuple[list[Path], float]]:
    """By method, its models and the seconds that they took together."""
    plain, plain_s = fitted(manifests, out / "plain", 3 * steps)
    seeds = [fitted(manifests, out / f"seed{seed}", steps, f"seed={seed}") for seed in range(3)]
    start = f"pretrained={seeds[0][0]}"
    tuned = [fitted(manifests, out / f"tuned{seed}", steps, start, f"seed={seed}", "optim.lr=3e-4") for seed in (1, 2)]
    soup = average([run for run, _ in tuned], out / "average" / "model", fresh=True).parent
    return {
        "plain": ([plain], plain_s),
        "ensemble": ([run for run, _ in seeds], sum(seconds for _, seconds in seeds)),
        "average": ([soup], seeds[0][1] + sum(seconds for _, seconds in tuned)),
    }


def row_of(
    method: str, models: Sequence[Path], flips: str, train_s: float, manifests: Sequence[Path], out: Path
) -> dict[str, object]:
    """Means over the test subjects, in the brain."""
    folder = out / f"{method}_{flips or 'none'}"
    options = InferenceOptions(device="cpu", flips=flips)
    infer(manifests, out=folder / "predictions", model=list(models), split="test", options=options, prepare=False)
    evaluation = evaluate(folder / "predictions", manifests, folder / "metrics", segmentation=False, jobs=1)
    means = {
        row.metric: row.mean
        for row in evaluation.summary
        if (row.method, row.region, row.group) == ("model", "brain", "")
    }
    seconds = np.mean([row.seconds for row in TimingRow.read_table(folder / "predictions" / TIMINGS)])
    numbers = {name: round(means[name], 4) for name in METRICS}
    return {"method": method, "flips": flips or "none", **numbers, "train_s": train_s, "infer_s": seconds}


def main() -> None:
    """Train, infer and score what the command line asks for, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifests", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=300)
    options = parser.parse_args()
    shown: Callable[[object], str] = lambda value: f"{value:10.4g}" if isinstance(value, float) else f"{value:10}"  # noqa: E731
    rows = []
    for method, (models, train_s) in fit_all(options.manifests, options.out, options.steps).items():
        for flips in ("", "x", "xyz") if method == "plain" else ("", "x"):
            rows.append(row_of(method, models, flips, train_s, options.manifests, options.out))
            print("  ".join(map(shown, rows[-1].values())), flush=True)
    write_csv(options.out / "better.csv", rows)


if __name__ == "__main__":
    main()
