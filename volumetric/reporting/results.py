"""The files of an evaluation and of its training run, with everything optional allowed to be absent."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from volumetric.errors import InputError
from volumetric.records.evaluation import (
    DEFINITIONS_FILE,
    INFO_FILE,
    Definitions,
    EvaluationInfo,
    MetricDefinition,
    SparsificationCurve,
    SubjectScores,
)
from volumetric.records.prediction import PredictionSidecar, sidecar_path
from volumetric.records.record import RecordError
from volumetric.records.run import HISTORY_FILE, PROVENANCE_FILE, HistoryRow, Provenance
from volumetric.records.scores import MODEL, SCORES_FILE, SUMMARY_FILE, ScoreRow, ScoreTable, SummaryRow, find_scores
from volumetric.records.settings import SETTINGS_FILE, RunSettings
from volumetric.records.table import SessionKey

_WITHOUT = "rename it to report without the settings of the training, or train again into another folder"


class ResultsError(InputError):
    """A folder that holds no evaluation, or an empty one."""


@dataclass(frozen=True)
class MetricColumn:
    """A metric's column in the tables, and its meaning.

    Attributes:
        name: of the column.
        label: its name on the page.
        unit: `dB`, `1` for a pure number, `intensity` for reference units, or another unit in words.
        better: `higher`, `lower`, `zero`, or empty without a definition.
        formula: in text.
        source: where the formula comes from.
    """

    name: str
    label: str
    unit: str = ""
    better: Literal["higher", "lower", "zero", ""] = ""
    formula: str = ""
    source: str = ""

    @classmethod
    def of(cls, name: str, definition: MetricDefinition | None) -> MetricColumn:
        """The column `name`; without a definition its label is made from the name."""
        about = definition or MetricDefinition()
        label = about.label or name.removesuffix("_db").replace("_", " ")
        return cls(name, label, about.unit, about.better or "", about.formula, about.source)


@dataclass(frozen=True)
class TrainingRun:
    """The files of the training run behind the predictions.

    Attributes:
        folder: of the run.
        history: one row a validation.
        provenance: None where the file is absent.
        settings: None where the file is absent.
    """

    folder: Path
    history: Sequence[HistoryRow]
    provenance: Provenance | None
    settings: RunSettings | None


@dataclass(frozen=True)
class EvaluationResults:
    """Everything on the page but the images.

    Attributes:
        folder: of the evaluation.
        table: content of `per_subject.csv`.
        summary: rows of `summary.csv`; empty if there is none.
        metrics: the columns of the table that are metrics.
        info: content of `evaluation.json`; None if there is none.
        run: the run that made the predictions, if it is known and there.
        sidecars: of the predictions, for the subjects that have one.
        sparsification: of the subjects whose predictions have uncertainty beside them.
        notes: one sentence for each optional file that is absent or cannot be read.
    """

    folder: Path
    table: ScoreTable
    summary: Sequence[SummaryRow]
    metrics: Sequence[MetricColumn]
    info: EvaluationInfo | None
    run: TrainingRun | None
    sidecars: Mapping[SessionKey, PredictionSidecar] = field(default_factory=dict)
    sparsification: Sequence[SparsificationCurve] = ()
    notes: Sequence[str] = ()

    def scored(self, region: str | None = None, method: str = MODEL) -> list[ScoreRow]:
        """The rows of a method that have scores, in one region or in all."""
        return [
            row for row in self.table.rows if row.method == method and row.is_scored and region in (None, row.region)
        ]

    @property
    def main_region(self) -> str:
        """`brain`, or the first region that was scored; empty if nothing was."""
        regions = list(dict.fromkeys(row.region for row in self.scored()))
        return "brain" if "brain" in regions else next(iter(regions), "")

    @property
    def failures(self) -> list[ScoreRow]:
        """The rows of subjects without scores, each with its error."""
        return [row for row in self.table.rows if row.status == "failed"]


def read_results(folder: Path) -> EvaluationResults:
    """Read an evaluation folder, or a run folder with one in `metrics`.

    Raises:
        InputError: there is no `per_subject.csv`, it has no rows, or a file is damaged.
    """
    scores = _find_evaluation(folder)
    evaluation = scores.parent
    table = ScoreTable.read(scores)
    if not table.rows:
        raise ResultsError(f"{scores}: the table has no rows; {ScoreRow.REMEDY}")
    summary, definitions, info = (evaluation / name for name in (SUMMARY_FILE, DEFINITIONS_FILE, INFO_FILE))
    notes = [f"{path.name} is absent." for path in (summary, definitions, info) if not path.exists()]
    meanings = Definitions.read(definitions).metrics if definitions.exists() else {}
    evaluation_info = EvaluationInfo.read(info) if info.exists() else None
    run = _read_run(folder, evaluation, evaluation_info)
    if run is None:
        notes.append(f"There is no {HISTORY_FILE} of a training run, so there are no training curves.")
    sidecars, unreadable = _read_sidecars(evaluation, table.sessions)
    return EvaluationResults(
        folder=evaluation,
        table=table,
        summary=SummaryRow.read_table(summary) if summary.exists() else (),
        metrics=[MetricColumn.of(name, meanings.get(name)) for name in table.metrics],
        info=evaluation_info,
        run=run,
        sidecars=sidecars,
        sparsification=_read_sparsification(evaluation, table.sessions),
        notes=notes + unreadable,
    )


def _find_evaluation(folder: Path) -> Path:
    """The table of scores in the folder of an evaluation or of a run."""
    scores = find_scores(folder) if folder.is_dir() else None
    if scores is None:
        problem = f"holds no {SCORES_FILE}, and neither does its folder metrics" if folder.is_dir() else "is no folder"
        raise ResultsError(
            f"{folder} {problem}; expected the folder of an evaluation or of a run with one: "
            f"volumetric evaluate PREDICTIONS MANIFEST --out {folder / 'metrics'}"
        )
    return scores


def _read_run(folder: Path, evaluation: Path, info: EvaluationInfo | None) -> TrainingRun | None:
    """The run in the named folder, in the folder that the predictions lie in, or the one that the evaluation names."""
    candidates = [folder]
    if info is not None:
        predictions = evaluation.absolute() / info.predictions
        candidates.append(Path(os.path.normpath(predictions)).parent)
    if info is not None and info.run is not None and info.run.folder:
        candidates.append(evaluation / info.run.folder)
    run = next((path for path in candidates if (path / HISTORY_FILE).exists()), None)
    if run is None:
        return None
    provenance, settings = run / PROVENANCE_FILE, run / SETTINGS_FILE
    return TrainingRun(
        folder=run,
        history=HistoryRow.read_table(run / HISTORY_FILE),
        provenance=Provenance.read(provenance) if provenance.exists() else None,
        settings=RunSettings.read(settings, remedy=_WITHOUT) if settings.exists() else None,
    )


def _read_sparsification(evaluation: Path, sessions: Sequence[SessionKey]) -> list[SparsificationCurve]:
    scores = [SubjectScores.read_if_usable(SubjectScores.path(evaluation, key), silent=True) for key in sessions]
    return [own.sparsification for own in scores if own is not None and own.sparsification is not None]


def _read_sidecars(
    evaluation: Path, sessions: Sequence[SessionKey]
) -> tuple[dict[SessionKey, PredictionSidecar], list[str]]:
    """The sidecars of the predictions, and a sentence if some cannot be read: another program writes no such files."""
    sidecars: dict[SessionKey, PredictionSidecar] = {}
    problems = []
    for key in sessions:
        scores = SubjectScores.path(evaluation, key)
        try:
            images = SubjectScores.read(scores).images.below(evaluation) if scores.exists() else None
            prediction = images.prediction.path if images is not None else None
            if prediction is not None and sidecar_path(prediction).exists():
                sidecars[key] = PredictionSidecar.read(sidecar_path(prediction))
        except RecordError as error:
            problems.append(str(error))
    if not problems:
        return sidecars, []
    return sidecars, [
        f"Sidecars of predictions that cannot be read: {len(problems)}; the first because of {problems[0]}."
    ]
