"""Evaluations written by hand: the tables with known numbers, the images small and oblique."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import TINY, brain_pair, oblique_affine
from tests.records.test_prediction import SIDECAR
from volumetric.config.resolve import resolve
from volumetric.imaging.intensity import reference_scale
from volumetric.imaging.nifti import write_image
from volumetric.records.evaluation import Definitions, EvaluationInfo, PackedBlockMeans, ScoredImages, SubjectScores
from volumetric.records.run import HistoryRow, Provenance
from volumetric.records.settings import RunSettings
from volumetric.records.table import SessionKey
from volumetric.reporting.results import EvaluationResults, read_results

DEFINITIONS = {
    "psnr_db": {"label": "PSNR", "unit": "dB", "better": "higher", "formula": "20 log10(R) - ...", "source": "ITU-T"},
    "ssim": {"label": "SSIM", "unit": "1", "better": "higher", "formula": "mean of <a & b>", "source": "Wang 2004"},
    "mae": {"label": "MAE", "unit": "intensity", "better": "lower", "formula": "mean |e|", "source": "definition"},
    "bias": {"label": "Bias", "unit": "intensity", "better": "zero", "formula": "mean e", "source": "definition"},
}
METHODS = ("model", "constant", "cubic")


def score(method: str, index: int) -> dict[str, float]:
    """Known scores: subject 0 is best; cubic is 2 dB below the model and constant 6."""
    below = {"model": 0.0, "cubic": 2.0, "constant": 6.0}[method]
    psnr = 30.0 - index - below
    return {"psnr_db": psnr, "ssim": psnr / 40, "mae": 3 / psnr, "bias": 0.01 * (index - 1)}


def rows_of(name: str, index: int, *, tissues: bool = True) -> list[dict[str, object]]:
    subject, _, session = name.partition("/")
    regions = ("brain", "csf", "gm", "wm") if tissues else ("brain",)
    return [
        {
            "subject_id": subject, "session_id": session, "method": method, "region": region, "status": "ok",
            "error": "", "num_voxels": 1000 + index, **score(method, index), "data_range": 2.5,
            "mask_rule": "nonzero", "prediction_scale": "reference" if method == "model" else "",
            "truth_mean": 1.0 + 0.5 * number, "prediction_mean": 1.1 + 0.5 * number + 0.02 * index,
            "site": f"site{index % 2}", "age": 40 + index,
        }
        for method in METHODS
        for number, region in enumerate(regions)
    ]  # fmt: skip


def failed_row(name: str, reason: str) -> dict[str, object]:
    columns = dict.fromkeys(rows_of(name, 0)[0], "")
    return columns | {"subject_id": name, "method": "model", "status": "failed", "error": reason}


def summary_of(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    """Mean, and an invented interval of 1 to both sides."""
    summary = []
    for group in ("", "site=site0"):
        for method in METHODS:
            for metric, about in DEFINITIONS.items():
                values = [
                    float(r[metric])
                    for r in rows
                    if (r["method"], r["region"]) == (method, "brain") and group in ("", f"site={r['site']}")
                ]
                if values:
                    mean, reach = sum(values) / len(values), 1.0 if len(values) > 1 else math.nan
                    summary.append(
                        {"method": method, "region": "brain", "group": group, "metric": metric, "unit": about["unit"],
                         "n": len(values), "num_missing": 0, "num_nonfinite": 0, "mean": mean,
                         "ci95_low": mean - reach, "ci95_high": mean + reach}
                    )  # fmt: skip
    return summary


def write_table(path: Path, rows: list[dict[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)), restval="")
        writer.writeheader()
        writer.writerows(rows)


def write_evaluation(
    folder: Path, names: list[str], failed: tuple[str, ...] = (), *, images: bool = True, tissues: bool = True
) -> Path:
    """An evaluation folder as `evaluate` writes it, of subjects with oblique volumes of unequal sides."""
    rows = [row for index, name in enumerate(names) for row in rows_of(name, index, tissues=tissues)]
    write_table(folder / "per_subject.csv", rows + [failed_row(name, "no `t2w` file <b>") for name in failed])
    write_table(folder / "summary.csv", summary_of(rows))
    write_definitions(folder)
    EvaluationInfo(
        predictions=str(folder.parent / "predictions"), source="t1w", target="t2w", split="test", data_range=2.5,
        num_training_subjects=3, prediction_scale="reference", versions={"python": "3"},
    ).write(folder / "evaluation.json")  # fmt: skip
    for index, name in enumerate(names):
        if images:
            write_subject(folder, name, write_images(folder / "images" / f"s{index}", index))
    return folder


def evaluated(folder: Path, rows: list[dict[str, object]], summary=()) -> EvaluationResults:
    """The results of an evaluation with these rows."""
    write_table(folder / "per_subject.csv", rows)
    if summary:
        write_table(folder / "summary.csv", list(summary))
    write_definitions(folder)
    return read_results(folder)


def write_definitions(folder: Path) -> None:
    Definitions.model_validate(DEFINITIONS).write(folder / "definitions.json")


def key_of(name: str) -> SessionKey:
    subject, _, session = name.partition("/")
    return SessionKey(subject, session)


def write_subject(folder: Path, name: str, images: dict[str, object]) -> Path:
    """The file of a subject, `images` as `ScoredImages` has them."""
    key = key_of(name)
    path = SubjectScores.path(folder, key)
    SubjectScores(
        subject_id=key.subject_id,
        session_id=key.session_id,
        fingerprint="",
        images=ScoredImages.model_validate(images),
        block_means=PackedBlockMeans(blocks="", truth="", prediction=""),
        rows=(),
    ).write(path)
    return path


def write_images(folder: Path, seed: int, orientation: str = "PIR") -> dict[str, object]:
    """A source, a truth and a prediction that is the truth with a smooth error; returns the record's `images`."""
    t1w, t2w = brain_pair(seed, affine=oblique_affine(orientation))
    mask = t1w.array != 0
    scale = reference_scale(t2w.array, mask)
    ramp = np.linspace(0.8, 1.2, t2w.array.shape[0])[:, None, None]
    prediction = t2w.with_array((1000 * t2w.array / scale * ramp).astype(np.float32))
    paths = {role: folder / f"{role}.nii.gz" for role in ("source", "truth", "prediction")}
    for path, image in zip(paths.values(), (t1w, t2w, prediction), strict=True):
        write_image(path, image)
    divisors = {"source": reference_scale(t1w.array, mask), "truth": scale, "prediction": 1000.0}
    return {role: {"path": str(path), "divisor": divisors[role]} for role, path in paths.items()} | {"mask": None}


@pytest.fixture(scope="session")
def evaluation(tmp_path_factory) -> Path:
    """Five subjects, one of them a session, and one that failed, in a run folder; tests must not change it."""
    run = tmp_path_factory.mktemp("run")
    history = [HistoryRow(step=10 * n, lr=0.1, train_loss=1 / n, val_psnr_db=20 + n) for n in (1, 2, 3)]
    HistoryRow.write_table(run / "history.csv", history)
    Provenance(
        command="volumetric train a.csv", git_commit=None, versions={}, platform="Linux", seed=3, device="cpu"
    ).write(run / "provenance.json")
    RunSettings.of(resolve(TINY), "abc123").write(run / "settings.json")
    metrics = write_evaluation(run / "metrics", ["a1", "b2", "c3/late", "d4", "</script><b>&\"'"], failed=("e<5>",))
    sidecar = SIDECAR.model_copy(update={"model_sha256": "feed", "warnings": ("unlike the training",)})
    sidecar.write(metrics / "images" / "s1" / "prediction.json")
    return metrics
