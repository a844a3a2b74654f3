"""Draws the pictures of the documentation: source, truth, prediction and signed error of one subject.

python docs/montage.py --source t1w.nii.gz --truth t2w.nii.gz --prediction sub-x_desc-synth_T2w.nii.gz --out x.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np

from volumetric.imaging.geometry import bounding_box, flips_to_ras
from volumetric.imaging.intensity import INTENSITY_SCALE, in_reference_units, reference_scale
from volumetric.imaging.mask import brain_mask
from volumetric.imaging.nifti import read_image, read_labels

mpl.use("Agg")


def montage(source: Path, truth: Path, prediction: Path, out: Path, *, mask: Path | None, title: str) -> None:
    """Three planes of the four images, through the middle of the brain, all in reference units.

    Source and truth are divided by their in-mask medians, the prediction by 1000. Grey goes from 0 to 2.5 (source: 1.8)
    and the error (prediction - truth) from -1 to 1. Left is the patient's left.
    """
    scans = [read_image(path) for path in (source, truth, prediction)]
    brain = brain_mask(scans[0], read_labels(mask) if mask else None).array
    units = [in_reference_units(s.array, brain, reference_scale(s.array, brain)) for s in scans[:2]]
    units.append(in_reference_units(scans[2].array, brain, INTENSITY_SCALE))
    flips = flips_to_ras(scans[0].affine)
    box = bounding_box(flips.apply(brain))
    volumes = [np.asarray(flips.apply(volume))[box] for volume in (*units, units[2] - units[1])]
    aspect = flips.apply_to_space(scans[0].space).spacing_mm
    i, j, k = (n // 2 for n in volumes[0].shape)
    _, depth, height = np.array(volumes[0].shape) * aspect
    heights = [depth, height, height]
    names = ("source", "truth", "prediction", "prediction - truth")
    figure, axes = plt.subplots(
        3, 4, figsize=(11, 9), facecolor="black", layout="constrained", gridspec_kw={"height_ratios": heights}
    )
    for column, (name, volume) in enumerate(zip(names, volumes, strict=True)):
        error = column == 3
        look = (
            {"cmap": "RdBu_r", "vmin": -1, "vmax": 1}
            if error
            else {"cmap": "gray", "vmin": 0, "vmax": 2.5 if column else 1.8}
        )
        planes = ((volume[:, :, k + 4], 1, 0), (volume[:, j, :], 2, 0), (volume[i + 8], 2, 1))
        for row, (plane, up, along) in enumerate(planes):
            if error:
                plane = np.ma.masked_where(plane == 0, plane)
            ratio = aspect[up] / aspect[along]
            shown = axes[row, column].imshow(plane.T, origin="lower", aspect=ratio, interpolation="nearest", **look)
            axes[row, column].set_facecolor("black")
            axes[row, column].set(xticks=[], yticks=[])
        axes[0, column].set_title(name, color="white")
    bar = figure.colorbar(shown, ax=axes[:, 3], shrink=0.5)
    bar.ax.tick_params(colors="white")
    figure.suptitle(title, color="white")
    figure.savefig(out, dpi=80)


def main() -> None:
    """Draw what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("source", "truth", "prediction", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--mask", type=Path)
    parser.add_argument("--title", default="")
    options = parser.parse_args()
    montage(options.source, options.truth, options.prediction, options.out, mask=options.mask, title=options.title)


if __name__ == "__main__":
    main()
