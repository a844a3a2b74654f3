from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage

from tests.simulation.label_maps import CENTER_MM, PUTAMEN_MM, label_map
from volumetric.config.simulation import SimulationConfig
from volumetric.simulation.draws import draw_pair, on_scan
from volumetric.simulation.label_map import prepare_label_map
from volumetric.simulation.label_table import read_label_table
from volumetric.simulation.pair import PairSimulation
from volumetric.simulation.parameters import FaceCut, Lesion, Surfaces
from volumetric.simulation.point_spread import PairGrid
from volumetric.simulation.tissues import NUMBER

STILL = SimulationConfig(
    deformation=0, lesion_probability=0, tumor_probability=0, thick_slice_probability=0, ringing_probability=0
)
GRID = PairGrid((-70.0, -84.0, -74.0), (3.0, 4.0, 3.5), (48, 43, 44))
SMALL = PairGrid((-20.0, -26.0, -22.0), (1.0, 2.0, 1.5), (22, 20, 24))


@pytest.fixture(scope="module")
def prepared():
    return prepare_label_map(label_map(), read_label_table("freesurfer"), name="map")


def still(seed=0, **changes):
    """Parameters of a head that is the label map itself, scanned without any fault."""
    numbers = draw_pair(np.random.default_rng(seed), STILL)
    quiet = {"region_sd": 0.0, "bias": 0.0, "noise": 0.0, "levels": 0, "shift_mm": (0.0, 0.0, 0.0), "width_mm": 0.1}
    source, target = (
        replace(contrast, textures=np.zeros_like(contrast.textures), **quiet)
        for contrast in (numbers.source, numbers.target)
    )
    surfaces = Surfaces(0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.5)
    shape = replace(numbers.shape, mirrored=False, to_map=np.eye(3))
    return replace(numbers, source=source, target=target, surfaces=surfaces, shape=shape, **changes)


def putamen_mm():
    """World mm of the center of the putamen's voxels in the file, by its own affine."""
    image = label_map()
    center = np.argwhere(image.array == 12).mean(0)
    np.testing.assert_allclose(image.affine[:3, :3] @ center + image.affine[:3, 3], CENTER_MM + PUTAMEN_MM, atol=0.8)
    return image.affine[:3, :3] @ center + image.affine[:3, 3]


def center_mm(inside, grid):
    voxels = torch.nonzero(inside).numpy().mean(0)
    return np.array(grid.origin_mm) + voxels * np.array(grid.spacing_mm)


def test_labels_land_where_the_affine_says(prepared):
    """The map is oblique with unequal sides; the subject's own space has its 0 at the brain's center."""
    rendered = PairSimulation(prepared, still()).render(GRID, fine=False)
    found = center_mm(rendered.tissues == NUMBER["putamen"], GRID)
    np.testing.assert_allclose(found, putamen_mm() - prepared.center_mm, atol=0.4)
    volume = int((rendered.tissues == NUMBER["putamen"]).sum()) * np.prod(GRID.spacing_mm)
    assert volume == pytest.approx(4 / 3 * np.pi * 13**3, rel=0.08)  # a ball of 13 mm


def test_a_mirrored_subject_has_its_right_on_the_left(prepared):
    numbers = still()
    mirrored = replace(numbers, shape=replace(numbers.shape, to_map=np.diag([-1.0, 1.0, 1.0])))
    tissues = PairSimulation(prepared, mirrored).render(GRID, fine=False).tissues
    found = center_mm(tissues == NUMBER["putamen"], GRID)
    np.testing.assert_allclose(found, (putamen_mm() - prepared.center_mm) * (-1, 1, 1), atol=0.4)


def test_a_pure_voxel_has_the_signal_of_the_equation(prepared):
    numbers = still()
    rendered = PairSimulation(prepared, numbers).render(GRID, fine=False)
    for image, contrast in ((rendered.source, numbers.source), (rendered.target, numbers.target)):
        for name in ("white_matter", "putamen", "ventricle"):
            inside = ndimage.binary_erosion((rendered.tissues == NUMBER[name]).numpy(), iterations=2)
            expected = abs(float(contrast.signals[NUMBER[name]]))
            np.testing.assert_allclose(image.numpy()[inside], expected, rtol=1e-3)


def test_a_patch_is_a_crop_of_the_whole(prepared):
    numbers = draw_pair(np.random.default_rng(3), SimulationConfig(thick_slice_probability=1))
    source, target = (
        replace(contrast, noise=0.0, levels=0, textures=0 * contrast.textures)
        for contrast in (numbers.source, numbers.target)
    )
    pair = PairSimulation(prepared, replace(numbers, source=source, target=target))
    whole = pair.render(PairGrid((-40.0, -40.0, -40.0), (2.0, 2.0, 2.0), (26, 27, 28)))
    patch = pair.render(PairGrid((-20.0, -16.0, -24.0), (2.0, 2.0, 2.0), (12, 10, 14)))
    box = (slice(10, 22), slice(12, 22), slice(8, 22))
    assert (patch.tissues == whole.tissues[box]).float().mean() > 0.999
    torch.testing.assert_close(patch.target, whole.target[box], atol=2e-3, rtol=0.02)


@pytest.mark.parametrize("region", ["brain", "head"])
def test_the_same_numbers_are_the_same_bytes_and_others_are_not(prepared, region):
    config = SimulationConfig()
    images = []
    for seed in (5, 5, 6):
        numbers = draw_pair(np.random.default_rng(seed), config)
        images.append(PairSimulation(prepared, numbers, region=region).render(SMALL))
    assert torch.equal(images[0].source, images[1].source)
    assert torch.equal(images[0].target, images[1].target)
    assert not torch.equal(images[0].target, images[2].target)


def test_the_mask_of_a_head_holds_skin_and_no_air(prepared):
    pair = PairSimulation(prepared, still(), region="head")
    rendered = pair.render(GRID, fine=False)
    assert (rendered.mask == (rendered.tissues != NUMBER["air"])).all()
    assert (rendered.tissues[rendered.mask & ~rendered.brain] == NUMBER["skin"]).any()
    brain = PairSimulation(prepared, still()).render(GRID, fine=False)
    assert torch.equal(brain.mask, rendered.brain)


def test_the_mask_of_a_brain_ends_where_its_margin_says(prepared):
    numbers = still()
    sizes = []
    for margin in (-2.0, 0.0, 2.0):
        surfaces = replace(numbers.surfaces, mask_mm=margin)
        mask = PairSimulation(prepared, replace(numbers, surfaces=surfaces)).render(GRID, fine=False).mask
        sizes.append(int(mask.sum()) * np.prod(GRID.spacing_mm))
    wanted = [4 / 3 * np.pi * np.prod([r + m for r in (56, 70, 60)]) for m in (-2.0, 0.0, 2.0)]
    np.testing.assert_allclose(sizes, wanted, rtol=0.05)  # the map's voxels have 3 mm


def test_medians_are_those_of_the_whole_subject(prepared):
    pair = PairSimulation(prepared, draw_pair(np.random.default_rng(1), SimulationConfig()))
    rendered = pair.render(PairGrid((-75.0, -90.0, -80.0), (1.5, 1.5, 1.5), (100, 120, 107)), fine=False)
    for image, median in zip((rendered.source, rendered.target), pair.medians, strict=True):
        assert float(image[rendered.brain].median()) == pytest.approx(median, rel=0.04)


def test_a_lesion_replaces_white_matter_alone(prepared):
    lesion = Lesion(0.5, (9.0, 9.0, 9.0), ((1.0, "white_matter_lesion"),))
    plain = PairSimulation(prepared, still()).render(GRID, fine=False).tissues
    with_lesion = PairSimulation(prepared, still(lesions=(lesion,))).render(GRID, fine=False).tissues
    changed = plain != with_lesion
    assert changed.any()
    assert (plain[changed] == NUMBER["white_matter"]).all()
    assert (with_lesion[changed] == NUMBER["white_matter_lesion"]).all()


def test_wider_ventricles_are_wider(prepared):
    numbers = still()
    sizes = []
    for flow in (-4.0, 0.0, 6.0):
        shape = replace(numbers.shape, ventricle_flow_mm=flow)
        tissues = PairSimulation(prepared, replace(numbers, shape=shape)).render(GRID, fine=False).tissues
        sizes.append(int((tissues == NUMBER["ventricle"]).sum()))
    assert sizes[0] < 0.9 * sizes[1] < 0.9 * 0.9 * sizes[2]


def test_a_source_on_a_scan_has_the_label_of_each_voxel(prepared):
    """Whatever is drawn, on the label map's own oblique grid; surfaces move by the smoothing of distances alone."""
    space = prepared.space
    directions = space.affine[:3, :3] / space.spacing_mm
    first, step = (7, 9, 12), (2, 1, 1)
    start = np.linalg.solve(directions, space.affine[:3] @ [*first, 1] - prepared.center_mm)
    grid = PairGrid(tuple(start), tuple(space.spacing_mm * step), (17, 33, 30))
    box = tuple(slice(f, f + s * n, s) for f, s, n in zip(first, step, grid.shape, strict=True))
    brain = torch.from_numpy(np.ascontiguousarray(prepared.hull_distance[box] < 0))
    numbers = on_scan(draw_pair(np.random.default_rng(3), SimulationConfig(lesion_probability=1)), directions)
    pair = PairSimulation(prepared, numbers, brain=(grid, brain))
    labels = prepared.tissues[box]
    simulated = pair.render(grid, fine=False).tissues.numpy()
    for name in ("white_matter", "putamen", "ventricle", "bone", "skin"):
        np.testing.assert_array_equal(simulated == NUMBER[name], labels == NUMBER[name])
    assert (simulated == labels).mean() > 0.99
    assert pair.overview.brain is brain
    assert torch.equal(pair.render_source(SMALL), pair.render(SMALL).source)
    assert pair.medians[0] == pytest.approx(float(pair.overview.source[brain].median()))


@pytest.mark.parametrize("seed", [0, 4])
def test_defacing_takes_what_lies_beyond_a_plane_clear_of_the_brain(prepared, seed):
    """By hand: the plane's normal turns from straight ahead (y) to down (-z) by the tilt."""
    numbers = replace(draw_pair(np.random.default_rng(seed), SimulationConfig()), face_cut=None)
    cut = FaceCut(tilt_deg=30.0, margin_mm=8.0)
    whole = PairSimulation(prepared, numbers, region="head").render(GRID, fine=False)
    defaced = PairSimulation(prepared, replace(numbers, face_cut=cut), region="head").render(GRID, fine=False)
    _, y, z = np.meshgrid(*GRID.axes(), indexing="ij")
    ahead = np.sqrt(3) / 2 * y - z / 2
    taken = (whole.mask & ~defaced.mask).numpy()
    kept = defaced.mask.numpy()
    assert not (kept & ~whole.mask.numpy()).any()
    assert taken.sum() > 50
    assert ahead[taken].min() > ahead[kept].max()
    assert ahead[taken].min() == pytest.approx(ahead[whole.brain.numpy()].max() + 8, abs=5)
    assert torch.equal(whole.brain, defaced.brain)
    assert defaced.mask[defaced.brain].all()
    assert torch.equal(whole.source, defaced.source)


def test_a_brain_has_no_face(prepared):
    numbers = draw_pair(np.random.default_rng(2), SimulationConfig(deface_probability=1))
    assert numbers.face_cut is not None
    images = [PairSimulation(prepared, n).render(SMALL) for n in (numbers, replace(numbers, face_cut=None))]
    assert torch.equal(images[0].source, images[1].source)
    assert torch.equal(images[0].mask, images[1].mask)
