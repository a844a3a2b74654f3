"""What each metric sees: known distortions of real T2w scans, scored against the scans themselves.

    python benchmarks/distortions.py MANIFEST SUBJECT [--region brain]

Prints a Markdown table, one row a distortion and one column a metric; reference units, the manifest's training range.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from scipy.ndimage import binary_dilation, gaussian_filter, shift

from volumetric.evaluation.alignment import shift_mm
from volumetric.evaluation.baselines import pool_training
from volumetric.evaluation.regions import regions
from volumetric.evaluation.subject import read_normalized
from volumetric.imaging.geometry import spacing_mm
from volumetric.imaging.resample import resample
from volumetric.manifest import read_manifest
from volumetric.metrics.table import score

SHOWN = ("psnr_db", "ssim", "ms_ssim", "mae", "bias", "relative_mse", "pearson", "nmi", "hfen", "gradient_mae",
         "power_ratio_db", "seam_index")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("manifest", type=Path)
    parser.add_argument("subject")
    parser.add_argument("--region", default="brain")
    parser.add_argument("--other", help="the subject to swap with; default the first other")
    args = parser.parse_args()
    manifest = read_manifest(args.manifest)
    rows = {row.subject_id: row for row in manifest.rows}
    row = rows.pop(args.subject)
    other = read_normalized(rows[args.other] if args.other else next(iter(rows.values())), "t1w", "t2w")
    subject = read_normalized(row, "t1w", "t2w")
    data_range = pool_training(manifest.split("train"), "t1w", "t2w").target.data_range()
    masks, _ = regions(subject, data_range=data_range, automatic=False)
    t, mask = subject.truth, subject.mask
    rng = np.random.default_rng(0)
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, n) for n in t.shape], indexing="ij")
    borders = (np.arange(t.shape[0]) // 32 % 2 == 1)[:, None, None] & np.ones(t.shape, bool)
    seams = borders ^ np.roll(borders, 1, 0) | borders ^ np.roll(borders, -1, 0)
    made = {
        "none": t,
        "shift by 0.5 voxel": shift(t, (0.5, 0, 0), order=3),
        "shift by 1 voxel": np.roll(t, 1, 0),
        "blur, sigma 1 voxel": gaussian_filter(t, 1),
        "noise, SD 0.1": np.hypot(t + rng.normal(0, 0.1, t.shape), rng.normal(0, 0.1, t.shape)),
        "gamma 1.2": np.clip(t, 0, None) ** 1.2,
        "scale 1.1": 1.1 * t,
        "shading of 10 %": t * (1 + 0.1 * x - 0.1 * y * z),
        "seams of 0.1 every 32 voxels": t + 0.1 * seams,
        "another subject": resample(other.truth, other.space, subject.space),
    }
    if "lesions" in masks:
        near = binary_dilation(masks["lesions"], iterations=3) & ~masks["lesions"] & mask
        made["lesions filled"] = np.where(masks["lesions"], np.median(t[near]), t)
    print(
        f"{args.subject}, {args.region}, {int(masks[args.region].sum())} voxels, data range {data_range:.3f}, seed 0\n"
    )
    print("| distortion |", " | ".join(f"`{name}`" for name in SHOWN), "| `shift_mm` |")
    print("|---|" + "---|" * (len(SHOWN) + 1))
    for name, image in made.items():
        prediction = np.where(mask, image, 0).astype(np.float32)
        region = masks[args.region]
        found = score(t, prediction, {"r": region}, data_range=data_range, borders=seams)["r"]
        apart = shift_mm(t, prediction, mask, spacing_mm(subject.space.affine))
        print(f"| {name} |", " | ".join(f"{found[column]:.3g}" for column in SHOWN), f"| {apart:.2f} |", flush=True)


if __name__ == "__main__":
    main()
