"""Label maps of real scans: tissues from T1w alone, and the expert's lesions or tumor laid over them.

python benchmarks/label_maps.py mni.csv brats.csv --out runs/label_maps

Writes a map for each subject, `manifest.csv` with all rows and their maps, and two tables: `with_lesions.yaml`,
and `without_lesions.yaml`, where lesions and tumors are white matter. T2w has no part in a map, except as far as the
experts looked at it. The column `lesions` may hold a tumor map of BraTS instead of a mask: 1 necrosis, 2 edema, 4
enhancing.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from volumetric.evaluation.segmentation import CSF, GM, WM, segment
from volumetric.imaging.nifti import read_labels, write_image
from volumetric.manifest import ManifestRow, read_manifest, write_manifest
from volumetric.subject import read_subject

TISSUES = {"air": [0], "fluid": [CSF], "cortex": [GM], "white_matter": [WM]}
LESION, TUMOR = 10, 100
DISEASE = {
    "white_matter_lesion": [LESION],
    "necrosis": [TUMOR + 1],
    "edema": [TUMOR + 2],
    "tumor": [TUMOR + 4],
}


def with_map(row: ManifestRow, folder: Path) -> ManifestRow:
    """The row with its label map, which is written."""
    subject = read_subject(row, ("t1w",))
    source, mask = subject.images["t1w"], subject.mask.array
    labels = segment(source.array, mask)
    if "lesions" in row.paths:
        own = read_labels(row.path("lesions")).array.astype(int)
        labels = np.where((own > 0) & mask, LESION if own.max() == 1 else TUMOR + own, labels)
    path = folder / f"{row.name.replace('/', '_')}.nii.gz"
    write_image(path, source.with_array(labels.astype(np.uint8)))
    return replace(row, paths={**row.paths, "labels": path})


def table(classes: dict[str, list[int]]) -> str:
    """A table of labels as YAML."""
    return "".join(f"{tissue}: {labels}\n" for tissue, labels in classes.items())


def main() -> None:
    """Write the maps, the manifest and the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifests", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    rows = []
    for manifest in options.manifests:
        for row in read_manifest(manifest).rows:
            rows.append(with_map(row, out))
            print(row.name, flush=True)
    write_manifest(out / "manifest.csv", rows)
    (out / "with_lesions.yaml").write_text(table({**TISSUES, **DISEASE}))
    plain = {**TISSUES, "white_matter": [WM, *(label for labels in DISEASE.values() for label in labels)]}
    (out / "without_lesions.yaml").write_text(table(plain))


if __name__ == "__main__":
    main()
