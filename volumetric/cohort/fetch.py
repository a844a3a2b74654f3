"""The download of a public data set: scans as archives, which are extracted, or label maps; and a template at hand."""

from __future__ import annotations

import logging
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from volumetric.batch.progress import progress
from volumetric.cohort import ixi
from volumetric.cohort.download import CHECKSUMS_FILE, FetchError, download
from volumetric.imaging.header import ImageError
from volumetric.imaging.nifti import read_space, write_image
from volumetric.outputs import locked, write_bytes, write_text
from volumetric.simulation.template import load_template_t1w

log = logging.getLogger(__name__)

LABEL_MAPS = "label-maps"
TEMPLATE = "template"
BASE_URLS = {
    "ixi": "http://biomedic.doc.ic.ac.uk/brain-development/downloads/IXI/",
    LABEL_MAPS: "https://raw.githubusercontent.com/BBillot/SynthSeg/master/data/training_label_maps/",
}
LICENSES = {
    "ixi": "IXI data set (brain-development.org/ixi-dataset), license CC BY-SA 3.0: name the source, share alike",
    LABEL_MAPS: (
        "label maps of SynthSeg (github.com/BBillot/SynthSeg, data/training_label_maps), license Apache-2.0 "
        "(apache.org/licenses/LICENSE-2.0): pass the license on with them; cite Billot et al., Med. Image Anal. 86, "
        "2023"
    ),
    TEMPLATE: (
        "average T1w brain ICBM152 2009a (Fonov et al., NeuroImage 54(1), 2011), as the nilearn package carries it; "
        "copyright 1993-2009 Louis Collins, McConnell Brain Imaging, McGill University: free to use, copy and "
        "pass on with this notice"
    ),
}
ARCHIVES = {"t1w": "IXI-T1.tar", "t2w": "IXI-T2.tar", "pdw": "IXI-PD.tar"}
SPREADSHEET = "IXI.xls"
LABEL_MAP_FILES = tuple(f"training_seg_{number:02d}.nii.gz" for number in range(1, 21))
LICENSE_FILE = "LICENSE"
DEFAULT_CONTRASTS = ("t1w", "t2w")
TEMPLATE_FILE = "icbm152_T1w.nii.gz"


@dataclass(frozen=True)
class Fetched:
    """The result of `fetch`.

    Attributes:
        folder: with the archives and one folder of scans a contrast, or the label maps; and `checksums.json`.
        num_subjects: subjects whose scans are extracted, or label maps.
        num_new: scans extracted, or label maps downloaded, by this call.
        num_present: those that were there before.
    """

    folder: Path
    num_subjects: int
    num_new: int
    num_present: int


def fetch(
    dataset: str,
    out: Path,
    *,
    subjects: int | None = None,
    contrasts: Sequence[str] = DEFAULT_CONTRASTS,
    base_url: str | None = None,
) -> Fetched:
    """Download a data set, and extract its archives; repeating goes on where it stopped.

    Args:
        dataset: `ixi` (scans), `label-maps` (20 segmented heads, for `phantom`), or `template` (one average T1w brain,
            which nilearn carries; nothing is downloaded).
        out: folder for archives and scans, or for label maps and their `LICENSE`; and for `checksums.json`, which
            records the first download: the sources publish no checksums.
        subjects: only the first subjects. Of label maps, no more are downloaded. IXI's archives are downloaded
            whole all the same; extracted are the first, in order of number, of those that are in every archive.
        contrasts: of `t1w`, `t2w`, `pdw`; label maps have none.
        base_url: where the files lie, for a mirror.

    Raises:
        FetchError: an unknown data set or contrast, a server that cannot be reached or breaks off, a file that is
            damaged or has changed, or pooch is not installed.
        OutputError: another process writes into `out`.
        TemplateError: the template is not there.
    """
    _check(dataset, subjects, contrasts)
    log.info("%s", LICENSES[dataset])
    with locked(out):
        if dataset == TEMPLATE:
            return _write_template(out)
        url = (base_url or BASE_URLS[dataset]).rstrip("/") + "/"
        if dataset == LABEL_MAPS:
            return _fetch_label_maps(url, out, LABEL_MAP_FILES[:subjects])
        return _fetch_ixi(url, out, subjects, contrasts)


def _write_template(out: Path) -> Fetched:
    path = out / TEMPLATE_FILE
    num_present = int(path.exists())
    if not num_present:
        write_image(path, load_template_t1w())
    write_text(out / LICENSE_FILE, LICENSES[TEMPLATE] + "\n")
    return Fetched(out, 1, 1 - num_present, num_present)


def _fetch_label_maps(url: str, out: Path, names: Sequence[str]) -> Fetched:
    num_present = sum((out / name).exists() for name in names)
    for name in names:
        path = download(url, name, out)
        try:
            read_space(path)
        except ImageError as error:
            raise FetchError(
                f"{path}: what the server sent is no NIfTI image; delete it and its line in "
                f"{CHECKSUMS_FILE}, and repeat, or name a mirror with --base-url"
            ) from error
    write_text(out / LICENSE_FILE, LICENSES[LABEL_MAPS] + "\n")
    return Fetched(out, len(names), len(names) - num_present, num_present)


def _fetch_ixi(url: str, out: Path, subjects: int | None, contrasts: Sequence[str]) -> Fetched:
    archives = [download(url, ARCHIVES[contrast], out) for contrast in dict.fromkeys(contrasts)]
    download(url, SPREADSHEET, out)
    scans = [_list_scans(archive) for archive in archives]
    numbers = _first_subjects(scans, subjects)
    counts = [
        _extract(archive, [scan.member for scan in own if scan.subject in numbers], out)
        for archive, own in zip(archives, scans, strict=True)
    ]
    return Fetched(out, len(numbers), sum(new for new, _ in counts), sum(present for _, present in counts))


class _ArchivedScan(NamedTuple):
    """A scan in an archive: the number of its subject, and the name of its member."""

    subject: int
    member: str


def _first_subjects(scans: Sequence[Sequence[_ArchivedScan]], subjects: int | None) -> set[int]:
    """The numbers of all subjects, or of the first ones that are in every archive."""
    numbers = [{scan.subject for scan in own} for own in scans]
    if subjects is None:
        return set.union(*numbers)
    return set(sorted(set.intersection(*numbers))[:subjects])


def _list_scans(archive: Path) -> list[_ArchivedScan]:
    """Every scan in an archive, by subject."""
    with _opened(archive) as tar:
        names = [member.name for member in tar if member.isfile()]
    matches = ((ixi.NAME.fullmatch(Path(name).name), name) for name in names)
    return sorted(_ArchivedScan(int(match["number"]), name) for match, name in matches if match)


def _extract(archive: Path, names: Iterable[str], out: Path) -> tuple[int, int]:
    """Write members into a folder named as the archive; returns how many are new, and how many were there."""
    folder = out / archive.stem
    new = present = 0
    members = set(names)
    with _opened(archive) as tar, progress(f"extracting {archive.name}", len(members), "scans") as advance:
        for member in tar:
            if member.name not in members:
                continue
            try:
                safe = tarfile.data_filter(member, str(folder))
            except tarfile.FilterError as error:
                raise FetchError(
                    f"{archive}: {member.name} would be written outside the folder; do not use it"
                ) from error
            target = folder / Path(safe.name).name
            if target.is_file() and target.stat().st_size == member.size:
                present += 1
            else:
                content = tar.extractfile(member)
                write_bytes(target, content.read() if content else b"")
                new += 1
            advance(target.name)
    return new, present


@contextmanager
def _opened(archive: Path) -> Iterator[tarfile.TarFile]:
    """Open an archive; its damage is an error that names it."""
    try:
        with tarfile.open(archive) as tar:
            yield tar
    except (tarfile.TarError, EOFError) as error:
        raise FetchError(
            f"{archive}: the archive is damaged ({error}); delete it and its line in checksums.json, and repeat"
        ) from error


def _check(dataset: str, subjects: int | None, contrasts: Sequence[str]) -> None:
    if dataset not in LICENSES:
        raise FetchError(f"{dataset}: expected one of {', '.join(LICENSES)}")
    if dataset != "ixi" and tuple(contrasts) != DEFAULT_CONTRASTS:
        raise FetchError(f"--contrast {','.join(contrasts)}: only ixi has contrasts to choose; leave the option out")
    unknown = [contrast for contrast in contrasts if contrast not in ARCHIVES]
    if unknown or not contrasts:
        raise FetchError(f"--contrast {','.join(contrasts)}: expected some of {', '.join(ARCHIVES)}")
    if subjects is not None and subjects < 1:
        raise FetchError(f"--subjects {subjects}: expected at least 1; leave it out for all")
