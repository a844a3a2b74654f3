"""Scans small enough for seconds and awkward enough to find mistakes: unequal sides, oblique axes, other orders."""

from __future__ import annotations

import importlib.util
import logging
import os
import subprocess
import sys
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # also for commands that tests start: tiny volumes only lose by threads

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from volumetric.cli import main
from volumetric.cohort.phantom import PhantomTask
from volumetric.config.resolve import resolve
from volumetric.imaging.geometry import Space
from volumetric.imaging.nifti import Image, write_image
from volumetric.imaging.registration import random_moves
from volumetric.imaging.resample import resample
from volumetric.manifest import ManifestRow, write_manifest
from volumetric.records.shipped_model import CohortScore

REPOSITORY = Path(__file__).resolve().parents[1]
REAL_SCANS = Path(os.environ.get("VOLUMETRIC_REAL_SCANS") or REPOSITORY / "data" / "real")
TINY = REPOSITORY / "volumetric" / "configs" / "tiny.yaml"

# Columns: which way each voxel axis points in RAS. LAS, and an order in which every axis is another.
ORIENTATIONS = {
    "RAS": np.diag([1.0, 1, 1]),
    "LAS": np.diag([-1.0, 1, 1]),
    "PIR": np.array([[0, 0, 1.0], [-1, 0, 0], [0, -1, 0]]),
}


def oblique_affine(orientation: str = "RAS", spacing=(4.0, 5.0, 4.5), degrees: float = 11.0) -> np.ndarray:
    """An affine with unequal spacing, turned by `degrees` about a skew axis."""
    turn = Rotation.from_rotvec(np.deg2rad(degrees) * np.array([0.6, -0.3, 0.74])).as_matrix()
    affine = np.eye(4)
    affine[:3, :3] = turn @ ORIENTATIONS[orientation] * np.asarray(spacing)
    affine[:3, 3] = [-31.5, 12.25, 7.75]
    return affine


def brain_pair(seed: int, shape=(31, 37, 29), affine: np.ndarray | None = None) -> tuple[Image, Image]:
    """A brain-extracted T1w and T2w: two tissues and a rim of fluid in an ellipsoid, 0 outside, arbitrary scales."""
    rng = np.random.default_rng(seed)
    affine = oblique_affine() if affine is None else affine
    centered = [np.linspace(-1.25, 1.25, n) for n in shape]
    x, y, z = np.meshgrid(*centered, indexing="ij")
    radius = np.sqrt(x**2 + y**2 + z**2)
    folds = 0.12 * np.sin(7 * x + seed) * np.sin(6 * y) * np.cos(5 * z)
    depth = radius + folds
    t1w = np.select([depth < 0.55, depth < 0.85], [1.0, 0.7], 0.3) + 0.02 * rng.standard_normal(shape)
    t2w = np.select([depth < 0.55, depth < 0.85], [0.6, 0.9], 2.0) + 0.02 * rng.standard_normal(shape)
    inside = radius < 1
    scales = rng.uniform(100, 900, 2)
    return tuple(Image((v * s * inside).astype(np.float32), affine) for v, s in zip((t1w, t2w), scales, strict=True))


SCALP_MM = (64.0, 75.0)
"""Inner and outer radius of the scalp of `head_pair`; the brain's is 55 mm, and the skull between them is dark."""


def head_pair(seed: int, orientation: str = "RAS", noise: float = 0.03) -> tuple[Image, Image, Image]:
    """T1w, T2w and brain mask of balls around the world's origin, cut at the neck by the grid, in air that is not 0.

    The median of the brain is the value of its outer shell: 400 in the T1w, 250 in the T2w. Scalp is 1.5 and 1.2 times
    that, skull 0.05 times.
    """
    shape = (44, 39, 37)
    affine = oblique_affine(orientation)
    last = np.array(shape) - 1
    affine[:3, 3] = -affine[:3, :3] @ (last / 2)
    affine[:3, 3] += affine[:3, :3] @ (ORIENTATIONS[orientation].T @ [0, 0, 5])  # the lowest slices are missing
    radius = distances_mm(Space(shape, affine))
    rng = np.random.default_rng(seed)
    images = []
    for scale, core, scalp in ((400, 1.2, 1.5), (250, 0.6, 1.2)):
        air = noise * np.hypot(*rng.standard_normal((2, *shape)))
        parts = [radius < 35, radius < 55, radius < SCALP_MM[0], radius < SCALP_MM[1]]
        images.append(Image((scale * np.select(parts, [core, 1, 0.05, scalp], air)).astype(np.float32), affine))
    return images[0], images[1], Image((radius < 55).astype(np.uint8), affine)


def distances_mm(space: Space) -> np.ndarray:
    """Of each voxel from the world's origin."""
    voxels = np.moveaxis(np.indices(space.shape), 0, -1)
    return np.linalg.norm(voxels @ space.affine[:3, :3].T + space.affine[:3, 3], axis=-1)


def raw_pair(seed: int, move: np.ndarray | None = None, size: float = 1) -> tuple[Image, Image]:
    """The same as a scanner gives them: the T2w on a turned grid of its own, moved by `move` (world mm).

    A smaller `size` shrinks voxels and head, and with them the time of a registration.
    """
    first, second = (size * np.array(sides) for sides in ((3.0, 2.6, 3.2), (2.7, 3.4, 2.9)))
    t1w, t2w = brain_pair(seed, shape=(47, 53, 43), affine=oblique_affine("LAS", spacing=first))
    grid = Space((51, 44, 58), oblique_affine("PIR", spacing=second, degrees=4))
    centers = [space.affine @ [*((np.array(space.shape) - 1) / 2), 1] for space in (t1w.space, grid)]
    grid.affine[:3, 3] += (centers[0] - centers[1])[:3]
    there = resample(t2w.array, t2w.space, grid, "linear")
    return t1w, Image(there, grid.affine if move is None else move @ grid.affine)


def write_raw_cohort(folder: Path, splits: list[str], size: float = 1) -> Path:
    """A manifest of such pairs, each moved otherwise."""
    rows = []
    for number, split in enumerate(splits):
        (move,) = random_moves(1, np.zeros(3), seed=number, shift_mm=5 * size, turn_deg=4)
        paths = {c: folder / f"p{number}" / f"{c}.nii.gz" for c in ("t1w", "t2w")}
        for path, image in zip(paths.values(), raw_pair(number, move, size), strict=True):
            write_image(path, image)
        rows.append(ManifestRow(f"p{number}", split=split, paths=paths, covariates={"site": "here"}))
    write_manifest(folder / "raw.csv", rows)
    return folder / "raw.csv"


def write_cohort(folder: Path, splits: list[str], **options) -> Path:
    """A manifest of brain pairs, one for each split named."""
    rows = []
    for number, split in enumerate(splits):
        paths = {c: folder / f"p{number}" / f"{c}.nii.gz" for c in ("t1w", "t2w")}
        for path, image in zip(paths.values(), brain_pair(number, **options), strict=True):
            write_image(path, image)
        rows.append(ManifestRow(f"p{number}", split=split, paths=paths))
    write_manifest(folder / "manifest.csv", rows)
    return folder / "manifest.csv"


def write_heads(folder: Path, splits: list[str]) -> Path:
    """A manifest of heads with their brain masks, one for each split named, in all orientations."""
    rows = []
    for number, split in enumerate(splits):
        paths = {column: folder / f"h{number}" / f"{column}.nii.gz" for column in ("t1w", "t2w", "mask")}
        orientation = list(ORIENTATIONS)[number % len(ORIENTATIONS)]
        for path, image in zip(paths.values(), head_pair(number, orientation), strict=True):
            write_image(path, image)
        rows.append(ManifestRow(f"h{number}", split=split, paths=paths))
    write_manifest(folder / "heads.csv", rows)
    return folder / "heads.csv"


@pytest.fixture
def volumetric(monkeypatch, capsys):
    """The command line without a process of its own, which takes seconds to import torch; log lines are in `caplog`."""

    def run(*arguments):
        command = ["volumetric", *map(str, arguments)]
        monkeypatch.setattr(sys, "argv", command)
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return subprocess.CompletedProcess(command, ended.value.code or 0, said.out, said.err)

    level = logging.getLogger("volumetric").level
    yield run
    logging.getLogger("volumetric").setLevel(level)


@pytest.fixture(scope="session")
def simulated_scan():
    """One simulated subject at 2.5 mm: t1w, t2w, mask, tissues and their space."""
    task = PhantomTask(Path(), 0, 2.5)
    return task.compute(0, task.read(0))[1]


@pytest.fixture(scope="session")
def cohort(tmp_path_factory) -> Path:
    """Two subjects to train on, one to validate, two to test; tests must not change it."""
    return write_cohort(tmp_path_factory.mktemp("cohort"), ["train", "train", "val", "test", "test"])


@pytest.fixture(scope="session")
def tiny_config():
    """The shipped configuration for tests."""
    return resolve(TINY)


@pytest.fixture(scope="session")
def run_folder(cohort, tiny_config, tmp_path_factory) -> Path:
    """A run trained by that configuration; tests must not change it."""
    from volumetric.learning.train import train

    out = tmp_path_factory.mktemp("run")
    train([cohort], tiny_config, out)
    return out


def load_script(name: str):
    """A module of `docs/_scripts`."""
    spec = importlib.util.spec_from_file_location(name, REPOSITORY / "docs" / "_scripts" / f"{name}.py")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)  # pydantic looks its names up there
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def shipping():
    """The script that makes a shipped model of a run."""
    return load_script("ship_model")


@pytest.fixture
def shipped(shipping, run_folder, tmp_path, monkeypatch) -> Path:
    """A package whose one model is that run's, `t1w_to_t2w`, and an empty user cache, `tmp_path/cache`."""
    folder, card = tmp_path / "package" / "models" / "t1w_to_t2w", tmp_path / "card.md"
    card.write_text("# Card of t1w_to_t2w\n\nOf simulated pairs → brains.\n", encoding="utf-8")
    score = CohortScore(cohort="somewhere [x]", num_subjects=3, psnr_db=21.255, ssim=0.8714)
    sheet = shipping.Sheet(
        summary="from tests",
        training_data="ellipsoids",
        weights_license="Apache-2.0",
        training_data_license="CC0-1.0",
        scores=(score,),
    )
    shipping.ship(run_folder, folder, sheet, card)
    monkeypatch.setattr("volumetric.model.shipped.MODELS", folder.parent)
    monkeypatch.setenv("VOLUMETRIC_CACHE", str(tmp_path / "cache"))
    return folder


@pytest.fixture(scope="session")
def real_scans() -> Path:
    """The folder of real scans."""
    if not REAL_SCANS.is_dir():
        pytest.skip(f"no real scans in {REAL_SCANS}: name their folder in VOLUMETRIC_REAL_SCANS")
    return REAL_SCANS
