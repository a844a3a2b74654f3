"""Faults of the machine around a command: one sentence, and the same command then ends in the same bytes."""

from __future__ import annotations

import gzip
import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import nibabel as nib

from benchmarks.reliability.cohort import Inputs, digests
from benchmarks.reliability.damaged import problem_of
from benchmarks.reliability.kills import commands
from benchmarks.reliability.process import limit_memory, run, start

PLANTED = b"PLANTED^NAME"
"""In the free text of headers; no output may hold it."""


def faults() -> dict[str, Callable[[str, list[object], Inputs, Path], str]]:
    """Each fault, which returns what was improper, or nothing; they are tried on every verb."""
    return {
        "file size limit": _file_size,
        "disk full": _disk_full,
        "read-only folder": _read_only,
        "memory limit": _memory,
        "clock back": _clock_back,
        "two processes": _two_processes,
        "vanishing input": _vanishing,
        "worker killed": _worker_killed,
        "loss not finite": _nan_loss,
    }


def try_faults(inputs: Inputs, folder: Path, verbs: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """Fault, verb and problem of each."""
    for verb in verbs:
        command = commands(inputs)[verb]
        whole = folder / verb / "whole" / "out"  # as deep as the others, since evaluate writes relative paths
        assert run([*command, "--out", whole], limit_s=600).status == 0
        for name, fault in faults().items():
            own = folder / verb / name.replace(" ", "_")
            own.mkdir(parents=True)
            try:
                problem = fault(verb, command, inputs, own)
            except NotImplementedError:
                continue
            if not problem and (own / "out").exists():
                ended = run([*command, "--out", own / "out"], limit_s=600)
                if ended.status or digests(own / "out") != digests(whole):
                    problem = f"other bytes after the rerun, status {ended.status}: {ended.said[-200:]}"
            yield name, verb, problem
            shutil.rmtree(own, ignore_errors=True)
        shutil.rmtree(folder / verb)


def find_leaks(inputs: Inputs, folder: Path) -> int:
    """Outputs of prepare, infer and evaluate that hold a name planted in the headers of their inputs."""
    for path in [*inputs.manifest.parent.rglob("*.nii.gz"), *inputs.raw.parent.rglob("*.nii.gz")]:
        image = nib.load(path)
        image.header["descrip"], image.header["aux_file"], image.header["db_name"] = PLANTED, PLANTED, PLANTED
        image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", PLANTED))
        nib.save(nib.Nifti1Image(image.get_fdata().astype("float32"), image.affine, image.header), path)
    leaks = 0
    for verb in ("prepare", "infer", "evaluate"):
        out = folder / verb
        ended = run([*commands(inputs)[verb], "--out", out], limit_s=600)
        files = [path for path in out.rglob("*") if path.is_file()]
        leaks += PLANTED.decode() in ended.said
        leaks += sum(PLANTED in data or PLANTED in _unzipped(data) for data in map(Path.read_bytes, files))
    return leaks


def _unzipped(data: bytes) -> bytes:
    return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else b""


def _ended_well(command: list[object], out: Path, before: Callable[[], None] | None = None) -> str:
    """Its problem; a command that the fault did not reach ends with 0, which is proper."""
    return problem_of(
        run([*command, "--out", out], before, limit_s=300), [str(out), "subject", "memory", "sim0", "p0", "p3"]
    )


def _file_size(verb: str, command: list[object], inputs: Inputs, folder: Path) -> str:
    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))

    # stderr is a file too, and takes no more than that
    return _ended_well(command, folder / "out", limit)


@contextmanager
def _mounted(folder: Path, options: str) -> Iterator[Path]:
    folder.mkdir(exist_ok=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(folder)], capture_output=True)
    if mounted.returncode:
        raise NotImplementedError("needs to be root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def _disk_full(verb: str, command: list[object], inputs: Inputs, folder: Path) -> str:
    with _mounted(folder / "disk", "size=24k") as disk:
        problem = _ended_well(command, disk / "out")
        litter = [path.name for path in disk.rglob("*.tmp")]
        return problem or (f"left {litter}" if litter else "")


def _read_only(verb: str, command: list[object], inputs: Inputs, folder: Path) -> str:
    with _mounted(folder / "disk", "ro,size=1m") as disk:
        ended = run([*command, "--out", disk / "out"], limit_s=300)
        return problem_of(ended, [str(disk)], refused=True)


def _memory(verb: str, command: list[object], inputs: Inputs, folder: Path) -> str:
    return _ended_well(command, folder / "out", lambda: limit_memory(60 * 2**20))


def _clock_back(verb: str, command: list[object], inputs: Inputs, folder: Path) -> str:
    def hook() -> None:
        now, calls = time.time, [0]

        def back() -> float:
            calls[0] += 1
            return now() - 3600 * calls[0]

        time.time = back

    return _ended_well(command, folder / "out", hook)


def _two_processes(verb: str, command: list[object], inputs: Inputs, folder: Path) -> str:
    out = folder / "out"
    first = start([*command, "--out", out], lambda: _slow_writes())
    while not (out / ".lock").exists() and not first.ended():
        time.sleep(0.005)
    second = run([*command, "--out", out], limit_s=300)
    ended = first.wait(600)
    if ended.status:
        return f"the first ended with {ended.status}: {ended.said[-200:]}"
    return problem_of(second, [str(out)], refused=True)


def _slow_writes() -> None:
    fsync = os.fsync

    def slow(handle: int) -> None:
        time.sleep(0.3)
        fsync(handle)

    os.fsync = slow


def _vanishing(verb: str, command: list[object], inputs: Inputs, folder: Path) -> str:
    if verb == "phantom":
        raise NotImplementedError("it reads nothing")
    victim = (
        (inputs.raw if verb == "prepare" else inputs.manifest).parent
        / ("p1" if verb == "prepare" else "p3")
        / "t1w.nii.gz"
    )
    if verb == "train":
        victim = inputs.manifest.parent / "p0" / "t1w.nii.gz"
    whole = victim.read_bytes()

    def hook() -> None:
        read = Path.read_bytes

        def vanish(path: Path) -> bytes:
            if path == victim:
                path.unlink()
            return read(path)

        Path.read_bytes = vanish

    try:
        return problem_of(
            run([*command, "--out", folder / "out"], hook, limit_s=300), [str(victim), victim.parent.name], refused=True
        )
    finally:
        victim.write_bytes(whole)


def _worker_killed(verb: str, command: list[object], inputs: Inputs, folder: Path) -> str:
    if verb not in ("prepare", "evaluate"):
        raise NotImplementedError("it has no workers")
    command = [2 if before == "--jobs" else word for before, word in zip([None, *command], command, strict=False)]
    running = start([*command, "--out", folder / "out"])
    while not (workers := _workers(running.pid)) and not running.ended():
        time.sleep(0.05)
    for pid in workers[:1]:
        os.kill(pid, signal.SIGKILL)
    return problem_of(running.wait(300), ["killed"])


def _workers(parent: int) -> list[int]:
    """Processes of `multiprocessing` that a process has started and that are at work."""
    listed = Path(f"/proc/{parent}/task/{parent}/children")
    children = [int(pid) for pid in listed.read_text().split()] if listed.exists() else []
    return [pid for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def _nan_loss(verb: str, command: list[object], inputs: Inputs, folder: Path) -> str:
    if verb != "train":
        raise NotImplementedError("it has no loss")

    def hook() -> None:
        from volumetric.learning.losses import MaskedLoss

        forward, calls = MaskedLoss.__call__, [0]

        def broken(self: MaskedLoss, *arguments: object) -> object:
            calls[0] += 1
            loss = forward(self, *arguments)
            return loss * float("nan") if calls[0] == 7 else loss

        MaskedLoss.__call__ = broken

    return problem_of(run([*command, "--out", folder / "out"], hook, limit_s=300), ["loss"], refused=True)
