"""Time, memory and size of what handles a whole cohort at once: manifest, status, tables, swaps and the page.

    python benchmarks/large_cohort.py                    # 100,000 subjects, 10,000 of an evaluation
    python benchmarks/large_cohort.py --subjects 2000 --scored 500 --only page

Files are made up: cheap to write, of the size and shape of real ones. Each step is a process of its own.
"""

from __future__ import annotations

import argparse
import csv
import resource
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.processes import measure
from tests.conftest import brain_pair
from volumetric.batch.shards import ALL
from volumetric.batch.status import read_status
from volumetric.evaluation.identity import BlockMeans, find_swaps
from volumetric.evaluation.tables import MEASURED, write_evaluation
from volumetric.imaging.nifti import write_image
from volumetric.manifest import read_manifest
from volumetric.outputs import hash_json
from volumetric.records.evaluation import EvaluationInfo, ScoredImage, ScoredImages, SubjectScores
from volumetric.records.scores import MODEL, ScoreRow, ScoreTable
from volumetric.records.shards import CALL, SUBJECTS, ShardCall, ShardRow

METHODS = (MODEL, "constant", "identity", "histogram_match", "inverted_histogram_match", "cubic", "mean_target")
REGIONS = ("brain", "whole", "csf", "gm", "wm")
NUM_BLOCKS = 2700  # of 8 mm in a brain of 1.4 liters


def write_large_manifest(folder: Path, number: int) -> None:
    """A row a subject, two scans and a mask each, in folders of a thousand subjects; scans are hard links to a few."""
    image, scan = brain_pair(0)[0], folder / "none"
    columns = ("t1w", "t2w", "mask")
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["subject_id", "split", *columns, "site", "age"])
        for subject in range(number):
            place = Path(f"scans{subject // 1000}")
            if subject % 1000 == 0:
                (folder / place).mkdir()
            if subject % 10_000 == 0:  # a file has at most 65,000 names
                scan = folder / f"scan{subject}.nii.gz"
                write_image(scan, image)
            names = [place / f"s{subject}_{column}.nii.gz" for column in columns]
            for name in names:
                (folder / name).hardlink_to(scan)
            split = ("train", "val", "test")[subject % 3]
            writer.writerow([f"s{subject}", split, *names, f"site{subject % 9}", 20 + subject % 60])


def check_manifest(folder: Path) -> None:
    """Read it, and look whether every file is there."""
    manifest = read_manifest(folder / "manifest.csv")
    manifest.require(manifest.rows, ["t1w", "t2w", "mask"])
    print(f"{len(manifest.rows)} rows")


def write_journal(folder: Path, number: int) -> None:
    """A run under way: nine tenths of the subjects have ended, every fiftieth of them failed."""
    call = ShardCall(command="infer", arguments={}, num_shards=1, num_subjects=number, subjects_sha256=hash_json([]))
    call.write(ALL.folder(folder / "journal") / CALL)
    reason = "subject s{0}: the `t1w` file /data/s{0}/t1w.nii.gz does not exist; correct the path"
    rows = [
        ShardRow(position=n, subject=f"s{n}", status="ok" if n % 50 else "failed",
                 error="" if n % 50 else reason.format(n), seconds=1.25)
        for n in range(number * 9 // 10)
    ]  # fmt: skip
    ShardRow.write_table(ALL.folder(folder / "journal") / SUBJECTS, rows)


def count(folder: Path) -> None:
    """As `volumetric status` counts."""
    total = read_status(folder).total
    print(f"{total.done} done, {total.failed} failed, {total.missing} missing")


def score_rows(subject: int, rng: np.random.Generator) -> list[ScoreRow]:
    """The rows of a subject: every method in every region, and no number equal to another."""
    rows = []
    for method in METHODS:
        for region in REGIONS:
            values = rng.normal(1, 0.1, len(MEASURED)).tolist()
            rows.append(ScoreRow(
                subject_id=f"s{subject}", method=method, region=region, status="ok", num_voxels=1_400_000 + subject,
                metrics=dict(zip(MEASURED, values, strict=True)), data_range=2.5, mask_rule="given",
                truth_median=431.5, truth_mean=float(rng.normal(1, 0.1)), prediction_mean=float(rng.normal(1, 0.1)),
                covariates={"site": f"site{subject % 9}", "age": str(20 + subject % 60)},
            ))  # fmt: skip
    return rows


def write_scores(folder: Path, number: int) -> None:
    """Tables and statistics of an evaluation."""
    rng = np.random.default_rng(0)
    rows = tuple(row for subject in range(number) for row in score_rows(subject, rng))
    info = EvaluationInfo(predictions="../predictions", source="t1w", target="t2w", split="test", data_range=2.5,
                          num_training_subjects=9, prediction_scale="reference", versions={})  # fmt: skip
    summary = write_evaluation(
        folder / "evaluation", ScoreTable(tuple(MEASURED), ("site", "age"), rows), info, num_subjects=number
    )
    print(f"{len(rows)} rows, {len(summary)} rows of the summary")


def write_subjects(folder: Path, number: int) -> None:
    """The file of each subject, with its block means; all have the images of one."""
    rng = np.random.default_rng(1)
    for name, image in zip(("t1w", "t2w"), brain_pair(0, shape=(96, 112, 96)), strict=True):
        write_image(folder / f"{name}.nii.gz", image)
    t1w, t2w = (ScoredImage(path=folder / f"{name}.nii.gz", divisor=400.0) for name in ("t1w", "t2w"))
    images = ScoredImages(source=t1w, truth=t2w, prediction=t2w).relative_to(folder / "evaluation")
    for subject in range(number):
        rows = tuple(row.model_copy(update={"covariates": {}}) for row in score_rows(subject, rng))
        scores = SubjectScores(
            subject_id=f"s{subject}", fingerprint="", images=images, block_means=blocks(rng).pack(), rows=rows
        )
        text = scores.model_dump_json(indent=2)
        path = SubjectScores.path(folder / "evaluation", rows[0].key)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def blocks(rng: np.random.Generator) -> BlockMeans:
    """Block means of a prediction that shows its own subject, as well as such predictions do."""
    numbers = np.sort(rng.choice(4000, NUM_BLOCKS, replace=False)).astype(np.int32)
    truth = rng.normal(1, 0.3, NUM_BLOCKS)
    prediction = truth + rng.normal(0, 0.2, NUM_BLOCKS)
    return BlockMeans(numbers, truth.astype(np.float32), prediction.astype(np.float32))


def look_for_swaps(number: int) -> None:
    """Compare the predictions of a cohort with the truth of all others."""
    rng = np.random.default_rng(2)
    swaps = find_swaps({f"s{subject}": blocks(rng) for subject in range(number)})
    print(f"{len(swaps)} swaps among {number}")


def main() -> None:
    """Make the files, then measure each step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subjects", type=int, default=100_000)
    parser.add_argument("--scored", type=int, default=10_000)
    parser.add_argument("--only", choices=["manifest", "status", "tables", "swaps", "page"])
    parser.add_argument("--folder", type=Path, help="keep the files there, and take those that are there")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = (given.folder or Path(scratch)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        for name, (make, needed, command) in steps(folder, given.subjects, given.scored).items():
            if given.only not in (None, name):
                continue
            if not needed.exists():
                measure(call(make))
            before = cpu_seconds()
            seconds, peak_gb, printed = measure(command)
            needs = f"{seconds:7.1f} s, {cpu_seconds() - before:6.1f} s of a core, {peak_gb:.2f} GB"
            print(f"{name:10} {needs}: {printed.strip().splitlines()[-1]}", flush=True)


def cpu_seconds() -> float:
    """Of processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def steps(folder: Path, subjects: int, scored: int) -> dict[str, tuple[str, Path, list[str]]]:
    """By name: the call that makes the files, one of them, and the command that is measured."""
    evaluation, volumetric = folder / "evaluation", [sys.executable, "-m", "volumetric"]
    return {
        "manifest": (f"write_large_manifest(Path({str(folder)!r}), {subjects})", folder / "manifest.csv",
                     call(f"check_manifest(Path({str(folder)!r}))")),
        "status": (f"write_journal(Path({str(folder)!r}), {subjects})", folder / "journal",
                   call(f"count(Path({str(folder / 'journal')!r}))")),
        "tables": ("None", folder, call(f"write_scores(Path({str(folder)!r}), {scored})")),
        "swaps": ("None", folder, call(f"look_for_swaps({scored})")),
        "page": (f"write_subjects(Path({str(folder)!r}), {scored})", evaluation / "subjects",
                 [*volumetric, "report", str(evaluation)]),
    }  # fmt: skip


def call(expression: str) -> list[str]:
    """The command that calls a function of this file in a process of its own."""
    return [sys.executable, "-c", f"from pathlib import Path; from benchmarks.large_cohort import *; {expression}"]


if __name__ == "__main__":
    main()
