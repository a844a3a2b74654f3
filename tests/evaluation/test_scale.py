"""Long proofs: what an evaluation of many full-size heads needs."""

import sys

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from benchmarks.processes import measure
from volumetric.imaging.nifti import Image, write_image
from volumetric.manifest import Row, write_manifest

pytestmark = pytest.mark.scale

SHAPE = (192, 224, 192)
FEW, MANY = 10, 30
MOST_GB_A_HEAD = 0.005
"""A boolean volume kept of each head would be 0.008, a float32 one 0.033."""


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    """Full-size heads of two training people and 30 others, and a prediction of each."""
    folder = tmp_path_factory.mktemp("heads")
    grid = np.meshgrid(*[np.linspace(-1.2, 1.2, n, dtype=np.float32) for n in SHAPE], indexing="ij")
    radius = sum(axis**2 for axis in grid)
    mask = radius < 0.8
    rng = np.random.default_rng(0)
    folds = 15 * gaussian_filter(rng.normal(size=SHAPE).astype(np.float32), 3)
    rows = []
    for number in range(2 + MANY):
        depth = np.clip(radius + 0.2 * np.roll(folds, number * 5, axis=1), 0, 1.5)
        images = {"t1w": np.where(mask, 2 - depth, 0), "t2w": np.where(mask, 0.5 + 2 * depth, 0)}
        for contrast, array in images.items():
            write_image(folder / f"{contrast}{number}.nii.gz", Image(300 * array, np.eye(4)))
        guess = images["t2w"] + 0.1 * mask * rng.normal(size=SHAPE).astype(np.float32)
        write_image(folder / "predictions" / f"p{number}.nii.gz", Image(300 * guess, np.eye(4)))
        paths = {contrast: folder / f"{contrast}{number}.nii.gz" for contrast in images}
        rows.append(Row(f"p{number}", split="train" if number < 2 else "test", paths=paths))
    for name, count in (("few", FEW), ("many", MANY)):
        write_manifest(folder / f"{name}.csv", rows[: 2 + count])
    return folder


def test_memory_of_evaluation_does_not_grow_with_the_cohort(heads, tmp_path):
    options = ["--prediction-scale", "own-median", "--no-segmentation", "--jobs", "1", "--out"]
    peaks = {}
    for name, count in (("few", FEW), ("many", MANY)):
        command = [sys.executable, "-m", "volumetric", "evaluate", heads / "predictions", heads / f"{name}.csv"]
        _, peaks[name], printed = measure([str(word) for word in [*command, *options, tmp_path / name]])
        last = printed.strip().splitlines()[-1]
        assert last.startswith(f"{count} scored")
        print(name, f"{peaks[name]:.2f} GB", last)
    assert peaks["many"] - peaks["few"] < MOST_GB_A_HEAD * (MANY - FEW)
