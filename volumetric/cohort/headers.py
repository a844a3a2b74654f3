"""What DICOM headers say: settings, places of slices, who; classic and enhanced multi-frame alike."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volumetric.cohort.sequence import Sequence

Header = Any
"""A pydicom `Dataset`, whose module is imported only where files are read."""

OLDEST_YEARS = 90
"""Greater ages identify people (HIPAA, 45 CFR 164.514) and are written as this one."""

_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
_ECHO_PULSES = {"SPIN": {"SE"}, "GRADIENT": {"GR"}, "BOTH": {"SE", "GR"}}
_UNCOMPRESSED = {"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"}
_UNITS_PER_YEAR = {"Y": 1.0, "M": 12.0, "W": 52.18, "D": 365.25}


@dataclass(frozen=True, eq=False)
class Series:
    """Files of one series and one echo.

    Attributes:
        files: with their headers, by instance number.
        label: how messages call it, without anybody's name.
    """

    files: tuple[tuple[Path, Header], ...]
    label: str = ""

    @property
    def first(self) -> Header:
        """The header of the first file."""
        return self.files[0][1]


def settings_of(series: Series) -> Sequence:
    """The acquisition's settings, from classic and from enhanced multi-frame headers alike."""
    head = series.first
    planes = [plane for plane in planes_of(series) if plane is not None]
    techniques = words(head, "ScanningSequence") | _ECHO_PULSES.get(str(value(head, "EchoPulseSequence") or ""), set())
    variants = words(head, "SequenceVariant")
    if value(head, "InversionRecovery") == "YES":
        techniques |= {"IR"}
        variants |= {"MP"}
    if str(value(head, "Spoiling") or "NONE") != "NONE":
        variants |= {"SP"}
    if str(value(head, "SteadyStatePulseSequence") or "NONE") not in ("NONE", "LONGITUDINAL"):
        variants |= {"SS"}
    agent = str(value(head, "ContrastBolusAgent") or "").strip().upper()
    te = number(head, "EchoTime")
    return Sequence(
        modality=str(value(head, "Modality") or ""),
        techniques=frozenset(techniques),
        variants=frozenset(variants),
        image_type=tuple(str(word).upper() for word in value(head, "ImageType") or ()),
        echo_time_ms=number(head, "EffectiveEchoTime") if te is None else te,
        repetition_time_ms=number(head, "RepetitionTime"),
        inversion_time_ms=number(head, "InversionTime") or number(head, "InversionTimes"),
        flip_angle_deg=number(head, "FlipAngle"),
        description=" ".join(str(value(head, key) or "") for key in ("SeriesDescription", "ProtocolName")),
        contrast_agent=agent not in ("", "NO", "NONE", "N"),
        num_slices=len({tuple(np.round(position, 2)) for position, _ in planes}),
        num_orientations=len({tuple(np.round(orientation, 1) + 0.0) for _, orientation in planes}),
        b_value=number(head, "DiffusionBValue") or 0.0,
    )


def gap(series: Series) -> str:
    """Whether slices are missing in between, or the positions repeat: "" or the reason."""
    planes = planes_of(series)
    found = [plane for plane in planes if plane is not None]
    if len(found) < len(planes):
        return "frames without a position"
    orientation = found[0][1]
    normal = np.cross(orientation[:3], orientation[3:])
    steps = np.diff(sorted(float(normal @ position) for position, _ in found))
    usual = float(np.median(steps))
    if usual < 1e-3 or steps.min() < 1e-3:
        return "several images at one place (a time series, or two series under one number)"
    if np.abs(steps - usual).max() > 0.05 * usual:
        return f"slices are missing: they lie {usual:.2f} mm apart, in one place {steps.max():.2f}"
    return ""


def planes_of(series: Series) -> list[tuple[NDArray[np.float64], NDArray[np.float64]] | None]:
    """Position (mm) and row and column direction of every slice or frame."""
    planes: list[tuple[NDArray[np.float64], NDArray[np.float64]] | None] = []
    for _, head in series.files:
        frames = list(head.get("PerFrameFunctionalGroupsSequence") or [head])
        for frame in frames:
            position = value(frame, "ImagePositionPatient") or value(head, "ImagePositionPatient")
            orientation = value(frame, "ImageOrientationPatient") or value(head, "ImageOrientationPatient")
            whole = position is not None and orientation is not None and len(position) == 3 and len(orientation) == 6
            planes.append((np.array(position, float), np.array(orientation, float)) if whole else None)
    return planes


def value(head: Header, keyword: str) -> Any:
    """A value of the header, in enhanced ones of the first functional group that has it; None where it is empty."""
    found = head.get(keyword)
    if found is not None and found != "":
        return found
    for groups in _GROUPS:
        frames = head.get(groups)
        if frames and (found := _nested(frames[0], keyword)) is not None:
            return found
    return _nested(head, keyword) if "SOPClassUID" not in head else None


def number(head: Header, keyword: str) -> float | None:
    """A number of the header, the first of several; None where there is none."""
    found = value(head, keyword)
    if found is not None and not isinstance(found, str | bytes | float | int):
        found = next(iter(found), None)
    try:
        return None if found is None else float(found)
    except (TypeError, ValueError):
        return None


def words(head: Header, keyword: str) -> set[str]:
    """The words of a header value, upper case."""
    found = value(head, keyword)
    if found is None:
        return set()
    return {str(word).upper() for word in ([found] if isinstance(found, str) else found)}


def person_of(head: Header) -> tuple[str, ...]:
    """What tells people apart, to be held in memory alone: patient number and birth date, else name, else the study."""
    known = tuple(str(head.get(key) or "") for key in ("PatientID", "PatientBirthDate"))
    if known[0]:
        return known
    name = str(head.get("PatientName") or "")
    return (name, known[1]) if name and known[1] else (str(head.get("StudyInstanceUID")),)


def study_of(head: Header) -> tuple[str, ...]:
    """A visit; in order of date and time."""
    return tuple(str(head.get(key) or "") for key in ("StudyDate", "StudyTime", "StudyInstanceUID"))


def age_of(text: str) -> str:
    """`045Y` -> `45`, `018M` -> `1.5`, nothing above 90; empty where it is no age."""
    unit = _UNITS_PER_YEAR.get(text[-1:].upper())
    if unit is None or not text[:-1].isdigit():
        return ""
    return f"{min(int(text[:-1]) / unit, OLDEST_YEARS):.4g}"


def missing_bytes(head: Header, remaining: int) -> int:
    """How much shorter a file is than its image.

    Args:
        head: its header.
        remaining: bytes after the header. Compressed images have no known length and count as whole.
    """
    if str(head.file_meta.TransferSyntaxUID) not in _UNCOMPRESSED:
        return 0
    counts = (head.Rows, head.Columns, head.get("SamplesPerPixel") or 1, head.get("NumberOfFrames") or 1)
    return max(0, int(np.prod([int(n) for n in counts])) * int(head.BitsAllocated) // 8 - remaining)


def _nested(group: Header, keyword: str) -> Any:
    """A value of the sequences of one functional group."""
    for element in group:
        if element.VR == "SQ" and element.value:
            found = element.value[0].get(keyword)
            if found is not None and found != "":
                return found
    return None
