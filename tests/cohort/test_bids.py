import pytest

from volumetric.cohort.bids import column_of, parse_name


def test_bids_names():
    assert parse_name("sub-01_ses-2_T1w.nii.gz").entities == {"sub": "01", "ses": "2"}
    for wrong in (
        "T1w.nii.gz",
        "ses-1_T1w.nii.gz",
        "sub-01_sub-02_T1w.nii.gz",
        "sub-01_T1w_brain.nii.gz",
        "sub_T1w.nii",
    ):
        assert parse_name(wrong) is None


@pytest.mark.parametrize(
    ("name", "column", "reason"),
    [
        ("sub-1_acq-hires_T1w.nii.gz", "t1w", ""),
        ("sub-1_PD.nii.gz", "pdw", ""),
        ("sub-1_desc-brain_mask.nii.gz", "mask", ""),
        ("sub-1_mask.nii.gz", "mask", ""),
        ("sub-1_label-lesion_roi.nii.gz", "lesions", ""),
        ("sub-1_label-GM_mask.nii.gz", "", "neither a brain mask nor a lesion mask"),
        ("sub-1_dseg.nii.gz", "", "numbered differently"),
        ("sub-1_bold.nii.gz", "", "the suffix bold is none of T1w, T2w, PDw, PD, FLAIR, mask"),
        ("sub-1_chunk-2_T1w.nii.gz", "", "a part of the volume"),
        ("sub-1_part-phase_T2w.nii.gz", "", "no magnitude"),
    ],
)
def test_columns_of_names(name, column, reason):
    result, text = column_of(parse_name(name))
    assert result == column
    assert reason in text
    assert bool(column) != bool(text)
