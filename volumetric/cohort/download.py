"""Files from a server: resumable, and compared with the checksums of the first download."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from http import HTTPStatus
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from volumetric.batch.progress import progress
from volumetric.errors import InputError
from volumetric.outputs import hash_file, write_json, write_text

INSTALL = "pip install 'volumetric[fetch]'"
CHECKSUMS_FILE = "checksums.json"
TIMEOUT_S = 60
_CHUNK = 2**20


class FetchError(InputError):
    """A data set that cannot be downloaded or extracted."""


def download(url: str, name: str, out: Path) -> Path:
    """Path of one file, whole and with its recorded checksum; downloaded unless it is there.

    Args:
        url: folder of the file, with a slash at its end.
        name: of the file.
        out: folder to write; its `checksums.json` records the first download of each file.

    Raises:
        FetchError: a server that cannot be reached or breaks off, a file that has changed, or pooch is not installed.
    """
    record = out / CHECKSUMS_FILE
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
