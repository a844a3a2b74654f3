"""The contrast that a scanner's settings make: T1w, T2w, PDw, FLAIR, or none of them and the reason."""

from __future__ import annotations

import re
from dataclasses import dataclass

MIN_SLICES = 12
"""Series with fewer slices are localizers or slabs."""

_LOCALIZER = re.compile(r"locali[sz]er|scout|survey|plan[_ -]?scan|three[_ -]?plane|3[_ -]?pl", re.IGNORECASE)
_MAP = re.compile(r"inv[_ -]?\d|t[12][_ -]?map|t[12]_images|phase", re.IGNORECASE)
_NOT_MAGNITUDE = {"P", "PHASE", "PHASE MAP", "R", "REAL", "I", "IMAGINARY", "VELOCITY MAP"}
_COMPUTED = {"ADC", "FA", "TRACEW", "DIFFUSION", "PERFUSION", "MIP", "MINIP", "PROJECTION IMAGE", "MPR", "REFORMATTED",
             "SUBTRACTION", "T1 MAP", "T2 MAP"}  # fmt: skip
_DESCRIBED = {
    "flair": re.compile(r"flair|dark[_ -]?fluid", re.IGNORECASE),
    "t1w": re.compile(r"t1|mprage|bravo|spgr", re.IGNORECASE),
    "t2w": re.compile(r"t2(?![*_ -]?star|\*)", re.IGNORECASE),
    "pdw": re.compile(r"(?<![a-z])pd(?![a-z])|proton", re.IGNORECASE),
}


@dataclass(frozen=True)
class Acquisition:
    """The settings of a series, as its headers state them.

    Attributes:
        modality: `MR`.
        techniques: of `SE`, `GR`, `IR`, `EP`, `RM` (DICOM's Scanning Sequence).
        variants: of `SP` (spoiled), `MP` (prepared), `SS` (steady state), `TOF`, ... (Sequence Variant).
        image_type: DICOM's Image Type, upper case.
        echo_time_ms: None where the headers do not say.
        repetition_time_ms: as the maker counts it: of the shot, or from echo to echo.
        inversion_time_ms: None without inversion.
        flip_angle_deg: None where the headers do not say.
        description: series description and protocol; read for contradictions, never to decide.
        contrast_agent: whether one was given.
        num_slices: different positions.
        num_orientations: different planes.
        b_value: diffusion weighting in s/mm2; 0 without.
    """

    modality: str = "MR"
    techniques: frozenset[str] = frozenset()
    variants: frozenset[str] = frozenset()
    image_type: tuple[str, ...] = ()
    echo_time_ms: float | None = None
    repetition_time_ms: float | None = None
    inversion_time_ms: float | None = None
    flip_angle_deg: float | None = None
    description: str = ""
    contrast_agent: bool = False
    num_slices: int = 0
    num_orientations: int = 1
    b_value: float = 0.0


def classify(acquisition: Acquisition) -> tuple[str, str]:
    """The contrast and "", or "" and the reason why there is none.

    Times and techniques decide. The description can only forbid: where it names another contrast than they do, the
    series is left out, since a wrong contrast in training does more harm than a missing one.
    """
    reason = _exclusion(acquisition)
    if reason:
        return "", reason
    contrast, reason = _weighting(acquisition)
    if not contrast:
        return "", reason
    described = _described_contrasts(acquisition.description)
    if described and contrast not in described:
        return "", f"its settings are those of {contrast}, its description says {' or '.join(sorted(described))}"
    if acquisition.contrast_agent and contrast in ("t1w", "flair"):
        return "", "a contrast agent was given, which makes it another contrast"
    return contrast, ""


def _exclusion(acquisition: Acquisition) -> str:
    """The reason why a series is left out whatever its weighting, or ""."""
    kinds = set(acquisition.image_type)
    is_localizer = "LOCALIZER" in kinds or _LOCALIZER.search(acquisition.description)
    rules = (
        (acquisition.modality != "MR", f"the modality is {acquisition.modality or 'not given'}, not MR"),
        (is_localizer or acquisition.num_orientations > 1, "a localizer"),
        (
            acquisition.num_slices < MIN_SLICES,
            f"{acquisition.num_slices} slices, expected at least {MIN_SLICES}: a localizer or a slab",
        ),
        (kinds & _NOT_MAGNITUDE or _MAP.search(acquisition.description), "no magnitude image, or a map"),
        (acquisition.b_value > 0 or "EP" in acquisition.techniques, "echo-planar or diffusion-weighted"),
        (kinds & _COMPUTED, f"computed from another series ({', '.join(sorted(kinds & _COMPUTED))})"),
        ("TOF" in acquisition.variants, "an angiogram"),
    )
    return next((reason for applies, reason in rules if applies), "")


def _weighting(acquisition: Acquisition) -> tuple[str, str]:
    te, tr, ti = acquisition.echo_time_ms, acquisition.repetition_time_ms, acquisition.inversion_time_ms
    if te is None or tr is None:
        return "", "the headers give no echo or repetition time, and a description alone does not decide"
    times = f"TE {te:g}, TR {tr:g}"
    if ti:
        return _inversion_recovery(te, ti, f"{times}, TI {ti:g}")
    if "GR" in acquisition.techniques and "SE" not in acquisition.techniques:
        return _gradient_echo(acquisition, te, tr, times)
    return _spin_echo(te, tr, times)


def _inversion_recovery(te: float, ti: float, times: str) -> tuple[str, str]:
    if te >= 70 and ti >= 1500:
        return "flair", ""
    if te <= 40 and 300 <= ti <= 1400:
        return "t1w", ""
    return "", f"an inversion recovery that is neither T1w nor FLAIR ({times} ms)"


def _spin_echo(te: float, tr: float, times: str) -> tuple[str, str]:
    if te >= 60 and tr >= 1500:
        return "t2w", ""
    if te < 35 and tr <= 1200:
        return "t1w", ""
    if te <= 45 and tr >= 1800:
        return "pdw", ""
    return "", f"a spin echo between the weightings ({times} ms)"


def _gradient_echo(acquisition: Acquisition, te: float, tr: float, times: str) -> tuple[str, str]:
    flip = acquisition.flip_angle_deg
    if te > 12:
        return "", f"a gradient echo with a late echo, T2*w ({times} ms)"
    if "SS" in acquisition.variants and not acquisition.variants & {"SP", "MP"}:
        return "", f"a balanced steady state ({times} ms)"
    if "MP" in acquisition.variants:  # prepared by inversion, whose time some makers do not write
        return "t1w", ""
    if flip is None:
        return "", f"a gradient echo without a flip angle ({times} ms)"
    # The Ernst angle of white matter (T1 about 700 ms) is 9 degrees at TR 8 ms and 50 at TR 300 ms: T1w lies above.
    if (tr <= 50 and flip > 7) or (tr <= 800 and flip >= 50):
        return "t1w", ""
    return "", f"a gradient echo with little T1 weighting (flip angle {flip:g}, {times} ms)"


def _described_contrasts(description: str) -> set[str]:
    """Contrasts that a description names; `t2_flair` is FLAIR alone, `pd+t2` is both."""
    described = {contrast for contrast, words in _DESCRIBED.items() if words.search(description)}
    return described - {"t2w"} if "flair" in described else described
