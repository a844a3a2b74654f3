"""`volumetric prepare`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from volumetric.cli.options import AddressOption, DryRunOption, ExecutorOption, ShardOption

if TYPE_CHECKING:
    from volumetric.records.preparation import QualityRow


def prepare(
    manifests: Annotated[list[Path], typer.Argument(help="CSV files of raw scans.", metavar="MANIFEST...")],
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    config: Annotated[Path | None, typer.Option(help="YAML of differences from the default recipe.")] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="`section.key=value`, over the file; repeatable.")
    ] = None,
    jobs: Annotated[int | None, typer.Option(help="Subjects at a time; default as many as cores.", min=1)] = None,
    shard: ShardOption = None,
    executor: ExecutorOption = "local",
    address: AddressOption = "auto",
    dry_run: DryRunOption = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Prepare everything again.")] = False,
) -> None:
    """Make pairs of raw scans: one grid, no shading, a brain mask, and the quality of each. Repeat it to resume.

    Examples: `volumetric prepare raw.csv --out prepared`;
    `volumetric prepare raw.csv --out prepared --set grid.spacing_mm=1 --set grid.crop_margin_mm=10`
    """
    from volumetric.batch.subjects import exit_status
    from volumetric.cli.options import spread_over
    from volumetric.config.preparation import PreparationConfig
    from volumetric.config.resolve import resolve_as

    recipe = resolve_as(PreparationConfig, config, overrides or ())
    from volumetric.preparation.prepare import prepare as run

    spread = spread_over(shard, executor, address, fresh=fresh, dry_run=dry_run)
    done = run(manifests, out, recipe, jobs=jobs, spread=spread, fresh=fresh)
    if spread.is_whole:
        _show(done.quality)
    if not dry_run:
        print(done.manifest if spread.is_whole else out)
    raise typer.Exit(exit_status(done.outcomes))


def _show(quality: Sequence[QualityRow]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    formats = {"moved_mm": ".2f", "moved_deg": ".2f", "nmi_before": ".4f", "nmi_after": ".4f", "residual_mm": ".3f",
               "residual_deg": ".3f", "overlap": ".3f", "brain_ml": ".0f"}  # fmt: skip
    table = Table("subject", "contrast", "qc", *formats, "reasons")
    for row in quality:
        values = [(getattr(row, column), form) for column, form in formats.items()]
        cells = ["" if value is None else format(value, form) for value, form in values]
        table.add_row(escape(row.key.name), row.contrast or "", row.qc, *cells, escape(row.reasons))
    Console(width=None if Console().is_terminal else 200).print(table)
