"""Inference of one subject: source scans in, the image of the missing contrast and its sidecar out."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from volumetric.config.inference import InferenceOptions
from volumetric.config.preparation import PreparationConfig
from volumetric.config.run import Source
from volumetric.imaging.alignment import Alignment, align
from volumetric.imaging.mask import BrainMask
from volumetric.imaging.nifti import Image, write_image
from volumetric.model.ensemble import load_models
from volumetric.model.forward import NetworkOutput
from volumetric.model.plausibility import check_prediction
from volumetric.model.predict import Model, ModelInput, Prediction
from volumetric.model.uncertainty import NOMINAL_COVERAGE
from volumetric.outputs import hash_file, hash_path, versions
from volumetric.records.prediction import (
    NoveltyRecord,
    PredictionRow,
    PredictionSidecar,
    UncertaintyRecord,
    WindowRecord,
    sidecar_path,
    uncertainty_path,
)
from volumetric.simulation.template import load_template_t1w
from volumetric.subject import RawSubject, masked_subject, read_raw_subject
from volumetric.synthesis.decision import Decision, agrees, decide
from volumetric.synthesis.inputs import InferenceCase

log = logging.getLogger(__name__)

NOTICE = "Synthetic image, not for diagnosis."


@lru_cache(maxsize=1)
def model_of_process(models: tuple[Path | str, ...], options: InferenceOptions) -> Model:
    """The model, or ensemble, of a process that does subjects for another, loaded once; errors as `load_models`."""
    return load_models(models, options=options)


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
    """A case after the network: its output, and the engine that computed it."""

    loaded: _Loaded
    engine: str
    output: NetworkOutput


class SynthesisTask:
    """One subject: read the sources, predict, write image and sidecar."""

    def __init__(
        self,
        model: Model,
        source: tuple[Path | str, ...],
        options: InferenceOptions,
        out: Path,
        prepare: bool | None,
        fresh: bool,
    ) -> None:
        """Take the arguments of `infer`, and the model that `source` and `options` give."""
        self._own: Model | None = model
        self._source, self._options = source, options
        self._out, self._prepare, self._fresh = out, prepare, fresh

    def __getstate__(self) -> dict[str, object]:
        """Leave the model behind: another process loads it anew."""
        return {**self.__dict__, "_own": None}

    @property
    def _model(self) -> Model:
        return self._own or model_of_process(self._source, self._options)

    def name(self, item: InferenceCase) -> str:
        return item.row.name

    def finished(self, item: InferenceCase) -> PredictionRow | None:
        image = self._image(item)
        if self._fresh or not image.is_file():
            return None
        sidecar = PredictionSidecar.read_if_usable(sidecar_path(image))
        if sidecar is None or not self._is_current(sidecar):
            return None
        # the hashes last, since they read the files
        whole = hash_file(image) == sidecar.prediction_sha256 and _has_uncertainty(image, sidecar)
        hashes = {column: hash_file(path) for column, path in self.inputs(item).items()} if whole else {}
        return _row(item, sidecar) if whole and hashes == sidecar.source_sha256 else None

    def read(self, item: InferenceCase) -> _Loaded:
        raw = read_raw_subject(item.row, self._used(item))
        decision = decide(raw, self._model.spec, self._prepare)
        if self._model.spec.preparation is not None:
            log.info("%s: %s", item.row.name, decision.sentence)
        if decision.recipe is not None:
            return self._align(raw, decision, decision.recipe)
        subject = masked_subject(raw)
        return _Loaded(
            self._model.preprocess_masked(subject.images, subject.mask, names=item.row.paths), subject.sha256, decision
        )

    def compute(self, item: InferenceCase, loaded: _Loaded) -> _Synthesized:
        output = self._model.run(loaded.model_input)
        check_prediction(output.units, loaded.model_input.space.mask, self._model.spec.data_range)
        return _Synthesized(loaded, self._model.engine.name, output)

    def write(self, item: InferenceCase, result: _Synthesized) -> PredictionRow:
        prediction = self._postprocess(result)
        image = self._image(item)
        for warning in prediction.warnings:
            log.warning("%s: %s", item.row.name, warning)
        sidecar_path(image).unlink(missing_ok=True)  # an image whose sidecar is absent counts as unfinished
        write_image(image, prediction.image)
        if prediction.uncertainty is not None:
            write_image(uncertainty_path(image), prediction.uncertainty)
        else:
            uncertainty_path(image).unlink(missing_ok=True)  # of an earlier call
        sidecar = self._sidecar(item, result, prediction)
        sidecar.write(sidecar_path(image))
        return _row(item, sidecar)

    def recall(self, item: InferenceCase) -> PredictionRow:
        """The row of a subject that is done; errors as `Record.read`."""
        return _row(item, PredictionSidecar.read(sidecar_path(self._image(item))))

    def inputs(self, item: InferenceCase) -> dict[str, Path]:
        """The images that `read` reads, by column; errors as `ManifestRow.path`."""
        columns = [*self._used(item), *(["mask"] if "mask" in item.row.paths else [])]
        return {column: item.row.path(column) for column in columns}

    def into(self, out: Path) -> SynthesisTask:
        """The same task with another output folder."""
        other = copy(self)
        other._out, other._own = out, self._own
        return other

    def _used(self, item: InferenceCase) -> tuple[Source, ...]:
        return self._model.used_sources(item.row.paths)

    def _image(self, item: InferenceCase) -> Path:
        return self._out / item.output

    def _align(self, raw: RawSubject, decision: Decision, recipe: PreparationConfig) -> _Loaded:
        template = load_template_t1w() if recipe.grid.space == "mni" else None
        alignment = align(raw.images, recipe, given=raw.labels.get("mask"), template=template, name=raw.name)
        mask = BrainMask(alignment.prepared.mask.array, alignment.rule)
        model_input = self._model.preprocess_masked(alignment.prepared.images, mask, names=raw.row.paths)
        return _Loaded(model_input, raw.sha256, decision, alignment)

    def _postprocess(self, result: _Synthesized) -> Prediction:
        model_input, alignment = result.loaded.model_input, result.loaded.alignment
        prediction = self._model.postprocess(model_input, *result.output)
        if alignment is None:
            return prediction
        head = None if self._model.spec.mask.kind == "brain" else model_input.region

        def to_native(image: Image) -> Image:
            native = alignment.return_to_native(image, head)
            return native.with_array(native.array.clip(min=0))

        return replace(
            prediction,
            image=to_native(prediction.image),
            uncertainty=None if prediction.uncertainty is None else to_native(prediction.uncertainty),
            mask=BrainMask(alignment.native.mask.array, alignment.rule),
            warnings=tuple(dict.fromkeys((*alignment.warnings, *prediction.warnings))),
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
        used = self._used(item)
        subject, session = item.key
        novelty = prediction.out_of_distribution
        return PredictionSidecar(
            Description=NOTICE,
            Sources=tuple(item.row.path(contrast).name for contrast in used),
            source_path_sha256={contrast: hash_path(item.row.path(contrast)) for contrast in used},
            subject_id=subject,
            session_id=session,
            sources=spec.sources,
            sources_used=used if spec.optional_sources else (),
            target=spec.target,
            intensity_scale=spec.intensity_scale,
            data_range=spec.data_range,
            mask_kind=spec.mask.kind,
            mask_rule=prediction.mask.rule,
            model_sha256=self._model.sha256,
            member_sha256=self._model.member_sha256,
            settings=self._model.settings,
            engine=result.engine,
            precision=self._model.settings.precision,
            source_sha256=dict(result.loaded.source_sha256),
            prediction_sha256=hash_file(self._image(item)),
            uncertainty=self._uncertainty(item, prediction),
            windows=WindowRecord(
                size=plan.size,
                number=len(plan.starts),
                starts=plan.starts,
                grid_shape=prediction.grid.shape,
                grid_affine=prediction.grid.affine.tolist(),
            ),
            prepared_here=decision.recipe is not None,
            preparation_reason=decision.reason,
            out_of_distribution=NoveltyRecord(score=novelty.score, **novelty._asdict()),
            warnings=prediction.warnings,
            versions=versions(*(["openvino"] if result.engine == "openvino" else [])),
        )

    def _uncertainty(self, item: InferenceCase, prediction: Prediction) -> UncertaintyRecord | None:
        spec, path = self._model.spec.uncertainty, uncertainty_path(self._image(item))
        if prediction.uncertainty is None or spec is None:
            return None
        calibration = spec.calibration
        return UncertaintyRecord(
            path=path.name,
            sha256=hash_file(path),
            nominal_coverage=NOMINAL_COVERAGE,
            factor=spec.factor,
            num_calibration_subjects=0 if calibration is None else calibration.num_subjects,
        )


def _has_uncertainty(image: Path, sidecar: PredictionSidecar) -> bool:
    """True if the uncertainty beside an image is the one that its sidecar names, or it names none."""
    path, record = uncertainty_path(image), sidecar.uncertainty
    return record is None or (path.is_file() and hash_file(path) == record.sha256)


def _row(item: InferenceCase, sidecar: PredictionSidecar) -> PredictionRow:
    return PredictionRow.of(item.output, sidecar)
