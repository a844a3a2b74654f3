"""Calls that a cohort without a single file costs, by the number of its subjects."""

import sys

import pytest

from tests.conftest import brain_pair
from volumetric.evaluation.evaluate import evaluate
from volumetric.evaluation.predictions import open_predictions
from volumetric.imaging.nifti import write_image
from volumetric.manifest import ManifestRow, write_manifest
from volumetric.synthesis.infer import infer

FEW, MANY = 60, 240


def calls_in(function, *arguments, **options):
    """Number of functions that are called, Python's own included."""
    count = 0

    def note(frame, event, argument):
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        function(*arguments, **options)
    finally:
        sys.setprofile(None)
    return count


def missing(folder, number):
    """A manifest of scans that are not there, and two to fit the baselines to."""
    rows = []
    for subject in range(2):
        paths = {contrast: folder / f"{contrast}{subject}.nii.gz" for contrast in ("t1w", "t2w")}
        for path, image in zip(paths.values(), brain_pair(subject), strict=True):
            write_image(path, image)
        rows.append(ManifestRow(f"t{subject}", split="train", paths=paths))
    for subject in range(number):
        paths = {contrast: folder / "gone" / f"s{subject}_{contrast}.nii.gz" for contrast in ("t1w", "t2w")}
        rows.append(ManifestRow(f"s{subject}", split="test", paths=paths))
    write_manifest(folder / f"{number}.csv", rows)
    return folder / f"{number}.csv"


def growth(call):
    """Calls for four times the subjects, as a multiple; four for work that grows with their number, 16 with its square.

    Below four by what each command costs anyway.
    """
    call(FEW)  # imports
    few, many = call(FEW), call(MANY)
    return many / few


def test_issue_17_22_work_of_infer_grows_with_the_number_of_subjects(run_folder, tmp_path):
    manifests = {number: missing(tmp_path, number) for number in (FEW, MANY)}

    def call(number):
        return calls_in(infer, [manifests[number]], out=tmp_path / f"o{number}", model=run_folder, split="test")

    assert growth(call) < 4.5


@pytest.mark.parametrize("table", [True, False])
def test_issue_17_22_work_of_evaluate_grows_with_the_number_of_subjects(run_folder, tmp_path, table):
    """With the table that infer wrote, and with the files of another tool."""
    manifests = {number: missing(tmp_path, number) for number in (FEW, MANY)}
    for number, manifest in manifests.items():
        (tmp_path / f"o{number}").mkdir()
        for subject in range(number):
            (tmp_path / f"o{number}" / f"sub-s{subject}_T2w.nii.gz").touch()
        if table:
            infer([manifest], out=tmp_path / f"o{number}", model=run_folder, split="test")

    def call(number):
        scores = tmp_path / f"e{number}"
        return calls_in(evaluate, tmp_path / f"o{number}", [manifests[number]], scores, segmentation=False, jobs=1)

    assert growth(call) < 4.5


def test_files_of_another_tool_are_listed_once(tmp_path):
    """Each row compared with each file took 100 s for 100,000 rows."""
    rows = [ManifestRow(f"s{subject}") for subject in range(FEW)]
    for row in rows:
        (tmp_path / f"sub-{row.subject_id}_T2w.nii.gz").touch()
    folder = open_predictions(tmp_path)
    few = calls_in(folder.match, rows[:1])
    assert calls_in(folder.match, rows) < few + 50 * FEW
