"""Seconds of one whole head, file to file: `volumetric` against plain MONAI with the same weights, pair by pair.

    python benchmarks/inference.py [--scan t1w.nii.gz --model runs/mine] [--runs 5]

Without a scan and a model, a simulated head at 1 mm and untrained weights: time does not depend on what was learnt.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from plain_monai import synthesise

from volumetric.cohort.phantom import phantom
from volumetric.config.resolve import resolve
from volumetric.imaging.nifti import write_image
from volumetric.learning.train import train
from volumetric.model.folder import load_model
from volumetric.model.predict import Model


def main() -> None:
    """Print the medians and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scan", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scan, model = (options.scan, load_model(options.model)) if options.scan else _simulated(Path(folder))

        def ours() -> None:
            write_image(Path(folder) / "ours.nii.gz", model.predict(scan).image)

        def plain() -> None:
            synthesise(model, scan, Path(folder) / "plain.nii.gz")

        pairs = [(_seconds(ours), _seconds(plain)) for _ in range(options.runs + 1)][1:]
    ours_s, plain_s = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(theirs / our for our, theirs in pairs)
    print(f"{torch.get_num_threads()} threads, {model.device}, medians of {options.runs} runs, imports excluded")
    print(f"volumetric   {ours_s:7.2f} s")
    print(f"plain MONAI  {plain_s:7.2f} s")
    print(f"ratio        {ratio:7.2f}")


def _simulated(folder: Path) -> tuple[Path, Model]:
    phantom(folder / "data", subjects=1, spacing_mm=1.0)
    overrides = ["optim.num_steps=1", "patch.size=[96,96,96]", "num_workers=0"]
    config = resolve(Path(__file__).parents[1] / "configs" / "t1w_to_t2w_cpu.yaml", overrides)
    train([folder / "data" / "manifest.csv"], config, folder / "run")
    return folder / "data" / "sim000" / "t1w.nii.gz", load_model(folder / "run")


def _seconds(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
