import pytest

from volumetric.cohort.folders import PatternError, compile_pattern, contrast_of


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("{subject_id}.nii.gz", "expected {contrast} in it"),
        ("{contrast}.nii.gz", "expected {subject_id} in it"),
        ("{subject_id}/{contrast}", "end in .nii.gz"),
        ("{subject_id}/{contrast}_{split}.nii.gz", "{split} would be taken"),
        ("{subject_id}/{contrast}_{2}.nii.gz", "name of letters"),
    ],
)
def test_patterns_that_are_none(pattern, message):
    with pytest.raises(PatternError) as caught:
        compile_pattern(pattern)
    assert message in str(caught.value)


def test_spellings_of_contrasts():
    spelled = ("T1", "t1-w", "MPRAGE", "T2_FLAIR", "FLAIR", "PD", "T2w", "t1ce", "T2star", "seg")
    expected = ["t1w", "t1w", "t1w", "flair", "flair", "pdw", "t2w", None, None, None]
    assert [contrast_of(text) for text in spelled] == expected
