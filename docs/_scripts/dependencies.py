"""Table of what `setup.cfg` asks for, as a page: the pinned version, the license, and who needs it.

    python docs/_scripts/dependencies.py

A license is what the installed package says of itself; all extras must be installed, `fuzz` too (`make licenses`).
"""

from __future__ import annotations

import configparser
import re
from importlib.metadata import PackageMetadata, PackageNotFoundError, metadata
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "dependencies.md"
ONLY_IN_A_FILE = {"atheris": "Apache-2.0", "dcm2niix": "BSD-3-Clause, with parts under others"}
"""Licenses read in the license file of the package, where its metadata name none."""
_LONGEST = 40
"""Characters of a name; a longer field is the text of the license."""
_HEAD = """# Dependencies

What `setup.cfg` asks for, at the versions of `constraints.txt` that the tests run with. The license
is what each package says of itself. `make licenses` writes this page; `make sbom` lists also what
these packages need in turn.

| package | version | license | needed for |
|---|---|---|---|
"""


def dependencies() -> dict[str, str]:
    """Each name in `setup.cfg`, and what needs it: the package itself or an extra."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    needs = {"volumetric": setup["options"]["install_requires"], **setup["options.extras_require"]}
    return {
        re.split(r"[<>=!~;\[ ]", line)[0]: extra if extra == "volumetric" else f"extra `{extra}`"
        for extra, lines in needs.items()
        for line in lines.split("\n")
        if line and not line.startswith("volumetric[")
    }


def pins() -> dict[str, str]:
    """The version of each name in `constraints.txt`."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if "==" in line)


def license_of(name: str, about: PackageMetadata) -> str:
    """Name of a license from the newest field that has one: expression, then classifier, then free text."""
    text = about.get("License") or ""
    classifiers = [c.split(" :: ")[-1] for c in about.get_all("Classifier") or [] if c.startswith("License ::")]
    found = [about.get("License-Expression"), " or ".join(classifiers), text if len(text) <= _LONGEST else None]
    return next(filter(None, found), None) or ONLY_IN_A_FILE[name]


def page() -> str:
    """The page.

    Raises:
        SystemExit: a package is not installed.
    """
    needed, versions = dependencies(), pins()
    rows = []
    for name in sorted(needed, key=str.lower):
        try:
            license_name = license_of(name, metadata(name))
        except PackageNotFoundError:
            raise SystemExit(
                f"error: {name}: not installed; `make licenses` installs it and reads its license"
            ) from None
        rows.append(f"| {name} | {versions[name]} | {license_name} | {needed[name]} |")
    return _HEAD + "\n".join(rows) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
