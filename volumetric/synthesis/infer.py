"""Inference over a cohort: each subject's missing contrast as a file of a BIDS derivative folder."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from volumetric.batch.subjects import Outcome, run_subjects
from volumetric.config.choices import DEFAULT_MODEL, SplitChoice
from volumetric.config.inference import InferenceOptions
from volumetric.config.preparation import PreparationConfig
from volumetric.errors import InputError
from volumetric.imaging.alignment import Alignment, align
from volumetric.imaging.mask import BrainMask
from volumetric.imaging.nifti import write_image
from volumetric.model.folder import load_model
from volumetric.model.plausibility import check_prediction
from volumetric.model.predict import Model, ModelInput, Prediction
from volumetric.outputs import hash_file, hash_path, locked, versions, write_json
from volumetric.records.prediction import PredictionRow, PredictionSidecar, WindowRecord, sidecar_path
from volumetric.simulation.template import load_template_t1w
from volumetric.subject import RawSubject, masked_subject, read_raw_subject
from volumetric.synthesis.decision import Decision, agrees, decide
from volumetric.synthesis.folder import PredictionFolder
from volumetric.synthesis.inputs import InferenceCase, find_cases

log = logging.getLogger(__name__)

NOTICE = "Synthetic image, not for diagnosis."
_DEFAULTS = InferenceOptions()


def infer(
    inputs: Sequence[Path],
    *,
    out: Path,
    model: Path | str = DEFAULT_MODEL,
    split: SplitChoice = "all",
    named: Mapping[str, Path] | None = None,
    options: InferenceOptions = _DEFAULTS,
    prepare: bool | None = None,
    fresh: bool = False,
    figures: bool = False,
) -> list[Outcome[PredictionRow]]:
    """Write the missing contrast of every subject.

    Args:
        inputs: NIfTI files, folders, manifests.
        out: the folder to write; subjects that are there already, from the same scan, model and settings, are skipped.
        model: the name of a shipped model, or a run or model folder, as `load_model` takes it.
        split: rows of manifests to take, or `all`.
        named: one more subject, its files by contrast.
        options: how to run the model.
        prepare: True prepares the scans first by the recipe that the model was trained with, False takes them as they
            are, None finds out for each subject.
        fresh: synthesize again what is there already, and replace what belongs to other subjects.
        figures: also draw each prediction beside its sources.

    Returns:
        One outcome per subject; `out/predictions.csv` holds the same.

    Raises:
        InputError: the call itself is wrong, or would replace another subject's prediction; nothing has been written.
    """
    loaded = load_model(model, options=options)
    if prepare and loaded.spec.preparation is None:
        raise InputError(
            f"{model}: the model was trained on scans as they came, so there is no recipe to follow; "
            "leave --prepare out, or train on what `volumetric prepare` wrote"
        )
    cases = find_cases(inputs, loaded.spec, split=split, named=named)
    with locked(out):
        folder = PredictionFolder(out)
        if not fresh:
            folder.check_owners(cases)
        write_json(
            out / "dataset_description.json",
            {
                "Name": f"Synthetic {loaded.spec.target} images",
                "BIDSVersion": "1.10.0",
                "DatasetType": "derivative",
                "GeneratedBy": [{"Name": "volumetric", "Version": versions()["volumetric"]}],
                "HowToAcknowledge": NOTICE,
            },
        )
        outcomes = run_subjects(_Synthesis(loaded, folder, prepare, fresh), cases, title="infer", overlap=True)
        folder.write_tables(cases, outcomes)
        _summarize_warnings(folder, cases, outcomes)
        if figures:
            _draw(folder, cases, outcomes, loaded.spec.sources)
    return outcomes


@dataclass(frozen=True, eq=False)
class _Loaded:
    """A case before the network.

    Attributes:
        model_input: what the network gets.
        source_sha256: by column, of the bytes that were read.
        decision: whether the scans were prepared here, and why.
        alignment: of the raw scans, where they were.
    """

    model_input: ModelInput
    source_sha256: Mapping[str, str]
    decision: Decision
    alignment: Alignment | None = None


@dataclass(frozen=True, eq=False)
class _Synthesized:
    """A case after the network: its output `(I, J, K)` in reference units, and the engine that computed it."""

    loaded: _Loaded
    engine: str
    units: NDArray[np.float32]


class _Synthesis:
    """One subject: read the sources, predict, write image and sidecar."""

    def __init__(self, model: Model, folder: PredictionFolder, prepare: bool | None, fresh: bool) -> None:
        self._model, self._folder, self._prepare, self._fresh = model, folder, prepare, fresh

    def name(self, item: InferenceCase) -> str:
        return item.row.name

    def finished(self, item: InferenceCase) -> PredictionRow | None:
        image = self._folder.image(item)
        if self._fresh or not image.is_file():
            return None
        sidecar = PredictionSidecar.read_if_usable(sidecar_path(image))
        if sidecar is None or not self._is_current(sidecar):
            return None
        # the hashes last, since they read the files
        whole = hash_file(image) == sidecar.prediction_sha256
        return _row(item) if whole and self._hashes(item) == sidecar.source_sha256 else None

    def read(self, item: InferenceCase) -> _Loaded:
        raw = read_raw_subject(item.row, self._model.spec.sources)
        decision = decide(raw, self._model.spec, self._prepare)
        if self._model.spec.preparation is not None:
            log.info("%s: %s", item.row.name, decision.sentence)
        if decision.recipe is not None:
            return self._align(raw, decision, decision.recipe)
        subject = masked_subject(raw)
        return _Loaded(self._model.preprocess_masked(subject.images, subject.mask), subject.sha256, decision)

    def compute(self, item: InferenceCase, loaded: _Loaded) -> _Synthesized:
        units = self._model.forward(loaded.model_input)
        check_prediction(units, loaded.model_input.space.mask, self._model.spec.data_range)
        return _Synthesized(loaded, self._model.engine.name, units)

    def write(self, item: InferenceCase, result: _Synthesized) -> PredictionRow:
        prediction = self._postprocess(result)
        image = self._folder.image(item)
        for warning in prediction.warnings:
            log.warning("%s: %s", item.row.name, warning)
        sidecar_path(image).unlink(missing_ok=True)  # an image whose sidecar is absent counts as unfinished
        write_image(image, prediction.image)
        self._sidecar(item, result, prediction).write(sidecar_path(image))
        return _row(item)

    def _align(self, raw: RawSubject, decision: Decision, recipe: PreparationConfig) -> _Loaded:
        template = load_template_t1w() if recipe.grid.space == "mni" else None
        alignment = align(raw.images, recipe, given=raw.labels.get("mask"), template=template, name=raw.name)
        mask = BrainMask(alignment.prepared.mask.array, alignment.rule)
        model_input = self._model.preprocess_masked(alignment.prepared.images, mask)
        return _Loaded(model_input, raw.sha256, decision, alignment)

    def _postprocess(self, result: _Synthesized) -> Prediction:
        model_input, alignment = result.loaded.model_input, result.loaded.alignment
        prediction = self._model.postprocess(model_input, result.units)
        if alignment is None:
            return prediction
        head = None if self._model.spec.mask.kind == "brain" else model_input.region
        image = alignment.return_to_native(prediction.image, head)
        return replace(
            prediction,
            image=image.with_array(image.array.clip(min=0)),
            mask=BrainMask(alignment.native.mask.array, alignment.rule),
            warnings=(*alignment.warnings, *prediction.warnings),
        )

    def _is_current(self, sidecar: PredictionSidecar) -> bool:
        """True for a prediction of this model and these settings; the device makes no difference."""
        model = self._model
        return (
            sidecar.model_sha256 == model.sha256
            and agrees(sidecar, self._prepare if model.spec.preparation else None)
            and sidecar.settings.model_copy(update={"device": model.settings.device}) == model.settings
        )

    def _sidecar(self, item: InferenceCase, result: _Synthesized, prediction: Prediction) -> PredictionSidecar:
        spec, plan, decision = self._model.spec, prediction.plan, result.loaded.decision
        subject, session = item.key
        return PredictionSidecar(
            Description=NOTICE,
            Sources=tuple(item.row.path(contrast).name for contrast in spec.sources),
            source_path_sha256={contrast: hash_path(item.row.path(contrast)) for contrast in spec.sources},
            subject_id=subject,
            session_id=session,
            sources=spec.sources,
            target=spec.target,
            intensity_scale=spec.intensity_scale,
            data_range=spec.data_range,
            mask_kind=spec.mask.kind,
            mask_rule=prediction.mask.rule,
            model_sha256=self._model.sha256,
            settings=self._model.settings,
            engine=result.engine,
            precision=self._model.settings.precision,
            source_sha256=dict(result.loaded.source_sha256),
            prediction_sha256=hash_file(self._folder.image(item)),
            windows=WindowRecord(
                size=plan.size,
                number=len(plan.starts),
                starts=plan.starts,
                grid_shape=prediction.grid.shape,
                grid_affine=prediction.grid.affine.tolist(),
            ),
            prepared_here=decision.recipe is not None,
            preparation_reason=decision.reason,
            warnings=prediction.warnings,
            versions=versions(*(["openvino"] if result.engine == "openvino" else [])),
        )

    def _hashes(self, item: InferenceCase) -> dict[str, str]:
        columns = [*self._model.spec.sources, *(["mask"] if "mask" in item.row.paths else [])]
        return {column: hash_file(item.row.path(column)) for column in columns}


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
            draw_prediction({c: case.row.path(c) for c in contrasts}, image, title=case.row.name)


def _row(item: InferenceCase) -> PredictionRow:
    subject, session = item.key
    return PredictionRow(subject_id=subject, session_id=session, path=item.output.as_posix(), status="ok")
