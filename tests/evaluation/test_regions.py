from pathlib import Path

import numpy as np
import pytest

from tests.evaluation.subjects import normalized_pair
from volumetric.evaluation.regions import RegionError, regions
from volumetric.imaging.nifti import Image
from volumetric.manifest import ManifestRow


def test_regions_are_those_given_inside_the_brain():
    bare = normalized_pair()
    labels = np.resize(np.arange(4), bare.mask.shape).astype(np.uint8)
    affine = bare.space.affine
    maps = {"tissues": Image(labels, affine), "lesions": Image((labels == 2).astype(np.uint8), affine)}
    subject = normalized_pair(labels=maps)
    masks, tissues = regions(subject, data_range=2.5, automatic=False)
    assert list(masks) == ["brain", "whole", "foreground", "csf", "gm", "wm", "lesions"]
    assert np.array_equal(masks["gm"], (labels == 2) & subject.mask)
    assert np.array_equal(masks["lesions"], masks["gm"])
    assert np.array_equal(masks["foreground"], subject.mask & (subject.truth > 0.0625))
    assert np.array_equal(tissues, labels)


def test_without_labels_there_are_no_tissues_unless_they_are_segmented():
    masks, tissues = regions(normalized_pair(), data_range=2.5, automatic=False)
    assert list(masks) == ["brain", "whole", "foreground"]
    assert tissues is None
    masks, tissues = regions(normalized_pair(), data_range=2.5, automatic=True)
    assert list(masks)[3:] == ["csf", "gm", "wm"]
    assert np.array_equal(tissues > 0, masks["brain"])


def test_labels_on_another_grid_are_refused(tmp_path):
    file = tmp_path / "lesions.nii.gz"
    file.touch()
    subject = normalized_pair()
    labels = {"lesions": Image(np.ones((2, 3, 4), np.uint8), subject.space.affine)}
    object.__setattr__(subject, "labels", labels)
    object.__setattr__(subject, "row", ManifestRow("p", paths={"lesions": Path(file)}))
    with pytest.raises(RegionError, match=r"subject p: `lesions` .* different grids"):
        regions(subject, data_range=2.5, automatic=False)
