"""From one row a subject, session, method and region to one row a group and metric."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volumetric.metrics.statistics import summarize_columns
from volumetric.metrics.table import METRICS

log = logging.getLogger(__name__)

Row = Mapping[str, object]
Flags = NDArray[np.bool_]

EVERYBODY = ""
"""The group of all people."""
_FEW_VALUES = 6
_MANY_VALUES = 20
_UNKNOWN = "unknown"
_EMPTY = {"", "n/a", "nan", _UNKNOWN}  # n/a is BIDS's word


@dataclass(frozen=True)
class _Cells:
    """The numbers of the scored rows by visit, so that a group is a choice of visits.

    Attributes:
        keys: (method, region), P of them.
        people: of each visit the number of its person, `(V,)`.
        values: `(V, P, M)`, NaN where the visit has no such row.
        present: `(V, P)`, whether it has.
    """

    keys: list[tuple[str, str]]
    people: NDArray[np.int64]
    values: NDArray[np.float64]
    present: Flags


def summary_rows(
    rows: Sequence[Row],
    num_subjects: int,
    covariates: Sequence[str] = (),
    *,
    units: Mapping[str, str] | None = None,
) -> list[dict[str, object]]:
    """Summarize the rows of `per_subject.csv` over people, all of them and by covariate.

    Sessions of one person are not independent, so they are averaged first and every statistic is over people; a
    session's value that is not finite makes the person's so. A person whose sessions fall into several groups counts
    in each, with the sessions in it.

    Args:
        rows: their dictionaries, failed ones too, each with `subject_id`, `method`, `region`, `status`, the metrics
            and, failed or not, its covariates.
        num_subjects: how many people there should be; who has no number is counted in `num_missing`.
        covariates: columns to group by. Every value is a group (`site=guys`); of numbers with more than 6 different
            values the tertiles of people are, named by their lowest and highest value (`age=31-46`); an empty cell
            (or `n/a`) is `unknown`. Text with more than 20 different values is no group and is reported.
        units: from a column to summarize to its unit; default those of `METRICS`.

    Returns:
        One dictionary per group, method, region and metric: `n` people, `num_missing` of the group without a scored
        row, `num_nonfinite`, mean, SD, median, quartiles and the 95 % interval of the mean, which resamples people.
    """
    units = {m.name: m.unit for m in METRICS.values()} if units is None else units
    names = list(dict.fromkeys(str(row["subject_id"]) for row in rows))
    visits = list(dict.fromkeys(_visit(row) for row in rows))
    first_rows: dict[tuple[str, str], Row] = {}
    for row in rows:
        first_rows.setdefault(_visit(row), row)
    cells = _cells(rows, visits, names, list(units))
    groups: list[tuple[str, Flags]] = [(EVERYBODY, np.ones(len(visits), dtype=bool))]
    for covariate in covariates:
        groups += _groups(covariate, [_text(first_rows[visit].get(covariate)) for visit in visits], cells.people)
    summaries: list[dict[str, object]] = []
    for group, chosen in groups:
        expected = num_subjects if group == EVERYBODY else len(np.unique(cells.people[chosen]))
        summaries += _summarize(cells, group, chosen, expected, units)
    return summaries


def _visit(row: Row) -> tuple[str, str]:
    return str(row["subject_id"]), str(row.get("session_id") or "")


def _text(value: object) -> str:
    """A covariate's cell as text, `unknown` for every way to leave it empty."""
    text = "" if value is None else str(value).strip()
    return _UNKNOWN if text.lower() in _EMPTY else text


def _cells(rows: Sequence[Row], visits: list[tuple[str, str]], names: list[str], columns: list[str]) -> _Cells:
    scored = [row for row in rows if row["status"] == "ok" and row["region"]]
    keys = list(dict.fromkeys((str(row["method"]), str(row["region"])) for row in scored))
    number_of = {visit: number for number, visit in enumerate(visits)}
    key_of = {key: number for number, key in enumerate(keys)}
    person_of = {name: number for number, name in enumerate(names)}
    values = np.full((len(visits), len(keys), len(columns)), np.nan)
    present = np.zeros(values.shape[:2], dtype=bool)
    for row in scored:
        place = number_of[_visit(row)], key_of[str(row["method"]), str(row["region"])]
        cells: list[Any] = [row.get(column) for column in columns]
        values[place] = [np.nan if cell is None or cell == "" else cell for cell in cells]
        present[place] = True
    return _Cells(keys, np.array([person_of[subject] for subject, _ in visits], dtype=np.int64), values, present)


def _summarize(
    cells: _Cells, group: str, chosen: Flags, expected: int, units: Mapping[str, str]
) -> list[dict[str, object]]:
    """The summaries of the chosen visits."""
    people, place = np.unique(cells.people[chosen], return_inverse=True)
    counts = np.zeros((len(people), len(cells.keys)))
    np.add.at(counts, place, cells.present[chosen])
    totals = np.zeros((len(people), *cells.values.shape[1:]))
    with np.errstate(invalid="ignore"):
        np.add.at(totals, place, np.where(cells.present[chosen, :, None], cells.values[chosen], 0))
        means = totals / np.where(counts > 0, counts, np.nan)[:, :, None]
    found = summarize_columns(means.reshape(len(people), -1))
    num_scored = (counts > 0).sum(axis=0)
    summaries: list[dict[str, object]] = []
    for key, (method, region) in enumerate(cells.keys):
        num_missing, num_absent = expected - int(num_scored[key]), len(people) - int(num_scored[key])
        for column, (metric, unit) in enumerate(units.items()):
            summary = dict(vars(found[key * len(units) + column]))
            summary["num_nonfinite"] -= num_absent
            summaries.append(
                {"method": method, "region": region, "group": group, "metric": metric, "unit": unit}
                | {"n": summary.pop("n"), "num_missing": num_missing}
                | summary
            )
    return summaries


def _groups(covariate: str, texts: Sequence[str], people: NDArray[np.int64]) -> list[tuple[str, Flags]]:
    """The groups of a covariate: name and which visits."""
    known = sorted(set(texts) - {_UNKNOWN})
    numbers = _numbers(known)
    if len(known) > _FEW_VALUES and numbers is not None:
        value_of = dict(zip(known, numbers, strict=True)) | {_UNKNOWN: np.nan}
        groups = _tertiles(covariate, np.array([value_of[text] for text in texts]), people)
    elif len(known) > _MANY_VALUES:
        log.warning("the summary has no groups of `%s`: it has %d different values", covariate, len(known))
        return []
    else:
        known = known if numbers is None else [known[i] for i in np.argsort(numbers, kind="stable")]
        groups = [(f"{covariate}={value}", np.array([text == value for text in texts])) for value in known]
    unknown = np.array([text == _UNKNOWN for text in texts])
    return [*groups, (f"{covariate}={_UNKNOWN}", unknown)] if groups and unknown.any() else groups


def _tertiles(covariate: str, values: NDArray[np.float64], people: NDArray[np.int64]) -> list[tuple[str, Flags]]:
    """Cut at the tertiles of people, each counted once with its mean over visits."""
    known = np.isfinite(values)
    means = [values[known & (people == person)].mean() for person in np.unique(people[known])]
    low, high = np.quantile(means, [1 / 3, 2 / 3])
    groups = []
    for chosen in (values <= low, (values > low) & (values <= high), values > high):
        if chosen.any():
            bounds = [f"{bound:g}" for bound in (values[chosen].min(), values[chosen].max())]
            groups.append((f"{covariate}={(' to ' if '-' in ''.join(bounds) else '-').join(bounds)}", chosen))
    return groups


def _numbers(texts: Sequence[str]) -> list[float] | None:
    """The texts as finite numbers, or None if one is none."""
    try:
        numbers = [float(text) for text in texts]
    except ValueError:
        return None
    return numbers if np.isfinite(numbers).all() else None
