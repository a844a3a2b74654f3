import json
import subprocess
import sys

import pytest

from volumetric.outputs import (
    OutputError,
    check_same_settings,
    flatten,
    hash_file,
    locked,
    provenance,
    write_bytes,
    write_csv,
)


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    write_bytes(tmp_path / "a", b"old")

    def broken(descriptor):
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", broken)
    with pytest.raises(OSError, match="disk full"):
        write_bytes(tmp_path / "a", b"new")
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("a", b"old")]


def test_csv_has_the_union_of_keys_and_nine_digits(tmp_path):
    write_csv(tmp_path / "a.csv", [{"a": 1 / 3, "b": "x, y"}, {"a": 2, "c": None}])
    assert (tmp_path / "a.csv").read_text() == 'a,b,c\n0.333333333,"x, y",\n2,,\n'


def test_hash_file_is_sha256(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert hash_file(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_folder_in_use_by_another_process_is_refused(tmp_path):
    code = (
        "import sys, pathlib; from volumetric.outputs import locked\n"
        f"with locked(pathlib.Path({str(tmp_path)!r})):\n    print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(OutputError, match="another process"), locked(tmp_path):
            pass
        holder.communicate("")
    with locked(tmp_path / "empty"):
        pass
    assert not (tmp_path / "empty").exists()


def test_settings_that_differ_are_each_named(tmp_path):
    path = tmp_path / "run" / "settings.json"
    assert check_same_settings(path, {"a": {"b": 1}}, what="a run") is False
    path.parent.mkdir()
    path.write_text(json.dumps({"a": {"b": 1}, "c": [1, 2]}))
    assert check_same_settings(path, {"a": {"b": 1}, "c": (1, 2)}, what="a run") is True
    with pytest.raises(OutputError, match=r"a\.b was 1, is 2; c was \[1, 2\], is absent.*--fresh"):
        check_same_settings(path, {"a": {"b": 2}}, what="a run")


def test_flatten():
    assert flatten({"a": {"b": 1, "c": {"d": 2}}, "e": 3}) == {"a.b": 1, "a.c.d": 2, "e": 3}


def test_provenance_names_command_versions_and_facts():
    facts = provenance(seed=7)
    assert facts["seed"] == 7
    assert {"python", "torch", "volumetric"} <= facts["versions"].keys()
