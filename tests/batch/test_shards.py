from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from tests.conftest import write_cohort, write_raw_cohort
from tests.preparation.test_prepare import QUICK
from volumetric.batch.shards import ALL, Shard, ShardError, find_shards, held, latest
from volumetric.batch.spread import Spread
from volumetric.batch.status import read_status
from volumetric.config.preparation import PreparationConfig
from volumetric.config.resolve import resolve_as
from volumetric.errors import InputError
from volumetric.evaluation.evaluate import evaluate
from volumetric.outputs import OutputError, locked, write_text
from volumetric.preparation.prepare import prepare
from volumetric.records.record import RecordError
from volumetric.records.shards import SHARDS, ShardRow
from volumetric.synthesis.infer import infer


@dataclass
class Writing:
    """Writes each item into a file; the poisoned ones cannot be read, and at `stops_at` the process ends."""

    out: Path
    poisoned: frozenset[str] = frozenset()
    stops_at: str = ""

    def name(self, item):
        return item

    def finished(self, item):
        return item.upper() if (self.out / item).exists() else None

    def read(self, item):
        if item == self.stops_at:
            raise KeyboardInterrupt
        if item in self.poisoned:
            raise InputError(f"subject {item}: the `t1w` file /data/{item}/t1w.nii.gz does not exist; correct the path")
        return item

    def compute(self, item, loaded):
        return loaded

    def write(self, item, result):
        write_text(self.out / item, result)
        return item.upper()

    def recall(self, item):
        return item.upper()


NAMES = [f"s{number}" for number in range(10)]


def run(out, spread, *, items=NAMES, argument=1, **task):
    with spread.held(out):
        return spread.run(
            Writing(out, **task), items, out=out, command="write", arguments={"argument": argument},
            jobs=1, usual=1, gb_each=0,
        )  # fmt: skip


def counts(out):
    status = read_status(out)
    return status.total.done, status.total.failed, status.total.missing


@pytest.mark.parametrize("total", [1, 3, 7, 12])
def test_shards_part_the_subjects(total):
    positions = [set(Shard(number, total).positions(10)) for number in range(1, total + 1)]
    assert sum(map(len, positions)) == 10
    assert set.union(*positions) == set(range(10))


@pytest.mark.parametrize("text", ["0/7", "8/7", "3", "a/b", "3/0", "-1/7", "1/7/2"])
def test_a_shard_that_is_none_is_refused(text):
    with pytest.raises(ShardError, match="expected number/total"):
        Shard.parse(text)
    assert Shard.parse("7/7") == (7, 7)


def test_shards_then_their_merge_give_the_outcomes_of_a_whole_run(tmp_path):
    poisoned = frozenset({"s4"})
    whole = run(tmp_path / "whole", Spread(), poisoned=poisoned)
    for number in (2, 3, 1):
        own = run(tmp_path / "out", Spread(shard=Shard(number, 3)), poisoned=poisoned)
        assert [outcome.name for outcome in own] == NAMES[number - 1 :: 3]
    merged = run(tmp_path / "out", Spread(merge=True))
    shown = [(outcome.name, outcome.status, outcome.error, outcome.record) for outcome in merged]
    assert shown == [(outcome.name, outcome.status, outcome.error, outcome.record) for outcome in whole]
    assert not (tmp_path / "out" / SHARDS).exists()


def test_the_status_is_right_at_each_moment(tmp_path):
    run(tmp_path, Spread(shard=Shard(1, 3)), poisoned={"s3", "s9"})
    assert counts(tmp_path) == (2, 2, 6)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, Spread(shard=Shard(2, 3)), stops_at="s4")
    assert counts(tmp_path) == (3, 2, 5)
    status = read_status(tmp_path)
    assert [state for state, _ in status.shards.values()] == ["ended", "stopped", "not begun"]
    assert status.total.reasons == {
        "the `tNw` file FILE does not exist; correct the path": 2,
        "the shard has not begun": 3,
        "the shard stopped before": 2,
    }
    with pytest.raises(ShardError, match=r"5 of 10 subjects are missing; run shards 2, 3 of 3 again"):
        run(tmp_path, Spread(merge=True))
    with held(tmp_path, Shard(2, 3)):
        assert read_status(tmp_path).shards[Shard(2, 3)][0] == "running"
        with pytest.raises(ShardError, match="shards 2 are still running"):
            run(tmp_path, Spread(merge=True))
    for number in (1, 2, 3):  # a repeated shard does what failed and skips the rest
        run(tmp_path, Spread(shard=Shard(number, 3)))
    assert counts(tmp_path) == (10, 0, 0)


def test_a_whole_run_that_was_stopped_has_a_status_and_goes_on(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, Spread(), stops_at="s7")
    assert counts(tmp_path) == (7, 0, 3)
    assert [outcome.status for outcome in run(tmp_path, Spread())] == ["skipped"] * 7 + ["ok"] * 3
    assert not (tmp_path / SHARDS).exists()


def test_a_row_that_was_being_written_when_the_process_died_is_no_row(tmp_path):
    run(tmp_path, Spread(shard=Shard(1, 3)))
    table = Shard(1, 3).folder(tmp_path) / "subjects.csv"
    with table.open("ab") as file:
        file.write(b"9,s9,fai")
    assert counts(tmp_path) == (4, 0, 6)
    run(tmp_path, Spread(shard=Shard(1, 3)))
    assert counts(tmp_path) == (4, 0, 6)
    write_text(table, "position,subject,status\n0,s0,perhaps\n")
    with pytest.raises(RecordError, match="`status` is 'perhaps'"):
        read_status(tmp_path)


def test_what_was_done_stays_done_and_a_failure_ends_with_the_next_success():
    def row(position, status):
        return ShardRow(position=position, subject="s", status=status)

    rows = [row(0, "ok"), row(0, "skipped"), row(1, "failed"), row(1, "ok"), row(2, "ok"), row(2, "failed")]
    assert {position: last.status for position, last in latest(rows).items()} == {0: "ok", 1: "ok", 2: "failed"}


@pytest.mark.parametrize(
    ("change", "what"),
    [({"argument": 2}, r"arguments \(argument\)"), ({"items": NAMES[:9]}, "subjects")],
)
def test_shards_of_different_calls_do_not_mix(tmp_path, change, what):
    run(tmp_path, Spread(shard=Shard(1, 3)))
    with pytest.raises(ShardError, match=f"shard 1/3 was begun with other {what}"):
        run(tmp_path, Spread(shard=Shard(2, 3)), **change)


def test_a_whole_run_and_a_shard_exclude_each_other_while_they_run(tmp_path, monkeypatch):
    monkeypatch.setattr("volumetric.batch.shards._LOCK_WAIT_S", 0.1)
    with locked(tmp_path / "a"), pytest.raises(ShardError, match="a run of all subjects"):
        run(tmp_path / "a", Spread(shard=Shard(1, 3)))
    with held(tmp_path / "b", Shard(1, 3)):
        write_text(Shard(1, 3).folder(tmp_path / "b") / "x", "")
        for shard in (ALL, Shard(1, 2)):
            with pytest.raises(ShardError, match="this shard of 3 is still running"):
                run(tmp_path / "b", Spread(shard=shard))
        with pytest.raises(OutputError, match="another process"):
            run(tmp_path / "b", Spread(shard=Shard(1, 3)))


def test_another_number_of_shards_begins_anew_and_skips_what_is_done(tmp_path):
    run(tmp_path, Spread(shard=Shard(1, 3)))
    own = run(tmp_path, Spread(shard=Shard(1, 2)))
    assert [outcome.status for outcome in own] == ["skipped", "ok", "ok", "skipped", "ok"]
    assert find_shards(tmp_path) == [Shard(1, 2)]


def test_a_folder_without_a_run_has_no_status_and_nothing_to_merge(tmp_path, call):
    assert call("status", tmp_path) == 2
    assert call("merge", tmp_path) == 2


@pytest.fixture
def call(monkeypatch, capsys):
    """Run a command; returns its exit status."""
    from volumetric.cli import main

    def command(*words):
        monkeypatch.setattr("sys.argv", ["volumetric", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code or 0

    return command


def tree(folder):
    """All files but times, by name."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "timings.csv")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def quick():
    return resolve_as(PreparationConfig, None, QUICK)


def in_shards(door, out, total=3):
    for number in range(1, total + 1):
        door(out=out, spread=Spread(shard=Shard(number, total)))


@pytest.mark.reliability
def test_prepare_in_shards_gives_the_files_of_one_job(tmp_path, call):
    raw = write_raw_cohort(tmp_path, ["train", "val", "test", "test"])
    (tmp_path / "p2" / "t1w.nii.gz").write_bytes(b"poison")
    one = tmp_path / "one"
    done = prepare([raw], one, quick(), jobs=1)
    two = tmp_path / "two"
    in_shards(lambda out, spread: prepare([raw], out, quick(), jobs=1, spread=spread), two)
    assert not (two / "manifest.csv").exists()
    assert call("status", two) == 1
    assert call("merge", two) == 1  # p2 failed
    assert [outcome.status for outcome in done.outcomes] == ["ok", "ok", "failed", "ok"]
    assert tree(two) == tree(one)
    status = read_status(two)
    assert (status.command, status.total.done, status.total.failed) == ("prepare", 3, 1)


def test_infer_and_evaluate_in_shards_give_the_files_of_one_job(cohort, run_folder, tmp_path, call):
    ways = {"whole": lambda door, out: door(out=out), "shards": in_shards}
    for name, way in ways.items():
        out = tmp_path / name
        way(partial(infer, [cohort], model=str(run_folder), figures=True), out=out / "predictions")
        if name == "shards":
            assert call("merge", out / "predictions") == 0
        door = partial(evaluate, out / "predictions", [cohort], split="all", segmentation=False, jobs=1)
        way(door, out=out / "metrics")
        if name == "shards":
            assert not (out / "metrics" / "per_subject.csv").exists()
            assert counts(out / "metrics") == (5, 0, 0)
            assert call("merge", out / "metrics") == 0
        assert counts(out / "metrics") == counts(out / "predictions") == (5, 0, 0)
    whole, shards = tree(tmp_path / "whole"), tree(tmp_path / "shards")
    own = {str(tmp_path / "shards").encode(): str(tmp_path / "whole").encode()}
    for name, content in shards.items():
        for mine, other in own.items():
            content = content.replace(mine, other)
        assert content == whole[name], name
    assert shards.keys() == whole.keys()


def test_an_interrupted_infer_ends_in_the_table_of_an_unbroken_one(tmp_path, run_folder):
    manifest = write_cohort(tmp_path, ["test"] * 4)
    text = manifest.read_text().splitlines()
    write_text(manifest, "\n".join([text[0], *reversed(text[1:])]) + "\n")
    infer([manifest], model=run_folder, out=tmp_path / "unbroken")
    infer([manifest], model=run_folder, out=tmp_path / "broken", spread=Spread(shard=Shard(2, 2)))
    infer([manifest], model=run_folder, out=tmp_path / "broken")
    assert tree(tmp_path / "broken") == tree(tmp_path / "unbroken")


def test_fresh_is_refused_in_a_shard(tmp_path, cohort, call, capsys):
    assert call("prepare", cohort, "--out", tmp_path / "out", "--shard", "1/2", "--fresh") == 2
    assert "--fresh and --shard" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
