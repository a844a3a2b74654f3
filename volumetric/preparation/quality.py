"""How good a prepared pair is: numbers before and after, and the verdict on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from volumetric.config.preparation import PreparationConfig, QualityConfig
from volumetric.imaging.alignment import Alignment
from volumetric.imaging.geometry import displacement_mm, inverse, mask_points, moved, overlap, rotation_deg
from volumetric.imaging.nifti import Image
from volumetric.imaging.registration import random_moves, register
from volumetric.imaging.resample import resample
from volumetric.metrics.similarity import normalized_mutual_information

Grade = Literal["pass", "warn", "fail"]
_ORDER: tuple[Grade, ...] = ("fail", "warn", "pass")
_FRESH_SHIFT_MM, _FRESH_TURN_DEG, _NUM_FRESH = 5.0, 4.0, 2


@dataclass(frozen=True)
class PairQuality:
    """The numbers of one contrast beside the reference.

    Attributes:
        contrast: which one.
        moved_mm: how far registration moved it, mean over the brain.
        moved_deg: by what rotation.
        nmi_before: normalized mutual information in the brain by the scanners' coordinates alone.
        nmi_after: the same after registration.
        residual_mm: mean shift that a registration of the prepared pair, begun elsewhere, still finds.
        residual_deg: its rotation.
        overlap: share of the brain inside the contrast's field of view.
        snr: of the raw scan, see `signal_to_noise`.
    """

    contrast: str
    moved_mm: float
    moved_deg: float
    nmi_before: float
    nmi_after: float
    residual_mm: float
    residual_deg: float
    overlap: float
    snr: float


class Verdict(NamedTuple):
    """The worst grade of all reasons, and the reasons, one sentence each, failures first."""

    grade: Grade
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Quality:
    """The numbers of one visit.

    Attributes:
        reference: the contrast that stayed where it was.
        reference_snr: of its raw scan.
        brain_ml: volume of the brain mask.
        mask_rule: how that came about.
        pairs: one entry for each other contrast.
        warnings: what is odd about the headers.
    """

    reference: str
    reference_snr: float
    brain_ml: float
    mask_rule: str
    pairs: tuple[PairQuality, ...]
    warnings: tuple[str, ...]

    @classmethod
    def restore(cls, content: Mapping[str, Any]) -> Quality:
        """From what `dataclasses.asdict` made of it, through JSON or not."""
        pairs = tuple(PairQuality(**pair) for pair in content["pairs"])
        return cls(**{**content, "pairs": pairs, "warnings": tuple(content["warnings"])})

    def rows(self, limits: QualityConfig) -> list[dict[str, object]]:
        """As rows of `quality.csv`, one a pair (one in all where there is a single contrast)."""
        verdict = judge(self, limits)
        shared = {"qc": verdict.grade, "reasons": "; ".join(verdict.reasons)}
        own = {"reference_snr": self.reference_snr, "brain_ml": self.brain_ml, "mask_rule": self.mask_rule}
        return [shared | asdict(pair) | own for pair in self.pairs] or [shared | own]


def assess(raw: Mapping[str, Image], alignment: Alignment, recipe: PreparationConfig) -> Quality:
    """Measure one visit, on the reference's own grid.

    Args:
        raw: the scans as they came.
        alignment: what became of them.
        recipe: for the seed.
    """
    scan, mask = raw[alignment.reference], alignment.native.mask.array
    points = mask_points(scan.space, mask)
    pairs = []
    for contrast, matrix in alignment.to_contrast.items():
        image = raw[contrast]
        reference, prepared = (alignment.native.images[c] for c in (alignment.reference, contrast))
        before = resample(image.array, image.space, scan.space)
        left = register(
            reference,
            prepared,
            mask,
            starts=random_moves(
                _NUM_FRESH,
                points.mean(axis=0),
                seed=recipe.seed + 1,
                shift_mm=_FRESH_SHIFT_MM,
                turn_deg=_FRESH_TURN_DEG,
            ),
            seed=recipe.seed + 1,
        ).fixed_to_moving
        there = resample(mask, moved(scan.space, matrix), image.space, "nearest") > 0
        pairs.append(
            PairQuality(
                contrast,
                moved_mm=displacement_mm(matrix, points),
                moved_deg=rotation_deg(matrix),
                nmi_before=normalized_mutual_information(scan.array, before, mask=mask),
                nmi_after=normalized_mutual_information(reference.array, prepared.array, mask=mask),
                residual_mm=displacement_mm(left, points),
                residual_deg=rotation_deg(left),
                overlap=overlap(moved(image.space, inverse(matrix)), points),
                snr=signal_to_noise(image, there),
            )
        )
    return Quality(
        alignment.reference,
        reference_snr=signal_to_noise(scan, mask),
        brain_ml=float(mask.sum() * abs(np.linalg.det(scan.affine[:3, :3])) / 1000),
        mask_rule=alignment.rule,
        pairs=tuple(pairs),
        warnings=alignment.warnings,
    )


def signal_to_noise(image: Image, mask: NDArray[np.bool_]) -> float:
    """The in-mask median over the SD of the noise, from second differences between neighbors.

    For noise alone x[i-1] - 2 x[i] + x[i+1] has sqrt(6) times its SD (Immerkaer, Comput. Vis. Image Underst. 64(2),
    1996, in one dimension); the median of its size, times 1.4826, looks away from edges. Taken along the axis of
    the smallest such SD, that is along which anatomy changes least from voxel to voxel. It needs no air, which
    many scanners set to 0, and scans that were interpolated before look better than they are.

    Returns:
        A pure number above 0, higher is better; infinite where neighbors are alike.
    """
    noise = []
    for axis in range(3):
        along = np.moveaxis(image.array, axis, 0)
        inside = np.moveaxis(mask, axis, 0)
        inside = inside[:-2] & inside[1:-1] & inside[2:]
        if inside.any():
            noise.append(np.median(np.abs(along[:-2] - 2 * along[1:-1] + along[2:])[inside]) * 1.4826 / np.sqrt(6))
    lowest = float(min(noise, default=0.0))
    return float(np.median(image.array[mask])) / lowest if lowest else float("inf")


def judge(quality: Quality, limits: QualityConfig) -> Verdict:
    """Measure a visit by `limits`; an odd header is a warning."""
    found: list[tuple[Grade, str]] = [("warn", warning) for warning in quality.warnings]

    def look(value: float, limit: tuple[float, float], text: str, *, above: bool) -> None:
        grades: tuple[tuple[Grade, float], ...] = (("fail", limit[1]), ("warn", limit[0]))
        for grade, threshold in grades:
            if value > threshold if above else value < threshold:
                found.append((grade, f"{text}, {'more' if above else 'less'} than {threshold:g}"))
                return

    mask = f"the brain mask has {quality.brain_ml:.0f} ml"
    look(quality.brain_ml, limits.brain_ml_low, mask, above=False)
    look(quality.brain_ml, limits.brain_ml_high, mask, above=True)
    look(quality.reference_snr, limits.snr, f"{quality.reference}: SNR {quality.reference_snr:.1f}", above=False)
    for p in quality.pairs:
        gain = p.nmi_after - p.nmi_before
        look(p.residual_mm, limits.residual_mm, f"{p.contrast}: {p.residual_mm:.2f} mm of shift left", above=True)
        look(p.residual_deg, limits.residual_deg, f"{p.contrast}: {p.residual_deg:.2f} degrees left", above=True)
        look(p.overlap, limits.overlap, f"{p.contrast}: {p.overlap:.3f} of the brain is in view", above=False)
        look(p.snr, limits.snr, f"{p.contrast}: SNR {p.snr:.1f}", above=False)
        look(gain, limits.nmi_gain, f"{p.contrast}: registration changed NMI by {gain:+.4f}", above=False)
    found.sort(key=lambda entry: _ORDER.index(entry[0]))
    return Verdict(found[0][0] if found else "pass", tuple(text for _, text in found))
