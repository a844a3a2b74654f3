"""Spread of tissues over subjects after each normalization, and how long it takes a scan.

OMP_NUM_THREADS=1 python benchmarks/normalization.py --contrast t1w mni.csv brats.csv

Each scan is normalized at its own spacing, in its brain mask; `pooled` and `nyul` learn from the rows of split `train`.
Tissues are separated by Otsu's two thresholds on the T1w, which no normalization uses. A spread is the SD over subjects
of a tissue's median, in percent of the mean distance from the 5th to the 95th percentile: so it does not depend on
where a normalization puts its 0 and its 1. `cv` is that SD in percent of the mean, where the mean is larger than it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from skimage.filters import threshold_multiotsu

from volumetric.imaging.intensity import PooledIntensities, in_reference_units, reference_scale
from volumetric.imaging.mask import brain_mask
from volumetric.imaging.nifti import read_image
from volumetric.imaging.normalization import NORMALIZERS, AffineUnits, Units
from volumetric.manifest import ManifestRow, read_manifest

TISSUES = ("fluid", "gray", "white")


def tissues(t1w: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Places in `TISSUES` of the voxels in the mask, by the T1w alone."""
    inside = t1w[mask]
    thresholds = threshold_multiotsu(np.clip(inside, *np.quantile(inside, [0.005, 0.995])), classes=3)
    return np.digitize(inside, thresholds)


def read(row: ManifestRow, contrast: str) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """A scan in scanner units and in reference units, and the brain."""
    scan = read_image(row.path(contrast))
    mask = brain_mask(read_image(row.path("t1w"))).array
    return scan.array, in_reference_units(scan.array, mask, reference_scale(scan.array, mask)), mask


def intensities(rows: list[ManifestRow], contrast: str) -> Iterator[PooledIntensities]:
    """Statistics of each training subject."""
    for row in rows:
        if row.split == "train":
            _, units, mask = read(row, contrast)
            pooled = PooledIntensities()
            pooled.add(units[mask])
            yield pooled


def measure(rows: list[ManifestRow], contrast: str) -> Iterator[dict[str, float | str]]:
    """A row of the table for each normalization, after one for reference units."""
    learned = {name: n.learn(intensities(rows, contrast)) for name, n in NORMALIZERS.items() if n.learn}
    found: dict[str, list[Mapping[str, float]]] = {}
    for row in rows:
        scanner, reference, mask = read(row, contrast)
        where = tissues(read_image(row.path("t1w")).array, mask)
        for name in ("reference", *NORMALIZERS):
            array = scanner if name.startswith("gray") else reference
            start = time.perf_counter()
            units: Units = AffineUnits(0, 1)
            if name in NORMALIZERS:
                units = NORMALIZERS[name].fit(array, mask, contrast, learned.get(name, ()))
            middle = time.perf_counter()
            values = units.apply(array, mask)[mask]
            seconds = {"fit_s": middle - start, "apply_s": time.perf_counter() - middle}
            medians = {tissue: float(np.median(values[where == place])) for place, tissue in enumerate(TISSUES)}
            range_ = float(np.subtract(*np.quantile(values, [0.95, 0.05])))
            found.setdefault(name, []).append({**medians, **seconds, "range": range_})
    for name, subjects in found.items():
        columns = {key: np.array([one[key] for one in subjects]) for key in subjects[0]}
        sds = {tissue: columns[tissue].std(ddof=1) for tissue in TISSUES}
        mean = abs(columns["white"].mean())
        yield {
            "normalization": name,
            **{f"{tissue}_spread_percent": 100 * sds[tissue] / columns["range"].mean() for tissue in TISSUES},
            "white_cv_percent": 100 * sds["white"] / mean if mean > sds["white"] else float("nan"),
            **{key: float(np.median(columns[key])) for key in ("fit_s", "apply_s")},
        }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifests", type=Path, nargs="+")
    parser.add_argument("--contrast", default="t1w")
    options = parser.parse_args()
    for number, row in enumerate(measure(list(read_manifest(*options.manifests).rows), options.contrast)):
        if number == 0:
            print("| " + " | ".join(row) + " |\n|" + "---|" * len(row))
        cells = (f"{value:.3g}" if isinstance(value, float) else str(value) for value in row.values())
        print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
