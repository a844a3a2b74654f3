"""Figure of a prediction beside its sources, a PNG file next to the volume."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from volumetric.errors import InputError
from volumetric.figures.montage import montage
from volumetric.imaging.geometry import bounding_box, flips_to_ras, same_space
from volumetric.imaging.intensity import INTENSITY_SCALE, in_reference_units, reference_scale
from volumetric.imaging.nifti import read_image


def figure_path(prediction: Path) -> Path:
    """Path of the figure of a prediction."""
    return prediction.with_name(prediction.name.removesuffix(".nii.gz") + ".png")


def draw_prediction(sources: Mapping[str, Path], prediction: Path, *, title: str) -> None:
    """Write three planes of the sources, where the prediction is not 0, and of the prediction, in reference units.

    Args:
        sources: scans by contrast; one on another grid is left out.
        prediction: file that `infer` wrote, on the grid of the first source.
        title: above the figure.

    Raises:
        InputError: the prediction is 0 everywhere.
    """
    synthetic = read_image(prediction)
    region = synthetic.array > 0
    if not region.any():
        raise InputError(f"{prediction}: 0 everywhere, so there is nothing to draw; synthesize it again with --fresh")
    flips = flips_to_ras(synthetic.affine)
    box = bounding_box(flips.apply(region))
    volumes = {}
    for contrast, path in sources.items():
        scan = read_image(path)
        if same_space(scan.space, synthetic.space):
            units = in_reference_units(scan.array, region, reference_scale(scan.array, region))
            volumes[contrast] = np.asarray(flips.apply(units))[box]
    units = in_reference_units(synthetic.array, region, INTENSITY_SCALE)
    montage(
        volumes,
        None,
        np.asarray(flips.apply(units))[box],
        spacing_mm=flips.apply_to_space(synthetic.space).spacing_mm,
        title=title,
        out=figure_path(prediction),
    )
