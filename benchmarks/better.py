"""An ensemble and averaged weights against one plain model, at equal training budget, on real scans at 2 mm.

volumetric crossval all.csv --config t1w_to_t2w_cpu --folds 3 --no-segmentation ... --out runs/cv
python benchmarks/better.py runs/cv/fold-*/manifest.csv --out runs/better --steps 80

Each manifest is a fold: rows of split `train` are learned from, those of `test` are scored by the front doors of
`train`, `infer` and `evaluate`, and the subjects of all folds are pooled. Each method has three times the steps:
`plain` in one run, `ensemble` as three seeds, `average` as one run and two fine-tunings of it, whose weights are
averaged; `member` is one of the ensemble, at a third of the budget. Differences are to `plain`, paired by subject.
`infer_s` is the time of a session, reading and writing included. Finished trainings are not repeated.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from volumetric.config.inference import InferenceOptions
from volumetric.config.resolve import resolve
from volumetric.evaluation.evaluate import evaluate
from volumetric.evaluation.pooled import pool_evaluations
from volumetric.learning.train import train
from volumetric.metrics.differences import paired_difference
from volumetric.model.average import average
from volumetric.model.spec import SPEC
from volumetric.outputs import write_csv
from volumetric.records.prediction import TIMINGS, TimingRow
from volumetric.records.scores import ScoreRow
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


def fitted(manifest: Path, run: Path, steps: int, *changes: str) -> Path:
    """A run, which is trained unless it was."""
    if not (run / "model" / SPEC).is_file():
        config = resolve(None, [*BASE, f"optim.num_steps={steps}", f"validation.every_steps={steps}", *changes])
        train([manifest], config.model_copy(update={"cache": str(run.parent.parent / "cache")}), run)
    return run


def fit_all(manifest: Path, out: Path, steps: int) -> dict[str, list[Path]]:
    """By method, its models."""
    plain = fitted(manifest, out / "plain", 3 * steps)
    seeds = [fitted(manifest, out / f"seed{seed}", steps, f"seed={seed}") for seed in range(3)]
    start = f"pretrained={seeds[0]}"
    tuned = [fitted(manifest, out / f"tuned{seed}", steps, start, f"seed={seed}", "optim.lr=3e-4") for seed in (1, 2)]
    soup = average(list(map(str, tuned)), out / "average" / "model", fresh=True).parent
    return {"plain": [plain], "member": seeds[:1], "ensemble": seeds, "average": [soup]}


def by_subject(rows: Sequence[ScoreRow], metric: str) -> NDArray[np.float64]:
    """Scores of the model in the brain, sessions of a subject averaged, in the subjects' order."""
    scores: dict[str, list[float]] = {}
    for row in rows:
        if (row.method, row.region) == ("model", "brain"):
            scores.setdefault(row.subject_id, []).append(row.metrics[metric])
    return np.array([np.mean(scores[subject]) for subject in sorted(scores)])


def scored(
    method: str, folds: Mapping[Path, Mapping[str, Sequence[Path]]], out: Path
) -> tuple[Mapping[str, NDArray[np.float64]], float]:
    """By metric, the scores of all held-out subjects; and the mean seconds of a session."""
    evaluations, seconds = [], []
    options = InferenceOptions(device="cpu")
    for number, (manifest, models) in enumerate(folds.items()):
        folder = out / f"fold-{number}" / f"{method}_scored"
        infer(
            [manifest],
            out=folder / "predictions",
            model=list(models[method]),
            split="test",
            options=options,
            prepare=False,
        )
        evaluate(folder / "predictions", [manifest], folder / "metrics", segmentation=False, jobs=1)
        evaluations.append(folder / "metrics")
        seconds += [row.seconds for row in TimingRow.read_table(folder / "predictions" / TIMINGS)]
    rows = pool_evaluations(evaluations, out / method).rows
    return {metric: by_subject(rows, metric) for metric in METRICS}, float(np.mean(seconds))


def main() -> None:
    """Train, infer and score what the command line asks for, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folds", type=Path, nargs="+", help="a manifest for each fold")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=300)
    options = parser.parse_args()
    out: Path = options.out
    folds = {
        manifest: fit_all(manifest, out / f"fold-{number}", options.steps)
        for number, manifest in enumerate(options.folds)
    }
    rows: list[dict[str, object]] = []
    plain: Mapping[str, NDArray[np.float64]] = {}
    for method in next(iter(folds.values())):
        scores, seconds = scored(method, folds, out)
        plain = plain or scores
        row: dict[str, object] = {"method": method, "infer_s": round(seconds, 2)}
        for metric, values in scores.items():
            d = paired_difference(plain[metric], values, better="lower" if metric == "hfen" else "higher")
            row |= {metric: round(float(values.mean()), 4), f"{metric}_gain": f"{d.mean:+.4f}"}
            row |= {f"{metric}_ci95": f"[{d.ci95_low:+.4f}, {d.ci95_high:+.4f}]"}
        rows.append(row)
        print("  ".join(f"{name} {value}" for name, value in row.items()), flush=True)
    write_csv(out / "better.csv", rows)


if __name__ == "__main__":
    main()
