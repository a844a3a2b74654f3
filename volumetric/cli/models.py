"""`volumetric models`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table


def models(
    name: Annotated[str | None, typer.Argument(help="A model whose card to print.", metavar="NAME")] = None,
) -> None:
    """List the models that come with the package, or print the card of one.

    Scores are means in the brain over subjects that the model has not seen. The hash is the start of `model_sha256` in
    the sidecar of each prediction.

    Examples: `volumetric models`; `volumetric models t1w_to_t2w`
    """
    from rich.console import Console

    from volumetric.model.shipped import read_card, shipped_names

    if name is not None:
        print(read_card(name), end="")
    elif names := shipped_names():
        Console(width=None if Console().is_terminal else 150).print(_table(names))
    else:
        print("this package holds no model; train one with `volumetric train`, and name its run folder in --model")


def _table(names: list[str]) -> Table:
    from rich.markup import escape
    from rich.table import Table

    from volumetric.model.shipped import read_shipped

    table = Table("name", "contrasts", "spacing mm", "summary", "training data", "scores", "license", "size", "SHA-256")
    for name in names:
        model = read_shipped(name)
        spec, about = model.spec, model.about
        scores = [f"{row.cohort}, n={row.num_subjects}: {row.psnr_db:.2f} dB, {row.ssim:.3f}" for row in about.scores]
        table.add_row(
            escape(name),
            escape(f"{', '.join(spec.sources)} → {spec.target}"),
            " × ".join(f"{side:g}" for side in spec.spacing_mm) if spec.spacing_mm else "the scan's",
            escape(about.summary),
            escape(about.training_data),
            escape("\n".join(scores)),
            escape(spec.weights_license or "not stated"),
            f"{model.num_bytes / 1e6:.1f} MB",
            about.sha256[:12],
        )
    return table
