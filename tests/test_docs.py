"""README and pages: short lines, links that resolve, commands that exist, and a site that asks no other host."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from tests.conftest import REPOSITORY
from volumetric.cli import app
from volumetric.model.shipped import shipped_names

DOCS = REPOSITORY / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
TEXTS = [*PAGES, *(REPOSITORY / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"))]
TEXTS += [REPOSITORY / "data_manifests" / "README.md", REPOSITORY / "CODE_OF_CONDUCT.md"]
FENCE = re.compile(r"^ *(```|~~~)")
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


def by_name(path: Path) -> str:
    return str(path.relative_to(REPOSITORY))


def prose(path: Path):
    """The lines outside code and tables, with their numbers."""
    in_code = False
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        if FENCE.match(line):
            in_code = not in_code
        elif not in_code and not line.startswith(("|", "    ")):
            yield number, line


def anchors(path: Path) -> set[str]:
    """Those of a page's headings, as GitHub and the site make them."""
    headings = [line.lstrip("# ") for _, line in prose(path) if line.startswith("#")]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", TEXTS, ids=by_name)
def test_no_line_of_prose_is_longer_than_a_hundred_characters(path):
    """An image or a link alone in its line cannot be wrapped."""
    long = [number for number, line in prose(path) if len(line) > 100 and not LINK.fullmatch(line.strip())]
    assert not long, f"{by_name(path)}: lines {long}"


@pytest.mark.parametrize("path", TEXTS, ids=by_name)
def test_every_relative_link_leads_somewhere(path):
    text = "\n".join(line for _, line in prose(path)) + "\n".join(
        line for line in path.read_text().splitlines() if line.startswith("|")
    )
    for link in LINK.findall(text):
        if link.startswith(("http://", "https://")):
            continue
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        assert target.exists(), f"{by_name(path)}: {link}"
        if anchor:
            assert anchor in anchors(target), f"{by_name(path)}: {link}; there are {sorted(anchors(target))}"


def test_the_readme_has_fewer_than_ninety_lines():
    assert len((REPOSITORY / "README.md").read_text().splitlines()) < 90


def options_of_commands() -> dict[str, set[str]]:
    commands = get_command(app).commands
    return {
        name: {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        for name, command in commands.items()
    }


@pytest.mark.parametrize("path", TEXTS, ids=by_name)
def test_commands_and_options_in_the_docs_exist(path):
    known = options_of_commands()
    text = path.read_text().replace("\\\n", " ")
    for call in re.findall(r"(?:^|[`\s$])volumetric ([a-z][a-z-]*\b[^`|\n#·]*)", text):
        command, *words = call.split()
        options = [word.split("=")[0].rstrip(".,;:)") for word in words if word.startswith("--")]
        if command in known:
            assert set(options) <= known[command] | {"--help"}, f"{by_name(path)}: volumetric {call}"
        else:
            assert not options, f"{by_name(path)}: there is no command `volumetric {command}`"


def test_commands_in_code_exist():
    """In a code block a line that calls the program names one of its commands."""
    known = options_of_commands()
    for path in TEXTS:
        for block in re.findall(r"```sh\n(.*?)```", path.read_text(), re.DOTALL):
            called = re.findall(r"^volumetric ([a-z][a-z-]*)", block, re.MULTILINE)
            assert set(called) <= known.keys(), by_name(path)


def test_the_navigation_covers_every_page():
    nav = yaml.safe_load((REPOSITORY / "mkdocs.yml").read_text())["nav"]

    def files(item):
        return [item] if isinstance(item, str) else [file for value in item.values() for file in entries(value)]

    def entries(value):
        return [value] if isinstance(value, str) else [file for item in value for file in files(item)]

    listed = [file for item in nav for file in files(item)]
    assert sorted(listed) == sorted(str(page.relative_to(DOCS)) for page in PAGES)


@pytest.fixture(scope="module")
def hooks():
    spec = importlib.util.spec_from_file_location("docs_hooks", DOCS / "_scripts" / "hooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_command_option_key_and_metric_stands_in_the_reference(hooks):
    commands = hooks.PARTS["commands"]()
    for name, options in options_of_commands().items():
        section = commands[commands.index(f"## {name}\n") :]
        section = section[: section.index("\n## ", 3)] if "\n## " in section[3:] else section
        for option in options - {"--help"}:
            assert not option.startswith("--") or f"`{option}`" in section, (name, option)
    configuration = hooks.PARTS["configuration"]()
    for key in ("seed", "task.target", "network.stem_stride", "optim.lr", "augmentation.gamma"):
        assert f"| `{key}` |" in configuration
    assert "| `optim.lr` | number, > 0, ≤ 1 | `0.001` | peak learning rate of AdamW |" in configuration
    assert "| `grid.spacing_mm` |" in hooks.PARTS["recipe"]()
    from volumetric.metrics.downstream import definitions

    table = hooks.PARTS["metrics"]()
    assert [line.split("`")[1] for line in table.splitlines()[2:]] == list(definitions())


def test_a_page_with_a_marker_gets_the_part_and_nothing_else_changes(hooks):
    made = hooks.on_page_markdown("before\n\n<!-- generated: metrics -->\n\nafter\n")
    assert made == f"before\n\n{hooks.PARTS['metrics']()}\n\nafter\n"


def test_each_shipped_model_has_the_page_of_its_card(hooks):
    for name in shipped_names():
        page = (DOCS / "models" / f"{name}.md").read_text()
        assert hooks.on_page_markdown(page).startswith(f"# Model card: {name}\n")


class Assets(HTMLParser):
    """Addresses of what a browser loads by itself; links to follow do not count."""

    def __init__(self):
        super().__init__()
        self.addresses = []

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        loads = {"link": "href", "script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src"}
        if tag in loads and attributes.get(loads[tag]) and attributes.get("rel") != "canonical":
            self.addresses.append(attributes[loads[tag]])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("mkdocs", reason="the extra `docs` is not installed")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    made = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert made.returncode == 0, made.stdout + made.stderr
    return folder


def test_the_site_is_built_without_warnings_and_loads_nothing_from_another_host(site):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) >= len(PAGES)
    for page in pages:
        parser = Assets()
        parser.feed(page.read_text())
        elsewhere = [address for address in parser.addresses if re.match(r"(https?:)?//", address)]
        assert not elsewhere, (page.relative_to(site), elsewhere)
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(url\(|@import )['\"]?(https?:)?//", sheet.read_text()), sheet


def test_the_pages_made_from_the_program_are_whole(site):
    command_line = (site / "reference" / "command-line.html").read_text()
    assert "--whole-volume" in command_line
    assert "<!-- generated" not in command_line
    python = (site / "reference" / "python.html").read_text()
    for name in ("load_model", "LoadSubjectd", "evaluate", "InputError"):
        assert name in python
