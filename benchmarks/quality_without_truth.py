"""Correlation of half-widths and distance from the training scans with the true MAE, over scans and corrupted copies.

    python benchmarks/quality_without_truth.py MODEL MANIFEST [--split test] [--out rows.csv]

The model is one that was trained with `uncertainty.weight`; rows of the split are on one grid, with their truth. The
sources are corrupted, the truth is not: noise, an offset of the signal, gamma, blur, the target's own contrast. Error
and mean half-width are of the brain in model space, in reference units. Prints Spearman's correlation over all scans,
over intact ones, and a table by corruption.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.stats import spearmanr

from volumetric.config.inference import InferenceOptions
from volumetric.imaging.nifti import Image
from volumetric.manifest import ManifestRow, read_manifest
from volumetric.model.folder import load_model
from volumetric.model.predict import Model
from volumetric.outputs import write_csv
from volumetric.subject import read_subject

GUESSES = ("widths", "score", "product")
"""The mean half-width, the distance from the training scans, and their product."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--split", default="test")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    model = load_model(args.model, options=InferenceOptions(device="cpu"))
    if model.spec.uncertainty is None:
        parser.error(f"{args.model} was trained without uncertainty")
    rows = [row for subject in read_manifest(args.manifest).split(args.split) for row in measured(model, subject)]
    if args.out:
        write_csv(args.out, rows)
    table(rows)


def measured(model: Model, row: ManifestRow) -> list[dict[str, object]]:
    """A row for each corruption of a subject's sources."""
    sources, target = model.spec.sources, model.spec.target
    subject = read_subject(row, [*sources, target])
    mask, truth = subject.mask, subject.images[target]
    found: list[dict[str, object]] = []
    for name, changed in corrupted({c: subject.images[c] for c in sources}, truth, mask.array).items():
        model_input = model.preprocess_masked(changed, mask)
        output = model.run(model_input)
        brain = model_input.space.brain
        error = np.abs(output.units.clip(min=0) - model_input.space.to_model_space(truth)[0])[brain]
        assert output.half_width is not None
        score = model_input.out_of_distribution._replace(features=output.features).score
        widths = output.half_width[brain].mean()
        numbers = {"mae": error.mean(), "widths": widths, "score": score, "product": widths * max(1, score) ** 0.25}
        found.append({"subject": row.name, "corruption": name} | {key: float(n) for key, n in numbers.items()})
        print(f"{row.name}, {name}: MAE {numbers['mae']:.3f}, half-width {numbers['widths']:.3f}", flush=True)
    return found


def corrupted(images: Mapping[str, Image], truth: Image, mask: NDArray[np.bool_]) -> dict[str, dict[str, Image]]:
    """Copies of the sources by corruption; changes are in medians of the brain and in millimeters, seed 0."""
    rng = np.random.default_rng(0)
    spacing = np.linalg.norm(truth.affine[:3, :3], axis=0)

    def each(change):
        copies = {}
        for contrast, image in images.items():
            median = float(np.median(image.array[mask]))
            units = np.where(mask, change(image.array / median), image.array / median).clip(min=0)
            copies[contrast] = image.with_array((median * units).astype(np.float32))
        return copies

    def noisy(units, sd):
        return np.hypot(units + rng.normal(0, sd, units.shape), rng.normal(0, sd, units.shape))

    made = {"none": each(lambda units: units)}
    made |= {f"noise {sd:g}": each(lambda units, sd=sd: noisy(units, sd)) for sd in (0.1, 0.3)}
    made |= {f"offset {add:g}": each(lambda units, add=add: units + add) for add in (0.3, 1)}
    made |= {f"gamma {power:g}": each(lambda units, power=power: units.clip(min=0) ** power) for power in (0.5, 2)}
    made |= {f"blur {mm:g} mm": each(lambda units, mm=mm: gaussian_filter(units, mm / spacing)) for mm in (1.5, 4)}
    return made | {"other contrast": dict.fromkeys(images, truth)}


def table(rows: list[dict[str, object]]) -> None:
    """Print the correlations, and means by corruption."""
    for title, chosen in (("all", rows), ("intact", [row for row in rows if row["corruption"] == "none"])):
        if len(chosen) > 2:
            true, *others = (np.array([row[key] for row in chosen], float) for key in ("mae", *GUESSES))
            pairs = zip(GUESSES, others, strict=True)
            found = ", ".join(f"{name} {spearmanr(true, own).statistic:.2f}" for name, own in pairs)
            print(f"\nSpearman's correlation with the true MAE, {len(chosen)} scans, {title}: {found}")
    print("\n| corruption | MAE |", " | ".join(GUESSES), "|\n|---|---|" + "---|" * len(GUESSES))
    for name in dict.fromkeys(row["corruption"] for row in rows):
        own = [row for row in rows if row["corruption"] == name]
        means = [np.mean([float(str(row[key])) for row in own]) for key in ("mae", *GUESSES)]
        print(f"| {name} | " + " | ".join(f"{mean:.3f}" for mean in means) + " |")


if __name__ == "__main__":
    main()
