"""Synthetic T2w for training a tumor segmenter, on real scans: the folds of a cross-validation of label maps.

volumetric crossval runs/label_maps/manifest.csv --config labels_to_t2w --folds 3 ... --out runs/cv_spade
python benchmarks/augmentation_of_tumors.py runs/cv_spade runs/cv_pix2pix --table with_lesions.yaml --out runs/tumors

In each fold the segmenter of `augmentation.py` learns the tumors of the training subjects' T2w at 2 mm, alone or half
and half with synthetic T2w, and is scored by Dice on the fold's held-out subjects with a tumor. The synthetic images
are those that the fold's own model makes of the label maps of its training subjects without a tumor, each three times
with a tumor of another (`volumetric add-lesions`). Finished images are not made again.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from augmentation import Case, dice, row_of, segmenter
from monai.transforms import DivisiblePad
from numpy.typing import NDArray

from volumetric.cohort.add_lesions import add_lesions
from volumetric.config.inference import InferenceOptions
from volumetric.imaging.geometry import bounding_box, crop, with_spacing
from volumetric.imaging.nifti import Image, read_image, read_labels
from volumetric.imaging.resample import resample
from volumetric.manifest import ManifestRow, read_manifest, write_manifest
from volumetric.outputs import write_csv
from volumetric.records.prediction import PREDICTIONS, PredictionRow
from volumetric.simulation.label_table import LabelTable, read_label_table
from volumetric.simulation.tissues import NUMBER
from volumetric.subject import HIGHEST_LABEL
from volumetric.synthesis.infer import infer

TUMOR = [NUMBER[tissue] for tissue in ("edema", "tumor", "necrosis")]
COPIES = 3


def read_map(row: ManifestRow) -> Image:
    """The label map of a row."""
    return read_labels(row.path("labels"), HIGHEST_LABEL)


def tumor_of(labels: Image, table: LabelTable, name: str) -> NDArray[np.bool_]:
    """Voxels of tumor in a label map."""
    return np.isin(table.tissues(labels.array, name=name), TUMOR)


def case(image_path: Path, row: ManifestRow, table: LabelTable) -> Case:
    """An image and the tumor of its label map at 2 mm, in the box of the brain."""
    image, labels = read_image(image_path), read_map(row)
    box = bounding_box(labels.array > 0)
    own = crop(image.space, box)
    grid = with_spacing(own, (2.0, 2.0, 2.0))
    array = resample(image.array[box], own, grid)
    brain = resample((labels.array > 0)[box], own, grid, "nearest") > 0
    tumor = resample(tumor_of(labels, table, row.name)[box], own, grid, "nearest")
    scaled = np.where(brain, (array - array[brain].mean()) / array[brain].std(), 0)
    pad = DivisiblePad(4)
    return Case(*(torch.as_tensor(np.asarray(pad(a[None].astype(np.float32)))) for a in (scaled, tumor)))


def synthetic(fold: Path, donors: Path, recipients: Path, table: str, out: Path) -> Sequence[Case]:
    """Images of the recipients' label maps with tumors of the donors, by the fold's own model."""
    manifest = add_lesions([recipients], out / "maps", donors=[donors], table=table, copies=COPIES)
    images = out / fold.parent.name
    infer([manifest], out=images, model=fold, options=InferenceOptions(device="cpu"), prepare=False)
    paths = {row.key: images / row.path for row in PredictionRow.read_table(images / PREDICTIONS)}
    return [case(paths[row.key], row, read_label_table(table)) for row in read_manifest(manifest).rows]


def scored(
    runs: Sequence[Path], number: int, options: argparse.Namespace
) -> Mapping[str, Sequence[NDArray[np.float64]]]:
    """By method, for each seed, Dice of a fold's held-out subjects; nothing where none of them has a tumor."""
    table, out = read_label_table(options.table), options.out / f"fold-{number}"
    rows = read_manifest(runs[0] / f"fold-{number}" / "manifest.csv").rows
    has_tumor = {row.key: bool(tumor_of(read_map(row), table, row.name).any()) for row in rows}
    train = [row for row in rows if row.split == "train"]
    if not any(row.split == "test" and has_tumor[row.key] for row in rows):
        return {}
    cases = [row for row in train if has_tumor[row.key]]
    donors, recipients = out / "donors.csv", out / "recipients.csv"
    write_manifest(donors, cases)
    write_manifest(recipients, [row for row in train if not has_tumor[row.key]])
    scans = [case(row.path("t2w"), row, table) for row in cases]
    test = [case(row.path("t2w"), row, table) for row in rows if row.split == "test" and has_tumor[row.key]]
    pools: dict[str, Sequence[Case]] = {"scans alone": []}
    pools |= {run.name: synthetic(run / f"fold-{number}", donors, recipients, options.table, out) for run in runs}
    return {
        method: [dice(segmenter(scans, pool, seed, options.steps), test) for seed in range(options.seeds)]
        for method, pool in pools.items()
    }


def main() -> None:
    """Score all folds, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", help="cross-validations of label maps, with the same folds")
    parser.add_argument("--table", required=True, help="tissues of the labels")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=600, help="of the segmenter")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    folds = []
    for number in range(len(list(options.runs[0].glob("fold-*")))):
        if of_fold := scored(options.runs, number, options):
            folds.append(of_fold)
            print(number, {method: np.round(runs, 3).tolist() for method, runs in of_fold.items()}, flush=True)
    alone, rows = None, []
    for method in folds[0]:
        runs = [np.concatenate(of_folds) for of_folds in zip(*(fold[method] for fold in folds), strict=True)]
        numbers, _ = row_of(runs, alone, method)
        alone = np.mean(runs, 0) if alone is None else alone
        rows.append({"method": method, **numbers})
        print(rows[-1], flush=True)
    write_csv(options.out / "tumors.csv", rows)


if __name__ == "__main__":
    main()
