"""Inference over a cohort: each subject's missing contrast as a file of a BIDS derivative folder."""

from __future__ import annotations

import csv
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from volumetric.batch.subjects import Outcome, run_subjects
from volumetric.config.preparation import SIDECAR
from volumetric.errors import InputError
from volumetric.imaging.alignment import Alignment, align
from volumetric.imaging.mask import BrainMask
from volumetric.imaging.nifti import Image, read_image, read_labels, write_image
from volumetric.model.folder import load_model
from volumetric.model.predict import Model, ModelInput, Prediction
from volumetric.outputs import hash_file, locked, versions, write_csv, write_json
from volumetric.simulation.template import load_template_t1w
from volumetric.synthesis.inputs import Subject, find_subjects

log = logging.getLogger(__name__)

NOTICE = "Synthetic image, not for diagnosis."


def infer(
    inputs: Sequence[Path],
    *,
    model: Path,
    out: Path,
    split: str = "all",
    named: Mapping[str, Path] | None = None,
    device: str = "auto",
    engine: str = "auto",
    precision: str = "auto",
    overlap: float | None = None,
    whole_volume: bool | None = None,
    prepare: bool = False,
    fresh: bool = False,
) -> list[Outcome[Mapping[str, object]]]:
    """Write the missing contrast of every subject.

    Args:
        inputs: NIfTI files, folders, manifests.
        model: a run or model folder.
        out: the folder to write; subjects that are there already, from the same scan, model and settings, are skipped.
        split: rows of manifests to take, or `all`.
        named: one more subject, its files by contrast.
        device: `auto`, `cpu` or `cuda`.
        engine: what runs the network: `auto`, `openvino` or `torch`.
        precision: what it computes in: `auto`, `float32` or `bfloat16`.
        overlap: fraction of a window that neighbors share; None takes the model's own.
        whole_volume: one window over the whole head instead, where the memory allows; None asks the model.
        prepare: the scans are raw; prepare them first by the recipe that the model was trained with.
        fresh: synthesize again what is there already.

    Returns:
        One outcome per subject; `out/predictions.csv` holds the same.

    Raises:
        InputError: the call itself is wrong; nothing has been written.
    """
    loaded = load_model(
        model, device=device, engine=engine, precision=precision, overlap=overlap, whole_volume=whole_volume
    )
    if prepare and loaded.spec.preparation is None:
        raise InputError(
            f"{model}: the model was trained on scans as they came, so there is no recipe to follow; "
            "leave --prepare out, or train on what `volumetric prepare` wrote"
        )
    subjects = find_subjects(inputs, loaded.spec, split=split, named=named)
    with locked(out):
        write_json(
            out / "dataset_description.json",
            {
                "Name": f"Synthetic {loaded.spec.target} images",
                "BIDSVersion": "1.10.0",
                "DatasetType": "derivative",
                "GeneratedBy": [{"Name": "volumetric", "Version": versions()["volumetric"]}],
                "HowToAcknowledge": NOTICE,
            },
        )
        outcomes = run_subjects(_Synthesis(loaded, out, prepare, fresh), subjects, title="infer", overlap=True)
        _write_table(out, subjects, outcomes)
    return outcomes


@dataclass(frozen=True, eq=False)
class _Loaded:
    seen: ModelInput
    alignment: Alignment | None


@dataclass(frozen=True, eq=False)
class _Synthesized:
    loaded: _Loaded
    engine: str
    units: NDArray[np.float32]


class _Synthesis:
    """One subject: read the sources, predict, write image and sidecar."""

    def __init__(self, model: Model, out: Path, prepare: bool, fresh: bool) -> None:
        self._model, self._out, self._prepare, self._fresh = model, out, prepare, fresh

    def name(self, item: Subject) -> str:
        return item.row.name

    def finished(self, item: Subject) -> Mapping[str, object] | None:
        image, sidecar = self._paths(item)
        if self._fresh or not image.is_file() or not sidecar.is_file():
            return None
        before = json.loads(sidecar.read_text())
        now = {
            "model_sha256": self._model.sha256,
            "source_sha256": self._hashes(item),
            "prepared_here": self._prepare,
            "settings": self._model.settings,
        }
        return {"path": item.output.as_posix()} if all(before.get(k) == now[k] for k in now) else None

    def read(self, item: Subject) -> _Loaded:
        images: dict[str, Image] = {c: read_image(item.row.path(c)) for c in self._model.spec.sources}
        mask = read_labels(item.row.path("mask")) if "mask" in item.row.paths else None
        recipe = self._model.spec.preparation
        if recipe is None or not self._prepare:
            return _Loaded(self._model.preprocess(images, mask), None)
        template = load_template_t1w() if recipe.grid.space == "mni" else None
        found = align(images, recipe, given=mask, template=template, name=item.row.name)
        return _Loaded(self._model.preprocess(found.prepared.images, found.prepared.mask), found)

    def compute(self, item: Subject, loaded: _Loaded) -> _Synthesized:
        units = self._model.forward(loaded.seen)
        return _Synthesized(loaded, self._model.engine.name, units)

    def _developed(self, result: _Synthesized) -> Prediction:
        prediction = self._model.postprocess(result.loaded.seen, result.units)
        found = result.loaded.alignment
        if found is None:
            return prediction
        image = found.return_to_native(prediction.image)
        return replace(
            prediction,
            image=image.with_array(image.array.clip(min=0)),
            mask=BrainMask(found.native.mask.array, found.rule),
            warnings=(*found.warnings, *prediction.warnings),
        )

    def write(self, item: Subject, result: _Synthesized) -> Mapping[str, object]:
        prediction = self._developed(result)
        image, sidecar = self._paths(item)
        spec = self._model.spec
        warnings = list(prediction.warnings)
        scan = item.row.path(spec.sources[0])
        if spec.preparation is not None and not self._prepare and not (scan.parent / SIDECAR).is_file():
            warnings.append("the model was trained on prepared scans; if this one is raw, give --prepare")
        for warning in warnings:
            log.warning("%s: %s", item.row.name, warning)
        sidecar.unlink(missing_ok=True)  # an image whose sidecar is absent counts as unfinished
        write_image(image, prediction.image)
        write_json(
            sidecar,
            {
                "Description": NOTICE,
                "Sources": [str(item.row.path(contrast)) for contrast in spec.sources],
                "sources": spec.sources,
                "target": spec.target,
                "intensity_scale": spec.intensity_scale,
                "data_range": spec.data_range,
                "mask_kind": spec.mask.kind,
                "mask_rule": prediction.mask.rule,
                "model_sha256": self._model.sha256,
                "settings": self._model.settings,
                "engine": result.engine,
                "precision": self._model.precision,
                "source_sha256": self._hashes(item),
                "windows": {
                    "size": prediction.plan.size,
                    "number": len(prediction.plan.starts),
                    "starts": prediction.plan.starts,
                    "grid_shape": prediction.grid.shape,
                    "grid_affine": prediction.grid.affine.tolist(),
                },
                "prepared_here": self._prepare,
                "warnings": warnings,
                "versions": versions(*(["openvino"] if result.engine == "openvino" else [])),
            },
        )
        return {"path": item.output.as_posix()}

    def _paths(self, item: Subject) -> tuple[Path, Path]:
        image = self._out / item.output
        return image, image.with_name(image.name.removesuffix(".nii.gz") + ".json")

    def _hashes(self, item: Subject) -> dict[str, str]:
        columns = [*self._model.spec.sources, *(["mask"] if "mask" in item.row.paths else [])]
        return {column: hash_file(item.row.path(column)) for column in columns}


def _write_table(out: Path, subjects: Sequence[Subject], outcomes: Sequence[Outcome[Mapping[str, object]]]) -> None:
    """`predictions.csv` and `timings.csv`; subjects of earlier calls into the same folder keep their rows."""
    tables: dict[str, dict[tuple[str, str], dict[str, object]]] = {}
    for name in ("predictions.csv", "timings.csv"):
        tables[name] = {}
        if (out / name).is_file():
            with (out / name).open(newline="") as file:
                tables[name] = {(r["subject_id"], r["session_id"]): dict(r) for r in csv.DictReader(file)}
    for subject, outcome in zip(subjects, outcomes, strict=True):
        key = subject.row.subject_id, subject.row.session_id
        ids: dict[str, object] = {"subject_id": key[0], "session_id": key[1]}
        status = "failed" if outcome.status == "failed" else "ok"
        path = (outcome.record or {}).get("path", "")
        tables["predictions.csv"][key] = ids | {"path": path, "status": status, "error": outcome.error}
        if outcome.status == "ok":
            tables["timings.csv"][key] = ids | {"seconds": round(outcome.seconds, 2)}
    for name, rows in tables.items():
        write_csv(out / name, rows.values())
