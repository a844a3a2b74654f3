import gzip
import logging

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import EnhancedMRImageStorage, ExplicitVRLittleEndian, MRImageStorage

from tests.conftest import brain_pair, oblique_affine
from volumetric.cli import main
from volumetric.cohort.dicom import DicomError
from volumetric.cohort.discover import discover
from volumetric.cohort.headers import Series, acquisition_of, age_of, patient_of
from volumetric.imaging.nifti import read_image
from volumetric.manifest import read_manifest

NAME, PATIENT, BIRTH = "Mustermann^Erika", "HOSP4711", "19640812"
SHAPE = (14, 18, 16)
T1W = {"ScanningSequence": "GR", "SequenceVariant": ["SP", "MP"], "EchoTime": 2.98, "RepetitionTime": 2300.0,
       "InversionTime": 900.0, "FlipAngle": 9.0, "MRAcquisitionType": "3D", "SeriesDescription": "mprage"}  # fmt: skip
T2W = {"ScanningSequence": "SE", "SequenceVariant": "SK", "EchoTime": 100.0, "RepetitionTime": 6000.0,
       "FlipAngle": 150.0, "MRAcquisitionType": "2D", "SeriesDescription": "t2 tse"}  # fmt: skip
LPS = np.diag([-1.0, -1, 1, 1])


def volume(seed=0, shape=SHAPE):
    return np.random.default_rng(seed).integers(0, 2000, shape).astype(np.uint16)


def header(uid, affine, array, *, study="1.2.3", series_number=1, **values):
    """A header without pixels; `affine` (RAS) belongs to `array` (I, J, K) with slices along the last axis."""
    head = FileDataset("", {}, file_meta=FileMetaDataset(), preamble=b"\0" * 128)
    head.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    head.PatientName, head.PatientID, head.PatientBirthDate = NAME, PATIENT, BIRTH
    head.PatientAge, head.PatientSex, head.Modality, head.MagneticFieldStrength = "061Y", "F", "MR", 3.0
    head.ImageComments = f"for {NAME}"
    head.StudyInstanceUID, head.SeriesInstanceUID, head.SeriesNumber = study, uid, series_number
    head.FrameOfReferenceUID = "1.2.9"
    head.StudyDate, head.StudyTime, head.Manufacturer = "20250301", "101500", "SIEMENS"
    head.ImageType = ["ORIGINAL", "PRIMARY", "M", "NORM"]
    head.Rows, head.Columns = array.shape[1], array.shape[0]
    head.SamplesPerPixel, head.PhotometricInterpretation = 1, "MONOCHROME2"
    head.BitsAllocated, head.BitsStored, head.HighBit, head.PixelRepresentation = 16, 16, 15, 0
    for key, value in values.items():
        setattr(head, key, value)
    return head


def place(affine, k):
    """Position and orientation of slice k, in DICOM's LPS."""
    lps = LPS @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    orientation = [*(lps[:3, 0] / spacing[0]), *(lps[:3, 1] / spacing[1])]
    position = lps[:3, 3] + k * lps[:3, 2]
    return [f"{x:.9f}" for x in position], [f"{x:.11f}" for x in orientation], spacing


def write_series(folder, uid, affine, array, *, skip=(), **values):
    folder.mkdir(parents=True, exist_ok=True)
    for k in set(range(array.shape[2])) - set(skip):
        head = header(uid, affine, array, **values)
        head.file_meta.MediaStorageSOPClassUID = head.SOPClassUID = MRImageStorage
        head.file_meta.MediaStorageSOPInstanceUID = head.SOPInstanceUID = f"{uid}.{k + 1}"
        head.InstanceNumber = k + 1
        head.ImagePositionPatient, head.ImageOrientationPatient, spacing = place(affine, k)
        head.PixelSpacing = [f"{spacing[1]:.6f}", f"{spacing[0]:.6f}"]
        head.SliceThickness = f"{spacing[2]:.6f}"
        head.PixelData = array[:, :, k].T.tobytes()
        head.save_as(folder / f"IM{k + 1:04d}.dcm", enforce_file_format=True)


def one(**values):
    item = Dataset()
    for key, value in values.items():
        setattr(item, key, value)
    return Sequence([item])


def write_enhanced(path, uid, affine, array, **values):
    path.parent.mkdir(parents=True, exist_ok=True)
    head = header(uid, affine, array, **values)
    head.file_meta.MediaStorageSOPClassUID = head.SOPClassUID = EnhancedMRImageStorage
    head.file_meta.MediaStorageSOPInstanceUID = head.SOPInstanceUID = f"{uid}.1"
    head.InstanceNumber, head.NumberOfFrames = 1, array.shape[2]
    head.EchoPulseSequence, head.MRAcquisitionType, head.SeriesDescription = "SPIN", "3D", "t2 space"
    shared = Dataset()
    shared.MRTimingAndRelatedParametersSequence = one(RepetitionTime=3200.0, FlipAngle=120.0)
    shared.MREchoSequence = one(EffectiveEchoTime=408.0)
    spacing = place(affine, 0)[2]
    shared.PixelMeasuresSequence = one(
        PixelSpacing=[f"{spacing[1]:.6f}", f"{spacing[0]:.6f}"], SliceThickness=f"{spacing[2]:.6f}"
    )
    head.SharedFunctionalGroupsSequence = Sequence([shared])
    frames = []
    for k in range(array.shape[2]):
        position, orientation, _ = place(affine, k)
        frame = Dataset()
        frame.FrameContentSequence = one(StackID="1", InStackPositionNumber=k + 1, DimensionIndexValues=[1, k + 1])
        frame.PlanePositionSequence = one(ImagePositionPatient=position)
        frame.PlaneOrientationSequence = one(ImageOrientationPatient=orientation)
        frames.append(frame)
    head.PerFrameFunctionalGroupsSequence = Sequence(frames)
    head.PixelData = array.transpose(2, 1, 0).tobytes()
    head.save_as(path, enforce_file_format=True)


def assert_same_image(path, array, affine):
    """The same voxels at the same places, whichever way the file's axes run."""
    image = read_image(path)
    indices = np.array(np.unravel_index(np.arange(array.size), array.shape))
    world = affine @ np.vstack([indices, np.ones(array.size)])
    found = np.linalg.inv(image.affine) @ world
    np.testing.assert_allclose(found, np.rint(found), atol=2e-3)
    i, j, k = np.rint(found[:3]).astype(int)
    np.testing.assert_array_equal(image.array[i, j, k], array.ravel())
    assert image.array.size == array.size


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """One subject with T1w and T2w, a localizer, a cut-off and a holed series; another with a multi-frame T2w."""
    root = tmp_path_factory.mktemp("dicom") / "export"
    affine = oblique_affine(spacing=(1.1, 0.9, 2.5))
    erika = root / "Mustermann_Erika_19640812"
    write_series(erika / "1", "1.2.3.1", affine, volume(1), series_number=2, **T1W)
    write_series(erika / "2", "1.2.3.2", affine, volume(2), series_number=3, **T2W)
    write_series(erika / "3", "1.2.3.3", affine, volume(3)[:, :, :3], series_number=1, **T2W)
    write_series(erika / "4", "1.2.3.4", affine, volume(4), series_number=4, **T2W)
    cut = erika / "4" / "IM0007.dcm"
    cut.write_bytes(cut.read_bytes()[:-100])
    write_series(erika / "5", "1.2.3.5", affine, volume(5), series_number=5, skip=(6,), **T2W)
    (erika / "5" / "IM0007.dcm").write_bytes(b"not a header at all")
    write_enhanced(root / "Doe" / "IM0001", "1.2.4.1", affine, volume(6), study="1.2.4", PatientID="X9")
    return root, affine


@pytest.fixture(scope="module")
def found(tree, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "cohort.csv"
    return discover(tree[0], out, seed=1), out


def test_series_are_found_classified_and_named_by_pseudonyms(found):
    discovery, out = found
    assert discovery.layout == "dicom"
    rows = {row.subject_id: row for row in read_manifest(out).rows}
    # Doe comes before Mustermann in the order of paths
    assert {name: sorted(row.paths) for name, row in rows.items()} == {"p001": ["t2w"], "p002": ["t1w", "t2w"]}
    assert dict(rows["p002"].covariates) == {"age": "61", "sex": "F", "field_strength": "3.0"}


def test_geometry_and_voxels_are_the_scanners(found, tree):
    rows = {row.subject_id: row for row in found[0].rows}
    assert_same_image(rows["p002"].path("t1w"), volume(1), tree[1])
    assert_same_image(rows["p002"].path("t2w"), volume(2), tree[1])
    assert_same_image(rows["p001"].path("t2w"), volume(6), tree[1])


def test_what_is_left_out_is_named_with_the_reason(found):
    reasons = dict(found[0].skipped)
    assert reasons["p002 series 1 (3 files)"] == "3 slices, expected at least 12: a localizer or a slab"
    assert reasons["series 4 (16 files)"].startswith("one of its files is cut off")
    assert reasons["IM0007.dcm (file 43 of 68 in order of paths)"].startswith("cut off: 100 bytes are missing")
    assert reasons["IM0007.dcm (file 59 of 68 in order of paths)"].startswith("not a DICOM file (no preamble)")
    assert reasons["p002 series 5 (15 files)"] == "slices are missing: they lie 2.50 mm apart, in one place 5.00"
    assert len(reasons) == 5


def test_no_name_number_or_birth_date_is_in_any_output(tree, tmp_path, caplog, capsys):
    caplog.set_level(logging.DEBUG)
    discover(tree[0], tmp_path / "cohort.csv")
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".csv", ".gz"}
    content = [gzip.decompress(p.read_bytes()) if p.suffix == ".gz" else p.read_bytes() for p in files]
    printed = capsys.readouterr()
    texts = [
        *content,
        *(p.as_posix().encode() for p in files),
        caplog.text.encode(),
        (printed.out + printed.err).encode(),
    ]
    for secret in ("Mustermann", "Erika", PATIENT, BIRTH, "Doe", "X9"):
        assert not any(secret.lower().encode() in text.lower() for text in texts), secret


def test_repeating_converts_nothing_again_even_among_the_scans(tree, tmp_path):
    import shutil

    root = tmp_path / "scans"
    shutil.copytree(tree[0] / "Doe", root / "Doe")
    first = discover(root, root / "m.csv")
    (volume_path,) = (root / "m_nifti").glob("*.nii.gz")
    before = volume_path.stat().st_mtime_ns
    again = discover(root, root / "m.csv")
    assert volume_path.stat().st_mtime_ns == before
    assert first.rows == again.rows
    volume_path.write_bytes(volume_path.read_bytes()[:50])  # a damaged one is made again
    discover(root, root / "m.csv")
    assert_same_image(volume_path, volume(6), tree[1])
    assert [p.name for p in (root / "m_nifti").iterdir()] == [volume_path.name]


def test_folder_names_only_when_asked(tree, tmp_path):
    discovery = discover(tree[0], tmp_path / "m.csv", folder_names=True)
    assert [row.subject_id for row in discovery.rows] == ["Doe", "Mustermann_Erika_19640812"]
    assert "Mustermann_Erika_19640812/4/IM0007.dcm" in dict(discovery.skipped)


def test_sessions_are_numbered_by_date_and_the_last_3d_series_is_taken(tmp_path):
    affine = oblique_affine(spacing=(1.0, 1.0, 3.0))
    late, early = tmp_path / "in" / "a", tmp_path / "in" / "b"
    write_series(late, "1.5.1", affine, volume(1), study="1.5", StudyDate="20260101", **T1W)
    write_series(early / "1", "1.6.1", affine, volume(2), study="1.6", StudyDate="20240101", **T1W)
    write_series(early / "2", "1.6.2", affine, volume(3), study="1.6", StudyDate="20240101", series_number=2, **T1W)
    flat = T1W | {"MRAcquisitionType": "2D"}
    write_series(early / "3", "1.6.3", affine, volume(4), study="1.6", StudyDate="20240101", series_number=3, **flat)
    discovery = discover(tmp_path / "in", tmp_path / "m.csv")
    assert [(row.name, row.split) for row in discovery.rows] == [("p001/1", "train"), ("p001/2", "train")]
    assert_same_image(discovery.rows[0].path("t1w"), volume(3), affine)
    assert_same_image(discovery.rows[1].path("t1w"), volume(1), affine)
    assert [reason.partition(";")[0] for _, reason in discovery.skipped] == [
        "of several series, original comes before derived, 3D before 2D, then the last one"
    ] * 2


def test_two_echoes_of_one_series_are_two_contrasts(tmp_path):
    affine = oblique_affine(spacing=(1.0, 1.2, 3.0))
    short = T2W | {"EchoTime": 12.0, "SeriesDescription": "pd+t2"}
    write_series(tmp_path / "in" / "a", "1.7.1", affine, volume(1), **short)
    write_series(tmp_path / "in" / "b", "1.7.1", affine, volume(2), **(short | {"EchoTime": 95.0}))
    (row,) = discover(tmp_path / "in", tmp_path / "m.csv").rows
    assert_same_image(row.path("pdw"), volume(1), affine)
    assert_same_image(row.path("t2w"), volume(2), affine)


def test_a_missing_package_names_the_command(tree, tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "dcm2niix", None)
    with pytest.raises(DicomError, match=r"dcm2niix.*pip install 'volumetric\[dicom\]'"):
        discover(tree[0], tmp_path / "m.csv", layout="dicom")


@pytest.mark.real
def test_real_scans_come_through_dicom_unchanged(real_scans, tmp_path):
    volumes = {}
    for contrast, values in (("t1w", T1W), ("t2w", T2W)):
        scan = read_image(real_scans / f"ljubljana_ms/raw/patient04_study1/{contrast}.nii.gz")
        # every image as a slice would take long: the middle 20 slices, at a quarter of the resolution in them
        middle = scan.array.shape[2] // 2 - 10
        array = scan.array[::4, ::4, middle : middle + 20]
        volumes[contrast] = np.rint(array * (2000 / array.max())).astype(np.uint16)
        affine = scan.affine @ np.diag([4, 4, 1, 1])
        affine[:3, 3] += scan.affine[:3, 2] * middle
        volumes[contrast, "affine"] = affine
        write_series(tmp_path / "in" / contrast, f"1.8.{contrast[1]}", affine, volumes[contrast], **values)
    (row,) = discover(tmp_path / "in", tmp_path / "m.csv").rows
    for contrast in ("t1w", "t2w"):
        assert_same_image(row.path(contrast), volumes[contrast], volumes[contrast, "affine"])


def test_files_that_are_no_images_are_passed_over(tree, tmp_path):
    affine = oblique_affine(spacing=(1.0, 1.2, 3.0))
    folder = tmp_path / "in" / "Mustermann"
    write_series(folder, "1.9.1", affine, volume(1), **T1W)
    whole = (folder / "IM0001.dcm").read_bytes()
    report = header("1.9.2", affine, volume(1))
    del report.Rows
    report.file_meta.MediaStorageSOPClassUID = report.SOPClassUID = "1.2.840.10008.5.1.4.1.1.88.11"
    report.file_meta.MediaStorageSOPInstanceUID = report.SOPInstanceUID = "1.9.2.1"
    report.save_as(folder / "SR01", enforce_file_format=True)
    (folder / "XX01").write_bytes(whole[:160])
    (folder / "Mustermann.txt").write_text(NAME)
    discovery = discover(tmp_path / "in", tmp_path / "m.csv")
    assert [sorted(row.paths) for row in discovery.rows] == [["t1w"]]
    labels = [path for path, _ in discovery.skipped]
    assert labels == ["SR01 (file 18 of 19 in order of paths)", "XX01 (file 19 of 19 in order of paths)"]
    assert discovery.skipped[0].reason == "it holds no image: a report, or the file is cut off"


def test_enhanced_headers_say_the_same_in_other_words():
    affine, array = oblique_affine(), volume(1)
    head = header("1.9.3", affine, array, EchoPulseSequence="GRADIENT", InversionRecovery="YES", Spoiling="RF")
    head.SOPClassUID = EnhancedMRImageStorage
    shared, frame = Dataset(), Dataset()
    shared.MRTimingAndRelatedParametersSequence = one(RepetitionTime=2300.0, FlipAngle=9.0)
    shared.MRModifierSequence = one(InversionTimes=[900.0])
    shared.PlaneOrientationSequence = one(ImageOrientationPatient=place(affine, 0)[1])
    frame.MREchoSequence = one(EffectiveEchoTime=2.98)
    frame.PlanePositionSequence = one(ImagePositionPatient=place(affine, 0)[0])
    head.SharedFunctionalGroupsSequence, head.PerFrameFunctionalGroupsSequence = Sequence([shared]), Sequence([frame])
    settings = acquisition_of(Series(((None, head),)))
    assert settings.techniques == {"GR", "IR"}
    assert settings.variants == {"MP", "SP"}
    times = (settings.echo_time_ms, settings.repetition_time_ms, settings.inversion_time_ms, settings.flip_angle_deg)
    assert times == (2.98, 2300.0, 900.0, 9.0)
    assert (settings.num_slices, settings.num_orientations) == (1, 1)


def test_ages_and_patients():
    assert [age_of(t) for t in ("045Y", "018M", "102Y", "", "Y", "45")] == ["45", "1.5", "90", "", "", ""]
    head = header("1", oblique_affine(), volume())
    assert patient_of(head) == (PATIENT, BIRTH)
    head.PatientID = ""
    assert patient_of(head) == (NAME, BIRTH)
    head.PatientName = ""
    assert patient_of(head) == ("1.2.3",)


@pytest.fixture
def infer(run_folder, tmp_path, monkeypatch, capsys):
    """`volumetric infer` of one input into `tmp_path/out`: exit status and standard error."""

    def run(*inputs):
        command = ["volumetric", "infer", *inputs, "--model", run_folder, "--as-is", "--out", tmp_path / "out"]
        monkeypatch.setattr("sys.argv", [str(word) for word in command])
        with pytest.raises(SystemExit) as stop:
            main()
        return stop.value.code, capsys.readouterr().err

    return run


def test_infer_converts_a_dicom_folder_on_the_way(infer, tmp_path):
    array = brain_pair(3)[0].array.round().astype(np.uint16)
    affine = oblique_affine(spacing=(4.0, 4.5, 5.0))
    for number, settings in ((7, T1W), (8, T2W)):
        folder = tmp_path / "export" / NAME / str(number)
        write_series(folder, f"1.2.3.{number}", affine, array, series_number=number, **settings)
    assert infer(tmp_path / "export", "--dry-run")[0] == 0
    assert not (tmp_path / "out").exists()
    status, error = infer(tmp_path / "export")
    assert status == 0, error
    (path,) = (tmp_path / "out" / "sub-p001").rglob("*_desc-synth_T2w.nii.gz")
    (source,) = (tmp_path / "out" / "dicom_nifti").glob("*_t1w.nii.gz")
    assert_same_image(source, array, affine)
    assert read_image(path).array.shape == read_image(source).array.shape
    np.testing.assert_array_equal(read_image(path).affine, read_image(source).affine)
    written = path.stat().st_mtime_ns
    assert infer(tmp_path / "export")[0] == 0
    assert path.stat().st_mtime_ns == written


def test_infer_names_the_way_out_for_two_dicom_folders_and_for_a_lone_file(infer, tmp_path):
    for name in ("a", "b"):
        write_series(tmp_path / name, "1.2.3.1", np.eye(4), volume(), **T1W)
    status, error = infer(tmp_path / "a", tmp_path / "b")
    assert (status, "give the folder above them" in error) == (2, True)
    status, error = infer(tmp_path / "a" / "IM0001.dcm")
    assert (status, "the folder of a DICOM series" in error) == (2, True)
