"""Training: from manifests and a configuration to a run folder with a model in it."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy

from volumetric.config.document import ConfigError
from volumetric.config.resolve import as_yaml, resolve, with_defaults
from volumetric.config.run import RunConfig
from volumetric.errors import InputError
from volumetric.learning.anatomies import label_maps_of_scans, read_anatomies
from volumetric.learning.doubts import warn_of_doubts
from volumetric.learning.labels import check_label_maps, label_classes
from volumetric.learning.loop import TrainingCohort, run_training
from volumetric.learning.lr_range import lr_range_test
from volumetric.learning.plan import PLAN_FILE, plan_run, values, write_plan
from volumetric.learning.prepared import recipe_of, warn_of_quality
from volumetric.learning.pretrained import in_units_of, started_from
from volumetric.learning.ranks import (
    PATIENCE,
    RankError,
    check_shares,
    is_restarted,
    meet_ranks,
    num_local_ranks,
    num_ranks,
    this_rank,
)
from volumetric.learning.reading import read_pairs
from volumetric.learning.rows import divided, require_images, training_rows
from volumetric.learning.statistics import intensities, pool, source_maps
from volumetric.manifest import LABEL_MAP, Manifest, read_manifest
from volumetric.model.device import pick_device
from volumetric.model.files import verify_model
from volumetric.model.folder import SPEC
from volumetric.model.predict import Model
from volumetric.model.spec import MaskSpec, ModelSpec
from volumetric.model.uncertainty import UncertaintySpec
from volumetric.outputs import OutputError, check_unclaimed, locked, versions, write_text
from volumetric.records.run import HISTORY_FILE, PROVENANCE_FILE, Provenance
from volumetric.records.settings import SETTINGS_FILE, RunSettings

log = logging.getLogger(__name__)


def train(manifests: Sequence[Path], config: RunConfig, out: Path, *, fresh: bool = False) -> Path:
    """Train a model, or go on where an interrupted training stopped.

    Args:
        manifests: CSV files; rows with split `train` are learned from, those with `val` are scored.
        config: everything else.
        out: the run folder.
        fresh: delete what the run folder holds, and start over.

    Returns:
        The model folder, `out/model`.

    Raises:
        ManifestError: no training rows, or pairs that cannot be used (all are named).
        OutputError: `out` holds a run with another configuration or other subjects.
        RecordError: the `settings.json` of `out` cannot be read.
        CheckpointError: the checkpoint of `out` cannot be used.
        ConfigError: settings that do not go with the model to start from.
        ModelError: no usable model to start from.
        TrainingError: the loss is no longer finite, or the memory is too small.
        RankError: several processes that cannot train together.
    """
    if this_rank():
        logging.getLogger("volumetric").setLevel(logging.ERROR)  # rank 0 speaks
    config, base = started_from(config)
    manifest = _checked(manifests, config)
    check_shares(config.patch)
    fabric = _fabric(config)
    with locked(out) if fabric.is_global_zero else nullcontext():
        begun = _begin(manifest, config, fabric, out, base, fresh=fresh) if fabric.is_global_zero else None
        cohort = fabric.broadcast(begun)
        if cohort is not None:
            with _log_file(out / "log.txt") if fabric.is_global_zero else nullcontext():
                run_training(fabric, config, cohort, out)
        if num_ranks() > 1:
            fabric.barrier()
            torch.distributed.destroy_process_group()
    return out / "model"


def _begin(
    manifest: Manifest, config: RunConfig, fabric: Fabric, out: Path, base: Model | None, *, fresh: bool
) -> TrainingCohort | None:
    """The cohort, read on rank 0 for all, with the run folder begun; None if the run is finished already."""
    settings = RunSettings.of(config, manifest.digest())
    over = fresh and not is_restarted()
    if over:
        settings.check_own(out)
    resumed = not over and settings.began(out)
    if not over and (out / "model" / SPEC).is_file():
        _check_model(out)
        log.info("%s is trained already; --fresh starts over", out)
        return None
    if not resumed:
        _check_own(out, config)
    cohort = _read_cohort(manifest, config, out, base)
    if over:  # not before all that can be wrong has been read
        _delete_outputs(out)
    if not resumed:
        write_text(out / "config.yaml", as_yaml(config))
        settings.begin(out)
        Provenance.now(seed=config.seed, device=str(fabric.device)).write(out / PROVENANCE_FILE)
    return cohort


def _check_model(out: Path) -> None:
    """Check the hashes of a finished run's model.

    Raises:
        OutputError: it is damaged.
    """
    try:
        damage = ", ".join(f"{check.file} has changed" for check in verify_model(out) if check.status == "changed")
    except InputError as error:
        damage = str(error)
    if damage:
        raise OutputError(
            f"{out / 'model'}: the run is trained, and its model is damaged ({damage}); delete that folder and repeat "
            "the command, which writes it again from the last checkpoint"
        )


def plan(manifests: Sequence[Path], overrides: Sequence[str], out: Path, *, fresh: bool = False) -> RunConfig:
    """The configuration of `--config auto`: planned from the cohort and the machine, or as planned before.

    Args:
        manifests: as in `train`.
        overrides: `section.key=value`, over what is planned.
        out: run folder; gets `auto.yaml`, with the reason beside each setting. One that is there is taken as it is: it
            may have been edited.
        fresh: plan anew.

    Raises:
        ConfigError: an override, or an `auto.yaml`, that cannot be used.
        InputError: a scan that cannot be used.
    """
    path = out / PLAN_FILE
    if path.is_file() and not fresh:
        log.info("taking %s as it is; --fresh plans anew", path)
        try:
            return resolve(path, overrides)
        except ConfigError as error:
            raise ConfigError(f"{error}; or plan anew with --fresh") from error
    options = resolve(None, overrides)
    scanned, labeled = divided(read_manifest(*manifests), options)
    settings = plan_run(scanned, labeled, options.task.sources[0], pick_device(options.device), options.mask.kind)
    config = with_defaults(options, values(settings))
    _checked(manifests, config)
    write_plan(path, settings)
    return config


def find_lr(manifests: Sequence[Path], config: RunConfig, out: Path) -> float:
    """Try learning rates on the training subjects, and suggest one.

    Args:
        manifests: as in `train`.
        config: as in `train`; its learning rate and number of steps are not used.
        out: run folder; gets `lr_range.csv` and `lr_range.png`.

    Returns:
        The suggested peak rate.

    Raises:
        RankError: under several processes.
    """
    if num_ranks() > 1:
        raise RankError("--find-lr needs one process; leave out --devices, and start it without torchrun")
    config, base = started_from(config)
    manifest = _checked(manifests, config)
    fabric = _fabric(config)
    with locked(out):
        cohort = _read_cohort(manifest, config, out, base)
        return lr_range_test(fabric, config, cohort, out)


def _read_cohort(manifest: Manifest, config: RunConfig, out: Path, base: Model | None) -> TrainingCohort:
    cache = Path(config.cache) if config.cache else out / "cache"
    scanned, labeled = training_rows(manifest, config)
    train_pairs = read_pairs(scanned, config, cache, title="reading train")
    if config.mixture.simulated_source:
        own = label_maps_of_scans(scanned, config, cache)
        train_pairs = [replace(pair, anatomy=own.get(pair.name)) for pair in train_pairs]
    anatomies = read_anatomies(labeled, config, cache) if labeled else []
    val_pairs = read_pairs(manifest.split("val"), config, cache, title="reading val")
    warn_of_doubts([*train_pairs, *val_pairs], config)
    classes = base.spec.label_classes if base else label_classes(config)
    check_label_maps([*train_pairs, *val_pairs], classes)
    subjects = intensities(train_pairs, anatomies, config)
    statistics = pool(subjects, config)
    spec = ModelSpec(
        sources=config.task.sources,
        optional_sources=config.any_subset,
        label_classes=classes,
        target=config.task.target,
        spacing_mm=config.space.spacing_mm,
        mask=MaskSpec(kind=config.mask.kind),
        source_normalization=config.intensity.source_normalization,
        source_maps=source_maps(subjects, config),
        target_map=statistics.target_map(),
        data_range=statistics.target.data_range(),
        network=config.network,
        uncertainty=UncertaintySpec() if config.uncertainty.weight else None,
        patch_size=config.patch.size,
        overlap=config.inference.overlap,
        preparation=recipe_of(manifest),
        training=statistics.describe(train_pairs, anatomies, config),
        training_manifest_sha256=manifest.digest(),
        versions=versions(),
    )
    if base is None:
        return TrainingCohort(train_pairs, val_pairs, anatomies, spec)
    return TrainingCohort(train_pairs, val_pairs, anatomies, in_units_of(base, spec), base.network)


def _checked(manifests: Sequence[Path], config: RunConfig) -> Manifest:
    manifest = read_manifest(*manifests)
    scanned, labeled = training_rows(manifest, config)
    manifest.require(labeled, [LABEL_MAP])
    rows = (*scanned, *manifest.split("val"))
    require_images(manifest, rows, config)
    warn_of_quality(rows)
    return manifest


def _fabric(config: RunConfig) -> Fabric:
    """One device; under `torchrun`, as many as it started processes."""
    device, local = pick_device(config.device), num_local_ranks()
    num_devices = {"cuda": torch.cuda.device_count(), "mps": 1}.get(device.type, local)
    if local > num_devices:
        raise RankError(
            f"{local} processes need as many devices, and this machine has {num_devices} ({device.type}); start fewer, "
            "or --set device=cpu"
        )
    precision = config.precision
    if precision == "auto":
        precision = "bf16-mixed" if device.type == "cuda" else "32-true"
    # Statistics of a norm are shared by `Optimization`.
    several = DDPStrategy(broadcast_buffers=False, timeout=PATIENCE)
    fabric = Fabric(
        accelerator=device.type,
        devices=local,
        num_nodes=num_ranks() // local,
        precision=precision,
        strategy=several if num_ranks() > 1 else "auto",
    )
    meet_ranks("nccl" if device.type == "cuda" else "gloo")
    fabric.launch()
    return fabric


def _check_own(out: Path, config: RunConfig) -> None:
    """Check that what is replaced, or deleted by `--fresh`, is a training's; errors as `check_unclaimed`."""
    if not (out / SETTINGS_FILE).exists():
        check_unclaimed(out / name for name in (HISTORY_FILE, "validation.png", "checkpoints", "model"))
        file = out / "config.yaml"  # written before the settings
        if not (file.is_file() and file.read_bytes() == as_yaml(config).encode()):
            check_unclaimed([file])


def _delete_outputs(out: Path) -> None:
    """Remove what a training writes, and nothing else; the cache stays, since it depends on the scans alone."""
    for folder in ("checkpoints", "model", "tensorboard"):
        shutil.rmtree(out / folder, ignore_errors=True)
    for file in ("config.yaml", PROVENANCE_FILE, HISTORY_FILE, "log.txt", "validation.png", SETTINGS_FILE):
        (out / file).unlink(missing_ok=True)


@contextmanager
def _log_file(path: Path) -> Iterator[None]:
    handler = logging.FileHandler(path, encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("volumetric")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        handler.close()
