"""Brings a public data set here: resumable download, checksums, extraction."""

from __future__ import annotations

import http.client
import json
import logging
import tarfile
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from volumetric.batch.subjects import progress
from volumetric.cohort import ixi
from volumetric.errors import InputError
from volumetric.outputs import hash_file, locked, write_bytes, write_json, write_text

log = logging.getLogger(__name__)

INSTALL = "pip install 'volumetric[fetch]'"
BASE_URLS = {"ixi": "http://biomedic.doc.ic.ac.uk/brain-development/downloads/IXI/"}
ARCHIVES = {"t1w": "IXI-T1.tar", "t2w": "IXI-T2.tar", "pdw": "IXI-PD.tar"}
SPREADSHEET = "IXI.xls"
LICENSE = "IXI data set (brain-development.org/ixi-dataset), license CC BY-SA 3.0: name the source, share alike"
TIMEOUT_S = 60
_CHUNK = 2**20


class FetchError(InputError):
    """A data set that cannot be brought here."""


@dataclass(frozen=True)
class Fetched:
    """What lies in the folder now.

    Attributes:
        folder: with the archives, one folder of scans a contrast, and `checksums.json`.
        num_people: people whose scans were asked for.
        num_new: scans extracted by this call.
        num_there: scans that were there already.
    """

    folder: Path
    num_people: int
    num_new: int
    num_there: int


def fetch(
    dataset: str,
    out: Path,
    *,
    subjects: int | None = None,
    contrasts: Sequence[str] = ("t1w", "t2w"),
    base_url: str | None = None,
) -> Fetched:
    """Download the archives of a data set and extract them; repeating goes on where it stopped.

    Args:
        dataset: `ixi`.
        out: folder for archives, scans, and `checksums.json`, which records what was seen first: the source
            publishes no checksums.
        subjects: extract only the first people, in order of number, of those who are in every archive asked for.
            The archives are downloaded whole all the same.
        contrasts: of `t1w`, `t2w`, `pdw`.
        base_url: where the archives lie, for a mirror.

    Raises:
        FetchError: an unknown data set or contrast, a server that is not there or breaks off, an archive that is
            damaged or has changed, or pooch is not installed.
        OutputError: another process fetches into `out`.
    """
    _check(dataset, subjects, contrasts)
    url = (base_url or BASE_URLS[dataset]).rstrip("/") + "/"
    log.info("%s", LICENSE)
    with locked(out):
        archives = {c: _download(url, ARCHIVES[c], out) for c in dict.fromkeys(contrasts)}
        _download(url, SPREADSHEET, out)
        members = {contrast: _members(path) for contrast, path in archives.items()}
        people = sorted(set.intersection(*({person for person, _ in found} for found in members.values())))
        if subjects is None:
            people = sorted({person for found in members.values() for person, _ in found})
        wanted = set(people[:subjects])
        counts = [_extract(archives[c], [m for p, m in members[c] if p in wanted], out) for c in archives]
    return Fetched(out, len(wanted), sum(new for new, _ in counts), sum(there for _, there in counts))


def _download(url: str, name: str, out: Path) -> Path:
    """One file, whole and with its recorded checksum."""
    record = out / "checksums.json"
    checksums: dict[str, str] = json.loads(record.read_text()) if record.is_file() else {}
    path = out / name
    known = checksums.get(name)
    if not path.exists():
        try:
            import pooch
        except ImportError as error:
            raise FetchError(f"fetching needs {error.name}, which is not installed; run {INSTALL}") from error
        pooch.get_logger().setLevel("WARNING")
        try:
            pooch.retrieve(url + name, known_hash=known, fname=name, path=out, downloader=_Resume(path))
        except FetchError:
            raise
        except ValueError as error:  # what pooch raises for a wrong checksum; the download is deleted
            raise FetchError(_changed(url + name, record, known)) from error
    digest = hash_file(path)
    if known is not None and digest != known:
        raise FetchError(_changed(str(path), record, known))
    if known is None:
        write_json(record, dict(sorted((checksums | {name: digest}).items())))
    return path


def _changed(what: str, record: Path, known: str | None) -> str:
    return (
        f"{what}: its SHA-256 is not the one that {record} recorded ({known}); delete the file to download it again, "
        f"or, if the source has a new version, its line in {record.name}"
    )


class _Resume:
    """A downloader for pooch that keeps what it has in `NAME.part` and goes on from there."""

    def __init__(self, path: Path) -> None:
        self.part = path.with_name(f"{path.name}.part")
        self.version = path.with_name(f"{path.name}.part.version")

    def __call__(self, url: str, output_file: str, pooch: object) -> None:
        """Download, then move the whole file to where pooch wants it."""
        try:
            total = self._fill(url)
        except urllib.error.HTTPError as error:
            raise FetchError(f"{url}: the server answered {error.code} {error.reason}; check the address") from error
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error) or type(error).__name__
            raise FetchError(
                f"{url}: the download broke off or the server cannot be reached ({reason}); "
                f"{self._have()} bytes are kept; repeat the command to go on from there"
            ) from error
        have = self._have()
        if total is not None and have != total:
            raise FetchError(
                f"{url}: the connection ended after {have} of {total} bytes; repeat the command to go on from there"
            )
        self.part.replace(output_file)
        self.version.unlink(missing_ok=True)

    def _have(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _fill(self, url: str) -> int | None:
        """Append what is missing; returns the size of the whole, if the server says it."""
        have = self._have()
        version = self.version.read_text() if self.version.exists() else ""
        if not version:
            have = 0  # nobody can tell whether the rest would be of the same file
        headers = {"Range": f"bytes={have}-", "If-Range": version} if have else {}
        try:
            answer = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT_S)
        except urllib.error.HTTPError as error:
            with error:
                whole = (error.headers.get("Content-Range") or "").rpartition("/")[2]
                if error.code == 416 and whole == str(have):
                    return have  # all of it is there already
                raise
        with answer:
            resumed = answer.status == 206
            length = answer.headers.get("Content-Length")
            total = None if length is None else int(length) + (have if resumed else 0)
            tag = answer.headers.get("ETag", "")
            strong = "" if tag.startswith("W/") else tag  # a weak one does not say that bytes are equal
            write_text(self.version, strong or answer.headers.get("Last-Modified", ""))
            done = have if resumed else 0
            name = self.part.name.removesuffix(".part")
            bar = progress(name, -(-(total or done) // _CHUNK), "MiB", done=done // _CHUNK)
            with self.part.open("ab" if resumed else "wb") as file, bar as advance:
                while chunk := answer.read(_CHUNK):
                    file.write(chunk)
                    advance("")
        return total


def _members(archive: Path) -> list[tuple[int, str]]:
    """(number of the person, member) of every scan in an archive."""
    with _opened(archive) as tar:
        names = [member.name for member in tar if member.isfile()]
    matches = ((ixi.NAME.fullmatch(Path(name).name), name) for name in names)
    return sorted((int(match["number"]), name) for match, name in matches if match)


def _extract(archive: Path, names: Iterable[str], out: Path) -> tuple[int, int]:
    """Write the members into a folder named as the archive; how many are new, and how many were there."""
    folder = out / archive.stem
    new = there = 0
    wanted = set(names)
    with _opened(archive) as tar, progress(f"extracting {archive.name}", len(wanted), "scans") as advance:
        for member in tar:
            if member.name not in wanted:
                continue
            try:
                safe = tarfile.data_filter(member, str(folder))
            except tarfile.FilterError as error:
                raise FetchError(
                    f"{archive}: {member.name} would be written outside the folder; do not use it"
                ) from error
            target = folder / Path(safe.name).name
            if target.is_file() and target.stat().st_size == member.size:
                there += 1
            else:
                content = tar.extractfile(member)
                write_bytes(target, content.read() if content else b"")
                new += 1
            advance(target.name)
    return new, there


@contextmanager
def _opened(archive: Path) -> Iterator[tarfile.TarFile]:
    """An archive whose damage is an error that names it."""
    try:
        with tarfile.open(archive) as tar:
            yield tar
    except (tarfile.TarError, EOFError) as error:
        raise FetchError(
            f"{archive}: the archive is damaged ({error}); delete it and its line in checksums.json, and repeat"
        ) from error


def _check(dataset: str, subjects: int | None, contrasts: Sequence[str]) -> None:
    if dataset not in BASE_URLS:
        raise FetchError(f"{dataset}: expected one of {', '.join(BASE_URLS)}")
    unknown = [contrast for contrast in contrasts if contrast not in ARCHIVES]
    if unknown or not contrasts:
        raise FetchError(f"--contrast {','.join(contrasts)}: expected some of {', '.join(ARCHIVES)}")
    if subjects is not None and subjects < 1:
        raise FetchError(f"--subjects {subjects}: expected at least 1; leave it out for everybody")
