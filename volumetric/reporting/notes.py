"""Warnings: one sentence for everything that a reader of the scores should know."""

from __future__ import annotations

from collections import Counter

from volumetric.records.scores import MODEL
from volumetric.reporting.results import EvaluationResults

_MANY_WARNINGS = 50


def warnings(results: EvaluationResults) -> list[str]:
    """Baselines that are not available, values that are not finite, mask rules, sidecars, and files that are absent."""
    return [
        *_unavailable_baselines(results),
        *_nonfinite_values(results),
        *_mask_rules(results),
        *_sidecar_warnings(results),
        *results.notes,
    ]


def _unavailable_baselines(results: EvaluationResults) -> list[str]:
    errors = {row.method: row.error for row in results.table.rows if row.status == "n/a"}
    return [f"{method} is not available: {error}." for method, error in errors.items()]


def _nonfinite_values(results: EvaluationResults) -> list[str]:
    """One sentence a metric, in the last region where it is not finite."""
    rows = {row.metric: row for row in results.summary if not row.group and row.method == MODEL and row.num_nonfinite}
    return [
        f"{metric} of the model in {row.region} is not finite for {row.num_nonfinite} of the subjects."
        for metric, row in rows.items()
    ]


def _mask_rules(results: EvaluationResults) -> list[str]:
    rules = sorted({row.mask_rule for row in results.table.rows if row.mask_rule and row.method == MODEL})
    return [f"The brain masks were made by different rules ({', '.join(rules)})."] if len(rules) > 1 else []


def _sidecar_warnings(results: EvaluationResults) -> list[str]:
    """One sentence each, or where there are many, one for each kind: the words up to the colon."""
    every = [(key.name, text) for key, sidecar in results.sidecars.items() for text in sidecar.warnings]
    if len(every) <= _MANY_WARNINGS:
        return [f"{name}: {text}" for name, text in every]
    first: dict[str, tuple[str, str]] = {}
    for name, text in every:
        first.setdefault(text.partition(":")[0], (name, text))
    counts = Counter(text.partition(":")[0] for _, text in every)
    return [f"{counts[kind]} subjects, the first is {name}: {text}" for kind, (name, text) in first.items()]
