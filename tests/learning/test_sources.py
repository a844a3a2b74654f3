"""Simulated sources on scanned targets: label maps of ellipsoids whose scans are known voxel by voxel."""

import numpy as np
import pytest
import torch

from tests.simulation.label_maps import LABELS, label_map
from volumetric.config.mixture import MixtureConfig
from volumetric.config.resolve import resolve
from volumetric.errors import InputError
from volumetric.imaging.nifti import write_image
from volumetric.learning.anatomies import label_maps_of_scans
from volumetric.learning.data import PatchDraws, patch_batches
from volumetric.learning.mixture import counted_draws, has_simulated_source, pair_of
from volumetric.learning.train import _read_cohort, train
from volumetric.manifest import ManifestError, read_manifest

T2W = {"white": 100.0, "cortex": 150.0, "fluid": 400.0, "ventricle": 420.0, "putamen": 60.0}
PLAIN = ["bias=0", "noise=0", "ringing_probability=0", "thick_slice_probability=0"]
SPACING = (4.0, 5.0, 4.4)


def write_subject(folder, name, *, outside=False):
    """A subject whose T2w has one value a label, on an oblique grid of unequal sides; its T1w is of no use."""
    image = label_map(shape=(44, 40, 42), spacing_mm=SPACING, outside=outside)
    t2w = np.select([image.array == LABELS[tissue] for tissue in T2W], list(T2W.values()), 0.0)
    t1w = np.where(t2w > 0, 50 + np.random.default_rng(0).uniform(0, 9, t2w.shape), 0)
    for contrast, array in (("t1w", t1w), ("t2w", t2w)):
        write_image(folder / f"{name}_{contrast}.nii.gz", image.with_array(array.astype(np.float32)))
    write_image(folder / f"{name}_labels.nii.gz", image)
    return image


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    """Two subjects with scans and labels, one with scans alone."""
    folder = tmp_path_factory.mktemp("labeled_scans")
    rows = ["subject_id,split,t1w,t2w,labels"]
    for name in ("a", "b", "c"):
        write_subject(folder, name)
        rows.append(
            f"{name},train,{name}_t1w.nii.gz,{name}_t2w.nii.gz,{f'{name}_labels.nii.gz' if name != 'c' else ''}"
        )
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
    return folder / "manifest.csv"


def configured(*settings, share=1.0):
    simulation = [f"simulation.{setting}" for setting in PLAIN]
    return resolve("tiny", [*simulation, "optim.num_steps=6", f"mixture.simulated_source={share}", *settings])


def draws(manifest, config, tmp_path):
    cohort = _read_cohort(read_manifest(manifest), config, tmp_path / "run", None)
    return PatchDraws(cohort.train, config, cohort.spec), cohort


def explained(source, classes):
    """Share of the variance of a source that the classes of its voxels explain."""
    means = {value: source[classes == value].mean() for value in np.unique(classes)}
    return np.var([means[value] for value in classes]) / source.var()


def test_a_simulated_source_lies_on_the_target_voxel_by_voxel(manifest, tmp_path):
    """Moved by one voxel along any axis, the labels of the target explain less of it."""
    config = configured("patch.size=[24,28,32]")
    patches, cohort = draws(manifest, config, tmp_path)
    num = 0
    for draw in range(3):
        if pair_of(draw, cohort.train, config).anatomy is None:
            continue
        for patch in patches[draw]:
            source, target, mask = (patch[key][0].numpy() for key in ("source", "target", "mask"))
            inside = mask.copy()
            inside[[0, -1]] = inside[:, [0, -1]] = inside[:, :, [0, -1]] = False
            classes = target.round(3)
            at_home = explained(source[inside], classes[inside])
            assert at_home > 0.8
            for axis in range(3):
                for step in (-1, 1):
                    moved = np.roll(classes, step, axis)
                    assert explained(source[inside], moved[inside]) < at_home - 0.01
            num += 1
    assert num == 4


def test_the_target_and_the_place_of_the_patch_are_those_of_the_scanned_draw(manifest, tmp_path):
    settings = ["augmentation.flip_probability=0.5", "augmentation.affine_probability=1"]
    simulated, cohort = draws(manifest, configured(*settings), tmp_path)
    scanned = PatchDraws(cohort.train, configured(*settings, share=0.0), cohort.spec)
    for draw in range(6):
        has_map = pair_of(draw, cohort.train, configured()).anatomy is not None
        for a, b in zip(simulated[draw], scanned[draw], strict=True):
            assert torch.equal(a["target"], b["target"])
            assert torch.equal(a["mask"], b["mask"])
            assert torch.equal(a["source"], b["source"]) != has_map


def test_a_simulated_source_has_the_units_of_the_scans_brain_mask(manifest, tmp_path):
    """A patch as large as the brain has mean 0 and SD 1 after its z-score, from every third millimeter alone."""
    config = configured("patch.size=[40,40,40]", "intensity.source_normalization=zscore")
    patches, cohort = draws(manifest, config, tmp_path)
    draw = next(d for d in range(3) if pair_of(d, cohort.train, config).anatomy is not None)
    patch = patches[draw][0]
    inside = patch["source"][patch["mask"]]
    assert (patch["source"][~patch["mask"]] == patch["source"].flatten()[0]).all()
    assert float(inside.mean()) == pytest.approx(0, abs=0.1)
    assert float(inside.std()) == pytest.approx(1, abs=0.1)


def test_batches_are_the_same_bytes_with_and_without_workers(manifest, tmp_path):
    config = configured(share=0.5)
    _, cohort = draws(manifest, config, tmp_path)
    loaders = [
        patch_batches(cohort.train, config.model_copy(update={"num_workers": workers}), cohort.spec, first_step=first)
        for workers, first in ((0, 0), (2, 0), (0, 3))
    ]
    alone, several, resumed = (list(loader) for loader in loaders)
    for first, second in (*zip(alone, several, strict=True), *zip(alone[3:], resumed, strict=True)):
        for key in ("source", "target", "mask"):
            assert torch.equal(first[key], second[key])


def test_the_share_is_of_the_draws_of_subjects_with_a_label_map(manifest, tmp_path):
    config = configured("optim.num_steps=600", share=0.3)
    _, cohort = draws(manifest, config, tmp_path)
    kinds = {name: [] for name in "abc"}
    for draw in range(1200):
        pair = pair_of(draw, cohort.train, config)
        kinds[pair.name].append(has_simulated_source(draw, pair, config))
    assert np.mean(kinds["a"] + kinds["b"]) == pytest.approx(0.3, abs=0.05)
    assert not any(kinds["c"])
    num_draws = 600 * config.patch.batch_size // config.patch.num_per_volume
    drawn = [has_simulated_source(d, pair_of(d, cohort.train, config), config) for d in range(num_draws)]
    counted = counted_draws(cohort.train, [], config)
    assert counted == (
        f"draws: {sum(drawn)} with a source simulated from the label maps of 2 scanned subjects, "
        f"{num_draws - sum(drawn)} scanned"
    )
    assert counted_draws([pair for pair in cohort.train if pair.anatomy is None], [], config) == ""
    assert cohort.spec.training.num_label_maps == 2


def test_a_map_of_three_tissues_is_enough(tmp_path):
    """Fluid is darker than gray matter and that than white matter in each simulated T1w of a scanned T2w."""
    image = write_subject(tmp_path, "a")
    three = {"fluid": 1, "ventricle": 1, "cortex": 2, "putamen": 2, "white": 3}
    array = np.select([image.array == LABELS[tissue] for tissue in three], list(three.values()), 0)
    write_image(tmp_path / "a_labels.nii.gz", image.with_array(array.astype(np.uint8)))
    rows = "a,train,a_t1w.nii.gz,a_t2w.nii.gz,a_labels.nii.gz\n"
    (tmp_path / "m.csv").write_text(f"subject_id,split,t1w,t2w,labels\n{rows}")
    config = configured("simulation.table=three_tissues", "patch.size=[40,40,40]", "space.spacing_mm=null")
    patches, _ = draws(tmp_path / "m.csv", config, tmp_path)
    patch = patches[0][0]
    source, target = (patch[key][patch["mask"]].numpy() for key in ("source", "target"))
    _, classes = np.unique(target.round(3), return_inverse=True)
    putamen, white, cortex, fluid, ventricle = (source[classes == place].mean() for place in range(5))
    assert white > cortex > fluid
    assert white > putamen > ventricle


def test_a_training_learns_from_simulated_sources(manifest, tmp_path, caplog):
    with caplog.at_level("INFO"):
        train([manifest], configured("optim.num_steps=2", "validation.every_steps=2"), tmp_path / "run")
    assert "with a source simulated from the label maps of 2 scanned subjects" in caplog.text


def test_label_maps_on_another_grid_are_listed(manifest, tmp_path):
    image = label_map(shape=(30, 31, 32), spacing_mm=(5, 5, 5), outside=False)
    write_image(tmp_path / "other.nii.gz", image)
    folder = manifest.parent
    rows = f"a,train,{folder}/a_t1w.nii.gz,{folder}/a_t2w.nii.gz,other.nii.gz\n"
    (tmp_path / "m.csv").write_text(f"subject_id,split,t1w,t2w,labels\n{rows}")
    with pytest.raises(ManifestError, match="subject a: `labels` lies on another grid than `t2w`; resample it there"):
        draws(tmp_path / "m.csv", configured(), tmp_path)


def test_a_map_of_a_brain_gives_no_source_of_a_head(manifest, tmp_path):
    config = configured()
    head = config.model_copy(update={"mask": config.mask.model_copy(update={"kind": "head"})})
    with pytest.raises(ManifestError, match="subject a: in its `labels` nothing lies outside the brain"):
        label_maps_of_scans(read_manifest(manifest).rows, head, tmp_path / "cache")


def test_scans_without_label_maps_have_no_simulated_sources(cohort, tmp_path):
    with pytest.raises(InputError, match="no training row with scans has a label map; fill its `labels` column"):
        train([cohort], configured(), tmp_path / "run")


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        (["task.sources=[t1w,flair]"], "only a t1w or a t2w alone is simulated, not t1w and flair"),
        (["task.sources=[flair]"], "only a t1w or a t2w alone is simulated, not flair"),
        (["mixture.simulated=1", "space.spacing_mm=[2,2,2]"], "leaves no scanned draw for mixture.simulated_source"),
    ],
)
def test_settings_that_simulate_no_source_are_refused(settings, problem):
    with pytest.raises(InputError, match=problem):
        configured(*settings)


def test_a_target_of_any_contrast_may_have_a_simulated_source():
    assert configured("task.target=flair").mixture == MixtureConfig(simulated_source=1)
