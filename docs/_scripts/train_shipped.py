"""Trains a shipped model anew by its recipes, from label maps and scanned pairs.

    python docs/_scripts/train_shipped.py t1w_to_t2w --label-maps data/label_maps --pairs prepared/manifest.csv \
        --out runs/weights

Three models come of it: `pretrained` (simulated pairs alone), `fine_tuned` (from there, on the mixture), and `average`
(the mean of the weights of both: FetalSynthSeg, arXiv 2411.06842). Repeating the command goes on where it stopped.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import torch

from volumetric.config.resolve import resolve
from volumetric.learning.train import train
from volumetric.manifest import LABEL_MAP, ManifestRow, write_manifest
from volumetric.model.folder import load_model, save_model
from volumetric.model.shipped import MODELS


def train_shipped(name: str, label_maps: Path, pairs: Path, out: Path) -> None:
    """Train the two stages and average them.

    Args:
        name: folder of `volumetric/models` with `pretraining.yaml` and `fine_tuning.yaml`.
        label_maps: folder of label maps, each one anatomy.
        pairs: manifest; its rows with split `train` are the scanned pairs.
        out: folder to write.
    """
    files = sorted(label_maps.glob("*.nii.gz"))
    rows = [ManifestRow(file.name.removesuffix(".nii.gz"), split="train", paths={LABEL_MAP: file}) for file in files]
    manifest, pretrained, fine_tuned = out / "label_maps.csv", out / "pretrained", out / "fine_tuned"
    write_manifest(manifest, rows)
    cache = f"cache={out / 'cache'}"
    train([manifest], resolve(MODELS / name / "pretraining.yaml", [cache]), pretrained)
    start = f"pretrained={pretrained}"
    train([pairs, manifest], resolve(MODELS / name / "fine_tuning.yaml", [cache, start]), fine_tuned)
    average(pretrained, fine_tuned, out / "average")


def average(first: Path, second: Path, out: Path) -> None:
    """Write a model whose weights are the mean of two models'; all else is the second's."""
    model, other = load_model(second), load_model(first)
    with torch.no_grad():
        for own, its in zip(model.network.state_dict().values(), other.network.state_dict().values(), strict=True):
            if own.is_floating_point():
                own.lerp_(its, 0.5)
    save_model(out, model.network, model.spec)


def main() -> None:
    """Train what the command line names."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="of the shipped model")
    parser.add_argument("--label-maps", type=Path, required=True)
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    train_shipped(options.name, options.label_maps, options.pairs, options.out)


if __name__ == "__main__":
    main()
