"""One choice at a time on real scans at 2 mm: norm, source normalization, loss, augmentation.

python benchmarks/ablation.py --out runs/ablation --steps 400 mni.csv brats.csv

Each fit trains on the rows of split `train` with the same steps and seed, and is scored in model space on every other
row, in the brain. `window difference` is what the norm does to the prediction: root mean square difference between
overlapping windows and one pass over the whole volume, in percent of the truth's SD. Finished fits are not repeated.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from volumetric.config.inference import InferenceOptions
from volumetric.config.resolve import resolve
from volumetric.config.run import RunConfig
from volumetric.learning.pairs import TrainingPair
from volumetric.learning.reading import read_pairs
from volumetric.learning.train import train
from volumetric.manifest import read_manifest
from volumetric.metrics.error import psnr_db
from volumetric.metrics.ssim import ssim
from volumetric.model.folder import load_model
from volumetric.model.forward import synthesize
from volumetric.model.predict import Model
from volumetric.model.windows import plan_windows
from volumetric.outputs import write_csv, write_json

BASE = [
    "space.spacing_mm=[2,2,2]",
    "network.channels=[16,32,64]",
    "network.num_blocks=1",
    "network.norm=none",
    "patch.size=[64,64,64]",
    "patch.batch_size=1",
    "patch.num_per_volume=1",
    "optim.lr=1e-3",
    "loss.ssim=0",
    "device=cpu",
]
APPEARANCE = [f"augmentation.{name}_probability=0.3" for name in ("bias", "gamma", "noise", "blur", "low_resolution")]
FITS: dict[str, list[str]] = {
    "base: no norm, z-score, L1, flips": [],
    "instance norm": ["network.norm=instance"],
    "batch norm": ["network.norm=batch"],
    "group norm, fixed statistics": ["network.norm=fixed_group"],
    "sources pooled": ["intensity.source_normalization=pooled"],
    "instance norm, sources pooled": ["network.norm=instance", "intensity.source_normalization=pooled"],
    "L1 + SSIM": ["loss.ssim=1"],
    "L2": ["loss.l1=0", "loss.l2=1"],
    "affine": ["augmentation.affine_probability=0.5"],
    "appearance": APPEARANCE,
    "no EMA": ["optim.ema_decay=0"],
}


def fit(name: str, changes: list[str], manifests: list[Path], steps: int, out: Path) -> list[dict[str, object]]:
    """Train one, and score it on subjects that it has not seen."""
    run = out / name.replace(" ", "_").replace(":", "").replace(",", "").replace("+", "and")
    done = run / "scores.json"
    if done.is_file():
        return list(json.loads(done.read_text())["rows"])
    config = resolve(None, [*BASE, *changes, f"optim.num_steps={steps}", f"validation.every_steps={steps}"])
    config = config.model_copy(update={"cache": str(out / "cache")})
    train(manifests, config, run)
    model = load_model(run, options=InferenceOptions(device="cpu"))
    rows = [row for row in read_manifest(*manifests).rows if row.split != "train"]
    scores = [
        {"fit": name, **score(model, pair, config)} for pair in read_pairs(rows, config, out / "cache", title="test")
    ]
    write_json(done, {"rows": scores})
    return scores


def score(model: Model, pair: TrainingPair, config: RunConfig) -> dict[str, object]:
    """PSNR, SSIM and the window difference of one subject."""
    mask = pair.mask[0]
    stride = config.network.stride
    whole = tuple(-(-side // stride) * stride for side in mask.shape)
    windows, one_pass = (
        synthesize(
            model.network, model.spec, pair.sources, mask, plan_windows(mask, size, 0.5), model.device
        ).units.clip(min=0)
        for size in (config.patch.size, whole)
    )
    truth = pair.target[0]
    inside = torch.from_numpy(mask)
    numbers = {
        f"{metric.__name__}{suffix}": metric(
            torch.from_numpy(truth), torch.from_numpy(volume), mask=inside, data_range=model.spec.data_range
        )
        for suffix, volume in (("", windows), ("_one_pass", one_pass))
        for metric in (psnr_db, ssim)
    }
    apart = float(np.sqrt(np.mean((windows - one_pass)[mask] ** 2)) / truth[mask].std())
    return {"subject": pair.name, **numbers, "window_difference_percent": 100 * apart}


def main() -> None:
    """Run the fits that the command line asks for, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifests", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--only", help="fits whose name contains this")
    options = parser.parse_args()
    chosen = {name: changes for name, changes in FITS.items() if (options.only or "") in name}
    rows = [
        row
        for name, changes in chosen.items()
        for row in fit(name, changes, options.manifests, options.steps, options.out)
    ]
    write_csv(options.out / "ablation.csv", rows)
    for row in rows:
        print("  ".join(f"{value:.3f}" if isinstance(value, float) else f"{value:<36}" for value in row.values()))


if __name__ == "__main__":
    main()
