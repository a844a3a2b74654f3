"""Inputs that the proofs share: a small cohort, raw scans, and a model that six steps trained."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from benchmarks.reliability.process import run
from tests.conftest import TINY, write_cohort, write_raw_cohort

VOLATILE = {"timings.csv", "log.txt", "provenance.json", ".lock"}
"""Files that differ between equal runs, as docs/reference/files.md says."""


@dataclass(frozen=True)
class Inputs:
    """Manifest of pairs, manifest of raw scans, and a run folder with its predictions."""

    manifest: Path
    raw: Path
    run: Path
    predictions: Path


def make_inputs(folder: Path) -> Inputs:
    """Write them all."""
    manifest = write_cohort(folder / "cohort", ["train", "train", "val", "test", "test"])
    raw = write_raw_cohort(folder / "raw", ["train", "test"])
    inputs = Inputs(manifest, raw, folder / "run", folder / "predictions")
    train = ["train", manifest, "--config", TINY, "--out", inputs.run]
    infer = ["infer", manifest, "--model", inputs.run, "--out", inputs.predictions, "--engine", "torch"]
    for command in (train, infer):
        ended = run(command, limit_s=600)
        assert ended.status == 0, ended.said
    return inputs


def digests(folder: Path) -> dict[str, tuple[str, int]]:
    """Hash and size of every file of a folder that equal runs have in common."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if (
            path.is_file()
            and path.name not in VOLATILE
            and not name.startswith(("cache/", "checkpoints/"))
            and "engines" not in name
        ):
            data = path.read_bytes()
            found[name] = (hashlib.sha256(data).hexdigest(), len(data))
    return found
