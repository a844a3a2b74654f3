"""Licenses on the page of dependencies, and an audit that was not made is no audit that was passed."""

import importlib.util
import re
import sys
from email.message import Message

import pytest

from tests.conftest import REPOSITORY

SCRIPTS = REPOSITORY / "docs" / "_scripts"


def script(name):
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_dependency_stands_on_the_page_with_its_pinned_version_and_a_license():
    made = script("dependencies")
    rows = [line.strip("| ").split(" | ") for line in made.PAGE.read_text().splitlines() if line.startswith("| ")][1:]
    assert {name: need for name, _, _, need in rows} == made.dependencies()
    assert {name: version for name, version, _, _ in rows} == made.pins()
    assert all(license_name.strip() for _, _, license_name, _ in rows)


def test_names_are_read_from_every_list_of_setup_cfg():
    needed = script("dependencies").dependencies()
    assert needed["numpy"] == "volumetric"
    assert needed["deepbet"] == "extra `prepare`"
    assert not [name for name in needed if re.search(r"[<>=\[\]]", name) or name == "all"]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (
            {"License-Expression": "MIT", "License": "old", "Classifier": "License :: OSI Approved :: BSD License"},
            "MIT",
        ),
        ({"License": "x" * 500, "Classifier": "License :: OSI Approved :: BSD License"}, "BSD License"),
        ({"License": "Apache 2.0", "Classifier": "Programming Language :: C"}, "Apache 2.0"),
        ({"License": "Redistribution and use in source and binary forms, with or without"}, "Apache-2.0"),
    ],
)
def test_a_license_is_the_newest_field_that_names_one(fields, expected):
    about = Message()
    for field, value in fields.items():
        about[field] = value
    assert script("dependencies").license_of("atheris", about) == expected


@pytest.mark.parametrize(
    ("program", "code", "text"),
    [
        ("import sys; print('No known vulnerabilities found', file=sys.stderr)", 0, "No known vulnerabilities found"),
        ("print('six 1.0 CVE-1'); raise SystemExit(1)", 1, "six 1.0 CVE-1"),
        ("raise ConnectionError('no network')", 2, "NOT AUDITED: .* ConnectionError: no network"),
        ("raise SystemExit(1)", 2, "NOT AUDITED: .* exit code 1"),
    ],
)
def test_issue_17_an_audit_that_could_not_ask_fails_with_another_code(program, code, text):
    found, said = script("audit").audit([sys.executable, "-c", program])
    assert found == code
    assert re.fullmatch(text, said)
