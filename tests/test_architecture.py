"""The house rules, read off the imports of every module."""

import ast
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY

PACKAGE = REPOSITORY / "volumetric"
GROUND = {"config", "manifest", "outputs", "imaging", "errors", "interrupts", "machine", "records", "subject"}
SHARED = {"batch", "simulation", "model", "metrics", "figures", "transforms"}
STAGES = {"cohort", "preparation", "learning", "synthesis", "evaluation", "comparison", "reporting"}
ROOF = {"cli", "crossval", "__init__", "__main__"}
FLOORS = [GROUND, SHARED, STAGES, ROOF]
# Which rooms may import a library; all others may not, late imports included.
ONLY_IN = {
    "monai": ("learning.", "model.networks.", "transforms."),
    "lightning_fabric": ("learning.",),
    "SimpleITK": ("imaging.", "cohort.dicom"),
    "deepbet": ("imaging.mask",),
    "dipy": ("evaluation.segmentation",),
    "torch": (
        *("model.", "metrics.", "learning.", "synthesis.", "evaluation.", "transforms."),
        *("simulation.motion", "simulation.pair", "simulation.tensors"),
    ),
    "nilearn": ("simulation.", "reporting.viewer"),
    "typer": ("cli.",),
    "matplotlib": ("figures.", "reporting."),
    "tensorboard": ("learning.events",),
    "openvino": ("model.engines.openvino",),
    "pydicom": ("cohort.dicom",),
    "dcm2niix": ("cohort.dicom",),
    "pooch": ("cohort.download",),
    "ray": ("batch.cluster",),
    "jinja2": ("reporting.page",),
    "markupsafe": ("reporting.page",),
}
RIDDLES = {"What", "Who", "Whose", "Where", "Whether", "How"}
FORBIDDEN_NAMES = {"utils", "helpers", "common", "base", "misc", "manager"}


def modules():
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        yield ".".join(parts), path


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module


MODULES = dict(modules())


def floor(room):
    (level,) = [n for n, rooms in enumerate(FLOORS) if room in rooms]
    return level


@pytest.mark.parametrize("name", MODULES)
def test_imports_go_down_only_and_stages_never_meet(name):
    room = name.split(".")[0]
    for imported in imports(MODULES[name]):
        if not imported.startswith("volumetric."):
            continue
        other = imported.split(".")[1]
        if other != room:
            assert floor(other) <= floor(room), f"{name} imports {imported}, a floor above"
            assert not (room in STAGES and other in STAGES), f"{name} imports {imported}, another stage"


def test_no_import_goes_round_in_a_circle_between_rooms():
    edges = {}
    for name, path in MODULES.items():
        room = name.split(".")[0]
        found = {i.split(".")[1] for i in imports(path) if i.startswith("volumetric.")}
        edges.setdefault(room, set()).update(found - {room})

    def follow(room, trail):
        assert room not in trail, f"circle: {' -> '.join([*trail, room])}"
        for other in edges.get(room, ()):
            follow(other, (*trail, room))

    for room in edges:
        follow(room, ())


@pytest.mark.parametrize("name", MODULES)
def test_libraries_stay_in_their_rooms(name):
    for imported in imports(MODULES[name]):
        allowed = ONLY_IN.get(imported.split(".")[0])
        assert allowed is None or f"{name}.".startswith(allowed), f"{name} imports {imported}"


@pytest.mark.parametrize("name", MODULES)
def test_modules_are_short_named_by_a_noun_or_verb_and_open_with_a_sentence(name):
    text = MODULES[name].read_text()
    assert not FORBIDDEN_NAMES & set(name.split("."))
    assert len(text.splitlines()) <= 300, f"{name} is long; split it"
    assert ast.get_docstring(ast.parse(text)), f"{name} does not say what it owns"


@pytest.mark.parametrize("name", MODULES)
def test_docstrings_open_with_what_they_name(name):
    tree = ast.parse(MODULES[name].read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = (ast.get_docstring(node) or "-").split()[0].strip(",:")
            where = f"{MODULES[name]}:{getattr(node, 'lineno', 1)}"
            assert first not in RIDDLES, f"{where}: the docstring opens with `{first}`; lead with the noun or the verb"


def test_the_command_line_calls_front_doors_alone():
    ground = ("errors", "interrupts", "machine", "config", "records")
    doors = {f"volumetric.{room}" for room in ("cli", "batch", *ground)} | {
        "volumetric.crossval",
        "volumetric.cohort.add_lesions",
        "volumetric.cohort.discover",
        "volumetric.cohort.fetch",
        "volumetric.cohort.phantom",
        "volumetric.preparation.prepare",
        "volumetric.learning.ranks",
        "volumetric.learning.train",
        "volumetric.model.average",
        "volumetric.model.files",
        "volumetric.model.shipped",
        "volumetric.synthesis.infer",
        "volumetric.evaluation.evaluate",
        "volumetric.comparison.compare",
        "volumetric.reporting.report",
    }
    for name, path in MODULES.items():
        if name.startswith("cli."):
            for imported in imports(path):
                if imported.startswith("volumetric."):
                    assert any(imported == d or imported.startswith(f"{d}.") for d in doors), f"{name}: {imported}"


def test_inference_imports_no_monai_and_help_no_torch():
    code = (
        "import sys; import volumetric.synthesis.infer, volumetric.model.folder; "
        "assert not {'monai', 'lightning_fabric', 'pandas'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    code = (
        "import sys; import volumetric, volumetric.cli; assert not {'torch', 'numpy', 'nibabel'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_public_names_are_there():
    import volumetric

    for name in volumetric.__all__:
        assert callable(getattr(volumetric, name))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = volumetric.nothing


def test_every_direct_dependency_is_pinned():
    import configparser
    import re

    config = configparser.ConfigParser()
    config.read(REPOSITORY / "setup.cfg")
    listed = config["options"]["install_requires"].split("\n")
    for extra in config["options.extras_require"].values():
        listed += extra.split("\n")
    names = {re.split(r"[<>=\[]", line.strip())[0] for line in listed if line.strip()} - {"volumetric"}
    lines = (REPOSITORY / "constraints.txt").read_text().splitlines()
    pinned = {line.split("==")[0] for line in lines if "==" in line}
    assert names == pinned
