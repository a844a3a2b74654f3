"""A task to estimate, in a module that a process imports without torch."""

import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from volumetric.errors import InputError
from volumetric.outputs import write_bytes

SHAPES = {"a": (3, 4, 5), "b": (6, 7, 8), "c": (9, 10, 11), "d": (2, 3, 4), "bad": (3, 3, 3), "e": (12, 13, 14)}


@dataclass(frozen=True)
class Filling:
    """Writes as many bytes as its image has voxels, holds 300 MB for it, and takes 0.3 s."""

    scans: Path
    out: Path
    refused: tuple[str, ...] = ()

    def name(self, item):
        return item

    def finished(self, item):
        return item if (self.out / item).exists() else None

    def recall(self, item):
        return item

    def inputs(self, item):
        return {"t1w": self.scans / f"{item}.nii.gz"}

    def into(self, out):
        return replace(self, out=out)

    def read(self, item):
        if item in self.refused:
            raise InputError(f"subject {item}: the voxels are bad; leave it out")
        return item

    def compute(self, item, loaded):
        block = np.ones(300_000_000, np.uint8)
        time.sleep(0.3)
        return bytes(block[: np.prod(SHAPES[item])])

    def write(self, item, result):
        write_bytes(self.out / item, result)
        return item
