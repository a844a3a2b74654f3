"""The recipes of the docs, as far as they can be checked without the programs that they are for."""

import ast
import re
import shlex
import subprocess

import pytest
import yaml

from tests.conftest import REPOSITORY

PAGE = (REPOSITORY / "docs" / "how-to" / "recipes.md").read_text()


def recipe(section: str) -> str:
    """The code block of a section."""
    text = PAGE.split(f"\n## {section}\n")[1].split("\n## ")[0]
    return re.findall(r"```\w+\n(.*?)```", text, re.DOTALL)[0]


def test_the_ray_job_has_the_keys_of_kuberay():
    job = yaml.safe_load(recipe("Kubernetes"))
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    spec = job["spec"]
    assert set(spec) == {"entrypoint", "shutdownAfterJobFinishes", "backoffLimit", "rayClusterSpec"}
    assert set(spec["rayClusterSpec"]) == {"headGroupSpec", "workerGroupSpecs"}
    head, (workers,) = spec["rayClusterSpec"]["headGroupSpec"], spec["rayClusterSpec"]["workerGroupSpecs"]
    assert set(head) == {"rayStartParams", "template"}
    assert set(workers) == {"groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template"}
    for group in (head, workers):
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())  # Go's map[string]string
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        assert [mount["name"] for mount in container["volumeMounts"]] == [volume["name"] for volume in pod["volumes"]]
        assert set(container["resources"]["limits"]) == {"cpu", "memory"}
    words = shlex.split(spec["entrypoint"])
    paths = [word for word in words if word.startswith("/")]
    assert all(path.startswith(container["volumeMounts"][0]["mountPath"]) for path in paths)
    assert int(words[words.index("--jobs") + 1]) <= workers["replicas"] * int(container["resources"]["limits"]["cpu"])


@pytest.mark.parametrize("section", ["One machine, several GPUs", "Slurm: a job array", "Slurm: a Ray cluster"])
def test_shell_recipes_are_shell(section):
    assert subprocess.run(["/bin/bash", "-n"], input=recipe(section), text=True).returncode == 0


def test_a_workflow_goes_on_where_subjects_failed_and_stops_where_a_job_did():
    shells = [*re.findall(r'shell: (".*?")\n', recipe("Snakemake")), *re.findall(r"&& \((.*?)\)\"", recipe("Nextflow"))]
    assert len(shells) == 4
    for shell in shells:
        command = ast.literal_eval(shell) if shell.startswith('"') else shell.replace("\\$", "$")
        rest = command.partition(" || ")[2]
        for status in (0, 1, 2, 137):
            ended = subprocess.run(["/bin/bash", "-euo", "pipefail", "-c", f"(exit {status}) || {rest}"])
            assert (ended.returncode == 0) == (status < 2), (command, status)


def test_recipes_of_workflows_have_about_twenty_lines():
    assert all(len(recipe(name).splitlines()) <= 30 for name in ("Snakemake", "Nextflow"))


def test_the_cost_of_a_cohort_by_hand():
    from benchmarks.cost import Stage, cost

    stage = Stage.parse("36,10,8")  # half a MB a second and core
    few = cost(stage, subjects=1000, cores=4, storage_mb_s=5)
    assert few == (10.0, 0.018, 0.5, 10.0, 2.5)
    assert cost(stage, subjects=1000, cores=40, storage_mb_s=5).hours == 1.0  # ten cores saturate it
