"""The inputs of `infer`: files, folders or manifests, as cases, each with the path of its output."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from volumetric.errors import InputError
from volumetric.imaging.nifti import SUFFIXES, stem
from volumetric.manifest import ManifestRow, read_manifest
from volumetric.model.spec import ModelSpec
from volumetric.records.table import SessionKey

log = logging.getLogger(__name__)

_NUM_SHOWN = 3
_BIDS_SUFFIX = {"t1w": "T1w", "t2w": "T2w", "pdw": "PDw", "flair": "FLAIR", "t1wce": "T1w", "labels": "dseg"}
_ENTITY = re.compile(r"(?:^|_)(sub|ses)-([A-Za-z0-9]+)")


class InputsError(InputError):
    """Inputs that name no scans."""


@dataclass(frozen=True, slots=True)
class InferenceCase:
    """A subject and session to synthesize from, and the path of the result.

    Attributes:
        row: subject, session and files.
        output: path of the prediction, relative to the output folder; text, which a cohort of 100,000 has room for.
    """

    row: ManifestRow
    output: str

    @property
    def key(self) -> SessionKey:
        """Subject and session."""
        return self.row.key


def find_cases(
    inputs: Sequence[Path], spec: ModelSpec, *, split: str = "all", named: Mapping[str, Path] | None = None
) -> list[InferenceCase]:
    """List the subjects of the inputs.

    Args:
        inputs: NIfTI files (each one subject), folders (searched for files of the model's source contrast), and
            manifests.
        spec: the model, for its contrasts.
        split: rows of manifests to take, or `all`.
        named: one subject's files by contrast, for models with several sources.

    Raises:
        InputsError: nothing found, a file of an unknown kind, or two subjects whose outputs would have one name.
    """
    rows = _manifest_rows([path for path in inputs if path.suffix == ".csv"], split)
    for path in inputs:
        if path.suffix != ".csv":
            rows += [_row_of(file, spec) for file in _files(path, spec)]
    if named:
        rows.append(_named_row(named, spec))
    if not rows:
        raise InputsError("no input is given; name NIfTI files, a folder or a manifest")
    cases = [InferenceCase(row, _output(row, spec)) for row in rows]
    _check_unique(cases)
    return cases


def _manifest_rows(manifests: Sequence[Path], split: str) -> list[ManifestRow]:
    if not manifests:
        if split != "all":
            raise InputsError(f"--split {split}: it is about the rows of manifests, and none is given; leave it out")
        return []
    rows = list(read_manifest(*manifests).split(split))
    if not rows:
        raise InputsError(
            f"{', '.join(map(str, manifests))}: no row has split `{split}`; give --split train, val, test or all"
        )
    return rows


def _files(path: Path, spec: ModelSpec) -> list[Path]:
    """The scans of an input that is no manifest, each a subject of its own."""
    if len(spec.sources) > 1:
        raise InputsError(
            f"{path}: the model needs {', '.join(spec.sources)} of each subject; give a manifest, or "
            + " ".join(f"--input {c}=FILE" for c in spec.sources)
        )
    if path.is_dir():
        return _files_in_folder(path, spec.sources[0])
    if path.is_file() and path.name.endswith(SUFFIXES):
        return [path]
    if path.exists():
        raise InputsError(
            f"{path}: expected a NIfTI file (.nii, .nii.gz), a folder of them, the folder of a DICOM series, "
            "or a manifest (.csv); name one of these"
        )
    raise InputsError(f"{path}: there is no such file or folder; check the path")


def _files_in_folder(folder: Path, contrast: str) -> list[Path]:
    every = [f for f in sorted(folder.rglob("*.nii*")) if f.name.endswith(SUFFIXES) and "desc-synth" not in f.name]
    files = [f for f in every if _is_named_like(f, contrast)]
    if not files:
        raise InputsError(
            f"{folder}: no file there is named like a {contrast} (..._{_BIDS_SUFFIX[contrast]}.nii.gz, "
            f"{contrast}.nii.gz, ...-T1.nii.gz); name the files themselves, or write a manifest"
        )
    left = [f.name for f in every if not _is_named_like(f, contrast)]
    if left:
        names = ", ".join(left[:_NUM_SHOWN]) + f" and {len(left) - _NUM_SHOWN} more" * (len(left) > _NUM_SHOWN)
        log.info("%s: left out, since not named like a %s: %s", folder, contrast, names)
    return files


def _is_named_like(path: Path, contrast: str) -> bool:
    last = re.split(r"[_\-.]", stem(path).lower())[-1]
    return last in (contrast, contrast.removesuffix("w"))


def _row_of(path: Path, spec: ModelSpec) -> ManifestRow:
    entities = dict(_ENTITY.findall(stem(path)))
    if "sub" in entities:
        subject, session = entities["sub"], entities.get("ses", "")
    else:
        own = re.sub(rf"[_\-.]?{spec.sources[0].removesuffix('w')}w?$", "", stem(path), flags=re.IGNORECASE)
        subject, session = own or path.resolve().parent.name, ""
    return ManifestRow(subject, session, paths={spec.sources[0]: path.resolve()})


def _named_row(named: Mapping[str, Path], spec: ModelSpec) -> ManifestRow:
    for contrast, path in named.items():
        if contrast not in (*spec.sources, "mask"):
            raise InputsError(f"--input {contrast}={path}: the model reads {', '.join(spec.sources)} (and mask)")
        if not path.is_file():
            problem = "a folder or a device" if path.exists() else "there is no such file"
            raise InputsError(f"--input {contrast}={path}: {problem}; check the path")
    row = _row_of(named.get(spec.sources[0], next(iter(named.values()))), spec)
    return ManifestRow(row.subject_id, row.session_id, paths={c: p.resolve() for c, p in named.items()})


def _output(row: ManifestRow, spec: ModelSpec) -> str:
    """The BIDS derivative name; labels hold letters and digits alone."""
    subject = re.sub(r"[^A-Za-z0-9]", "", row.subject_id.removeprefix("sub-"))
    session = re.sub(r"[^A-Za-z0-9]", "", row.session_id.removeprefix("ses-"))
    if not subject:
        raise InputsError(
            f"subject {row.name}: no letter from A to Z and no digit in the name, so it can name no file; rename it"
        )
    name = f"sub-{subject}" + (f"_ses-{session}" if session else "")
    name += "_ce-agent" if spec.target == "t1wce" else ""
    folder = f"sub-{subject}/ses-{session}" if session else f"sub-{subject}"
    return f"{folder}/anat/{name}_desc-synth_{_BIDS_SUFFIX[spec.target]}.nii.gz"


def _check_unique(cases: Sequence[InferenceCase]) -> None:
    owners: dict[str, ManifestRow] = {}
    for case in cases:
        if case.output in owners:
            first, second = owners[case.output], case.row
            raise InputsError(
                f"two inputs would be written to {case.output}: {_sources(first)} and {_sources(second)}; "
                "rename one, or give a manifest with distinct subject_id and session_id"
            )
        owners[case.output] = case.row


def _sources(row: ManifestRow) -> str:
    return ", ".join(str(path) for path in row.paths.values()) or row.name
