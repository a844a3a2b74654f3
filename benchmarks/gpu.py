"""Inference, training and scoring on a GPU, against plain MONAI: seconds, ratios, memory, and the share of the peak.

    python benchmarks/gpu.py [--config t1w_to_t2w] [--runs 5]
    python benchmarks/gpu.py --device cpu --spacing 4 --set 'patch.size=[32,32,32]'     a rehearsal without a GPU

A simulated head and untrained weights: time does not depend on what was learned. The share of the peak is the network's
multiplications and additions, counted by torch, over those of the fastest bf16 convolution that this script finds.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from monai.losses import SSIMLoss
from plain_monai import synthesize
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from volumetric.cohort.phantom import phantom
from volumetric.config.inference import InferenceOptions
from volumetric.config.resolve import resolve
from volumetric.config.run import RunConfig
from volumetric.imaging.nifti import write_image
from volumetric.learning.optimization import Optimization
from volumetric.learning.train import train
from volumetric.metrics.table import score
from volumetric.model.folder import load_model
from volumetric.model.networks import build_network
from volumetric.model.predict import Model

WARM_UP = 2


def main() -> None:
    """Print a Markdown table."""
    options = _options()
    device = torch.device(options.device)
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"{torch.get_num_threads()} CPU threads"
    print(f"{name}, torch {torch.__version__}, medians of {options.runs} runs, imports and warm-up excluded\n")
    peak = _peak_flops(device, options.runs)
    print("| what | median | times ours | share of peak | peak GB |\n|---|---|---|---|---|")
    print(f"| fastest bf16 convolution | {peak / 1e12:.2f} TFLOP/s | | 100 % | |")
    with tempfile.TemporaryDirectory() as folder:
        phantom(Path(folder) / "data", subjects=1, spacing_mm=options.spacing)
        scan = Path(folder) / "data" / "sim000" / "t1w.nii.gz"
        overrides = ["optim.num_steps=1", "num_workers=0", f"device={device.type}", *options.set]
        config = resolve(options.config, overrides)
        train([Path(folder) / "data" / "manifest.csv"], config, Path(folder) / "run")
        model = load_model(Path(folder) / "run", options=InferenceOptions(device=device.type))
        _inference(model, scan, Path(folder), peak, options.runs)
    _training(model, config, peak, options.runs)
    _scoring(device, options.runs)


def _inference(model: Model, scan: Path, folder: Path, peak: float, runs: int) -> None:
    plan = model.predict(scan).plan
    patch = torch.zeros(1, len(model.spec.sources), *plan.size, device=model.device)
    flops = _flops(model.network, patch) * len(plan.starts)

    def ours() -> None:
        write_image(folder / "ours.nii.gz", model.predict(scan).image)

    def plain(amp: bool) -> Callable[[], None]:
        return lambda: synthesize(model, scan, folder / "plain.nii.gz", amp=amp)

    works = {"volumetric": ours, "plain MONAI, fp32": plain(False), "plain MONAI, AMP": plain(True)}
    for name, (seconds, times, memory_gb) in _medians(works, runs, model.device).items():
        share = f"{flops / seconds / peak:.0%}" if name == "volumetric" else ""
        print(f"| one head, file to file, {name} | {seconds:.3f} s | {times:.1f} | {share} | {memory_gb:.1f} |")


def _training(model: Model, config: RunConfig, peak: float, runs: int) -> None:
    precision = "bf16-mixed" if model.device.type == "cuda" else "32-true"
    optimization = Optimization(
        Fabric(accelerator=model.device.type, devices=1, precision=precision), config, model.spec
    )
    network = build_network(config.network, len(config.task.sources)).to(model.device)
    generator = torch.Generator().manual_seed(0)
    shape = (config.patch.batch_size, 1, *config.patch.size)
    batch = {key: torch.rand(shape, generator=generator).to(model.device) for key in ("source", "target")}
    batch["mask"] = batch["target"] > 0
    # Backward takes twice the multiplications of forward.
    flops = 3 * _flops(network, batch["source"])
    works = {
        "volumetric": lambda: optimization.step(batch, 0, 1e-4),
        "plain MONAI, fp32": _plain_step(network, batch, amp=False),
        "plain MONAI, AMP": _plain_step(network, batch, amp=True),
    }
    for name, (seconds, times, memory_gb) in _medians(works, runs, model.device).items():
        share = f"{flops / seconds / peak:.0%}"
        print(f"| one training step, {name} | {seconds:.3f} s | {times:.1f} | {share} | {memory_gb:.1f} |")


def _plain_step(network: nn.Module, batch: dict[str, Tensor], *, amp: bool) -> Callable[[], None]:
    """As a tutorial does it, on a batch that is there already: L1 and MONAI's SSIM loss in equal parts."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
    ssim = SSIMLoss(spatial_dims=3, win_size=7, kernel_type="uniform")
    device = batch["source"].device.type

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(device, torch.bfloat16, enabled=amp):
            prediction = network(batch["source"])
        loss = nn.functional.l1_loss(prediction.float(), batch["target"]) + ssim(prediction.float(), batch["target"])
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()

    return step


def _scoring(device: torch.device, runs: int) -> None:
    rng = np.random.default_rng(0)
    shape = (192, 224, 192) if device.type == "cuda" else (48, 56, 48)
    truth, noise = (torch.from_numpy(rng.random(shape, dtype=np.float32)).to(device) for _ in range(2))
    regions = {"brain": truth > 0.3, "whole": torch.ones_like(truth, dtype=torch.bool)}
    works = {"": lambda: score(truth, truth + 0.1 * noise, regions, data_range=1.0)}
    ((seconds, _, memory_gb),) = _medians(works, runs, device).values()
    print(f"| a row of metrics, {'x'.join(map(str, shape))} voxels | {seconds:.3f} s | | | {memory_gb:.1f} |")


def _medians(
    works: dict[str, Callable[[], object]], runs: int, device: torch.device
) -> dict[str, tuple[float, float, float]]:
    """Of each work the median seconds, the median ratio to the first in the same round, and the peak memory in GB."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    memory = dict.fromkeys(works, 0.0)
    for run in range(WARM_UP + runs):
        for name, work in works.items():
            with _clock(device) as read:
                work()
            took, peak_gb = read()
            if run >= WARM_UP:
                seconds[name].append(took)
                memory[name] = max(memory[name], peak_gb)
    first = next(iter(seconds.values()))
    return {
        name: (
            statistics.median(column),
            statistics.median(one / other for one, other in zip(column, first, strict=True)),
            memory[name],
        )
        for name, column in seconds.items()
    }


@contextmanager
def _clock(device: torch.device) -> Iterator[Callable[[], tuple[float, float]]]:
    """Yields a function to call afterward: seconds, and the device's peak memory in GB (0 on a CPU)."""
    cuda = device.type == "cuda"
    if cuda:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()

    def read() -> tuple[float, float]:
        if cuda:
            torch.cuda.synchronize()
        return time.perf_counter() - start, torch.cuda.max_memory_allocated() / 1e9 if cuda else 0.0

    yield read


def _flops(network: nn.Module, batch: Tensor) -> float:
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network(batch)
    return float(counter.get_total_flops())


def _peak_flops(device: torch.device, runs: int) -> float:
    """Of a 3x3x3 convolution in bf16, channels last, the best of three widths."""
    best = 0.0
    for width, side in ((64, 96), (128, 64), (256, 48)) if device.type == "cuda" else ((32, 24),):
        layer = nn.Conv3d(width, width, 3, padding=1).to(device, torch.bfloat16, memory_format=torch.channels_last_3d)
        batch = torch.rand(4, width, side, side, side, device=device, dtype=torch.bfloat16)
        batch = batch.contiguous(memory_format=torch.channels_last_3d)
        flops = 2 * batch.numel() * width * 27
        with torch.inference_mode():
            ((seconds, _, _),) = _medians({"": lambda layer=layer, batch=batch: layer(batch)}, runs, device).values()
        best = max(best, flops / seconds)
    return best


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="t1w_to_t2w")
    parser.add_argument("--set", action="append", default=[], help="section.key=value, over the configuration")
    parser.add_argument("--spacing", type=float, default=1.0, help="of the simulated head, mm")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--runs", type=int, default=5)
    return parser.parse_args()


if __name__ == "__main__":
    main()
