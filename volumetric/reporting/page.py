"""The HTML of the page: templates filled in, and data made safe inside a script."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from volumetric.reporting.agreement import Agreement, agreements
from volumetric.reporting.curves import TrainingCurves, sparsification_curves, training_curves
from volumetric.reporting.headlines import headline_metrics, headlines, subject_groups
from volumetric.reporting.images import SubjectFigures
from volumetric.reporting.notes import warnings
from volumetric.reporting.provenance import provenance_facts
from volumetric.reporting.results import EvaluationResults
from volumetric.reporting.selection import SelectedSubject
from volumetric.reporting.table import PageTable, subject_table

_CONTRASTS = {"t1w": "T1w", "t2w": "T2w", "pdw": "PDw", "flair": "FLAIR", "t1wce": "T1w with agent"}
_ARROWS = {"higher": "↑", "lower": "↓", "zero": "→ 0"}
_SCRIPTS = ("plots.js", "table.js", "viewer.js", "page.js")

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]
"""Content of a JSON file."""


@dataclass(frozen=True)
class SubjectSection:
    """A subject of the page, and its figures or the reason why there are none."""

    subject: SelectedSubject
    figures: SubjectFigures | None
    error: str


@dataclass(frozen=True)
class ScriptData:
    """The data of the page's scripts.

    Attributes:
        table: of every subject.
        region: the main one.
        curves: of the training.
        agreements: of the tissue means.
        sparsification: of predictions with uncertainty.
    """

    table: PageTable
    region: str
    curves: TrainingCurves
    agreements: list[Agreement]
    sparsification: TrainingCurves


def render(results: EvaluationResults, sections: Sequence[SubjectSection], *, niivue: str | None, version: str) -> str:
    """Render the whole page.

    Args:
        results: the evaluation.
        sections: the subjects with images.
        niivue: the viewer's program; None leaves it out.
        version: of this package.

    Returns:
        HTML that loads no other file.
    """
    region = results.main_region
    scored = results.scored(region)
    data = ScriptData(
        table=subject_table(results, {section.subject.key for section in sections}),
        region=region,
        curves=training_curves(results),
        agreements=agreements(results),
        sparsification=sparsification_curves(results),
    )
    environment = Environment(
        loader=PackageLoader("volumetric.reporting"), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=StrictUndefined,
    )  # fmt: skip
    environment.filters |= {"number": show_number, "arrow": lambda better: _ARROWS.get(better, "")}
    return environment.get_template("report.html").render(
        source=_contrast(results.info.source) if results.info else "source",
        target=_contrast(results.info.target) if results.info else "target",
        split=results.info.split if results.info else "",
        region=region,
        metrics=results.metrics,
        headlines=headlines(results),
        headline_metrics=headline_metrics(results),
        groups=subject_groups(results),
        scores={row.key: row.metrics for row in scored},
        sections=sections,
        num_scored=len(scored),
        many=bool(data.table.spreads),
        agreements=data.agreements,
        curve_panels=data.curves.panels,
        sparsification_panels=data.sparsification.panels,
        failures=results.failures,
        warnings=warnings(results),
        provenance=provenance_facts(results),
        data=script_json(data),
        style=Markup(_text("report.css")),
        scripts=[Markup(_text(name)) for name in _SCRIPTS],
        niivue=Markup(niivue) if niivue else None,
        niivue_license=Markup(_text("niivue_license.txt")),
        version=version,
    )


def show_number(value: float | None, unit: str = "") -> str:
    """A number for a reader: two decimals for dB, else three; a dash for None and NaN."""
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    decimals = 2 if unit == "dB" or abs(value) >= 10 else 3
    return f"{value:.{decimals}f}".replace("-", "−")


def script_json(content: object) -> Markup:
    """JSON that cannot end the script it is in; content as in `to_json`."""
    text = json.dumps(to_json(content), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def to_json(content: object) -> Json:
    """Dataclasses, mappings, sequences and numbers as JSON.

    Numbers keep six digits. NaN is None and infinity its sign and name, since JSON has neither.
    """
    if is_dataclass(content):
        content = {field.name: getattr(content, field.name) for field in fields(content)}
    if isinstance(content, dict):
        return {str(key): to_json(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [to_json(value) for value in content]
    if isinstance(content, float):
        return _rounded(content)
    assert content is None or isinstance(content, bool | int | str), type(content)
    return content


def _rounded(value: float) -> float | str | None:
    if math.isnan(value):
        return None
    return float(f"{value:.6g}") if math.isfinite(value) else ("Infinity" if value > 0 else "-Infinity")


def _contrast(name: str) -> str:
    return _CONTRASTS.get(name, name)


def _text(name: str) -> str:
    return (files("volumetric.reporting") / "templates" / name).read_text(encoding="utf-8")
