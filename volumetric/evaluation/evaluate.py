"""Evaluation over a cohort: predictions against truth, beside the free baselines."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from volumetric.batch.jobs import usual_jobs
from volumetric.batch.subjects import Outcome, run_subjects
from volumetric.config.choices import Device
from volumetric.errors import InputError
from volumetric.evaluation.baselines import TrainingIntensities, pool_training
from volumetric.evaluation.health import Likeness, resembled
from volumetric.evaluation.pairing import Predictions, check_scale, open_predictions
from volumetric.evaluation.repeatability import repeatability_rows
from volumetric.evaluation.scoring import MODEL, Scoring, Settings
from volumetric.evaluation.summary import summary_rows
from volumetric.manifest import ManifestRow, read_manifest
from volumetric.metrics.downstream import DOWNSTREAM, definitions
from volumetric.metrics.table import METRICS
from volumetric.model.predict import pick_device
from volumetric.outputs import hash_json, locked, versions, write_csv, write_json

log = logging.getLogger(__name__)

_GB_A_JOB = 2.5
_KEYS = ("subject_id", "session_id", "method", "region", "status", "error", "num_voxels")
_FACTS = ("data_range", "mask_rule", "truth_outside_mask", "prediction_scale", "truth_median", "prediction_divisor",
          "truth_mean", "prediction_mean", "warnings")  # fmt: skip
_COLUMNS = (*_KEYS, *METRICS, *DOWNSTREAM, *_FACTS)


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

    outcomes: list[Outcome[Mapping[str, object]]]
    rows: list[dict[str, object]]
    summary: list[dict[str, object]]


def evaluate(
    predictions: Path,
    manifests: Sequence[Path],
    out: Path,
    *,
    split: str = "test",
    device: Device = "auto",
    prediction_scale: str = "reference",
    source: str | None = None,
    target: str | None = None,
    pattern: str | None = None,
    segmentation: bool = True,
    jobs: int | None = 1,
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
        pattern: how another tool's files are named in the folder, such as `{subject_id}/*_synth.nii.gz`.
        segmentation: divide each T1w into tissues where none are given, and again with the true and the predicted T2w;
            most of the time of an evaluation.
        jobs: subjects at a time, each in a process of its own; None takes as many as there are cores, and memory for
            2.5 GB each, and 1 where a GPU scores.
        fresh: score again what has been scored.

    Raises:
        InputError: the call itself is wrong; nothing has been written.
    """
    manifest = read_manifest(*manifests)
    rows = manifest.split(split)
    if not rows:
        raise EvaluationError(f"{manifest.name}: no row has split `{split}`; give --split train, val, test or all")
    found = open_predictions(predictions, pattern)
    sources = found.facts.get("sources")
    source = source or (str(sources[0]) if isinstance(sources, list) else "t1w")
    target = target or str(found.facts.get("target", "t2w"))
    torch_device = pick_device(device)
    scale = check_scale(prediction_scale)
    training = pool_training(manifest.split("train"), source, target)
    data_range = _data_range(found, training)
    settings = Settings(source, target, data_range, scale, segmentation)
    covariates = _covariates(rows)
    with locked(out):
        task = Scoring(found, training, settings, torch_device, out, fresh)
        jobs = min(jobs or (usual_jobs(_GB_A_JOB) if torch_device.type == "cpu" else 1), len(rows))
        outcomes = _without_swaps(rows, run_subjects(task, rows, title="evaluate", jobs=jobs))
        table = [row for subject, outcome in zip(rows, outcomes, strict=True) for row in _rows(subject, outcome)]
        summary = summary_rows(
            table,
            len({row.subject_id for row in rows}),
            covariates,
            units={name: metric.unit for name, metric in {**METRICS, **DOWNSTREAM}.items()},
        )
        write_csv(out / "per_subject.csv", table, [*_COLUMNS, *covariates])
        write_csv(out / "summary.csv", summary)
        repeated = repeatability_rows(table)
        if repeated:
            write_csv(out / "repeatability.csv", repeated)
        write_json(out / "definitions.json", definitions())
        write_json(
            out / "evaluation.json",
            {
                "predictions": str(found.folder.absolute()),
                "source": source,
                "target": target,
                "split": split,
                "data_range": data_range,
                "num_training_subjects": training.num_subjects,
                "prediction_scale": scale,
                "run": _run(found.folder),
                "versions": versions(),
            },
        )
    return Evaluation(outcomes, table, summary)


def _covariates(rows: Sequence[ManifestRow]) -> list[str]:
    """Their columns, in order of first appearance.

    Raises:
        EvaluationError: one is called as a column of `per_subject.csv`.
    """
    found = list(dict.fromkeys(column for row in rows for column in row.covariates))
    taken = [column for column in found if column in _COLUMNS]
    if taken:
        raise EvaluationError(
            f"the manifest's columns {', '.join(taken)} are named as columns of per_subject.csv are; rename them"
        )
    return found


def _run(predictions: Path) -> dict[str, object] | None:
    """The training that the predictions lie in the folder of: its seed, and a hash of all its other settings."""
    file = predictions.absolute().parent / "settings.json"
    if not file.is_file():
        return None
    settings = json.loads(file.read_text())
    return {"seed": settings.pop("seed", 0), "settings_sha256": hash_json(settings), "folder": str(file.parent)}


def _without_swaps(
    rows: Sequence[ManifestRow], outcomes: Sequence[Outcome[Mapping[str, object]]]
) -> list[Outcome[Mapping[str, object]]]:
    """The outcomes; a prediction that shows another person of the cohort has failed."""
    everybody = {
        row.name: Likeness.unpack(_mapping(outcome.result["likeness"]))
        for row, outcome in zip(rows, outcomes, strict=True)
        if outcome.status != "failed"
    }
    checked = []
    for row, outcome in zip(rows, outcomes, strict=True):
        other = resembled(row.name, everybody) if row.name in everybody else None
        if other is None:
            checked.append(outcome)
        else:
            log.error("subject %s: %s", row.name, other)
            checked.append(replace(outcome, status="failed", error=f"subject {row.name}: {other}", record=None))
    return checked


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


def _rows(subject: ManifestRow, outcome: Outcome[Mapping[str, object]]) -> list[dict[str, Any]]:
    """The rows of `per_subject.csv` of one subject; a failed one has a row with the reason."""
    key: dict[str, Any] = {"subject_id": subject.subject_id, "session_id": subject.session_id}
    if outcome.status == "failed":
        failed = {"method": MODEL, "region": "", "status": "failed", "error": outcome.error}
        return [key | failed | dict(subject.covariates)]
    rows = outcome.result["rows"]
    assert isinstance(rows, list)
    return [key | row | dict(subject.covariates) for row in rows]


def _mapping(content: object) -> dict[str, str]:
    assert isinstance(content, dict)
    return content
