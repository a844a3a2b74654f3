"""Whole-volume synthesis the plain way, as MONAI's tutorials do it: the reference that benchmarks divide by."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from monai.inferers import sliding_window_inference
from monai.transforms import Compose, EnsureChannelFirst, LoadImage, Orientation

from volumetric.model.predict import Model
from volumetric.model.units import in_network_units

OVERLAP = 0.5
"""The value of nnU-Net and of MONAI's tutorials on inference with a Gaussian importance map."""


def synthesize(model: Model, source: Path, out: Path, *, amp: bool = False) -> None:
    """Read a brain-extracted scan at the model's spacing, slide windows over all of it, save."""
    load = Compose([LoadImage(image_only=True), EnsureChannelFirst(), Orientation("RAS", labels=None)])
    scan = load(str(source))
    mask = scan != 0
    spec = model.spec
    inside = mask[0].numpy()
    units = in_network_units(spec, (scan / scan[mask].median() * mask).numpy(), inside)
    volume = torch.from_numpy(units)[None].to(model.device)
    with torch.inference_mode(), torch.autocast(model.device.type, torch.bfloat16, enabled=amp):
        out_units = (
            sliding_window_inference(volume, spec.patch_size, 1, model.network, overlap=OVERLAP, mode="gaussian")[0]
            .float()
            .cpu()
        )
    target = (out_units * spec.target_map.scale + spec.target_map.center) * mask.as_tensor() * spec.intensity_scale
    original = nib.load(source)
    back = nib.orientations.ornt_transform(nib.io_orientation(np.eye(4)), nib.io_orientation(original.affine))
    nib.save(nib.Nifti1Image(nib.apply_orientation(target[0].numpy().astype(np.float32), back), original.affine), out)
