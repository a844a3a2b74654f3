"""The split of subjects into training, validation and test, or into folds: by seed alone, whatever the rows' order."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from volumetric.errors import InputError
from volumetric.manifest import SPLITS, ManifestRow
from volumetric.outputs import hash_json

FEW_VALUES = 6
"""A covariate of numbers with more distinct values than this is cut into bins."""

NUM_BINS = 4
"""Bins of equally many subjects."""

_FIRST_SERVED = ("train", "test", "val")
"""Order in which parts get a subject where there are fewer subjects than parts."""


class SplitError(InputError):
    """Options or covariates that allow no split."""


def split_rows(
    rows: Sequence[ManifestRow],
    *,
    fractions: tuple[float, float, float] = (0.7, 0.15, 0.15),
    num_folds: int | None = None,
    seed: int = 0,
    stratify: Sequence[str] = (),
) -> tuple[ManifestRow, ...]:
    """Fill the split, or the fold, of every row.

    All sessions of a subject stay together. Every stratum is split in proportion, and so is the whole.
    Where there are enough subjects, each part with a fraction above 0 gets at least one.

    Args:
        rows: sessions, in any order.
        fractions: of subjects in train, val and test; they add up to 1.
        num_folds: fill `fold` with 0 .. num_folds - 1 and no split.
        seed: another seed gives another split.
        stratify: covariates, the most important first. Numbers with many values are cut into quarters of the
            subjects. Strata with fewer subjects than there are parts are merged over the last covariate, and so on.

    Returns:
        The rows in the same order.

    Raises:
        SplitError: fractions that do not add up to 1, a covariate that no subject has, or fewer subjects than folds.
    """
    subjects = _covariates(rows)
    if num_folds is None:
        check_fractions(fractions)
        parts = {split: f for split, f in zip(SPLITS, fractions, strict=True) if f > 0}
    else:
        if not 2 <= num_folds <= len(subjects):
            raise SplitError(_folds_problem(num_folds, len(subjects)))
        parts = {str(fold): 1 / num_folds for fold in range(num_folds)}
    strata = _strata(subjects, stratify, smallest=len(parts))
    order = sorted(subjects, key=lambda subject: (strata[subject], hash_json([seed, subject])))
    part_of = _deal(order, parts)
    if num_folds is None:
        return tuple(replace(row, split=part_of[row.subject_id]) for row in rows)
    return tuple(replace(row, fold=part_of[row.subject_id]) for row in rows)


def _folds_problem(num_folds: int, num_subjects: int) -> str:
    if num_subjects < 2:
        return f"--folds {num_folds}: there is {num_subjects} subject, and two folds need two; name more subjects"
    return f"--folds {num_folds}: expected 2 to {num_subjects}, the number of subjects"


def _deal(order: Sequence[str], parts: Mapping[str, float]) -> dict[str, str]:
    """Give each in turn to the part that is furthest behind its fraction, so that every stretch is in proportion."""
    part_of: dict[str, str] = {}
    counts = dict.fromkeys(parts, 0)
    for number, subject in enumerate(order, start=1):
        part = max(parts, key=lambda p: round(parts[p] * number - counts[p], 9))  # ties go to the first part
        part_of[subject] = part
        counts[part] += 1
    served = sorted(parts, key=lambda p: _FIRST_SERVED.index(p) if p in _FIRST_SERVED else 0)
    for part in [p for p in served if counts[p] == 0]:
        largest = max(parts, key=lambda p: counts[p])
        if counts[largest] > 1:
            subject = [s for s in order if part_of[s] == largest][-1]
            part_of[subject] = part
            counts[largest] -= 1
            counts[part] += 1
    return part_of


def _covariates(rows: Sequence[ManifestRow]) -> dict[str, dict[str, str]]:
    """The covariates of each subject: of sessions that differ, the first that has a value."""
    subjects: dict[str, dict[str, str]] = {}
    for row in sorted(rows, key=lambda r: (r.subject_id, r.session_id)):
        known = subjects.setdefault(row.subject_id, {})
        known |= {key: value for key, value in row.covariates.items() if value and key not in known}
    return subjects


def _strata(
    subjects: Mapping[str, Mapping[str, str]], stratify: Sequence[str], *, smallest: int
) -> dict[str, tuple[str, ...]]:
    """The stratum of each subject, none of them smaller than `smallest` but for the last one of all others."""
    labels = [_labels(subjects, covariate) for covariate in stratify]
    strata = {subject: tuple(own[subject] for own in labels) for subject in subjects}
    for length in range(len(stratify) - 1, -1, -1):
        sizes = Counter(strata.values())
        strata = {s: label[:length] if sizes[label] < smallest else label for s, label in strata.items()}
    return strata


def _labels(subjects: Mapping[str, Mapping[str, str]], covariate: str) -> dict[str, str]:
    """The value of a covariate for each subject, numbers in bins."""
    values = {subject: known.get(covariate, "") for subject, known in subjects.items()}
    if not any(values.values()):
        names = ", ".join(sorted({key for known in subjects.values() for key in known})) or "none"
        raise SplitError(f"--stratify {covariate}: no subject has this covariate (there are: {names})")
    return _binned(values)


def _binned(values: Mapping[str, str]) -> dict[str, str]:
    """Numbers with many values -> `1` to `4` by quarter of the subjects; everything else stays."""
    numbers = {}
    for subject, value in values.items():
        if value:
            try:
                numbers[subject] = float(value)
            except ValueError:
                return dict(values)
    ordered = sorted(numbers.values())
    if len(set(ordered)) <= FEW_VALUES or not all(map(math.isfinite, ordered)):
        return dict(values)
    edges = [ordered[len(ordered) * k // NUM_BINS] for k in range(1, NUM_BINS)]
    return {s: str(1 + sum(numbers[s] >= edge for edge in edges)) if s in numbers else "" for s in values}


def check_fractions(fractions: tuple[float, float, float]) -> None:
    """Check that they add up to 1 and leave subjects to train on.

    Raises:
        SplitError: they do not.
    """
    text = ",".join(f"{f:g}" for f in fractions)
    if not all(math.isfinite(f) and f >= 0 for f in fractions) or abs(sum(fractions) - 1) > 1e-6:
        raise SplitError(f"--split {text}: expected three fractions that add up to 1, as in 0.7,0.15,0.15")
    if fractions[0] == 0:
        raise SplitError(f"--split {text}: no subject is left to train on; give the first fraction more than 0")
