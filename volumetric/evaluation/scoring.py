"""Scores of one subject: every method in every region."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from copy import copy
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from volumetric.errors import InputError
from volumetric.evaluation.alignment import shift_mm
from volumetric.evaluation.baselines import BASELINES, MEAN_TARGET, TrainingIntensities
from volumetric.evaluation.downstream import clipped_fraction, lesion_visibility, tissue_agreement
from volumetric.evaluation.identity import block_means
from volumetric.evaluation.predictions import PredictionsError, read_sidecar
from volumetric.evaluation.regions import regions
from volumetric.evaluation.segmentation import WM
from volumetric.evaluation.subject import (
    NormalizedPrediction,
    NormalizedSubject,
    read_normalized,
    read_prediction,
    row_on_grid,
)
from volumetric.evaluation.uncertainty import find_uncertainty, read_uncertainty, sparsification_of, uncertainty_scores
from volumetric.evaluation.windows import window_borders
from volumetric.imaging.geometry import spacing_mm
from volumetric.manifest import ManifestRow
from volumetric.metrics.table import score
from volumetric.outputs import hash_file, hash_json, versions
from volumetric.records.evaluation import ScoredImage, ScoredImages, SubjectScores
from volumetric.records.prediction import PredictionSidecar
from volumetric.records.scores import MODEL, ScoreRow
from volumetric.records.table import SessionKey

log = logging.getLogger(__name__)

_LABELS = ("mask", "tissues", "lesions")
_SHIFT_WARNING_VOX = 0.5


class ScoringError(InputError):
    """A prediction without anything to score."""


@dataclass(frozen=True)
class ScoringSettings:
    """Settings that all subjects of an evaluation share.

    Attributes:
        source: contrast that baselines and segmentation start from.
        target: contrast that is scored.
        data_range: of PSNR and SSIM, reference units.
        prediction_scale: `reference`, `own-median` or the number that predictions are divided by.
        segmentation: segment tissues where none are given, and with the prediction.
    """

    source: str
    target: str
    data_range: float
    prediction_scale: str
    segmentation: bool


@dataclass(frozen=True, eq=False)
class LoadedSubject:
    """A subject read from disk, prepared or native, whichever is on the prediction's grid.

    Attributes:
        subject: source and truth; with the head, where one was predicted.
        prediction: on their grid.
        sidecar: of the prediction; None for another tool's.
        uncertainty: half-widths beside it; None without any.
    """

    subject: NormalizedSubject
    prediction: NormalizedPrediction
    sidecar: PredictionSidecar | None
    uncertainty: NormalizedPrediction | None = None


class ScoringTask:
    """The steps of `evaluate` for one subject: read, score, write."""

    def __init__(
        self,
        predictions: Mapping[SessionKey, Path | PredictionsError],
        training: TrainingIntensities,
        settings: ScoringSettings,
        device: torch.device,
        out: Path,
        fresh: bool,
    ) -> None:
        self._predictions, self._training, self._settings = predictions, training, settings
        self._device, self._out, self._fresh = device, out, fresh

    def name(self, item: ManifestRow) -> str:
        return item.name

    def finished(self, item: ManifestRow) -> SubjectScores | None:
        prediction = self._prediction_file(item)
        scores = None if self._fresh else SubjectScores.read_if_usable(self._file(item))
        if scores is None or (scores.subject_id, scores.session_id) != item.key:
            return None
        sha256 = {column: hash_file(path) for column, path in self._scans(item, prediction).items()}
        return scores if scores.fingerprint == self._fingerprint(sha256, hash_file(prediction)) else None

    def read(self, item: ManifestRow) -> LoadedSubject:
        file = self._prediction_file(item)
        row = row_on_grid(item, file, self._settings.target)
        sidecar = read_sidecar(file)
        head = sidecar is not None and sidecar.mask_kind == "head"
        subject = read_normalized(row, self._settings.source, self._settings.target, _LABELS, head=head)
        prediction = read_prediction(file, subject, self._settings.prediction_scale)
        if not prediction.array[subject.mask].any():
            raise ScoringError(f"subject {item.name}: the prediction {file} is 0 everywhere in the brain")
        return LoadedSubject(subject, prediction, sidecar, read_uncertainty(subject, prediction))

    def compute(self, item: ManifestRow, loaded: LoadedSubject) -> SubjectScores:
        subject, prediction, half_width = loaded.subject, loaded.prediction, loaded.uncertainty
        masks, tissues = regions(subject, data_range=self._settings.data_range, automatic=self._segments)
        rows = [*self._score_model(loaded, masks, tissues), *self._score_baselines(subject, masks)]
        sha256 = subject.sha256 if half_width is None else {**subject.sha256, "uncertainty": half_width.sha256}
        return SubjectScores(
            subject_id=item.subject_id,
            session_id=item.session_id,
            fingerprint=self._fingerprint(sha256, prediction.sha256),
            images=self._images(loaded).relative_to(self._out),
            block_means=block_means(subject.truth, prediction.array, subject.mask, subject.space.affine).pack(),
            rows=tuple(rows),
            sparsification=sparsification_of(subject, prediction, half_width),
        )

    def write(self, item: ManifestRow, result: SubjectScores) -> SubjectScores:
        result.write(self._file(item))
        return result

    def recall(self, item: ManifestRow) -> SubjectScores:
        """Read the scores of a subject that is done; errors as `Record.read`."""
        return SubjectScores.read(self._file(item))

    def inputs(self, item: ManifestRow) -> dict[str, Path]:
        """The images that `read` reads, by column; errors as `read`."""
        prediction = self._prediction_file(item)
        return self._scans(item, prediction) | {"prediction": prediction}

    def into(self, out: Path) -> ScoringTask:
        """The same task with another output folder."""
        other = copy(self)
        other._out = out
        return other

    @property
    def _segments(self) -> bool:
        return self._settings.segmentation and self._settings.source == "t1w"

    def _score_model(
        self, loaded: LoadedSubject, masks: Mapping[str, NDArray[np.bool_]], tissues: NDArray[np.uint8] | None
    ) -> list[ScoreRow]:
        subject, prediction = loaded.subject, loaded.prediction
        spacing = spacing_mm(subject.space.affine)
        shift = shift_mm(subject.truth, prediction.array, subject.mask, spacing)
        more: dict[str, dict[str, float]] = {
            "brain": {"shift_mm": shift, "clipped_fraction": clipped_fraction(prediction.array, subject.mask)}
        }
        if self._segments and self._settings.target == "t2w":
            more |= tissue_agreement(subject, prediction.array)
        if "lesions" in masks and tissues is not None:
            lesions = masks["lesions"]
            more["lesions"] = lesion_visibility(subject, prediction.array, lesions, tissues == WM, spacing)
        for region, scores in uncertainty_scores(subject, prediction, loaded.uncertainty, masks).items():
            more[region] = {**more.get(region, {}), **scores}
        warnings = {"brain": _shift_warning(shift, spacing)}
        return [
            row.model_copy(
                update={
                    "metrics": {**row.metrics, **more.get(row.region, {})},
                    "prediction_scale": self._settings.prediction_scale,
                    "prediction_divisor": prediction.divisor,
                    "warnings": warnings.get(row.region, ""),
                }
            )
            for row in self._score_in_regions(loaded, masks)
        ]

    def _score_in_regions(self, loaded: LoadedSubject, masks: Mapping[str, NDArray[np.bool_]]) -> list[ScoreRow]:
        """The prediction's rows in the brain, and in the head where one was predicted."""
        subject, prediction, sidecar = loaded.subject, loaded.prediction, loaded.sidecar
        if sidecar is not None and sidecar.prediction_sha256 != prediction.sha256:
            log.warning(
                "%s: %s is not the file that infer wrote, it has changed since; repeat `volumetric infer`",
                subject.row.name,
                prediction.path,
            )
        borders = None if sidecar is None else window_borders(sidecar, subject.space)
        rows = self._score(MODEL, subject, prediction.array, masks, borders)
        if subject.head is not None and prediction.head is not None:
            rows += self._score(MODEL, subject.head, prediction.head, {"head": subject.head.mask}, borders)
        return rows

    def _score_baselines(self, subject: NormalizedSubject, masks: Mapping[str, NDArray[np.bool_]]) -> list[ScoreRow]:
        subject_id, session_id = subject.row.key
        if not self._training.num_subjects:
            return [
                ScoreRow(subject_id=subject_id, session_id=session_id, method=method, status="n/a",
                         error="no rows with split `train`")
                for method in BASELINES
            ]  # fmt: skip
        values = subject.source[subject.mask].astype(np.float64)
        rows = []
        for method, baseline in BASELINES.items():
            volume = np.zeros_like(subject.truth)
            volume[subject.mask] = baseline(values, self._training)
            rows += self._score(method, subject, volume, masks)
        mean = self._training.mean_target(subject.space)
        if mean is not None:
            rows += self._score(MEAN_TARGET, subject, np.where(subject.mask, mean, 0).astype(np.float32), masks)
        return rows

    def _score(
        self,
        method: str,
        subject: NormalizedSubject,
        prediction: NDArray[np.float32],
        masks: Mapping[str, NDArray[np.bool_]],
        borders: NDArray[np.bool_] | None = None,
    ) -> list[ScoreRow]:
        """One row a region."""
        truth, predicted = (torch.from_numpy(array).to(self._device) for array in (subject.truth, prediction))
        inside = {name: torch.from_numpy(mask).to(self._device) for name, mask in masks.items()}
        at = None if borders is None else torch.from_numpy(borders).to(self._device)
        scores = score(truth, predicted, inside, data_range=self._settings.data_range, borders=at)
        subject_id, session_id = subject.row.key
        return [
            ScoreRow(
                subject_id=subject_id,
                session_id=session_id,
                method=method,
                region=region,
                status="ok",
                num_voxels=int(values.pop("num_voxels")),
                metrics=values,
                data_range=self._settings.data_range,
                mask_rule=subject.mask_rule,
                truth_outside_mask="zeroed" if region == "whole" else "not scored",
                truth_median=subject.truth_median,
                truth_mean=float(subject.truth[masks[region]].mean(dtype=np.float64)),
                prediction_mean=float(prediction[masks[region]].mean(dtype=np.float64)),
            )
            for region, values in scores.items()
        ]

    def _images(self, loaded: LoadedSubject) -> ScoredImages:
        subject, prediction = loaded.subject, loaded.prediction
        row = subject.row
        return ScoredImages(
            source=ScoredImage(path=row.path(self._settings.source), divisor=subject.source_median),
            truth=ScoredImage(path=row.path(self._settings.target), divisor=subject.truth_median),
            prediction=ScoredImage(path=prediction.path.absolute(), divisor=prediction.divisor),
            mask=row.paths.get("mask"),
        )

    def _scans(self, item: ManifestRow, prediction: Path) -> dict[str, Path]:
        """Those that lie on the prediction's grid, by column."""
        row = row_on_grid(item, prediction, self._settings.target)
        labels = [label for label in _LABELS if label in row.paths]
        scans = {column: row.path(column) for column in (self._settings.source, self._settings.target, *labels)}
        return scans | find_uncertainty(prediction)

    def _prediction_file(self, item: ManifestRow) -> Path:
        match = self._predictions[item.key]
        if isinstance(match, PredictionsError):
            raise PredictionsError(str(match))  # anew: an error that is kept would keep all that raised it
        return match

    def _file(self, item: ManifestRow) -> Path:
        return SubjectScores.path(self._out, item.key)

    def _fingerprint(self, sha256: Mapping[str, str], prediction_sha256: str) -> str:
        """Of the settings and of the bytes that were read."""
        settings = [asdict(self._settings), self._training.cross.tolist(), versions()["volumetric"]]
        return hash_json([settings, dict(sha256), prediction_sha256])


def _shift_warning(shift: float, spacing: NDArray[np.float64]) -> str:
    if not shift > _SHIFT_WARNING_VOX * spacing.min():
        return ""
    return f"prediction and truth seem {shift:.1f} mm apart; every number here is the worse for it"
