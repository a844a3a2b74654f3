"""Cross-validation: each fold trained, predicted and scored by the stages themselves, and one table of all."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from volumetric.cohort.split import split_rows
from volumetric.config.inference import InferenceOptions
from volumetric.config.preparation import RECIPE_FILE, PreparationConfig
from volumetric.config.resolve import as_yaml, with_values
from volumetric.config.run import RunConfig
from volumetric.errors import InputError
from volumetric.evaluation.evaluate import evaluate
from volumetric.evaluation.pooled import PooledScores, pool_evaluations
from volumetric.learning.prepared import recipe_of
from volumetric.learning.reading import read_pairs
from volumetric.learning.rows import is_anatomy, require_images
from volumetric.learning.train import train
from volumetric.manifest import Manifest, ManifestRow, read_manifest, write_manifest
from volumetric.model.spec import SPEC
from volumetric.outputs import locked, write_text
from volumetric.records.evaluation import INFO_FILE
from volumetric.records.scores import SCORES_FILE, ScoreTable
from volumetric.records.settings import SETTINGS_FILE, CrossvalSettings
from volumetric.synthesis.infer import infer

log = logging.getLogger(__name__)

DEFAULT_FOLDS = 5
MANIFEST = "manifest.csv"

Folds = int | Literal["subject"] | None
"""Number of folds, one a subject, or those of the manifest's column and else `DEFAULT_FOLDS`."""


class CrossvalError(InputError):
    """A cohort or options that allow no cross-validation."""


@dataclass(frozen=True)
class _Fold:
    """A training and the subjects that it does not see, in a folder of its own.

    Attributes:
        folder: run folder, with `manifest.csv`, `predictions` and `metrics`.
        rows: all of the cohort; those that are held out have split `test`.
    """

    folder: Path
    rows: Sequence[ManifestRow]

    @property
    def held_out(self) -> list[ManifestRow]:
        return [row for row in self.rows if row.split == "test"]

    @property
    def is_finished(self) -> bool:
        """True where every held-out session has been scored."""
        metrics = self.folder / "metrics"
        if not all(file.is_file() for file in (self.folder / "model" / SPEC, metrics / INFO_FILE)):
            return False
        rows = ScoreTable.read(metrics / SCORES_FILE).rows
        return {row.key for row in rows if row.status != "failed"} == {row.key for row in self.held_out}


def crossval(
    manifests: Sequence[Path],
    config: RunConfig,
    out: Path,
    *,
    folds: Folds = None,
    stratify: Sequence[str] = (),
    seed: int = 0,
    validation: bool = False,
    segmentation: bool = True,
    only: int | None = None,
    jobs: int | None = None,
    fresh: bool = False,
) -> PooledScores | None:
    """Train on all folds but one, predict and score the subjects of that one, for each fold in turn.

    Sessions of one subject are in one fold. The manifests' splits count for nothing; rows with a label map alone are
    trained on in every fold. Finished folds are skipped, and an interrupted one goes on where it stopped.

    Args:
        manifests: CSV files of pairs, as `train` takes them.
        config: of every training. Without `cache`, all of them share `out/cache`.
        out: folder to write: a run folder for each fold, `fold-0` and so on, and `metrics`, the evaluation of all
            out-of-fold predictions.
        folds: a number; `subject`, for one each; or None for the manifests' column `fold` where every pair has one,
            and else 5.
        stratify: covariates whose values are spread evenly over the folds, the most important first.
        seed: of the folds; that of the trainings is `config.seed`.
        validation: let the next fold validate each training instead of being trained on.
        segmentation: as in `evaluate`.
        only: do this fold alone, beside other calls that do others.
        jobs: subjects at a time that are scored.
        fresh: delete all folds and start over.

    Returns:
        The scores of all held-out subjects; None while `only` leaves folds that are not finished.

    Raises:
        InputError: as `train`, `infer` and `evaluate`; or too few subjects.
        OutputError: `out` was begun with other settings or folds.
    """
    manifest = read_manifest(*manifests)
    parts = _divided(manifest, config, out, folds=folds, stratify=stratify, seed=seed, validation=validation)
    chosen = _chosen(parts, only)
    cache = config.cache or str(out / "cache")
    config = with_values(config, {"cache": cache})
    settings = CrossvalSettings.of(
        config,
        manifest.digest(),
        folds=_numbers(parts),
        next_fold_validates=validation,
        segmentation=segmentation,
    )
    recipe = recipe_of(manifest)
    with locked(out) if only is None else nullcontext():
        if fresh:
            settings.check_own(out)
            _read_all(manifest, config, Path(cache))  # before anything is deleted
            _delete_folds(out)
        if not settings.began(out):
            settings.begin(out)
        _write_manifests(parts, recipe)
        for fold in _with_progress(chosen, len(parts)):
            _do(fold, config, segmentation=segmentation, jobs=jobs)
        return _pooled(parts, out) if only is None or all(fold.is_finished for fold in parts) else None


def _chosen(folds: Sequence[_Fold], only: int | None) -> Sequence[_Fold]:
    """The folds that a call does."""
    if only is None:
        return folds
    if only not in range(len(folds)):
        raise CrossvalError(f"--only {only}: the folds are 0 to {len(folds) - 1}")
    return [folds[only]]


def _numbers(folds: Sequence[_Fold]) -> dict[str, int]:
    """Subject -> number of the fold that holds it out."""
    return {row.subject_id: number for number, fold in enumerate(folds) for row in fold.held_out}


def _pooled(folds: Sequence[_Fold], out: Path) -> PooledScores:
    return pool_evaluations([fold.folder / "metrics" for fold in folds], out / "metrics")


def _write_manifests(folds: Sequence[_Fold], recipe: PreparationConfig | None) -> None:
    for fold in folds:
        write_manifest(fold.folder / MANIFEST, fold.rows)
        if recipe is not None:
            write_text(fold.folder / RECIPE_FILE, as_yaml(recipe))


def _divided(
    manifest: Manifest,
    config: RunConfig,
    out: Path,
    *,
    folds: Folds,
    stratify: Sequence[str],
    seed: int,
    validation: bool,
) -> list[_Fold]:
    """The folds in order, with the splits that each is trained and scored by."""
    anatomies = [replace(row, split="train", fold="") for row in manifest.rows if is_anatomy(row, config)]
    pairs = tuple(row for row in manifest.rows if not is_anatomy(row, config))
    require_images(manifest, pairs, config)
    if folds is not None or not _have_folds(pairs, manifest.name, stratify):
        pairs = split_rows(pairs, num_folds=_num_folds(pairs, folds), seed=seed, stratify=stratify)
    names = _fold_names(pairs, manifest.name, least=2 + validation)

    parts = []
    for number, name in enumerate(names):
        splits = {names[(number + 1) % len(names)]: "val" if validation else "train", name: "test"}
        own = [replace(row, split=splits.get(row.fold, "train")) for row in pairs]
        parts.append(_Fold(out / f"fold-{number}", [*own, *anatomies]))
    return parts


def _num_folds(pairs: Sequence[ManifestRow], folds: Folds) -> int:
    if folds is None:
        return DEFAULT_FOLDS
    return len({row.subject_id for row in pairs}) if folds == "subject" else folds


def _have_folds(pairs: Sequence[ManifestRow], manifest: str, stratify: Sequence[str]) -> bool:
    """True where the manifest's column is taken; one that is filled in part is refused, and strata beside it."""
    without = [row.name for row in pairs if not row.fold]
    if without and len(without) < len(pairs):
        raise CrossvalError(
            f"{manifest}: {len(without)} of {len(pairs)} pairs have no fold ({', '.join(without[:3])}); fill the "
            "column, or give --folds to divide anew"
        )
    have = bool(pairs) and not without
    if have and stratify:
        raise CrossvalError(
            f"{manifest}: its column `fold` divides the pairs, and --stratify would change nothing; leave it out, or "
            "give --folds to divide anew"
        )
    return have


def _fold_names(rows: Sequence[ManifestRow], manifest: str, *, least: int) -> list[str]:
    """The folds in order; fewer than the least, or a subject in two, by a manifest's own column, are refused."""
    fold_of: dict[str, str] = {}
    for row in rows:
        if fold_of.setdefault(row.subject_id, row.fold) != row.fold:
            raise CrossvalError(
                f"subject {row.subject_id} is in the folds {fold_of[row.subject_id]} and {row.fold}; keep all sessions "
                "of a subject in one, or give --folds to divide anew"
            )
    names = sorted(set(fold_of.values()), key=lambda name: (len(name), name))
    if len(names) < least:
        raise CrossvalError(
            f"{manifest}: {len(names)} folds leave no subject to train on; give --folds {least} or more"
        )
    return names


def _with_progress(folds: Sequence[_Fold], total: int) -> Iterator[_Fold]:
    """The folds that are not finished, each announced, with the time that is left."""
    left = [fold for fold in folds if not fold.is_finished]
    if skipped := len(folds) - len(left):
        log.info("%d of %d folds are finished", skipped, len(folds))
    start = time.monotonic()
    for done, fold in enumerate(left):
        minutes = (time.monotonic() - start) / max(1, done) * (len(left) - done) / 60
        log.info(
            "%s of %d: %d held out, %d to train on%s",
            fold.folder.name,
            total,
            len(fold.held_out),
            sum(row.split == "train" for row in fold.rows),
            f"; about {minutes:.0f} min left" if done else "",
        )
        yield fold


def _do(fold: _Fold, config: RunConfig, *, segmentation: bool, jobs: int | None) -> None:
    manifests, predictions = [fold.folder / MANIFEST], fold.folder / "predictions"
    train(manifests, config, fold.folder)
    options = InferenceOptions(device=config.device, uncertainty=config.uncertainty.weight > 0)
    infer(manifests, out=predictions, model=fold.folder, split="test", options=options, prepare=False)
    evaluate(
        predictions,
        manifests,
        fold.folder / "metrics",
        device=config.device,
        segmentation=segmentation,
        jobs=jobs,
    )


def _read_all(manifest: Manifest, config: RunConfig, cache: Path) -> None:
    read_pairs([row for row in manifest.rows if not is_anatomy(row, config)], config, cache, title="reading")


def _delete_folds(out: Path) -> None:
    """Remove what a cross-validation writes, and nothing else; the cache stays."""
    if (out / SETTINGS_FILE).is_file():
        for folder in (*out.glob("fold-*"), out / "metrics"):
            shutil.rmtree(folder, ignore_errors=True)
        (out / SETTINGS_FILE).unlink()
