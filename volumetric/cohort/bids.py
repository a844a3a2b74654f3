"""BIDS data sets: subjects, sessions and contrasts by the BIDS rules for file names."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from volumetric.cohort.candidates import Candidate, Listing, SessionIds, Skipped, relative
from volumetric.cohort.tables import SubjectTable, read_table
from volumetric.imaging.nifti import SUFFIXES, stem
from volumetric.manifest import is_covariate

SUFFIX_COLUMNS = {"T1w": "t1w", "T2w": "t2w", "PDw": "pdw", "PD": "pdw", "FLAIR": "flair"}
_ENTITY = re.compile(r"[A-Za-z]+-[A-Za-z0-9+]+")
_RULE = (
    "of several, the one with the fewest labels besides sub, ses and run is taken, of those the last run"
    " (with --derivatives, derived before raw)"
)


@dataclass(frozen=True)
class BidsName:
    """The parts of a BIDS file name: `sub-01_ses-2_acq-hires_T1w.nii.gz`.

    Attributes:
        entities: labels by key, `{"sub": "01", "ses": "2", "acq": "hires"}`.
        suffix: `T1w`.
    """

    entities: Mapping[str, str]
    suffix: str


def find(root: Path, *, derivatives: bool = False) -> Listing:
    """List the images below `sub-*/[ses-*/]anat/`, with covariates from sidecars and the tables of participants.

    Args:
        root: the data set.
        derivatives: also search `derivatives/`: its brain and lesion masks, and its images instead of the raw
            ones. Images in another space (`space-`) and synthetic ones (`desc-synth`) are never taken.
    """
    candidates: list[Candidate] = []
    skipped: list[Skipped] = []
    folders = sorted(root.glob("sub-*/anat")) + sorted(root.glob("sub-*/ses-*/anat"))
    if derivatives:
        derived = root / "derivatives"
        folders += sorted(path for path in derived.rglob("anat") if path.is_dir())
    for folder in folders:
        for path in sorted(p for p in folder.iterdir() if p.name.endswith(SUFFIXES) and p.is_file()):
            outcome = _candidate(path, root)
            if isinstance(outcome, Candidate):
                candidates.append(outcome)
            else:
                skipped.append(Skipped(relative(path, root), outcome))
    covariates, problems = _covariates(root)
    return Listing(tuple(candidates), tuple(skipped + problems), covariates)


def parse_name(file_name: str) -> BidsName | None:
    """The entities and the suffix of a file name, or None if the name is not by BIDS."""
    *pairs, suffix = stem(Path(file_name)).split("_")
    if not pairs or not all(_ENTITY.fullmatch(pair) for pair in pairs) or not suffix.isalnum():
        return None
    entities = dict(pair.split("-", 1) for pair in pairs)
    return BidsName(entities, suffix) if "sub" in entities and len(entities) == len(pairs) else None


def column_of(name: BidsName) -> tuple[str, str]:
    """The manifest's column of a name and "", or "" and the reason why it has none."""
    if name.suffix in ("mask", "roi"):
        return _mask_column(name)
    if name.suffix == "dseg":
        return "", "the classes of a dseg are numbered differently from tool to tool; fill `tissues` by hand"
    if name.suffix not in SUFFIX_COLUMNS:
        return "", f"the suffix {name.suffix} is none of {', '.join(SUFFIX_COLUMNS)}, mask"
    reason = _exclusion(name.entities)
    return ("", reason) if reason else (SUFFIX_COLUMNS[name.suffix], "")


def _mask_column(name: BidsName) -> tuple[str, str]:
    region = f"{name.entities.get('label', '')} {name.entities.get('desc', '')}".lower()
    if "lesion" in region:
        return "lesions", ""
    if not region.strip() or "brain" in region:
        return "mask", ""
    return "", "neither a brain mask nor a lesion mask by its label or desc"


def _exclusion(entities: Mapping[str, str]) -> str:
    """The reason why an image is not taken, or ""."""
    if "ce" in entities:
        return f"a contrast agent was given (ce-{entities['ce']}), which makes it another contrast"
    if entities.get("part", "mag") != "mag":
        return f"part-{entities['part']} is no magnitude image"
    if "chunk" in entities:
        return "chunk- is a part of the volume"
    if "synth" in entities.get("desc", ""):
        return "a synthetic image (desc-synth) is no scan"
    return ""


def _candidate(path: Path, root: Path) -> Candidate | str:
    """The file as a candidate, or the reason why it is none."""
    name = parse_name(path.name)
    if name is None:
        return "its name is not by BIDS (sub-<label>[_<key>-<label>...]_<suffix>.nii.gz)"
    column, reason = column_of(name)
    if not column:
        return reason
    subject, session = name.entities["sub"], name.entities.get("ses", "")
    folders = [part for part in path.relative_to(root).parts[:-1] if part.startswith(("sub-", "ses-"))]
    expected = [f"sub-{subject}", *([f"ses-{session}"] if session else [])]
    if folders != expected:
        return f"its name says {'/'.join(expected)}, its folder {'/'.join(folders)}; correct one of them"
    derived = path.relative_to(root).parts[0] == "derivatives"
    if name.entities.get("space", "orig") != "orig":
        return f"it lies in another space (space-{name.entities['space']})"
    run = name.entities.get("run", "0")
    further = len(name.entities.keys() - {"sub", "ses", "run", "desc", "label"})
    rank = (not derived, further, -int(run) if run.isdigit() else 0)
    return Candidate(path, subject, session, column, rank, _RULE, _sidecar(path, name, root))


def _sidecar(path: Path, name: BidsName, root: Path) -> dict[str, str]:
    """The field strength from the file's own JSON or, by BIDS' inheritance, one of the same suffix above it."""
    own = path.with_name(f"{stem(path)}.json")
    places = [own]
    for folder in (path.parent, *path.parents[1:]):
        places += sorted(p for p in folder.glob(f"*{name.suffix}.json") if p != own and _inherits(p, name))
        if folder == root:
            break
    for place in places:
        try:
            content = json.loads(place.read_text(encoding="utf-8-sig"))
            strength = float(content["MagneticFieldStrength"])
        except (OSError, ValueError, KeyError, TypeError):  # a sidecar is a help, never a condition
            continue
        return {"field_strength": f"{strength:.1f}"}
    return {}


def _inherits(sidecar: Path, name: BidsName) -> bool:
    *pairs, suffix = sidecar.stem.split("_")
    known = {f"{key}-{label}" for key, label in name.entities.items()}
    return suffix == name.suffix and set(pairs) <= known


def _covariates(root: Path) -> tuple[dict[SessionIds, dict[str, str]], list[Skipped]]:
    """Covariates of subjects from participants.tsv, and of sessions from sub-*/sub-*_sessions.tsv."""
    covariates: dict[SessionIds, dict[str, str]] = {}
    skipped: list[Skipped] = []
    participants = root / "participants.tsv"
    if participants.is_file():
        table = read_table(participants, "participant_id", delimiter="\t")
        skipped += _skipped_cells(table, participants.name)
        for name, cells in table.cells.items():
            covariates[name.removeprefix("sub-"), ""] = _renamed(cells, "participants")
    for path in sorted(root.glob("sub-*/sub-*_sessions.tsv")):
        table = read_table(path, "session_id", delimiter="\t")
        skipped += _skipped_cells(table, relative(path, root))
        subject = path.parent.name.removeprefix("sub-")
        for name, cells in table.cells.items():
            covariates[subject, name.removeprefix("ses-")] = _renamed(cells, "sessions")
    return covariates, skipped


def _skipped_cells(table: SubjectTable, name: str) -> list[Skipped]:
    return [Skipped(name, f"{conflict.key}: {conflict.reason}") for conflict in table.conflicts]


def _renamed(cells: Mapping[str, str], table: str) -> dict[str, str]:
    """Cells under names that the manifest does not use for anything else: `split` -> `participants_split`."""
    return {key if is_covariate(key) else f"{table}_{key}": value for key, value in cells.items() if key}
