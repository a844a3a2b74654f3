"""Folder of predictions, and the file in it that belongs to a subject."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from glob import escape
from itertools import accumulate
from pathlib import Path
from string import Formatter

from volumetric.errors import InputError
from volumetric.imaging.nifti import SUFFIXES, stem
from volumetric.manifest import ManifestRow
from volumetric.records.prediction import (
    PREDICTIONS,
    PredictionRow,
    PredictionSidecar,
    is_uncertainty,
    sidecar_path,
)
from volumetric.records.record import RecordError
from volumetric.records.table import SessionKey


class PredictionsError(InputError):
    """Predictions that are not there, or do not belong together."""


@dataclass(frozen=True)
class PredictionSet:
    """A folder of predictions.

    Attributes:
        folder: where they are.
        table: the rows of `predictions.csv`; None for the files of another tool.
        sidecars: those that can be read.
        damaged: why the others cannot be read.
        pattern: path of another tool's files in the folder, by `{subject_id}` and `{session_id}`; wildcards allowed.
    """

    folder: Path
    table: Mapping[SessionKey, PredictionRow] | None = None
    sidecars: Mapping[SessionKey, PredictionSidecar] = field(default_factory=dict)
    damaged: Mapping[SessionKey, str] = field(default_factory=dict)
    pattern: str | None = None

    @property
    def sidecar(self) -> PredictionSidecar | None:
        """One of the sidecars, which agree on contrasts, data range and model; None for another tool's files."""
        return next(iter(self.sidecars.values()), None)

    def contrasts(self, source: str | None, target: str | None) -> tuple[str, str]:
        """Source and target: those of the sidecars, else the given ones, else T1w and T2w.

        Raises:
            PredictionsError: a given one that the sidecars contradict.
        """
        if self.sidecar is None:
            return source or "t1w", target or "t2w"
        for option, given, own in (("source", source, self.sidecar.sources), ("target", target, [self.sidecar.target])):
            if given is not None and given not in own:
                raise PredictionsError(
                    f"{self.folder}: --{option} {given}, but the sidecars there name {', '.join(own)}; leave it out"
                )
        return source or self.sidecar.sources[0], self.sidecar.target

    def match(self, rows: Sequence[ManifestRow]) -> dict[SessionKey, Path | PredictionsError]:
        """The prediction of each subject and session, or why there is none; no file belongs to two of them."""
        matches: dict[SessionKey, Path | PredictionsError] = {}
        owners: dict[Path, list[ManifestRow]] = {}
        for row in rows:
            try:
                matches[row.key] = file = self.find(row)
                owners.setdefault(file, []).append(row)
            except PredictionsError as error:
                matches[row.key] = error.with_traceback(None)
        for file, named in owners.items():
            if len(named) > 1:
                names = " and ".join(row.name for row in named)
                for row in named:
                    matches[row.key] = PredictionsError(
                        f"subject {row.name}: the prediction {file} belongs to {names}; give each session a file "
                        "of its own, such as sub-ID_ses-ID_T2w.nii.gz, or name them by --pattern"
                    )
        return matches

    def find(self, row: ManifestRow) -> Path:
        """The prediction of a subject.

        Raises:
            PredictionsError: there is none, inference failed, its sidecar is damaged, or several files could be meant.
        """
        if self.pattern is not None:
            return self._by_pattern(row, self.pattern)
        if self.table is not None:
            return self._by_table(row, self.table)
        return self._by_name(row)

    def _by_table(self, row: ManifestRow, table: Mapping[SessionKey, PredictionRow]) -> Path:
        entry = table.get(row.key)
        if entry is None:
            raise PredictionsError(
                f"subject {row.name}: no prediction in {self.folder / PREDICTIONS}; run infer on this subject"
            )
        if entry.status == "failed":
            raise PredictionsError(f"subject {row.name}: inference failed: {entry.error}")
        if row.key in self.damaged:
            raise PredictionsError(f"subject {row.name}: {self.damaged[row.key]}")
        file = self.folder / entry.path
        if ".." in file.parts[len(self.folder.parts) :] or Path(entry.path).is_absolute():
            raise PredictionsError(
                f"subject {row.name}: {self.folder / PREDICTIONS} names {entry.path}, which lies outside that folder; "
                "repeat `volumetric infer` into it"
            )
        if not file.is_file():
            raise PredictionsError(
                f"subject {row.name}: the prediction {file} is gone; repeat `volumetric infer` into that folder"
            )
        return file

    def _by_name(self, row: ManifestRow) -> Path:
        subject, session = row.subject_id.removeprefix("sub-"), row.session_id.removeprefix("ses-")
        plain = subject + (f"_{session}" if session else "")
        bids = f"sub-{subject}" + (f"_ses-{session}" if session else "")
        exact = [file for file in self._named.get(plain, []) if stem(file) == plain]
        files = sorted({*self._named.get(bids, []), *exact})
        if len(files) != 1:
            named = f"{len(files)} files are ({', '.join(f.name for f in files[:3])})" if files else "no file is"
            raise PredictionsError(
                f"subject {row.name}: {named} named for this subject in {self.folder}; expected one file "
                f"{row.subject_id}.nii.gz or sub-{row.subject_id}_*.nii.gz; name others by --pattern"
            )
        return files[0]

    def _by_pattern(self, row: ManifestRow, pattern: str) -> Path:
        named = pattern.format(subject_id=escape(row.subject_id), session_id=escape(row.session_id))
        files = self._images(named)
        if len(files) != 1:
            matching = f"{len(files)} files match" if files else "no NIfTI file matches"
            raise PredictionsError(f"subject {row.name}: {matching} {named} in {self.folder}; expected one")
        return files[0]

    @cached_property
    def _named(self) -> dict[str, list[Path]]:
        """All images, by the beginnings of their names that end at an underscore, and by the whole names."""
        named: dict[str, list[Path]] = {}
        for file in self._images("**/*.nii*"):
            for name in accumulate(stem(file).split("_"), "{}_{}".format):
                named.setdefault(name, []).append(file)
        return named

    def _images(self, pattern: str) -> list[Path]:
        return [
            file
            for file in sorted(self.folder.glob(pattern))
            if file.name.endswith(SUFFIXES) and not is_uncertainty(file)
        ]


def open_predictions(folder: Path, pattern: str | None = None) -> PredictionSet:
    """Open a folder of predictions, or a run folder with one in it.

    Args:
        folder: where they are.
        pattern: path of another tool's files there, such as `{subject_id}/*_synth.nii.gz`.

    Raises:
        InputError: no such folder, a pattern without `{subject_id}`, a damaged table, or predictions made for different
            targets or data ranges.
    """
    if not folder.is_dir():
        raise PredictionsError(f"{folder}: there is no such folder; name the folder that infer wrote")
    if pattern is not None:
        _check_pattern(folder, pattern)
        return PredictionSet(folder, pattern=pattern)
    folder = next((f for f in (folder, folder / "predictions") if (f / PREDICTIONS).is_file()), folder)
    if not (folder / PREDICTIONS).is_file():
        return PredictionSet(folder)
    table = {row.key: row for row in PredictionRow.read_table(folder / PREDICTIONS)}
    return _with_sidecars(folder, table)


def _check_pattern(folder: Path, pattern: str) -> None:
    try:
        fields = {name for _, name, _, _ in Formatter().parse(pattern) if name is not None}
        next(folder.glob(pattern.format(subject_id="0", session_id="0")), None)
    except (AttributeError, LookupError, NotImplementedError, TypeError, ValueError):
        fields = set()  # no format string, or no path that can be searched for in a folder
    if "subject_id" not in fields or not fields <= {"subject_id", "session_id"}:
        raise PredictionsError(
            f"--pattern {pattern}: expected a path in that folder with {{subject_id}} and perhaps {{session_id}}, "
            "such as '{subject_id}/*_synth.nii.gz'"
        )


def read_sidecar(prediction: Path) -> PredictionSidecar | None:
    """The sidecar beside a prediction; None without one, or where it is another tool's."""
    try:
        return PredictionSidecar.read(sidecar_path(prediction))
    except RecordError:
        return None


def _with_sidecars(folder: Path, table: Mapping[SessionKey, PredictionRow]) -> PredictionSet:
    sidecars: dict[SessionKey, PredictionSidecar] = {}
    damaged: dict[SessionKey, str] = {}
    for key, row in table.items():
        path = sidecar_path(folder / row.path)
        if row.status == "failed" or not path.exists():
            continue
        try:
            sidecar = PredictionSidecar.read(path)
        except RecordError as error:
            damaged[key] = str(error)
            continue
        owner = SessionKey(sidecar.subject_id, sidecar.session_id)
        if owner == key:
            sidecars[key] = sidecar
        else:
            damaged[key] = f"{path} belongs to subject {owner.name}; repeat `volumetric infer --fresh` into that folder"
    for key, sidecar in sidecars.items():
        _check_same_model(next(iter(sidecars.values())), sidecar, sidecar_path(folder / table[key].path))
    return PredictionSet(folder, table, sidecars, damaged)


_MUST_AGREE: Mapping[str, Callable[[PredictionSidecar], object]] = {
    "sources": lambda sidecar: sidecar.sources,
    "target": lambda sidecar: sidecar.target,
    "data_range": lambda sidecar: sidecar.data_range,
    "intensity_scale": lambda sidecar: sidecar.intensity_scale,
    "model_sha256": lambda sidecar: sidecar.model_sha256,
}


def _check_same_model(first: PredictionSidecar, other: PredictionSidecar, path: Path) -> None:
    differing = [key for key, value in _MUST_AGREE.items() if value(first) != value(other)]
    if differing:
        raise PredictionsError(
            f"{path}: the predictions in this folder come from different models ({', '.join(differing)} differ, first "
            "in this file); infer each model into a folder of its own"
        )


def check_scale(scale: str) -> str:
    """`scale` if it is `reference`, `own-median` or a positive number.

    Raises:
        PredictionsError: it is none.
    """
    if scale in ("reference", "own-median"):
        return scale
    try:
        if 0 < float(scale) < float("inf"):
            return scale
    except ValueError:
        pass
    raise PredictionsError(f"--prediction-scale {scale}: expected reference, own-median or a positive number")
