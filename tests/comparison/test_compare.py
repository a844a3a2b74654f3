import csv
import json
import math

import numpy as np
import pytest
from scipy import stats

from volumetric.comparison.compare import compare
from volumetric.comparison.methods import CompareError
from volumetric.comparison.tables import ScoresError
from volumetric.metrics.statistics import summarize
from volumetric.outputs import OutputError
from volumetric.records.record import RecordError

BASE = {"p0": 20.0, "p1": 21.0, "p2": 22.0, "p3": 23.0, "p4": 24.0, "p5": 25.0, "p6": 26.0}
GAINS = dict(zip(BASE, [1.0, 2.0, 0.5, 3.0, 1.5, 2.5, -0.25], strict=True))
BETTER = {name: BASE[name] + GAINS[name] for name in BASE}

INFO = {
    "format_version": 1, "predictions": "/p", "source": "t1w", "target": "t2w", "split": "test", "data_range": 2.641,
    "num_training_subjects": 2, "prediction_scale": "reference", "versions": {},
}  # fmt: skip


def rows_of(psnr, method="model", region="brain", more=None, **extra):
    """Rows as `evaluate` writes them; a key is a subject or `subject/session`."""
    rows = []
    for name, value in psnr.items():
        subject, _, session = name.partition("/")
        number = int("0" + "".join(filter(str.isdigit, subject)))
        rows.append(
            {
                "subject_id": subject,
                "session_id": session,
                "method": method,
                "region": region,
                "status": "ok",
                "error": "",
                "num_voxels": 1000 + number,
                "psnr_db": value,
                "ssim": value / 40,
                "mae": 4 / value,
                "bias": (value - 23) / 10,
                **(more or {}),
                "data_range": 2.641,
                "mask_rule": "given",
                "truth_outside_mask": "not scored",
                "prediction_scale": "reference" if method == "model" else "",
                "truth_median": 300.5 + number,
                **extra,
            }
        )
    return rows


def write(folder, rows, run=None, definitions=None):
    """A run folder with an evaluation."""
    metrics = folder / "metrics"
    metrics.mkdir(parents=True)
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with (metrics / "per_subject.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)
    (metrics / "evaluation.json").write_text(json.dumps(INFO | {"run": run}))
    if definitions:
        (metrics / "definitions.json").write_text(json.dumps({"format_version": 1} | definitions))
    return folder


def run(seed, settings="aaaa"):
    return {"seed": seed, "settings_sha256": settings, "folder": "/somewhere"}


def failed(subject):
    return {"subject_id": subject, "method": "model", "region": "", "status": "failed", "error": "no prediction"}


def said(comparison):
    return "\n".join(comparison.notes)


@pytest.fixture
def two(tmp_path):
    return [write(tmp_path / name, rows_of(psnr)) for name, psnr in (("old", BASE), ("new", BETTER))]


def test_two_tables_by_hand(two, tmp_path):
    comparison = compare(two, out=tmp_path / "out", metrics=["psnr_db", "mae"])
    psnr, mae = comparison.rows
    gains = np.array(list(GAINS.values()))
    assert (psnr.candidate, psnr.baseline, psnr.metric, psnr.n) == ("new", "old", "psnr_db", 7)
    assert psnr.mean_difference == pytest.approx(gains.mean())
    assert psnr.median_difference == 1.5
    assert (psnr.candidate_mean, psnr.baseline_mean) == pytest.approx((23 + gains.mean(), 23))
    assert (psnr.num_wins, psnr.num_ties, psnr.num_losses, psnr.win_rate) == (6, 0, 1, pytest.approx(6 / 7))
    assert psnr.p == pytest.approx(stats.wilcoxon(gains, method="exact").pvalue)
    assert psnr.p == pytest.approx(4 / 128)
    assert psnr.rank_biserial == pytest.approx((28 - 2) / 28)
    assert psnr.cohens_dz == pytest.approx(gains.mean() / gains.std(ddof=1))
    interval = summarize(gains)
    assert (psnr.ci95_low, psnr.ci95_high) == pytest.approx((interval.ci95_low, interval.ci95_high))
    assert mae.mean_difference < 0  # its own units and sign, while effects speak of the candidate's quality
    assert mae.num_wins == 6
    assert mae.rank_biserial > 0
    assert mae.cohens_dz > 0
    assert (psnr.p_holm, mae.p_holm) == pytest.approx((1 / 16, 1 / 16))  # 2 x 1/32, and not below it
    assert "PSNR +1.46 dB" in said(comparison)
    assert "not significant" in said(comparison)
    with (tmp_path / "out" / "comparison.csv").open() as file:
        written = list(csv.DictReader(file))
    assert float(written[0]["mean_difference"]) == pytest.approx(psnr.mean_difference)
    assert list(written[0]) == list(psnr.to_cells())
    figure = (tmp_path / "out" / "comparison.png").read_bytes()
    assert figure.startswith(b"\x89PNG")
    compare(two[::-1], out=tmp_path / "turned", metrics=["psnr_db", "mae"])
    compare(two, out=tmp_path / "again", metrics=["psnr_db", "mae"])
    assert (tmp_path / "again" / "comparison.png").read_bytes() == figure
    assert (tmp_path / "turned" / "comparison.png").read_bytes() != figure
    content = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert [table["label"] for table in content["tables"]] == ["old", "new"]
    assert all((tmp_path / "out" / table["path"]).is_file() for table in content["tables"])
    assert str(tmp_path) not in (tmp_path / "out" / "comparison.json").read_text()
    assert content["num_tests"] == 2
    assert content["notes"] == comparison.notes
    assert not (tmp_path / "out" / "seeds.csv").exists()


def test_one_significant_test_says_so_and_nothing_is_written_without_out(two, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    comparison = compare(two, metrics=["psnr_db"])
    assert comparison.rows[0].p_holm == comparison.rows[0].p
    assert "better in 6, p = 0.0312: significantly better." in said(comparison)
    assert "No configuration is given with several seeds" in said(comparison)
    swapped = compare(two, metrics=["psnr_db"], baseline="new")
    assert swapped.rows[0].candidate == "old"
    assert "significantly worse" in said(swapped)
    assert sorted(tmp_path.rglob("*")) == before


def test_the_bootstrap_has_a_seed(two):
    first, again, other = (compare(two, metrics=["mae"], seed=seed).rows[0].to_cells() for seed in (0, 0, 1))
    for row in (first, again, other):
        assert math.isnan(row.pop("seed_standard_error"))
    assert first == again
    assert (first["ci95_low"], first["ci95_high"]) != (other["ci95_low"], other["ci95_high"])
    assert {k: v for k, v in first.items() if "ci95" not in k} == {k: v for k, v in other.items() if "ci95" not in k}


def test_nearer_to_zero_compares_absolute_values(tmp_path):
    old = write(tmp_path / "old", rows_of({"p0/a": 20.0, "p0/b": 24.0, "p1": 25.0}))  # bias -0.3, 0.1; 0.2
    new = write(tmp_path / "new", rows_of({"p0/a": 23.0, "p0/b": 23.0, "p1": 20.0}))  # 0, 0; -0.3
    (row,) = compare([old, new], metrics=["bias"]).rows
    assert (row.baseline_mean, row.candidate_mean) == pytest.approx(((0.2 + 0.2) / 2, 0.15))
    assert (row.num_wins, row.num_losses) == (1, 1)
    assert row.mean_difference == pytest.approx((-0.2 + 0.1) / 2)


def test_sessions_are_averaged_before_anything_is_tested(tmp_path):
    old = {**BASE, "p6/again": 30.0}
    new = {**BETTER, "p6/again": 40.0}
    comparison = compare(
        [write(tmp_path / "old", rows_of(old)), write(tmp_path / "new", rows_of(new))], metrics=["psnr_db"]
    )
    (row,) = comparison.rows
    assert (row.n, row.num_sessions) == (7, 8)
    assert row.mean_difference == pytest.approx((sum(GAINS.values()) + 0.25 + (10 - 0.25) / 2) / 7)
    assert "1 of 7 subjects have several sessions, averaged to one number" in said(comparison)


def test_sessions_in_one_table_only_or_failed_are_counted_and_named(tmp_path):
    old = write(tmp_path / "old", [*rows_of({**BASE, "extra/s1": 9.0}), failed("p8"), failed("p9")])
    new = write(tmp_path / "new", [*rows_of({k: v for k, v in BETTER.items() if k != "p3"}), failed("p3")])
    comparison = compare([old, new], metrics=["psnr_db"])
    (row,) = comparison.rows
    assert (row.n, row.num_sessions_baseline_only, row.num_sessions_candidate_only) == (6, 2, 0)
    assert "2 sessions only in old, and left out: p3, extra/s1." in said(comparison)
    assert "old: 2 sessions failed and cannot be compared: p8, p9." in said(comparison)
    assert "new: 1 session failed and cannot be compared: p3." in said(comparison)
    many = write(tmp_path / "many", rows_of(BETTER) + rows_of({f"q{i}": 1.0 for i in range(11)}))
    assert "11 sessions only in many, and left out: q0, q1, q2, q3, q4, q5, q6, q7 and 3 more." in said(
        compare([old, many])
    )


def test_values_that_are_not_finite_are_counted(two, tmp_path):
    third = write(tmp_path / "third", rows_of({**BETTER, "p0": math.inf, "p1": math.nan}))
    comparison = compare([two[0], third], metrics=["psnr_db"])
    assert (comparison.rows[0].n, comparison.rows[0].num_nonfinite) == (5, 2)
    assert comparison.rows[0].baseline_mean == 24
    assert "2 subjects left out, since a value is not finite" in said(comparison)
    nothing = write(tmp_path / "nothing", rows_of(BASE, psnr_db=math.nan))
    alone = compare([two[0], nothing], metrics=["psnr_db", "ssim"], out=tmp_path / "out")
    assert "psnr_db: no subject has two finite values" in said(alone)
    assert alone.rows[1].p_holm == alone.rows[1].p  # the other is no test


def test_few_subjects_cannot_be_significant_and_are_told(tmp_path):
    few = dict(list(BASE.items())[:4])
    old = write(tmp_path / "old", rows_of(few))
    new = write(tmp_path / "new", rows_of({k: BASE[k] + 1 for k in few}))
    comparison = compare([old, new])
    assert "With 4 subjects the smallest two-sided p is 0.125; no test can be significant" in said(comparison)
    assert [row.p for row in comparison.rows] == [0.125] * 3


def test_what_the_correction_makes_impossible_is_told(two):
    assert "0.0156, and 0.0469" not in said(compare(two))  # 3 tests of 7 subjects may still succeed
    comparison = compare(two, metrics=["psnr_db", "ssim", "mae", "bias"])
    assert "smallest two-sided p is 0.0156, and 0.0625 after Holm's correction over 4 tests; none" in said(comparison)


def test_ties_are_told_with_their_rule(two, tmp_path):
    tied = write(tmp_path / "tied", rows_of({**BETTER, "p0": 20.0, "p6": 26.0}))
    comparison = compare([two[0], tied], metrics=["psnr_db"])
    (row,) = comparison.rows
    assert (row.num_ties, row.win_rate) == (2, pytest.approx(6 / 7))
    assert row.p == 0.0625
    assert "2 of 7 subjects tie" in said(comparison)
    assert "with 5 that differ the smallest p is 0.0625" in said(comparison)


@pytest.mark.parametrize(
    ("column", "value", "sentences"),
    [
        ("data_range", 2.7, ["data_range is 2.641 in old and 2.7 in new (7 of 7 sessions, first p0)", "training rows"]),
        ("mask_rule", "nonzero", ["mask_rule is given in old and nonzero in new", "same masks"]),
        ("prediction_scale", "own-median", ["prediction_scale is reference in old and own-median in new", "--across"]),
        ("truth_median", 900.0, ["truth_median is 300.5 in old and 900 in new", "another truth", "one manifest"]),
        ("num_voxels", 5, ["num_voxels is 1000 in old and 5 in new", "another truth or mask"]),
        ("truth_outside_mask", "zeroed", ["truth_outside_mask is not scored in old and zeroed in new"]),
    ],
)
def test_tables_that_were_scored_otherwise_are_refused(two, tmp_path, column, value, sentences):
    other = write(tmp_path / "b" / "new", rows_of(BETTER, **{column: value}))
    with pytest.raises(CompareError) as caught:
        compare([two[0], other], out=tmp_path / "out")
    for sentence in ["old and new cannot be compared", *sentences]:
        assert sentence in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_one_subject_with_another_truth_is_enough_to_refuse_and_all_problems_come_at_once(two, tmp_path):
    rows = rows_of(BETTER)
    rows[4] |= {"truth_median": 1, "data_range": 3}
    with pytest.raises(CompareError, match=r"data_range .*1 of 7 sessions, first p4.* · truth_median .*first p4"):
        compare([two[0], write(tmp_path / "b", rows)])
    rows[4] |= {"truth_median": 304.50000001, "data_range": 2.6410000001}
    assert compare([two[0], write(tmp_path / "c", rows)]).rows[0].n == 7


def test_other_scales_by_permission_and_older_tables_are_noted(two, tmp_path):
    foreign = write(tmp_path / "foreign", rows_of(BETTER, prediction_scale="250", truth_median=""))
    comparison = compare([two[0], foreign], across_scales=True)
    assert "prediction_scale is reference in old and 250 in foreign: compared all the same" in said(comparison)
    assert "only num_voxels says that the truth is the same" in said(comparison)


def test_three_tables_against_the_first_or_the_named_one(two, tmp_path):
    third = write(tmp_path / "third", rows_of({k: v - 1 for k, v in BASE.items()}))
    pairs = [(r.candidate, r.baseline) for r in compare([*two, third], metrics=["ssim"]).rows]
    assert pairs == [("new", "old"), ("third", "old")]
    comparison = compare([*two, third], metrics=["ssim"], baseline="c", labels=["a", "b", "c"])
    assert [(r.candidate, r.baseline) for r in comparison.rows] == [("a", "c"), ("b", "c")]
    assert [r.p_holm for r in comparison.rows] == pytest.approx([2 / 64, 2 / 64])


def test_one_table_compares_its_model_with_each_baseline(tmp_path):
    rows = rows_of(BETTER) + rows_of(BASE, "cubic") + rows_of(dict.fromkeys(BASE, 15.0), "constant")
    rows += rows_of(BASE, region="wm")
    rows.append({"subject_id": "p0", "method": "mean_target", "region": "", "status": "n/a"})
    table = write(tmp_path / "run", rows) / "metrics" / "per_subject.csv"
    comparison = compare([table], metrics=["psnr_db"])
    assert [(r.candidate, r.baseline) for r in comparison.rows] == [("model", "cubic"), ("model", "constant")]
    assert comparison.rows[0].mean_difference == pytest.approx(np.mean(list(GAINS.values())))
    assert "seeds" not in said(comparison)
    for options in ({"methods": ["cubic", "constant"]}, {"method": "cubic", "baseline": "constant"}):
        (row,) = compare([table], metrics=["psnr_db"], **options).rows
        assert (row.candidate, row.baseline, row.baseline_mean) == ("cubic", "constant", 15)
    with pytest.raises(
        CompareError, match="no scored row of method mean_target in region brain; the methods there are"
    ):
        compare([table], methods=["model", "mean_target"])
    with pytest.raises(CompareError, match="there is only method model in region wm"):
        compare([table], region="wm")
    with pytest.raises(CompareError, match="not both"):
        compare([table], methods=["model", "cubic"], baseline="constant")


def seeds(tmp_path, name, shift, settings):
    offsets = {0: 0.0, 1: 1.0, 2: -0.4}
    return [
        write(tmp_path / f"{name}_seed{s}", rows_of({k: v + shift + o for k, v in BASE.items()}), run(s, settings))
        for s, o in offsets.items()
    ]


def test_seeds_of_one_configuration_are_summarized_not_compared(tmp_path):
    tables = seeds(tmp_path, "unet", 0, "aaaa")
    comparison = compare(tables, out=tmp_path / "out", metrics=["psnr_db", "bias"])
    assert comparison.rows == []
    psnr, bias = comparison.seeds
    assert (psnr.label, psnr.num_seeds, psnr.seeds, psnr.n) == ("unet (3 seeds)", 3, "0 1 2", 7)
    assert psnr.mean == pytest.approx(23.2)
    sd = np.std([0, 1, -0.4], ddof=1)
    assert psnr.sd_over_seeds == pytest.approx(sd)
    assert psnr.within_subject_sd == pytest.approx(sd)
    assert (psnr.min_over_seeds, psnr.max_over_seeds) == pytest.approx((22.6, 24))
    assert bias.mean == pytest.approx(0.02)  # with its sign
    assert "seeds differ by an SD of 0.72" in said(comparison)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["comparison.json", "seeds.csv"]


def test_the_spread_over_seeds_and_that_in_a_subject_are_two_things(tmp_path):
    one = write(tmp_path / "a0", rows_of({"p0": 20.0, "p1": 22.0}), run(0))
    two = write(tmp_path / "a1", rows_of({"p0": 22.0, "p1": 20.0}), run(1))
    (row,) = compare([one, two], metrics=["psnr_db"]).seeds
    assert row.sd_over_seeds == 0
    assert row.within_subject_sd == pytest.approx(math.sqrt(2))


def test_two_groups_of_seeds_are_compared_by_their_means(tmp_path):
    tables = seeds(tmp_path, "unet", 0, "aaaa") + seeds(tmp_path, "swin", 2, "bbbb")
    mixed = [tables[i] for i in (0, 3, 1, 4, 2, 5)]
    comparison = compare(mixed, out=tmp_path / "out", metrics=["psnr_db"])
    (row,) = comparison.rows
    assert (row.candidate, row.baseline) == ("swin (3 seeds)", "unet (3 seeds)")
    assert (row.num_seeds_candidate, row.num_seeds_baseline, row.n) == (3, 3, 7)
    assert (row.baseline_mean, row.mean_difference) == pytest.approx((23.2, 2))
    assert len(comparison.seeds) == 2
    error = np.std([0, 1, -0.4], ddof=1) * math.sqrt(2 / 3)
    assert row.seed_standard_error == pytest.approx(error)
    assert "seeds alone has a standard error of 0.59; the difference is 3.4 times that." in said(comparison)
    near = compare([*tables[:3], *seeds(tmp_path, "near", 1, "cccc")], metrics=["psnr_db"])
    assert "1.7 times that, so other seeds could give another finding." in said(near)
    assert math.isnan(compare([*tables[:3], tables[3]], metrics=["psnr_db"]).rows[0].seed_standard_error)
    assert "No configuration is given with several seeds" not in said(comparison)
    by_member = compare(mixed, metrics=["psnr_db"], baseline="swin_seed1")
    assert by_member.rows[0].baseline == "swin (3 seeds)"
    compare(tables[:2], out=tmp_path / "out", metrics=["psnr_db"])
    assert not (tmp_path / "out" / "comparison.csv").exists()  # it would belong to the call before


def test_sessions_that_a_seed_lacks_are_left_out_and_named_and_seeds_must_be_comparable(tmp_path):
    one = write(tmp_path / "a0", rows_of(BASE), run(0))
    two = write(tmp_path / "a1", rows_of({k: v for k, v in BASE.items() if k != "p2"}), run(1))
    comparison = compare([one, two], metrics=["psnr_db"])
    assert comparison.seeds[0].n == 6
    assert "a (2 seeds): 1 session not scored for every seed, and left out: p2." in said(comparison)
    three = write(tmp_path / "a2", rows_of(BASE, data_range=3), run(2))
    with pytest.raises(CompareError, match="a0 and a2 cannot be compared: data_range"):
        compare([one, two, three])


def test_one_seed_twice_is_a_paired_test_not_a_spread(tmp_path):
    one = write(tmp_path / "a", rows_of(BASE), run(0))
    two = write(tmp_path / "b", rows_of(BETTER), run(0))
    comparison = compare([one, two], metrics=["psnr_db"])
    assert (comparison.rows[0].n, comparison.seeds) == (7, [])
    assert "a, b have one configuration, and two of them one seed" in said(comparison)


def test_any_column_with_a_stated_direction_can_be_compared(tmp_path):
    definitions = {"dice": {"label": "Dice", "unit": "1", "better": "higher"}, "age": {"label": "Age"}}
    tables = [
        write(tmp_path / name, rows_of(BASE, more={"dice": dice, "age": 30}), None, definitions)
        for name, dice in (("a", 0.5), ("b", 0.75))
    ]
    comparison = compare(tables, metrics=["dice"])
    assert (comparison.rows[0].num_wins, comparison.rows[0].mean_difference) == (7, 0.25)
    assert "Dice +0.250" in said(comparison)
    with pytest.raises(ScoresError, match="--metric age: nothing says which direction is good"):
        compare(tables, metrics=["age"])


def test_labels_tell_tables_apart(two, tmp_path):
    deep = write(tmp_path / "x" / "old", rows_of(BETTER))
    assert compare([two[0], deep], metrics=["ssim"]).rows[0].candidate == "x/old"
    files = []
    for name in ("a", "b"):
        files.append(tmp_path / f"{name}_per_subject.csv")
        files[-1].write_bytes((two[0] / "metrics" / "per_subject.csv").read_bytes())
    row = compare(files, metrics=["ssim"]).rows[0]
    assert (row.candidate, row.baseline, row.num_ties, row.p) == ("b", "a", 7, 1)


def test_wrong_calls_are_named(two, tmp_path):
    empty = tmp_path / "empty.csv"
    empty.write_text("subject_id,split\np0,test\n")
    wide = tmp_path / "wide.csv"
    text = (two[0] / "metrics" / "per_subject.csv").read_text()
    wide.write_text(text.rstrip("\n") + ",1,2\n")
    letters = tmp_path / "letters.csv"
    letters.write_text(text.replace(",20.0,", ",twenty,", 1))
    twice = write(tmp_path / "twice", rows_of(BASE) + rows_of({"p0": 1.0}))
    others = write(tmp_path / "others", rows_of({"q0": 1.0}))
    broken = write(tmp_path / "broken", rows_of(BASE), {"seed": "x"})
    not_json = write(tmp_path / "not_json", rows_of(BASE))
    (not_json / "metrics" / "evaluation.json").write_text("{")
    binary = tmp_path / "binary.csv"
    binary.write_bytes(b"\xff\xfe\x00")
    cases = [
        ([tmp_path / "none"], {}, "no table of scores"),
        ([two[0], two[0] / "metrics"], {}, "one table is given twice"),
        ([empty], {}, "the columns method, region, status, num_voxels, data_range, mask_rule are missing"),
        ([two[0], wide], {}, "more cells than columns"),
        ([two[0], letters], {"metrics": ["psnr_db"]}, "`metrics.psnr_db` is 'twenty'"),
        ([two[0], twice], {}, "p0 has two rows of method model in region brain"),
        ([two[0], others], {}, r"old and others have no session in common \(p0, ... and q0, ...\)"),
        ([two[0], broken], {}, r"evaluation.json: `run"),
        ([two[0], not_json], {}, "evaluation.json: not readable JSON"),
        ([two[0], binary], {}, "not a readable CSV file"),
        (two, {"labels": ["a"]}, "1 --label for 2 tables"),
        (two, {"labels": ["a", "a"]}, "two tables have one label"),
        (two, {"metrics": ["psnr"]}, "old, new has no such column; did you mean `psnr_db`?"),
        (two, {"metrics": ["zzz"]}, "the metrics are psnr_db, ssim"),
        (two, {"metrics": []}, "at least one table and one --metric"),
        (two, {"region": "wm"}, "--region wm: .* has no such region; it has brain"),
        (two, {"method": "cubic"}, "no scored row of method cubic"),
        (two, {"methods": ["model", "cubic"]}, "--methods compares within one table"),
        (two, {"baseline": "older"}, "no table is called so; the labels are old, new"),
    ]
    for tables, options, sentence in cases:
        with pytest.raises((CompareError, ScoresError, RecordError), match=sentence):
            compare(tables, out=tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["comparison.csv", "seeds.csv", "comparison.png"])
def test_attack_10_files_of_others_are_not_replaced(two, tmp_path, name):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text("mine")
    with pytest.raises(OutputError, match=f"{name}: it was there before"):
        compare(two, out=tmp_path / "out")
    assert [path.read_text() for path in (tmp_path / "out").iterdir()] == ["mine"]
