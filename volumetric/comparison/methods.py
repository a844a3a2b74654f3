"""Methods that are compared: a method of one table, or of several tables that are seeds of one configuration."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile

import numpy as np
from numpy.typing import NDArray

from volumetric.comparison.tables import ComparedMetric, ComparedTable
from volumetric.errors import InputError
from volumetric.records.scores import ScoreRow
from volumetric.records.table import SessionKey

_SAME = 1e-6
"""Relative; tables hold nine digits."""


class CompareError(InputError):
    """A comparison that would mean nothing, or a call that is wrong."""


@dataclass(frozen=True)
class MethodScores:
    """The scored rows of one method of one table in one region, by session."""

    table: ComparedTable
    method: str
    rows: Mapping[SessionKey, ScoreRow]

    def values(
        self, metric: ComparedMetric, sessions: Sequence[SessionKey], *, signed: bool = False
    ) -> NDArray[np.float64]:
        """One number a session `(V,)`; absolute where nearer to zero is better, unless `signed`."""
        values = np.array([self.rows[session].metrics.get(metric.name, math.nan) for session in sessions])
        return np.abs(values) if metric.better == "zero" and not signed else values


@dataclass(frozen=True)
class ComparedMethod:
    """One side of a comparison: one member, or one for each seed.

    Attributes:
        label: its name in the output.
        members: in the tables' order.
    """

    label: str
    members: tuple[MethodScores, ...]

    @property
    def sessions(self) -> list[SessionKey]:
        """The sessions that every member has."""
        first, *others = (member.rows for member in self.members)
        return [session for session in first if all(session in other for other in others)]

    @property
    def partial(self) -> list[SessionKey]:
        """The sessions that only some members have."""
        everywhere = set(self.sessions)
        return list(dict.fromkeys(s for member in self.members for s in member.rows if s not in everywhere))

    def values(self, metric: ComparedMetric, sessions: Sequence[SessionKey]) -> NDArray[np.float64]:
        """One number a session `(V,)`: the mean over members."""
        means: NDArray[np.float64] = np.stack([m.values(metric, sessions) for m in self.members]).mean(axis=0)
        return means


def subject_means(values: NDArray[np.float64], sessions: Sequence[SessionKey]) -> tuple[list[str], NDArray[np.float64]]:
    """Average the sessions of each subject: their names `(S,)` and means `(S,)`; not finite if a session is not."""
    by_subject: dict[str, list[float]] = defaultdict(list)
    for session, value in zip(sessions, values, strict=True):
        by_subject[session.subject_id].append(value)
    return list(by_subject), np.array([np.mean(numbers) for numbers in by_subject.values()])


def group_seeds(members: Sequence[MethodScores]) -> tuple[list[ComparedMethod], list[str]]:
    """Join tables of runs that differ in nothing but the seed.

    Returns:
        The methods, in the order of their first members; and sentences about tables that are not joined although they
        have one configuration.
    """
    groups: dict[str, list[MethodScores]] = defaultdict(list)
    for place, member in enumerate(members):
        run = member.table.run
        groups[run.settings_sha256 if run else f"table {place}"].append(member)
    methods, notes = [], []
    for group in groups.values():
        labels = [member.table.label for member in group]
        if _has_seed_twice(group):
            notes.append(
                f"{', '.join(labels)} have one configuration, and two of them one seed: they are compared as they are, "
                "not joined as seeds."
            )
            methods += [ComparedMethod(member.table.label, (member,)) for member in group]
        else:
            label = f"{_common_start(labels)} ({len(group)} seeds)" if len(group) > 1 else labels[0]
            methods.append(ComparedMethod(label, tuple(group)))
    order = {id(member): place for place, member in enumerate(members)}
    return sorted(methods, key=lambda method: order[id(method.members[0])]), notes


def _has_seed_twice(group: Sequence[MethodScores]) -> bool:
    seeds = [member.table.run.seed for member in group if member.table.run]
    return len(set(seeds)) < len(seeds)


def _common_start(labels: Sequence[str]) -> str:
    """`unet` of `unet_seed0` and `unet_seed1`; the first label if they begin differently."""
    same = takewhile(lambda letters: len(set(letters)) == 1, zip(*labels, strict=False))
    start = "".join(letters[0] for letters in same)
    return start.rstrip("-_/. ").removesuffix("seed").rstrip("-_/. ") or labels[0]


def check_comparable(first: MethodScores, second: MethodScores, *, across_scales: bool) -> list[str]:
    """Check that two methods were scored against the same truth in the same way, session by session.

    Args:
        first: one.
        second: the other.
        across_scales: whether `prediction_scale` may differ.

    Returns:
        Sentences about what differs by permission or cannot be checked.

    Raises:
        CompareError: they have no session in common, or `data_range`, `mask_rule`, `truth_outside_mask`,
            `prediction_scale` or the truth (by `truth_median` and `num_voxels`) differ; the message names all columns
            with values and the way out.
    """
    names = f"{first.table.label} and {second.table.label}"
    shared = _shared_sessions(first, second)
    if first.table is second.table:
        return []
    problems: list[str] = []
    notes: list[str] = []
    for column in _MUST_AGREE:
        cells = [(s, _cell(first.rows[s], column), _cell(second.rows[s], column)) for s in shared]
        difference = _difference(column, cells, first.table.label, second.table.label)
        if _is_lacking(column, cells):
            notes += _LACKING.get(column, [])
        elif difference and column == "prediction_scale" and across_scales:
            notes.append(difference.permitted)
        elif difference:
            problems.append(difference.problem)
    if problems:
        raise CompareError(f"{names} cannot be compared: " + " · ".join(problems))
    return notes


@dataclass(frozen=True)
class _Difference:
    """The sentence about a column that differs, as a note and as a problem."""

    permitted: str
    problem: str


def _shared_sessions(first: MethodScores, second: MethodScores) -> list[SessionKey]:
    shared = [session for session in first.rows if session in second.rows]
    if not shared:
        raise CompareError(
            f"{first.table.label} and {second.table.label} have no session in common ({next(iter(first.rows)).name}, "
            f"... and {next(iter(second.rows)).name}, ...); compare evaluations of the same subjects"
        )
    return shared


def _is_lacking(column: str, cells: Sequence[tuple[SessionKey, str, str]]) -> bool:
    return column in _MAY_LACK and any("" in (a, b) for _, a, b in cells)


def _difference(
    column: str, cells: Sequence[tuple[SessionKey, str, str]], first: str, second: str
) -> _Difference | None:
    differing = [cell for cell in cells if not _same(cell[1], cell[2])]
    if not differing:
        return None
    session, a, b = differing[0]
    meaning, way_out = _MUST_AGREE[column]
    values = f"{column} is {a or 'empty'} in {first} and {b or 'empty'} in {second}"
    count = f"{len(differing)} of {len(cells)} sessions, first {session.name}"
    return _Difference(
        f"{values}: compared all the same, as --across-scales asks.", f"{values} ({count}): {meaning}; {way_out}"
    )


_MUST_AGREE = {
    "data_range": ("PSNR and SSIM have other units", "evaluate both with the same training rows in the manifest"),
    "mask_rule": ("other voxels were scored", "evaluate both with the same masks"),
    "truth_outside_mask": ("other voxels were scored", "evaluate both with this version"),
    "prediction_scale": (
        "another intensity rule",
        "evaluate both with one --prediction-scale, or give --across-scales if each tool has its own units",
    ),
    "truth_median": ("another truth", "evaluate both against one manifest"),
    "num_voxels": ("another truth or mask", "evaluate both against one manifest"),
}
_MAY_LACK = {"truth_median", "num_voxels", "truth_outside_mask"}
_LACKING = {"truth_median": ["truth_median is not in every table, so only num_voxels says that the truth is the same."]}


def _cell(row: ScoreRow, column: str) -> str:
    """As the file holds it."""
    value = getattr(row, column)
    return "" if value is None else f"{value:.9g}" if isinstance(value, float) else str(value)


def _same(a: str, b: str) -> bool:
    if a == b:
        return True
    try:
        return math.isclose(float(a), float(b), rel_tol=_SAME)
    except ValueError:
        return False
