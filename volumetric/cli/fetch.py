"""`volumetric fetch`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def fetch(
    dataset: Annotated[str, typer.Argument(help="ixi, label-maps, or template.", metavar="DATASET")],
    out: Annotated[Path, typer.Option(help="Folder for archives and scans, for label maps, or for the template.")],
    subjects: Annotated[
        int | None,
        typer.Option(help="Only the first subjects. IXI's archives are downloaded whole all the same."),
    ] = None,
    contrast: Annotated[
        str, typer.Option(help="Some of t1w, t2w, pdw, with commas between. Label maps have none.")
    ] = "t1w,t2w",
    base_url: Annotated[str | None, typer.Option(help="Address of a mirror.")] = None,
) -> None:
    """Download a public data set and extract it, or write a template. Repeating it resumes.

    ixi: about 600 healthy subjects with T1w, T2w and PDw, several GB an archive, license CC BY-SA 3.0.

    label-maps: 20 segmented heads of SynthSeg for `volumetric phantom --anatomies`, about 2 MB each,
    license Apache-2.0.

    template: one average T1w brain, which nilearn carries, to try `volumetric infer` with; no download.

    Example: `volumetric fetch ixi --out data/ixi --subjects 20`

    Example: `volumetric fetch label-maps --out data/label_maps`
    """
    from volumetric.cohort.fetch import LABEL_MAPS, TEMPLATE, TEMPLATE_FILE
    from volumetric.cohort.fetch import fetch as run_fetch

    contrasts = [word.strip() for word in contrast.split(",") if word.strip()]
    fetched = run_fetch(dataset, out, subjects=subjects, contrasts=contrasts, base_url=base_url)
    kind, new, following = "subjects", "scans extracted", f"discover {out} --layout ixi --out {out / 'manifest.csv'}"
    if dataset == LABEL_MAPS:
        kind, new, following = "label maps", "downloaded", f"phantom --anatomies {out} --out data/simulated"
    elif dataset == TEMPLATE:
        kind, new, following = "template", "written", f"infer {out / TEMPLATE_FILE} --out {out / 'synthetic'}"
    print(f"{fetched.num_subjects} {kind}: {fetched.num_new} {new}, {fetched.num_present} were there already")
    print(f"next: volumetric {following}")
