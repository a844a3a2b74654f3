"""Outputs of `infer` and `evaluate` by real processes: no number of threads and of jobs changes them."""

import os
import subprocess
import sys

import numpy as np
import pytest

from tests.conftest import write_cohort
from volumetric.imaging.nifti import read_image, write_image
from volumetric.manifest import read_manifest

SHAPE = (43, 37, 41)
"""Torch adds up to 32,768 values in one thread."""


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    return write_cohort(tmp_path_factory.mktemp("large"), ["train", "train", "test", "test"], shape=SHAPE)


def files_of(out, *words, threads):
    """Every file that a command writes with so many threads, but for the seconds it took."""
    command = [sys.executable, "-m", "volumetric", *map(str, words), "--out", str(out)]
    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": str(threads)}, capture_output=True)
    files = (path for path in out.rglob("*") if path.is_file() and path.name != "timings.csv")
    return {str(path.relative_to(out)): path.read_bytes() for path in files}


@pytest.mark.reliability
@pytest.mark.parametrize("engine", ["torch", "openvino"])
def test_issue_17_23_infer_writes_the_same_bytes_with_any_threads(large, run_folder, tmp_path, engine):
    """On processors with AVX2; on others the kernels of the libraries may differ in the last digits."""
    words = ("infer", large, "--split", "test", "--model", run_folder, "--engine", engine)
    one, two = (files_of(tmp_path / str(number), *words, threads=number) for number in (1, 2))
    assert len(one) == 6  # two images, their sidecars, two tables of the folder
    assert one == two


def test_issue_17_23_infer_writes_the_same_images_with_any_threads(large, run_folder, tmp_path):
    words = ("infer", large, "--split", "test", "--model", run_folder)
    one, two = (files_of(tmp_path / str(number), *words, threads=number) for number in (1, 2))
    images = [name for name in one if name.endswith(".nii.gz")]
    assert len(images) == 2
    assert one.keys() == two.keys()
    for name in images:
        first, second = (read_image(tmp_path / str(number) / name) for number in (1, 2))
        np.testing.assert_array_equal(first.affine, second.affine)
        np.testing.assert_allclose(first.array, second.array, rtol=0, atol=1e-4 * float(first.array.max()))


def test_issue_17_23_evaluate_writes_the_same_bytes_with_any_threads_and_jobs(large, tmp_path):
    """A subject that was tried again, by another number of threads, had numbers off by 1e-8."""
    for row in read_manifest(large).split("test"):
        truth = read_image(row.path("t2w"))
        noise = np.random.default_rng(0).normal(0, 20, truth.array.shape).astype(np.float32) * (truth.array != 0)
        write_image(tmp_path / "theirs" / f"{row.name}.nii.gz", truth.with_array(truth.array + noise))
    words = ("evaluate", tmp_path / "theirs", large, "--prediction-scale", "own-median", "--jobs")
    one, two = (
        files_of(tmp_path / f"{jobs} jobs", *words, jobs, threads=threads) for jobs, threads in ((2, 1), (1, 2))
    )
    assert {"per_subject.csv", "summary.csv", "subjects/p2.json", "subjects/p3.json"} <= set(one)
    assert one == two
