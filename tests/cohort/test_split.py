from collections import Counter

import pytest

from volumetric.cohort.split import SplitError, split_rows
from volumetric.manifest import ManifestRow


def subjects(count, **covariates):
    return [
        ManifestRow(f"p{k:03d}", covariates={key: str(value(k)) for key, value in covariates.items()})
        for k in range(count)
    ]


def parts(rows):
    return {row.subject_id: row.split or row.fold for row in rows}


def test_counts_are_the_fractions():
    counts = Counter(parts(split_rows(subjects(100))).values())
    assert counts == {"train": 70, "val": 15, "test": 15}
    assert Counter(parts(split_rows(subjects(20), fractions=(0.5, 0, 0.5))).values()) == {"train": 10, "test": 10}


def test_the_order_of_rows_does_not_matter_and_the_seed_does():
    rows = subjects(30)
    assert parts(split_rows(rows[::-1])) == parts(split_rows(rows))
    assert [row.subject_id for row in split_rows(rows[::-1])] == [row.subject_id for row in rows[::-1]]
    assert parts(split_rows(rows, seed=1)) != parts(split_rows(rows))


def test_sessions_of_a_subject_stay_together():
    rows = [
        ManifestRow(f"p{k}", session_id=str(s), covariates={"age": str(20 + k + s)})
        for k in range(12)
        for s in range(3)
    ]
    found = {}
    for row in split_rows(rows, stratify=["age"]):
        found.setdefault(row.subject_id, set()).add(row.split)
    assert all(len(splits) == 1 for splits in found.values())


@pytest.mark.parametrize(("count", "expected"), [(1, {"train"}), (2, {"train", "test"}), (3, {"train", "val", "test"})])
def test_few_subjects_fill_every_part_that_they_can(count, expected):
    assert set(parts(split_rows(subjects(count))).values()) == expected


def test_strata_are_dealt_out_in_proportion():
    rows = subjects(120, site=lambda k: "ABC"[k % 3], sex=lambda k: "MF"[k // 3 % 2], age=lambda k: 20 + k * 7 % 61)
    dealt = parts(split_rows(rows, fractions=(0.5, 0.25, 0.25), stratify=["site", "sex"]))
    for site in "ABC":
        for sex in "MF":
            own = [dealt[r.subject_id] for r in rows if (r.covariates["site"], r.covariates["sex"]) == (site, sex)]
            assert Counter(own) == {"train": 10, "val": 5, "test": 5}
    dealt = parts(split_rows(rows, fractions=(0.5, 0.25, 0.25), stratify=["age"]))
    ages = sorted(rows, key=lambda r: int(r.covariates["age"]))
    for start in (0, 90):  # the youngest and the oldest quarter, but for those at its edge
        counts = Counter(dealt[r.subject_id] for r in ages[start : start + 30])
        assert abs(counts["train"] - 15) <= 2
        assert abs(counts["test"] - 7.5) <= 2


def test_small_strata_are_merged_into_others():
    rows = subjects(21, site=lambda k: "big" if k < 19 else f"small{k}")
    assert Counter(parts(split_rows(rows, fractions=(0.6, 0.2, 0.2), stratify=["site"])).values())["train"] in (12, 13)


def test_missing_covariates_are_a_stratum_of_their_own():
    rows = subjects(40, age=lambda k: "" if k < 8 else 20 + k)
    dealt = parts(split_rows(rows, fractions=(0.5, 0.25, 0.25), stratify=["age"]))
    assert Counter(dealt[f"p{k:03d}"] for k in range(8)) == {"train": 4, "val": 2, "test": 2}


def test_folds_instead_of_splits():
    rows = split_rows(subjects(11), num_folds=4)
    assert sorted(Counter(row.fold for row in rows).values()) == [2, 3, 3, 3]
    assert {row.fold for row in rows} == {"0", "1", "2", "3"}
    assert {row.split for row in rows} == {""}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fractions": (0.7, 0.2, 0.2)}, "add up to 1"),
        ({"fractions": (1.2, -0.2, 0.0)}, "add up to 1"),
        ({"fractions": (float("nan"), 0.5, 0.5)}, "add up to 1"),
        ({"fractions": (0.0, 0.5, 0.5)}, "no subject is left to train"),
        ({"num_folds": 1}, "expected 2 to 5"),
        ({"num_folds": 6}, "expected 2 to 5"),
        ({"stratify": ["sight"]}, r"no subject has this covariate \(there are: site\)"),
    ],
)
def test_splits_that_are_none(options, message):
    with pytest.raises(SplitError, match=message):
        split_rows(subjects(5, site=lambda k: "A"), **options)
