"""Finished evaluations: tables of scores, the training runs behind them, and the metrics to compare."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from volumetric.errors import InputError
from volumetric.metrics.table import METRICS
from volumetric.records.evaluation import (
    DEFINITIONS_FILE,
    INFO_FILE,
    Better,
    Definitions,
    EvaluationInfo,
    MetricDefinition,
    RunIdentity,
)
from volumetric.records.scores import SCORES_FILE, ScoreRow, ScoreTable, find_scores
from volumetric.records.table import SessionKey


class ScoresError(InputError):
    """A table of scores that cannot be compared."""


class ComparedMetric(NamedTuple):
    """A metric to compare, and which direction is good."""

    name: str
    label: str
    unit: str
    better: Better


@dataclass(frozen=True)
class ComparedTable:
    """One evaluation.

    Attributes:
        label: its name in the output.
        path: its `per_subject.csv`.
        scores: content of that file.
        run: the training run behind it, or None where `evaluation.json` names none.
        definitions: by column, from `definitions.json`; empty without one.
    """

    label: str
    path: Path
    scores: ScoreTable
    run: RunIdentity | None
    definitions: Mapping[str, MetricDefinition]

    @property
    def failed(self) -> list[SessionKey]:
        """Sessions with status `failed`."""
        return list(dict.fromkeys(row.key for row in self.scores.rows if row.status == "failed"))

    def check_region(self, region: str) -> None:
        """Check that a region was scored, where any was.

        Raises:
            ScoresError: it was not; the message lists those that were.
        """
        regions = list(dict.fromkeys(row.region for row in self._scored()))
        if regions and region not in regions:
            raise ScoresError(f"--region {region}: {self.path} has no such region; it has {', '.join(regions)}")

    def methods(self, region: str) -> list[str]:
        """The methods with scored rows in a region."""
        return list(dict.fromkeys(row.method for row in self._scored() if row.region == region))

    def sessions(self, method: str, region: str) -> dict[SessionKey, ScoreRow]:
        """The scored rows of a method in a region, by session.

        Raises:
            ScoresError: there are none, or two of one session.
        """
        rows: dict[SessionKey, ScoreRow] = {}
        for row in self._scored():
            if (row.method, row.region) != (method, region):
                continue
            if row.key in rows:
                raise ScoresError(
                    f"{self.path}: {row.key.name} has two rows of method {method} in region {region}; "
                    "a session has one, so evaluate again"
                )
            rows[row.key] = row
        if not rows:
            scored = sorted({f"{row.method} in {row.region}" for row in self._scored()})
            raise ScoresError(
                f"{self.path}: no scored row of method {method} in region {region}; it has "
                f"{', '.join(scored) or 'none at all'}; choose with --method and --region"
            )
        return rows

    def _scored(self) -> list[ScoreRow]:
        return [row for row in self.scores.rows if row.is_scored]


def open_tables(paths: Sequence[Path], labels: Sequence[str] = (), region: str = "brain") -> list[ComparedTable]:
    """Read tables.

    Args:
        paths: `per_subject.csv` files, the folders they lie in, or run folders with `metrics/per_subject.csv`.
        labels: one for each; default the names of the runs' folders.
        region: that all of them must have.

    Raises:
        InputError: no such table, no table of scores, a table twice, one without the region, or labels that do not fit.
    """
    files = [_find(path) for path in paths]
    if len({file.resolve() for file in files}) < len(files):
        raise ScoresError(f"one table is given twice: {', '.join(map(str, files))}; name each once")
    if labels and len(labels) != len(files):
        raise ScoresError(f"{len(labels)} --label for {len(files)} tables; give one for each, in their order")
    labels = list(labels) or _labels(files)
    if len(set(labels)) < len(labels):
        raise ScoresError(f"two tables have one label: {', '.join(labels)}; give each its own with --label")
    tables = [_read(file, label) for file, label in zip(files, labels, strict=True)]
    for table in tables:
        table.check_region(region)
    return tables


def compared_metric(name: str, tables: Sequence[ComparedTable]) -> ComparedMetric:
    """The definition of a metric: from `METRICS`, else from the `definitions.json` beside a table.

    Raises:
        ScoresError: a table lacks it, or no definition states which direction is good.
    """
    _check_column(name, tables)
    if name in METRICS:
        metric = METRICS[name]
        return ComparedMetric(name, metric.label, metric.unit, metric.better)
    for table in tables:
        definition = table.definitions.get(name)
        if definition is not None and definition.better is not None:
            return ComparedMetric(name, definition.label or name, definition.unit, definition.better)
    raise ScoresError(f"--metric {name}: nothing says which direction is good; choose a metric: {', '.join(METRICS)}")


def _check_column(name: str, tables: Sequence[ComparedTable]) -> None:
    lacking = [table.label for table in tables if name not in table.scores.metrics]
    if lacking:
        names = list(dict.fromkeys(metric for table in tables for metric in table.scores.metrics))
        close = difflib.get_close_matches(name, names, 1)
        hint = f"did you mean `{close[0]}`?" if close else f"the metrics are {', '.join(METRICS)}"
        raise ScoresError(f"--metric {name}: {', '.join(lacking)} has no such column; {hint}")


def _find(path: Path) -> Path:
    file = find_scores(path)
    if file is None:
        raise ScoresError(
            f"{path}: no table of scores, no {SCORES_FILE} and no metrics/{SCORES_FILE} there; name what "
            "`volumetric evaluate` wrote"
        )
    return file


def _read(path: Path, label: str) -> ComparedTable:
    info, definitions = path.with_name(INFO_FILE), path.with_name(DEFINITIONS_FILE)
    return ComparedTable(
        label,
        path,
        ScoreTable.read(path),
        EvaluationInfo.read(info).run if info.exists() else None,
        Definitions.read(definitions).metrics if definitions.exists() else {},
    )


def _labels(files: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths that tell them apart, without what every path has."""
    parts = []
    for file in files:
        *folders, name = (file.resolve() if ".." in file.parts else file.absolute()).parts
        if name != SCORES_FILE:
            folders.append(file.stem.removesuffix("_per_subject"))
        elif folders[-1] == "metrics":
            del folders[-1]
        parts.append(folders)
    for depth in range(1, max(map(len, parts))):
        labels = ["/".join(part[-depth:]) for part in parts]
        if len(set(labels)) == len(labels):
            return labels
    return list(map(str, files))
