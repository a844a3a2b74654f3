"""Makes a shipped model of a run: weights in float16, licenses filled in, entry with scores and hash, card.

    python docs/_scripts/ship_model.py runs/mine --name t1w_to_t2w --sheet sheet.yaml --card card.md --recipe

Repeating the command writes the same bytes. The sheet holds what the run does not know:

    summary: T1w to T2w at 1 mm, brains, any scanner
    training_data: pairs simulated from 20 label maps of SynthSeg (Apache-2.0)
    weights_license: Apache-2.0
    training_data_license: Apache-2.0
    scores:
    - {cohort: IXI Guy's, num_subjects: 12, psnr_db: 21.5, ssim: 0.85}
"""

from __future__ import annotations

import argparse
from pathlib import Path

from volumetric.config.inference import InferenceOptions
from volumetric.config.preparation import PreparationConfig
from volumetric.config.resolve import resolve_as
from volumetric.config.section import Section
from volumetric.errors import InputError
from volumetric.model.folder import load_model, save_model
from volumetric.model.shipped import CARD, LISTING, MODELS
from volumetric.model.spec import WEIGHTS
from volumetric.outputs import write_bytes
from volumetric.records.shipped_model import CohortScore, ShippedModel

MAX_BYTES = 20_000_000
"""Of the weights: the package is downloaded whole."""
_OPTIONS = InferenceOptions(device="cpu", engine="torch")


class Sheet(Section):
    """What a run does not know of its model."""

    summary: str
    training_data: str
    weights_license: str
    training_data_license: str
    scores: tuple[CohortScore, ...]


def ship(run: Path, folder: Path, sheet: Sheet, card: Path, *, recipe: PreparationConfig | None = None) -> ShippedModel:
    """Write a shipped model.

    Args:
        run: a run or model folder.
        folder: to write, named as the model will be.
        sheet: what the run does not know.
        card: Markdown file to copy.
        recipe: that raw scans are prepared by; None keeps the run's own.

    Raises:
        InputError: no model in the run, weights that float16 cannot hold, or more than `MAX_BYTES` of them.
    """
    model = load_model(run, options=_OPTIONS)
    licenses = {"weights_license": sheet.weights_license, "training_data_license": sheet.training_data_license}
    spec = model.spec.model_copy(update=licenses | ({"preparation": recipe} if recipe else {}))
    (folder / LISTING).unlink(missing_ok=True)  # it would refuse what is written now
    save_model(folder, model.network, spec, half=True)
    if (size := (folder / WEIGHTS).stat().st_size) > MAX_BYTES:
        raise InputError(f"{run}: {size} bytes of weights, at most {MAX_BYTES} are shipped; train a smaller network")
    write_bytes(folder / CARD, card.read_bytes())
    entry = ShippedModel(
        summary=sheet.summary,
        training_data=sheet.training_data,
        scores=sheet.scores,
        sha256=load_model(folder, options=_OPTIONS).sha256,
    )
    entry.write(folder / LISTING)
    return entry


def main() -> None:
    """Ship what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run folder or its model folder")
    parser.add_argument("--name", required=True, help="of the shipped model")
    parser.add_argument("--sheet", type=Path, required=True, help="YAML as above")
    parser.add_argument("--card", type=Path, required=True, help="Markdown file, the model card")
    parser.add_argument(
        "--recipe",
        nargs="?",
        const="",
        metavar="YAML",
        help="recipe of preparation to put into the model: a file of differences from the defaults, or nothing for "
        "the defaults; without the option the run's own stays",
    )
    options = parser.parse_args()
    recipe = None if options.recipe is None else resolve_as(PreparationConfig, options.recipe or None, ())
    sheet = resolve_as(Sheet, options.sheet, ())
    entry = ship(options.run, MODELS / options.name, sheet, options.card, recipe=recipe)
    print(f"{MODELS / options.name}  {entry.sha256}")


if __name__ == "__main__":
    main()
