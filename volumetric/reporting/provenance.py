"""Provenance: everything that is needed to get the same numbers again."""

from __future__ import annotations

from pathlib import Path

from volumetric.outputs import hash_file
from volumetric.records.scores import SCORES_FILE
from volumetric.reporting.results import EvaluationResults

_Facts = dict[str, Path | str | float | None]


def provenance_facts(results: EvaluationResults) -> list[tuple[str, str]]:
    """Label and text of each fact that is known."""
    facts = {
        "Evaluation": results.folder.resolve().name,
        **_evaluation_facts(results),
        **_training_facts(results),
        "Model, SHA-256": ", ".join(sorted({sidecar.model_sha256 for sidecar in results.sidecars.values()})),
        f"{SCORES_FILE}, SHA-256": hash_file(results.folder / SCORES_FILE),
        "Versions": ", ".join(f"{name} {version}" for name, version in _versions(results).items()),
    }
    return [(label, str(text)) for label, text in facts.items() if text not in (None, "")]


def _evaluation_facts(results: EvaluationResults) -> _Facts:
    info = results.info
    rules = ", ".join(sorted({row.mask_rule for row in results.table.rows if row.mask_rule}))
    if info is None:
        first = next((row for row in results.table.rows if row.is_scored), None)
        return {
            "Data range": first.data_range if first else None,
            "Mask rule": rules,
            "Prediction scale": first.prediction_scale if first else None,
        }
    return {
        "Predictions": info.predictions,
        "Contrasts": f"{info.source} → {info.target}",
        "Split": info.split,
        "Data range": info.data_range,
        "Training subjects behind the baselines": info.num_training_subjects,
        "Mask rule": rules,
        "Prediction scale": info.prediction_scale,
    }


def _training_facts(results: EvaluationResults) -> _Facts:
    """Of the run's own files, and of the run that the evaluation names, which stays known where the files are gone."""
    run = results.run
    identity = results.info.run if results.info else None
    made = run.provenance if run else None
    settings = run.settings if run else None
    facts: _Facts = {"Training run": run.folder.resolve().name if run else None}
    if made is not None:
        facts |= {
            "Training command": made.command,
            "Seed": made.seed,
            "Device": made.device,
            "Platform": made.platform,
            "Source code": made.git_commit,
        }
    if identity is not None:
        facts |= {
            "Training run": identity.folder or facts["Training run"],
            "Seed": identity.seed,
            "Settings, SHA-256": identity.settings_sha256,
        }
    return facts | {"Training manifest, SHA-256": settings.training_manifest_sha256 if settings else None}


def _versions(results: EvaluationResults) -> dict[str, str]:
    if results.info is not None:
        return dict(results.info.versions)
    return dict(results.run.provenance.versions) if results.run and results.run.provenance else {}
