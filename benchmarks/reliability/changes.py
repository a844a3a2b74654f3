"""Damaged files: pure functions of whole ones, a value of `damage.yaml`, and a generator."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import zlib
from itertools import pairwise
from typing import Any

import nibabel as nib
import numpy as np
import yaml

LONG, ENORMOUS = "x" * 300, "y" * 200_000
WORDS = {
    "LONG": LONG,
    "ENORMOUS": ENORMOUS,
    "NESTED": "[" * 3000 + "]" * 3000,
    "BOMB": "a: &a [x, x]\n" + "".join(f"{b}: &{b} [*{a}, *{a}]\n" for a, b in pairwise("abcdefghijklmn")),
}
_HEADER = 348


def word(value: Any) -> Any:
    """A value of the table; capital words stand for long ones."""
    return WORDS.get(value, value) if isinstance(value, str) else value


def cut(data: bytes, value: float) -> bytes:
    """The first bytes: a number of them, or a fraction."""
    return data[: int(value * len(data)) if isinstance(value, float) else value]


def flip(data: bytes, number: int, rng: np.random.Generator, end: int | None = None) -> bytes:
    """So many bits changed."""
    array = np.frombuffer(data, np.uint8).copy()
    for place in rng.integers(0, 8 * (end or len(data)), number):
        array[place // 8] ^= 1 << (place % 8)
    return array.tobytes()


def nifti(whole: bytes, change: str, value: Any, rng: np.random.Generator) -> bytes:
    """A damaged `.nii.gz` of a whole one."""
    raw = gzip.decompress(whole)
    if change in ("dtype", "shape", "voxels", "nifti2"):
        return gzip.compress(_image(raw, change, value, rng), 1)
    if change == "header":
        return gzip.compress(_header(raw, value), 1)
    simple = {
        "cut": lambda: cut(whole, value),
        "cut_raw": lambda: gzip.compress(cut(raw, value), 1),
        "flip": lambda: flip(whole, value, rng),
        "flip_header": lambda: gzip.compress(flip(raw, value, rng, _HEADER), 1),
        "flip_voxels": lambda: gzip.compress(raw[:352] + flip(raw[352:], value, rng), 1),
        "noise_header": lambda: gzip.compress(rng.bytes(_HEADER) + raw[_HEADER:], 1),
        "hole": lambda: _hole(whole, value, rng),
        "bomb": lambda: gzip.compress(raw + bytes(value * 2**20), 1),
        "claim": lambda: gzip.compress(_header(raw, {"dim": [slice(1, 4), value]}), 1),
        "content": lambda: value.encode("latin-1"),
        "wrap": lambda: _wrap(whole, raw, value),
    }
    return simple[change]()


def _hole(data: bytes, size: int, rng: np.random.Generator) -> bytes:
    start = int(rng.integers(0, max(1, len(data) - size)))
    return data[:start] + data[start + size :]


def _wrap(whole: bytes, raw: bytes, how: str) -> bytes:
    half = len(raw) // 2
    return {
        "gz of gz": lambda: gzip.compress(whole),
        "bz2": lambda: bz2.compress(raw),
        "zlib": lambda: zlib.compress(raw),
        "two members": lambda: gzip.compress(raw[:half]) + gzip.compress(raw[half:]),
        "text behind": lambda: whole + b"the end",
        "not compressed": lambda: raw,
    }[how]()


def _header(raw: bytes, fields: dict[str, Any]) -> bytes:
    header = nib.Nifti1Header(raw[:_HEADER], check=False)
    with np.errstate(all="ignore"):
        for name, value in fields.items():
            index, content = value if isinstance(value, list) else (..., value)
            block = header.structarr
            if block[name].ndim == 0:
                block[name] = content
            else:
                block[name][index] = content
    return header.binaryblock + raw[_HEADER:]


def _image(raw: bytes, change: str, value: Any, rng: np.random.Generator) -> bytes:
    image = nib.Nifti1Image.from_bytes(raw)
    array, affine = np.asarray(image.dataobj, np.float32).copy(), image.affine
    if change == "voxels":
        return nib.Nifti1Image(_voxels(array, value, rng), affine).to_bytes()
    if change == "shape":
        return nib.Nifti1Image(rng.uniform(0, 100, value).astype(np.float32), affine).to_bytes()
    if change == "nifti2":
        data = bytearray(nib.Nifti2Image(array, affine).to_bytes())
        data[24:32] = int(value).to_bytes(8, "little", signed=True)  # dim[1]
        return bytes(data)
    if value in ("rgb", "rgba"):
        dtype = np.dtype([(channel, "u1") for channel in value.upper()])
        return nib.Nifti1Image(np.zeros(array.shape, dtype), affine).to_bytes()
    return nib.Nifti1Image(array.astype(value), affine, dtype=value).to_bytes()


def _voxels(array: np.ndarray, how: str, rng: np.random.Generator) -> np.ndarray:
    value = {"nan": np.nan, "inf": np.inf, "zero": 0, "constant": 7, "one voxel": 0}.get(
        how.removeprefix("one ") if how != "one voxel" else how
    )
    if how in ("one nan", "one inf"):
        array[10, 11, 12] = value
    elif value is not None:
        array[:] = value
        if how == "one voxel":
            array[10, 11, 12] = 100
    else:
        array = {
            "negative": lambda: -array,
            "huge": lambda: array * np.float32(1e34),
            "tiny": lambda: array * np.float32(1e-40),
            "half of it huge": lambda: np.where(rng.random(array.shape) < 0.5, np.float32(3e38), array),
            "noise": lambda: rng.standard_normal(array.shape),
        }[how]()
    return array.astype(np.float32)


def manifest(text: str, change: str, value: Any, rng: np.random.Generator, column: str = "") -> bytes:
    """A damaged manifest of a whole one."""
    lines = text.splitlines()
    if change in ("cut", "flip"):
        return cut(text.encode(), value) if change == "cut" else flip(text.encode(), value, rng)
    if change == "cell":
        cells = lines[2].split(",")
        cells[lines[0].split(",").index(column)] = '"' + word(value).replace('"', '""') + '"'
        lines[2] = ",".join(cells)
    elif change == "first_line":
        lines[0] = value
    elif change == "encoding":
        return (text + "é,,,\n").encode(value)
    else:
        return _form(lines, value)
    return ("\n".join(lines) + "\n").encode()


def _form(lines: list[str], how: str) -> bytes:
    body = {
        "nul": lambda: "\n".join(lines) + "\0\n",
        "quote open": lambda: "\n".join([*lines[:2], '"' + lines[2]]),
        "crlf": lambda: "\r\n".join(lines) + "\r\n",
        "cr": lambda: "\r".join(lines),
        "no newline": lambda: "\n".join(lines),
        "blank lines": lambda: "\n\n\n".join(lines),
        "more cells": lambda: "\n".join([*lines, lines[1].replace("p0", "q0", 1) + ",x,y,z"]),
        "fewer cells": lambda: "\n".join([*lines, "q1"]),
        "rows twice": lambda: "\n".join([*lines, *lines[1:]]),
        "many rows": lambda: "\n".join([*lines, *(f"m{n}," * 2 for n in range(20_000))]),
    }[how]()
    return body.encode()


def document(whole: str, change: str, value: Any, rng: np.random.Generator) -> bytes:
    """A damaged YAML document of a whole one: cut, flipped, of other content, or with one key of another value."""
    if change == "content":
        return str(word(value)).encode("latin-1")
    if change in ("cut", "flip"):
        return cut(whole.encode(), value) if change == "cut" else flip(whole.encode(), value, rng)
    content = yaml.safe_load(whole)
    places = list(_places(content))
    owner, key = places[int(rng.integers(len(places)))]
    owner[key] = word(value)
    return yaml.safe_dump(content, allow_unicode=True).encode()


def _places(content: Any) -> Any:
    """Every key and item, with what holds it."""
    pairs = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in pairs:
        yield content, key
        yield from _places(value)


def tensors(whole: bytes, how: str) -> bytes:
    """A safetensors file with another header."""
    length = int.from_bytes(whole[:8], "little")
    header, body = json.loads(whole[8 : 8 + length]), whole[8 + length :]
    first = next(name for name in header if name != "__metadata__")
    if how == "length huge":
        return (2**62).to_bytes(8, "little") + whole[8:]
    if how == "length zero":
        return bytes(8) + whole[8:]
    if how == "offsets":
        header[first]["data_offsets"] = [0, 2**40]
    elif how == "type":
        header[first]["dtype"] = "F99"
    elif how == "shape":
        header[first]["shape"] = [2**31, 2**31]
    text = {"no json": "{" * 64, "nested": "[" * 100_000}.get(how) or json.dumps(header)
    return len(text).to_bytes(8, "little") + text.encode() + body


def weights(whole: bytes, how: str) -> bytes:
    """A safetensors file of the same tensors with other values."""
    from safetensors.numpy import load, save

    arrays = {name: array.copy() for name, array in load(whole).items()}
    for array in arrays.values():
        if how == "one nan":
            array.flat[0] = np.nan
            break
        array[:] = {"nan": np.nan, "inf": np.inf, "huge": 1e30}[how]
    return save(arrays)


def pickled() -> bytes:
    """A pickle that would make a file."""
    import pickle

    stream = io.BytesIO()
    pickle.Pickler(stream).dump({"a": np.zeros(3)})
    return stream.getvalue()
