"""Quality of a prepared pair: measurements before and after, and the grade by the recipe's limits."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from volumetric.config.preparation import PreparationConfig, QualityConfig
from volumetric.imaging.alignment import Alignment
from volumetric.imaging.geometry import displacement_mm, inverse, mask_points, moved, overlap, rotation_deg
from volumetric.imaging.nifti import Image
from volumetric.imaging.registration import random_moves, register
from volumetric.imaging.resample import resample
from volumetric.metrics.similarity import normalized_mutual_information
from volumetric.records.preparation import Grade, PairQuality, Quality, QualityRow
from volumetric.records.table import SessionKey
from volumetric.subject import RawSubject

_ORDER: tuple[Grade, ...] = ("fail", "warn", "pass")
_RESTART_SHIFT_MM, _RESTART_ROTATION_DEG, _NUM_RESTARTS = 5.0, 4.0, 2


class Assessment(NamedTuple):
    """The worst grade of all reasons, and the reasons, one sentence each, failures first."""

    grade: Grade
    reasons: tuple[str, ...]


def measure(subject: RawSubject, alignment: Alignment, recipe: PreparationConfig) -> Quality:
    """Measure the quality of one subject's images, on the reference's own grid.

    Args:
        subject: the raw scans.
        alignment: the same scans on one grid.
        recipe: for the seed.
    """
    scan, mask = subject.images[alignment.reference], alignment.native.mask.array
    pairs = tuple(
        _measure_pair(subject.images[contrast], contrast, scan, alignment, recipe.seed + 1)
        for contrast in alignment.to_contrast
    )
    return Quality(
        reference=alignment.reference,
        reference_snr=signal_to_noise(scan, mask),
        brain_ml=float(mask.sum() * abs(np.linalg.det(scan.affine[:3, :3])) / 1000),
        mask_rule=alignment.rule,
        pairs=pairs,
        warnings=alignment.warnings,
    )


def _measure_pair(image: Image, contrast: str, scan: Image, alignment: Alignment, seed: int) -> PairQuality:
    matrix, mask = alignment.to_contrast[contrast], alignment.native.mask.array
    points = mask_points(scan.space, mask)
    reference, prepared = (alignment.native.images[c] for c in (alignment.reference, contrast))
    unregistered = resample(image.array, image.space, scan.space)
    starts = random_moves(
        _NUM_RESTARTS,
        points.mean(axis=0),
        seed=seed,
        shift_mm=_RESTART_SHIFT_MM,
        turn_deg=_RESTART_ROTATION_DEG,
    )
    residual = register(reference, prepared, mask, starts=starts, seed=seed).fixed_to_moving
    mask_on_contrast = resample(mask, moved(scan.space, matrix), image.space, "nearest") > 0
    return PairQuality(
        contrast=contrast,
        moved_mm=displacement_mm(matrix, points),
        moved_deg=rotation_deg(matrix),
        nmi_before=normalized_mutual_information(scan.array, unregistered, mask=mask),
        nmi_after=normalized_mutual_information(reference.array, prepared.array, mask=mask),
        residual_mm=displacement_mm(residual, points),
        residual_deg=rotation_deg(residual),
        overlap=overlap(moved(image.space, inverse(matrix)), points),
        snr=signal_to_noise(image, mask_on_contrast),
    )


def signal_to_noise(image: Image, mask: NDArray[np.bool_]) -> float:
    """The in-mask median over the SD of the noise, from second differences between neighbors.

    For noise alone x[i-1] - 2 x[i] + x[i+1] has sqrt(6) times its SD (Immerkaer, Comput. Vis. Image Underst. 64(2),
    1996, in one dimension); 1.4826 times the median of its magnitude is robust to edges. The axis with the smallest
    such SD is used, along which anatomy changes least from voxel to voxel. No air is needed, which many scanners
    set to 0. A scan that was interpolated before measures better than it is.

    Returns:
        A pure number above 0, higher is better; infinite where neighbors are equal.
    """
    noise = []
    for axis in range(3):
        along = np.moveaxis(image.array, axis, 0)
        inside = np.moveaxis(mask, axis, 0)
        inside = inside[:-2] & inside[1:-1] & inside[2:]
        if inside.any():
            before, here, after = (along[k : k + len(inside)][inside].astype(np.float64) for k in range(3))
            noise.append(np.median(np.abs(before - 2 * here + after)) * 1.4826 / np.sqrt(6))
    lowest = float(min(noise, default=0.0))
    return float(np.median(image.array[mask])) / lowest if lowest else float("inf")


def grade(quality: Quality, limits: QualityConfig) -> Assessment:
    """Grade a subject's measurements by `limits`; a contradiction in a header is a warning."""
    reasons: list[tuple[Grade, str]] = [("warn", warning) for warning in quality.warnings]

    def check(value: float, limit: tuple[float, float], text: str, *, above: bool) -> None:
        grades: tuple[tuple[Grade, float], ...] = (("fail", limit[1]), ("warn", limit[0]))
        for worse, threshold in grades:
            if value > threshold if above else value < threshold:
                reasons.append((worse, f"{text}, {'more' if above else 'less'} than {threshold:g}"))
                return

    mask = f"the brain mask has {quality.brain_ml:.0f} ml"
    check(quality.brain_ml, limits.brain_ml_low, mask, above=False)
    check(quality.brain_ml, limits.brain_ml_high, mask, above=True)
    check(quality.reference_snr, limits.snr, f"{quality.reference}: SNR {quality.reference_snr:.1f}", above=False)
    for p in quality.pairs:
        gain = p.nmi_after - p.nmi_before
        check(p.residual_mm, limits.residual_mm, f"{p.contrast}: {p.residual_mm:.2f} mm of shift left", above=True)
        check(p.residual_deg, limits.residual_deg, f"{p.contrast}: {p.residual_deg:.2f} degrees left", above=True)
        check(p.overlap, limits.overlap, f"{p.contrast}: {p.overlap:.3f} of the brain is in view", above=False)
        check(p.snr, limits.snr, f"{p.contrast}: SNR {p.snr:.1f}", above=False)
        check(gain, limits.nmi_gain, f"{p.contrast}: registration changed NMI by {gain:+.4f}", above=False)
    reasons.sort(key=lambda reason: _ORDER.index(reason[0]))
    return Assessment(reasons[0][0] if reasons else "pass", tuple(text for _, text in reasons))


def quality_rows(key: SessionKey, quality: Quality, assessment: Assessment) -> list[QualityRow]:
    """The rows of `quality.csv` of one subject, one a pair (one in all where there is a single contrast)."""
    shared = QualityRow(
        **key._asdict(),
        qc=assessment.grade,
        reasons="; ".join(assessment.reasons),
        reference_snr=quality.reference_snr,
        brain_ml=quality.brain_ml,
        mask_rule=quality.mask_rule,
    )
    return [shared.model_copy(update=pair.model_dump()) for pair in quality.pairs] or [shared]
