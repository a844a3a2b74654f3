"""The IXI data set as it is distributed: who, where and what stand in the file names."""

from __future__ import annotations

import re
from pathlib import Path

from volumetric.cohort.candidates import Candidate, Found, Skipped, Visit, relative
from volumetric.cohort.folders import nifti_files
from volumetric.cohort.tables import TableError, read_table

NAME = re.compile(r"IXI(?P<number>\d+)-(?P<site>[A-Za-z]+)-(?P<scan>\d+)-(?P<contrast>[A-Za-z0-9-]+)\.nii(\.gz)?")
"""`IXI002-Guys-0828-T1.nii.gz`."""

COLUMNS = {"T1": "t1w", "T2": "t2w", "PD": "pdw"}
FIELD_STRENGTH = {"Guys": "1.5", "HH": "3.0", "IOP": "1.5"}
"""Tesla, by site: Philips 1.5 T at Guy's, Philips 3 T at Hammersmith, GE 1.5 T at the Institute of Psychiatry."""

SEX = {"1": "M", "2": "F"}
"""As the head of the spreadsheet's column says."""


def find(root: Path, spreadsheet: Path | None = None) -> Found:
    """Read the names of all NIfTI files below a folder.

    Args:
        root: the folder; where in it the files lie does not matter.
        spreadsheet: IXI.xls exported as CSV. Age and sex are taken, nothing else: it holds birth dates too.

    Raises:
        TableError: the spreadsheet is not a CSV, or not this one.
    """
    candidates, skipped = [], []
    matches = {path: NAME.fullmatch(path.name) for path in nifti_files(root)}
    scans: dict[str, set[str]] = {}
    for named in filter(None, matches.values()):
        scans.setdefault(named["number"], set()).add(named["scan"])
    for path, match in matches.items():
        if match is None:
            skipped.append(Skipped(relative(path, root), "its name is none of IXI (IXI002-Guys-0828-T1.nii.gz)"))
        elif match["contrast"] not in COLUMNS:
            reason = f"{match['contrast']} is none of {', '.join(COLUMNS)}"
            skipped.append(Skipped(relative(path, root), reason))
        else:
            covariates = {"site": match["site"], "field_strength": FIELD_STRENGTH.get(match["site"], "")}
            session = match["scan"] if len(scans[match["number"]]) > 1 else ""
            subject = f"IXI{int(match['number']):03d}"
            rule = "the same scan lies in two places: the first by name is taken"
            column = COLUMNS[match["contrast"]]
            candidates.append(Candidate(path, subject, session, column, rule=rule, covariates=covariates))
    people: dict[Visit, dict[str, str]] = {}
    if spreadsheet is not None:
        people, problems = read_spreadsheet(spreadsheet)
        skipped += problems
    return Found(tuple(candidates), tuple(skipped), people)


def read_spreadsheet(path: Path) -> tuple[dict[Visit, dict[str, str]], list[Skipped]]:
    """Age (years) and sex (M, F) per person.

    Returns:
        The covariates, and what contradicts itself.

    Raises:
        TableError: no such file, an Excel file, or the columns are not there.
    """
    if not path.is_file():
        raise TableError(f"{path}: there is no such spreadsheet; check the path")
    if path.suffix.lower() in (".xls", ".xlsx", ".ods"):
        raise TableError(
            f"{path}: expected a CSV, got a spreadsheet of an office program; open it there, export it as CSV "
            f"(or `soffice --headless --convert-to csv {path.name}`), and give --spreadsheet {path.stem}.csv"
        )
    table = read_table(path, "IXI_ID")
    sex = next((column for column in table.columns if column.upper().startswith("SEX")), None)
    age = next((column for column in table.columns if column.upper() == "AGE"), None)
    if sex is None or age is None:
        raise TableError(f"{path}: expected the columns AGE and SEX_ID, got {', '.join(table.columns)}")
    people: dict[Visit, dict[str, str]] = {}
    for name, cells in table.records.items():
        number = name.upper().removeprefix("IXI").removesuffix(".0")
        if number.isdigit():
            years = _years(cells[age])
            people[f"IXI{int(number):03d}", ""] = {"age": years, "sex": SEX.get(cells[sex].removesuffix(".0"), "")}
    problems = [
        Skipped(path.name, f"IXI_ID {name}: {reason}")
        for name, reason in table.problems
        if f"give {age} " in reason or f"give {sex} " in reason  # the other columns are private and unused
    ]
    return people, problems


def _years(text: str) -> str:
    """`35,801506849` and `35.80` as a number with two digits; empty where there is none or it is 0."""
    try:
        years = float(text.replace(",", "."))
    except ValueError:
        return ""
    return f"{years:.2f}" if 0 < years < 130 else ""
