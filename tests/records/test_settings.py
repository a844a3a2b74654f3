import json

import pytest

from volumetric.config.preparation import PreparationConfig
from volumetric.config.resolve import resolve
from volumetric.outputs import OutputError
from volumetric.records.record import RecordError
from volumetric.records.settings import (
    CrossvalSettings,
    LesionSettings,
    PhantomSettings,
    PreparationSettings,
    RunSettings,
)


def test_settings_that_differ_are_each_named(tmp_path):
    settings = PhantomSettings(seed=1, spacing_mm=2, recipe=3)
    assert settings.began(tmp_path) is False
    settings.begin(tmp_path)
    assert settings.began(tmp_path) is True
    with pytest.raises(OutputError, match=r"seed was 1, is 2; spacing_mm was 2\.0, is 4\.0.*--fresh"):
        PhantomSettings(seed=2, spacing_mm=4, recipe=3).began(tmp_path)


def test_a_run_is_the_same_with_other_workers_and_another_cache_but_not_with_a_setting_that_came_later(tmp_path):
    config = resolve("tiny")
    RunSettings.of(config, "abc").begin(tmp_path)
    content = json.loads((tmp_path / "settings.json").read_text())
    assert content["optim"]["lr"] == config.optim.lr
    free = {"num_workers": 2, "cache": "elsewhere", "tensorboard": True}
    free |= {"max_patches_per_pass": 1, "checkpoint_every_s": 9}
    assert not free.keys() & content.keys()
    assert RunSettings.of(config.model_copy(update=free), "abc").began(tmp_path)
    with pytest.raises(OutputError, match="training_manifest_sha256 was abc, is def"):
        RunSettings.of(config, "def").began(tmp_path)
    del content["optim"]["ema_decay"]  # as if that version had not known it
    (tmp_path / "settings.json").write_text(json.dumps(content))
    with pytest.raises(OutputError, match=r"optim\.ema_decay was absent, is 0\.99"):
        RunSettings.of(config, "abc").began(tmp_path)


def test_ranges_of_simulation_may_change_where_nothing_is_simulated(tmp_path):
    before, after, mixed = (
        RunSettings.of(resolve("tiny", settings), "abc")
        for settings in (
            ["simulation.motion_probability=0"],
            ["simulation.motion_probability=0.5"],
            ["simulation.motion_probability=0.5", "mixture.simulated_source=0.5"],
        )
    )
    before.begin(tmp_path)
    assert after.began(tmp_path)
    with pytest.raises(
        OutputError, match=r"simulated_source was absent, is 0\.5; simulation\.motion_probability was 0"
    ):
        mixed.began(tmp_path)


def test_thresholds_of_quality_may_change(tmp_path):
    config = PreparationConfig()
    PreparationSettings.model_validate(dict(config)).begin(tmp_path)
    lenient = config.model_copy(update={"quality": config.quality.model_copy(update={"snr": (1, 1)})})
    assert PreparationSettings.model_validate(dict(lenient)).began(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"seed": 1}', '{"format_version": 1, "other": 2}'])
def test_a_damaged_file_is_one_sentence(tmp_path, text):
    (tmp_path / "settings.json").write_text(text)
    with pytest.raises(RecordError, match=r"settings\.json.*--fresh"):
        PhantomSettings(seed=1, spacing_mm=2, recipe=3).began(tmp_path)


EACH = (
    PhantomSettings(seed=0, spacing_mm=2, recipe=1),
    LesionSettings(seed=0, random=False, recipe=1, table="mine.yaml", table_sha256="", maps={}, donors={}),
    PreparationSettings(),
    RunSettings(training_manifest_sha256=""),
    CrossvalSettings(training_manifest_sha256="", folds={"a": 0}, next_fold_validates=True, segmentation=False),
)


@pytest.mark.parametrize("before", EACH, ids=lambda settings: type(settings).__name__)
def test_fresh_starts_over_in_a_folder_of_the_same_command_alone(before, tmp_path):
    before.begin(tmp_path)
    for now in EACH:
        if type(now) is type(before):
            now.check_own(tmp_path)
        else:
            with pytest.raises(OutputError, match=r"was begun by another command, whose files --fresh would delete"):
                now.check_own(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "\x00"])
def test_fresh_starts_over_where_the_settings_are_damaged(text, tmp_path):
    (tmp_path / "settings.json").write_text(text)
    for now in EACH:
        now.check_own(tmp_path)
