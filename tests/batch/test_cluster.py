"""A real Ray cluster of three nodes on this machine, whose workers, processes and nodes die."""

import os
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from volumetric.batch.spread import Spread
from volumetric.batch.subjects import run_subjects
from volumetric.errors import InputError
from volumetric.outputs import write_text

pytest.importorskip("ray", reason="Ray is absent: pip install 'volumetric[ray]'")
from volumetric.batch import cluster as cluster_module

pytestmark = pytest.mark.filterwarnings("ignore")  # of Ray, about itself


@pytest.fixture(scope="module")
def nodes():
    """Three nodes of one core each."""
    import ray
    from ray.cluster_utils import Cluster

    options = {"num_cpus": 1, "object_store_memory": 80_000_000, "include_dashboard": False, "memory": 50e9}
    cluster = Cluster(initialize_head=True, head_node_args=options)
    cluster.add_node(**options)
    cluster.add_node(**options)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@dataclass
class Deadly:
    """Doubles numbers, slowly, into a file; some are refused, and some kill their process, once or always."""

    out: Path
    kills_once: tuple[int, ...] = ()
    kills: tuple[int, ...] = ()
    refused: tuple[int, ...] = ()
    seconds: float = 0.0

    def name(self, item):
        return f"n{item}"

    def finished(self, item):
        return 2 * item if (self.out / str(item)).exists() else None

    def read(self, item):
        if item in self.refused:
            raise InputError(f"subject n{item}: a poisoned scan; leave it out")
        return item

    def compute(self, item, loaded):
        time.sleep(self.seconds)
        mark = self.out / f"killed{item}"
        if item in self.kills or (item in self.kills_once and not mark.exists()):
            write_text(mark, "")
            os.kill(os.getpid(), signal.SIGKILL)
        return 2 * loaded

    def write(self, item, result):
        write_text(self.out / str(item), str(result))
        with (self.out / "pids").open("a") as file:
            file.write(f"{os.getpid()}\n")
        return result


def test_deaths_and_refusals_cost_what_they_must_and_order_is_kept(nodes, tmp_path):
    task = Deadly(tmp_path, kills_once=(3,), kills=(5,), refused=(7,))
    ended = []
    outcomes = run_subjects(
        task, range(12), title="t", jobs=3, address=nodes.address, ended=lambda number, outcome: ended.append(number)
    )
    assert [outcome.name for outcome in outcomes] == [f"n{item}" for item in range(12)]
    assert sorted(ended) == list(range(12))
    failed = {outcome.name: outcome.error for outcome in outcomes if outcome.status == "failed"}
    assert failed == {
        "n5": f"its worker died {cluster_module.RETRIES + 1} times, perhaps for want of memory; give fewer --jobs",
        "n7": "subject n7: a poisoned scan; leave it out",
    }
    assert [outcome.record for outcome in outcomes] == [2 * item if item not in (5, 7) else None for item in range(12)]
    assert len(set((tmp_path / "pids").read_text().split())) > 1


def test_a_node_dies_on_the_way(nodes, tmp_path):
    extra = nodes.add_node(num_cpus=1, object_store_memory=80_000_000, include_dashboard=False)

    def kill_when_half_is_done():
        while sum(path.name.isdecimal() for path in tmp_path.iterdir()) < 8:
            time.sleep(0.05)
        nodes.remove_node(extra, allow_graceful=False)

    killer = threading.Thread(target=kill_when_half_is_done)
    killer.start()
    outcomes = run_subjects(Deadly(tmp_path, seconds=0.2), range(24), title="t", jobs=4, address=nodes.address)
    killer.join()
    assert [(outcome.status, outcome.record) for outcome in outcomes] == [("ok", 2 * item) for item in range(24)]


def test_a_defect_is_raised(nodes, tmp_path):
    with pytest.raises(Exception, match="cannot be interpreted"):
        run_subjects(Deadly(tmp_path, seconds=None), [1], title="t", jobs=1, address=nodes.address)


def test_a_node_that_does_not_start_in_time_is_one_sentence(tmp_path, monkeypatch):
    def init(**_):
        raise Exception("The current node timed out during startup.")

    monkeypatch.setattr(cluster_module.ray, "is_initialized", lambda: False)
    monkeypatch.setattr(cluster_module.ray, "init", init)
    with pytest.raises(cluster_module.ClusterError, match=r"--address local: .* timed out during startup"):
        run_subjects(Deadly(tmp_path, seconds=None), [1], title="t", jobs=1, address="local")


def test_a_cluster_that_is_not_there_is_one_sentence(tmp_path):
    with pytest.raises(cluster_module.ClusterError, match=r"--address 127\.0\.0\.1:1: no Ray cluster can be reached"):
        run_subjects(Deadly(tmp_path), [1], title="t", jobs=1, address="127.0.0.1:1")


def test_no_room_for_a_worker_is_one_sentence(nodes, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster_module, "_PATIENCE_S", 1.0)
    with pytest.raises(cluster_module.ClusterError, match=r"no worker began within 1 s: .* 1 free cores and 900.0 GB"):
        run_subjects(Deadly(tmp_path), [1], title="t", jobs=1, gb_each=900, address=nodes.address)


@pytest.mark.parametrize(
    ("cores", "jobs", "threads"), [([2, 2, 2], 2, 2), ([4, 4, 4], 4, 2), ([8], 3, 2), ([1, 1], 5, 1), ([], 1, 1)]
)
def test_workers_take_the_most_cores_that_leave_room_for_all(cores, jobs, threads):
    assert cluster_module._threads(cores, jobs) == threads


def test_infer_and_evaluate_give_the_bytes_of_one_machine(nodes, cohort, run_folder, tmp_path):
    from tests.batch.test_shards import tree
    from volumetric.evaluation.evaluate import evaluate
    from volumetric.synthesis.infer import infer

    for name, spread, jobs in (("local", Spread(), 1), ("ray", Spread(address=nodes.address), 3)):
        out = tmp_path / name
        infer([cohort], model=run_folder, out=out / "predictions", jobs=jobs, spread=spread)
        evaluate(
            out / "predictions", [cohort], out / "metrics", split="all", segmentation=False, jobs=jobs, spread=spread
        )
    mine, other = tree(tmp_path / "ray"), tree(tmp_path / "local")
    assert mine.keys() == other.keys()
    for name, content in mine.items():
        assert content.replace(str(tmp_path / "ray").encode(), str(tmp_path / "local").encode()) == other[name], name
