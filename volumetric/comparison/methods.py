"""Who is compared with whom: one table, several seeds of one configuration, or a method; and whether they may be."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

import numpy as np
from numpy.typing import NDArray

from volumetric.comparison.tables import Column, Row, Scores, Visit, number, visit_name
from volumetric.errors import InputError

_SAME = 1e-6
"""Relative; tables hold nine digits."""


class CompareError(InputError):
    """A comparison that would mean nothing, or a call that is wrong."""


@dataclass(frozen=True)
class Member:
    """The scored rows of one method of one table in one region."""

    scores: Scores
    method: str
    visits: dict[Visit, Row]

    def values(self, column: Column, visits: Sequence[Visit], *, signed: bool = False) -> NDArray[np.float64]:
        """One number a visit `(V,)`; absolute ones where nearer to zero is better, unless `signed`."""
        found = np.array([number(self.visits[visit], column.name, self.scores.path) for visit in visits])
        return np.abs(found) if column.better == "zero" and not signed else found


@dataclass(frozen=True)
class Contender:
    """One side of a comparison: one member, or one for each seed.

    Attributes:
        label: how the output calls it.
        members: in the order given.
    """

    label: str
    members: tuple[Member, ...]

    @property
    def visits(self) -> list[Visit]:
        """The visits that every member has."""
        first, *others = (member.visits for member in self.members)
        return [visit for visit in first if all(visit in other for other in others)]

    @property
    def partial(self) -> list[Visit]:
        """The visits that only some members have."""
        everywhere = set(self.visits)
        return list(dict.fromkeys(v for member in self.members for v in member.visits if v not in everywhere))

    def values(self, column: Column, visits: Sequence[Visit]) -> NDArray[np.float64]:
        """One number a visit `(V,)`: the mean over members."""
        found: NDArray[np.float64] = np.stack([member.values(column, visits) for member in self.members]).mean(axis=0)
        return found


def subject_means(values: NDArray[np.float64], visits: Sequence[Visit]) -> tuple[list[str], NDArray[np.float64]]:
    """Average the sessions of each subject: their names `(S,)` and means `(S,)`; not finite if a session is not."""
    sessions: dict[str, list[float]] = defaultdict(list)
    for (subject, _), value in zip(visits, values, strict=True):
        sessions[subject].append(value)
    return list(sessions), np.array([np.mean(found) for found in sessions.values()])


def group_seeds(members: Sequence[Member]) -> tuple[list[Contender], list[str]]:
    """Join tables of runs that differ in nothing but the seed.

    Returns:
        The contenders, in the order in which their first member was given; and sentences about what was not joined
        although it looks alike.
    """
    groups: dict[str, list[Member]] = defaultdict(list)
    for place, member in enumerate(members):
        run = member.scores.run
        groups[run.settings_sha256 if run else f"table {place}"].append(member)
    contenders, notes = [], []
    for group in groups.values():
        seeds = [member.scores.run.seed for member in group if member.scores.run]
        labels = [member.scores.label for member in group]
        if len(group) > 1 and len(set(seeds)) < len(seeds):
            notes.append(
                f"{', '.join(labels)} have one configuration, and two of them one seed: they are compared as they are, "
                "not joined as seeds."
            )
            contenders += [Contender(member.scores.label, (member,)) for member in group]
        elif len(group) > 1:
            contenders.append(Contender(f"{_common_start(labels)} ({len(group)} seeds)", tuple(group)))
        else:
            contenders.append(Contender(labels[0], tuple(group)))
    order = {id(member): place for place, member in enumerate(members)}
    return sorted(contenders, key=lambda c: order[id(c.members[0])]), notes


def _common_start(labels: Sequence[str]) -> str:
    """`unet` of `unet_seed0` and `unet_seed1`; the first label if they begin differently."""
    same = takewhile(lambda letters: len(set(letters)) == 1, zip(*labels, strict=False))
    start = "".join(letters[0] for letters in same)
    return start.rstrip("-_/. ").removesuffix("seed").rstrip("-_/. ") or labels[0]


def check_comparable(first: Member, second: Member, *, across_scales: bool) -> list[str]:
    """Check that two members scored the same truth in the same way, visit by visit.

    Args:
        first: one.
        second: the other.
        across_scales: whether `prediction_scale` may differ.

    Returns:
        Sentences about what differs by permission or cannot be checked.

    Raises:
        CompareError: they have no visit in common, or `data_range`, `mask_rule`, `truth_outside_mask`,
            `prediction_scale` or the truth (by `truth_median` and `num_voxels`) differ; the message names all columns
            with values and the way out.
    """
    names = f"{first.scores.label} and {second.scores.label}"
    shared = [visit for visit in first.visits if visit in second.visits]
    if not shared:
        raise CompareError(
            f"{names} have no visit in common ({visit_name(next(iter(first.visits)))}, ... and "
            f"{visit_name(next(iter(second.visits)))}, ...); compare evaluations of the same people"
        )
    if first.scores is second.scores:
        return []
    problems, notes = [], []
    for column, (what, way_out) in _MUST_AGREE.items():
        pairs = [(v, first.visits[v].get(column) or "", second.visits[v].get(column) or "") for v in shared]
        if column in _MAY_LACK and any("" in (a, b) for _, a, b in pairs):
            if column == "truth_median":
                notes.append("truth_median is not in every table, so only num_voxels says that the truth is the same.")
            continue
        differing = [pair for pair in pairs if not _same(pair[1], pair[2])]
        if not differing:
            continue
        visit, a, b = differing[0]
        values = f"{column} is {a or 'empty'} in {first.scores.label} and {b or 'empty'} in {second.scores.label}"
        if column == "prediction_scale" and across_scales:
            notes.append(f"{values}: compared all the same, as --across-scales asks.")
            continue
        problems.append(
            f"{values} ({len(differing)} of {len(shared)} visits, first {visit_name(visit)}): {what}; {way_out}"
        )
    if problems:
        raise CompareError(f"{names} cannot be compared: " + " · ".join(problems))
    return notes


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


def _same(a: str, b: str) -> bool:
    if a == b:
        return True
    try:
        return math.isclose(float(a), float(b), rel_tol=_SAME)
    except ValueError:
        return False
