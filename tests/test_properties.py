"""Properties that hold for whatever hypothesis thinks of: manifest, tables, configuration, geometry and window plan."""

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from volumetric.config.resolve import as_yaml, resolve
from volumetric.errors import InputError
from volumetric.imaging.geometry import (
    Space,
    bounding_box,
    crop,
    flips_to_ras,
    inverse,
    moved,
    same_space,
    transform_points,
    with_spacing,
)
from volumetric.manifest import SPLITS, ManifestRow, read_manifest, write_manifest
from volumetric.model.windows import plan_large, plan_windows
from volumetric.records.scores import MODEL, ScoreRow, ScoreTable

settings.register_profile(
    "repeatable", derandomize=True, deadline=None, max_examples=50, suppress_health_check=list(HealthCheck)
)
settings.load_profile("repeatable")

words = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1, max_size=20).map(str.strip)
ids = words.filter(lambda text: text and not set(text) & set("\x85\xa0"))
shapes = st.tuples(*[st.integers(1, 24)] * 3)
sizes = st.floats(0.3, 6)


@st.composite
def spaces(draw):
    """Oblique grids of unequal sides and spacings, left- or right-handed."""
    turn = Rotation.from_euler("xyz", draw(st.tuples(*[st.floats(-180, 180)] * 3)), degrees=True).as_matrix()
    signs = draw(st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3))
    affine = np.eye(4)
    affine[:3, :3] = turn * np.array(draw(st.tuples(sizes, sizes, sizes))) * np.array(signs)
    affine[:3, 3] = draw(st.tuples(*[st.floats(-300, 300)] * 3))
    return Space(draw(shapes), affine)


def corners(space):
    """The centers of the outermost voxels in the world, as a sorted list."""
    ends = np.array(np.meshgrid(*[[0, n - 1] for n in space.shape])).reshape(3, -1).T
    return sorted(map(tuple, np.round(transform_points(space.affine, ends), 4)))


@given(
    st.lists(st.tuples(ids, st.sampled_from(["", *SPLITS]), ids), min_size=1, max_size=6, unique_by=lambda row: row[0])
)
def test_a_manifest_comes_back_as_it_was_written(rows):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "manifest.csv"
        written = [
            ManifestRow(subject, split=split, paths={"t1w": path.parent / f"{n}.nii.gz"}, covariates={"site": site})
            for n, (subject, split, site) in enumerate(rows)
        ]
        write_manifest(path, written)
        read = read_manifest(path).rows
    key = [(row.subject_id, row.split, row.covariates["site"], row.paths["t1w"].name) for row in read]
    assert key == [(s, split, site, f"{n}.nii.gz") for n, (s, split, site) in enumerate(rows)]


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_any_bytes_are_a_manifest_or_one_sentence(data):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "manifest.csv"
        path.write_bytes(data)
        try:
            assert read_manifest(path).rows
        except InputError as error:
            assert "manifest.csv" in str(error)


@given(st.lists(st.tuples(ids, st.floats(-1e6, 1e6), ids), min_size=1, max_size=5, unique_by=lambda row: row[0]))
def test_a_table_of_scores_keeps_nine_digits_and_every_word(rows):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scores.csv"
        scores = tuple(
            ScoreRow(
                subject_id=name,
                method=MODEL,
                region="brain",
                status="ok",
                metrics={"mae": value},
                covariates={"c": site},
            )
            for name, value, site in rows
        )
        ScoreTable(("mae",), ("c",), scores).write(path)
        read = ScoreTable.read(path).rows
    assert [(row.subject_id, row.covariates["c"]) for row in read] == [(name, site) for name, _, site in rows]
    np.testing.assert_allclose([row.metrics["mae"] for row in read], [value for _, value, _ in rows], rtol=1e-8)


@given(
    st.floats(1e-6, 1),
    st.integers(1, 10**6),
    st.tuples(*[st.integers(1, 12).map(lambda n: 16 * n)] * 3),
    st.integers(0, 2**31),
)
def test_a_configuration_comes_back_as_it_was_printed(rate, steps, size, seed):
    changes = [f"optim.lr={rate!r}", f"optim.num_steps={steps}", f"patch.size={list(size)}", f"seed={seed}"]
    if size == (16, 16, 16):
        return  # one voxel on the coarsest level
    config = resolve(None, changes)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.yaml"
        path.write_text(as_yaml(config))
        assert resolve(path) == config
    assert (config.optim.lr, config.patch.size, config.seed) == (rate, size, seed)


@given(
    st.text(max_size=200) | st.recursive(st.sampled_from(["seed", "optim", "x", "1"]), lambda s: s.map("[{}]".format))
)
def test_any_text_is_a_configuration_or_one_sentence(text):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.yaml"
        path.write_bytes(text.encode())
        try:
            resolve(path)
        except InputError as error:
            assert "config.yaml" in str(error)


@given(spaces())
def test_flips_keep_every_voxel_in_its_place(space):
    flips = flips_to_ras(space.affine)
    array = np.arange(np.prod(space.shape)).reshape(space.shape)
    flipped = flips.apply_to_space(space)
    assert flips.apply(array).shape == flipped.shape
    np.testing.assert_allclose(corners(flipped), corners(space), atol=2e-4)
    np.testing.assert_array_equal(flips.invert(flips.apply(array)), array)
    assert flips_to_ras(flipped.affine).reversed == (False, False, False)


@given(spaces(), st.tuples(sizes, sizes, sizes))
def test_another_spacing_covers_the_same_box_about_the_same_center(space, target):
    other = with_spacing(space, target)
    np.testing.assert_allclose(other.spacing_mm, target, rtol=1e-6)
    centers = [s.affine @ [*((np.array(s.shape) - 1) / 2), 1] for s in (space, other)]
    np.testing.assert_allclose(*centers, atol=1e-6)
    old, new = (np.array(s.shape) * s.spacing_mm for s in (space, other))
    assert (new >= old - 1.1e-3 * other.spacing_mm).all()
    assert (new - old < other.spacing_mm).all()


@given(spaces(), spaces())
def test_a_move_and_its_inverse_come_back(space, other):
    assert same_space(moved(moved(space, other.affine), inverse(other.affine)), space, tolerance_mm=1e-3)


@given(spaces(), st.integers(0, 2**31), st.floats(0.02, 1))
def test_a_bounding_box_holds_the_mask_and_touches_it_on_every_side(space, seed, share):
    mask = np.random.default_rng(seed).random(space.shape) < share
    mask[tuple(np.array(space.shape) // 2)] = True
    box = bounding_box(mask)
    assert mask[box].sum() == mask.sum()
    for axis in range(3):
        inside = np.moveaxis(mask[box], axis, 0)
        assert inside[0].any() and inside[-1].any()
    first = [s.start for s in box]
    np.testing.assert_allclose(crop(space, box).affine[:3, 3], (space.affine @ [*first, 1])[:3])


@given(
    st.tuples(*[st.integers(1, 40)] * 3), st.integers(0, 2**31), st.tuples(*[st.integers(1, 20)] * 3), st.floats(0, 0.9)
)
def test_windows_cover_the_mask_stay_inside_and_none_is_empty(shape, seed, size, share):
    mask = np.random.default_rng(seed).random(shape) < 0.05
    mask[tuple(np.array(shape) // 2)] = True
    check_plan(plan_windows(mask, size, share), mask)


@given(st.tuples(*[st.integers(1, 70)] * 3), st.sampled_from([2, 4, 8]), st.integers(10**3, 10**6))
def test_large_windows_cover_the_mask_within_the_limit(shape, stride, limit):
    mask = np.ones(shape, bool)
    plan = plan_large(mask, stride, limit)
    if plan is not None:
        check_plan(plan, mask)
        assert np.prod(plan.size) <= limit
        assert not any(side % stride for side in plan.size)


def check_plan(plan, mask):
    covered, padded = np.zeros(plan.padded, bool), np.zeros(plan.padded, bool)
    padded[tuple(map(slice, mask.shape))] = mask
    for box in plan.windows():
        assert all(0 <= s.start < s.stop <= side for s, side in zip(box, plan.padded, strict=True))
        assert padded[box].any()
        covered[box] = True
    assert not (padded & ~covered).any()
    assert len(set(plan.starts)) == len(plan.starts)
