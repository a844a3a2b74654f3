"""Ten features of simulated pairs beside those of scanned ones: does the simulated range contain the scans?

    python benchmarks/simulation_gap.py MANIFEST... --anatomies data/label_maps --pairs 100

Scans are read as training reads them, at --spacing-mm. A scan lies within where it is between the 2.5th and the 97.5th
percentile of the simulated pairs. `--parts` leaves out each part of the generator, one at a
time, of the same pairs.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from volumetric.cohort.label_maps import find_label_maps
from volumetric.config.simulation import SimulationConfig
from volumetric.imaging.nifti import read_labels
from volumetric.manifest import read_manifest
from volumetric.model.space import model_space_of
from volumetric.simulation.draws import draw_pair
from volumetric.simulation.features import pair_features
from volumetric.simulation.label_map import prepare_label_map
from volumetric.simulation.label_table import HIGHEST_LABEL, read_label_table
from volumetric.simulation.pair import PairSimulation
from volumetric.simulation.point_spread import PairGrid
from volumetric.subject import read_subject

PARTS: dict[str, dict[str, object]] = {
    "everything": {},
    "no thick slices": {"thick_slice_probability": 0},
    "no change of pose, size and shape": {"deformation": 0},
    "no lesions, tumors or cavities": {"lesion_probability": 0, "tumor_probability": 0},
    "no ringing, shading, noise or shift": {"ringing_probability": 0, "bias": 0, "noise": 0, "misalignment_mm": 0},
    "no motion": {"motion_probability": 0},
    "random contrasts in half of the sources": {"random_contrast_probability": 0.5},
}
"""Settings that leave out, or add, a part of the generator."""

Features = dict[str, float]


def scanned(manifests: list[Path], side_mm: float) -> Iterator[tuple[str, Features]]:
    """Name and features of each scanned pair."""
    for row in read_manifest(*manifests).rows:
        subject = read_subject(row, ["t1w", "t2w"])
        space = model_space_of(subject.images["t1w"].space, subject.mask.array, (side_mm,) * 3)
        t1w, t2w = space.to_model_space(*subject.images.values())
        yield row.name, pair_features(t1w, t2w, space.mask)


def simulated(
    folder: Path, table: str, num_pairs: int, side_mm: float, seed: int, parts: list[str]
) -> dict[str, list[Features]]:
    """Features of simulated pairs for each of some parts, map by map."""
    files = find_label_maps(folder)
    configs = {part: SimulationConfig(clean_target=False, **PARTS[part]) for part in parts}
    labels = read_label_table(table)
    found: dict[str, list[Features]] = {part: [] for part in parts}
    for place, file in enumerate(files):
        prepared = prepare_label_map(read_labels(file.path, HIGHEST_LABEL), labels, name=str(file.path))
        for number in range(place, num_pairs, len(files)):
            for part, config in configs.items():
                parameters = draw_pair(np.random.default_rng([seed, number]), config)
                found[part].append(_features(PairSimulation(prepared, parameters), side_mm))
    return found


def _features(pair: PairSimulation, side_mm: float) -> Features:
    coarse = pair.overview_grid
    extent = (np.array(coarse.shape) - 1) * coarse.spacing_mm
    i, j, k = (int(n) for n in extent / side_mm + 1)
    rendered = pair.render(PairGrid(coarse.origin_mm, (side_mm,) * 3, (i, j, k)))
    mask = rendered.mask.numpy()
    images = [image.numpy() for image in (rendered.source, rendered.target)]
    source, target = (image * mask / np.median(image[mask]) for image in images)
    return pair_features(source, target, mask)


def _range(made: list[Features], name: str) -> tuple[float, float, float]:
    low, median, high = np.quantile([features[name] for features in made], (0.025, 0.5, 0.975))
    return float(low), float(median), float(high)


def _outside(made: list[Features], scans: dict[str, Features], name: str) -> list[str]:
    low, _, high = _range(made, name)
    return [scan for scan, features in scans.items() if not low <= features[name] <= high]


def print_features(made: list[Features], scans: dict[str, Features]) -> None:
    """Print a row for each feature."""
    print(f"| feature | simulated, 2.5 % to 97.5 % (median) | {len(scans)} scans (median) | not within |")
    print("|---|---|---|---|")
    for name in made[0]:
        low, median, high = _range(made, name)
        values = [features[name] for features in scans.values()]
        print(
            f"| {name} | {low:.2f} to {high:.2f} ({median:.2f}) | {min(values):.2f} to {max(values):.2f} "
            f"({np.median(values):.2f}) | {', '.join(_outside(made, scans, name)) or '-'} |"
        )


def print_parts(made: dict[str, list[Features]], scans: dict[str, Features]) -> None:
    """Print a row for each part: values of scans within, and those features whose count differs."""
    print("\n| simulated with | values within | features that lose (or win) scans |")
    print("|---|---|---|")
    full = made["everything"]
    for part, own in made.items():
        counts = {name: len(_outside(own, scans, name)) for name in own[0]}
        changes = {name: len(_outside(full, scans, name)) - count for name, count in counts.items()}
        total = len(scans) * len(counts)
        listed = ", ".join(f"{name} {change:+d}" for name, change in changes.items() if change)
        print(f"| {part} | {total - sum(counts.values())} of {total} | {listed or '-'} |")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("manifests", nargs="+", type=Path)
    parser.add_argument("--anatomies", type=Path, required=True)
    parser.add_argument("--table", default="freesurfer")
    parser.add_argument("--pairs", type=int, default=100)
    parser.add_argument("--spacing-mm", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--parts", action="store_true")
    options = parser.parse_args()
    scans = dict(scanned(options.manifests, options.spacing_mm))
    made = simulated(
        options.anatomies,
        options.table,
        options.pairs,
        options.spacing_mm,
        options.seed,
        list(PARTS) if options.parts else ["everything"],
    )
    print_features(made["everything"], scans)
    print_parts(made, scans)


if __name__ == "__main__":
    main()
