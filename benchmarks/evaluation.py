"""Seconds of scoring one full-size volume: SSIM against MONAI and scikit-image, and a whole row of metrics.

python benchmarks/evaluation.py [--shape 192 224 192] [--runs 5]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from monai.metrics import SSIMMetric
from numpy.typing import NDArray
from skimage.metrics import structural_similarity

from volumetric.metrics.ssim import ssim_map
from volumetric.metrics.table import METRICS, score

RADIUS_VOX = 5
"""MONAI leaves out voxels nearer to the border than the window's radius, so means are compared without them."""


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", type=int, nargs=3, default=(192, 224, 192))
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    truth, prediction, mask = _volume(options.shape)
    works = {
        "ours": lambda: ssim_map(truth, prediction, data_range=1.0).numpy(),
        "MONAI": lambda: _monai(truth, prediction),
        "scikit-image": lambda: _scikit_image(truth, prediction),
    }
    means = {name: float(_inner(work()).mean(dtype=np.float64)) for name, work in works.items()}
    seconds = {name: [] for name in works}
    for _ in range(options.runs):
        for name, work in works.items():
            seconds[name].append(_seconds(work))
    shape = "x".join(map(str, options.shape))
    print(f"{torch.get_num_threads()} threads, {shape} voxels, medians of {options.runs} runs, ratios pair by pair\n")
    print("| what | seconds | times ours | largest difference of the mean |")
    print("|---|---|---|---|")
    for name in works:
        ratio = statistics.median(theirs / our for theirs, our in zip(seconds[name], seconds["ours"], strict=True))
        difference = abs(means[name] - means["ours"])
        print(f"| SSIM 3D Gaussian, {name} | {statistics.median(seconds[name]):.2f} | {ratio:.1f} | {difference:.1e} |")
    regions = {"brain": mask, "whole": np.ones_like(mask), "foreground": mask & (truth > 0.5)}
    row = [_seconds(lambda: score(truth, prediction, regions, data_range=1.0)) for _ in range(options.runs)]
    what = f"{len(METRICS)} metrics in the brain, the whole volume and its foreground"
    print(f"| {what} | {statistics.median(row):.2f} | | |")


def _volume(shape: Sequence[int]) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """A ball of noise in air, another noise added for the prediction, and the ball."""
    rng = np.random.default_rng(0)
    axes = np.meshgrid(*[np.linspace(-1.1, 1.1, n, dtype=np.float32) for n in shape], indexing="ij")
    mask = sum(axis**2 for axis in axes) < 1
    truth = rng.random(shape, dtype=np.float32) * mask
    return truth, truth + 0.1 * mask * rng.standard_normal(shape, dtype=np.float32), mask


def _monai(truth: NDArray[np.float32], prediction: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean, as an array of one number: its map is not to be had."""
    metric = SSIMMetric(spatial_dims=3, data_range=1.0, kernel_type="gaussian", win_size=11, kernel_sigma=1.5)
    value = metric(torch.from_numpy(prediction)[None, None], torch.from_numpy(truth)[None, None])
    return value.numpy().reshape(1, 1, 1)


def _scikit_image(truth: NDArray[np.float32], prediction: NDArray[np.float32]) -> NDArray[np.float32]:
    gaussian = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    return structural_similarity(truth, prediction, data_range=1.0, full=True, **gaussian)[1]


def _inner(values: NDArray[np.float32]) -> NDArray[np.float32]:
    if values.size == 1:
        return values
    return values[RADIUS_VOX:-RADIUS_VOX, RADIUS_VOX:-RADIUS_VOX, RADIUS_VOX:-RADIUS_VOX]


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
