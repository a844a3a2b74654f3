"""Coverage-guided fuzzing of the readers: `python -m benchmarks.reliability.fuzz [TARGET] [--runs N]`, by atheris.

A reader gives a value or an `InputError`; anything else is a crash, whose bytes libFuzzer leaves in the working folder.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

RUNS = {"nifti": 20_000, "manifest": 20_000, "spec": 5_000, "sidecar": 20_000}
"""Inputs a target: a fixed count, from a fixed seed."""
_LIMITS = ["-timeout=20", "-rss_limit_mb=4096", "-seed=1", "-close_fd_mask=0", "-verbosity=0", "-print_final_stats=1"]


def main() -> int:
    """Fuzz one target in this process, or each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", nargs="?", choices=RUNS)
    parser.add_argument("--runs", type=int, help="inputs of each target")
    options = parser.parse_args()
    if options.target:
        _fuzz(options.target, options.runs or RUNS[options.target])
        return 0
    status = 0
    for target, runs in RUNS.items():
        runs = options.runs or runs
        command = [sys.executable, "-m", "benchmarks.reliability.fuzz", target, "--runs", str(runs)]
        ended = subprocess.run(command, capture_output=True, text=True)
        print(f"{target:<10} {runs} inputs: {'no crash' if ended.returncode == 0 else 'CRASH'}", flush=True)
        if ended.returncode:
            print(ended.stderr[-3000:])
            status = 1
    return status


def _fuzz(target: str, runs: int) -> None:
    import atheris

    with atheris.instrument_imports(include=["volumetric.imaging", "volumetric.manifest", "volumetric.records"]):
        read, seeds = _target(target)
    from volumetric.errors import InputError

    def one(data: bytes) -> None:
        with contextlib.suppress(InputError):
            read(data)

    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(seeds):
            (Path(corpus) / str(number)).write_bytes(seed)
        atheris.Setup([sys.argv[0], corpus, f"-runs={runs}", "-max_len=8192", *_LIMITS], one)
        atheris.Fuzz()


def _target(name: str) -> tuple[Callable[[bytes], object], list[bytes]]:
    """A reader of bytes, and whole files to begin with."""
    folder = Path(tempfile.mkdtemp())
    if name == "spec":
        from volumetric.model.shipped import MODELS
        from volumetric.model.spec import SPEC, parse_spec

        (model,) = MODELS.glob(f"*/{SPEC}")
        return lambda data: parse_spec(data, Path(SPEC)), [model.read_bytes()]
    if name == "nifti":
        return _nifti(folder)
    from volumetric.manifest import read_manifest
    from volumetric.records.prediction import PredictionSidecar

    readers: dict[str, tuple[str, Callable[[Path], object], list[bytes]]] = {
        "manifest": ("m.csv", read_manifest, [b"subject_id,session_id,split,t1w,t2w,age\na,1,train,a.nii,b.nii,3\n"]),
        "sidecar": ("s.json", PredictionSidecar.read, [_sidecar()]),
    }
    file, reader, seeds = readers[name]
    return _of_bytes(folder / file, reader), seeds


def _nifti(folder: Path) -> tuple[Callable[[bytes], object], list[bytes]]:
    import nibabel as nib
    import numpy as np

    from volumetric.imaging.nifti import read_image

    array = np.arange(5 * 6 * 7, dtype=np.int16).reshape(5, 6, 7)
    whole = [kind(array, np.diag([2.0, 3, 4, 1])).to_bytes() for kind in (nib.Nifti1Image, nib.Nifti2Image)]
    return _of_bytes(folder / "x.nii", read_image), [*whole, *map(gzip.compress, whole)]


def _of_bytes(path: Path, read: Callable[[Path], object]) -> Callable[[bytes], object]:
    def of_bytes(data: bytes) -> object:
        path.write_bytes(data)
        return read(path)

    return of_bytes


def _sidecar() -> bytes:
    """Every field that the schema of a sidecar names."""
    import json

    from volumetric.records.prediction import PredictionSidecar

    properties = PredictionSidecar.model_json_schema()["properties"]
    empty = {"string": "x", "number": 1.0, "integer": 1, "boolean": True, "array": [], "object": {}}
    return json.dumps(
        {name: about.get("default", empty.get(about.get("type"))) for name, about in properties.items()}
    ).encode()


if __name__ == "__main__":
    sys.exit(main())
