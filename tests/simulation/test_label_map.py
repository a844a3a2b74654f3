import numpy as np
import pytest

from tests.simulation.label_maps import CENTER_MM, RADII_MM, label_map
from volumetric.imaging.geometry import flips_to_ras
from volumetric.imaging.nifti import Image
from volumetric.simulation.label_map import STEPS_PER_MM, prepare_label_map
from volumetric.simulation.label_table import LabelTableError, read_label_table
from volumetric.simulation.tissues import NUMBER

TABLE = read_label_table("freesurfer")


@pytest.fixture(scope="module")
def prepared():
    return prepare_label_map(label_map(), TABLE, name="map")


def test_axes_are_upright_and_every_voxel_keeps_its_place(prepared):
    image = label_map()
    assert flips_to_ras(prepared.space.affine).order == (0, 1, 2)
    voxels = np.argwhere(image.array == 12)
    places = voxels @ image.affine[:3, :3].T + image.affine[:3, 3]
    back = np.rint((places - prepared.space.affine[:3, 3]) @ np.linalg.inv(prepared.space.affine[:3, :3]).T).astype(int)
    assert (prepared.tissues[tuple(back.T)] == NUMBER["putamen"]).all()
    assert (prepared.tissues == NUMBER["putamen"]).sum() == len(voxels)


def test_the_center_is_the_brains(prepared):
    np.testing.assert_allclose(prepared.center_mm, CENTER_MM, atol=0.6)


@pytest.mark.parametrize("name", ["hull_distance", "cortex_distance"])
def test_distances_are_those_of_the_ellipsoid(prepared, name):
    """Along each axis from the center: the brain's half lengths."""
    distance = getattr(prepared, name)
    to_voxel = np.linalg.inv(prepared.space.affine)
    for axis, radius in enumerate(RADII_MM["cortex"]):
        for offset in (-8.0, 6.0):
            point = CENTER_MM.copy()
            point[axis] += radius + offset
            voxel = tuple(np.rint(to_voxel[:3, :3] @ point + to_voxel[:3, 3]).astype(int))
            assert distance[voxel] / STEPS_PER_MM == pytest.approx(offset, abs=2.6)


def test_a_map_of_the_brain_alone_gets_fluid_in_its_sulci_and_dura_around_it():
    image = label_map(outside=False)
    labels = image.array.copy()
    labels[labels == 24] = 0  # as in maps of the brain alone
    groove = tuple(slice(None) if a != 1 else slice(25, 26) for a in range(3))
    labels[groove] = np.where(np.arange(labels.shape[0])[:, None, None] < 20, 0, labels[groove])
    prepared = prepare_label_map(Image(labels, image.affine), TABLE, name="map")
    assert (prepared.tissues == NUMBER["fluid"]).sum() > 50
    shell = prepared.tissues == NUMBER["dura"]
    assert shell.any()
    assert (prepared.hull_distance[shell] > 0).all()


def test_lesions_begin_in_white_matter_and_most_near_the_ventricles(prepared):
    sites = tuple(prepared.lesion_sites.T)
    assert (prepared.tissues[sites] == NUMBER["white_matter"]).all()
    assert prepared.lesion_odds.sum() == pytest.approx(1)
    ventricle = np.argwhere(prepared.tissues == NUMBER["ventricle"]).mean(0)
    far = np.linalg.norm((prepared.lesion_sites - ventricle) * prepared.space.spacing_mm, axis=1)
    assert prepared.lesion_odds[far < 18].min() > 3 * prepared.lesion_odds[far > 45].max()


def test_a_map_without_a_brain_is_refused():
    empty = Image(np.full((12, 13, 14), 511, np.uint16), np.eye(4))
    with pytest.raises(LabelTableError, match=r"map\.nii: no voxel is brain by the table `freesurfer`"):
        prepare_label_map(empty, TABLE, name="map.nii")
