"""Label maps with lesions that their subjects do not have, for synthetic images of known lesions."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from volumetric.batch.progress import progress
from volumetric.batch.subjects import check_all_done, run_subjects
from volumetric.config.simulation import SimulationConfig
from volumetric.errors import InputError
from volumetric.imaging.header import ImageError
from volumetric.imaging.nifti import Image, read_labels, write_image
from volumetric.manifest import LABEL_MAP, ManifestRow, read_manifest, write_manifest
from volumetric.outputs import check_unclaimed, hash_file, hash_json, locked
from volumetric.records.settings import SETTINGS_FILE, LesionSettings
from volumetric.records.table import SessionKey
from volumetric.simulation.draws import draw_pair
from volumetric.simulation.given_lesions import (
    LESION_TISSUES,
    GivenLesion,
    given_lesions,
    is_lesion,
    with_given_lesions,
)
from volumetric.simulation.label_map import lesion_sites
from volumetric.simulation.label_table import LESION, LabelTable, read_label_table
from volumetric.simulation.pathology import laid_over
from volumetric.simulation.tissues import IN_BRAIN
from volumetric.subject import HIGHEST_LABEL

log = logging.getLogger(__name__)

LESION_RECIPE = 1
"""Raised whenever the same seed begins to give other lesions."""

_ONLY_LESIONS = SimulationConfig(lesion_probability=1, tumor_probability=0)
_MAX_COPIES = 1000
_TISSUES = ", ".join(LESION_TISSUES)


class AddedLesionsError(InputError):
    """Label maps that cannot be given lesions."""


@dataclass(frozen=True)
class _Copy:
    """A label map to give lesions to, and the number of the copy, from 1 on."""

    row: ManifestRow
    number: int

    @property
    def key(self) -> SessionKey:
        """The subject, and a session of its own: all copies of a subject stay in its split."""
        return SessionKey(self.row.subject_id, f"{self.row.session_id}lesions{self.number}")


def add_lesions(
    manifests: Sequence[Path],
    out: Path,
    *,
    table: str = SimulationConfig().table,
    donors: Sequence[Path] = (),
    random: bool = False,
    copies: int = 1,
    seed: int = 0,
    fresh: bool = False,
) -> Path:
    """Add lesions to label maps: sources for a model of `labels_to_t2w`, and truths for a segmenter.

    The lesions are those of another subject's map, moved, turned, scaled and mirrored, or rough ellipsoids in white
    matter. Lesions that a map has stay. Repeating the call continues, and more copies leave the others as they are.

    Args:
        manifests: CSV files with the column `labels`; a map for each row.
        out: folder to write: `SUBJECT/SESSION/{labels,lesions}.nii.gz` on the map's own grid, `manifest.csv`, and
            `settings.json`. `lesions` is 1 in every lesion of the map, its own included.
        table: tissues of the labels: `freesurfer`, `freesurfer_tumor`, `three_tissues`, or a YAML file. Lesions are
            its `white_matter_lesion`, `edema`, `tumor` and `necrosis`.
        donors: manifests of the maps that the lesions come from; none for those of `manifests`.
        random: rough ellipsoids, 2 to 40 of 1.2 to 5 mm and most of them near the ventricles.
        copies: maps of each row, with other lesions in each.
        seed: a copy's lesions depend on it, on subject, session, number and donors alone.
        fresh: delete the files of an earlier call, and start over.

    Returns:
        The manifest: subjects, splits and masks of the rows, sessions `lesions1`, `lesions2`, ...

    Raises:
        ManifestError: as `read_manifest`, or a row without `labels`.
        LabelTableError: no such table, or one that is wrong.
        AddedLesionsError: no donor has a lesion, or an argument that makes no sense.
        FailedSubjectsError: maps that could not be given lesions; the others are made, and are in the manifest.
        OutputError: `out` was begun with other settings, or holds files of others, and `fresh` is not set.
    """
    labels = read_label_table(table)
    _check(copies, seed, random, donors, labels)
    rows, sources = _rows_of(manifests), () if random else _rows_of(donors or manifests)
    items = [_Copy(row, number) for row in rows for number in range(1, copies + 1)]
    _check_folders(items)
    settings = LesionSettings(
        seed=seed,
        random=random,
        recipe=LESION_RECIPE,
        table=Path(table).name,
        table_sha256=labels.sha256,
        maps=_hashes(rows),
        donors=_hashes(sources),
    )
    with locked(out):
        _begin(settings, items, out, fresh=fresh)
        task = AddedLesionsTask(out, seed, labels, {} if random else _read_donors(sources, labels))
        settings.begin(out)
        return _make(task, items)


def _begin(settings: LesionSettings, items: Sequence[_Copy], out: Path, *, fresh: bool) -> None:
    """Check that the folder is this command's, after its files are deleted where asked for."""
    if fresh:
        settings.check_own(out)
    if fresh and (out / SETTINGS_FILE).exists():
        for path in _outputs(out):
            path.unlink(missing_ok=True)
    if not settings.began(out):
        check_unclaimed([out / "manifest.csv", *(path for item in items for path in _paths(out, item).values())])


def _make(task: AddedLesionsTask, items: Sequence[_Copy]) -> Path:
    """Make all maps in the task's folder; returns the manifest."""
    outcomes, manifest = run_subjects(task, items, title="add-lesions"), task.out / "manifest.csv"
    if rows := [outcome.record for outcome in outcomes if outcome.record is not None]:
        write_manifest(manifest, rows)
    check_all_done(outcomes)
    return manifest


@dataclass(frozen=True)
class AddedLesionsTask:
    """The batch task: a label map in, the same with more lesions out.

    Attributes:
        out: folder to write.
        seed: of all draws.
        table: labels to tissues.
        donors: lesions of a map by subject id and session; none for rough ellipsoids.
    """

    out: Path
    seed: int
    table: LabelTable
    donors: Mapping[SessionKey, Sequence[GivenLesion]]

    def name(self, item: _Copy) -> str:
        """`ms01/lesions1`."""
        return item.key.name

    def finished(self, item: _Copy) -> ManifestRow | None:
        """The row, if both files are whole; the settings of the folder say that they are the right ones."""
        try:
            for path in _paths(self.out, item).values():
                read_labels(path, HIGHEST_LABEL)
        except ImageError:
            return None
        return self._row(item)

    def read(self, item: _Copy) -> Image:
        """The label map."""
        return read_labels(item.row.path(LABEL_MAP), HIGHEST_LABEL)

    def compute(self, item: _Copy, loaded: Image) -> tuple[Image, Image]:
        """The label map with lesions, and where lesions are."""
        key = int(hash_json(item.key)[:12], 16)
        rng, name = np.random.default_rng([self.seed, key]), str(item.row.path(LABEL_MAP))
        if not IN_BRAIN[self.table.tissues(loaded.array, name=name)].any():
            raise AddedLesionsError(
                f"{name}: no voxel is brain by the table `{self.table.name}`; choose another --table"
            )
        if self.donors:
            others = [lesions for donor, lesions in self.donors.items() if donor.subject_id != item.row.subject_id]
            if not others:
                raise AddedLesionsError(
                    f"subject {item.row.name}: no other subject has a lesion; name more maps with --donors, or give "
                    "--random"
                )
            result = with_given_lesions(rng, loaded, self.table, others[int(rng.integers(len(others)))], name=name)
        else:
            result = self._with_ellipsoids(rng, loaded, name)
        diseased = is_lesion(self.table.tissues(result.array, name=name))
        return result, result.with_array(diseased.astype(np.uint8))

    def write(self, item: _Copy, result: tuple[Image, Image]) -> ManifestRow:
        """Write both."""
        for path, image in zip(_paths(self.out, item).values(), result, strict=True):
            write_image(path, image)
        return self._row(item)

    def _with_ellipsoids(self, rng: np.random.Generator, image: Image, name: str) -> Image:
        tissues = self.table.tissues(image.array, name=name)
        lesions = draw_pair(rng, _ONLY_LESIONS).lesions
        laid = laid_over(rng, tissues, lesion_sites(tissues, image.space), lesions, image.space.spacing_mm)
        return image.with_array(
            np.where(laid != tissues, self.table.classes()[LESION][0], image.array).astype(np.uint16)
        )

    def _row(self, item: _Copy) -> ManifestRow:
        row, paths = item.row, {column: path for column, path in item.row.paths.items() if column == "mask"}
        paths |= _paths(self.out, item)
        return ManifestRow(*item.key, row.split, row.fold, paths, row.covariates)


def _paths(out: Path, item: _Copy) -> dict[str, Path]:
    return {column: out / item.key.folder / f"{column}.nii.gz" for column in (LABEL_MAP, "lesions")}


def _outputs(out: Path) -> list[Path]:
    """All files of an earlier call, with more copies or other rows too; the settings last."""
    images = [path for column in (LABEL_MAP, "lesions") for path in out.glob(f"*/*lesions[0-9]*/{column}.nii.gz")]
    return [*images, out / "manifest.csv", out / SETTINGS_FILE]


def _rows_of(manifests: Sequence[Path]) -> tuple[ManifestRow, ...]:
    manifest = read_manifest(*manifests)
    manifest.require(manifest.rows, [LABEL_MAP])
    return manifest.rows


def _hashes(rows: Sequence[ManifestRow]) -> dict[str, str]:
    return {row.name: hash_file(row.path(LABEL_MAP)) for row in rows}


def _read_donors(rows: Sequence[ManifestRow], table: LabelTable) -> dict[SessionKey, list[GivenLesion]]:
    """The lesions of each map that has some."""
    donors: dict[SessionKey, list[GivenLesion]] = {}
    with progress("donors", len(rows), "subjects") as advance:
        for row in rows:
            path = row.path(LABEL_MAP)
            try:
                found = given_lesions(read_labels(path, HIGHEST_LABEL), table, name=str(path))
            except InputError as error:
                log.warning("subject %s gives no lesions: %s", row.name, error)
            else:
                donors |= {row.key: found} if found else {}
            advance(row.name)
    if not donors:
        raise AddedLesionsError(
            f"none of {len(rows)} label maps has a lesion by the table `{table.name}` ({_TISSUES}); name maps with "
            "lesions by --donors, or give --random"
        )
    return donors


def _check(copies: int, seed: int, random: bool, donors: Sequence[Path], table: LabelTable) -> None:
    if not 1 <= copies <= _MAX_COPIES:
        raise AddedLesionsError(f"--copies {copies}: expected 1 to {_MAX_COPIES}")
    if seed < 0:
        raise AddedLesionsError(f"--seed {seed}: expected a whole number from 0 on")
    if random and donors:
        raise AddedLesionsError("--random makes lesions of its own; leave it out, or --donors")
    if random and LESION not in table.classes():
        raise AddedLesionsError(
            f"the table `{table.name}` has no label for `{LESION}`; add a line, as in `{LESION}: [77]`, and give that "
            "file with --table"
        )


def _check_folders(items: Sequence[_Copy]) -> None:
    folders: dict[Path, _Copy] = {}
    for item in items:
        other = folders.setdefault(item.key.folder, item)
        if other is not item:
            raise AddedLesionsError(
                f"{other.key.name} and {item.key.name} would share the folder {item.key.folder}; rename one"
            )
