"""Gray levels and image size in a cGAN on real pairs: the study of Kawahara and Nagata (2021), both directions.

    python benchmarks/gray.py prepared/manifest.csv --out runs/gray --seeds 0 --figure gray.png

Sources and targets are float as they are, or whole gray levels: *simple* and *adaptive*. The rows of split `train` are
learned from, those of `test` scored in the brain, by the front doors of `train`, `infer` and `evaluate`: against the
scan itself, one truth for all, and against the converted scan as in the paper. `no training` has the scores of the
converted scan itself, `cubic` those of a cubic map of the source. Finished runs are not repeated.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from volumetric.config.inference import InferenceOptions
from volumetric.config.resolve import resolve
from volumetric.evaluation.evaluate import Evaluation, evaluate
from volumetric.figures.canvas import new_figure, save_png
from volumetric.imaging.nifti import read_image, write_image
from volumetric.imaging.normalization import NORMALIZERS
from volumetric.learning.train import train
from volumetric.manifest import Manifest, read_manifest, write_manifest
from volumetric.model.spec import SPEC
from volumetric.outputs import write_csv, write_json
from volumetric.synthesis.infer import infer

BASE = [
    "network.channels=[16,32,64]",
    "network.stem_stride=1",
    "adversarial.channels=16",
    "adversarial.num_layers=2",
    "device=cpu",
]
DIRECTIONS = {"t1w to t2w": "cgan_t1w_to_t2w", "t2w to t1w": "cgan_t2w_to_t1w"}
"""Shipped configuration of each direction."""
SIZES = {
    256: ["space.spacing_mm=[0.91,0.91,3]", "patch.size=[64,64,16]"],
    128: ["space.spacing_mm=[1.82,1.82,3]", "patch.size=[32,32,16]"],
}
"""Voxels and patches by the side of the matrix in plane: 233 mm of view, patches of 58 mm."""
CONVERSIONS = ("float", "simple", "adaptive")
METRICS = ("rmae", "relative_mse", "relative_rmse", "psnr_truth_range_db", "mutual_information")
"""rMAE, rMSE, rRMSE, PSNR and MI of the paper."""
SHOWN = {"rmae": "rMAE", "psnr_truth_range_db": "PSNR dB", "mutual_information": "MI nat"}
CASE = ("direction", "size", "conversion", "truth")

Row = Mapping[str, str | float]


def gray(array: NDArray[np.float32], conversion: str) -> NDArray[np.float32]:
    """The middle of each voxel's gray level, in scanner units `(I, J, K)`; 0 stays 0.

    Args:
        array: a scan in scanner units `(I, J, K)`.
        conversion: `simple` or `adaptive`.
    """
    inside = array > 0
    units = NORMALIZERS[f"gray_{conversion}"].fit(array, inside, "scan")
    return units.invert(units.apply(array, inside), inside)


def write_gray(manifest: Manifest, conversion: str, folder: Path) -> Path:
    """Write every scan in gray levels, and the manifest of them."""
    rows = []
    for row in manifest.rows:
        paths = {"mask": row.path("mask")}
        for contrast in ("t1w", "t2w"):
            scan = read_image(row.path(contrast))
            paths[contrast] = folder / row.subject_id / row.session_id / f"{contrast}.nii.gz"
            write_image(paths[contrast], scan.with_array(gray(scan.array, conversion)))
        rows.append(replace(row, paths=paths))
    write_manifest(folder / "manifest.csv", rows)
    return folder / "manifest.csv"


def fit(manifest: Path, run: Path, config: str, changes: Sequence[str]) -> float:
    """Train where there is no model yet; its seconds of CPU, NaN where it was there."""
    if (run / "model" / SPEC).is_file():
        return float("nan")
    settings = resolve(config, [*BASE, *changes]).model_copy(update={"cache": str(run.parent / "cache")})
    start = time.process_time()
    train([manifest], settings, run)
    return time.process_time() - start


def scores(evaluation: Evaluation, method: str = "model") -> dict[str, float]:
    """The paper's metrics of a method in the brain, means over subjects."""
    means = {
        row.metric: row.mean
        for row in evaluation.summary
        if (row.method, row.region, row.group) == (method, "brain", "")
    }
    return {name: means[name] for name in METRICS}


def run_cell(
    manifests: Mapping[str, Path], out: Path, direction: str, size: int, conversion: str, seed: int, steps: int
) -> list[Row]:
    """Train, infer and score one cell of the study: a row for each truth."""
    run = out / f"{direction.replace(' ', '_')}_{size}_{conversion}_{seed}"
    done, own = run / "scores.json", manifests[conversion]
    if done.is_file():
        return list(json.loads(done.read_text())["rows"])
    changes = [*SIZES[size], f"optim.num_steps={steps}", f"validation.every_steps={steps}", f"seed={seed}"]
    train_s = fit(own, run, DIRECTIONS[direction], changes)
    predictions = run / "predictions"
    options = InferenceOptions(device="cpu", engine="torch")
    start = time.process_time()
    infer([own], out=predictions, model=run, split="test", options=options, prepare=False)
    infer_s = time.process_time() - start
    case = {"direction": direction, "size": size, "conversion": conversion, "seed": seed}
    rows = []
    for manifest in dict.fromkeys((manifests["float"], own)):
        truth = "scan" if manifest == manifests["float"] else "converted"
        evaluation = evaluate(predictions, [manifest], run / truth, segmentation=False, jobs=1)
        rows.append({**case, "truth": truth, **scores(evaluation), "train_cpu_s": train_s, "infer_cpu_s": infer_s})
    write_json(done, {"rows": rows})
    return rows


def untrained(manifests: Mapping[str, Path], out: Path) -> Iterator[Row]:
    """Scores of the converted scans themselves against the scans, and of the cubic map."""
    for direction, conversion in product(DIRECTIONS, CONVERSIONS[1:]):
        source, target = direction.split(" to ")
        evaluation = evaluate(
            manifests[conversion].parent,
            [manifests["float"]],
            out / f"{target}_{conversion}",
            source=source,
            target=target,
            pattern=f"{{subject_id}}/{{session_id}}/{target}.nii.gz",
            prediction_scale="own-median",
            segmentation=False,
            jobs=1,
        )
        case = {"direction": direction, "size": "no training", "truth": "scan"}
        if conversion == CONVERSIONS[1]:
            yield {**case, "conversion": "cubic", **scores(evaluation, "cubic")}
        yield {**case, "conversion": conversion, **scores(evaluation)}


def study(manifest: Path, out: Path, steps: int, seeds: Sequence[int]) -> list[Row]:
    """The rows of all cells."""
    given = read_manifest(manifest)
    manifests = {"float": manifest} | {name: write_gray(given, name, out / name) for name in CONVERSIONS[1:]}
    rows = list(untrained(manifests, out / "untrained"))
    for seed, (direction, size, conversion) in product(seeds, product(DIRECTIONS, SIZES, CONVERSIONS)):
        rows += run_cell(manifests, out, direction, size, conversion, seed, steps)
    return rows


def over_seeds(rows: Sequence[Row]) -> list[dict[str, str | float]]:
    """Mean of each number over the seeds, and half the distance of the extremes of rMAE, a row for each cell."""
    cells: dict[tuple[str | float, ...], list[Row]] = {}
    for row in rows:
        cells.setdefault(tuple(row[key] for key in CASE), []).append(row)
    numbers = (*METRICS, "train_cpu_s", "infer_cpu_s")
    return [
        dict(zip(CASE, case, strict=True))
        | {name: float(np.mean([row.get(name, np.nan) for row in same])) for name in numbers}
        | {"rmae_spread": float(np.ptp([row["rmae"] for row in same])) / 2}
        for case, same in cells.items()
    ]


def draw(rows: Sequence[Row], path: Path) -> None:
    """A row of panels for each direction and a column for each metric: seeds as dots, their mean as a line."""
    figure = new_figure(10, 5.5)
    grid = figure.subplots(len(DIRECTIONS), len(SHOWN), sharex=True, squeeze=False)
    for (i, direction), (j, metric) in product(enumerate(DIRECTIONS), enumerate(SHOWN)):
        _draw_panel(grid[i, j], [r for r in rows if (r["direction"], r["truth"]) == (direction, "scan")], metric)
        grid[i, j].set_title(f"{direction.replace('t1w', 'T1w').replace('t2w', 'T2w')}: {SHOWN[metric]}")
        grid[i, j].set_xticks(range(len(CONVERSIONS)), CONVERSIONS)
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    save_png(figure, path, dpi=100)


def _draw_panel(axes: Axes, rows: Sequence[Row], metric: str) -> None:
    for k, size in enumerate(SIZES):
        cells = [_values(rows, metric, size, name) for name in CONVERSIONS]
        places = np.arange(len(cells)) + 0.2 * k - 0.1
        axes.plot(places, [np.mean(values) for values in cells], color=f"C{k}", linewidth=1)
        dots = [(place, value) for place, values in zip(places, cells, strict=True) for value in values]
        axes.plot(*zip(*dots, strict=True), "os"[k], color=f"C{k}", label=f"{size} x {size}", markersize=5)
    axes.axhline(_values(rows, metric, "no training", "cubic")[0], color="0.5", linestyle="--", label="cubic map")
    if metric == "rmae":
        errors = [_values(rows, metric, "no training", name)[0] for name in CONVERSIONS[1:]]
        axes.plot(range(1, len(CONVERSIONS)), errors, "kx", label="the conversion itself")


def _values(rows: Sequence[Row], metric: str, size: object, conversion: str) -> list[float]:
    return [float(row[metric]) for row in rows if (row["size"], row["conversion"]) == (size, conversion)]


def main() -> None:
    """Run the study that the command line asks for, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--figure", type=Path, help="PNG file to draw")
    options = parser.parse_args()
    rows = study(options.manifest, options.out, options.steps, options.seeds)
    write_csv(options.out / "gray.csv", rows)
    if options.figure:
        draw(rows, options.figure)
    for number, row in enumerate(over_seeds(rows)):
        if number == 0:
            print("| " + " | ".join(row) + " |\n|" + "---|" * len(row))
        print("| " + " | ".join(f"{v:.4g}" if isinstance(v, float) else str(v) for v in row.values()) + " |")


if __name__ == "__main__":
    main()
