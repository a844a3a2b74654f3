import numpy as np
import pytest
import torch
from monai.data import CacheDataset, MetaTensor
from monai.transforms import Compose, LoadImaged

from tests.conftest import brain_pair, oblique_affine
from volumetric.imaging.nifti import Image, ImageError, write_image
from volumetric.outputs import hash_file
from volumetric.subject import SubjectError
from volumetric.transforms import BrainMaskd, LoadSubjectd, NiftiReader, unwrapped_errors

pytestmark = pytest.mark.filterwarnings("ignore:NvImgCodecPydicomReader")  # MONAI makes every reader it knows


@pytest.fixture
def files(tmp_path):
    paths = {contrast: tmp_path / f"{contrast}.nii.gz" for contrast in ("t1w", "t2w")}
    for path, image in zip(paths.values(), brain_pair(0), strict=True):
        write_image(path, image)
    return paths


def test_monais_loader_takes_our_reader_and_gives_the_same_voxels_at_the_same_place(files):
    t1w, _ = brain_pair(0)
    ours = LoadImaged("t1w", reader=NiftiReader(), ensure_channel_first=True)(dict(files))["t1w"]
    theirs = LoadImaged("t1w", reader="NibabelReader", ensure_channel_first=True)(dict(files))["t1w"]
    assert ours.shape == (1, *t1w.array.shape)
    np.testing.assert_array_equal(ours.numpy()[0], t1w.array)
    torch.testing.assert_close(ours.affine, theirs.affine)
    assert ours.meta["sha256"] == hash_file(files["t1w"])


def test_our_reader_refuses_what_monais_own_takes(tmp_path):
    broken = Image(np.full((4, 5, 6), np.nan, np.float32), oblique_affine())
    write_image(tmp_path / "nan.nii.gz", broken)
    assert torch.isnan(LoadImaged("t1w", reader="NibabelReader")({"t1w": tmp_path / "nan.nii.gz"})["t1w"]).all()
    with pytest.raises(ImageError, match=r"nan\.nii\.gz: 120 of 120 voxels are NaN"), unwrapped_errors():
        LoadImaged("t1w", reader=NiftiReader())({"t1w": tmp_path / "nan.nii.gz"})


def test_a_subject_comes_with_its_mask_rule_and_hashes(files, tmp_path):
    loaded = LoadSubjectd(["t1w", "t2w"])({"subject_id": "a", **files})
    t1w, t2w = brain_pair(0)
    assert isinstance(loaded["t2w"], MetaTensor)
    np.testing.assert_array_equal(loaded["t2w"].numpy()[0], t2w.array)
    np.testing.assert_array_equal(loaded["t1w"].affine.numpy(), t1w.affine.astype(np.float32).astype(float))
    assert loaded["mask"].dtype == torch.bool
    assert loaded["mask"].meta["rule"] == "nonzero"
    assert loaded["t2w"].meta["sha256"] == hash_file(files["t2w"])
    half = np.zeros(t1w.array.shape, bool)
    half[:15] = True
    write_image(tmp_path / "mask.nii.gz", t1w.with_array(half))
    given = LoadSubjectd(["t1w"])({**files, "mask": tmp_path / "mask.nii.gz"})
    assert given["mask"].meta["rule"] == "given"
    np.testing.assert_array_equal(given["mask"].numpy()[0], half)


def test_images_on_two_grids_are_one_sentence_that_names_the_subject_through_compose_too(files):
    t1w, _ = brain_pair(0)
    write_image(files["t2w"], t1w.with_array(t1w.array[1:]))
    transform = Compose([LoadSubjectd(["t1w", "t2w"])])
    with pytest.raises(SubjectError, match="subject a: `t2w` has shape"), unwrapped_errors():
        CacheDataset([{"subject_id": "a", **files}], transform, progress=False)
    with pytest.raises(RuntimeError, match="other"), unwrapped_errors():
        raise RuntimeError("other")


def test_the_mask_of_a_loaded_volume_is_that_of_a_subject(files):
    loaded = LoadSubjectd("t1w")(dict(files))
    again = BrainMaskd("t1w", mask_key="brain", given_key="given")(dict(loaded))
    assert torch.equal(again["brain"], loaded["mask"])
    half = loaded["mask"] & (torch.arange(loaded["mask"].shape[1]) < 15)[None, :, None, None]
    given = BrainMaskd("t1w", given_key="given")({**loaded, "given": half})["mask"]
    assert given.meta["rule"] == "given"
    assert torch.equal(given.as_tensor(), half.as_tensor())
    with pytest.raises(ValueError, match="expected a MetaTensor"):
        BrainMaskd("t1w")({"t1w": torch.zeros(2, 3, 4)})
