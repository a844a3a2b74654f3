"""What each input adds: a cross-validation of a model for any subset of its sources, scored on every subset.

volumetric crossval brats_multi.csv --config multi_to_t2w --out runs/cv_multi
volumetric crossval brats_multi.csv --config multi_to_t2w --out runs/cv_t1w --set task.sources=[t1w] \
    --set augmentation.missing_probability=0
python benchmarks/subsets.py runs/cv_multi --alone runs/cv_t1w

The folds' own models infer their held-out subjects, so every number is out of fold. `--alone` is a cross-validation
with the same folds whose model has one source; its row is the mark for that subset. Each subset's evaluation lies in
RUN/subsets, where `volumetric compare` reads it.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path

from volumetric.config.inference import InferenceOptions
from volumetric.evaluation.evaluate import evaluate
from volumetric.evaluation.pooled import pool_evaluations
from volumetric.model.folder import load_model
from volumetric.outputs import write_csv
from volumetric.records.scores import SUMMARY_FILE, SummaryRow
from volumetric.synthesis.infer import infer

METRICS = ("psnr_db", "ssim", "hfen")


def scored(run: Path, folds: Sequence[Path], sources: Sequence[str]) -> Sequence[SummaryRow]:
    """The summary of all held-out subjects, with these sources alone."""
    out, evaluations = run / "subsets" / "+".join(sources), []
    options = InferenceOptions.model_validate({"device": "cpu", "sources": sources})
    for fold in folds:
        manifests, folder = [fold / "manifest.csv"], out / fold.name
        infer(manifests, out=folder / "predictions", model=fold, split="test", options=options, prepare=False)
        evaluate(folder / "predictions", manifests, folder / "metrics", segmentation=False, jobs=1)
        evaluations.append(folder / "metrics")
    return pool_evaluations(evaluations, out / "metrics").summary


def in_brain(summary: Iterable[SummaryRow]) -> Mapping[str, float]:
    """Means of the model over all subjects, by metric."""
    rows = [row for row in summary if (row.method, row.region, row.group) == ("model", "brain", "")]
    return {row.metric: round(row.mean, 4) for row in rows if row.metric in METRICS}


def main() -> None:
    """Score every subset, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of the cross-validation")
    parser.add_argument("--alone", type=Path, help="cross-validation of a model with one source")
    options = parser.parse_args()
    folds = sorted(options.run.glob("fold-*"), key=lambda fold: int(fold.name.removeprefix("fold-")))
    sources = load_model(folds[0]).spec.sources
    rows: list[dict[str, object]] = []
    for number in range(1, len(sources) + 1):
        for chosen in combinations(sources, number):
            rows.append({"sources": " + ".join(chosen), **in_brain(scored(options.run, folds, chosen))})
            print(rows[-1], flush=True)
    if options.alone:
        summary = SummaryRow.read_table(options.alone / "metrics" / SUMMARY_FILE)
        rows.append({"sources": f"{options.alone.name}, alone", **in_brain(summary)})
        print(rows[-1])
    write_csv(options.run / "subsets.csv", rows)


if __name__ == "__main__":
    main()
