"""What windows cost: the prediction against one pass by how much they share, and the memory of a very large scan.

    python benchmarks/windows.py --model runs/mine --scan t1w.nii.gz --truth t2w.nii.gz

Two windows cut the brain's box across its second axis. A seam index is the mean error in the two voxels about a border
over that elsewhere; one pass has the same there, and no border. The large scan is the same one resampled onto
512 x 512 x 400 voxels, at the model's spacing and, with a copy of the model that works at the scan's own, at full size.
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from processes import measure

from volumetric.config.inference import InferenceOptions
from volumetric.imaging.geometry import Shape
from volumetric.imaging.nifti import Image, read_image, write_image
from volumetric.metrics.error import psnr_db
from volumetric.metrics.texture import seam_index
from volumetric.model.folder import load_model
from volumetric.model.forward import run_windows
from volumetric.model.shipped import find_model
from volumetric.model.windows import WindowPlan, plan_windows

LARGE = (512, 512, 400)


def main() -> None:
    """Print two Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a shipped model by its name, or a run folder")
    for name, what in (("scan", "a brain-extracted T1w"), ("truth", "its T2w")):
        parser.add_argument(f"--{name}", type=Path, required=True, help=what)
    options = parser.parse_args()
    logging.getLogger("volumetric").setLevel(logging.ERROR)
    _shared(options.model, options.scan, options.truth)
    print()
    _large(options.model, options.scan)


def _shared(run: str, scan: Path, truth: Path) -> None:
    model = load_model(run, options=InferenceOptions(whole_volume=True))
    seen = model.preprocess(scan)
    mask, stride = seen.space.mask, model.spec.network.stride
    target = seen.space.to_model_space(read_image(truth))[0]
    one = model.forward(seen)
    print("| windows | PSNR dB | seam index | of one pass there | RMS difference to one pass, % of its SD |")
    print("|---|---|---|---|---|")
    print(f"| one pass | {_psnr(model.spec.data_range, target, one, mask):.3f} | | | |")
    plans = {f"2, sharing {shared} voxels": _halves(seen.plan.size, mask.shape[1], stride, shared) for shared in
             (0, stride // 4, stride // 2, stride, 3 * stride // 2, 2 * stride, 5 * stride // 2)}  # fmt: skip
    for overlap in (0.25, 0.5):
        plan = plan_windows(mask, model.spec.patch_size, overlap)
        plans[f"{len(plan.starts)} of the patch's size, sharing {overlap} of it"] = plan
    for name, plan in plans.items():
        units = run_windows(model.engine, model.spec, seen.volume, mask, plan, model.device).units
        borders = _borders(plan, mask.shape)
        seams = [_seam(target, array, borders, mask) for array in (units, one)]
        off = 100 * np.sqrt(np.mean((units - one)[mask] ** 2)) / one[mask].std()
        psnr = _psnr(model.spec.data_range, target, units, mask)
        print(f"| {name} | {psnr:.3f} | {seams[0]:.3f} | {seams[1]:.3f} | {off:.1f} |")


def _halves(whole: Shape, length: int, stride: int, shared: int) -> WindowPlan:
    i, _, k = whole
    side = -(-(length + 5 * stride // 2) // (2 * stride)) * stride
    second = side - shared
    return WindowPlan((i, side, k), (i, second + side, k), ((0, 0, 0), (0, second, 0)))


def _borders(plan: WindowPlan, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """The two voxels about every plane, inside of a volume, where a window begins or ends."""
    borders = np.zeros(shape, bool)
    for window in plan.windows():
        for axis, side in enumerate(window):
            for plane in (side.start, side.stop):
                if 0 < plane < shape[axis]:
                    np.moveaxis(borders, axis, 0)[plane - 1 : plane + 1] = True
    return borders


def _psnr(data_range: float, truth: NDArray[np.float32], units: NDArray[np.float32], mask: NDArray[np.bool_]) -> float:
    volumes = torch.from_numpy(truth), torch.from_numpy(units.clip(min=0))
    return psnr_db(*volumes, mask=torch.from_numpy(mask), data_range=data_range)


def _seam(
    truth: NDArray[np.float32], units: NDArray[np.float32], borders: NDArray[np.bool_], mask: NDArray[np.bool_]
) -> float:
    volumes = [torch.from_numpy(array) for array in (truth, units.clip(min=0), borders)]
    return seam_index(volumes[0], volumes[1], volumes[2], mask=torch.from_numpy(mask))


def _large(run: str, scan: Path) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        image = read_image(scan)
        places = [np.arange(n) * side // n for n, side in zip(LARGE, image.array.shape, strict=True)]
        affine = image.affine.copy()
        affine[:3, :3] *= np.array(image.array.shape) / LARGE
        write_image(folder / "t1w.nii.gz", Image(image.array[np.ix_(*places)], affine))
        model = find_model(run)
        shutil.copytree(model, folder / "own", ignore=shutil.ignore_patterns("engines"))
        spec = yaml.safe_load((folder / "own" / "model.yaml").read_text())
        (folder / "own" / "model.yaml").write_text(yaml.safe_dump(spec | {"spacing_mm": None}))
        volume_gb = np.prod(LARGE) * 4 / 1e9
        imports_gb = measure([sys.executable, "-c", "import openvino, volumetric.synthesis.infer"]).peak_gb
        print(f"A float32 volume of {LARGE} voxels has {volume_gb:.2f} GB, the imports {imports_gb:.2f} GB.\n")
        print("| model space | windows | peak memory | above imports, in volumes |\n|---|---|---|---|")
        for number, path in enumerate((run, folder / "own")):
            out = folder / f"out{number}"
            command = [sys.executable, "-m", "volumetric", "infer", str(folder / "t1w.nii.gz"), "--whole-volume"]
            peak_gb = measure([*command, "--model", str(path), "--out", str(out)]).peak_gb
            (sidecar,) = out.rglob("sub-*.json")
            windows = json.loads(sidecar.read_text())["windows"]
            space, size = (" x ".join(map(str, windows[key])) for key in ("grid_shape", "size"))
            above = (peak_gb - imports_gb) / volume_gb
            print(f"| {space} | {windows['number']} of {size} | {peak_gb:.2f} GB | {above:.1f} |")


if __name__ == "__main__":
    main()
