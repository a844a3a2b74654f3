"""Damaged inputs through the command line: each is a result or one sentence, and costs nothing but itself."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import yaml

from benchmarks.reliability import changes
from benchmarks.reliability.cohort import Inputs
from benchmarks.reliability.process import HUNG, Ended, run
from volumetric.config.resolve import as_yaml, resolve

TABLE = Path(__file__).parent / "damage.yaml"
LIMIT_S = 60
_BATCH = 40


@dataclass(frozen=True)
class Case:
    """One damage: a value of a row of the table, and the seed of its draws."""

    family: str
    kind: str
    change: str
    value: Any
    seed: tuple[int, ...]
    expect: str
    column: str = ""

    @property
    def rng(self) -> np.random.Generator:
        return np.random.default_rng(self.seed)


@dataclass(frozen=True)
class Finding:
    """The end of a case; `problem` is empty where it was handled."""

    case: Case
    problem: str


def read_cases(family: str, seed: int = 0, every: int = 1) -> list[Case]:
    """The cases of a family; of each `every`, one."""
    cases = []
    for row, kind in enumerate(yaml.safe_load(TABLE.read_text())[family]):
        for number, value in enumerate(kind["values"] * kind.get("repeat", 1)):
            fixed = (
                kind["kind"],
                kind["change"],
                value,
                (seed, len(family), row, number),
                kind.get("expect", "either"),
            )
            cases.append(Case(family, *fixed, column=kind.get("column", "")))
    return cases[::every]


def try_all(family: str, inputs: Inputs, folder: Path, *, seed: int = 0, every: int = 1) -> Iterator[Finding]:
    """Every case of a family."""
    cases = read_cases(family, seed, every)
    if family == "nifti":
        for number in range(0, len(cases), _BATCH):
            yield from _nifti(cases[number : number + _BATCH], inputs, folder / str(number))
        return
    single: dict[str, Callable[[Case, Inputs, Path], str]] = {
        "manifest": _manifest,
        "configuration": _configuration,
        "model": _model,
    }
    for number, case in enumerate(cases):
        own = folder / str(number)
        own.mkdir(parents=True)
        yield Finding(case, single[family](case, inputs, own))
        shutil.rmtree(own, ignore_errors=True)


def problem_of(ended: Ended, names: Sequence[str], *, refused: bool = False) -> str:
    """The reason that an end is improper, or nothing: status as documented, one sentence, a file named, a way out."""
    if ended.status == HUNG:
        return f"hung for {ended.seconds:.0f} s"
    if "Traceback" in ended.said or ended.status not in (0, 1, 2):
        return f"status {ended.status}: {' '.join(ended.said.split())[-300:]}"
    if ended.status == 0:
        return "accepted" if refused else ""
    sentences = [line for line in ended.said.splitlines() if any(name in line for name in names)]
    if not sentences:
        return f"no file is named: {' '.join(ended.said.split())[-300:]}"
    return "" if any(map(_has_way_out, sentences)) else f"no way out: {sentences[0][:300]}"


def _has_way_out(sentence: str) -> bool:
    return any(word in sentence for word in (";", "expected", "should", "must", "did you mean"))


def _nifti(cases: Sequence[Case], inputs: Inputs, folder: Path) -> Iterator[Finding]:
    """Many cases as the subjects of one `infer`, with a good one among them; one by one where that did not end well."""
    whole = (inputs.manifest.parent / "p3" / "t1w.nii.gz").read_bytes()
    rows, files = [], {}
    folder.mkdir(parents=True)
    for number, case in enumerate(cases):
        name = f"c{number:03d}"
        files[name] = folder / f"{name}.nii.gz"
        files[name].write_bytes(changes.nifti(whole, case.change, case.value, case.rng))
        rows.append(f"{name},{name}.nii.gz")
    (folder / "good.nii.gz").write_bytes(whole)
    manifest, out = folder / "manifest.csv", folder / "out"
    manifest.write_text(
        "\n".join(["subject_id,t1w", *rows[: len(rows) // 2], "good,good.nii.gz", *rows[len(rows) // 2 :]]) + "\n"
    )
    ended = run([*_infer(inputs), manifest, "--out", out], limit_s=LIMIT_S * 5)
    table = _rows(out)
    if table.get("good", {}).get("status") != "ok":
        if len(cases) == 1:
            yield Finding(cases[0], problem_of(ended, ["c000"]) or "the rest of the batch was not done")
        else:
            for number, case in enumerate(cases):
                yield from _nifti([case], inputs, folder / f"alone{number}")
    else:
        for case, name in zip(cases, files, strict=True):
            yield Finding(case, _row_problem(case, table.get(name, {}), out, files[name]))
    shutil.rmtree(folder, ignore_errors=True)


def _row_problem(case: Case, row: dict[str, str], out: Path, file: Path) -> str:
    if row.get("status") == "failed":
        # the row names the subject, so its contrast is enough
        named = any(word in row["error"] for word in (file.name, "t1w"))
        return "" if named and _has_way_out(row["error"]) else f"no file or way out: {row['error']}"
    if row.get("status") != "ok":
        return "no row"
    if case.expect == "refused":
        return "accepted"
    values = np.asarray(nib.load(out / row["path"]).dataobj)
    return "" if np.isfinite(values).all() and values.any() else "a result that is not finite, or zero"


def _rows(out: Path) -> dict[str, dict[str, str]]:
    try:
        with (out / "predictions.csv").open() as file:
            return {row["subject_id"]: row for row in csv.DictReader(file)}
    except OSError:
        return {}


def _infer(inputs: Inputs) -> list[object]:
    return ["infer", "--model", inputs.run, "--engine", "torch", "--device", "cpu"]


def _manifest(case: Case, inputs: Inputs, folder: Path) -> str:
    text = inputs.manifest.read_text().replace(",p", f",{inputs.manifest.parent}/p")
    text = "\n".join(line for line in text.splitlines() if not line.startswith(("p1", "p2", "p4"))) + "\n"
    file = folder / "damaged.csv"
    file.write_bytes(changes.manifest(text, case.change, case.value, case.rng, case.column))
    ended = run([*_infer(inputs), file, "--out", folder / "out"], limit_s=LIMIT_S)
    outside = {path.name for path in folder.iterdir()} - {"out", "damaged.csv"}
    return problem_of(ended, ["damaged.csv", "subject ", "p0", "p3", changes.LONG[:50]]) or (
        f"wrote outside --out: {outside}" if outside else ""
    )


def _configuration(case: Case, inputs: Inputs, folder: Path) -> str:
    file = folder / "damaged.yaml"
    file.write_bytes(changes.document(as_yaml(resolve("demo")), case.change, case.value, case.rng))
    return problem_of(run(["config", file], limit_s=LIMIT_S), ["damaged.yaml", "`"])


def _model(case: Case, inputs: Inputs, folder: Path) -> str:
    model, out = folder / "model", folder / "out"
    shutil.copytree(inputs.run / "model", model)
    scan = inputs.manifest.parent / "p3" / "t1w.nii.gz"
    engine = "openvino" if case.change == "engine" else "torch"
    command = ["infer", scan, "--model", model, "--out", out, "--engine", engine, "--device", "cpu"]
    state = case.expect == "same"
    if state:
        first = run(command, limit_s=LIMIT_S)
        assert first.status == 0, first.said
        (image,) = out.rglob("*T2w.nii.gz")
        before = image.read_bytes()
    _damage_model(case, model, out)
    ended = run(command, limit_s=LIMIT_S)
    problem = problem_of(ended, ["model", "out"], refused=case.expect == "refused")
    if problem or not state:
        return problem or (_model_result(case, inputs, ended, out))
    return "" if ended.status or image.read_bytes() == before else "other bytes than before"


def _model_result(case: Case, inputs: Inputs, ended: Ended, out: Path) -> str:
    """An accepted model must give a finite image; flipped weights must give the image of the whole ones."""
    if ended.status:
        return ""
    (image,) = out.rglob("*T2w.nii.gz")
    values = np.asarray(nib.load(image).dataobj)
    if not np.isfinite(values).all() or not values.any():
        return "a result that is not finite, or zero"
    (undisturbed,) = inputs.predictions.rglob("sub-p3_*T2w.nii.gz")
    if case.change == "flip" and image.read_bytes() != undisturbed.read_bytes():
        return "another image, without a word"
    return ""


def _damage_model(case: Case, model: Path, out: Path) -> None:
    weights, spec = model / "model.safetensors", model / "model.yaml"
    value, rng = case.value, case.rng
    if case.change in ("key", "flip_yaml", "yaml"):
        change = {"key": "key", "flip_yaml": "flip", "yaml": "content"}[case.change]
        spec.write_bytes(changes.document(spec.read_text(), change, value, rng))
    elif case.change in ("cut", "flip", "tensors", "values"):
        whole = weights.read_bytes()
        weights.write_bytes(
            {
                "cut": lambda: changes.cut(whole, value),
                "flip": lambda: changes.flip(whole, value, rng),
                "tensors": lambda: changes.tensors(whole, value),
                "values": lambda: changes.weights(whole, value),
            }[case.change]()
        )
    elif case.change == "files":
        _damage_files(weights, spec, value)
    elif case.change == "engine":
        _damage_engine(model / "engines", value, rng)
        shutil.rmtree(out)
    else:
        _damage_state(case, out)


def _damage_files(weights: Path, spec: Path, how: str) -> None:
    if how in ("no weights", "empty", "weights a folder", "a pickle"):
        weights.unlink()
    if how in ("no yaml", "empty", "yaml a folder"):
        spec.unlink()
    if how in ("weights a folder", "yaml a folder"):
        (weights if how.startswith("weights") else spec).mkdir()
    if how == "a pickle":
        weights.write_bytes(changes.pickled())
    if how == "other network":
        content = yaml.safe_load(spec.read_text())
        content["network"]["channels"] = [4, 8]
        spec.write_text(yaml.safe_dump(content))


def _damage_engine(engines: Path, how: str, rng: np.random.Generator) -> None:
    for path in [path for path in engines.rglob("*") if path.is_file()]:
        if how == "folder":
            path.unlink()
            path.mkdir()
        elif how == "no digest":
            if path.name == "sha256":
                path.unlink()
        else:
            data = path.read_bytes()
            path.write_bytes(
                {
                    "zero": b"",
                    "cut": data[: len(data) // 2],
                    "noise": rng.bytes(len(data)),
                    "other model": data.replace(b"1", b"2"),
                }[how]
            )


def _damage_state(case: Case, out: Path) -> None:
    """Sidecar, table or image of a prediction."""
    (image,) = out.rglob("*T2w.nii.gz")
    path = {
        "sidecar": image.with_name(image.name.replace(".nii.gz", ".json")),
        "table": out / "predictions.csv",
        "timings": out / "timings.csv",
        "prediction": image,
    }[case.change]
    data = path.read_bytes()
    if case.value == "folder":
        path.unlink()
        path.mkdir()
    elif case.value == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif case.value == "flip":
        path.write_bytes(changes.flip(data, 4, case.rng))
    else:
        path.write_bytes(b"" if case.value == "zero" else str(changes.word(case.value)).encode("latin-1"))
