"""The page's HTML: templates filled in, and data made safe to stand in a script."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from volumetric.reporting import background, content
from volumetric.reporting.content import Choice
from volumetric.reporting.pictures import Pictures
from volumetric.reporting.results import Results, number, subject_name

_CONTRASTS = {"t1w": "T1w", "t2w": "T2w", "pdw": "PDw", "flair": "FLAIR"}
_ARROWS = {"higher": "↑", "lower": "↓", "zero": "→ 0"}
_SCRIPTS = ("plots.js", "table.js", "viewer.js", "page.js")


@dataclass(frozen=True)
class Shown:
    """A subject of the page: why it is there, and its pictures or the reason why there are none."""

    choice: Choice
    pictures: Pictures | None
    error: str


def render(results: Results, shown: list[Shown], *, niivue: str | None, version: str) -> str:
    """The whole page.

    Args:
        results: the evaluation.
        shown: the subjects with pictures.
        niivue: the viewer's program; None leaves it out.
        version: of this package.

    Returns:
        HTML that needs nothing but itself.
    """
    region = content.main_region(results)
    agreements = content.agreements(results)
    data = content.table_data(results, [s.choice.subject for s in shown])
    data |= {
        "region": region,
        "curves": background.curves(results),
        "agreements": [_plain(agreement.__dict__) for agreement in agreements],
    }
    facts = results.facts
    environment = Environment(
        loader=PackageLoader("volumetric.reporting"), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=StrictUndefined,
    )  # fmt: skip
    environment.filters |= {"number": show_number, "arrow": lambda better: _ARROWS.get(better, "")}
    return environment.get_template("report.html").render(
        results=results,
        source=_contrast(facts.get("source"), "source"),
        target=_contrast(facts.get("target"), "target"),
        region=region,
        headlines=content.headlines(results, region),
        headline_metrics=[m for m in results.metrics if m.name in content.HEADLINES],
        groups=content.groups(results, region),
        scores=_scores(results, region),
        shown=shown,
        num_scored=len(content.scored(results, region=region)),
        agreements=agreements,
        data_has_curves=bool(data["curves"]["panels"]),
        failures=content.failures(results),
        warnings=background.warnings(results),
        provenance=background.provenance(results),
        data=script_json(data),
        style=Markup(_text("report.css")),
        scripts=[Markup(_text(name)) for name in _SCRIPTS],
        niivue=Markup(niivue) if niivue else None,
        niivue_license=Markup(_text("niivue_license.txt")),
        version=version,
    )


def show_number(value: float | str | None, unit: str = "") -> str:
    """Two decimals for dB, else three; a dash for what is no number."""
    value = number(value) if isinstance(value, str) else value
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    decimals = 2 if unit == "dB" or abs(value) >= 10 else 3
    return f"{value:.{decimals}f}".replace("-", "−")


def script_json(content: Mapping[str, Any]) -> Markup:
    """JSON that cannot end the script it stands in."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers that are not finite as what JSON knows."""
    plain: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, float):
            plain[key] = content.rounded(value)
        elif isinstance(value, list):
            plain[key] = [content.rounded(v) if isinstance(v, float) else v for v in value]
        else:
            plain[key] = value
    return plain


def _scores(results: Results, region: str) -> dict[str, dict[str, str]]:
    """Subject -> the model's headline numbers."""
    return {
        subject_name(row): {m.name: row.get(m.name, "") for m in results.metrics}
        for row in content.scored(results, region=region)
    }


def _contrast(name: object, otherwise: str) -> str:
    return _CONTRASTS.get(str(name), str(name)) if name else otherwise


def _text(name: str) -> str:
    return (files("volumetric.reporting") / "templates" / name).read_text(encoding="utf-8")
