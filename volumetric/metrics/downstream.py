"""The columns of a metrics CSV that need more than a pair of volumes, and the definitions of all columns."""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from volumetric.metrics.region import Metric
from volumetric.metrics.table import METRICS

_TISSUES = "Dice, Ecology 26(3):297-302, 1945; tissues by Zhang, Brady and Smith, IEEE Trans. Med. Imaging 20(1), 2001"


def _column(
    name: str,
    label: str,
    unit: str,
    better: Literal["higher", "lower", "zero"],
    value_range: tuple[float, float],
    formula: str,
    source: str = "definition",
) -> Metric:
    return Metric(name, label, unit, better, value_range, formula, source, None)


_ROWS = (
    _column("dice", "Dice of tissue", "1", "higher", (0, 1),
            "2 |A and B| / (|A| + |B|); A: the tissue segmented from source and truth, B: from source and prediction, "
            "three classes of (T1w - T2w) / (T1w + T2w)", _TISSUES),
    _column("volume_bias", "Volume bias of tissue", "1", "zero", (-1, math.inf), "(|B| - |A|) / |A|, as in dice"),
    _column("cnr_truth", "Lesion contrast to noise, truth", "1", "higher", (-math.inf, math.inf),
            "(mean t of lesions - mean t of white matter within 3 mm) / SD of t there"),
    _column("cnr_prediction", "Lesion contrast to noise, prediction", "1", "higher", (-math.inf, math.inf),
            "(mean p of lesions - mean p of white matter within 3 mm) / SD of p there"),
    _column("lesions_marked", "Lesions that show", "count", "higher", (0, math.inf),
            "marked lesions of 10 mm3 or more that show in t by 1 robust SD of white matter"),
    _column("lesions_lost", "Lesions lost", "count", "lower", (0, math.inf),
            "of lesions_marked, those with less than half of that contrast in p, each in its own SD"),
    _column("spots_invented", "Spots invented", "count", "lower", (0, math.inf),
            "connected voxels of 10 mm3 or more in white matter away from lesions, 3 robust SD over its median in p, "
            "while the mean of t there is under 2 SD"),
    _column("shift_mm", "Shift", "mm", "lower", (0, math.inf),
            "displacement of the highest correlation of gradient magnitudes, within 3 voxels along each axis"),
    _column("clipped_fraction", "Clipped", "1", "lower", (0, 1),
            "share of voxels where p is 0 or less, or where several share the highest p"),
    _column("coverage_90", "Coverage of the 90 % interval", "1", "higher", (0, 1),
            "share of voxels with |e| <= w, w: the half-width beside the prediction", "0.9 is meant"),
    _column("top_tenth_error_share", "Error in the least certain tenth", "1", "higher", (0, 1),
            "sum e^2 over the tenth of voxels with the largest w / sum e^2"),
)  # fmt: skip

DOWNSTREAM: Mapping[str, Metric] = MappingProxyType({metric.name: metric for metric in _ROWS})
"""Name -> definition; filled in for the regions they speak of, for the method `model` alone."""


def definitions() -> dict[str, dict[str, object]]:
    """Definitions of all columns, ready for JSON; an infinite end of a range is None."""
    return {
        name: {
            "label": metric.label,
            "unit": metric.unit,
            "better": metric.better,
            "value_range": [end if math.isfinite(end) else None for end in metric.value_range],
            "formula": metric.formula,
            "source": metric.source,
        }
        for name, metric in {**METRICS, **DOWNSTREAM}.items()
    }
