"""The folder that `infer` writes: which subject owns which path, and its tables."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from volumetric.batch.subjects import Outcome
from volumetric.errors import InputError
from volumetric.outputs import check_unclaimed, hash_file, hash_path, without_folders
from volumetric.records.description import DESCRIPTION, PROGRAM, DatasetDescription
from volumetric.records.prediction import (
    PREDICTIONS,
    TIMINGS,
    PredictionRow,
    PredictionSidecar,
    TimingRow,
    sidecar_path,
)
from volumetric.records.shards import SHARDS
from volumetric.records.table import SessionKey
from volumetric.synthesis.inputs import InferenceCase
from volumetric.synthesis.task import NOTICE

_SIDECARS = ("sub-*/anat/sub-*_desc-synth_*.json", "sub-*/ses-*/anat/sub-*_desc-synth_*.json")


class OwnershipError(InputError):
    """A path of the output folder that belongs to something else."""


class PredictionFolder:
    """A folder of predictions, new or written into before, while no other process writes into it."""

    def __init__(self, path: Path) -> None:
        """Read the tables; one that is damaged or gone is made again from the sidecars.

        Raises:
            OwnershipError: a folder stands where a table belongs.
        """
        self._path = path
        for name in (PREDICTIONS, TIMINGS):
            if (path / name).is_dir():
                raise OwnershipError(
                    f"{path / name}: a folder stands where infer writes a table; rename it, or choose another --out"
                )
        rows = PredictionRow.read_if_usable(path / PREDICTIONS)
        self._has_order = rows is not None
        self._rows = {row.key: row for row in (self._rows_of_sidecars() if rows is None else rows)}
        self._timings = {row.key: row for row in TimingRow.read_if_usable(path / TIMINGS) or []}

    def image(self, case: InferenceCase) -> Path:
        """Path of the prediction of a case."""
        return self._path / case.output

    def check_owners(self, cases: Sequence[InferenceCase]) -> None:
        """Check that no case would replace the prediction of another subject, session or source file.

        In a folder where `infer` has not begun, no case may replace any file, nor may a table.

        The same source file may have changed since, or moved: its path or its bytes are those of the sidecar.

        Raises:
            OwnershipError: naming the path, its owner, and who would replace it.
            OutputError: naming a file that is not of `infer`.
        """
        if not self._is_begun():
            tables = (self._path / name for name in (PREDICTIONS, TIMINGS))
            check_unclaimed([*tables, *(self.image(case) for case in cases)])
        listed = {row.path: row for row in self._rows.values()}
        for case in cases:
            sidecar = PredictionSidecar.read_if_usable(sidecar_path(self.image(case)), silent=True)
            row = listed.get(case.output)
            if sidecar is not None:
                owner = _other_owner(case, sidecar)
            else:
                owner = _name(*row.key) if row is not None and row.key != case.key else None
            if owner is not None:
                raise OwnershipError(
                    f"{self.image(case)} is the prediction of {owner}, and {_name(*case.key)} "
                    f"({', '.join(map(str, case.row.paths.values()))}) would replace it; choose another --out, give "
                    "each a subject_id of its own in a manifest, or replace it with --fresh"
                )

    def check_description(self) -> None:
        """Check that the folder is not another data set, such as the one that the scans are in.

        Raises:
            OwnershipError: its description is not of `infer`.
        """
        before = DatasetDescription.read_if_usable(self._path)
        if before is not None and not before.is_own:
            raise OwnershipError(
                f"{self._path / DESCRIPTION} describes another data set ({before.Name}); choose another --out, such as "
                f"{self._path / 'derivatives' / PROGRAM}"
            )

    def describe(self, target: str) -> None:
        """Write `dataset_description.json`; what was added to it since stays."""
        before = DatasetDescription.read_if_usable(self._path)
        DatasetDescription.of_predictions(target, NOTICE, before).write(self._path)

    def write_tables(self, cases: Sequence[InferenceCase], outcomes: Sequence[Outcome[PredictionRow]]) -> None:
        """Write `predictions.csv` and `timings.csv`; subjects of earlier calls keep their rows.

        Rows made from sidecars have no order of their own: an interrupted call ends in the table of an unbroken one.
        """
        if not self._has_order:
            self._drop_rows({case.key for case in cases})
        for case, outcome in zip(cases, outcomes, strict=True):
            subject, session = case.key
            self._rows[case.key] = outcome.record or PredictionRow(
                subject_id=subject,
                session_id=session,
                status="failed",
                error=without_folders(outcome.error, [*case.row.paths.values(), self.image(case)]),
            )
            if outcome.status == "ok":
                seconds = round(outcome.seconds, 2)
                self._timings[case.key] = TimingRow(subject_id=subject, session_id=session, seconds=seconds)
        owners = {case.output: case.key for case in cases if self._rows[case.key].path}
        rows = [row for row in self._rows.values() if owners.get(row.path, row.key) == row.key]
        PredictionRow.write_table(self._path / PREDICTIONS, rows)
        TimingRow.write_table(self._path / TIMINGS, self._timings.values())

    def _is_begun(self) -> bool:
        """True where `infer` has written before."""
        marks = (DESCRIPTION, SHARDS, *_SIDECARS)
        return any(True for mark in marks for _ in self._path.glob(mark))

    def _drop_rows(self, keys: Collection[SessionKey]) -> None:
        self._rows = {key: row for key, row in self._rows.items() if key not in keys}

    def _rows_of_sidecars(self) -> list[PredictionRow]:
        rows = []
        for path in sorted(path for pattern in _SIDECARS for path in self._path.glob(pattern)):
            sidecar = PredictionSidecar.read_if_usable(path)
            image = path.with_name(f"{path.stem}.nii.gz")
            if sidecar is not None and image.is_file():
                rows.append(PredictionRow.of(image.relative_to(self._path).as_posix(), sidecar))
        return rows


def _other_owner(case: InferenceCase, sidecar: PredictionSidecar) -> str | None:
    """Owner of the prediction beside a sidecar, or None if that is the case itself."""
    if (sidecar.subject_id, sidecar.session_id) != case.key:
        return f"{_name(sidecar.subject_id, sidecar.session_id)} ({', '.join(sidecar.Sources)})"
    for contrast, before in zip(sidecar.sources_used or sidecar.sources, sidecar.Sources, strict=True):
        path = case.row.paths.get(contrast)
        if path is None or hash_path(path) == sidecar.source_path_sha256.get(contrast, hash_path(before)):
            continue
        if not path.is_file() or hash_file(path) != sidecar.source_sha256.get(contrast):
            return before
    return None


def _name(subject: str, session: str) -> str:
    return f"subject {subject}/{session}" if session else f"subject {subject}"
