"""The files of an evaluation that are about the whole cohort."""

from __future__ import annotations

from pathlib import Path

from volumetric.evaluation.repeatability import repeatability_rows
from volumetric.evaluation.summary import summary_rows
from volumetric.metrics.downstream import DOWNSTREAM, definitions
from volumetric.metrics.table import METRICS
from volumetric.outputs import check_unclaimed
from volumetric.records.evaluation import (
    DEFINITIONS_FILE,
    INFO_FILE,
    SUBJECTS_FOLDER,
    Definitions,
    EvaluationInfo,
)
from volumetric.records.scores import (
    REPEATABILITY_FILE,
    SCORES_FILE,
    SUMMARY_FILE,
    RepeatabilityRow,
    ScoreTable,
    SummaryRow,
)
from volumetric.records.shards import SHARDS

MEASURED = {**METRICS, **DOWNSTREAM}
"""Every column of numbers of `per_subject.csv`."""


def check_evaluation_folder(out: Path) -> None:
    """Check that no table of others would be replaced.

    Raises:
        OutputError: one would, in a folder where no evaluation has begun.
    """
    if not any((out / mark).exists() for mark in (INFO_FILE, SUBJECTS_FOLDER, SHARDS)):
        check_unclaimed(out / name for name in (SCORES_FILE, SUMMARY_FILE, REPEATABILITY_FILE, DEFINITIONS_FILE))


def write_evaluation(out: Path, table: ScoreTable, info: EvaluationInfo, *, num_subjects: int) -> list[SummaryRow]:
    """Write all files but those of single subjects; returns the summary.

    Args:
        out: folder of the evaluation.
        table: content of `per_subject.csv`.
        info: content of `evaluation.json`.
        num_subjects: expected number of subjects.
    """
    units = {name: metric.unit for name, metric in MEASURED.items()}
    summary = summary_rows(table.rows, num_subjects, table.covariates, units=units)
    info.write(out / INFO_FILE)  # the first file, since it marks the others as an evaluation's
    table.write(out / SCORES_FILE)
    SummaryRow.write_table(out / SUMMARY_FILE, summary)
    repeatability = repeatability_rows(table.rows)
    if repeatability:
        RepeatabilityRow.write_table(out / REPEATABILITY_FILE, repeatability)
    else:
        (out / REPEATABILITY_FILE).unlink(missing_ok=True)  # of other subjects
    Definitions.model_validate(definitions()).write(out / DEFINITIONS_FILE)
    return summary
