"""One subject scored: every method in every region, and what else its files tell."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from volumetric.errors import InputError
from volumetric.evaluation.baselines import BASELINES, MEAN_TARGET, TrainingIntensities
from volumetric.evaluation.downstream import lesion_visibility, tissue_agreement
from volumetric.evaluation.health import clipped_fraction, likeness, shift_mm
from volumetric.evaluation.pairing import (
    Predictions,
    Scored,
    on_its_grid,
    read_prediction,
    read_scored,
    window_borders,
)
from volumetric.evaluation.regions import regions
from volumetric.evaluation.segmentation import WM
from volumetric.imaging.geometry import spacing_mm
from volumetric.manifest import NATIVE, ManifestRow
from volumetric.metrics.table import score
from volumetric.outputs import hash_file, hash_json, versions, write_json

log = logging.getLogger(__name__)

MODEL = "model"
"""How the `method` column calls the predictions that are scored."""
_SHIFT_WARNING_VOX = 0.5

Volume = NDArray[np.float32]


class ScoringError(InputError):
    """A prediction without anything to score."""


@dataclass(frozen=True)
class Settings:
    """What all subjects of an evaluation share.

    Attributes:
        source: contrast that baselines and segmentation start from.
        target: contrast that is scored.
        data_range: of PSNR and SSIM, reference units.
        scale: `reference`, `own-median` or the number that predictions are divided by.
        segmentation: segment tissues where none are given, and with the prediction.
    """

    source: str
    target: str
    data_range: float
    scale: str
    segmentation: bool


@dataclass(frozen=True, eq=False)
class Loaded:
    """A subject read from disk.

    Attributes:
        row: the manifest's, prepared or native, whichever is on the prediction's grid.
        file: of the prediction.
        scored: source, truth and mask.
        prediction: `(I, J, K)`, reference units.
        divisor: what the file's values were divided by.
    """

    row: ManifestRow
    file: Path
    scored: Scored
    prediction: Volume
    divisor: float


class Scoring:
    """What `evaluate` does with one subject."""

    def __init__(
        self,
        found: Predictions,
        training: TrainingIntensities,
        settings: Settings,
        device: torch.device,
        out: Path,
        fresh: bool,
    ) -> None:
        self._found, self._training, self._settings = found, training, settings
        self._device, self._out, self._fresh = device, out, fresh

    def name(self, item: ManifestRow) -> str:
        return item.name

    def finished(self, item: ManifestRow) -> Mapping[str, object] | None:
        file = self._file(item)
        if self._fresh or not file.is_file():
            return None
        before: dict[str, object] = json.loads(file.read_text())
        return before if before["fingerprint"] == self._fingerprint(item) else None

    def read(self, item: ManifestRow) -> Loaded:
        file = self._found.find(item)
        row = on_its_grid(item, file, self._settings.target)
        scored = read_scored(row, self._settings.source, self._settings.target)
        prediction, divisor = read_prediction(file, scored, self._settings.scale, name=item.name)
        if not prediction[scored.mask].any():
            raise ScoringError(f"subject {item.name}: the prediction {file} is 0 everywhere in the brain")
        return Loaded(row, file, scored, prediction, divisor)

    def compute(self, item: ManifestRow, loaded: Loaded) -> dict[str, Any]:
        scored, prediction = loaded.scored, loaded.prediction
        segment_t1w = self._settings.segmentation and self._settings.source == "t1w"
        masks, tissues = regions(loaded.row, scored, data_range=self._settings.data_range, automatic=segment_t1w)
        borders = window_borders(loaded.file, scored.grid.space)
        rows = self._score(MODEL, scored, prediction, masks, borders)
        by_region = {row["region"]: row for row in rows}
        for row in rows:
            row |= {"prediction_scale": self._settings.scale, "prediction_divisor": loaded.divisor}
        spacing = spacing_mm(scored.grid.affine)
        shift = shift_mm(scored.truth, prediction, scored.mask, spacing)
        by_region["brain"] |= {
            "shift_mm": shift,
            "clipped_fraction": clipped_fraction(prediction, scored.mask),
            "warnings": _shift_warning(shift, spacing),
        }
        if segment_t1w and self._settings.target == "t2w":
            for tissue, numbers in tissue_agreement(scored, prediction).items():
                by_region.get(tissue, {}).update(numbers)
        if "lesions" in masks and tissues is not None:
            by_region["lesions"] |= lesion_visibility(scored, prediction, masks["lesions"], tissues == WM, spacing)
        rows += self._score_baselines(scored, masks)
        given = loaded.row.paths.get("mask")
        return {
            "images": {
                "source": {"path": str(loaded.row.path(self._settings.source)), "divisor": scored.source_median},
                "truth": {"path": str(loaded.row.path(self._settings.target)), "divisor": scored.truth_median},
                "prediction": {"path": str(loaded.file.absolute()), "divisor": loaded.divisor},
                "mask": None if given is None else str(given),
            },
            "likeness": likeness(scored.truth, prediction, scored.mask, scored.grid.affine).pack(),
            "rows": rows,
        }

    def write(self, item: ManifestRow, result: dict[str, Any]) -> Mapping[str, object]:
        content = {"fingerprint": self._fingerprint(item), **result}
        write_json(self._file(item), content)
        return content

    def _score_baselines(self, scored: Scored, masks: Mapping[str, NDArray[np.bool_]]) -> list[dict[str, Any]]:
        if not self._training.num_subjects:
            return [
                {"method": method, "region": "", "status": "n/a", "error": "no rows with split `train`"}
                for method in BASELINES
            ]
        values = scored.source[scored.mask].astype(np.float64)
        rows = []
        for method, baseline in BASELINES.items():
            volume = np.zeros_like(scored.truth)
            volume[scored.mask] = baseline(values, self._training)
            rows += self._score(method, scored, volume, masks)
        mean = self._training.mean_target(scored.grid.space)
        if mean is not None:
            rows += self._score(MEAN_TARGET, scored, np.where(scored.mask, mean, 0).astype(np.float32), masks)
        return rows

    def _score(
        self,
        method: str,
        scored: Scored,
        prediction: Volume,
        masks: Mapping[str, NDArray[np.bool_]],
        borders: NDArray[np.bool_] | None = None,
    ) -> list[dict[str, Any]]:
        truth, predicted = (torch.from_numpy(array).to(self._device) for array in (scored.truth, prediction))
        inside = {name: torch.from_numpy(mask).to(self._device) for name, mask in masks.items()}
        at = None if borders is None else torch.from_numpy(borders).to(self._device)
        scores = score(truth, predicted, inside, data_range=self._settings.data_range, borders=at)
        return [
            {
                "method": method,
                "region": region,
                "status": "ok",
                "error": "",
                **values,
                "data_range": self._settings.data_range,
                "mask_rule": scored.rule,
                "truth_outside_mask": "zeroed" if region == "whole" else "not scored",
                "truth_median": scored.truth_median,
                "truth_mean": float(scored.truth[masks[region]].mean(dtype=np.float64)),
                "prediction_mean": float(prediction[masks[region]].mean(dtype=np.float64)),
            }
            for region, values in scores.items()
        ]

    def _file(self, item: ManifestRow) -> Path:
        return self._out / "subjects" / f"{item.name.replace('/', '_')}.json"

    def _fingerprint(self, item: ManifestRow) -> str:
        images = (self._settings.source, self._settings.target, "mask")
        columns = [*images, *(NATIVE + column for column in images), "tissues", "lesions"]
        files = [item.path(column) for column in columns if column in item.paths]
        settings = [repr(self._settings), self._training.cross.tolist(), versions()["volumetric"]]
        return hash_json([settings, [hash_file(file) for file in [*files, self._found.find(item)]]])


def _shift_warning(shift: float, spacing: NDArray[np.float64]) -> str:
    if not shift > _SHIFT_WARNING_VOX * spacing.min():
        return ""
    return f"prediction and truth seem {shift:.1f} mm apart; every number here is the worse for it"
