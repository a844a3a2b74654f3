"""Reads finished evaluations: the rows of `per_subject.csv` and the run that they belong to."""

from __future__ import annotations

import csv
import difflib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from volumetric.errors import InputError
from volumetric.metrics.table import METRICS

TABLE = "per_subject.csv"
_NEEDED = ("subject_id", "method", "region", "status", "data_range", "mask_rule")

Row = dict[str, str]
Visit = tuple[str, str]
"""Subject and session."""
Better = Literal["higher", "lower", "zero"]


class ScoresError(InputError):
    """A table of scores that cannot be used."""


class Run(NamedTuple):
    """The training run behind a table: its seed, and a hash of all its other settings."""

    seed: int
    settings_sha256: str


class Column(NamedTuple):
    """What a column of scores means."""

    name: str
    label: str
    unit: str
    better: Better


@dataclass(frozen=True)
class Scores:
    """One evaluation.

    Attributes:
        label: how the output calls it.
        path: its `per_subject.csv`.
        rows: all rows, as text.
        failed: visits with status `failed`.
        run: the run behind it, or None where `evaluation.json` names none.
        definitions: the content of `definitions.json`, empty without one.
    """

    label: str
    path: Path
    rows: tuple[Row, ...]
    failed: tuple[Visit, ...]
    run: Run | None
    definitions: dict[str, dict[str, Any]]

    def methods(self, region: str) -> list[str]:
        """The methods with scored rows in a region."""
        return list(dict.fromkeys(r["method"] for r in self.rows if r["status"] == "ok" and r["region"] == region))

    def visits(self, method: str, region: str) -> dict[Visit, Row]:
        """The scored rows of a method in a region.

        Raises:
            ScoresError: there are none, or two of one visit.
        """
        found: dict[Visit, Row] = {}
        for row in self.rows:
            if row["method"] == method and row["region"] == region and row["status"] == "ok":
                if _visit(row) in found:
                    raise ScoresError(
                        f"{self.path}: {visit_name(_visit(row))} has two rows of method {method} in region {region}; "
                        "a visit has one, so evaluate again"
                    )
                found[_visit(row)] = row
        if not found:
            there = sorted({f"{row['method']} in {row['region']}" for row in self.rows if row["status"] == "ok"})
            raise ScoresError(
                f"{self.path}: no scored row of method {method} in region {region}; it has "
                f"{', '.join(there) or 'none at all'}; choose with --method and --region"
            )
        return found


def visit_name(visit: Visit) -> str:
    """`ms01` or `ms01/study2`."""
    return "/".join(filter(None, visit))


def open_scores(paths: Sequence[Path], labels: Sequence[str] = ()) -> list[Scores]:
    """Read tables.

    Args:
        paths: `per_subject.csv` files, the folders they lie in, or run folders with `metrics/per_subject.csv`.
        labels: one for each; default the names of the runs' folders.

    Raises:
        ScoresError: no such table, no table of scores, a table twice, or labels that do not fit.
    """
    files = [_find(path) for path in paths]
    if len({file.resolve() for file in files}) < len(files):
        raise ScoresError(f"one table is given twice: {', '.join(map(str, files))}; name each once")
    if labels and len(labels) != len(files):
        raise ScoresError(f"{len(labels)} --label for {len(files)} tables; give one for each, in their order")
    labels = list(labels) or _labels(files)
    if len(set(labels)) < len(labels):
        raise ScoresError(f"two tables have one label: {', '.join(labels)}; give each its own with --label")
    return [_read(file, label) for file, label in zip(files, labels, strict=True)]


def column(name: str, tables: Sequence[Scores]) -> Column:
    """What a column means: by `METRICS`, else by the `definitions.json` beside a table.

    Raises:
        ScoresError: no table has it, or nobody says which direction is good.
    """
    names = list(dict.fromkeys(key for table in tables for row in table.rows for key in row))
    lacking = [table.label for table in tables if not any(name in row for row in table.rows)]
    if lacking:
        close = difflib.get_close_matches(name, names, 1)
        hint = f"did you mean `{close[0]}`?" if close else f"the metrics are {', '.join(METRICS)}"
        raise ScoresError(f"--metric {name}: {', '.join(lacking)} has no such column; {hint}")
    if name in METRICS:
        metric = METRICS[name]
        return Column(name, metric.label, metric.unit, metric.better)
    for table in tables:
        definition = table.definitions.get(name, {})
        if definition.get("better") in ("higher", "lower", "zero"):
            label, unit = str(definition.get("label", name)), str(definition.get("unit", ""))
            return Column(name, label, unit, definition["better"])
    raise ScoresError(f"--metric {name}: nothing says which direction is good; choose a metric: {', '.join(METRICS)}")


def number(row: Row, name: str, path: Path) -> float:
    """The number of a cell; NaN if it is empty.

    Raises:
        ScoresError: it holds something else.
    """
    text = row.get(name) or ""
    try:
        return float(text) if text else math.nan
    except ValueError as error:
        raise ScoresError(f"{path}: {name} of {visit_name(_visit(row))} is '{text}', expected a number") from error


def _visit(row: Row) -> Visit:
    return row["subject_id"], row.get("session_id", "")


def _find(path: Path) -> Path:
    for file in (path, path / TABLE, path / "metrics" / TABLE):
        if file.is_file():
            return file
    raise ScoresError(
        f"{path}: no table of scores, no {TABLE} and no metrics/{TABLE} there; name what `volumetric evaluate` wrote"
    )


def _read(path: Path, label: str) -> Scores:
    with path.open(newline="", encoding="utf-8-sig") as file:
        try:
            reader = csv.DictReader(file, restval="")
            missing = [name for name in _NEEDED if name not in (reader.fieldnames or ())]
            rows = tuple(reader)
        except (UnicodeDecodeError, csv.Error) as error:
            raise ScoresError(f"{path}: not a table; name a {TABLE} of `volumetric evaluate`") from error
    if missing:
        raise ScoresError(f"{path}: the columns {', '.join(missing)} are missing; name a {TABLE}, not another table")
    if any(None in row for row in rows):
        raise ScoresError(f"{path}: a row has more cells than columns; evaluate again")
    failed = tuple(dict.fromkeys(_visit(row) for row in rows if row["status"] == "failed"))
    run = _json(path.with_name("evaluation.json")).get("run")
    try:
        known = Run(int(run["seed"]), str(run["settings_sha256"])) if run else None
    except (KeyError, TypeError, ValueError) as error:
        raise ScoresError(
            f"{path.with_name('evaluation.json')}: `run` is {run}, expected a seed and settings_sha256; evaluate again"
        ) from error
    return Scores(label, path, rows, failed, known, _json(path.with_name("definitions.json")))


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text())
    except ValueError as error:
        raise ScoresError(f"{path}: not JSON; evaluate again, or remove the file") from error
    return content if isinstance(content, dict) else {}


def _labels(files: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths that tell them apart, without what every path has."""
    parts = []
    for file in files:
        *folders, name = (file.resolve() if ".." in file.parts else file.absolute()).parts
        if name != TABLE:
            folders.append(file.stem.removesuffix("_per_subject"))
        elif folders[-1] == "metrics":
            del folders[-1]
        parts.append(folders)
    for depth in range(1, max(map(len, parts))):
        labels = ["/".join(part[-depth:]) for part in parts]
        if len(set(labels)) == len(labels):
            return labels
    return list(map(str, files))
