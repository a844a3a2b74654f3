"""DICOM folders: series by their headers, subjects under pseudonyms, volumes through dcm2niix.

No name, birth date, patient number or path of a DICOM file leaves this module unless folder names are requested.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from volumetric.batch.progress import progress
from volumetric.cohort.acquisition import classify
from volumetric.cohort.candidates import Candidate, Listing, Skipped
from volumetric.cohort.headers import (
    Header,
    Series,
    acquisition_of,
    age_of,
    gap_of,
    missing_bytes,
    number,
    patient_of,
    study_of,
    text,
    value,
    words,
)
from volumetric.errors import InputError
from volumetric.imaging.header import ImageError
from volumetric.imaging.nifti import read_image, write_image
from volumetric.outputs import hash_bytes

INSTALL = "pip install 'volumetric[dicom]'"
_DICOMDIR = "1.2.840.10008.1.3.10"
_PLAIN_NAME = re.compile(r"[A-Za-z]{0,4}[-_.]?\d{1,5}(\.(dcm|ima|DCM|IMA))?")
_TAGS = [
    "SOPInstanceUID", "SOPClassUID", "SeriesInstanceUID", "StudyInstanceUID", "StudyDate", "StudyTime", "SeriesNumber",
    "InstanceNumber", "PatientID", "PatientName", "PatientBirthDate", "PatientAge", "PatientSex", "Modality",
    "ImageType", "ScanningSequence", "SequenceVariant", "MRAcquisitionType", "EchoTime", "RepetitionTime",
    "InversionTime", "FlipAngle", "SeriesDescription", "ProtocolName", "ContrastBolusAgent", "MagneticFieldStrength",
    "DiffusionBValue", "ImagePositionPatient", "ImageOrientationPatient", "Rows", "Columns", "BitsAllocated",
    "SamplesPerPixel", "NumberOfFrames", "EchoPulseSequence", "InversionRecovery", "SteadyStatePulseSequence",
    "Spoiling", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
]  # fmt: skip


class DicomError(InputError):
    """DICOM files that cannot be listed or converted."""


def is_dicom(path: Path) -> bool:
    """True for a file with DICOM's preamble."""
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def find(root: Path, nifti_folder: Path, *, folder_names: bool = False) -> Listing:
    """Read, classify and convert every series below a folder.

    Subjects are numbered p001, p002, ... in the order of their first files' paths; a subject is a patient number with
    a birth date, or, without a number, a name with a birth date, or a study. Sessions are numbered by date where
    there are several.

    Args:
        root: the folder.
        nifti_folder: of converted volumes, named by a hash of their images; one that is there is not made again.
        folder_names: subjects are named by the first folder below `root`, and messages name files.

    Raises:
        DicomError: pydicom or dcm2niix is not installed.
    """
    program = _program()
    root = root.resolve()
    candidates = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's quote values, names among them
        all_series, skipped = _read_series(root, nifti_folder, folder_names)
        with progress("converting", len(all_series), "series") as advance:
            for series, subject, session in _with_ids(all_series, root, folder_names):
                label = f"{subject}{f'/{session}' if session else ''} {series.label}"
                column, reason = classify(acquisition_of(series))
                reason = reason or gap_of(series)
                if not reason:
                    target = nifti_folder / f"{_digest(series)}_{column}.nii.gz"
                    reason = _convert(series, target, program)
                if reason:
                    skipped.append(Skipped(label, reason))
                else:
                    candidates.append(_candidate(series, target, subject, session, column))
                advance(label)
    return Listing(tuple(candidates), tuple(skipped))


class _ImageFile(NamedTuple):
    """A DICOM file with an image.

    Attributes:
        path: of the file.
        header: every value of it decoded.
        series: UID and echo time, since two echoes of one series are two contrasts.
        num_missing: bytes of the image that the file lacks.
    """

    path: Path
    header: Header
    series: tuple[str, str]
    num_missing: int


def _read_series(root: Path, nifti_folder: Path, folder_names: bool) -> tuple[list[Series], list[Skipped]]:
    """All series in the order of their first files, and the files that cannot be read or are cut off."""
    groups: dict[tuple[str, str], list[_ImageFile]] = {}
    skipped: list[Skipped] = []
    paths = _files(root, without=nifti_folder)
    for place, path in enumerate(paths, start=1):
        label = path.relative_to(root).as_posix() if folder_names else _label(path, place, len(paths))
        file, reason = _read_file(path)
        if file is not None:
            groups.setdefault(file.series, []).append(file)
        if reason:
            skipped.append(Skipped(label, reason))
    for key, files in list(groups.items()):
        if any(file.num_missing for file in files):
            reason = "one of its files is cut off, so its volume would have a hole"
            skipped.append(Skipped(_as_series(groups.pop(key)).label, reason))
    return list(map(_as_series, groups.values())), skipped


def _files(root: Path, *, without: Path) -> list[Path]:
    """The files below a folder in order of paths; volumes of an earlier call may lie among the scans."""
    own = without.resolve()
    return sorted(p for p in root.rglob("*") if p.is_file() and own not in p.parents)


def _read_file(path: Path) -> tuple[_ImageFile | None, str]:
    """The file if it has an image, and a problem to report or ""."""
    if not is_dicom(path):
        is_named_so = path.suffix.lower() in (".dcm", ".ima")
        return None, "not a DICOM file (no preamble), or damaged; copy it again" if is_named_so else ""
    try:
        header, remaining = _read_header(path)
        if header.file_meta.get("MediaStorageSOPClassUID") == _DICOMDIR:
            return None, ""
        if "Rows" not in header:
            return None, "it holds no image: a report, or the file is cut off"
        series = (str(header.SeriesInstanceUID), f"{number(header, 'EchoTime') or 0:.2f}")
        file = _ImageFile(path, header, series, missing_bytes(header, remaining))
    except Exception as error:  # pydicom raises nearly anything on damaged files, and its messages quote them
        return None, f"the headers are damaged ({type(error).__name__}); copy the file again"
    return file, f"cut off: {file.num_missing} bytes are missing; copy the file again" if file.num_missing else ""


def _as_series(files: Sequence[_ImageFile]) -> Series:
    """The files of a series by instance number, under the label that messages use."""
    ordered = sorted(
        files, key=lambda f: (number(f.header, "InstanceNumber") or 0, str(f.header.get("SOPInstanceUID")))
    )
    series_number = value(ordered[0].header, "SeriesNumber")
    label = f"series {'?' if series_number is None else series_number} ({len(files)} files)"
    return Series(tuple((file.path, file.header) for file in ordered), label)


def _read_header(path: Path) -> tuple[Header, int]:
    """The header, every value of it decoded, and how many bytes come after it."""
    from pydicom import dcmread

    with path.open("rb") as file:
        header = dcmread(file, stop_before_pixels=True, specific_tags=list(_TAGS))
        element = 8 if header.original_encoding[0] else 12  # tag, kind and length of the pixels, implicit or explicit
        remaining = path.stat().st_size - file.tell() - element
    for _ in header.iterall():
        pass
    return header, remaining


def _with_ids(all_series: Sequence[Series], root: Path, folder_names: bool) -> Iterator[tuple[Series, str, str]]:
    """Each series with the ids of its subject and session."""
    subjects: dict[tuple[str, ...], list[Series]] = {}
    for series in all_series:
        folders = series.files[0][0].relative_to(root).parts[:-1]
        folder = (folders[0] if folders else root.resolve().name,)
        subjects.setdefault(folder if folder_names else patient_of(series.first), []).append(series)
    for count, (identity, own) in enumerate(subjects.items(), start=1):
        studies = sorted({study_of(series.first) for series in own})
        for series in own:
            session = str(1 + studies.index(study_of(series.first))) if len(studies) > 1 else ""
            yield series, identity[0] if folder_names else f"p{count:03d}", session


def _convert(series: Series, target: Path, program: str) -> str:
    """Write the volume unless it is there; returns "" or the reason why there is none."""
    if target.exists():
        with suppress(ImageError):
            read_image(target)
            return ""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".dicom-", dir=target.parent) as folder:
        inbox, outbox = Path(folder, "in"), Path(folder, "out")
        inbox.mkdir()
        outbox.mkdir()
        for count, (path, _) in enumerate(series.files):
            (inbox / f"{count:05d}.dcm").symlink_to(path.resolve())
        # no sidecar, no compression, neither crop nor rotate, values as they are stored
        options = ["-b", "n", "-z", "n", "-x", "i", "-l", "o", "-w", "1", "-f", "volume", "-o", str(outbox)]
        done = subprocess.run([program, *options, str(inbox)], capture_output=True, check=False)
        volumes = sorted(outbox.glob("*.nii"))
        if len(volumes) != 1:
            return f"dcm2niix made {len(volumes)} volumes of it (exit status {done.returncode}), expected 1"
        try:
            write_image(target, read_image(volumes[0]))  # writes no text of the header
        except ImageError as error:
            return f"converted, but {str(error).removeprefix(f'{volumes[0]}: ')}"
    return ""


def _candidate(series: Series, target: Path, subject: str, session: str, column: str) -> Candidate:
    header = series.first
    original = "ORIGINAL" in words(header, "ImageType")
    rank = (not original, value(header, "MRAcquisitionType") != "3D", -(number(header, "SeriesNumber") or 0))
    strength = number(header, "MagneticFieldStrength")
    sex = text(header, "PatientSex")
    covariates = {
        "age": age_of(text(header, "PatientAge")),
        "sex": sex if sex in ("M", "F", "O") else "",
        "field_strength": f"{strength:.1f}" if strength else "",
    }
    rule = "of several series, original comes before derived, 3D before 2D, then the last one"
    return Candidate(target, subject, session, column, rank, rule, covariates)


def _label(path: Path, place: int, total: int) -> str:
    """A file without its folders, which may hold names: `IM0017 (file 17 of 240)`."""
    shown = path.name if _PLAIN_NAME.fullmatch(path.name) else "a file"
    return f"{shown} (file {place} of {total} in order of paths)"


def _digest(series: Series) -> str:
    return hash_bytes(*sorted(str(header.get("SOPInstanceUID")).encode() for _, header in series.files))[:16]


def _program() -> str:
    """Path of the program dcm2niix.

    Raises:
        DicomError: it or pydicom is not installed.
    """
    try:
        import dcm2niix
        import pydicom  # noqa: F401
    except ImportError as error:
        raise DicomError(f"DICOM folders need {error.name}, which is not installed; run {INSTALL}") from error
    return str(dcm2niix.bin)
