"""Plain folders: file names by a pattern, contrasts by their usual spellings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from volumetric.cohort.candidates import Candidate, Listing, Skipped, relative
from volumetric.errors import InputError
from volumetric.imaging.nifti import SUFFIXES
from volumetric.manifest import is_covariate

DEFAULT_PATTERNS = ("{subject_id}/{contrast}.nii.gz", "{subject_id}/{contrast}.nii")

SPELLINGS = {
    "t1w": ("t1", "t1w", "t1n", "t1weighted", "t1mprage", "mprage"),
    "t2w": ("t2", "t2w", "t2weighted", "t2tse"),
    "pdw": ("pd", "pdw", "pdweighted"),
    "flair": ("flair", "t2flair", "t2f"),
    "mask": ("mask", "brainmask"),
    "tissues": ("tissues",),
    "lesions": ("lesion", "lesions", "lesionmask"),
}
"""Column per spelling, compared in lower case without anything but letters and digits."""

_COLUMNS = {spelling: column for column, spellings in SPELLINGS.items() for spelling in spellings}
_FIELD = re.compile(r"\{([A-Za-z_][A-Za-z_0-9]*)\}")


class PatternError(InputError):
    """A pattern that cannot name subjects and contrasts."""


def find(root: Path, pattern: str | None = None) -> Listing:
    """List every NIfTI file below a folder that a pattern matches.

    Args:
        root: the folder.
        pattern: path below the folder, such as `{site}/{subject_id}_{contrast}.nii.gz`. `*` stands for anything but
            `/`; a field that comes twice must have the same text; where a field could end in several places, it is as
            long as possible. Fields other than subject_id, session_id and contrast become covariates.

    Raises:
        PatternError: no `{subject_id}` or `{contrast}`, a field that is a column of another kind, or no NIfTI name.
    """
    expressions = [compile_pattern(p) for p in ([pattern] if pattern else DEFAULT_PATTERNS)]
    candidates, skipped = [], []
    for path in nifti_files(root):
        name = relative(path, root)
        match = next((m for e in expressions if (m := e.fullmatch(name))), None)
        if match is None:
            skipped.append(Skipped(name, f"its name does not match {pattern or DEFAULT_PATTERNS[0]}"))
            continue
        fields = match.groupdict()
        contrast = fields.pop("contrast")
        column = contrast_of(contrast)
        if column is None:
            known = ", ".join(spellings[0] for spellings in SPELLINGS.values())
            skipped.append(Skipped(name, f"'{contrast}' is not a known contrast ({known}, and their usual spellings)"))
            continue
        subject, session = fields.pop("subject_id"), fields.pop("session_id", "")
        rule = "several spellings or endings of one contrast: the first by name is taken"
        candidates.append(Candidate(path, subject, session, column, rule=rule, covariates=fields))
    return Listing(tuple(candidates), tuple(skipped))


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """`{subject_id}/{contrast}.nii.gz` -> a regular expression with those groups.

    Raises:
        PatternError: as `find`.
    """
    _check_pattern(pattern)
    expression = ""
    named = set()
    for literal, name in _pieces(pattern):
        expression += re.escape(literal).replace(r"\*", "[^/]*")
        if name:
            expression += f"(?P={name})" if name in named else f"(?P<{name}>[^/]+)"
            named.add(name)
    return re.compile(expression)


def contrast_of(text: str) -> str | None:
    """The column that a spelling stands for: `T1`, `t1w` and `MPRAGE` are `t1w`; None for others, such as `t1ce`."""
    return _COLUMNS.get(re.sub(r"[^a-z0-9]", "", text.lower()))


def nifti_files(root: Path) -> list[Path]:
    """Every NIfTI file below a folder in sorted order; hidden files and folders are left out."""
    return sorted(
        path
        for path in root.rglob("*")
        if path.name.endswith(SUFFIXES)
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(root).parts)
    )


def _check_pattern(pattern: str) -> None:
    fields = _FIELD.findall(pattern)
    for needed in ("subject_id", "contrast"):
        if needed not in fields:
            raise PatternError(f"--pattern {pattern}: expected {{{needed}}} in it, as in {DEFAULT_PATTERNS[0]}")
    if not pattern.endswith(SUFFIXES):
        raise PatternError(f"--pattern {pattern}: expected it to end in .nii.gz or .nii, as in {DEFAULT_PATTERNS[0]}")
    for name in set(fields) - {"subject_id", "session_id", "contrast"}:
        if not is_covariate(name):
            raise PatternError(
                f"--pattern {pattern}: {{{name}}} would be taken for a column of the manifest that it is not; rename it"
            )
    rest = _FIELD.sub("", pattern)
    if "{" in rest or "}" in rest:
        raise PatternError(f"--pattern {pattern}: a field is a name of letters in braces, as in {{site}}")


def _pieces(pattern: str) -> Iterator[tuple[str, str]]:
    """Literal text and the field after it; the last has none."""
    position = 0
    for match in _FIELD.finditer(pattern):
        yield pattern[position : match.start()], match[1]
        position = match.end()
    yield pattern[position:], ""
