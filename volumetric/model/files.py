"""The bytes of a model folder: bounded before they are read, and compared with the hashes that belong to them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from volumetric.config.document import MAX_CHARACTERS
from volumetric.config.network import MAX_WEIGHTS
from volumetric.model.shipped import LISTING, find_model
from volumetric.model.spec import SPEC, WEIGHTS, ModelError, parse_spec
from volumetric.outputs import hash_bytes
from volumetric.records.shipped_model import ShippedModel

MAX_HEADER_BYTES = 2**20
"""The longest header of weights; a tensor takes about a hundred bytes of it."""

_LENGTH_BYTES = 8  # of the number that a safetensors file begins with
_MAX_WEIGHT_BYTES = 4 * MAX_WEIGHTS + MAX_HEADER_BYTES
_COPY = "copy the model folder again"

HashStatus = Literal["ok", "changed", "not stated"]


@dataclass(frozen=True)
class HashCheck:
    """A hash of a model folder beside the one that is stated.

    Attributes:
        file: what was hashed.
        stated_in: the file that states the hash.
        sha256: of what is there.
        expected: the stated one; empty where none is.
    """

    file: str
    stated_in: str
    sha256: str
    expected: str

    @property
    def status(self) -> HashStatus:
        """`not stated` where there is nothing to compare with."""
        if not self.expected:
            return "not stated"
        return "ok" if self.sha256 == self.expected else "changed"


def read_weights(folder: Path) -> bytes:
    """The file of weights, whose header has a plausible length.

    Raises:
        ModelError: it is missing, too large, or no safetensors file.
    """
    path = folder / WEIGHTS
    if not path.is_file():
        raise ModelError(f"{folder}: {WEIGHTS} is missing; copy the whole model folder")
    weights = _bounded(path, _MAX_WEIGHT_BYTES)
    header = int.from_bytes(weights[:_LENGTH_BYTES], "little")
    if not 0 < header <= min(MAX_HEADER_BYTES, len(weights) - _LENGTH_BYTES):
        raise ModelError(
            f"{path}: the file is damaged (its header claims {header} bytes of {len(weights)}, expected at most "
            f"{MAX_HEADER_BYTES}); {_COPY}"
        )
    return weights


def read_spec_bytes(folder: Path) -> bytes:
    """The content of `model.yaml`.

    Raises:
        ModelError: it is too large.
    """
    return _bounded(folder / SPEC, 4 * MAX_CHARACTERS)


def verify_model(path: Path | str) -> list[HashCheck]:
    """Compare the files of a model with every hash that is stated of them; the network is not built.

    Raises:
        ModelError: no model there, or damaged files.
        RecordError: `shipped.json` is damaged.
    """
    folder = find_model(path)
    weights, specification = read_weights(folder), read_spec_bytes(folder)
    stated = parse_spec(specification, folder / SPEC).weights_sha256 or ""
    checks = [HashCheck(WEIGHTS, SPEC, hash_bytes(weights), stated)]
    listing = folder / LISTING
    shipped = ShippedModel.read(listing).sha256 if listing.is_file() else ""
    return [*checks, HashCheck(f"{WEIGHTS} + {SPEC}", LISTING, hash_bytes(weights, specification), shipped)]


def _bounded(path: Path, most: int) -> bytes:
    with path.open("rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise ModelError(f"{path}: larger than {most} bytes, which no model of this package is; {_COPY}")
    return data
