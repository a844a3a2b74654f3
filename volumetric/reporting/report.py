"""The report: reads an evaluation, draws its subjects, and writes one page."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal, get_args

from volumetric.batch.subjects import Outcome, run_subjects
from volumetric.errors import InputError
from volumetric.outputs import write_text
from volumetric.reporting.content import Choice, choose, scored
from volumetric.reporting.page import Shown, render
from volumetric.reporting.pictures import Drawing, Pictures
from volumetric.reporting.results import read_results, subject_name
from volumetric.reporting.viewer import niivue_script

log = logging.getLogger(__name__)

ViewerChoice = Literal["all", "shown", "none"]
_LARGE_MB = 200


class ReportError(InputError):
    """A report that cannot be made as asked."""


@dataclass(frozen=True)
class Report:
    """What was written.

    Attributes:
        path: the page.
        num_bytes: its size.
        outcomes: one per subject that was to be drawn.
    """

    path: Path
    num_bytes: int
    outcomes: list[Outcome[Mapping[str, object]]]


def report(folder: Path, *, out: Path | None = None, viewer: str = "shown") -> Report:
    """Write the page of an evaluation.

    Args:
        folder: what `evaluate` wrote, or a run folder with it in `metrics`.
        out: the HTML file; default `report.html` in `folder`.
        viewer: `shown` gives the best, median and worst subject pictures and a 3D viewer; `none` pictures alone;
            `all` gives both to every scored subject.

    Raises:
        InputError: the call itself is wrong; nothing has been written.
    """
    if viewer not in get_args(ViewerChoice):
        raise ReportError(f"--viewer {viewer}: expected {', '.join(get_args(ViewerChoice))}")
    out = out or folder / "report.html"
    if out.is_dir():
        raise ReportError(f"{out} is a folder; give --out the name of an HTML file, such as {out / 'report.html'}")
    results = read_results(folder)
    program = niivue_script() if viewer != "none" else None
    choices = choose(results)
    if viewer == "all":
        chosen = {choice.subject for choice in choices}
        others = dict.fromkeys(subject_name(row) for row in scored(results))
        choices += [Choice(name, "") for name in others if name not in chosen]
    task = Drawing(results, with_viewer=program is not None)
    outcomes = run_subjects(task, [choice.subject for choice in choices], title="report")
    shown = [_shown(choice, outcome) for choice, outcome in zip(choices, outcomes, strict=True)]
    page = render(results, shown, niivue=program, version=metadata.version("volumetric"))
    write_text(out, page)
    num_bytes = out.stat().st_size
    if num_bytes > _LARGE_MB * 1e6:
        log.warning("%s has %.0f MB and may open slowly; --viewer shown keeps it small", out, num_bytes / 1e6)
    return Report(out, num_bytes, outcomes)


def _shown(choice: Choice, outcome: Outcome[Mapping[str, object]]) -> Shown:
    pictures = (outcome.record or {}).get("pictures")
    return Shown(choice, pictures if isinstance(pictures, Pictures) else None, outcome.error)
