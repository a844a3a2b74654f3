"""`--config auto`: a configuration planned from the cohort and the machine, with the reason beside each setting."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from volumetric.batch.progress import progress as progress_bar
from volumetric.config.choices import MaskKind
from volumetric.config.run import RunConfig
from volumetric.errors import InputError
from volumetric.imaging.geometry import bounding_box, flips_to_ras
from volumetric.imaging.mask import region_mask
from volumetric.manifest import ManifestRow
from volumetric.model.networks import build_network, channels_last
from volumetric.outputs import write_text
from volumetric.subject import read_subject

log = logging.getLogger(__name__)

PLAN_FILE = "auto.yaml"
MAX_SUBJECTS_READ = 12
"""Of larger cohorts so many, evenly spread over the manifest, are read."""

CPU_MINUTES = 30
MAX_PATCH_VOX = {"cpu": 96, "cuda": 128}
MIN_COARSEST_VOX = 6
MAX_LEVELS = 4
FINE_VOX = 96
"""A brain of so many voxels along its shortest side is large for a CPU."""
EPOCHS = 500
"""Largest number of times that each training subject is drawn; small cohorts stop improving before."""

_BYTES_PER_VOXEL = 1600  # of activations, 32 channels in bf16 with two blocks a level: an estimate, nothing measured


@dataclass(frozen=True)
class CohortSummary:
    """Size and sampling of a cohort.

    Attributes:
        num_subjects: training subjects.
        spacing_mm: median along RAS axes, `(3,)`.
        spacing_differs: whether any scan's differs from the median by more than 1 %.
        extent_mm: median size of the brain's, or head's, bounding box along RAS axes, `(3,)`.
    """

    num_subjects: int
    spacing_mm: tuple[float, ...]
    spacing_differs: bool
    extent_mm: tuple[float, ...]

    @property
    def extent_vox(self) -> list[int]:
        """The same in voxels of the median spacing."""
        return [round(extent / spacing) for extent, spacing in zip(self.extent_mm, self.spacing_mm, strict=True)]

    @property
    def is_fine(self) -> bool:
        """True for a brain that is large in voxels."""
        return min(self.extent_vox) >= FINE_VOX


USUAL_BRAINS = CohortSummary(
    num_subjects=100, spacing_mm=(1.0, 1.0, 1.0), spacing_differs=False, extent_mm=(140.0, 175.0, 140.0)
)
"""Cohort that simulated pairs are planned for: adult brains at 1 mm, endless but for the time."""


class PlannedSetting(NamedTuple):
    """A value of the configuration, and the reason for it."""

    value: float | list[int] | list[float]
    reason: str


Plan = Mapping[str, PlannedSetting]
"""`section.key` -> setting, in the order of the file."""


def plan_run(
    rows: Sequence[ManifestRow],
    labeled: Sequence[ManifestRow],
    source: str,
    device: torch.device,
    kind: MaskKind = "brain",
) -> Plan:
    """Plan a training run.

    Args:
        rows: training subjects with scans; some of them are read.
        labeled: training subjects with label maps alone.
        source: the contrast whose grid and brain decide.
        device: where training will run.
        kind: of the region that the model reads and writes.

    Raises:
        InputError: a scan that cannot be used, by name.
    """
    cohort = summarize(rows, source, kind) if rows else USUAL_BRAINS
    settings = {**plan_spacing(cohort), **plan_network(cohort, device), **plan_mixture(rows, labeled)}
    settings |= plan_batch(cohort, values(settings)["patch"]["size"], device)
    return {**settings, **plan_steps(cohort, settings, device)}


def summarize(rows: Sequence[ManifestRow], source: str, kind: MaskKind = "brain") -> CohortSummary:
    """Read the source scans of some training subjects.

    Raises:
        InputError: a scan that cannot be used, by name.
    """
    places = np.linspace(0, len(rows) - 1, min(len(rows), MAX_SUBJECTS_READ)).round().astype(int)
    spacings, extents = [], []
    with progress_bar("measuring the cohort", len(places), "subjects") as advance:
        for row in (rows[place] for place in places):
            try:
                subject = read_subject(row, [source])
            except InputError as error:
                raise InputError(f"subject {row.name}: {error}") from error
            scan = subject.images[source]
            space = scan.space
            flips = flips_to_ras(space.affine)
            spacings.append(flips.apply_to_space(space).spacing_mm)
            box = bounding_box(np.asarray(flips.apply(region_mask(kind, scan, subject.mask.array))))
            extents.append([s.stop - s.start for s in box] * spacings[-1])
            advance(row.name)
    median = np.median(spacings, axis=0)
    return CohortSummary(
        num_subjects=len(rows),
        spacing_mm=tuple(median.round(3).tolist()),
        spacing_differs=bool((np.abs(np.array(spacings) / median - 1) > 0.01).any()),
        extent_mm=tuple(np.median(extents, axis=0).round(1).tolist()),
    )


def plan_spacing(cohort: CohortSummary) -> Plan:
    """The spacing of model space."""
    reason = "median of the scans; the others are resampled" if cohort.spacing_differs else "that of all scans read"
    return {"space.spacing_mm": PlannedSetting(list(cohort.spacing_mm), reason)}


def plan_mixture(rows: Sequence[ManifestRow], labeled: Sequence[ManifestRow]) -> Plan:
    """The share of simulated pairs; nothing where there are no label maps."""
    if not labeled:
        return {}
    if not rows:
        return {"mixture.simulated": PlannedSetting(1, f"{len(labeled)} label maps and no scanned pairs")}
    return {"mixture.simulated": PlannedSetting(0.5, f"{len(labeled)} label maps beside {len(rows)} scanned pairs")}


def plan_network(cohort: CohortSummary, device: torch.device) -> Plan:
    """Network and patch."""
    on_cpu, limit = device.type == "cpu", MAX_PATCH_VOX[device.type]
    stem = 2 if on_cpu and cohort.is_fine else 1
    sides = [min(limit, side) for side in cohort.extent_vox]
    levels = _num_levels(min(sides), stem)
    stride = stem * 2 ** (levels - 1)
    patch = [max(stride, min(limit, -(-side // stride) * stride) // stride * stride) for side in sides]
    coarsest = " x ".join(f"{side // stride}" for side in patch)
    extent = " x ".join(map(str, cohort.extent_vox))
    stem_reason = "scans are large in voxels and a CPU is slow" if stem == 2 else "full resolution"
    return {
        "network.channels": PlannedSetting(
            [_width(device, stem) * 2**level for level in range(levels)],
            f"{levels} levels leave {coarsest} voxels of a patch on the coarsest",
        ),
        "network.num_blocks": PlannedSetting(1 if on_cpu else 2, f"for a {device.type.upper()}"),
        "network.stem_stride": PlannedSetting(stem, stem_reason),
        "patch.size": PlannedSetting(patch, f"of {extent} voxels in all, at most {limit} a side"),
    }


def _width(device: torch.device, stem: int) -> int:
    """Channels of the finest level."""
    if device.type != "cpu":
        return 32
    return 24 if stem == 2 else 16


def _num_levels(side: int, stem: int) -> int:
    """The most levels that leave a patch of this side enough voxels on the coarsest; two at least."""
    levels = MAX_LEVELS
    while levels > 2 and side / (stem * 2 ** (levels - 1)) < MIN_COARSEST_VOX:
        levels -= 1
    return levels


def plan_batch(cohort: CohortSummary, patch: Sequence[int], device: torch.device) -> Plan:
    """Batch and loading."""
    if device.type == "cpu":
        batch, reason, workers = 1 if cohort.is_fine else 2, "for a CPU", 0
    else:  # CUDA only
        memory = torch.cuda.get_device_properties(device).total_memory
        fitting = int(0.6 * memory / (_BYTES_PER_VOXEL * np.prod(patch)))
        batch = max(1, min(8, 1 << max(0, fitting.bit_length() - 1)))
        reason, workers = f"estimated for {memory / 1e9:.0f} GB of memory", 4
    each = 1 if cohort.num_subjects >= batch or batch % 2 else 2
    return {
        "patch.batch_size": PlannedSetting(batch, reason),
        "patch.num_per_volume": PlannedSetting(each, f"{cohort.num_subjects} training subjects"),
        "num_workers": PlannedSetting(workers, f"for a {device.type.upper()}"),
    }


def plan_steps(cohort: CohortSummary, settings: Plan, device: torch.device) -> Plan:
    """The number of steps, after timing one on this machine, and the validation interval."""
    config = RunConfig.model_validate(values(settings))
    enough = max(500, EPOCHS * cohort.num_subjects // (config.patch.batch_size // config.patch.num_per_volume))
    if device.type == "cpu":
        seconds = seconds_per_step(config)
        steps = min(enough, round(60 * CPU_MINUTES / seconds))
        reason = f"{seconds:.1f} s a step measured here; at most {CPU_MINUTES} minutes, or each subject {EPOCHS} times"
    else:  # CUDA only
        steps = max(5000, min(100_000, enough))
        reason = f"each subject about {EPOCHS} times, 5,000 at least"
    steps = max(100, steps // 100 * 100)
    every = max(50, steps // 4 if device.type == "cpu" else 1000)
    return {
        "optim.num_steps": PlannedSetting(steps, reason),
        "validation.every_steps": PlannedSetting(every, "validation and checkpoint interval"),
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


def values(settings: Plan) -> dict[str, Any]:
    """The values alone, nested by section, as a configuration file holds them."""
    tree: dict[str, Any] = {}
    for key, (value, _) in settings.items():
        *above, last = key.split(".")
        (tree.setdefault(above[0], {}) if above else tree)[last] = value
    return tree


def write_plan(path: Path, settings: Plan) -> None:
    """Write YAML that `volumetric train --config` takes like any other, with each reason as a comment."""
    lines = ["# Written by `volumetric train --config auto`; edit it and use it like any other configuration."]
    section = ""
    for key, (value, reason) in settings.items():
        *above, last = key.split(".")
        if above and above[0] != section:
            lines.append(f"{above[0]}:")
        section = above[0] if above else ""
        lines.append(f"{'  ' * len(above)}{last}: {json.dumps(value)}  # {reason}")
    write_text(path, "\n".join(lines) + "\n")
    log.info("planned %s:\n%s", path, "\n".join(lines))
