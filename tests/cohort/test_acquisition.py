from dataclasses import replace

import pytest

from volumetric.cohort.acquisition import Acquisition, classify


def sequence(techniques="SE", te=100.0, tr=6000.0, ti=None, flip=None, variants="", description="", **others):
    words = (frozenset(text.split()) for text in (techniques, variants))
    return Acquisition(
        "MR", *words, ("ORIGINAL", "PRIMARY", "M"), te, tr, ti, flip, description, **{"num_slices": 40} | others
    )


# Protocols as makers and public data sets publish them.
@pytest.mark.parametrize(
    ("expected", "measured"),
    [
        ("t1w", sequence("GR IR", 2.98, 2300, 900, 9, "SP MP")),  # ADNI MPRAGE, Siemens
        ("t1w", sequence("GR", 4.6, 9.8, None, 8)),  # IXI, Philips
        ("t1w", sequence("GR", 3.1, 7.4, 400, 11)),  # ADNI IR-SPGR, GE
        ("t1w", sequence("SE", 12, 600)),
        ("t1w", sequence("GR", 4, 250, None, 70)),  # 2D FLASH
        ("t1w", sequence("SE IR", 9, 2000, 860)),  # T1 FLAIR
        ("t2w", sequence("SE", 100, 8178)),  # IXI
        ("t2w", sequence("SE", 408, 3200)),  # SPACE
        ("pdw", sequence("SE", 8, 8178)),  # IXI
        ("flair", sequence("SE IR", 390, 5000, 1800)),  # SPACE FLAIR
        ("flair", sequence("SE IR", 120, 9000, 2500)),
    ],
)
def test_settings_decide(expected, measured):
    assert classify(measured) == (expected, "")
    contradicted = replace(measured, description="t2 tse" if expected != "t2w" else "t1 mprage")
    contrast, reason = classify(contradicted)
    assert contrast == ""
    assert f"those of {expected}" in reason


@pytest.mark.parametrize(
    ("reason", "left_out"),
    [
        ("a localizer", sequence(description="AAHead_Scout")),
        ("a localizer", sequence(num_orientations=3)),
        ("5 slices", sequence(num_slices=5)),
        ("TE", sequence("SE", 20, 1500)),
        ("description alone does not decide", sequence(te=None, description="T2 TSE")),
        ("neither T1w nor FLAIR", sequence("SE IR", 60, 4000, 160)),  # STIR
        ("T2*w", sequence("GR", 20, 650, None, 20)),
        ("balanced steady state", sequence("GR", 2.2, 4.6, None, 50, "SS")),
        ("little T1 weighting", sequence("GR", 3, 25, None, 4)),
        ("without a flip angle", sequence("GR", 3, 25)),
        ("echo-planar", sequence("EP SE", 80, 8000)),
        ("diffusion", sequence("SE", 80, 8000, b_value=1000.0)),
        ("an angiogram", sequence("GR", 6, 21, None, 18, "TOF SP")),
        ("contrast agent", sequence("SE", 12, 600, contrast_agent=True)),
        ("no magnitude", sequence(description="t1_map")),
        ("says flair", sequence("SE", 120, 9000, description="T2_FLAIR tra")),  # inversion time not written
    ],
)
def test_what_is_none_of_the_contrasts_is_left_out_with_the_reason(reason, left_out):
    contrast, why = classify(left_out)
    assert contrast == ""
    assert reason in why


def test_other_modalities_and_computed_series():
    assert classify(replace(sequence(), modality="CT"))[1] == "the modality is CT, not MR"
    assert "computed" in classify(replace(sequence(), image_type=("DERIVED", "PRIMARY", "MPR")))[1]
    assert "no magnitude" in classify(replace(sequence(), image_type=("ORIGINAL", "PRIMARY", "P")))[1]


def test_a_description_of_two_contrasts_forbids_neither():
    assert classify(sequence("SE", 12, 3000, description="PD+T2 dual"))[0] == "pdw"
    assert classify(sequence("SE", 95, 3000, description="PD+T2 dual"))[0] == "t2w"
