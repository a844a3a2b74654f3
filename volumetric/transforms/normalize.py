"""Normalizations inside a mask, from one table, each with its inverse."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, get_args

import numpy as np
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import InvertibleTransform, MapTransform
from monai.utils import convert_to_dst_type
from numpy.typing import NDArray

from volumetric.config.run import SourceNormalization
from volumetric.imaging.intensity import PooledIntensities
from volumetric.imaging.normalization import NORMALIZERS, Statistics, Units
from volumetric.model.units import measure_sources, source_units
from volumetric.transforms.tensors import to_mask


class NormalizeInMaskd(MapTransform, InvertibleTransform):
    """Normalize volumes by the voxels inside a mask; 0 outside it. `inverse` denormalizes.

    Takes and writes float32 `(C, I, J, K)`; the mask is `(1, I, J, K)`. Methods:

    - `zscore`: mean 0 and SD 1
    - `robust`: median 0 and median absolute deviation 1 (scaled to a normal SD)
    - `percentile`: 1st percentile 0, 99th 1
    - `white_stripe`: mean 0 and SD 1 of the voxels about the white-matter peak (Shinohara 2014)
    - `fcm`, `kde`: mean of white matter by fuzzy C-means, or its mode by kernel density, 1 (Reinhold 2019)
    - `nyul`: deciles to those of a cohort (Nyul 2000); `pooled`: one affine map of a cohort's voxels. Both need
      `learned`, from `learn_in_mask`, and volumes in reference units, as `ToModelSpaced` writes them.

    Raises:
        IntensityError: no spread, or no white-matter peak, where the method needs one.
    """

    def __init__(
        self,
        keys: KeysCollection,
        method: SourceNormalization = "zscore",
        mask_key: str = "mask",
        *,
        contrasts: Sequence[str] | None = None,
        learned: Sequence[Statistics] = (),
        measured_key: str | None = None,
    ) -> None:
        """Choose the method.

        Args:
            keys: of the volumes.
            method: see above.
            mask_key: of the mask.
            contrasts: of the channels, such as `("t1w", "flair")`; tells which tissue is brightest. None: each key is
                the contrast of its volume.
            learned: for each channel, what `learn_in_mask` returned.
            measured_key: of numbers `(C, N)` measured on the whole volume, where the volume is a patch of it; None
                measures the volume.

        Raises:
            ValueError: an unknown method, or one that needs `learned`.
        """
        super().__init__(keys)
        if method not in get_args(SourceNormalization):
            raise ValueError(f"method {method!r}: expected one of {', '.join(get_args(SourceNormalization))}")
        if NORMALIZERS[method].learn is not None and not learned:
            raise ValueError(f"method {method!r} learns from a cohort; give learned=[learn_in_mask(...)]")
        self.method, self.mask_key, self.contrasts = method, mask_key, contrasts
        self.learned, self.measured_key = learned, measured_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The dictionary with normalized volumes."""
        result, mask = dict(data), to_mask(data[self.mask_key])
        for key in self.key_iterator(result):
            volume = _array(result[key])
            units = source_units(self.method, self._measured(result, key, volume, mask), self.learned)
            normalized = np.stack([unit.apply(channel, mask) for unit, channel in zip(units, volume, strict=True)])
            result[key] = convert_to_dst_type(normalized, result[key])[0]
            self.push_transform(result, key, extra_info={"units": units})
        return result

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The dictionary with volumes in the units they had."""
        result, mask = dict(data), to_mask(data[self.mask_key])
        for key in self.key_iterator(result):
            units: list[Units] = self.pop_transform(result, key)["extra_info"]["units"]
            channels = zip(units, _array(result[key]), strict=True)
            result[key] = convert_to_dst_type(np.stack([unit.invert(x, mask) for unit, x in channels]), result[key])[0]
        return result

    def _measured(
        self, data: Mapping[Hashable, Any], key: Hashable, volume: NDArray[np.float32], mask: NDArray[np.bool_]
    ) -> NDArray[np.float64]:
        if self.measured_key is not None:
            measured: NDArray[np.float64] = data[self.measured_key]
            return measured
        contrasts = self.contrasts or [str(key)] * len(volume)
        return measure_sources(self.method, contrasts, volume, mask)


def learn_in_mask(
    data: Iterable[Mapping[Hashable, Any]], key: str, method: SourceNormalization, mask_key: str = "mask"
) -> Statistics:
    """Numbers that `nyul` or `pooled` learns from a cohort; none for the other methods.

    Args:
        data: dictionaries with the volume `(1, I, J, K)` in reference units under `key`, and its mask.
        key: of the volume.
        method: of `NormalizeInMaskd`.
        mask_key: of the mask.
    """
    learn = NORMALIZERS[method].learn
    return () if learn is None else learn(_pooled(item, key, mask_key) for item in data)


def _pooled(item: Mapping[Hashable, Any], key: str, mask_key: str) -> PooledIntensities:
    pooled = PooledIntensities()
    pooled.add(_array(item[key])[0][to_mask(item[mask_key])])
    return pooled


def _array(tensor: Any) -> NDArray[np.float32]:
    plain = tensor.as_tensor() if isinstance(tensor, MetaTensor) else tensor
    array: NDArray[np.float32] = plain.cpu().numpy()
    return array
