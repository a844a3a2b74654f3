"""The report of an evaluation: one page with its scores, the images of some subjects and the training."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import get_args

from volumetric.batch.subjects import Outcome, run_subjects
from volumetric.config.choices import ViewerChoice
from volumetric.errors import InputError
from volumetric.outputs import write_text
from volumetric.reporting.images import MakeFigures, SubjectFigures
from volumetric.reporting.page import SubjectSection, render
from volumetric.reporting.results import EvaluationResults, read_results
from volumetric.reporting.selection import SelectedSubject, select_subjects
from volumetric.reporting.viewer import niivue_script

log = logging.getLogger(__name__)

_LARGE_MB = 200


class ReportError(InputError):
    """A report that cannot be made with these options."""


@dataclass(frozen=True)
class Report:
    """The written page.

    Attributes:
        path: the page.
        num_bytes: its size.
        outcomes: one per subject with a section of its own.
    """

    path: Path
    num_bytes: int
    outcomes: list[Outcome[SubjectFigures]]


def report(folder: Path, *, out: Path | None = None, viewer: ViewerChoice = "shown") -> Report:
    """Write the page of an evaluation.

    Args:
        folder: of the evaluation, or of a run with one in `metrics`.
        out: the HTML file; default `report.html` in `folder`.
        viewer: `shown` gives the best, median and worst subject a figure and a 3D viewer; `none` a figure alone; `all`
            gives both to every scored subject.

    Raises:
        InputError: the call itself is wrong; nothing has been written.
    """
    if viewer not in get_args(ViewerChoice):
        raise ReportError(f"--viewer {viewer}: expected {', '.join(get_args(ViewerChoice))}")
    out = out or folder / "report.html"
    if out.is_dir():
        raise ReportError(f"{out} is a folder; give --out the name of an HTML file, such as {out / 'report.html'}")
    if out.suffix.lower() not in (".html", ".htm"):  # a table of scores, say, is not written over
        raise ReportError(f"--out {out}: expected a name that ends in .html, such as {out.with_suffix('.html')}")
    results = read_results(folder)
    program = niivue_script() if viewer != "none" else None
    subjects = select_subjects(results)
    if viewer == "all":
        subjects += _others(results, subjects)
    task = MakeFigures(results.folder, with_viewer=program is not None)
    outcomes = run_subjects(task, [subject.key for subject in subjects], title="report")
    sections = [
        SubjectSection(subject, outcome.record, outcome.error)
        for subject, outcome in zip(subjects, outcomes, strict=True)
    ]
    write_text(out, render(results, sections, niivue=program, version=metadata.version("volumetric")))
    num_bytes = out.stat().st_size
    if num_bytes > _LARGE_MB * 1e6:
        log.warning("%s has %.0f MB and may open slowly; --viewer shown keeps it small", out, num_bytes / 1e6)
    return Report(out, num_bytes, outcomes)


def _others(results: EvaluationResults, subjects: list[SelectedSubject]) -> list[SelectedSubject]:
    """The scored subjects that are not among `subjects`, in the table's order."""
    selected = {subject.key for subject in subjects}
    keys = dict.fromkeys(row.key for row in results.scored())
    return [SelectedSubject(key, "") for key in keys if key not in selected]
