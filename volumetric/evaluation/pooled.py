"""Evaluations of disjoint subjects, such as the folds of a cross-validation, as one evaluation."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from volumetric.evaluation.tables import write_evaluation
from volumetric.outputs import hash_json
from volumetric.records.evaluation import INFO_FILE, EvaluationInfo, RunIdentity, SubjectScores
from volumetric.records.scores import SCORES_FILE, ScoreRow, ScoreTable, SummaryRow


class PooledScores(NamedTuple):
    """The rows of `per_subject.csv` and of `summary.csv`."""

    rows: Sequence[ScoreRow]
    summary: Sequence[SummaryRow]


def pool_evaluations(folders: Sequence[Path], out: Path) -> PooledScores:
    """Write one evaluation of the subjects of several.

    Each row keeps the data range that it was scored with. `evaluation.json` has their mean, the fewest training
    subjects, and as the run a seed and a hash of all runs, by which `compare` joins seeds.

    Args:
        folders: of the evaluations; no subject is in two of them.
        out: folder of the evaluation to write.

    Raises:
        RecordError: an evaluation that is missing or damaged.
    """
    tables = [ScoreTable.read(folder / SCORES_FILE) for folder in folders]
    infos = [EvaluationInfo.read(folder / INFO_FILE) for folder in folders]
    for folder, table in zip(folders, tables, strict=True):
        _copy_subjects(folder, table, out)
    whole = _joined(tables)
    info = infos[0].model_copy(
        update={
            "predictions": os.path.relpath(os.path.commonpath([folder.absolute() for folder in folders]), out),
            "data_range": sum(info.data_range for info in infos) / len(infos),
            "num_training_subjects": min(info.num_training_subjects for info in infos),
            "run": _run_of([info.run for info in infos if info.run]),
        }
    )
    summary = write_evaluation(out, whole, info, num_subjects=len({row.subject_id for row in whole.rows}))
    return PooledScores(whole.rows, summary)


def _joined(tables: Sequence[ScoreTable]) -> ScoreTable:
    rows = tuple(row for table in tables for row in table.rows)
    covariates = dict.fromkeys(name for table in tables for name in table.covariates)
    return ScoreTable(tables[0].metrics, tuple(covariates), rows)


def _copy_subjects(folder: Path, table: ScoreTable, out: Path) -> None:
    """Write each subject's own file, with its images' paths relative to the new folder."""
    for key in table.sessions:
        file = SubjectScores.path(folder, key)
        if file.is_file():
            scores = SubjectScores.read(file)
            images = scores.images.below(folder).relative_to(out)
            scores.model_copy(update={"images": images}).write(SubjectScores.path(out, key))


def _run_of(runs: Sequence[RunIdentity]) -> RunIdentity | None:
    """The identity of several trainings with one seed."""
    if len({run.seed for run in runs}) != 1:
        return None
    return RunIdentity(seed=runs[0].seed, settings_sha256=hash_json([run.settings_sha256 for run in runs]))
