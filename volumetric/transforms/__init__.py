"""MONAI dictionary transforms of this project, for a pipeline of one's own.

    Compose([
        LoadSubjectd(["t1w", "t2w"]),                     # checked NIfTI files and the brain mask
        ToModelSpaced(["t1w", "t2w"], spacing_mm=(1, 1, 1)),  # RAS axes, one spacing, cropped, reference units
        NormalizeInMaskd("t1w", "white_stripe"),
        RandAppearanced("t1w"),
    ])

Pairs can also be made from label maps, anew at each call:

    Compose([PrepareLabelMapd("labels"), RandSimulatePaird("labels", size=(96, 96, 96))])

They compose with MONAI's own and with `CacheDataset`; `examples/monai_pipeline.py` is a whole one. Volumes are
`MetaTensor`s `(C, I, J, K)`, float32, with the affine (voxel index -> world mm, RAS+) in their metadata. A file that
cannot be used is an `InputError`; MONAI's `Compose` raises a `RuntimeError` from it, which `unwrapped_errors` undoes.
"""

from volumetric.transforms.augmentation import RandAppearanced
from volumetric.transforms.errors import unwrapped_errors
from volumetric.transforms.load import LoadSubjectd, NiftiReader
from volumetric.transforms.mask import BrainMaskd, RegionMaskd
from volumetric.transforms.missing import RandMissingd
from volumetric.transforms.normalize import NormalizeInMaskd, learn_in_mask
from volumetric.transforms.simulate import PrepareLabelMapd, RandSimulatePaird
from volumetric.transforms.space import ToModelSpaced

__all__ = [
    "BrainMaskd",
    "LoadSubjectd",
    "NiftiReader",
    "NormalizeInMaskd",
    "PrepareLabelMapd",
    "RandAppearanced",
    "RandMissingd",
    "RandSimulatePaird",
    "RegionMaskd",
    "ToModelSpaced",
    "learn_in_mask",
    "unwrapped_errors",
]
