"""The tissues of a head: relaxation times, proton density and what else a signal needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from volumetric.simulation.signal import LITERATURE, Relaxation
from volumetric.simulation.template import IRON_OF_CORTEX, NUCLEI

TissueRegion = Literal["brain", "fluid", "outside"]
FIELD_STRENGTHS = (1.5, 3.0)


@dataclass(frozen=True)
class Tissue:
    """Constants of one tissue.

    Attributes:
        relaxation: T1, T2 and proton density at 1.5 T and at 3 T.
        region: solid brain, fluid within the skull, or outside both.
        iron: mg per 100 g above that of cortex.
        bound: share of the signal that full saturation of the bound protons takes away (magnetization transfer).
        texture: SD of the logarithm of the signal from voxel to voxel, at 1 mm.
        is_fat: T2 seems longer to a train of echoes (Henkelman et al., J. Magn. Reson. Imaging 2(5), 1992).
        flows: the signal depends on inflow and is lost between pulses.
    """

    relaxation: tuple[Relaxation, Relaxation]
    region: TissueRegion = "outside"
    iron: float = 0.0
    bound: float = 0.0
    texture: float = 0.03
    is_fat: bool = False
    flows: bool = False

    def at(self, field_strength: float) -> Relaxation:
        """The constants at one of `FIELD_STRENGTHS`."""
        return self.relaxation[FIELD_STRENGTHS.index(field_strength)]


EFFECTIVE_T2_MS = {"gm": 93.0, "wm": 80.0}
"""T2 that gives the contrast of turbo spin echoes of real scanners, at both field strengths.

Single spin echoes measure 95 to 99 and 69 to 72 ms (Stanisz et al. 2005). With stimulated echoes and partial
volume the two come nearer: white over gray matter in T2w is 0.69 to 0.99 in sixteen real subjects (median 0.91), and
0.64 by the spin-echo times. An effective value, fitted, not measured in any tissue.
"""


def _brain(gray: float, *, iron: float = 0.0, texture: float = 0.03) -> Tissue:
    """A mixture of gray and white matter, in relaxation rates; `gray` is the share of gray matter."""

    def mix(field: float) -> Relaxation:
        gm, wm = LITERATURE[field]["gm"], LITERATURE[field]["wm"]
        share = (gray, 1 - gray)
        t1 = 1 / (share[0] / gm.t1_ms + share[1] / wm.t1_ms)
        t2 = 1 / (share[0] / EFFECTIVE_T2_MS["gm"] + share[1] / EFFECTIVE_T2_MS["wm"])
        return Relaxation(t1, t2, share[0] * gm.pd + share[1] * wm.pd)

    bound = gray * _BOUND["gm"] + (1 - gray) * _BOUND["wm"]
    return Tissue((mix(1.5), mix(3.0)), "brain", iron=iron, bound=bound, texture=texture)


def _tissue(
    t1_ms: tuple[float, float],
    t2_ms: tuple[float, float],
    pd: float,
    region: TissueRegion = "outside",
    **rest: float | bool,
) -> Tissue:
    low, high = (Relaxation(t1, t2, pd) for t1, t2 in zip(t1_ms, t2_ms, strict=True))
    return Tissue((low, high), region, **rest)  # type: ignore[arg-type]


_BOUND = {"gm": 0.25, "wm": 0.40}
_IRON = {name: nucleus.iron - IRON_OF_CORTEX for name, nucleus in NUCLEI.items()}

TISSUES: dict[str, Tissue] = {
    "air": _tissue((1000, 1000), (1, 1), 0.0, texture=0.0),
    "white_matter": _brain(0.0, texture=0.02),
    "cortex": _brain(1.0, texture=0.05),
    "thalamus": _brain(0.60, iron=_IRON["thalamus"]),
    "caudate": _brain(0.90, iron=_IRON["caudate"]),
    "putamen": _brain(0.83, iron=_IRON["putamen"]),
    "pallidum": _brain(0.35, iron=_IRON["pallidum"]),
    "hippocampus": _brain(1.0, texture=0.05),
    "amygdala": _brain(1.0),
    "accumbens": _brain(0.90, iron=_IRON["caudate"]),
    "ventral_diencephalon": _brain(0.30, iron=6.0),
    "brain_stem": _brain(0.25),
    "cerebellar_cortex": _brain(0.90, texture=0.05),
    "cerebellar_white_matter": _brain(0.10),
    "white_matter_lesion": _tissue((900, 1150), (130, 130), 0.84, "brain", bound=0.25, texture=0.06),
    "edema": _tissue((1000, 1300), (150, 150), 0.88, "brain", bound=0.2, texture=0.06),
    "tumor": _tissue((1200, 1500), (120, 120), 0.86, "brain", bound=0.2, texture=0.08),
    "necrosis": _tissue((2500, 2800), (400, 400), 0.95, "brain", texture=0.08),
    "ventricle": _tissue((4300, 4300), (2000, 2000), 1.0, "fluid", texture=0.02),
    "fluid": _tissue((4300, 4300), (2000, 2000), 1.0, "fluid", texture=0.06),
    "choroid_plexus": _tissue((1800, 2200), (200, 200), 0.95, "fluid", texture=0.10),
    "vessel": _tissue((1441, 1932), (290, 275), 0.90, "fluid", texture=0.10, flows=True),
    "dura": _tissue((900, 1100), (25, 25), 0.55, texture=0.10),
    "optic_nerve": _tissue((815, 1083), (77, 78), 0.80),
    "eye": _tissue((4000, 4000), (1200, 1200), 1.0, texture=0.02),
    "muscle": _tissue((1008, 1412), (44, 50), 0.80, bound=0.45, texture=0.08),
    "fat": _tissue((343, 382), (58, 68), 0.90, is_fat=True, texture=0.08),
    "soft_tissue": _tissue((800, 1050), (47, 52), 0.82, bound=0.30, texture=0.10),
    "mucosa": _tissue((1100, 1400), (100, 100), 0.90, texture=0.15),
    "skin": _tissue((900, 1100), (35, 35), 0.75, bound=0.30, texture=0.08),
    "spinal_cord": _tissue((745, 993), (74, 78), 0.80, bound=0.35),
    "bone": _tissue((600, 600), (1.5, 1.5), 0.20, texture=0.15),
    "marrow": _tissue((549, 586), (49, 49), 0.80, is_fat=True, texture=0.10),
}
"""Tissue by name.

Gray and white matter, fluid: `signal.LITERATURE`, with the effective T2 above; nuclei, brain stem and cerebellum as
mixtures of both with the iron of Hallgren and Sourander (1958). Fat and marrow: de Bazelaire et al., Radiology 230(3),
2004. Muscle, blood, optic nerve, spinal cord: Stanisz et al. 2005. Lesion, edema, tumor, necrosis, choroid plexus,
dura, skin, mucosa, eye and bone: chosen, so that their order in both contrasts is that of scans; `parameters` draws
them widely.
"""

NAMES = tuple(TISSUES)
"""Tissues by number: a simulated label map holds these places."""

NUMBER = {name: number for number, name in enumerate(NAMES)}

IN_BRAIN = np.array([tissue.region == "brain" for tissue in TISSUES.values()])
"""Solid brain, by number."""
