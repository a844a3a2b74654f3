import logging

import numpy as np
import pytest

from tests.conftest import brain_pair, head_pair
from volumetric.config.preparation import PreparationConfig
from volumetric.imaging.nifti import write_image
from volumetric.manifest import ManifestRow
from volumetric.model.folder import load_model, save_model
from volumetric.records.prediction import PredictionSidecar
from volumetric.records.preparation import SIDECAR
from volumetric.subject import read_raw_subject
from volumetric.synthesis.decision import decide
from volumetric.synthesis.infer import infer


@pytest.fixture
def spec(run_folder):
    return load_model(run_folder).spec.model_copy(update={"preparation": PreparationConfig()})


def raw_subject(folder, contrasts=("t1w",), **images):
    for column, image in images.items():
        write_image(folder / f"{column}.nii.gz", image)
    row = ManifestRow("p0", paths={column: folder / f"{column}.nii.gz" for column in images})
    return read_raw_subject(row, contrasts)


def test_the_scan_decides_and_the_options_decide_over_it(spec, tmp_path):
    (brain, _), (head, _, mask) = brain_pair(0), head_pair(0)
    extracted, raw = raw_subject(tmp_path / "brain", t1w=brain), raw_subject(tmp_path / "head", t1w=head)
    masked = raw_subject(tmp_path / "masked", t1w=head, mask=mask)
    cases = [
        (extracted, None, False, "the scan is brain-extracted: "),
        (raw, None, True, "the scan is not brain-extracted: 0 %"),
        (masked, None, False, "a mask is given"),
        (extracted, True, True, "--prepare was given"),
        (raw, False, False, "--as-is was given"),
    ]
    for subject, option, prepared, reason in cases:
        decision = decide(subject, spec, option)
        assert (decision.recipe is not None) == prepared
        assert decision.reason.startswith(reason)
    (tmp_path / "head" / SIDECAR).write_text("{}")
    assert decide(raw, spec, None) == (None, "`volumetric prepare` wrote the scan")


def test_without_a_recipe_nothing_is_prepared(spec, tmp_path):
    raw = raw_subject(tmp_path, t1w=head_pair(0)[0])
    decision = decide(raw, spec.model_copy(update={"preparation": None}), None)
    assert decision == (None, "the model was trained on scans as they came")


def test_sources_on_two_grids_are_prepared_even_with_a_mask(spec, tmp_path):
    t1w, _, mask = head_pair(0)
    raw = raw_subject(tmp_path, ("t1w", "pdw"), t1w=t1w, pdw=head_pair(0, "LAS")[0], mask=mask)
    decision = decide(raw, spec.model_copy(update={"sources": ("t1w", "pdw")}), None)
    assert decision == (spec.preparation, "the scans lie on different grids")


def test_infer_examines_the_scan_says_so_and_makes_again_what_another_option_decided(
    run_folder, spec, tmp_path, caplog, monkeypatch
):
    """The brain of the head is found by a stand-in for deepbet; the prediction is 0 elsewhere."""
    caplog.set_level(logging.INFO, "volumetric")
    head, _, mask = head_pair(0)
    monkeypatch.setattr("volumetric.imaging.mask._deepbet", lambda source, name: mask.array > 0)
    write_image(tmp_path / "head.nii.gz", head)
    write_image(tmp_path / "brain.nii.gz", brain_pair(0)[0])
    recipe = PreparationConfig.model_validate({"bias": {"enabled": False}})
    save_model(tmp_path / "model", load_model(run_folder).network, spec.model_copy(update={"preparation": recipe}))
    scans, out = [tmp_path / "head.nii.gz", tmp_path / "brain.nii.gz"], tmp_path / "out"

    def statuses(**options):
        return [outcome.status for outcome in infer(scans, model=tmp_path / "model", out=out, **options)]

    def decisions():
        sidecars = [PredictionSidecar.read(path) for path in sorted(out.rglob("sub-*.json"), reverse=True)]
        return [(sidecar.prepared_here, sidecar.preparation_reason.partition(":")[0]) for sidecar in sidecars]

    assert statuses() == ["ok", "ok"]
    found = [(True, "the scan is not brain-extracted"), (False, "the scan is brain-extracted")]
    assert decisions() == found
    assert "head: prepared: the scan is not brain-extracted" in caplog.text
    assert "brain: taken as it is: the scan is brain-extracted" in caplog.text
    assert statuses() == ["skipped", "skipped"]
    assert statuses(prepare=True) == ["skipped", "ok"]
    assert decisions() == [found[0], (True, "--prepare was given")]
    assert statuses(prepare=False) == ["ok", "ok"]
    assert statuses() == ["ok", "ok"]
    assert decisions() == found


def test_each_kind_of_warning_is_summarized_with_its_subjects(run_folder, tmp_path, caplog):
    scans = [tmp_path / f"{name}.nii.gz" for name in ("a", "b", "c")]
    for seed, path in enumerate(scans):
        t1w, _ = brain_pair(seed)
        array = np.where(t1w.array == 0, np.float32(-1), t1w.array) if seed else t1w.array
        write_image(path, t1w.with_array(np.where(np.arange(t1w.array.shape[0])[:, None, None] < 4, array, t1w.array)))
    line = "warning for 2 of 3 subjects: the t1w scan has negative values, as a CT or a normalized image has"
    for _ in range(2):  # the second call skips all three, and says the same
        caplog.clear()
        infer(scans, model=run_folder, out=tmp_path / "out")
        assert caplog.messages.count(line) == 1
