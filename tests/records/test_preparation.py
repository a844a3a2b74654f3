"""Files of `prepare`: one list of columns, and what was written is read."""

import pytest

from volumetric.records.preparation import PairQuality, PreparationSidecar, Quality, QualityRow
from volumetric.records.record import RecordError

PAIR = PairQuality(
    contrast="t2w", moved_mm=1.25, moved_deg=0.5, nmi_before=1.03125, nmi_after=1.0625, residual_mm=0.125,
    residual_deg=0.25, overlap=1.0, snr=float("inf"),
)  # fmt: skip
QUALITY = Quality(reference="t1w", reference_snr=20.0, brain_ml=1400.0, mask_rule="given", pairs=(PAIR,), warnings=())


def test_quality_has_one_list_of_columns_whatever_its_first_row(tmp_path):
    rows = [
        QualityRow(subject_id="a", qc="fail", reasons="no `t1w`, no pair"),
        QualityRow(subject_id="b", session_id="1", qc="pass", snr=7.5, **PAIR.model_dump(exclude={"snr"})),
    ]
    QualityRow.write_table(tmp_path / "quality.csv", rows)
    assert (tmp_path / "quality.csv").read_text() == (
        "subject_id,session_id,qc,reasons,contrast,moved_mm,moved_deg,nmi_before,nmi_after,residual_mm,residual_deg,"
        "overlap,snr,reference_snr,brain_ml,mask_rule\n"
        'a,,fail,"no `t1w`, no pair",,,,,,,,,,,,\n'
        "b,1,pass,,t2w,1.25,0.5,1.03125,1.0625,0.125,0.25,1,7.5,,,\n"
    )
    assert QualityRow.read_table(tmp_path / "quality.csv") == rows


def test_the_sidecar_is_read_as_written_an_infinite_snr_too(tmp_path):
    sidecar = PreparationSidecar(
        subject_id="a", session_id="", files={"t1w": "t1w.nii.gz"}, files_sha256={"t1w.nii.gz": "ab"},
        quality=QUALITY, sources={"t1w": "/raw/t1w.nii"}, sources_sha256={"t1w": "cd"}, versions={"python": "3"},
    )  # fmt: skip
    sidecar.write(tmp_path / "preparation.json")
    assert PreparationSidecar.read(tmp_path / "preparation.json") == sidecar


def test_a_sidecar_of_version_0_1_is_one_sentence(tmp_path):
    (tmp_path / "preparation.json").write_text('{"files": {}, "quality": {}}')
    with pytest.raises(RecordError, match=r"format_version is None.*repeat `volumetric prepare`"):
        PreparationSidecar.read(tmp_path / "preparation.json")
