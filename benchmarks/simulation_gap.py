"""Ten features of simulated pairs beside those of scanned ones: does the simulated range contain the scans?

    python benchmarks/simulation_gap.py MANIFEST... --anatomies data/label_maps --pairs 100

Scans are read as training reads them, at --spacing-mm. A scan lies within where it is between the 2.5th and the 97.5th
percentile of the simulated pairs.
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


def scanned(manifests: list[Path], side_mm: float) -> Iterator[tuple[str, dict[str, float]]]:
    """Name and features of each scanned pair."""
    for row in read_manifest(*manifests).rows:
        subject = read_subject(row, ["t1w", "t2w"])
        space = model_space_of(subject.images["t1w"].space, subject.mask.array, (side_mm,) * 3)
        t1w, t2w = space.to_model_space(*subject.images.values())
        yield row.name, pair_features(t1w, t2w, space.mask)


def simulated(folder: Path, table: str, num_pairs: int, side_mm: float, seed: int) -> Iterator[dict[str, float]]:
    """Features of simulated pairs, map by map."""
    files = find_label_maps(folder)
    config, labels = SimulationConfig(clean_target=False), read_label_table(table)
    for place, file in enumerate(files):
        prepared = prepare_label_map(read_labels(file.path, HIGHEST_LABEL), labels, name=str(file.path))
        for number in range(place, num_pairs, len(files)):
            pair = PairSimulation(prepared, draw_pair(np.random.default_rng([seed, number]), config))
            coarse = pair.overview_grid
            extent = (np.array(coarse.shape) - 1) * coarse.spacing_mm
            i, j, k = (int(n) for n in extent / side_mm + 1)
            rendered = pair.render(PairGrid(coarse.origin_mm, (side_mm,) * 3, (i, j, k)))
            mask = rendered.mask.numpy()
            images = [image.numpy() for image in (rendered.source, rendered.target)]
            source, target = (image * mask / np.median(image[mask]) for image in images)
            yield pair_features(source, target, mask)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("manifests", nargs="+", type=Path)
    parser.add_argument("--anatomies", type=Path, required=True)
    parser.add_argument("--table", default="freesurfer")
    parser.add_argument("--pairs", type=int, default=100)
    parser.add_argument("--spacing-mm", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    scans = dict(scanned(options.manifests, options.spacing_mm))
    made = list(simulated(options.anatomies, options.table, options.pairs, options.spacing_mm, options.seed))
    print(f"| feature | simulated, 2.5 % to 97.5 % (median) | {len(scans)} scans (median) | not within |")
    print("|---|---|---|---|")
    within = 0
    for name in made[0]:
        low, median, high = np.quantile([features[name] for features in made], (0.025, 0.5, 0.975))
        own = {scan: features[name] for scan, features in scans.items()}
        outside = [scan for scan, value in own.items() if not low <= value <= high]
        within += len(own) - len(outside)
        values = list(own.values())
        print(
            f"| {name} | {low:.2f} to {high:.2f} ({median:.2f}) | {min(values):.2f} to {max(values):.2f} "
            f"({np.median(values):.2f}) | {', '.join(outside) or '-'} |"
        )
    print(f"\n{within} of {len(scans) * len(made[0])} values of scans lie within ({options.pairs} simulated pairs)")


if __name__ == "__main__":
    main()
