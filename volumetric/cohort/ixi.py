"""The IXI data set as it is distributed: subject, site and contrast by file name, age and sex by spreadsheet."""

from __future__ import annotations

import re
from pathlib import Path

from volumetric.cohort.candidates import Candidate, Listing, SessionIds, Skipped, relative
from volumetric.cohort.folders import nifti_files
from volumetric.cohort.tables import SubjectTable, TableError, read_table

NAME = re.compile(r"IXI(?P<number>\d+)-(?P<site>[A-Za-z]+)-(?P<scan>\d+)-(?P<contrast>[A-Za-z0-9-]+)\.nii(\.gz)?")
"""`IXI002-Guys-0828-T1.nii.gz`."""

COLUMNS = {"T1": "t1w", "T2": "t2w", "PD": "pdw"}
FIELD_STRENGTH = {"Guys": "1.5", "HH": "3.0", "IOP": "1.5"}
"""Tesla, by site: Philips 1.5 T at Guy's, Philips 3 T at Hammersmith, GE 1.5 T at the Institute of Psychiatry."""

SEX = {"1": "M", "2": "F"}
"""Codes of the spreadsheet's column `SEX_ID (1=m, 2=f)`."""


def find(root: Path, spreadsheet: Path | None = None) -> Listing:
    """List the NIfTI files below a folder that are named as in IXI.

    Args:
        root: the folder; files may lie anywhere in it.
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
    subjects: dict[SessionIds, dict[str, str]] = {}
    if spreadsheet is not None:
        subjects, conflicts = read_spreadsheet(spreadsheet)
        skipped += conflicts
    return Listing(tuple(candidates), tuple(skipped), subjects)


def read_spreadsheet(path: Path) -> tuple[dict[SessionIds, dict[str, str]], list[Skipped]]:
    """Age (years) and sex (M, F) of each subject, and the cells that contradict each other.

    Raises:
        InputError: no such file, an Excel file, or the columns are not there.
    """
    if not path.is_file():
        raise TableError(f"{path}: there is no such spreadsheet; check the path")
    if path.suffix.lower() in (".xls", ".xlsx", ".ods"):
        raise TableError(
            f"{path}: expected a CSV, got a spreadsheet of an office program; open it there, export it as CSV "
            f"(or `soffice --headless --convert-to csv {path.name}`), and give --spreadsheet {path.stem}.csv"
        )
    table = read_table(path, "IXI_ID")
    age, sex = _age_and_sex_columns(table, path)
    subjects: dict[SessionIds, dict[str, str]] = {}
    for name, cells in table.cells.items():
        number = name.upper().removeprefix("IXI").removesuffix(".0")
        if number.isdigit():
            code = cells[sex].removesuffix(".0")
            subjects[f"IXI{int(number):03d}", ""] = {"age": _years(cells[age]), "sex": SEX.get(code, "")}
    # conflicts of the other columns are not shown: they are private and unused
    shown = [conflict for conflict in table.conflicts if conflict.column in (age, sex)]
    return subjects, [Skipped(path.name, f"IXI_ID {conflict.key}: {conflict.reason}") for conflict in shown]


def _age_and_sex_columns(table: SubjectTable, path: Path) -> tuple[str, str]:
    age = next((column for column in table.columns if column.upper() == "AGE"), None)
    sex = next((column for column in table.columns if column.upper().startswith("SEX")), None)
    if sex is None or age is None:
        raise TableError(f"{path}: expected the columns AGE and SEX_ID, got {', '.join(table.columns)}")
    return age, sex


def _years(text: str) -> str:
    """`35,801506849` and `35.80` as a number with two digits; empty where there is none or it is 0."""
    try:
        years = float(text.replace(",", "."))
    except ValueError:
        return ""
    return f"{years:.2f}" if 0 < years < 130 else ""
