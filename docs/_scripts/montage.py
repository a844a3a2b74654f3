"""Draws the figures of the documentation: source, truth, prediction and signed error of one subject.

python docs/montage.py --source t1w.nii.gz --truth t2w.nii.gz --prediction sub-x_desc-synth_T2w.nii.gz --out x.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from volumetric.figures.montage import montage
from volumetric.imaging.geometry import bounding_box, flips_to_ras
from volumetric.imaging.intensity import INTENSITY_SCALE, in_reference_units, reference_scale
from volumetric.imaging.mask import brain_mask
from volumetric.imaging.nifti import read_image, read_labels


def draw(source: Path, truth: Path, prediction: Path, out: Path, *, mask: Path | None, title: str) -> None:
    """The three images in reference units: source and truth by their in-mask medians, the prediction by 1000."""
    scans = [read_image(path) for path in (source, truth, prediction)]
    brain = brain_mask(scans[0], read_labels(mask) if mask else None).array
    units = [in_reference_units(s.array, brain, reference_scale(s.array, brain)) for s in scans[:2]]
    units.append(in_reference_units(scans[2].array, brain, INTENSITY_SCALE))
    flips = flips_to_ras(scans[0].affine)
    box = bounding_box(flips.apply(brain))
    t1w, t2w, synthetic = (np.asarray(flips.apply(volume))[box] for volume in units)
    spacing = flips.apply_to_space(scans[0].space).spacing_mm
    montage({"source": t1w}, t2w, synthetic, spacing_mm=spacing, title=title, out=out)


def main() -> None:
    """Draw what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("source", "truth", "prediction", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--mask", type=Path)
    parser.add_argument("--title", default="")
    options = parser.parse_args()
    draw(options.source, options.truth, options.prediction, options.out, mask=options.mask, title=options.title)


if __name__ == "__main__":
    main()
