"""YAML that is hostile or a mistake is one sentence at once, as a file and as `--set`."""

import subprocess
import sys
import time

import pytest

from volumetric.config.document import ConfigError, load_yaml
from volumetric.config.resolve import resolve


def alias_bomb():
    """500 bytes that stand for 9^7 values."""
    lines = ["a: &a [x,x,x,x,x,x,x,x,x]"]
    for before, name in zip("abcdef", "bcdefg", strict=True):
        lines.append(f"{name}: &{name} [{','.join(['*' + before] * 9)}]")
    return "\n".join(lines)


HOSTILE = {
    "alias_bomb": (alias_bomb(), "line 1 has an anchor or alias; write the value out"),
    "merge_key": ("<<: *x\n", "line 1 has an anchor or alias"),
    "3000_nested_brackets": ("a: " + "[" * 3000, "line 1 lies more than 20 brackets or sections deep"),
    "3000_nested_sections": ("{a: " * 3000, "more than 20 brackets or sections deep"),
    "too_long": ("# " + "x" * 200_000, "100001 characters, expected at most 100000"),
    "an_integer_of_6000_digits": ("seed: " + "9" * 6000, "not valid YAML"),
    "a_date_that_is_none": ("seed: 2026-99-99", "not valid YAML .month must be in 1..12"),
    "bytes_that_are_no_text": (b"\xff\xfe\x00", "not valid YAML"),
    "a_seed_of_24_digits": ("seed: " + "9" * 24, "`seed` = 9+: input should be less than 4294967295"),
    "a_cache_with_a_nul": ('cache: "a\\0b"', r"`cache` = 'a\\x00b' holds a NUL character"),
    "network_null": ("network: null", "`network` = None: `name` must be one of unet"),
    "network_a_list": ("network: [unet]", r"`network` = \['unet'\]: `name` must be one of unet"),
    "channels_of_2048": (
        "network: {channels: [2048, 2048, 2048]}",
        "has over 1359 million weights, expected at most 500",
    ),
}


@pytest.mark.parametrize(("content", "message"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_file(tmp_path, content, message):
    path = tmp_path / "c.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    before = time.process_time()
    with pytest.raises(ConfigError, match=message) as caught:
        resolve(path)
    assert time.process_time() - before < 5
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_set_with_nested_brackets_or_an_alias_is_refused():
    with pytest.raises(ConfigError, match=r"--set optim\.lr: not valid YAML .*20 brackets"):
        resolve(None, ["optim.lr=" + "[" * 3000])
    with pytest.raises(ConfigError, match="anchor or alias"):
        resolve(None, ["patch.size=[&a 8, *a, *a]"])
    with pytest.raises(ConfigError, match="a key of 3000 parts"):
        resolve(None, [".".join(["a"] * 3000) + "=1"])


def test_depth_is_counted_from_the_top_again_for_each_value():
    wide = load_yaml("[" + ",".join(["[[1]]"] * 1000) + "]", "wide")
    assert wide == [[[1]]] * 1000


def test_the_command_line_answers_an_alias_bomb_with_one_sentence(tmp_path):
    (tmp_path / "bomb.yaml").write_text(alias_bomb())
    command = [sys.executable, "-m", "volumetric", "config", tmp_path / "bomb.yaml"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "has an anchor or alias; write the value out" in result.stderr


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("seed: 1\noptim:\n  lr: 1\n  lr: 2\n", "line 4 has the key `lr` again; keep one"),
        ("seed: 010\n", "line 1 has the number 010; write it in decimals"),
        ("seed: 1:30\n", "line 1 has the number 1:30; write it in decimals"),
    ],
)
def test_text_that_yaml_would_read_in_its_own_way_is_refused(text, problem):
    with pytest.raises(ConfigError, match=problem):
        load_yaml(text, "c.yaml")


def test_plain_numbers_are_read():
    assert load_yaml("[0, -7, +12, 1_000, 1.5]", "c.yaml") == [0, -7, 12, 1000, 1.5]
