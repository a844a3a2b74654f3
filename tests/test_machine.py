import pytest

from volumetric import machine
from volumetric.machine import is_out_of_memory, memory_bytes, num_cores


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """A function that sets the process's control groups; their tree is `fs`."""

    def make(line):
        (tmp_path / "own").write_text(f"{line}\n")
        monkeypatch.setattr(machine, "_OWN_CGROUPS", tmp_path / "own")
        monkeypatch.setattr(machine, "_CGROUPS", tmp_path / "fs")

    return make


def test_a_job_s_limit_above_the_process_s_own_group_counts(tmp_path, groups):
    groups("0::/job/step/task")
    for group, text in (("job", "1000000"), ("job/step", "max"), ("job/step/task", "3000000")):
        folder = tmp_path / "fs" / group
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "memory.max").write_text(text)
    assert memory_bytes() == 1_000_000


def test_a_limit_of_version_one_counts(tmp_path, groups):
    groups("7:cpu,memory:/docker/1")
    folder = tmp_path / "fs" / "memory" / "docker" / "1"
    folder.mkdir(parents=True)
    (folder / "memory.limit_in_bytes").write_text("2000000\n")
    assert memory_bytes() == 2_000_000


def test_without_control_groups_it_is_the_machine_s_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "_OWN_CGROUPS", tmp_path / "none")
    assert memory_bytes() > 2**28
    assert num_cores() >= 1


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes"),
        RuntimeError("Exception from src/inference: std::bad_alloc"),
    ],
)
def test_memory_that_ran_out_is_told_from_other_errors(error):
    assert is_out_of_memory(error)
    assert not is_out_of_memory(RuntimeError("shapes differ"))
