"""`--config auto`: a configuration from a look at the cohort and the machine, with the reason beside each choice."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from volumetric.batch.subjects import progress as progress_bar
from volumetric.config.run import RunConfig
from volumetric.errors import InputError
from volumetric.imaging.geometry import bounding_box, flips_to_ras
from volumetric.imaging.mask import brain_mask
from volumetric.imaging.nifti import read_image, read_labels
from volumetric.manifest import Manifest, ManifestRow
from volumetric.model.networks import build_network, channels_last
from volumetric.outputs import write_text

log = logging.getLogger(__name__)

SUBJECTS_LOOKED_AT = 12
"""Of larger cohorts so many, evenly spread over the manifest, are looked at."""

CPU_MINUTES = 30
MAX_PATCH_VOX = {"cpu": 96, "cuda": 128}
MIN_COARSEST_VOX = 6
EPOCHS = 500
"""How often each training person comes up at most; small cohorts stop improving before."""

_BYTES_PER_VOXEL = 1600  # of activations, 32 channels in bf16 with two blocks a level: an estimate, nothing measured


@dataclass(frozen=True)
class Look:
    """What was seen of a cohort.

    Attributes:
        num_subjects: training people.
        spacing_mm: median along RAS axes, `(3,)`.
        spacing_differs: whether any scan's differs from the median by more than 1 %.
        extent_mm: median size of the brain's bounding box along RAS axes, `(3,)`.
    """

    num_subjects: int
    spacing_mm: tuple[float, ...]
    spacing_differs: bool
    extent_mm: tuple[float, ...]


Choices = Mapping[str, tuple[Any, str]]
"""`section.key` -> value and reason."""


def auto_config(manifest: Manifest, source: str, device: torch.device, out: Path) -> Path:
    """Write `out/auto.yaml`, or leave the one that is there: it may have been edited.

    Args:
        manifest: its training rows are looked at.
        source: the contrast whose grid and brain decide.
        device: where training will run.
        out: run folder.

    Returns:
        The file, which `volumetric train --config` takes like any other.
    """
    path = out / "auto.yaml"
    if path.is_file():
        log.info("taking %s as it is; --fresh plans anew", path)
        return path
    found = look(manifest.split("train"), source)
    choices = choose(found, device)
    choices = {**choices, **choose_steps(found, choices, device)}
    text = as_commented_yaml(choices)
    write_text(path, text)
    log.info("planned %s:\n%s", path, text.rstrip())
    return path


def look(rows: Sequence[ManifestRow], source: str) -> Look:
    """Read the source scans of some training people.

    Raises:
        InputError: a scan that cannot be used, by name.
    """
    some = [rows[n] for n in np.linspace(0, len(rows) - 1, min(len(rows), SUBJECTS_LOOKED_AT)).round().astype(int)]
    spacings, extents = [], []
    with progress_bar("looking at the cohort", len(some), "subjects") as advance:
        for row in some:
            try:
                scan = read_image(row.path(source))
                given = read_labels(row.path("mask")) if "mask" in row.paths else None
                brain = brain_mask(scan, given, name=str(row.path(source))).array
            except InputError as error:
                raise InputError(f"subject {row.name}: {error}") from error
            flips = flips_to_ras(scan.affine)
            spacings.append(flips.apply_to_space(scan.space).spacing_mm)
            box = bounding_box(np.asarray(flips.apply(brain)))
            extents.append([s.stop - s.start for s in box] * spacings[-1])
            advance(row.name)
    median = np.median(spacings, axis=0)
    return Look(
        num_subjects=len(rows),
        spacing_mm=tuple(median.round(3).tolist()),
        spacing_differs=bool((np.abs(np.array(spacings) / median - 1) > 0.01).any()),
        extent_mm=tuple(np.median(extents, axis=0).round(1).tolist()),
    )


def choose(found: Look, device: torch.device) -> Choices:
    """Everything but the number of steps."""
    on_cpu = device.type == "cpu"
    extent = [round(e / s) for e, s in zip(found.extent_mm, found.spacing_mm, strict=True)]
    limit = MAX_PATCH_VOX[device.type]
    fine = min(extent) >= 96
    stem = 2 if on_cpu and fine else 1
    sides = [min(limit, side) for side in extent]
    levels = 4
    while levels > 2 and min(sides) / (stem * 2 ** (levels - 1)) < MIN_COARSEST_VOX:
        levels -= 1
    stride = stem * 2 ** (levels - 1)
    patch = [max(stride, min(limit, -(-side // stride) * stride) // stride * stride) for side in sides]
    width = 32 if not on_cpu else 24 if stem == 2 else 16
    channels = [width * 2**level for level in range(levels)]
    coarsest = " x ".join(f"{side // stride}" for side in patch)
    choices: dict[str, tuple[Any, str]] = {
        "space.spacing_mm": (
            list(found.spacing_mm),
            "median of the scans; the others are resampled" if found.spacing_differs else "that of all scans looked at",
        ),
        "network.channels": (channels, f"{levels} levels leave {coarsest} voxels of a patch on the coarsest"),
        "network.num_blocks": (1 if on_cpu else 2, f"for a {device.type.upper()}"),
        "network.stem_stride": (
            stem,
            "brains are large in voxels and a CPU is slow" if stem == 2 else "full resolution",
        ),
        "patch.size": (patch, f"of a brain of {' x '.join(map(str, extent))} voxels, at most {limit} a side"),
    }
    batch, why = 1 if fine else 2, "for a CPU"
    if not on_cpu:  # CUDA only
        memory = torch.cuda.get_device_properties(device).total_memory
        fitting = int(0.6 * memory / (_BYTES_PER_VOXEL * np.prod(patch)))
        batch = max(1, min(8, 1 << max(0, fitting.bit_length() - 1)))
        why = f"estimated for {memory / 1e9:.0f} GB of memory"
    each = 1 if found.num_subjects >= batch else 2 if batch % 2 == 0 else 1
    choices["patch.batch_size"] = (batch, why)
    choices["patch.num_per_volume"] = (each, f"{found.num_subjects} training people")
    choices["num_workers"] = (0 if on_cpu else 4, f"for a {device.type.upper()}")
    return choices


def choose_steps(found: Look, choices: Choices, device: torch.device) -> Choices:
    """The number of steps, after timing one on this machine."""
    config = RunConfig.model_validate(_tree({key: value for key, (value, _) in choices.items()}))
    enough = max(500, EPOCHS * found.num_subjects // (config.patch.batch_size // config.patch.num_per_volume))
    if device.type == "cpu":
        seconds = seconds_per_step(config)
        steps = min(enough, round(60 * CPU_MINUTES / seconds))
        why = f"{seconds:.1f} s a step measured here; at most {CPU_MINUTES} minutes, or each person {EPOCHS} times"
    else:  # CUDA only
        steps, why = max(5000, min(100_000, enough)), f"each person about {EPOCHS} times, 5,000 at least"
    steps = max(100, steps // 100 * 100)
    every = max(50, steps // 4 if device.type == "cpu" else 1000)
    return {
        "optim.num_steps": (steps, why),
        "validation.every_steps": (every, "a look, and a checkpoint, now and then"),
    }


def seconds_per_step(config: RunConfig) -> float:
    """Time of a forward and a backward pass of one batch on the CPU, the second of two."""
    network = channels_last(build_network(config.network, 1))
    batch = torch.zeros(config.patch.batch_size, 1, *config.patch.size)
    seconds = 0.0
    for _ in range(2):
        start = time.perf_counter()
        network(batch).mean().backward()
        seconds = time.perf_counter() - start
    return seconds


def as_commented_yaml(choices: Choices) -> str:
    """Nested YAML with each reason as a comment."""
    lines = ["# Written by `volumetric train --config auto`; edit it and use it like any other configuration."]
    section = ""
    for key, (value, reason) in choices.items():
        *above, last = key.split(".")
        if above and above[0] != section:
            lines.append(f"{above[0]}:")
        section = above[0] if above else ""
        lines.append(f"{'  ' * len(above)}{last}: {json.dumps(value)}  # {reason}")
    return "\n".join(lines) + "\n"


def _tree(flat: Mapping[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, value in flat.items():
        *above, last = key.split(".")
        (tree.setdefault(above[0], {}) if above else tree)[last] = value
    return tree
