"""Synthetic T2w for training a lesion segmenter, with and without lesions, on a simulated cohort.

python benchmarks/augmentation.py --out runs/augmentation

Generators learn T2w from the label maps of the cases (pix2pix: the U-Net, and SPADE, both against a discriminator), and
make T2w of label maps of other subjects: without lesions, with random ones, and with those of the cases (`volumetric
add-lesions`). A segmenter (MONAI's U-Net, Dice and cross-entropy) learns from scans alone, from synthetic images alone,
and from half and half, for equal steps, and is scored by Dice on subjects that no network has learned from. What helps
n cases has learned from these n alone; that of all cases serves where the segmenter has none. Finished generators and
images are not made again. `--validate` scores scans alone on the scans of the other subjects, to choose the segmenter's
settings by.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from monai.losses import DiceCELoss
from monai.metrics import compute_dice
from monai.networks.nets import UNet
from monai.transforms import (
    Compose,
    DivisiblePad,
    RandCropByPosNegLabel,
    RandFlip,
    RandGaussianNoise,
    RandScaleIntensity,
)
from numpy.typing import NDArray

from volumetric.cohort.add_lesions import add_lesions
from volumetric.cohort.phantom import phantom
from volumetric.config.inference import InferenceOptions
from volumetric.config.resolve import resolve
from volumetric.figures.differences import Differences, Panel, draw_differences
from volumetric.imaging.nifti import read_image, read_labels, write_image
from volumetric.learning.train import train
from volumetric.manifest import ManifestRow, read_manifest, write_manifest
from volumetric.metrics.differences import paired_difference
from volumetric.model.spec import SPEC
from volumetric.outputs import write_csv
from volumetric.records.prediction import PREDICTIONS, PredictionRow
from volumetric.simulation.label_table import LESION
from volumetric.synthesis.infer import infer

CLASSES = {"air": 0, "fluid": 1, "cortex": 2, "white_matter": 3, LESION: 4}
GENERATORS = {
    "pix2pix": ["network.name=unet", "network.channels=[16,32,64]", "network.num_blocks=1"],
    "spade": ["network.name=spade", "network.channels=[16,32,64]"],
}
LABELINGS = ("no lesions", "random lesions", "lesions of the cases")
NUM_CASES, NUM_TEST, NUM_MAPS = 10, 8, 12
PATCH = 48
"""Of the generators; the segmenter's is `SEGMENTER_PATCH`."""
SEGMENTER_PATCH, BATCH = 32, 4


class Case(NamedTuple):
    """T2w `(1, I, J, K)`, mean 0 and SD 1 in the brain, and its lesions, 0 or 1."""

    image: torch.Tensor
    lesions: torch.Tensor


class Cohort(NamedTuple):
    """Rows of a simulated cohort."""

    cases: Sequence[ManifestRow]
    test: Sequence[ManifestRow]
    others: Sequence[ManifestRow]


def labeled(row: ManifestRow, folder: Path, *, lesions: bool) -> ManifestRow:
    """The row with a label map of its tissues, and of its lesions where asked for."""
    path = folder / f"{row.subject_id}.nii.gz"
    classes = read_labels(row.path("tissues"))
    if lesions:
        classes.array[read_labels(row.path("lesions")).array > 0] = CLASSES[LESION]
    write_image(path, classes)
    return replace(row, paths={**row.paths, "labels": path})


def label_maps(cohort: Cohort, num_cases: int, out: Path) -> Mapping[str, Sequence[ManifestRow]]:
    """By labeling, the label maps of the other subjects and nothing else of them."""
    healthy, cases = out / "healthy.csv", out / f"cases_{num_cases}.csv"
    write_manifest(healthy, [only_labels(labeled(row, out / "healthy", lesions=False)) for row in cohort.others])
    write_manifest(cases, [only_labels(row) for row in cohort.cases[:num_cases]])
    table = str(out / "classes.yaml")
    random = add_lesions([healthy], out / "random", table=table, random=True)
    given = add_lesions([healthy], out / f"given_{num_cases}", table=table, donors=[cases])
    return dict(zip(LABELINGS, (read_manifest(path).rows for path in (healthy, random, given)), strict=True))


def only_labels(row: ManifestRow) -> ManifestRow:
    """A row that has nothing but its label map."""
    return ManifestRow(row.subject_id, paths={"labels": row.path("labels")})


def case(image: Path, labels: Path) -> Case:
    """A case of two files of one grid."""
    array, classes = read_image(image).array, read_labels(labels).array
    inside = array[classes > 0]
    scaled = np.where(classes > 0, (array - inside.mean()) / inside.std(), 0)
    pad = DivisiblePad(4)  # the U-Net halves twice
    return Case(*(torch.as_tensor(pad(a[None].astype(np.float32))) for a in (scaled, classes == CLASSES[LESION])))


def synthesized(
    generator: str, rows: Sequence[ManifestRow], maps: Mapping[str, Sequence[ManifestRow]], out: Path, steps: int
) -> Mapping[str, Sequence[Case]]:
    """By labeling, synthetic T2w of `maps`, by a generator that has learned from `rows`."""
    run = out / f"{generator}_{len(rows)}"
    if not (run / "model" / SPEC).is_file():
        changes = [
            f"labels.table={out / 'classes.yaml'}",
            "space.spacing_mm=[2,2,2]",
            *GENERATORS[generator],
            "adversarial.channels=16",
            "adversarial.num_layers=2",
            f"patch.size=[{PATCH},{PATCH},{PATCH}]",
            f"optim.num_steps={steps}",
            f"validation.every_steps={steps}",
            f"cache={out / 'cache'}",
            "device=cpu",
        ]
        write_manifest(run.with_suffix(".csv"), rows)
        train([run.with_suffix(".csv")], resolve("labels_to_t2w", changes), run)
    made = {}
    for labeling, labeled_rows in maps.items():
        folder = run / labeling.replace(" ", "_")
        manifest = folder.with_suffix(".csv")
        write_manifest(manifest, labeled_rows)
        infer([manifest], out=folder, model=run, options=InferenceOptions(device="cpu", overlap=0.0), prepare=False)
        images = {row.key: folder / row.path for row in PredictionRow.read_table(folder / PREDICTIONS)}
        made[labeling] = [case(images[row.key], row.path("labels")) for row in labeled_rows]
    return made


def segmenter(cases: Sequence[Case], synthetic: Sequence[Case], seed: int, steps: int) -> UNet:
    """A U-Net that has learned lesions; each step sees two patches of either, or four of what there is."""
    torch.manual_seed(seed)
    network = UNet(3, 1, 1, channels=(8, 16, 32), strides=(2, 2), norm="batch")  # test volumes are no patches
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    loss_of = DiceCELoss(sigmoid=True, batch=True)  # a patch without a lesion has no Dice of its own
    rng = np.random.default_rng(seed)
    crop = RandCropByPosNegLabel((SEGMENTER_PATCH,) * 3, pos=3, neg=1, num_samples=1, allow_smaller=True)
    flip, shade = RandFlip(0.5, spatial_axis=0), Compose([RandScaleIntensity(0.2, 1), RandGaussianNoise(0.5, std=0.1)])
    pools = [pool for pool in (cases, synthetic) if pool]
    for _ in range(steps):
        crops = []
        for pool in pools * (BATCH // len(pools)):
            drawn, draw = pool[int(rng.integers(len(pool)))], int(rng.integers(2**31))
            for transform in (crop, flip, shade):
                transform.set_random_state(draw)
            patch = crop(torch.cat(drawn), label=drawn.lesions)[0]
            patch = flip(patch)
            crops.append(torch.cat([shade(patch[:1]), patch[1:]]))
        batch = torch.stack([torch.as_tensor(np.asarray(c)) for c in crops])
        optimizer.zero_grad()
        loss_of(network(batch[:, :1]), batch[:, 1:]).backward()
        optimizer.step()
        schedule.step()
    return network.eval()


@torch.no_grad()
def dice(network: UNet, test: Iterable[Case]) -> NDArray[np.float64]:
    """Dice of each test subject."""
    return np.array([float(compute_dice(network(image[None]) > 0, lesions[None])) for image, lesions in test])


def summary(runs: Sequence[NDArray[np.float64]]) -> Mapping[str, float]:
    """Mean Dice of runs `(S,)`, and its SD over seeds and over subjects."""
    means = [float(run.mean()) for run in runs]
    return {
        "dice": float(np.mean(means)),
        "sd_seeds": float(np.std(means, ddof=1)) if len(means) > 1 else float("nan"),
        "sd_subjects": float(np.mean(runs, 0).std(ddof=1)),
    }


def make_cohort(out: Path) -> Cohort:
    """Simulated subjects: cases, test subjects, and those of whom the label maps alone are used."""
    total = NUM_CASES + NUM_TEST + NUM_MAPS
    out.mkdir(parents=True, exist_ok=True)
    (out / "classes.yaml").write_text("".join(f"{name}: [{label}]\n" for name, label in CLASSES.items()))
    manifest = read_manifest(phantom(out / "cohort", subjects=total))
    rows = [labeled(row, out / "labels", lesions=True) for row in manifest.rows]
    cases = [replace(row, split="train") for row in rows[:NUM_CASES]]
    return Cohort(cases, rows[NUM_CASES : NUM_CASES + NUM_TEST], rows[NUM_CASES + NUM_TEST :])


def row_of(
    runs: Sequence[NDArray[np.float64]], alone: NDArray[np.float64] | None, name: str
) -> tuple[dict[str, float], Differences | None]:
    """Statistics of a method, and its gain over scans alone as numbers and as a row of the figure."""
    if alone is None:
        return dict(summary(runs)), None
    scores = np.mean(runs, 0)
    d = paired_difference(alone, scores, better="higher")
    gain = {"gain": d.mean, "ci95_low": d.ci95_low, "ci95_high": d.ci95_high, "p": d.p}
    return {**summary(runs), **gain}, Differences(name, scores - alone, d.mean, d.ci95_low, d.ci95_high)


def main() -> None:
    """Make the cohort, train what is asked for, print the table, and draw the gains."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--scans", type=int, nargs="+", default=[0, 3, 10], help=f"numbers of scanned cases, to {NUM_CASES}"
    )
    parser.add_argument("--generator-steps", type=int, default=300)
    parser.add_argument("--steps", type=int, default=600, help="of the segmenter")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--validate", action="store_true", help="score on the other subjects")
    options = parser.parse_args()
    out: Path = options.out
    cohort = make_cohort(out)
    scored = cohort.others if options.validate else cohort.test
    test, scans = ([case(row.path("t2w"), row.path("labels")) for row in part] for part in (scored, cohort.cases))
    rows, panels = [], []
    for num in options.scans:
        pools: dict[tuple[str, str], Sequence[Case]] = {("scans alone", ""): []} if num else {}
        maps = label_maps(cohort, num or NUM_CASES, out)
        for generator in () if options.validate else GENERATORS:
            made = synthesized(generator, cohort.cases[: num or NUM_CASES], maps, out, options.generator_steps)
            pools |= {
                (generator, labeling): made[labeling] for labeling in LABELINGS if num or labeling != "no lesions"
            }
        alone, gains = None, []
        for (method, labeling), synthetic in pools.items():
            runs = [dice(segmenter(scans[:num], synthetic, seed, options.steps), test) for seed in range(options.seeds)]
            numbers, drawn = row_of(runs, alone, f"{method}, {labeling}")
            gains += [drawn] if drawn else []
            alone = np.mean(runs, 0) if method == "scans alone" else alone
            rows.append({"scans": num, "method": method, "label_maps": labeling, **numbers})
            shown = (f"{value:.3f}" if isinstance(value, float) else str(value) for value in rows[-1].values())
            print("  ".join(f"{text:16}" for text in shown), flush=True)
        panels += [Panel(f"gain in Dice, {num} scans", True, gains)] if gains else []
    write_csv(out / ("validation.csv" if options.validate else "augmentation.csv"), rows)
    if panels:
        draw_differences(panels, out / "augmentation.png")


if __name__ == "__main__":
    main()
