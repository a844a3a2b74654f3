"""The download of a public data set: resumable, with checksums, and extracted."""

from __future__ import annotations

import http.client
import logging
import tarfile
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import NamedTuple

from pydantic import TypeAdapter, ValidationError

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
    """A data set that cannot be downloaded or extracted."""


@dataclass(frozen=True)
class Fetched:
    """The result of `fetch`.

    Attributes:
        folder: with the archives, one folder of scans a contrast, and `checksums.json`.
        num_subjects: subjects whose scans are extracted.
        num_new: scans extracted by this call.
        num_present: scans that were there before.
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
    contrasts: Sequence[str] = ("t1w", "t2w"),
    base_url: str | None = None,
) -> Fetched:
    """Download the archives of a data set and extract them; repeating goes on where it stopped.

    Args:
        dataset: `ixi`.
        out: folder for archives, scans, and `checksums.json`, which records the first download: the
            source publishes no checksums.
        subjects: extract only the first subjects, in order of number, of those that are in every archive.
            The archives are downloaded whole all the same.
        contrasts: of `t1w`, `t2w`, `pdw`.
        base_url: where the archives lie, for a mirror.

    Raises:
        FetchError: an unknown data set or contrast, a server that cannot be reached or breaks off, an archive that is
            damaged or has changed, or pooch is not installed.
        OutputError: another process writes into `out`.
    """
    _check(dataset, subjects, contrasts)
    url = (base_url or BASE_URLS[dataset]).rstrip("/") + "/"
    log.info("%s", LICENSE)
    with locked(out):
        archives = [_download(url, ARCHIVES[contrast], out) for contrast in dict.fromkeys(contrasts)]
        _download(url, SPREADSHEET, out)
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


def _download(url: str, name: str, out: Path) -> Path:
    """Path of one file, whole and with its recorded checksum; downloaded unless it is there."""
    record = out / "checksums.json"
    checksums = _read_checksums(record)
    path = out / name
    known = checksums.get(name)
    if not path.exists():
        try:
            import pooch
        except ImportError as error:
            raise FetchError(f"fetching needs {error.name}, which is not installed; run {INSTALL}") from error
        pooch.get_logger().setLevel("WARNING")
        try:
            pooch.retrieve(url + name, known_hash=known, fname=name, path=out, downloader=_ResumableDownload(path))
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


def _read_checksums(record: Path) -> dict[str, str]:
    """SHA-256 by file name, as the first download recorded them."""
    if not record.is_file():
        return {}
    try:
        return TypeAdapter(dict[str, str]).validate_json(record.read_bytes())
    except ValidationError as error:
        raise FetchError(f"{record}: not a record of checksums; delete it to record them again") from error


def _changed(name: str, record: Path, known: str | None) -> str:
    return (
        f"{name}: its SHA-256 is not the one that {record} recorded ({known}); delete the file to download it again, "
        f"or, if the source has a new version, its line in {record.name}"
    )


class _ResumableDownload:
    """A downloader for pooch that keeps what it has in `NAME.part` and goes on from there."""

    def __init__(self, path: Path) -> None:
        self.part = path.with_name(f"{path.name}.part")
        self.version = path.with_name(f"{path.name}.part.version")

    def __call__(self, url: str, output_file: str, pooch: object) -> None:
        """Download, then move the whole file to the place that pooch names."""
        try:
            total = self._complete(url)
        except urllib.error.HTTPError as error:
            raise FetchError(f"{url}: the server answered {error.code} {error.reason}; check the address") from error
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error) or type(error).__name__
            raise FetchError(
                f"{url}: the download broke off or the server cannot be reached ({reason}); "
                f"{self._num_bytes()} bytes are kept; repeat the command to go on from there"
            ) from error
        have = self._num_bytes()
        if total is not None and have != total:
            raise FetchError(
                f"{url}: the connection ended after {have} of {total} bytes; repeat the command to go on from there"
            )
        self.part.replace(output_file)
        self.version.unlink(missing_ok=True)

    def _num_bytes(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _complete(self, url: str) -> int | None:
        """Append the missing bytes; returns the size of the whole file, if the server says it."""
        version = self.version.read_text() if self.version.exists() else ""
        have = self._num_bytes() if version else 0  # without a version, the rest may be of another file
        answer = _request(url, have, version)
        if answer is None:
            return have
        with answer:
            done = have if answer.status == HTTPStatus.PARTIAL_CONTENT else 0
            length = answer.headers.get("Content-Length")
            total = None if length is None else int(length) + done
            write_text(self.version, _version_of(answer))
            self._append(answer, done, total)
        return total

    def _append(self, answer: http.client.HTTPResponse, done: int, total: int | None) -> None:
        """Write the bytes of an answer after the first `done` ones of the part."""
        name = self.part.name.removesuffix(".part")
        bar = progress(name, -(-(total or done) // _CHUNK), "MiB", done=done // _CHUNK)
        with self.part.open("ab" if done else "wb") as file, bar as advance:
            while chunk := answer.read(_CHUNK):
                file.write(chunk)
                advance("")


def _request(url: str, have: int, version: str) -> http.client.HTTPResponse | None:
    """The answer with the bytes from `have` on, or with all if the version is another; None if there are no more."""
    headers = {"Range": f"bytes={have}-", "If-Range": version} if have else {}
    try:
        answer: http.client.HTTPResponse = urllib.request.urlopen(
            urllib.request.Request(url, headers=headers), timeout=TIMEOUT_S
        )
    except urllib.error.HTTPError as error:
        with error:
            size = (error.headers.get("Content-Range") or "").rpartition("/")[2]
            if error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and size == str(have):
                return None
            raise
    return answer


def _version_of(answer: http.client.HTTPResponse) -> str:
    tag = answer.headers.get("ETag", "")
    strong = "" if tag.startswith("W/") else tag  # a weak one does not say that bytes are equal
    return strong or answer.headers.get("Last-Modified", "")


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
    if dataset not in BASE_URLS:
        raise FetchError(f"{dataset}: expected one of {', '.join(BASE_URLS)}")
    unknown = [contrast for contrast in contrasts if contrast not in ARCHIVES]
    if unknown or not contrasts:
        raise FetchError(f"--contrast {','.join(contrasts)}: expected some of {', '.join(ARCHIVES)}")
    if subjects is not None and subjects < 1:
        raise FetchError(f"--subjects {subjects}: expected at least 1; leave it out for all")
