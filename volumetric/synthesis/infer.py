"""Inference over a cohort: each subject's missing contrast as a file of a BIDS derivative folder."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from volumetric.batch.spread import HERE, Spread
from volumetric.batch.subjects import Outcome
from volumetric.config.choices import DEFAULT_MODEL, SplitChoice
from volumetric.config.inference import InferenceOptions
from volumetric.errors import InputError
from volumetric.model.ensemble import load_models
from volumetric.model.shipped import shipped_names
from volumetric.records.prediction import PredictionRow, PredictionSidecar, sidecar_path
from volumetric.synthesis.folder import PredictionFolder
from volumetric.synthesis.inputs import InferenceCase, find_cases
from volumetric.synthesis.task import SynthesisTask

log = logging.getLogger(__name__)

_GB_A_JOB = 4.0
_DEFAULTS = InferenceOptions()


def infer(
    inputs: Sequence[Path],
    *,
    out: Path,
    model: Path | str | Sequence[Path | str] = DEFAULT_MODEL,
    split: SplitChoice = "all",
    named: Mapping[str, Path] | None = None,
    options: InferenceOptions = _DEFAULTS,
    prepare: bool | None = None,
    jobs: int | None = None,
    spread: Spread = HERE,
    fresh: bool = False,
    figures: bool = False,
) -> list[Outcome[PredictionRow]]:
    """Write the missing contrast of every subject.

    Args:
        inputs: NIfTI files, folders, manifests.
        out: the folder to write; subjects that are there already, from the same scan, model and settings, are skipped.
        model: the name of a shipped model, or a run or model folder, as `load_model` takes it; of several, the mean.
        split: rows of manifests to take, or `all`.
        named: one more subject, its files by contrast.
        options: how to run the model.
        prepare: True prepares the scans first by the recipe that the model was trained with, False takes them as they
            are, None finds out for each subject.
        jobs: subjects at a time, each in a process of its own with the model; None is 1, which reads the next subject
            and writes the last one while the network runs.
        spread: machines and shard, or a dry run.
        fresh: synthesize again what is there already, and replace what belongs to other subjects.
        figures: also draw each prediction beside its sources.

    Returns:
        One outcome per subject of the inputs, or of the shard; `out/predictions.csv` holds the same.

    Raises:
        InputError: the call itself is wrong, or would replace another subject's prediction; nothing has been written.
    """
    models = tuple(map(_place, [model] if isinstance(model, str | Path) else model))
    loaded = load_models(models, options=options)
    spec = loaded.spec
    if prepare and spec.preparation is None:
        raise InputError(
            f"{', '.join(map(str, models))}: the model was trained on scans as they came, so there is no recipe to "
            "follow; leave --prepare out, or train on what `volumetric prepare` wrote"
        )
    cases = find_cases(inputs, spec, split=split, named=named)
    own = spread.own(cases)
    task = SynthesisTask(loaded, models, options, out, prepare, fresh)
    with spread.held(out):
        folder = PredictionFolder(out)
        folder.check_description()
        if not fresh:
            folder.check_owners(own)
        if spread.is_whole:
            folder.describe(spec.target)
        outcomes = spread.run(
            task,
            cases,
            out=out,
            command="infer",
            arguments={
                "inputs": inputs,
                "model": models,
                "split": split,
                "named": named,
                "options": options,
                "prepare": prepare,
                "figures": figures,
            },
            jobs=jobs,
            usual=1,
            gb_each=_GB_A_JOB,
            overlap=True,
        )
        if spread.is_dry:
            return outcomes
        if spread.is_whole:
            folder.write_tables(cases, outcomes)
        _summarize_warnings(folder, own, outcomes)
        if figures:
            _draw(folder, own, outcomes, spec.sources)
    return outcomes


def _place(model: Path | str) -> Path | str:
    """The model in a form that means the same in another working directory."""
    return model if isinstance(model, str) and model in shipped_names() else Path(model)


def _summarize_warnings(
    folder: PredictionFolder, cases: Sequence[InferenceCase], outcomes: Sequence[Outcome[PredictionRow]]
) -> None:
    """Log each kind of warning, its words up to the colon, with the number of subjects; those done earlier count."""
    counts: Counter[str] = Counter()
    done = [case for case, outcome in zip(cases, outcomes, strict=True) if outcome.status != "failed"]
    for case in done:
        sidecar = PredictionSidecar.read(sidecar_path(folder.image(case)))
        counts.update({warning.partition(":")[0] for warning in sidecar.warnings})
    for kind, count in counts.most_common():
        log.warning("warning for %d of %d subjects: %s", count, len(done), kind)


def _draw(
    folder: PredictionFolder,
    cases: Sequence[InferenceCase],
    outcomes: Sequence[Outcome[PredictionRow]],
    contrasts: Sequence[str],
) -> None:
    """Draw the predictions that have no figure, or an older one."""
    from volumetric.figures.prediction import draw_prediction, figure_path  # matplotlib takes half a second

    for case, outcome in zip(cases, outcomes, strict=True):
        image = folder.image(case)
        figure = figure_path(image)
        drawn = figure.is_file() and figure.stat().st_mtime >= image.stat().st_mtime
        if outcome.status != "failed" and not drawn:
            draw_prediction({c: case.row.path(c) for c in contrasts if c in case.row.paths}, image, title=case.row.name)
