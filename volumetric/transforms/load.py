"""Loading of scans with the checks of this project."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.config import KeysCollection, PathLike
from monai.data import ImageReader
from monai.transforms import MapTransform
from monai.utils import MetaKeys, SpaceKeys, ensure_tuple
from numpy.typing import NDArray

from volumetric.imaging.nifti import SUFFIXES, read_image
from volumetric.manifest import ManifestRow
from volumetric.subject import read_subject
from volumetric.transforms.tensors import to_tensor


class NiftiReader(ImageReader):
    """Checked reader of 3D NIfTI files, for `LoadImaged(keys, reader=NiftiReader(), ensure_channel_first=True)`.

    Reads `.nii` and `.nii.gz` as float32. Refuses what is damaged, not 3D, complex or RGB, not finite, or without a
    usable affine, by an `ImageError` that names the file.
    """

    def verify_suffix(self, filename: Sequence[PathLike] | PathLike) -> bool:
        """True if all files end in `.nii` or `.nii.gz`."""
        return all(str(name).endswith(SUFFIXES) for name in ensure_tuple(filename))

    def read(self, data: Sequence[PathLike] | PathLike, **kwargs: Any) -> list[Path]:
        """The files, unread: what fails here `LoadImaged` tries again with MONAI's own readers, without our checks."""
        return [Path(name) for name in ensure_tuple(data)]

    def get_data(self, img: Sequence[Path]) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """The voxels `(I, J, K)`, or `(C, I, J, K)` of several files, and the metadata of the first.

        Raises:
            ImageError: a file that cannot be used.
        """
        images = [read_image(path) for path in img]
        first = images[0]
        meta = {
            MetaKeys.AFFINE: first.affine,
            MetaKeys.ORIGINAL_AFFINE: first.affine.copy(),
            MetaKeys.SPACE: SpaceKeys.RAS,
            MetaKeys.SPATIAL_SHAPE: np.array(first.space.shape),
            MetaKeys.ORIGINAL_CHANNEL_DIM: float("nan") if len(images) == 1 else 0,
            "sha256": first.sha256,
        }
        return first.array if len(images) == 1 else np.stack([image.array for image in images]), meta


class LoadSubjectd(MapTransform):
    """Load the images of a subject, check that they lie on one grid, and find its brain.

    Takes a dictionary with a path for each key, and under `mask_key` that of a brain mask where there is one;
    `subject_id` names the subject in errors. `{"subject_id": row.subject_id, **row.paths}` of a manifest row is one.

    Writes float32 `(1, I, J, K)` under each key and a boolean mask `(1, I, J, K)` under `mask_key`. The metadata holds
    the affine, the `sha256` of the file as it was read and, for the mask, the `rule` that made it.

    Raises:
        InputError: a file that cannot be used, images on different grids, or no brain mask.
    """

    def __init__(self, keys: KeysCollection, mask_key: str = "mask") -> None:
        """Load `keys`; the brain is found in the first of them."""
        super().__init__(keys)
        self.mask_key = mask_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The dictionary with volumes in place of paths."""
        paths = {str(key): Path(str(data[key])) for key in self.keys}
        if self.mask_key in data:
            paths["mask"] = Path(str(data[self.mask_key]))
        name = str(data.get("subject_id", paths[str(self.keys[0])]))
        subject = read_subject(ManifestRow(name, paths=paths), [str(key) for key in self.keys])
        loaded: dict[Hashable, Any] = {
            key: to_tensor(
                image.array[None], image.affine, filename_or_obj=str(paths[key]), sha256=subject.sha256.get(key, "")
            )
            for key, image in subject.images.items()
        }
        affine = subject.images[str(self.keys[0])].affine
        loaded[self.mask_key] = to_tensor(
            subject.mask.array[None], affine, rule=subject.mask.rule, sha256=subject.sha256.get("mask", "")
        )
        return {**data, **loaded}
