"""Evaluation over a cohort: predictions against truth, beside the free baselines."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from volumetric.batch.subjects import Outcome, run_subjects
from volumetric.errors import InputError
from volumetric.evaluation.baselines import BASELINES, TrainingIntensities, pool_training
from volumetric.evaluation.pairing import (
    Predictions,
    Scored,
    check_scale,
    on_its_grid,
    open_predictions,
    read_prediction,
    read_scored,
)
from volumetric.evaluation.summary import summary_rows
from volumetric.manifest import NATIVE, Row, read_manifest
from volumetric.metrics.table import METRICS, score
from volumetric.model.predict import pick_device
from volumetric.outputs import hash_file, hash_json, locked, versions, write_csv, write_json

log = logging.getLogger(__name__)

MODEL = "model"
"""How the `method` column calls the predictions that are scored."""

_COLUMNS = ("subject_id", "session_id", "method", "region", "status", "error", "num_voxels", *METRICS, "data_range",
            "mask_rule", "truth_outside_mask", "prediction_scale", "truth_median", "prediction_divisor")  # fmt: skip


class EvaluationError(InputError):
    """An evaluation that cannot start."""


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    Attributes:
        outcomes: one per subject.
        rows: of `per_subject.csv`.
        summary: of `summary.csv`.
    """

    outcomes: list[Outcome]
    rows: list[dict[str, object]]
    summary: list[dict[str, object]]


def evaluate(
    predictions: Path,
    manifests: Sequence[Path],
    out: Path,
    *,
    split: str = "test",
    device: str = "auto",
    prediction_scale: str = "reference",
    source: str | None = None,
    target: str | None = None,
    fresh: bool = False,
) -> Evaluation:
    """Score predictions against the truth in manifests.

    Args:
        predictions: the folder `infer` wrote, a run folder, or a folder of another tool's files.
        manifests: CSV files; rows of `split` are scored, rows with split `train` fit the baselines.
        out: the folder to write `per_subject.csv` and `summary.csv` into.
        split: `train`, `val`, `test` or `all`.
        device: `auto`, `cpu` or `cuda`.
        prediction_scale: `reference`, `own-median` or the number that predictions are divided by.
        source: source contrast; default what the predictions say, else `t1w`.
        target: target contrast; default what the predictions say, else `t2w`.
        fresh: score again what has been scored.

    Raises:
        InputError: the call itself is wrong; nothing has been written.
    """
    manifest = read_manifest(*manifests)
    rows = manifest.split(split)
    if not rows:
        raise EvaluationError(f"{manifest.name}: no row has split `{split}`; give --split train, val, test or all")
    found = open_predictions(predictions)
    sources = found.facts.get("sources")
    source = source or (str(sources[0]) if isinstance(sources, list) else "t1w")
    target = target or str(found.facts.get("target", "t2w"))
    torch_device = pick_device(device)
    scale = check_scale(prediction_scale)
    training = pool_training(manifest.split("train"), source, target)
    data_range = _data_range(found, training)
    with locked(out):
        task = _Scoring(found, training, data_range, source, target, scale, torch_device, out, fresh)
        outcomes = run_subjects(task, rows, title="evaluate")
        table = [row for subject, outcome in zip(rows, outcomes, strict=True) for row in _rows(subject, outcome)]
        summary = summary_rows(table, len(rows))
        write_csv(out / "per_subject.csv", table, _COLUMNS)
        write_csv(out / "summary.csv", summary)
        write_json(
            out / "evaluation.json",
            {
                "predictions": str(found.folder),
                "source": source,
                "target": target,
                "split": split,
                "data_range": data_range,
                "num_training_subjects": training.num_subjects,
                "prediction_scale": scale,
                "metrics": {m.name: {"unit": m.unit, "better": m.better, "formula": m.formula, "source": m.source}
                            for m in METRICS.values()},
                "versions": versions(),
            },
        )  # fmt: skip
    return Evaluation(outcomes, table, summary)


def _data_range(found: Predictions, training: TrainingIntensities) -> float:
    pooled = training.target.data_range() if training.num_subjects else None
    stated = found.facts.get("data_range")
    if not isinstance(stated, float | int):
        if pooled is None:
            raise EvaluationError(
                "there is no data range: the predictions have no sidecar and the manifest no usable row with split "
                "`train`; add the training rows, since PSNR and SSIM mean nothing with a guessed range"
            )
        return pooled
    if pooled is not None and abs(pooled - stated) > 0.01 * stated:
        log.warning(
            "the model's data range is %g, these training rows give %g; the model's is used. "
            "Are these the people it was trained on?", stated, pooled,
        )  # fmt: skip
    return float(stated)


class _Scoring:
    """One subject: every method in every region."""

    def __init__(
        self,
        found: Predictions,
        training: TrainingIntensities,
        data_range: float,
        source: str,
        target: str,
        scale: str,
        device: torch.device,
        out: Path,
        fresh: bool,
    ) -> None:
        self._found, self._training, self._data_range = found, training, data_range
        self._source, self._target, self._scale = source, target, scale
        self._device, self._out, self._fresh = device, out, fresh

    def name(self, item: Row) -> str:
        return item.name

    def finished(self, item: Row) -> Mapping[str, object] | None:
        file = self._file(item)
        if self._fresh or not file.is_file():
            return None
        before: dict[str, object] = json.loads(file.read_text())
        return before if before["fingerprint"] == self._fingerprint(item) else None

    def read(self, item: Row) -> tuple[Scored, NDArray[np.float32], float]:
        file = self._found.find(item)
        scored = read_scored(on_its_grid(item, file, self._target), self._source, self._target)
        prediction, divisor = read_prediction(file, scored, self._scale, name=item.name)
        return scored, prediction, divisor

    def compute(self, item: Row, loaded: tuple[Scored, NDArray[np.float32], float]) -> list[dict[str, object]]:
        scored, prediction, divisor = loaded
        rows = self._score(MODEL, scored, prediction) if prediction[scored.mask].any() else None
        if rows is None:
            raise EvaluationError(f"subject {item.name}: the prediction is 0 everywhere in the brain")
        for row in rows:
            row |= {"prediction_scale": self._scale, "prediction_divisor": divisor}
        values = scored.source[scored.mask].astype(np.float64)
        for method, baseline in BASELINES.items():
            if not self._training.num_subjects:
                rows.append({"method": method, "region": "", "status": "n/a", "error": "no rows with split `train`"})
                continue
            volume = np.zeros_like(scored.truth)
            volume[scored.mask] = baseline(values, self._training)
            rows += self._score(method, scored, volume)
        return rows

    def write(self, item: Row, result: list[dict[str, object]]) -> Mapping[str, object]:
        content = {"fingerprint": self._fingerprint(item), "rows": result}
        write_json(self._file(item), content)
        return content

    def _score(self, method: str, scored: Scored, prediction: NDArray[np.float32]) -> list[dict[str, object]]:
        tensors = [torch.from_numpy(array).to(self._device) for array in (scored.truth, prediction, scored.mask)]
        truth, predicted, mask = tensors
        regions = {"brain": mask, "whole": torch.ones_like(mask)}
        scores = score(truth, predicted, regions, data_range=self._data_range)
        rows: list[dict[str, object]] = []
        for region, values in scores.items():
            rows.append(
                {
                    "method": method,
                    "region": region,
                    "status": "ok",
                    "error": "",
                    **values,
                    "data_range": self._data_range,
                    "mask_rule": scored.rule,
                    "truth_outside_mask": "zeroed" if region == "whole" else "not scored",
                }
            )
        return rows

    def _file(self, item: Row) -> Path:
        return self._out / "subjects" / f"{item.name.replace('/', '_')}.json"

    def _fingerprint(self, item: Row) -> str:
        columns = [prefix + c for prefix in ("", NATIVE) for c in (self._source, self._target, "mask")]
        files = [item.path(c) for c in columns if c in item.paths]
        settings = [self._data_range, self._scale, self._training.cross.tolist(), versions()["volumetric"]]
        return hash_json([settings, [hash_file(file) for file in [*files, self._found.find(item)]]])


def _rows(subject: Row, outcome: Outcome) -> list[dict[str, object]]:
    """The rows of `per_subject.csv` of one subject; a failed one has a row with the reason."""
    key: dict[str, object] = {"subject_id": subject.subject_id, "session_id": subject.session_id}
    if outcome.status == "failed":
        return [key | {"method": MODEL, "region": "", "status": "failed", "error": outcome.error}]
    rows = outcome.row["rows"]
    assert isinstance(rows, list)
    return [key | row for row in rows]
