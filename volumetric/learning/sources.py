"""Sources simulated on scanned targets, from label maps of the same subjects."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from volumetric.config.run import RunConfig
from volumetric.imaging.geometry import spacing_mm
from volumetric.learning.pairs import TrainingPair
from volumetric.model.spec import ModelSpec
from volumetric.model.units import measure_sources
from volumetric.simulation.draws import draw_pair, on_scan
from volumetric.simulation.pair import OVERVIEW_MM, PairSimulation
from volumetric.simulation.point_spread import PairGrid

_SOURCE = 5  # stream of numbers beside those of (seed, draw); `mixture` has the others


class SimulatedSource:
    """Patches of a scanned pair -> the same patches with a source that is simulated from the subject's label map.

    One scan is drawn for all of them. It lies on the target voxel by voxel, is 0 outside the pair's mask, and has its
    units from the pair's brain mask, as the scanned source.
    """

    def __init__(self, pair: TrainingPair, draw: int, config: RunConfig, spec: ModelSpec) -> None:
        """Draw the scan of a draw's number.

        Args:
            pair: with a label map; it may lie obliquely.
            draw: the number.
            config: ranges of the simulation, contrast of the source.
            spec: the normalization that the source will need measurements for.
        """
        if pair.anatomy is None:
            raise ValueError(f"{pair.name} has no label map")
        (source,), label_map = config.task.sources, pair.anatomy.label_map()
        self._sides_mm = spacing_mm(pair.affine)
        directions = pair.affine[:3, :3] / self._sides_mm
        self._origin_mm = np.linalg.solve(directions, pair.affine[:3, 3] - label_map.center_mm)
        numbers = draw_pair(np.random.default_rng([config.seed, draw, _SOURCE]), config.simulation, source=source)
        steps = np.maximum(1, np.rint(OVERVIEW_MM / self._sides_mm)).astype(int)
        brain = pair.brain[0, :: steps[0], :: steps[1], :: steps[2]]
        self._simulation = PairSimulation(
            label_map,
            on_scan(numbers, directions),
            region=config.mask.kind,
            brain=(self._grid(np.zeros(3), brain.shape, steps), torch.from_numpy(np.ascontiguousarray(brain))),
        )
        self._median, _ = self._simulation.medians
        whole = (self._simulation.overview.source / self._median).numpy()[None]
        self._measured = measure_sources(spec.source_normalization, spec.sources, whole, brain)

    def __call__(self, patch: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The patch with another `source (1, I, J, K)`; the affine of its `target` says where it lies in the pair."""
        target, mask = patch["target"], patch["mask"]
        start = target.affine[:3, 3].numpy()
        rendered = self._simulation.render_source(self._grid(start, target.shape[1:], np.ones(3, int)))
        source: Tensor = (rendered / self._median)[None] * mask.as_tensor()
        return {**patch, "source": source, "measured": self._measured}

    def _grid(self, start: NDArray[np.float64], shape: tuple[int, ...], steps: NDArray[np.int64]) -> PairGrid:
        """Some voxels of the pair's grid, from `start` on, in the simulation's own space."""
        x, y, z = (float(value) for value in self._origin_mm + start * self._sides_mm)
        i, j, k = shape
        first, second, third = (float(side) for side in steps * self._sides_mm)
        return PairGrid((x, y, z), (first, second, third), (i, j, k))
