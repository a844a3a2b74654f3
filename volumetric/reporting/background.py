"""Where the numbers come from: training curves, warnings and provenance."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from volumetric.outputs import hash_file
from volumetric.reporting.content import rounded
from volumetric.reporting.results import MODEL, Results, ResultsError, number, read_json


def curves(results: Results) -> dict[str, Any]:
    """The training's history as panels: losses together, every validated metric in one of its own.

    Returns:
        `{"steps": [...], "panels": [{"title", "unit", "series": [{"name", "values"}]}]}`; no panels without a history.
    """
    labels = {metric.name: metric for metric in results.metrics}
    columns = [c for c in (results.history[0] if results.history else {}) if c not in ("step", "epoch", "lr")]
    panels: dict[str, dict[str, Any]] = {}
    for column in columns:
        values = [rounded(number(row.get(column))) for row in results.history]
        if all(value is None for value in values):
            continue
        what = column.removeprefix("train_").removeprefix("val_")
        metric = labels.get(what)
        label = metric.label if metric else what.removesuffix("_db").replace("_", " ")
        part = "validation" if column.startswith("val_") else "training"
        unit = metric.unit if metric else ""
        panel = panels.setdefault(what, {"title": label, "unit": unit, "series": []})
        panel["series"].append({"name": part, "values": values})
    steps = [rounded(number(row.get("step") or row.get("epoch"))) for row in results.history]
    return {"steps": steps, "panels": list(panels.values())}


def warnings(results: Results) -> list[str]:
    """One sentence for everything a reader of the scores should know."""
    sentences = []
    for method, reason in _unavailable(results).items():
        sentences.append(f"{method} is not available: {reason}.")
    summary = [r for r in results.summary if not r.get("group") and r["method"] == MODEL]
    bad = {r["metric"]: r for r in summary if number(r.get("num_nonfinite")) > 0}
    for metric, row in bad.items():
        many = int(number(row["num_nonfinite"]))
        sentences.append(f"{metric} of the model in {row['region']} is not finite for {many} of the subjects.")
    rules = Counter(row["mask_rule"] for row in results.rows if row.get("mask_rule") and row["method"] == MODEL)
    if len(rules) > 1:
        sentences.append(f"The brain masks were made by different rules ({', '.join(sorted(rules))}).")
    for subject in results.subjects:
        sentences += [f"{subject}: {text}" for text in _sidecar(results, subject).get("warnings", [])]
    return sentences + results.absent


def provenance(results: Results) -> list[tuple[str, str]]:
    """Label and text of everything that is needed to get the same numbers again."""
    facts, run = results.facts, results.run
    made, training = results.provenance, _settings(results)
    known = facts.get("run") if isinstance(facts.get("run"), dict) else {}
    first = next((row for row in results.rows if row["status"] == "ok"), {})
    rules = sorted({row["mask_rule"] for row in results.rows if row.get("mask_rule")})
    models = sorted(
        {str(s["model_sha256"]) for n in results.subjects if (s := _sidecar(results, n)).get("model_sha256")}
    )
    versions = facts.get("versions") or made.get("versions") or {}
    fields = {
        "Evaluation": results.folder,
        "Predictions": facts.get("predictions"),
        "Contrasts": f"{facts['source']} → {facts['target']}" if facts.get("source") and facts.get("target") else None,
        "Split": facts.get("split"),
        "Data range": facts.get("data_range") or first.get("data_range"),
        "Training subjects behind the baselines": facts.get("num_training_subjects"),
        "Mask rule": ", ".join(rules),
        "Prediction scale": facts.get("prediction_scale") or first.get("prediction_scale"),
        "Training run": (known or {}).get("folder") or run,
        "Training command": made.get("command"),
        "Seed": (known or {}).get("seed", made.get("seed")),
        "Device": made.get("device"),
        "Platform": made.get("platform"),
        "Source code": made.get("git_commit"),
        "Settings, SHA-256": (known or {}).get("settings_sha256"),
        "Training manifest, SHA-256": training.get("training_manifest_sha256"),
        "Model, SHA-256": ", ".join(models),
        "per_subject.csv, SHA-256": hash_file(results.folder / "per_subject.csv"),
        "Versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
    }
    return [(label, str(text)) for label, text in fields.items() if text not in (None, "")]


def _unavailable(results: Results) -> dict[str, str]:
    return {row["method"]: row.get("error", "") for row in results.rows if row["status"] == "n/a"}


def _settings(results: Results) -> dict[str, Any]:
    path = results.run / "settings.json" if results.run else None
    return read_json(path) if path and path.is_file() else {}


def _sidecar(results: Results, subject: str) -> dict[str, Any]:
    """What inference wrote beside the prediction; empty for another tool's, and where it cannot be read."""
    try:
        images = results.record(subject).get("images")
        path = Path(str(images["prediction"]["path"])) if images else None
        sidecar = path.with_name(path.name.removesuffix(".gz").removesuffix(".nii") + ".json") if path else None
        return read_json(sidecar) if sidecar and sidecar.is_file() else {}
    except (ResultsError, KeyError, TypeError):
        return {}
