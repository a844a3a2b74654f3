"""Training pairs made on the fly from label maps, as MONAI dictionary transforms."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Randomizable
from torch import Tensor

from volumetric.config.choices import MaskKind
from volumetric.config.simulation import SimulationConfig
from volumetric.imaging.nifti import Image, read_labels
from volumetric.simulation.draws import draw_pair
from volumetric.simulation.label_map import LabelMap, prepare_label_map
from volumetric.simulation.label_table import read_label_table
from volumetric.simulation.pair import PairSimulation
from volumetric.simulation.point_spread import PairGrid
from volumetric.subject import HIGHEST_LABEL
from volumetric.transforms.tensors import to_image


class PrepareLabelMapd(MapTransform):
    """Label maps made ready for `RandSimulatePaird`: seconds each, so cache them, as `CacheDataset` does.

    Takes the path of a NIfTI file, or a `MetaTensor` `(1, I, J, K)` of whole numbers; writes a `LabelMap`.

    Raises:
        ImageError: a file that cannot be read, or that holds no whole numbers.
        LabelTableError: labels that the table does not know, or no brain.
    """

    def __init__(self, keys: KeysCollection, table: str | Path = "freesurfer") -> None:
        """Choose the table, label -> tissue: `freesurfer`, `three_tissues`, or a YAML file."""
        super().__init__(keys)
        self.table = read_label_table(table)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The dictionary with prepared label maps."""
        result = dict(data)
        for key in self.key_iterator(result):
            given = result[key]
            if isinstance(given, Tensor):
                image = to_image(given)
                image, name = Image(np.rint(image.array).astype(np.uint16), image.affine), str(key)
            else:
                image, name = read_labels(Path(given), HIGHEST_LABEL), str(given)
            result[key] = prepare_label_map(image, self.table, name=name)
        return result


class RandSimulatePaird(Randomizable, MapTransform):
    """Draw a subject from a label map and give patches of its two scans.

    Shape, tissues, protocols, lesions and the scanner's faults are drawn anew at each call; `set_random_state` makes a
    call repeatable to the bit. Takes a `LabelMap` of `PrepareLabelMapd`. Gives a list of dictionaries, each with
    `source` and `target`, float32 `(1, *size)` in reference units (1 is the median in the brain mask) and 0 outside
    `mask`, bool `(1, *size)`; `brain`, bool, is the brain mask; `whole_source` and `whole_mask` are the whole subject
    and its brain mask at 3 mm, for a normalization that needs all of it.
    """

    def __init__(
        self,
        keys: KeysCollection = "labels",
        config: SimulationConfig = SimulationConfig(),  # noqa: B008 (frozen)
        *,
        region: MaskKind = "brain",
        spacing_mm: Sequence[float] = (1.0, 1.0, 1.0),
        size: Sequence[int] = (96, 96, 96),
        num_samples: int = 1,
        source: str = "t1w",
        target: str = "t2w",
        device: torch.device | str = "cpu",
    ) -> None:
        """Choose what to draw.

        Args:
            keys: one key, of the label map.
            config: ranges and probabilities.
            region: what the patches hold: the brain, or the head.
            spacing_mm: of the patches, RAS axes.
            size: of the patches, voxels.
            num_samples: patches of each subject.
            source: contrast of the source, `t1w` or `t2w`.
            target: contrast of the target.
            device: where the pair is computed and stays.
        """
        super().__init__(keys)
        x, y, z = (float(side) for side in spacing_mm)
        i, j, k = (int(side) for side in size)
        self.spacing_mm, self.size = (x, y, z), (i, j, k)
        self.config, self.region, self.num_samples, self.device = config, region, num_samples, device
        self.source, self.target = source, target

    def __call__(self, data: Mapping[Hashable, Any]) -> list[dict[Hashable, Any]]:
        """Patches of one drawn subject."""
        label_map: LabelMap = data[self.keys[0]]
        rng = np.random.default_rng(int(self.R.randint(2**31)))
        numbers, places = rng.spawn(2)
        parameters = draw_pair(numbers, self.config, source=self.source, target=self.target)
        pair = PairSimulation(label_map, parameters, region=self.region, device=self.device)
        rest = {key: value for key, value in data.items() if key not in self.keys}
        whole = {
            "whole_source": (pair.overview.source * pair.overview.mask / pair.medians[0])[None],
            "whole_mask": pair.overview.brain[None],
        }
        return [rest | whole | self._patch(pair, places) for _ in range(self.num_samples)]

    def _patch(self, pair: PairSimulation, rng: np.random.Generator) -> dict[Hashable, Tensor]:
        rendered = pair.render(PairGrid(self._origin(pair, rng), self.spacing_mm, self.size))
        source, target = pair.medians
        return {
            "source": (rendered.source * rendered.mask / source)[None],
            "target": (rendered.target * rendered.mask / target)[None],
            "mask": rendered.mask[None],
            "brain": rendered.brain[None],
        }

    def _origin(self, pair: PairSimulation, rng: np.random.Generator) -> tuple[float, float, float]:
        """Place of a patch around a random voxel of the mask, moved into the mask's box where that is large enough."""
        grid = pair.overview_grid
        inside = torch.nonzero(pair.overview.mask).cpu().numpy()
        origin, side = np.array(grid.origin_mm), np.array(grid.spacing_mm)
        center = origin + side * inside[rng.integers(len(inside))]
        low, high = (origin + side * voxel for voxel in (inside.min(0), inside.max(0)))
        extent = (np.array(self.size) - 1) * np.array(self.spacing_mm)
        middle = (low + high - extent) / 2
        first = np.where(high - low > extent, np.clip(center - extent / 2, low, high - extent), middle)
        x, y, z = (float(value) for value in first)
        return x, y, z
