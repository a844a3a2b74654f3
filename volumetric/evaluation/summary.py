"""Summary of scores over subjects: one row a group and metric."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from volumetric.metrics.statistics import summarize_columns
from volumetric.metrics.table import METRICS
from volumetric.records.scores import ScoreRow, SummaryRow
from volumetric.records.table import SessionKey

log = logging.getLogger(__name__)

_Key = TypeVar("_Key", bound=Hashable)

ALL_SUBJECTS = ""
"""The group of all subjects."""
_FEW_VALUES = 6
_MANY_VALUES = 20
_UNKNOWN = "unknown"
_EMPTY = {"", "n/a", "nan", _UNKNOWN}  # n/a is BIDS's word


@dataclass(frozen=True)
class _Values:
    """The metrics of the scored rows by session, so that a group is a choice of sessions.

    Attributes:
        keys: (method, region), P of them.
        subjects: of each session the number of its subject, `(V,)`.
        array: `(V, P, M)`, NaN where the session has no such row.
        present: `(V, P)`, whether it has.
    """

    keys: list[tuple[str, str]]
    subjects: NDArray[np.int64]
    array: NDArray[np.float64]
    present: NDArray[np.bool_]


def summary_rows(
    rows: Sequence[ScoreRow],
    num_subjects: int,
    covariates: Sequence[str] = (),
    *,
    units: Mapping[str, str] | None = None,
) -> list[SummaryRow]:
    """Summarize the rows of `per_subject.csv` over subjects, all of them and by covariate.

    Sessions of one subject are not independent, so they are averaged first and every statistic is over subjects; a
    session's value that is not finite makes the subject's so. A subject whose sessions fall into several groups counts
    in each, with the sessions in it.

    Args:
        rows: failed ones too, each with its covariates.
        num_subjects: expected number of subjects; those without a number are counted in `num_missing`.
        covariates: columns to group by. Every value is a group (`site=guys`); of numbers with more than 6 different
            values the tertiles of subjects are, named by their lowest and highest value (`age=31-46`); an empty cell
            (or `n/a`) is `unknown`. Text with more than 20 different values is no group and is logged.
        units: from a metric to summarize to its unit; default those of `METRICS`.

    Returns:
        One row per group, method, region and metric. The 95 % interval of the mean resamples subjects.
    """
    units = {m.name: m.unit for m in METRICS.values()} if units is None else units
    first_rows: dict[SessionKey, ScoreRow] = {}
    for row in rows:
        first_rows.setdefault(row.key, row)
    values = _collect(rows, list(first_rows), list(units))
    groups = [(ALL_SUBJECTS, np.ones(len(first_rows), dtype=bool))]
    for covariate in covariates:
        texts = [_text(row.covariates.get(covariate, "")) for row in first_rows.values()]
        groups += _groups(covariate, texts, values.subjects)
    summaries: list[SummaryRow] = []
    for group, chosen in groups:
        expected = num_subjects if group == ALL_SUBJECTS else len(np.unique(values.subjects[chosen]))
        summaries += _summarize(values, group, chosen, expected, units)
    return summaries


def _text(cell: str) -> str:
    """A covariate's cell, `unknown` for every way to leave it empty."""
    text = cell.strip()
    return _UNKNOWN if text.lower() in _EMPTY else text


def _collect(rows: Sequence[ScoreRow], sessions: Sequence[SessionKey], metrics: Sequence[str]) -> _Values:
    scored = [row for row in rows if row.is_scored]
    number_of_session = _numbered(sessions)
    number_of_key = _numbered((row.method, row.region) for row in scored)
    number_of_subject = _numbered(session.subject_id for session in sessions)
    array = np.full((len(sessions), len(number_of_key), len(metrics)), np.nan)
    present = np.zeros(array.shape[:2], dtype=bool)
    for row in scored:
        place = number_of_session[row.key], number_of_key[row.method, row.region]
        array[place] = [row.metrics.get(metric, np.nan) for metric in metrics]
        present[place] = True
    subjects = np.array([number_of_subject[session.subject_id] for session in sessions], dtype=np.int64)
    return _Values(list(number_of_key), subjects, array, present)


def _numbered(keys: Iterable[_Key]) -> dict[_Key, int]:
    """From each different key to its number, in order of first appearance."""
    return {key: number for number, key in enumerate(dict.fromkeys(keys))}


def _summarize(
    values: _Values, group: str, chosen: NDArray[np.bool_], expected: int, units: Mapping[str, str]
) -> list[SummaryRow]:
    """The summaries of the chosen sessions."""
    subjects, place = np.unique(values.subjects[chosen], return_inverse=True)
    counts = np.zeros((len(subjects), len(values.keys)))
    np.add.at(counts, place, values.present[chosen])
    totals = np.zeros((len(subjects), *values.array.shape[1:]))
    with np.errstate(invalid="ignore"):
        np.add.at(totals, place, np.where(values.present[chosen, :, None], values.array[chosen], 0))
        means = totals / np.where(counts > 0, counts, np.nan)[:, :, None]
    statistics = summarize_columns(means.reshape(len(subjects), -1))
    num_scored = (counts > 0).sum(axis=0)
    summaries: list[SummaryRow] = []
    for key, (method, region) in enumerate(values.keys):
        num_missing, num_absent = expected - int(num_scored[key]), len(subjects) - int(num_scored[key])
        for column, (metric, unit) in enumerate(units.items()):
            numbers = asdict(statistics[key * len(units) + column])
            numbers["num_nonfinite"] -= num_absent
            ids = {"method": method, "region": region, "group": group, "metric": metric, "unit": unit}
            summaries.append(SummaryRow.model_validate({**ids, "num_missing": num_missing, **numbers}))
    return summaries


def _groups(covariate: str, texts: Sequence[str], subjects: NDArray[np.int64]) -> list[tuple[str, NDArray[np.bool_]]]:
    """The groups of a covariate: name and chosen sessions."""
    groups = _known_groups(covariate, texts, subjects)
    unknown = np.array([text == _UNKNOWN for text in texts])
    return [*groups, (f"{covariate}={_UNKNOWN}", unknown)] if groups and unknown.any() else groups


def _known_groups(
    covariate: str, texts: Sequence[str], subjects: NDArray[np.int64]
) -> list[tuple[str, NDArray[np.bool_]]]:
    known = sorted(set(texts) - {_UNKNOWN})
    numbers = _numbers(known)
    if len(known) > _FEW_VALUES and numbers is not None:
        value_of = dict(zip(known, numbers, strict=True)) | {_UNKNOWN: np.nan}
        return _tertiles(covariate, np.array([value_of[text] for text in texts]), subjects)
    if len(known) > _MANY_VALUES:
        log.warning("the summary has no groups of `%s`: it has %d different values", covariate, len(known))
        return []
    ordered = known if numbers is None else [known[i] for i in np.argsort(numbers, kind="stable")]
    return [(f"{covariate}={value}", np.array([text == value for text in texts])) for value in ordered]


def _tertiles(
    covariate: str, values: NDArray[np.float64], subjects: NDArray[np.int64]
) -> list[tuple[str, NDArray[np.bool_]]]:
    """Cut at the tertiles of subjects, each counted once with its mean over sessions."""
    known = np.isfinite(values)
    means = [values[known & (subjects == subject)].mean() for subject in np.unique(subjects[known])]
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
