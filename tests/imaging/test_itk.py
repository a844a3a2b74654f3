"""Errors of ITK."""

import pytest
import SimpleITK as sitk

from volumetric.imaging.itk import ItkError, named_failure


def test_attack_9_an_error_of_itk_is_one_sentence_and_others_stay_as_they_are():
    with pytest.raises(ItkError) as caught, named_failure("subject a"):
        sitk.Image([2, 2], sitk.sitkUInt8).SetSpacing([1.0, 0.0])
    assert str(caught.value).startswith("subject a: ITK cannot work on these scans (")
    assert str(caught.value).endswith("); open them, and leave out or convert again what is damaged")
    assert "\n" not in str(caught.value)
    with pytest.raises(RuntimeError, match=r"^mine$"), named_failure("subject a"):
        raise RuntimeError("mine")
    with pytest.raises(RuntimeError, match="bad allocation"), named_failure("subject a"):
        raise RuntimeError("Exception thrown in SimpleITK: std::bad_alloc: bad allocation")
