"""One volume and many, file to file: `volumetric` against plain MONAI with the same weights, and against the floor.

    python benchmarks/inference.py [--model runs/mine --scan t1w.nii.gz --truth t2w.nii.gz] [--whole-volume] [--runs 5]

Without a scan, a simulated head at 1 mm; without a model, untrained weights: time does not depend on what was learned.
The floor of the network is one dense pass over the head's box at the rate of a large matrix product.
"""

from __future__ import annotations

import argparse
import copy
import logging
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from plain_monai import OVERLAP, synthesize
from processes import measure
from torch.utils.flop_counter import FlopCounterMode

from volumetric.cohort.phantom import phantom
from volumetric.config.inference import InferenceOptions
from volumetric.config.resolve import resolve
from volumetric.evaluation.subject import read_normalized, read_prediction
from volumetric.imaging.nifti import write_image
from volumetric.learning.train import train
from volumetric.manifest import ManifestRow
from volumetric.metrics.error import psnr_db
from volumetric.model.folder import load_model
from volumetric.model.predict import Model, ModelInput
from volumetric.model.windows import plan_whole
from volumetric.synthesis.infer import infer

CONFIG = "t1w_to_t2w_cpu"
GEMM_SIDE = 3072


def main() -> None:
    """Print a Markdown table."""
    options = _options()
    logging.getLogger("volumetric").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scan, truth, run = _inputs(options, folder)
        model = load_model(run, options=_inference_options(options))
        seen = model.preprocess(scan)
        model.forward(seen)
        windows = f"{len(seen.plan.starts)} windows of {'x'.join(map(str, seen.plan.size))}"
        engine = f"{model.device}, {model.engine.name}, {model.settings.precision}"
        print(f"{torch.get_num_threads()} threads, {engine}, {windows},")
        print(f"medians of {options.runs} runs, imports excluded unless said\n")
        print("| what | measured | against |\n|---|---|---|")
        _one_head(model, scan, truth, folder, options.runs)
        _floor(model, seen, options.runs)
        _many(run, scan, folder, options)
        _cold(run, scan, folder, options)


def _inference_options(options: argparse.Namespace) -> InferenceOptions:
    return InferenceOptions(whole_volume=options.whole_volume, overlap=options.overlap, precision=options.precision)


def _one_head(model: Model, scan: Path, truth: Path | None, folder: Path, runs: int) -> None:
    """File to file, pair by pair, and the quality of the predictions where there is a truth."""
    outputs = {name: folder / f"{name}.nii.gz" for name in ("ours", "plain")}

    def ours() -> None:
        write_image(outputs["ours"], model.predict(scan).image)

    pairs = [(_seconds(ours), _seconds(lambda: synthesize(model, scan, outputs["plain"]))) for _ in range(runs + 1)][1:]
    ours_s, plain_s = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(theirs / our for our, theirs in pairs)
    print(f"| one head, plain MONAI, windows that share {OVERLAP} | {plain_s:.2f} s | |")
    print(f"| one head, volumetric | {ours_s:.2f} s | {ratio:.1f} times faster |")
    if truth is None:
        return
    subject = read_normalized(ManifestRow("volume", split="test", paths={"t1w": scan, "t2w": truth}), "t1w", "t2w")
    for name, path in outputs.items():
        array = read_prediction(path, subject, "reference").array
        decibels = psnr_db(subject.truth, array, mask=subject.mask, data_range=model.spec.data_range)
        print(f"| PSNR in the brain, {name} | {decibels:.3f} dB | |")


def _floor(model: Model, seen: ModelInput, runs: int) -> None:
    shape = plan_whole(seen.space.grid.shape, model.spec.network.stride).size
    network = copy.deepcopy(model.network).to("meta")
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network(torch.zeros(1, len(model.spec.sources), *shape, device="meta"))
    flops = counter.get_total_flops()
    matrix = torch.rand(GEMM_SIDE, GEMM_SIDE)
    rate = 2 * GEMM_SIDE**3 / min(_seconds(lambda: matrix @ matrix) for _ in range(runs + 1))
    network_s = statistics.median(_seconds(lambda: model.forward(seen)) for _ in range(runs))
    print(f"| largest rate of a matrix product | {rate / 1e9:.0f} GFLOP/s | |")
    print(f"| floor: {flops / 1e9:.0f} GFLOP of one pass over {'x'.join(map(str, shape))} | {flops / rate:.2f} s | |")
    print(f"| network part of one head | {network_s:.2f} s | {network_s * rate / flops:.2f} times the floor |")


def _many(run: Path | str, scan: Path, folder: Path, options: argparse.Namespace) -> None:
    """Many heads in one call, and the share of it that the network takes."""
    scans = [folder / "many" / f"head{number:02d}.nii.gz" for number in range(options.heads)]
    scans[0].parent.mkdir()
    for path in scans:
        shutil.copy(scan, path)
    inside = 0.0
    original = Model.forward

    def timed(self: Model, seen: ModelInput) -> object:
        nonlocal inside
        start = time.perf_counter()
        units = original(self, seen)
        inside += time.perf_counter() - start
        return units

    Model.forward = timed
    total = _seconds(lambda: infer(scans, model=run, out=folder / "out", options=_inference_options(options)))
    Model.forward = original
    print(f"| {options.heads} heads in one call | {total:.1f} s | {inside / total:.0%} of it in the network |")


def _cold(run: Path | str, scan: Path, folder: Path, options: argparse.Namespace) -> None:
    """The command in a fresh process, imports included, and what memory it takes."""
    command = [sys.executable, "-m", "volumetric", "infer", str(scan), "--model", str(run), "--out"]
    flags = ["--whole-volume" if options.whole_volume else "--windows"]
    flags += ["--precision", options.precision]
    flags += ["--overlap", str(options.overlap)] if options.overlap is not None else []
    seconds, peaks = [], []
    for number in range(options.runs):
        process = measure([*command, str(folder / f"cold{number}"), *flags])
        seconds.append(process.seconds)
        peaks.append(process.peak_gb)
    imports_gb = measure([sys.executable, "-c", "import openvino, volumetric.synthesis.infer"]).peak_gb
    volume_gb = np.prod(nib.load(scan).shape) * 4 / 1e9
    print(f"| the command in a fresh process, imports included | {statistics.median(seconds):.2f} s | |")
    print(
        f"| its peak memory | {statistics.median(peaks):.2f} GB | {imports_gb:.2f} GB of it imports; "
        f"the float32 volume has {volume_gb:.3f} GB |"
    )


def _inputs(options: argparse.Namespace, folder: Path) -> tuple[Path, Path | None, Path | str]:
    if options.scan and options.model:
        return options.scan, options.truth, options.model
    phantom(folder / "data", subjects=1, spacing_mm=1.0)
    scan, truth = options.scan or folder / "data" / "sim000" / "t1w.nii.gz", options.truth
    if options.model:
        return scan, truth, options.model
    overrides = ["optim.num_steps=1", "patch.size=[96,96,96]", "num_workers=0"]
    train([folder / "data" / "manifest.csv"], resolve(options.config, overrides), folder / "run")
    return scan, truth, folder / "run"


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scan", type=Path, help="a brain-extracted T1w at the model's spacing")
    parser.add_argument("--truth", type=Path, help="its T2w, to score the predictions")
    parser.add_argument("--model", help="a shipped model by its name, or a run folder")
    parser.add_argument("--config", type=Path, default=CONFIG, help="of the untrained weights")
    parser.add_argument("--whole-volume", action="store_true")
    parser.add_argument("--overlap", type=float)
    parser.add_argument("--precision", default="auto", help="of volumetric; plain MONAI is float32")
    parser.add_argument("--heads", type=int, default=30)
    parser.add_argument("--runs", type=int, default=5)
    return parser.parse_args()


if __name__ == "__main__":
    main()
