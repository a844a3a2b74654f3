"""A MONAI pipeline of our transforms: patches of a T1w in white-stripe units and a T2w in reference units, cached.

    python examples/monai_pipeline.py data/simulated/manifest.csv

Any MONAI transform, dataset or network goes in between: volumes are `MetaTensor`s `(1, I, J, K)`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from monai.data import CacheDataset, DataLoader, list_data_collate
from monai.transforms import Compose, EnsureTyped, RandCropByPosNegLabeld, SelectItemsd, SpatialPadd

from volumetric import read_manifest
from volumetric.transforms import LoadSubjectd, NormalizeInMaskd, RandAppearanced, ToModelSpaced

PAIR = ["t1w", "t2w"]


def batches(manifest: Path, patch_size: tuple[int, int, int] = (48, 48, 48)) -> DataLoader:
    """Batches of four patches around brain voxels: `t1w` and `t2w` `(4, 1, *patch_size)`, `mask` likewise."""
    subjects = [{"subject_id": row.subject_id, **row.paths} for row in read_manifest(manifest).rows]
    transform = Compose(
        [
            LoadSubjectd(PAIR),
            ToModelSpaced(PAIR, spacing_mm=(2, 2, 2)),
            NormalizeInMaskd("t1w", "white_stripe"),
            SpatialPadd([*PAIR, "mask"], patch_size),
            RandCropByPosNegLabeld([*PAIR, "mask"], "mask", patch_size, pos=1, neg=0, num_samples=4),
            RandAppearanced("t1w"),
            EnsureTyped([*PAIR, "mask"], track_meta=False),
            SelectItemsd([*PAIR, "mask"]),
        ]
    )
    dataset = CacheDataset(subjects, transform, progress=False)
    return DataLoader(dataset, batch_size=1, collate_fn=list_data_collate)


if __name__ == "__main__":
    for batch in batches(Path(sys.argv[1])):
        print({key: tuple(volume.shape) for key, volume in batch.items()})
