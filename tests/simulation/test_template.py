import numpy as np
import pytest

from volumetric.simulation import template as module
from volumetric.simulation.template import IRON_OF_CORTEX, NUCLEI, TemplateError


def at(template, volume, mm):
    return float(volume[tuple(np.rint(np.asarray(mm) - template.space.affine[:3, 3]).astype(int))])


def test_fractions_sum_to_one_in_the_brain_and_to_zero_outside(template):
    total = template.fractions.sum(0)
    assert set(np.unique(np.round(total, 5))) == {0.0, 1.0}
    assert total.sum() / 1000 == pytest.approx(1890, rel=0.01)  # ml
    assert template.fractions.min() >= 0


@pytest.mark.parametrize(
    ("mm", "tissue"),
    [((8, -4, 20), 0), ((30, -28, 30), 2), ((0, 26, 6), 2), ((12, 14, 6), 1), ((-10, -10, 22), 0)],
    ids=["right ventricle", "corona radiata", "genu", "caudate head", "left ventricle"],
)
def test_known_places_are_of_the_known_tissue(template, mm, tissue):
    assert [at(template, f, mm) for f in template.fractions][tissue] > 0.9


@pytest.mark.parametrize("side", [1, -1])
@pytest.mark.parametrize("name", ["pallidum", "red_nucleus", "putamen", "caudate"])
def test_nuclei_hold_their_iron_on_both_sides(template, name, side):
    x, y, z = NUCLEI[name].center_mm
    near = [at(template, template.iron, (side * x + i, y + j, z)) for i in (-1, 0, 1) for j in (-1, 0, 1)]
    assert max(near) == pytest.approx(NUCLEI[name].iron - IRON_OF_CORTEX, rel=0.35)


def test_cortex_white_matter_and_fluid_hold_no_extra_iron(template):
    for mm in [(40, 40, 20), (30, -28, 30), (8, -4, 20), (-45, -60, 30)]:
        assert at(template, template.iron, mm) == 0


def test_nuclei_have_plausible_volumes(template):
    # both sides: putamen about 9 ml, caudate 7 ml, pallidum 3 ml in adults; the template is a quarter larger
    putamen = (template.iron > 9) & (template.iron < 12)
    pallidum = template.iron > 16
    assert 4 < putamen.sum() / 1000 < 18
    assert 1 < pallidum.sum() / 1000 < 7


def test_ventricles_are_of_plausible_size_and_symmetric(template):
    assert 10 < template.ventricles.sum() / 1000 < 40
    assert at(template, template.ventricles, (8, -4, 20)) == 1
    assert np.linalg.norm(template.ventricle_slope, axis=0).max() == pytest.approx(1)


def test_lesion_sites_are_white_with_a_depth_each(template):
    sites = np.rint(template.white - template.space.affine[:3, 3]).astype(int)
    assert template.fractions[2][tuple(sites.T)].min() > 0.97
    assert template.white_depth.shape == (len(sites),)
    assert template.white_depth.min() >= 0
    assert 10 < np.median(template.white_depth) < 60


def test_missing_files_are_named(monkeypatch):
    monkeypatch.setattr(module, "_FILE", "absent_{}.nii.gz")
    with pytest.raises(TemplateError, match=r"absent_t1\.nii\.gz.*pip install"):
        module.load_template.__wrapped__()
