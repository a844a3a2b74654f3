"""`phantom.json` of a cohort that is simulated from label maps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import ClassVar

from volumetric.records.record import Record
from volumetric.records.settings import PhantomSettings
from volumetric.simulation.parameters import (
    Lesion,
    PairParameters,
    PairShape,
    SimulatedContrast,
    Surfaces,
    Triple,
)
from volumetric.simulation.tissues import NAMES


@dataclass(frozen=True)
class RecordedShape:
    """Pose and shape of a head against its label map, as in `PairShape`; `to_map` by rows."""

    mirrored: bool
    to_map: tuple[Triple, Triple, Triple]
    velocity_mm: Triple
    ventricle_flow_mm: float

    @classmethod
    def of(cls, shape: PairShape) -> RecordedShape:
        """The same numbers."""
        rows = [(float(x), float(y), float(z)) for x, y, z in shape.to_map]
        return cls(shape.mirrored, (rows[0], rows[1], rows[2]), shape.velocity_mm, shape.ventricle_flow_mm)


@dataclass(frozen=True)
class RecordedScan:
    """One scan of a pair, as in `SimulatedContrast`.

    Attributes:
        sequence: of the protocol.
        signals: signed signal of each pure tissue, in units of proton density, before `scale`.
        scale: arbitrary factor on the whole image.
    """

    sequence: str
    signals: Mapping[str, float]
    scale: float
    region_sd: float
    width_mm: float
    thick_axis: int
    slice_mm: float
    slice_offset: float
    ringing: float
    shift_mm: Triple
    bias: float
    noise: float
    noise_width_vox: float
    levels: int

    @classmethod
    def of(cls, contrast: SimulatedContrast, scale: float) -> RecordedScan:
        """The same numbers; the signals by tissue, to the digits that float32 holds."""
        signals = {name: float(f"{signal:.6g}") for name, signal in zip(NAMES, contrast.signals, strict=True)}
        same = {f.name: getattr(contrast, f.name) for f in fields(cls) if f.name not in ("signals", "scale")}
        return cls(**same, signals=signals, scale=scale)


@dataclass(frozen=True)
class LabelMapSubject:
    """The drawn numbers of a subject.

    Attributes:
        anatomy: file name of its label map.
        field_strength: tesla.
        shape: against the label map.
        surfaces: of cortex, fluid and mask.
        lesions: in the order they are laid over the map.
        t1w: the T1w scan.
        t2w: the T2w scan.
        field_seed: of the smooth fields.
        noise_seed: of noise and texture.
    """

    anatomy: str
    field_strength: float
    shape: RecordedShape
    surfaces: Surfaces
    lesions: tuple[Lesion, ...]
    t1w: RecordedScan
    t2w: RecordedScan
    field_seed: int
    noise_seed: int

    @classmethod
    def of(cls, anatomy: str, pair: PairParameters, scales: tuple[float, float]) -> LabelMapSubject:
        """The numbers of a pair, and the factors on its T1w and T2w scan."""
        return cls(
            anatomy,
            pair.field_strength,
            RecordedShape.of(pair.shape),
            pair.surfaces,
            pair.lesions,
            RecordedScan.of(pair.source, scales[0]),
            RecordedScan.of(pair.target, scales[1]),
            pair.field_seed,
            pair.noise_seed,
        )


class LabelMapCohortRecord(Record):
    """`phantom.json`: every number that was drawn for a cohort simulated from label maps.

    Attributes:
        settings: of the cohort.
        versions: of the packages that made it.
        subjects: the drawn numbers by subject id.
    """

    REMEDY: ClassVar[str] = "repeat `volumetric phantom`, which writes it again"

    settings: PhantomSettings
    versions: Mapping[str, str]
    subjects: Mapping[str, LabelMapSubject]
