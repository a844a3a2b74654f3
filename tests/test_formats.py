"""Each file format has one reader and one writer, each public name one definition, and data has types."""

import ast
import re
from collections import defaultdict

import pytest

from tests.test_architecture import MODULES

# Who may call a parser or a writer of a format, and which files that is for. Everyone else goes through these.
CALLS = {
    "json.load": {
        "records.record": "every JSON file of the project",
        "cohort.bids": "sidecars of scans, which others wrote",
    },
    "json.dump": {
        "outputs": "every JSON file of the project, and canonical text, which is hashed",
        "learning.plan": "a value in YAML, in its one-line form",
        "reporting.page": "data inside the page",
        "cli.config": "the schema, printed",
    },
    "csv.read": {
        "records.table": "every CSV file of the project",
    },
    "csv.write": {"outputs": "every CSV file of the project"},
    "yaml.load": {
        "config.document": "YAML text of configurations, overrides and model.yaml",
    },
    "yaml.dump": {"config.resolve": "configurations and model.yaml"},
}
KINDS = {
    "json.load": "json.load", "json.loads": "json.load", "json.dump": "json.dump", "json.dumps": "json.dump",
    "csv.reader": "csv.read", "csv.DictReader": "csv.read", "pandas.read_csv": "csv.read", "pd.read_csv": "csv.read",
    "csv.writer": "csv.write", "csv.DictWriter": "csv.write",
    "yaml.safe_load": "yaml.load", "yaml.load": "yaml.load", "yaml.safe_dump": "yaml.dump", "yaml.dump": "yaml.dump",
}  # fmt: skip
TREES = {name: ast.parse(path.read_text()) for name, path in MODULES.items()}


def calls(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            kind = KINDS.get(f"{node.value.id}.{node.attr}")
            if kind:
                yield kind, node.lineno


@pytest.mark.parametrize("name", MODULES)
def test_one_reader_and_one_writer_for_each_file_format(name):
    for kind, line in calls(TREES[name]):
        owners = CALLS[kind]
        assert name in owners, f"{MODULES[name]}:{line}: {kind} belongs to {', '.join(owners)}; call those"


@pytest.mark.parametrize("kind", CALLS)
def test_the_table_of_readers_names_none_that_reads_nothing(kind):
    callers = {name for name, tree in TREES.items() if kind in {k for k, _ in calls(tree)}}
    assert set(CALLS[kind]) <= callers


def public_names(tree):
    """Classes and capitalized aliases of a module: `class Shape`, `Shape = ...`, `type Shape = ...`."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            names = [node.name]
        elif isinstance(node, ast.Assign):
            names = [target.id for target in node.targets if isinstance(target, ast.Name)]
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names = [node.target.id]
        else:
            names = []
        yield from (name for name in names if re.fullmatch(r"[A-Z][A-Za-z0-9]*[a-z][A-Za-z0-9]*", name))


def test_no_two_modules_define_one_public_name():
    homes = defaultdict(list)
    for module, tree in TREES.items():
        for name in public_names(tree):
            homes[name].append(module)
    twice = {name: modules for name, modules in homes.items() if len(modules) > 1}
    assert not twice, "\n".join(f"{name}: {', '.join(modules)}" for name, modules in sorted(twice.items()))


def test_data_has_types_except_at_the_edge_of_a_file():
    untyped = [
        f"{path}:{number}: {line.strip()}"
        for path in MODULES.values()
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if re.search(r"dict\[str, (object|Any)\]|Mapping\[str, object\]", line)
    ]
    assert len(untyped) < 20, "\n".join([f"{len(untyped)} lines without types:", *untyped])
