"""What an evaluation and its training left on disk, read with everything optional allowed to be absent."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from volumetric.errors import InputError

MODEL = "model"
"""How the `method` column calls the predictions; every other method is a baseline."""

_KEYS = ("subject_id", "session_id", "method", "region", "status", "error", "num_voxels")
_TECHNICAL = ("data_range", "mask_rule", "truth_outside_mask", "prediction_scale", "truth_median",
              "prediction_divisor", "truth_mean", "prediction_mean", "warnings")  # fmt: skip

Cells = Mapping[str, str]


class ResultsError(InputError):
    """A folder that holds no evaluation, or one that is damaged."""


@dataclass(frozen=True)
class Metric:
    """What a column of numbers means, as `definitions.json` says it.

    Attributes:
        name: the column.
        label: what the page calls it.
        unit: `dB`, `1` for a pure number, `intensity` for reference units, or another unit in words.
        better: `higher`, `lower`, `zero`, or empty where nobody said.
        formula: in text.
        source: where the formula comes from.
    """

    name: str
    label: str
    unit: str = ""
    better: str = ""
    formula: str = ""
    source: str = ""


@dataclass(frozen=True)
class Results:
    """Everything the page is made of, but the images.

    Attributes:
        folder: the evaluation.
        rows: of `per_subject.csv`, as text.
        summary: of `summary.csv`, as text; empty if there is none.
        metrics: the columns that are scores, in the table's order.
        covariates: the columns that came from the manifest.
        facts: `evaluation.json`; empty if there is none.
        run: the run folder that made the predictions, if it is known and there.
        history: rows of the run's `history.csv`.
        provenance: the run's `provenance.json`.
        absent: one sentence for each optional file that is not there.
    """

    folder: Path
    rows: list[Cells]
    summary: list[Cells]
    metrics: list[Metric]
    covariates: list[str]
    facts: dict[str, Any]
    run: Path | None
    history: list[Cells]
    provenance: dict[str, Any]
    absent: list[str]

    @property
    def subjects(self) -> list[str]:
        """Their names in the table's order: `subject` or `subject/session`."""
        return list(dict.fromkeys(subject_name(row) for row in self.rows))

    def record(self, subject: str) -> dict[str, Any]:
        """The subject's JSON file; empty if there is none.

        Raises:
            ResultsError: the file is damaged.
        """
        file = self.folder / "subjects" / f"{subject.replace('/', '_')}.json"
        return read_json(file) if file.is_file() else {}


def subject_name(row: Cells) -> str:
    """`subject`, or `subject/session` where there is one."""
    return "/".join(row[key] for key in ("subject_id", "session_id") if row.get(key))


def number(text: str | None) -> float:
    """A cell as a number; NaN where it is none."""
    try:
        return float(text) if text else math.nan
    except ValueError:
        return math.nan


def find_evaluation(folder: Path) -> Path:
    """The evaluation in `folder`: the folder itself, or `metrics` in a run folder.

    Raises:
        ResultsError: neither holds a `per_subject.csv`.
    """
    for candidate in (folder, folder / "metrics"):
        if (candidate / "per_subject.csv").is_file():
            return candidate
    what = "holds no per_subject.csv, and neither does its folder metrics" if folder.is_dir() else "is no folder"
    raise ResultsError(
        f"{folder} {what}; expected what evaluate wrote, or a run folder with it: "
        f"volumetric evaluate PREDICTIONS MANIFEST --out {folder / 'metrics'}"
    )


def read_results(folder: Path) -> Results:
    """Read an evaluation folder, or a run folder with one in `metrics`.

    Raises:
        ResultsError: there is no `per_subject.csv`, or a file is damaged.
    """
    evaluation = find_evaluation(folder)
    rows = _read_csv(evaluation / "per_subject.csv")
    if not rows or not {"subject_id", "method", "region", "status"} <= rows[0].keys():
        raise ResultsError(
            f"{evaluation / 'per_subject.csv'}: expected one row or more with the columns subject_id, method, region "
            "and status; write it again with volumetric evaluate --fresh"
        )
    optional = {name: evaluation / name for name in ("summary.csv", "definitions.json", "evaluation.json")}
    absent = [f"{path} is not there." for path in optional.values() if not path.is_file()]
    summary = _read_csv(optional["summary.csv"]) if optional["summary.csv"].is_file() else []
    definitions, facts = (
        read_json(optional[name]) if optional[name].is_file() else {}
        for name in ("definitions.json", "evaluation.json")
    )
    metrics = _metrics(rows[0], definitions or facts.get("metrics", {}), summary)
    known = {*_KEYS, *_TECHNICAL, *(metric.name for metric in metrics), *definitions}
    run = _run_folder(folder, facts)
    history = run / "history.csv" if run else None
    provenance = run / "provenance.json" if run else None
    if history is None or not history.is_file():
        absent.append("There is no history.csv of a training, so there are no training curves.")
    return Results(
        folder=evaluation,
        rows=rows,
        summary=summary,
        metrics=metrics,
        covariates=[column for column in rows[0] if column not in known],
        facts=facts,
        run=run,
        history=_read_csv(history) if history and history.is_file() else [],
        provenance=read_json(provenance) if provenance and provenance.is_file() else {},
        absent=absent,
    )


def _metrics(first: Cells, definitions: Mapping[str, Any], summary: Iterable[Cells]) -> list[Metric]:
    """The scored columns: those that are defined; with no definition at all, those that are summarized."""
    summarized = dict.fromkeys(row.get("metric", "") for row in summary)
    names = [name for name in first if name in definitions or name in summarized]
    return [
        Metric(
            name=name,
            label=str(about.get("label") or name.removesuffix("_db").replace("_", " ")),
            unit=str(about.get("unit") or ""),
            better=str(about.get("better") or ""),
            formula=str(about.get("formula") or ""),
            source=str(about.get("source") or ""),
        )
        for name in names
        if name not in _KEYS + _TECHNICAL
        for about in [definitions.get(name, {})]
    ]


def _run_folder(folder: Path, facts: Mapping[str, Any]) -> Path | None:
    """Where the training's history lies: the named folder, where the predictions lie, or what the predictions say."""
    candidates = [folder]
    if facts.get("predictions"):
        candidates.append(Path(str(facts["predictions"])).parent)
    run = facts.get("run")
    if isinstance(run, dict) and run.get("folder"):
        candidates.append(Path(str(run["folder"])))
    return next((path for path in candidates if (path / "history.csv").is_file()), None)


def _read_csv(path: Path) -> list[Cells]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [{key: value or "" for key, value in row.items() if key} for row in csv.DictReader(file)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ResultsError(f"{path}: the table cannot be read ({error}); write it again") from error


def read_json(path: Path) -> dict[str, Any]:
    """A file that holds one JSON object.

    Raises:
        ResultsError: it cannot be read, or holds something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ResultsError(f"{path}: the file cannot be read ({error}); write it again") from error
    if not isinstance(content, dict):
        raise ResultsError(f"{path}: expected a JSON object, got {type(content).__name__}; write it again")
    return content
