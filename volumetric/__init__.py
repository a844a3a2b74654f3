"""Learns a missing MR contrast from paired scans and writes it as a full 3D volume.

    from volumetric import load_model
    prediction = load_model("runs/mine").predict("t1w.nii.gz")
    prediction.image.array  # float32 (I, J, K), 1000 x reference units, on the scan's own grid

`discover`, `fetch`, `phantom`, `add_lesions`, `prepare`, `train`, `infer`, `evaluate`, `compare` and `report` are the
commands of the same names; `read_manifest` reads a manifest, and `InferenceOptions` says how a model is run.
`volumetric.transforms` holds the MONAI transforms.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from volumetric.cohort.add_lesions import add_lesions
    from volumetric.cohort.discover import discover
    from volumetric.cohort.fetch import fetch
    from volumetric.cohort.phantom import phantom
    from volumetric.comparison.compare import compare
    from volumetric.config.inference import InferenceOptions
    from volumetric.evaluation.evaluate import evaluate
    from volumetric.learning.train import train
    from volumetric.manifest import read_manifest
    from volumetric.model.folder import load_model
    from volumetric.preparation.prepare import prepare
    from volumetric.reporting.report import report
    from volumetric.synthesis.infer import infer

# Torch's products of matrices (Intel's MKL) then have the same last bits on any number of threads, at the same speed.
os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")

_HOMES = {
    "InferenceOptions": "volumetric.config.inference",
    "add_lesions": "volumetric.cohort.add_lesions",
    "compare": "volumetric.comparison.compare",
    "discover": "volumetric.cohort.discover",
    "evaluate": "volumetric.evaluation.evaluate",
    "fetch": "volumetric.cohort.fetch",
    "infer": "volumetric.synthesis.infer",
    "load_model": "volumetric.model.folder",
    "phantom": "volumetric.cohort.phantom",
    "prepare": "volumetric.preparation.prepare",
    "read_manifest": "volumetric.manifest",
    "report": "volumetric.reporting.report",
    "train": "volumetric.learning.train",
}

__all__ = [
    "InferenceOptions",
    "add_lesions",
    "compare",
    "discover",
    "evaluate",
    "fetch",
    "infer",
    "load_model",
    "phantom",
    "prepare",
    "read_manifest",
    "report",
    "train",
]


def __getattr__(name: str) -> Any:
    """Import a public function when it is first used: `import volumetric` itself costs nothing."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'volumetric' has no attribute '{name}'")
