"""Long proofs: memory of a training on many subjects."""

import sys

import numpy as np
import pytest

from benchmarks.processes import measure
from tests.conftest import TINY, brain_pair
from volumetric.imaging.nifti import write_image
from volumetric.manifest import ManifestRow, write_manifest

pytestmark = pytest.mark.scale

FEW, MANY = 20, 200


@pytest.fixture(scope="module")
def cohorts(tmp_path_factory):
    """Manifests of few and of many subjects, with 2.6 million voxels a volume, each with noise of its own."""
    folder = tmp_path_factory.mktemp("cohorts")
    images = brain_pair(0, shape=(130, 150, 134), affine=np.diag([1.0, 1.1, 1.2, 1.0]))
    rng = np.random.default_rng(0)
    rows = []
    for number in range(MANY):
        paths = {contrast: folder / f"{contrast}{number}.nii.gz" for contrast in ("t1w", "t2w")}
        for path, image in zip(paths.values(), images, strict=True):
            write_image(path, image.with_array(image.array * rng.uniform(0.9, 1.1, image.array.shape).astype("f4")))
        rows.append(ManifestRow(f"p{number:03d}", split="train", paths=paths))
    for name, count in (("few", FEW), ("many", MANY)):
        write_manifest(folder / f"{name}.csv", rows[:count])
    return folder


def test_memory_of_training_grows_neither_with_the_cohort_nor_with_the_epochs(cohorts, tmp_path):
    peaks = {}
    for name, manifest, steps in (("few", "few", 100), ("many", "many", 100), ("long", "few", 1000)):
        command = [sys.executable, "-m", "volumetric", "train", cohorts / f"{manifest}.csv", "--config", TINY,
                   "--out", tmp_path / name, "--set", f"cache={cohorts / manifest}",
                   "--set", f"optim.num_steps={steps}", "--set", f"validation.every_steps={steps}",
                   "--set", "space.spacing_mm=[1,1.1,1.2]"]  # fmt: skip
        for start in ("reading", "memory-mapped"):
            peak_gb = measure([*map(str, command), *["--fresh"] * (start == "memory-mapped")]).peak_gb
            print(name, start, f"{peak_gb:.3f} GB")
        peaks[name] = peak_gb
    assert peaks["many"] < 1.1 * peaks["few"]
    assert peaks["long"] < 1.1 * peaks["few"]
