from typing import get_args

import numpy as np
import pytest
from monai.data import MetaTensor

from tests.conftest import brain_pair
from volumetric.config.run import SourceNormalization
from volumetric.imaging.mask import brain_mask
from volumetric.imaging.normalization import NORMALIZERS
from volumetric.transforms import NormalizeInMaskd, ToModelSpaced, learn_in_mask
from volumetric.transforms.tensors import to_tensor


def volume(seed):
    t1w, _ = brain_pair(seed)
    mask = brain_mask(t1w).array
    return ToModelSpaced("t1w")(
        {"t1w": to_tensor(t1w.array[None], t1w.affine), "mask": to_tensor(mask[None], t1w.affine)}
    )


@pytest.mark.parametrize("method", get_args(SourceNormalization))
def test_each_method_is_that_of_the_table_and_its_inverse_comes_back(method):
    cohort = [volume(seed) for seed in range(2)]
    learned = learn_in_mask(cohort, "t1w", method)
    transform = NormalizeInMaskd("t1w", method, learned=[learned] if learned else ())
    normalized = transform(cohort[0])
    array, mask = cohort[0]["t1w"].numpy()[0], cohort[0]["mask"].numpy()[0]
    expected = NORMALIZERS[method].fit(array, mask, "t1w", learned).apply(array, mask)
    assert isinstance(normalized["t1w"], MetaTensor)
    np.testing.assert_array_equal(normalized["t1w"].numpy()[0], expected)
    assert (normalized["t1w"].numpy()[0][~mask] == 0).all()
    np.testing.assert_allclose(transform.inverse(normalized)["t1w"].numpy()[0], array, atol=1e-4)


def test_zscore_by_hand():
    item = volume(0)
    inside = NormalizeInMaskd("t1w")(item)["t1w"].numpy()[item["mask"].numpy()]
    assert inside.mean() == pytest.approx(0, abs=1e-5)
    assert inside.std() == pytest.approx(1, rel=1e-5)


def test_a_patch_takes_the_numbers_of_its_volume():
    item = volume(0)
    patch = {key: item[key][:, 5:15, 5:15, 5:15] for key in ("t1w", "mask")} | {"measured": np.array([[0.5, 2.0]])}
    ours = NormalizeInMaskd("t1w", measured_key="measured")(patch)["t1w"].numpy()
    inside = patch["mask"].numpy()
    np.testing.assert_allclose(ours[inside], (patch["t1w"].numpy()[inside] - 0.5) / 2, rtol=1e-6)


def test_mistakes_name_the_way_out():
    with pytest.raises(ValueError, match="'stripes': expected one of zscore, pooled"):
        NormalizeInMaskd("t1w", "stripes")
    with pytest.raises(ValueError, match="'nyul' learns from a cohort"):
        NormalizeInMaskd("t1w", "nyul")
    assert learn_in_mask([], "t1w", "zscore") == ()
