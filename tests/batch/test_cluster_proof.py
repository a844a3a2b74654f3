"""The proof on a cluster: 60 heads through three stages while a process, an actor and a whole node are killed."""

import os
import signal
import time
from collections import Counter

import pytest

from tests.batch.test_shards import quick, tree
from tests.conftest import write_raw_cohort
from volumetric.batch.spread import HERE, Spread
from volumetric.evaluation.evaluate import evaluate
from volumetric.preparation.prepare import prepare
from volumetric.synthesis.infer import infer

pytest.importorskip("ray", reason="Ray is absent: pip install 'volumetric[ray]'")
import ray

from volumetric.batch import cluster as cluster_module

pytestmark = [pytest.mark.reliability, pytest.mark.filterwarnings("ignore")]  # of Ray, about itself

NUM_HEADS, POISONED = 60, 1
NODE = {"num_cpus": 1, "object_store_memory": 80_000_000, "include_dashboard": False, "memory": 50e9}


class Killer:
    """A cluster of three nodes of one core; a kill comes once a third of the subjects were given to workers.

    Attributes:
        given: how often each subject's number was given to a worker.
        victim: what dies next, `process`, `actor` or `node`; None once it is dead.
    """

    def __init__(self, cluster, monkeypatch):
        self.cluster, self.given, self.victim = cluster, Counter(), None
        self.nodes = {node.node_id: node for node in (cluster.add_node(**NODE), cluster.add_node(**NODE))}
        self.places = {}
        give = cluster_module._Workers.give

        def give_and_kill(workers, number):
            worker = workers._free[-1]
            if worker._actor_id not in self.places:
                self.places[worker._actor_id] = ray.get(worker.__ray_call__.remote(place))
            give(workers, number)
            self.given[number] += 1
            if self.victim and self.given.total() > NUM_HEADS // 3:
                self.kill(worker)

        monkeypatch.setattr(cluster_module._Workers, "give", give_and_kill)

    def kill(self, worker):
        """Kill the worker that was just given a subject, or its node unless the test itself is on it."""
        pid, node = self.places[worker._actor_id]
        if self.victim == "node" and node not in self.nodes:
            return
        time.sleep(0.05)  # into its work
        match self.victim:
            case "process":
                os.kill(pid, signal.SIGKILL)
            case "actor":
                ray.kill(worker)
            case "node":
                self.cluster.remove_node(self.nodes[node], allow_graceful=False)
        self.victim = None


def place(_):
    """The process and the node of a worker."""
    return os.getpid(), ray.get_runtime_context().get_node_id()


@pytest.fixture
def killer(monkeypatch):
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args=NODE)
    yield Killer(cluster, monkeypatch)
    ray.shutdown()
    cluster.shutdown()


def stages(raw, run_folder, out, spread, jobs):
    """Each stage's name and a function that runs it; the stages in order of use."""
    prepared = out / "prepared" / "manifest.csv"
    return {
        "prepare": lambda: prepare([raw], out / "prepared", quick(), jobs=jobs, spread=spread).outcomes,
        "infer": lambda: infer([prepared], model=run_folder, out=out / "predictions", jobs=jobs, spread=spread),
        "evaluate": lambda: (
            evaluate(
                out / "predictions", [prepared], out / "metrics",
                split="all", segmentation=False, jobs=jobs, spread=spread,
            ).outcomes
        ),
    }  # fmt: skip


def failures(outcomes):
    return [(outcome.name, outcome.error) for outcome in outcomes if outcome.status == "failed"]


def test_a_process_an_actor_and_a_node_die_and_the_files_are_those_of_one_machine(killer, run_folder, tmp_path):
    """Both write into one folder in turn, since sidecars hold the way to their sources."""
    raw = write_raw_cohort(tmp_path / "raw", ["train", "val", "test"] * (NUM_HEADS // 3), size=0.35)
    (tmp_path / "raw" / f"p{POISONED}" / "t1w.nii.gz").write_bytes(b"poison")
    out, found = tmp_path / "out", {}
    there = stages(raw, run_folder, out, Spread(address=killer.cluster.address), 3)
    for (name, run), victim in zip(there.items(), ("process", "actor", "node"), strict=True):
        killer.given.clear()
        killer.victim = victim
        found[name] = run()
        assert killer.victim is None, f"no {victim} was killed"
        assert [name for name, _ in failures(found[name])] == ([f"p{POISONED}"] if name == "prepare" else [])
        total = NUM_HEADS - (name != "prepare")
        assert sorted(killer.given) == list(range(total))
        assert killer.given.total() <= total + 1, "more than the subject of what was killed was given again"
    mine = tree(out)
    out.rename(tmp_path / "there")
    for name, run in stages(raw, run_folder, out, HERE, 2).items():
        expected = run()
        assert failures(found[name]) == failures(expected)
        assert [outcome.name for outcome in found[name]] == [outcome.name for outcome in expected]
    other = tree(out)
    assert mine.keys() == other.keys()
    assert [name for name, content in mine.items() if content != other[name]] == []
