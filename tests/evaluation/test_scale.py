"""Long proofs: what an evaluation of many full-size volumes needs."""

import gc
import resource
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from benchmarks.processes import measure
from volumetric.evaluation.evaluate import evaluate
from volumetric.evaluation.scoring import ScoringTask
from volumetric.imaging.nifti import Image, write_image
from volumetric.manifest import ManifestRow, write_manifest

pytestmark = pytest.mark.scale

SHAPE = (192, 224, 192)
FEW, MANY = 3, 30
SMALL = (96, 112, 96)


def write_volumes(folder, shape, number, **manifests):
    """Volumes of two training subjects and others, and a prediction of each; manifests of the first so many others."""
    grid = np.meshgrid(*[np.linspace(-1.2, 1.2, n, dtype=np.float32) for n in shape], indexing="ij")
    radius = sum(axis**2 for axis in grid)
    mask = radius < 0.8
    rng = np.random.default_rng(0)
    folds = 15 * gaussian_filter(rng.normal(size=shape).astype(np.float32), 3)
    rows = []
    for subject in range(2 + number):
        depth = np.clip(radius + 0.2 * np.roll(folds, subject * 5, axis=1), 0, 1.5)
        images = {"t1w": np.where(mask, 2 - depth, 0), "t2w": np.where(mask, 0.5 + 2 * depth, 0)}
        for contrast, array in images.items():
            write_image(folder / f"{contrast}{subject}.nii.gz", Image(300 * array, np.eye(4)))
        guess = images["t2w"] + 0.1 * mask * rng.normal(size=shape).astype(np.float32)
        write_image(folder / "predictions" / f"p{subject}.nii.gz", Image(300 * guess, np.eye(4)))
        paths = {contrast: folder / f"{contrast}{subject}.nii.gz" for contrast in images}
        rows.append(ManifestRow(f"p{subject}", split="train" if subject < 2 else "test", paths=paths))
    for name, count in manifests.items():
        write_manifest(folder / f"{name}.csv", rows[: 2 + count])


def test_memory_of_evaluation_does_not_grow_with_the_cohort(tmp_path):
    write_volumes(tmp_path, SHAPE, MANY, few=FEW, many=MANY)
    options = ["--prediction-scale", "own-median", "--no-segmentation", "--jobs", "1", "--out"]
    peaks = {}
    for name, count in (("few", FEW), ("many", MANY)):
        command = [sys.executable, "-m", "volumetric", "evaluate", tmp_path / "predictions", tmp_path / f"{name}.csv"]
        _, peaks[name], printed = measure([str(word) for word in [*command, *options, tmp_path / name]])
        last = printed.strip().splitlines()[-1]
        assert last.startswith(f"{count} scored")
        print(name, f"{peaks[name]:.2f} GB", last)
    # One float32 volume kept of each subject would be half as much again.
    assert peaks["many"] < 1.25 * peaks["few"]


def test_nothing_of_a_volume_is_kept(tmp_path, monkeypatch):
    """What is resident after each subject, where the peak wanders with the allocator."""
    number, early, last = 45, slice(10, 15), slice(-5, None)
    write_volumes(tmp_path, SMALL, number, all=number)
    resident_mb, write = [], ScoringTask.write

    def noted(self, *arguments):
        row = write(self, *arguments)
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        resident_mb.append(pages * resource.getpagesize() / 1e6)
        return row

    monkeypatch.setattr(ScoringTask, "write", noted)
    evaluate(tmp_path / "predictions", [tmp_path / "all.csv"], tmp_path / "out",
             prediction_scale="own-median", segmentation=False, jobs=1)  # fmt: skip
    growth = np.mean(resident_mb[last]) - np.mean(resident_mb[early])
    print(f"{growth:.1f} MB in {number - 15} subjects")
    mask_mb = np.prod(SMALL) / 1e6
    assert growth < 0.5 * mask_mb * (number - 15)
