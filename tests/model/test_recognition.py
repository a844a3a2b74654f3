"""Recognition of scans, on balls whose tissues lie in shells of known depth and brightness, and on real scans."""

import nibabel as nib
import numpy as np
import pytest

from tests.conftest import brain_pair, distances_mm, oblique_affine
from volumetric.imaging.geometry import Space
from volumetric.imaging.mask import brain_mask
from volumetric.imaging.nifti import Image, read_image
from volumetric.model.folder import load_model
from volumetric.model.recognition import (
    Appearance,
    _contrast_warnings,
    measure_appearance,
    possible_contrasts,
    scan_warnings,
)
from volumetric.model.space import model_space_of

RADIUS_MM = 62.0  # 998 ml
NAN = float("nan")


def ball(rim, cortex, deep, fluid, spacing=(2.0, 2.3, 1.7), noise=0.0):
    """Image and mask of 2 mm of `rim`, 4 mm of `cortex`, and `deep` around a core of `fluid` with a radius of 15 mm."""
    affine = oblique_affine("PIR", spacing)
    shape = tuple(int(150 / side) for side in spacing)
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    radius = distances_mm(Space(shape, affine))
    depth = RADIUS_MM - radius
    values = np.select([depth < 0, depth < 2, depth < 6, radius > 15], [0, rim, cortex, deep], fluid)
    values = values + noise * np.random.default_rng(0).standard_normal(shape) * (depth > 0)
    return Image((300 * values).astype(np.float32), affine), depth > 0


@pytest.fixture
def spec(run_folder):
    return load_model(run_folder).spec


def warnings_of(spec, image, mask):
    space = model_space_of(image.space, mask, None)
    images = {"t1w": image}
    return scan_warnings(spec, images, space.to_model_space(image), space)


T1W = (0.4, 0.75, 1.0, 0.3)
T2W = (2.0, 1.2, 1.0, 2.2)
FLAIR = (0.4, 1.2, 1.0, 0.3)


@pytest.mark.parametrize("spacing", [(0.9, 1.1, 3.0), (2.0, 2.3, 1.7), (1.0, 1.3, 1.1)])
@pytest.mark.parametrize(("tissues", "cortex"), [(T1W, 0.75), (T2W, 1.2), (FLAIR, 1.2)])
def test_cortex_is_measured_in_its_shell_at_any_voxel_size(tissues, cortex, spacing):
    image, mask = ball(*tissues, spacing=spacing)
    units = image.array / np.median(image.array[mask])
    appearance = measure_appearance(units, mask, np.array(spacing))
    assert appearance.cortex == pytest.approx(cortex, rel=1e-5)
    assert appearance.brightest == pytest.approx(2.0 if tissues is T2W else max(1.0, cortex), rel=1e-5)
    assert 0.5 < appearance.likeness < 1


def test_voxels_of_4_mm_are_too_large_for_cortex_and_likeness():
    image, mask = ball(*T1W, spacing=(4.0, 4.2, 4.1))
    appearance = measure_appearance(image.array / 300, mask, np.array([4.0, 4.2, 4.1]))
    assert np.isnan(appearance.cortex)
    assert np.isnan(appearance.likeness)
    assert possible_contrasts(appearance) == ("t1w", "t2w", "flair")


@pytest.mark.parametrize(
    ("cortex", "brightest", "possible"),
    [
        (0.8, 1.3, ("t1w",)),
        (0.91, 1.3, ("t1w", "t2w", "flair")),
        (0.8, 1.52, ("t1w", "t2w", "flair")),
        (0.95, 1.3, ("t2w", "flair")),
        (0.8, 1.6, ("t2w", "flair")),
        (0.95, 2.5, ("t2w",)),
        (NAN, 1.3, ("t1w", "t2w", "flair")),
    ],
)
def test_two_numbers_decide_what_a_scan_may_be(cortex, brightest, possible):
    appearance = Appearance(cortex, brightest, 0.9)
    assert possible_contrasts(appearance) == possible
    for contrast in ("t1w", "t2w", "flair"):
        assert bool(_contrast_warnings(contrast, appearance)) == (contrast not in possible)
    assert _contrast_warnings("pdw", appearance) == []  # none was measured


def test_each_kind_of_scan_that_is_no_t1w_has_its_words(spec):
    cases = {
        "": ball(*T1W),
        "the scan looks like a T2w, not a T1w": ball(*T2W),
        "the scan looks like a T2w or FLAIR, not a T1w": ball(*FLAIR),
        "the t1w scan is mostly noise": ball(1, 1, 1, 1, noise=0.3),
    }
    for kind, (image, mask) in cases.items():
        kinds = [warning.partition(":")[0] for warning in warnings_of(spec, image, mask) if "unlike" not in warning]
        assert [found for found in kinds if "voxels lie far" not in found] == [kind] * bool(kind)


def test_bright_vessels_deep_in_a_t1w_are_a_contrast_agent(spec):
    image, mask = ball(*T1W)
    radius = distances_mm(image.space)
    deep = np.argwhere((radius > 20) & (radius < 40))
    for share, enhanced in ((0.0004, False), (0.004, True)):  # of the brain deeper than 4 mm: a half of that is here
        array = image.array.copy()
        array[tuple(deep[:: round(1 / share)].T)] *= 1.5
        kinds = [text.partition(":")[0] for text in warnings_of(spec, image.with_array(array), mask)]
        assert ("the scan looks like a T1w with contrast agent, not a T1w" in kinds) == enhanced
    units = array / np.median(array[mask])
    assert measure_appearance(units, mask, image.space.spacing_mm).enhancement == pytest.approx(1.5, rel=1e-5)
    assert np.isnan(measure_appearance(units[::4, ::4, ::4], mask[::4, ::4, ::4], np.full(3, 8.0)).enhancement)


def test_negative_values_and_a_mask_that_is_no_brain_are_named(spec):
    image, mask = ball(*T1W)
    hounsfield = image.with_array(np.where(mask, image.array, np.float32(-1000)))
    assert any(
        "has negative values, as a CT" in text and "-1000" in text for text in warnings_of(spec, hounsfield, mask)
    )
    few = mask.copy()
    few[: few.shape[0] // 2] = False  # half of 998 ml
    (text,) = [text for text in warnings_of(spec, image, few) if "does not look like a brain" in text]
    assert "a brain 600 to 2200 ml" in text


@pytest.mark.real
@pytest.mark.parametrize("case", ["ljubljana_ms/mni/patient19", "brats2021/case01481", "brats2021/case01483"])
def test_real_scans_are_told_apart(real_scans, case):
    expected = {"t1w": {("t1w",)}, "t2w": {("t2w",)}, "flair": {("t2w", "flair")}}
    mask = brain_mask(read_image(real_scans / case / "t1w.nii.gz")).array
    for contrast, possible in expected.items():
        image = read_image(real_scans / case / f"{contrast}.nii.gz")
        units = image.array / np.median(image.array[mask])
        appearance = measure_appearance(units, mask, image.space.spacing_mm)
        assert possible_contrasts(appearance) in possible
        assert contrast != "t1w" or _contrast_warnings("t1w", appearance) == []


@pytest.mark.real
@pytest.mark.parametrize("case", ["01481", "01483"])
def test_a_real_contrast_agent_is_seen(real_scans, case):
    image = read_image(real_scans / f"brats2021/case{case}/t1wce.nii.gz")
    mask = image.array > 0
    appearance = measure_appearance(image.array / np.median(image.array[mask]), mask, image.space.spacing_mm)
    (warning,) = _contrast_warnings("t1w", appearance)
    assert warning.startswith("the scan looks like a T1w with contrast agent, not a T1w: ")
    assert _contrast_warnings("t1wce", appearance) == []


def test_issue_17_23_a_header_without_codes_is_a_warning_for_a_scan_that_is_taken_as_it_is(run_folder, tmp_path):
    t1w, _ = brain_pair(0)
    nifti = nib.Nifti1Image(t1w.array, None)  # nibabel sets no code without an affine
    nifti.header.set_zooms((1.5, 1.5, 1.5))
    nib.save(nifti, tmp_path / "t1w.nii.gz")
    warnings = load_model(run_folder).predict(tmp_path / "t1w.nii.gz").warnings
    assert any(text.startswith("the t1w header does not say how the scan lies") for text in warnings)


def test_an_extreme_voxel_is_a_warning_and_bright_vessels_are_none(spec):
    image, mask = ball(*T1W)
    center = tuple(side // 2 for side in image.array.shape)
    for brightest, expected in ((8, 0), (5000, 1)):
        array = image.array.copy()
        array[center] = brightest * np.median(array[mask])
        found = [
            w for w in warnings_of(spec, image.with_array(array), mask) if "extreme voxels: up to 5e+03 times" in w
        ]
        assert len(found) == expected


def test_a_measure_that_cannot_be_had_is_left_out_of_the_sentence():
    (warning,) = _contrast_warnings("t1w", Appearance(NAN, 1.9, 0.8))
    assert (
        warning == "the scan looks like a T2w, not a T1w: the brightest 2 % of the brain exceed 1.90 times its median"
    )
