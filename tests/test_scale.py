"""Long proofs: one process synthesizes and scores hundreds of subjects without growing."""

import gc
import resource
import threading
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import brain_pair
from volumetric.evaluation.evaluate import evaluate
from volumetric.evaluation.scoring import ScoringTask
from volumetric.imaging.nifti import write_image
from volumetric.manifest import ManifestRow, write_manifest
from volumetric.records.prediction import PREDICTIONS, PredictionRow
from volumetric.synthesis.infer import infer
from volumetric.synthesis.task import SynthesisTask

pytestmark = pytest.mark.scale

NUM_SUBJECTS = 300
DAMAGED = range(7, NUM_SUBJECTS, 30)
"""Ten subjects whose T1w is cut off."""
SETTLED = 20
MB_A_SUBJECT = 0.1


class Footprint:
    """Resident memory, open files and threads of this process, noted once a subject."""

    def __init__(self):
        self.resident_mb, self.files, self.threads = [], [], []

    def note(self):
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        self.resident_mb.append(pages * resource.getpagesize() / 1e6)
        self.files.append(sum(1 for _ in Path("/proc/self/fd").iterdir()))
        self.threads.append(threading.active_count())

    def noted(self, function):
        """The function, and a note after each call."""

        def call(*arguments):
            result = function(*arguments)
            self.note()
            return result

        return call

    def check(self, verb):
        settled = np.array(self.resident_mb[SETTLED:])
        slope = np.polyfit(np.arange(len(settled)), settled, 1)[0]
        print(f"{verb}: {len(self.resident_mb)} subjects, {slope:+.4f} MB a subject, {settled[-1]:.0f} MB at the end")
        print(f"files {self.files[SETTLED]} -> {self.files[-1]}, threads {self.threads[SETTLED]} -> {self.threads[-1]}")
        assert slope < MB_A_SUBJECT
        assert max(self.files[SETTLED:]) <= max(self.files[:SETTLED])
        assert max(self.threads[SETTLED:]) <= max(self.threads[:SETTLED])


def write_soak_cohort(folder):
    rows = []
    for number in range(NUM_SUBJECTS):
        paths = {contrast: folder / "scans" / f"{contrast}{number}.nii.gz" for contrast in ("t1w", "t2w")}
        for path, image in zip(paths.values(), brain_pair(number), strict=True):
            write_image(path, image)
        if number in DAMAGED:
            paths["t1w"].write_bytes(paths["t1w"].read_bytes()[:2000])
        rows.append(ManifestRow(f"p{number:03d}", split="test", paths=paths))
    write_manifest(folder / "soak.csv", rows)
    return folder / "soak.csv"


def test_soak_of_three_hundred_subjects(run_folder, tmp_path, monkeypatch):
    """Counts in are counts out and counted failures."""
    manifest = write_soak_cohort(tmp_path)
    infers, evaluates = Footprint(), Footprint()
    monkeypatch.setattr(SynthesisTask, "write", infers.noted(SynthesisTask.write))
    outcomes = infer([manifest], out=tmp_path / "out", model=run_folder)
    infers.check("infer")
    rows = PredictionRow.read_table(tmp_path / "out" / PREDICTIONS)
    assert [row.status for row in rows].count("failed") == len(DAMAGED)
    assert [outcome.status for outcome in outcomes].count("ok") == NUM_SUBJECTS - len(DAMAGED)
    assert len(rows) == NUM_SUBJECTS
    monkeypatch.setattr(ScoringTask, "write", evaluates.noted(ScoringTask.write))
    evaluation = evaluate(tmp_path / "out", [manifest], tmp_path / "scores", split="all", segmentation=False, jobs=1)
    evaluates.check("evaluate")
    status = [outcome.status for outcome in evaluation.outcomes]
    assert (status.count("ok"), status.count("failed")) == (NUM_SUBJECTS - len(DAMAGED), len(DAMAGED))
