"""`volumetric infer`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from volumetric.cli.options import AddressOption, DryRunOption, ExecutorOption, ShardOption
from volumetric.config.choices import DEFAULT_MODEL, Device, Engine, Precision, SplitChoice


def infer(
    out: Annotated[Path, typer.Option(help="Folder to write, laid out as a BIDS derivative.")],
    inputs: Annotated[
        list[Path] | None,
        typer.Argument(help="NIfTI files, folders of them, a folder of DICOM files, manifests.", metavar="INPUT..."),
    ] = None,
    model: Annotated[
        list[str],
        typer.Option(
            help="A shipped model by its name (`volumetric models`), or a run folder or its model folder; given "
            "several times, the mean of what these models predict.",
            metavar="NAME|FOLDER",
        ),
    ] = [DEFAULT_MODEL],  # noqa: B006 (typer copies it)
    split: Annotated[SplitChoice, typer.Option(help="Rows of manifests to take.")] = "all",
    named: Annotated[
        list[str] | None,
        typer.Option("--input", help="`contrast=file` of one subject, for a model with several sources; repeatable."),
    ] = None,
    device: Annotated[Device, typer.Option(help="auto takes a GPU where there is one.")] = "auto",
    engine: Annotated[
        Engine, typer.Option(help="Program that runs the network: openvino (CPU), torch, or auto: the first that can.")
    ] = "auto",
    precision: Annotated[
        Precision,
        typer.Option(
            help="Numbers that the network computes in: float32, bfloat16 (faster where the processor has it, less "
            "exact), or auto: float32 on a CPU, bfloat16 on a GPU."
        ),
    ] = "auto",
    overlap: Annotated[
        float | None,
        typer.Option(help="Fraction of a window that neighbors share; the model's own if not given.", min=0, max=0.9),
    ] = None,
    whole_volume: Annotated[
        bool | None,
        typer.Option(
            "--whole-volume/--windows",
            help="One pass over the whole volume, the fastest, or windows; as the model has it if not given.",
            show_default=False,
        ),
    ] = None,
    sources: Annotated[
        str,
        typer.Option(
            help="Contrasts to use, with commas between, of a model that takes any of its sources; all that a subject "
            "has if not given.",
            metavar="CONTRASTS",
        ),
    ] = "",
    flips: Annotated[
        str,
        typer.Option(
            help="Average over mirrored windows too, along these axes: x is left-right, which training mirrors and "
            "which takes twice the time; xyz takes eight times.",
            metavar="AXES",
        ),
    ] = "",
    prepare: Annotated[
        bool | None,
        typer.Option(
            "--prepare/--as-is",
            help="Prepare every scan first as the training scans were, or none; each is examined if not given.",
            show_default=False,
        ),
    ] = None,
    uncertainty: Annotated[
        bool,
        typer.Option(
            "--uncertainty",
            help="Also write the half-width of a 90 % interval in each voxel, by a model that was trained with it.",
        ),
    ] = False,
    figures: Annotated[
        bool, typer.Option("--figures", help="Also draw each prediction beside its scan, as a PNG next to it.")
    ] = False,
    jobs: Annotated[
        int | None,
        typer.Option(help="Subjects at a time; 1 reads and writes beside the network.", min=1),
    ] = None,
    shard: ShardOption = None,
    executor: ExecutorOption = "local",
    address: AddressOption = "auto",
    dry_run: DryRunOption = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Synthesize again what is there, and replace what belongs to others.")
    ] = False,
) -> None:
    """Write the missing contrast as full 3D NIfTI volumes, each on its scan's own grid.

    Examples: `volumetric infer t1w.nii.gz --out synthetic --figures`
    · `volumetric infer raw_t1w.nii.gz --model runs/mine --out synthetic`
    · `volumetric infer dicom_folder/ --out synthetic`
    · `volumetric infer t1w.nii.gz --model runs/a --model runs/b --flips x --out synthetic`
    · `volumetric infer my.csv --split test --model runs/mine --out runs/mine/predictions`
    """
    from tempfile import TemporaryDirectory

    from volumetric.batch.subjects import exit_status
    from volumetric.cli.options import contrast_files, inference_options, spread_over
    from volumetric.synthesis.infer import infer as run

    with TemporaryDirectory() as scratch:
        outcomes = run(
            _converted(inputs or [], Path(scratch) if dry_run else out),
            model=model if len(model) > 1 else model[0],
            out=out,
            split=split,
            named=contrast_files(named or []),
            options=inference_options(
                device, engine, precision, overlap, whole_volume, uncertainty=uncertainty, flips=flips, sources=sources
            ),
            prepare=prepare,
            jobs=jobs,
            spread=spread_over(shard, executor, address, fresh=fresh, dry_run=dry_run),
            fresh=fresh,
            figures=figures,
        )
    if not dry_run:
        print(out if shard else out / "predictions.csv")
    raise typer.Exit(exit_status(outcomes))


def _converted(inputs: list[Path], out: Path) -> list[Path]:
    """The inputs with a DICOM folder replaced by the manifest of its converted volumes, `OUT/dicom.csv`.

    Raises:
        InputError: several DICOM folders, or one without a scan.
    """
    if not any(path.is_dir() for path in inputs):
        return inputs
    from volumetric.cohort.discover import discover, is_dicom_folder
    from volumetric.errors import InputError

    folders = [path for path in inputs if is_dicom_folder(path)]
    if not folders:
        return inputs
    if len(folders) > 1:
        raise InputError(f"{folders[0]} and {folders[1]} hold DICOM files; give the folder above them, or one a call")
    manifest = out / "dicom.csv"
    discover(folders[0], manifest, layout="dicom", fresh=True)
    return [manifest if path == folders[0] else path for path in inputs]
