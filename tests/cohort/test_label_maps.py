"""Cohorts simulated from tiny label maps: ellipsoids with FreeSurfer's numbers, oblique, with unequal sides."""

import json
from functools import partial

import numpy as np
import pytest

from tests.conftest import oblique_affine
from volumetric.cohort import label_maps as module
from volumetric.cohort import phantom as phantom_module
from volumetric.cohort.label_map_record import LabelMapCohortRecord
from volumetric.cohort.label_maps import find_label_maps
from volumetric.cohort.phantom import phantom
from volumetric.cohort.simulated import PhantomError
from volumetric.config.simulation import SimulationConfig
from volumetric.errors import FailedSubjectsError, InputError
from volumetric.imaging.nifti import Image, read_image, read_labels, write_image
from volumetric.manifest import read_manifest
from volumetric.records.record import RecordError
from volumetric.simulation.tissues import NAMES, TISSUES

SKIN, BONE, FLUID, CORTEX, WHITE, VENTRICLE = 511, 515, 24, 3, 2, 4
BANDS = {1.0: SKIN, 0.9: BONE, 0.82: FLUID, 0.78: CORTEX, 0.66: WHITE, 0.2: VENTRICLE}
OPTIONS = {"seed": 3, "spacing_mm": 4.0}


def head(number=0, bands=BANDS, shape=(26, 25, 29)):
    """Nested ellipsoids with unequal axes of about 45 mm, another for each number."""
    affine = oblique_affine("PIR")
    places = np.stack(np.meshgrid(*[np.arange(n) - (n - 1) / 2 for n in shape], indexing="ij"), axis=-1)
    world_mm = places @ affine[:3, :3].T
    radius = np.linalg.norm(world_mm / (np.array([42.0, 50.0, 45.0]) + number % 3), axis=-1)
    labels = np.zeros(shape, np.float32)  # `write_image` keeps float32 and uint8
    for limit, label in bands.items():
        labels[radius < limit] = label
    labels[0, 0, 0] = 0 if number < 3 else 29  # equal anatomy, other bytes
    return Image(labels, affine)


@pytest.fixture(scope="module")
def anatomies(tmp_path_factory):
    folder = tmp_path_factory.mktemp("anatomies")
    for number in range(4):
        write_image(folder / f"head_{number}.nii.gz", head(number))
    return folder


@pytest.fixture(scope="module")
def brains(tmp_path_factory, anatomies):
    out = tmp_path_factory.mktemp("brains")
    phantom(out, subjects=6, anatomies=anatomies, preview=True, **OPTIONS)
    return out


@pytest.fixture(scope="module")
def heads(tmp_path_factory, anatomies):
    out = tmp_path_factory.mktemp("heads")
    phantom(out, subjects=2, anatomies=anatomies, region="head", **OPTIONS)
    return out


def images(folder):
    return {path.name.removesuffix(".nii.gz"): read_image(path) for path in folder.glob("*.nii.gz")}


def content(folder, names=("t1w", "t2w", "mask", "tissues", "lesions")):
    return [(folder / f"{name}.nii.gz").read_bytes() for name in names]


def test_images_of_a_subject_lie_on_one_isotropic_grid_around_the_brain(brains):
    for row in read_manifest(brains / "manifest.csv").rows:
        own = images(brains / row.subject_id)
        assert own.keys() == set(row.paths)
        for image in own.values():
            np.testing.assert_array_equal(image.affine, own["t1w"].affine)
            assert image.array.shape == own["t1w"].array.shape
        np.testing.assert_array_equal(own["t1w"].affine[:3, :3], 4 * np.eye(3))
        mask = own["mask"].array > 0
        inside = np.zeros_like(mask)
        inside[1:-1, 1:-1, 1:-1] = True
        assert mask.any()
        assert not (mask & ~inside).any()
        for name in ("t1w", "t2w", "tissues", "lesions"):
            assert (own[name].array[~mask] == 0).all(), name
        assert set(np.unique(own["tissues"].array)) == {0, 1, 2, 3}


def test_tissues_lie_where_the_label_map_has_them(anatomies, tmp_path, monkeypatch):
    """Undeformed and without lesions: gray matter around white, white around the ventricle in the middle."""
    no_changes = {"deformation": 0, "lesion_probability": 0, "tumor_probability": 0}
    monkeypatch.setattr(phantom_module, "SimulationConfig", partial(SimulationConfig, **no_changes))
    phantom(tmp_path, subjects=1, anatomies=anatomies, **OPTIONS)
    own = images(tmp_path / "sim000")
    tissues, affine = own["tissues"].array, own["tissues"].affine
    radii = np.linalg.norm(
        (np.moveaxis(np.indices(tissues.shape), 0, -1) * 4 + affine[:3, 3]) / [42.0, 50.0, 45.0], axis=-1
    )
    order = [np.median(radii[tissues == label]) for label in (3, 2)]
    assert order[0] < 0.6 < order[1] < 0.85
    middle = tissues[radii < 0.1]
    assert (middle == 1).all()
    white = (tissues == 3) | (tissues == 1) & (radii < 0.4)
    true_ml = 4 / 3 * np.pi * 42 * 50 * 45 * 0.66**3 / 1000
    assert white.sum() * 0.064 == pytest.approx(true_ml, rel=0.12)
    assert own["lesions"].array.max() == 0
    bright = {label: np.median(own["t2w"].array[tissues == label]) for label in (1, 2, 3)}
    assert bright[1] > bright[2]


def test_subjects_of_one_label_map_are_in_one_split(brains):
    rows = read_manifest(brains / "manifest.csv").rows
    assert [row.covariates["anatomy"] for row in rows] == [f"head_{k}" for k in (0, 1, 2, 3, 0, 1)]
    assert [row.split for row in rows] == ["train", "test", "train", "val", "train", "test"]


def test_files_of_equal_content_are_one_anatomy(anatomies, tmp_path):
    folder = tmp_path / "maps"
    for name, source in (("a", "head_0"), ("b", "head_0"), ("c", "head_1")):
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.nii.gz").write_bytes((anatomies / f"{source}.nii.gz").read_bytes())
    manifest = phantom(tmp_path / "out", subjects=3, anatomies=folder, **OPTIONS)
    assert [row.split for row in read_manifest(manifest).rows] == ["train", "train", "test"]


def test_covariates_and_record_tell_what_was_drawn(brains, anatomies):
    record = LabelMapCohortRecord.read(brains / "phantom.json")
    assert sorted(record.subjects) == [f"sim00{k}" for k in range(6)]
    assert record.settings.label_maps.files.keys() == {path.name for path in anatomies.iterdir()}
    for row in read_manifest(brains / "manifest.csv").rows:
        subject = record.subjects[row.subject_id]
        assert row.covariates["field_strength"] == str(subject.field_strength)
        assert row.covariates["t1w_sequence"] == subject.t1w.sequence
        assert row.covariates["t2w_sequence"] == subject.t2w.sequence
        assert tuple(subject.t1w.signals) == NAMES
        assert 200 <= subject.t2w.scale <= 2000
        assert all(tissue in TISSUES for lesion in subject.lesions for _, tissue in lesion.shells)


def test_the_pair_is_the_one_that_the_seed_and_number_draw(brains):
    from volumetric.config.simulation import SimulationConfig
    from volumetric.simulation.draws import draw_pair

    drawn = draw_pair(np.random.default_rng([3, 1]), SimulationConfig())
    recorded = LabelMapCohortRecord.read(brains / "phantom.json").subjects["sim001"]
    assert (recorded.field_seed, recorded.noise_seed) == (drawn.field_seed, drawn.noise_seed)
    np.testing.assert_array_equal(recorded.shape.to_map, drawn.shape.to_map)
    np.testing.assert_allclose(list(recorded.t1w.signals.values()), drawn.source.signals, rtol=1e-5)


def test_a_subject_is_the_same_in_a_smaller_cohort_and_when_made_again(brains, anatomies, tmp_path):
    phantom(tmp_path, subjects=2, anatomies=anatomies, **OPTIONS)
    assert content(tmp_path / "sim001") == content(brains / "sim001")
    (tmp_path / "sim001" / "t2w.nii.gz").unlink()
    kept = (tmp_path / "sim000" / "t1w.nii.gz").stat().st_mtime_ns
    phantom(tmp_path, subjects=2, anatomies=anatomies, **OPTIONS)
    assert content(tmp_path / "sim001") == content(brains / "sim001")
    assert (tmp_path / "sim000" / "t1w.nii.gz").stat().st_mtime_ns == kept


def test_another_seed_gives_another_subject(brains, anatomies, tmp_path):
    phantom(tmp_path, subjects=1, anatomies=anatomies, seed=4, spacing_mm=4.0)
    for mine, other in zip(content(tmp_path / "sim000")[:3], content(brains / "sim000")[:3], strict=True):
        assert mine != other


def test_a_head_has_scalp_outside_the_mask_of_its_brain(heads, brains):
    for name in ("sim000", "sim001"):
        own = images(heads / name)
        mask = own["mask"].array > 0
        scalp = (own["t1w"].array > 0) & ~mask
        assert scalp.sum() > 0.3 * mask.sum()
        assert (own["tissues"].array[~mask] == 0).all()
        corner = own["t1w"].array[0, 0, 0], own["t2w"].array[-1, -1, -1]
        assert corner == (0, 0)  # air
        np.testing.assert_allclose(mask.sum(), images(brains / name)["mask"].array.sum(), rtol=0.02)


def test_each_label_map_is_prepared_once(anatomies, tmp_path, monkeypatch):
    prepared = []
    original = module.prepare_label_map
    module._prepared.cache_clear()

    def counted(image, table, *, name):
        prepared.append(name)
        return original(image, table, name=name)

    monkeypatch.setattr(module, "prepare_label_map", counted)
    phantom(tmp_path, subjects=6, anatomies=anatomies, **OPTIONS)
    assert prepared == [str(anatomies / f"head_{k}.nii.gz") for k in range(4)]


def test_a_changed_folder_region_or_table_is_refused(anatomies, tmp_path):
    folder, out = tmp_path / "maps", tmp_path / "out"
    folder.mkdir()
    for path in list(anatomies.iterdir())[:1]:
        (folder / "a.nii.gz").write_bytes(path.read_bytes())
    phantom(out, subjects=1, anatomies=folder, **OPTIONS)
    before = content(out / "sim000")
    write_image(folder / "b.nii.gz", head(2))
    with pytest.raises(InputError, match=r"label_maps\.files\.b\.nii\.gz was absent.*--fresh"):
        phantom(out, subjects=1, anatomies=folder, **OPTIONS)
    (folder / "b.nii.gz").unlink()
    with pytest.raises(InputError, match=r"label_maps\.region was brain, is head"):
        phantom(out, subjects=1, anatomies=folder, region="head", **OPTIONS)
    with pytest.raises(InputError, match=r"label_maps\.table was freesurfer, is three_tissues"):
        phantom(out, subjects=1, anatomies=folder, table="three_tissues", **OPTIONS)
    with pytest.raises(InputError, match=r"label_maps\.region was brain, is absent"):
        phantom(out, subjects=1, **OPTIONS)
    phantom(out, subjects=1, anatomies=folder, fresh=True, **OPTIONS)
    assert content(out / "sim000") == before


def test_a_table_that_changed_is_refused(anatomies, tmp_path):
    table = tmp_path / "mine.yaml"
    table.write_text("air: [0, 29]\nskin: [511]\nbone: [515]\nfluid: [24, 4]\ncortex: [3]\nwhite_matter: [2]\n")
    phantom(tmp_path / "out", subjects=1, anatomies=anatomies, table=str(table), **OPTIONS)
    assert json.loads((tmp_path / "out" / "settings.json").read_text())["label_maps"]["table"] == "mine.yaml"
    table.write_text(table.read_text().replace("fluid: [24, 4]", "fluid: [24]\nventricle: [4]"))
    with pytest.raises(InputError, match=r"label_maps\.table_sha256 was"):
        phantom(tmp_path / "out", subjects=1, anatomies=anatomies, table=str(table), **OPTIONS)


def test_bad_label_maps_cost_their_subjects_alone(anatomies, tmp_path):
    folder, out = tmp_path / "maps", tmp_path / "out"
    folder.mkdir()
    write_image(folder / "a.nii.gz", head(0))
    write_image(folder / "b.nii.gz", head(0, BANDS | {0.5: 999}))
    write_image(folder / "c.nii.gz", head(0, {1.0: SKIN}))
    (folder / "d.nii.gz").write_bytes((folder / "a.nii.gz").read_bytes()[:400])
    write_image(folder / "e.nii.gz", Image(np.full((5, 6, 7), 0.5, np.float32), np.eye(4)))
    with pytest.raises(FailedSubjectsError) as caught:
        phantom(out, subjects=5, anatomies=folder, preview=True, **OPTIONS)
    message = str(caught.value)
    assert message.startswith("4 of 5 subjects failed: sim001 (")
    for expected in (
        "b.nii.gz: the table `freesurfer` has no tissue for label 999; choose another --table",
        "c.nii.gz: no voxel is brain by the table `freesurfer`; choose another --table",
        "d.nii.gz: the file is damaged",
        "e.nii.gz: expected whole numbers from 0 to 65535",
    ):
        assert expected in message
    assert [row.subject_id for row in read_manifest(out / "manifest.csv").rows] == ["sim000"]
    assert (out / "preview.png").is_file()


def test_a_label_map_with_several_volumes_is_named(tmp_path):
    import nibabel as nib

    (tmp_path / "maps").mkdir()
    nib.save(nib.Nifti1Image(np.ones((5, 6, 7, 2), np.uint8), np.eye(4)), tmp_path / "maps" / "a.nii.gz")
    with pytest.raises(FailedSubjectsError, match=r"sim000 \(.*a\.nii\.gz: .*\(5, 6, 7, 2\)"):
        phantom(tmp_path / "out", subjects=1, anatomies=tmp_path / "maps", **OPTIONS)


def test_a_map_of_the_brain_alone_is_no_head(tmp_path):
    (tmp_path / "maps").mkdir()
    write_image(tmp_path / "maps" / "a.nii.gz", head(0, {0.78: CORTEX, 0.66: WHITE}))
    with pytest.raises(FailedSubjectsError, match=r"a\.nii\.gz: no voxel lies outside the brain.*--region brain"):
        phantom(tmp_path / "out", subjects=1, anatomies=tmp_path / "maps", region="head", **OPTIONS)
    phantom(tmp_path / "out", subjects=1, anatomies=tmp_path / "maps", fresh=True, **OPTIONS)
    assert read_labels(tmp_path / "out" / "sim000" / "mask.nii.gz").array.any()


def test_a_brain_of_a_few_voxels_is_one_sentence(tmp_path):
    (tmp_path / "maps").mkdir()
    labels = np.zeros((5, 6, 7), np.uint8)
    labels[2, 3, 3] = CORTEX
    write_image(tmp_path / "maps" / "a.nii.gz", Image(labels, np.diag([2.0, 2, 2, 1])))
    with pytest.raises(
        FailedSubjectsError, match=r"the brain has 0\.\d+ ml, expected at least 100; correct the voxel size"
    ):
        phantom(tmp_path / "out", subjects=1, anatomies=tmp_path / "maps", **OPTIONS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"table": "aseg"}, r"no table `aseg`; there are freesurfer, freesurfer_tumor, three_tissues"),
        ({"region": "face"}, r"--region face: expected brain or head"),
        ({"anatomies": None, "region": "head"}, r"give their folder with --anatomies"),
        ({"anatomies": None, "table": "three_tissues"}, r"give their folder with --anatomies"),
    ],
)
def test_nonsense_is_refused_before_anything_is_written(anatomies, tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        phantom(tmp_path / "out", **{"subjects": 1, "anatomies": anatomies, **OPTIONS, **options})
    assert not (tmp_path / "out").exists()


def test_folders_without_label_maps(tmp_path):
    with pytest.raises(PhantomError, match=r"there is no such folder.*volumetric fetch label-maps"):
        find_label_maps(tmp_path / "absent")
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(PhantomError, match=r"no label maps \(\*\.nii\.gz, \*\.nii\).*volumetric fetch label-maps"):
        find_label_maps(tmp_path)
    write_image(tmp_path / "a.nii", head())
    write_image(tmp_path / "a.nii.gz", head())
    with pytest.raises(PhantomError, match=r"a\.nii and a\.nii\.gz differ in their ending alone; keep one"):
        find_label_maps(tmp_path)


def test_a_label_map_that_changes_meanwhile_is_noticed(anatomies, tmp_path):
    (tmp_path / "a.nii.gz").write_bytes((anatomies / "head_0.nii.gz").read_bytes())
    (file,) = find_label_maps(tmp_path)
    write_image(file.path, head(2))
    with pytest.raises(PhantomError, match="changed while the cohort was made; repeat the call"):
        module._prepared(file, "freesurfer", ())


def test_a_record_of_the_other_kind_of_cohort_is_refused(brains):
    from volumetric.cohort.phantom import PhantomRecord

    with pytest.raises(RecordError, match="repeat `volumetric phantom`"):
        PhantomRecord.read(brains / "phantom.json")


def test_few_label_maps_leave_splits_empty(anatomies, tmp_path, caplog):
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps" / "a.nii.gz").write_bytes((anatomies / "head_0.nii.gz").read_bytes())
    with caplog.at_level("WARNING"):
        phantom(tmp_path / "out", subjects=1, anatomies=tmp_path / "maps", **OPTIONS)
    assert "no subject is in val or test: all subjects of a label map are in one split" in caplog.text
