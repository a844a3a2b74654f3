"""Values of DICOM headers, classic and enhanced multi-frame alike: settings, slice positions, patient and study."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volumetric.cohort.acquisition import Acquisition

Header = Any
"""A pydicom `Dataset`, whose module is imported only where files are read."""

OLDEST_YEARS = 90
"""Greater ages identify a patient (HIPAA, 45 CFR 164.514) and are written as this one."""

_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
_ECHO_PULSES = {"SPIN": {"SE"}, "GRADIENT": {"GR"}, "BOTH": {"SE", "GR"}}
_UNCOMPRESSED = {"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"}
_UNITS_PER_YEAR = {"Y": 1.0, "M": 12.0, "W": 52.18, "D": 365.25}


@dataclass(frozen=True, eq=False)
class Series:
    """The files of one series and one echo.

    Attributes:
        files: with their headers, by instance number.
        label: the name of the series in messages, which identifies nobody.
    """

    files: tuple[tuple[Path, Header], ...]
    label: str = ""

    @property
    def first(self) -> Header:
        """The header of the first file."""
        return self.files[0][1]


def acquisition_of(series: Series) -> Acquisition:
    """The settings of a series."""
    header = series.first
    planes = [plane for plane in planes_of(series) if plane is not None]
    echo_time = number(header, "EchoTime")
    return Acquisition(
        modality=text(header, "Modality"),
        techniques=_techniques(header),
        variants=_variants(header),
        image_type=tuple(str(word).upper() for word in value(header, "ImageType") or ()),
        echo_time_ms=number(header, "EffectiveEchoTime") if echo_time is None else echo_time,
        repetition_time_ms=number(header, "RepetitionTime"),
        inversion_time_ms=number(header, "InversionTime") or number(header, "InversionTimes"),
        flip_angle_deg=number(header, "FlipAngle"),
        description=f"{text(header, 'SeriesDescription')} {text(header, 'ProtocolName')}",
        contrast_agent=text(header, "ContrastBolusAgent").strip().upper() not in ("", "NO", "NONE", "N"),
        num_slices=len({tuple(np.round(position, 2)) for position, _ in planes}),
        num_orientations=len({tuple(np.round(orientation, 1) + 0.0) for _, orientation in planes}),
        b_value=number(header, "DiffusionBValue") or 0.0,
    )


def _techniques(header: Header) -> frozenset[str]:
    """Scanning Sequence, or what enhanced headers have in its place."""
    inversion = {"IR"} if text(header, "InversionRecovery") == "YES" else set()
    return frozenset(
        words(header, "ScanningSequence") | _ECHO_PULSES.get(text(header, "EchoPulseSequence"), set()) | inversion
    )


def _variants(header: Header) -> frozenset[str]:
    """Sequence Variant, or what enhanced headers have in its place."""
    enhanced = {
        "MP": text(header, "InversionRecovery") == "YES",
        "SP": text(header, "Spoiling") not in ("", "NONE"),
        "SS": text(header, "SteadyStatePulseSequence") not in ("", "NONE", "LONGITUDINAL"),
    }
    return frozenset(words(header, "SequenceVariant") | {variant for variant, applies in enhanced.items() if applies})


def gap_of(series: Series) -> str:
    """The reason why the slices make no volume (some are missing, or positions repeat), or ""."""
    planes = planes_of(series)
    placed = [plane for plane in planes if plane is not None]
    if len(placed) < len(planes):
        return "frames without a position"
    orientation = placed[0][1]
    normal = np.cross(orientation[:3], orientation[3:])
    steps = np.diff(sorted(float(normal @ position) for position, _ in placed))
    usual = float(np.median(steps))
    if usual < 1e-3 or steps.min() < 1e-3:
        return "several images at one place (a time series, or two series under one number)"
    if np.abs(steps - usual).max() > 0.05 * usual:
        return f"slices are missing: they lie {usual:.2f} mm apart, in one place {steps.max():.2f}"
    return ""


def planes_of(series: Series) -> list[tuple[NDArray[np.float64], NDArray[np.float64]] | None]:
    """Position (mm) and row and column direction of every slice or frame."""
    planes: list[tuple[NDArray[np.float64], NDArray[np.float64]] | None] = []
    for _, header in series.files:
        frames = list(header.get("PerFrameFunctionalGroupsSequence") or [header])
        for frame in frames:
            position = value(frame, "ImagePositionPatient") or value(header, "ImagePositionPatient")
            orientation = value(frame, "ImageOrientationPatient") or value(header, "ImageOrientationPatient")
            is_whole = len(position or ()) == 3 and len(orientation or ()) == 6
            planes.append((np.array(position, float), np.array(orientation, float)) if is_whole else None)
    return planes


def value(header: Header, keyword: str) -> Any:
    """A value of the header, in enhanced ones of the first functional group that has it; None where it is empty."""
    content = header.get(keyword)
    if content is not None and content != "":
        return content
    for groups in _GROUPS:
        frames = header.get(groups)
        if frames and (content := _nested(frames[0], keyword)) is not None:
            return content
    return _nested(header, keyword) if "SOPClassUID" not in header else None


def text(header: Header, keyword: str) -> str:
    """A value of the header as text, "" where it is empty."""
    return str(value(header, keyword) or "")


def number(header: Header, keyword: str) -> float | None:
    """A number of the header, the first of several; None where there is none."""
    content = value(header, keyword)
    if content is not None and not isinstance(content, str | bytes | float | int):
        content = next(iter(content), None)
    try:
        return None if content is None else float(content)
    except (TypeError, ValueError):
        return None


def words(header: Header, keyword: str) -> set[str]:
    """The words of a header value, upper case."""
    content = value(header, keyword)
    if content is None:
        return set()
    return {str(word).upper() for word in ([content] if isinstance(content, str) else content)}


def patient_of(header: Header) -> tuple[str, ...]:
    """The identity of a patient, to be held in memory alone: number and birth date, else name, else the study."""
    number_and_birth = tuple(str(header.get(key) or "") for key in ("PatientID", "PatientBirthDate"))
    if number_and_birth[0]:
        return number_and_birth
    name, birth = str(header.get("PatientName") or ""), number_and_birth[1]
    return (name, birth) if name and birth else (str(header.get("StudyInstanceUID")),)


def study_of(header: Header) -> tuple[str, ...]:
    """The key of a session, which sorts by date and time."""
    return tuple(str(header.get(key) or "") for key in ("StudyDate", "StudyTime", "StudyInstanceUID"))


def age_of(text: str) -> str:
    """`045Y` -> `45`, `018M` -> `1.5`, at most 90; empty where it is no age."""
    unit = _UNITS_PER_YEAR.get(text[-1:].upper())
    if unit is None or not text[:-1].isdigit():
        return ""
    return f"{min(int(text[:-1]) / unit, OLDEST_YEARS):.4g}"


def missing_bytes(header: Header, remaining: int) -> int:
    """The number of bytes by which a file is shorter than its image.

    Args:
        header: of the file.
        remaining: bytes after the header. Compressed images have no known length and count as whole.
    """
    if str(header.file_meta.TransferSyntaxUID) not in _UNCOMPRESSED:
        return 0
    counts = (header.Rows, header.Columns, header.get("SamplesPerPixel") or 1, header.get("NumberOfFrames") or 1)
    return max(0, int(np.prod([int(n) for n in counts])) * int(header.BitsAllocated) // 8 - remaining)


def _nested(group: Header, keyword: str) -> Any:
    """A value of the sequences of one functional group."""
    for element in group:
        if element.VR == "SQ" and element.value:
            content = element.value[0].get(keyword)
            if content is not None and content != "":
                return content
    return None
