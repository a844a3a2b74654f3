"""Evaluation of a cohort: predictions against truth, beside baselines that need no learning."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from volumetric.batch.jobs import usual_jobs
from volumetric.batch.spread import HERE, Spread
from volumetric.batch.subjects import Outcome
from volumetric.config.choices import Device
from volumetric.errors import InputError
from volumetric.evaluation.baselines import TrainingIntensities, pool_training
from volumetric.evaluation.identity import BlockMeans, find_swaps
from volumetric.evaluation.predictions import PredictionSet, check_scale, open_predictions
from volumetric.evaluation.scoring import ScoringSettings, ScoringTask
from volumetric.evaluation.tables import MEASURED, check_evaluation_folder, write_evaluation
from volumetric.manifest import ManifestRow, read_manifest
from volumetric.model.device import pick_device
from volumetric.outputs import hash_json, versions, without_folders
from volumetric.records.evaluation import EvaluationInfo, RunIdentity, SubjectScores
from volumetric.records.record import RecordError
from volumetric.records.scores import MODEL, SCORES_FILE, ScoreRow, ScoreTable, SummaryRow
from volumetric.records.settings import SETTINGS_FILE, PhantomSettings, PreparationSettings, RunSettings, Settings

log = logging.getLogger(__name__)

_GB_A_JOB = 2.5
_RUN_REMEDY = "train again with --fresh, or move the predictions out of this folder"


class EvaluationError(InputError):
    """An evaluation that cannot start."""


@dataclass(frozen=True)
class Evaluation:
    """The result of an evaluation.

    Attributes:
        outcomes: one per subject and session of the split, or of the shard.
        rows: of `per_subject.csv`; none of a shard, nor a summary.
        summary: of `summary.csv`.
    """

    outcomes: list[Outcome[SubjectScores]]
    rows: tuple[ScoreRow, ...]
    summary: list[SummaryRow]


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
    jobs: int | None = None,
    spread: Spread = HERE,
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
        source: source contrast of predictions whose sidecars name none; default `t1w`.
        target: target contrast of predictions whose sidecars name none; default `t2w`.
        pattern: path of another tool's files in the folder, such as `{subject_id}/*_synth.nii.gz`.
        segmentation: divide each T1w into tissues where none are given, and again with the true and the predicted T2w;
            most of the time of an evaluation.
        jobs: subjects at a time, each in a process of its own; None takes as many as there are cores, and memory for
            2.5 GB each, and 1 where a GPU scores.
        spread: machines and shard, or a dry run.
        fresh: score again what has been scored.

    Raises:
        InputError: the call itself is wrong; nothing has been written.
    """
    manifest = read_manifest(*manifests)
    rows = manifest.split(split)
    if not rows:
        raise EvaluationError(f"{manifest.name}: no row has split `{split}`; give --split train, val, test or all")
    folder = open_predictions(predictions, pattern)
    run = _run_identity(folder.folder, out)
    covariates = _covariates(rows)
    torch_device = pick_device(device)
    contrasts = folder.contrasts(source, target)
    check_scale(prediction_scale)
    with spread.held(out):
        if not fresh:
            check_evaluation_folder(out)
        training = pool_training(manifest.split("train"), *contrasts)
        settings = ScoringSettings(*contrasts, _data_range(folder, training), prediction_scale, segmentation)
        task = ScoringTask(folder.match(rows), training, settings, torch_device, out, fresh)
        place = folder.folder
        del folder  # with the table and sidecars of all subjects
        outcomes = spread.run(
            task,
            rows,
            out=out,
            command="evaluate",
            arguments={
                "predictions": predictions,
                "manifests": manifests,
                "split": split,
                "device": device,
                "prediction_scale": prediction_scale,
                "source": source,
                "target": target,
                "pattern": pattern,
                "segmentation": segmentation,
            },
            jobs=jobs,
            usual=usual_jobs(_GB_A_JOB) if torch_device.type == "cpu" else 1,
            gb_each=_GB_A_JOB,
        )
        if not spread.is_whole:
            return Evaluation(outcomes, (), [])
        outcomes = _without_swaps(rows, outcomes)
        scores = [
            row for subject, outcome in zip(rows, outcomes, strict=True) for row in _rows(subject, outcome, place)
        ]
        table = ScoreTable(tuple(MEASURED), tuple(covariates), tuple(scores))
        info = EvaluationInfo(
            predictions=os.path.relpath(place, out),
            source=settings.source,
            target=settings.target,
            split=split,
            data_range=settings.data_range,
            num_training_subjects=training.num_subjects,
            prediction_scale=settings.prediction_scale,
            run=run,
            versions=versions(),
        )
        summary = write_evaluation(out, table, info, num_subjects=len({row.subject_id for row in rows}))
    return Evaluation(outcomes, table.rows, summary)


def _covariates(rows: Sequence[ManifestRow]) -> list[str]:
    """Their columns, in order of first appearance.

    Raises:
        EvaluationError: one is named as a column of `per_subject.csv`.
    """
    covariates = list(dict.fromkeys(column for row in rows for column in row.covariates))
    columns = ScoreRow.columns(list(MEASURED), ())
    taken = [column for column in covariates if column in columns]
    if taken:
        raise EvaluationError(
            f"the manifest's columns {', '.join(taken)} are named as columns of {SCORES_FILE} are; rename them"
        )
    return covariates


def _run_identity(predictions: Path, out: Path) -> RunIdentity | None:
    """The training run that the predictions lie in the folder of: its seed, and a hash of all its other settings.

    Raises:
        EvaluationError: its settings are damaged.
    """
    file = predictions.absolute().parent / SETTINGS_FILE
    if not file.exists():
        return None
    try:
        settings = RunSettings.read(file, remedy=_RUN_REMEDY)
    except RecordError as error:
        if any(_reads(kind, file) for kind in (PreparationSettings, PhantomSettings)):
            return None
        raise EvaluationError(str(error)) from error
    # What the file holds, so that a field that a later version adds changes no hash.
    rest = settings.model_dump(mode="json", exclude={"seed"}, exclude_unset=True)
    return RunIdentity(seed=settings.seed, settings_sha256=hash_json(rest), folder=os.path.relpath(file.parent, out))


def _reads(kind: type[Settings], file: Path) -> bool:
    try:
        kind.read(file)
    except RecordError:
        return False
    return True


def _without_swaps(
    rows: Sequence[ManifestRow], outcomes: Sequence[Outcome[SubjectScores]]
) -> list[Outcome[SubjectScores]]:
    """The outcomes; a prediction that shows another subject of the cohort has failed."""
    cohort = {
        row.name: BlockMeans.unpack(outcome.result.block_means)
        for row, outcome in zip(rows, outcomes, strict=True)
        if outcome.status != "failed"
    }
    swaps = find_swaps(cohort)
    checked = []
    for row, outcome in zip(rows, outcomes, strict=True):
        swap = swaps.get(row.name)
        if swap is None:
            checked.append(outcome)
        else:
            log.error("subject %s: %s", row.name, swap)
            checked.append(replace(outcome, status="failed", error=f"subject {row.name}: {swap}", record=None))
    return checked


def _data_range(folder: PredictionSet, training: TrainingIntensities) -> float:
    """That of the model, else that of the training subjects."""
    pooled = training.target.data_range() if training.num_subjects else None
    if folder.sidecar is None:
        if pooled is None:
            raise EvaluationError(
                "there is no data range: the predictions have no sidecar and the manifest no usable row with split "
                "`train`; add the training rows, since PSNR and SSIM mean nothing with a guessed range"
            )
        return pooled
    stated = folder.sidecar.data_range
    if pooled is not None and abs(pooled - stated) > 0.01 * stated:
        log.warning(
            "the model's data range is %g, these training rows give %g; the model's is used. "
            "Are these the subjects it was trained on?", stated, pooled,
        )  # fmt: skip
    return stated


def _rows(subject: ManifestRow, outcome: Outcome[SubjectScores], predictions: Path) -> list[ScoreRow]:
    """The rows of `per_subject.csv` of one subject; a failed one has a row with the reason."""
    covariates = dict(subject.covariates)
    if outcome.status == "failed":
        ids = subject.key._asdict()
        error = without_folders(outcome.error, [*subject.paths.values(), predictions])
        return [ScoreRow(**ids, method=MODEL, status="failed", error=error, covariates=covariates)]
    return [row.model_copy(update={"covariates": covariates}) for row in outcome.result.rows]
