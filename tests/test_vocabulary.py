"""One vocabulary, American spelling: the words that were retired do not come back, and each names its replacement."""

import io
import re
import tokenize
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

# Of code, of the text in it, and of the pages. A key is a regular expression of whole words, an entry its replacement.
FIELD = "the field's word, which a reader from MONAI, nilearn or nnU-Net needs no glossary for"
RETIRED = {
    "people|persons?": "subject(s)",
    "visits?": "session(s), or subject",
    "whole heads?": "whole volume",
    "pictures?": "image, slice, figure or prediction",
    "paint(?:s|ed|ing|ings|er|ers)?": "fill, mark, image or prediction",
    "bring|brings|bringing|brought": "transform, resample, `to_model_space` or `from_model_space`",
    "contests?": "paired test",
    "contenders?": "method",
    "verdicts?": "finding or grade",
    "health": "alignment and identity",
    "(?<!dry )(?:ran|runs?|running) dry": "patience is exhausted",
    "one pass will do": "prefer the whole volume",
    "may see whole heads?": "is window independent",
}
AMERICAN = "the spelling of the libraries around it"
_STEMS = (
    "anonym|author|binar|categor|character|crystall|custom|digit|discret|emphas|equal|factor|final|general|harmon|"
    "initial|ideal|item|local|maxim|memor|minim|normal|optim|organ|parallel|parametr|penal|polar|quant|random|real|"
    "recogn|regular|rescal|serial|special|stabil|standard|summar|symmetr|synchron|synthes|token|util|vector|visual"
)
BRITISH = {
    rf"(?:de|un|re)?(?:{_STEMS})is(?:e|ed|er|ers|es|ing|able|ation|ations)": "-ize, -ization",
    "analys(?:e|ed|er|ing)": "analyze",
    "(?:de|re)?cent(?:re|red|res|ring)": "center",
    "(?:milli|centi|kilo)?metres?": "meter",
    "(?:milli)?lit(?:re|res)": "liter",
    "fibres?": "fiber",
    r"(?:behavi|col|fav|flav|harb|hon|lab|neighb|rum|vap|vig)our\w*": "-or",
    "gr(?:ey|eys|eyscale)": "gray",
    "artefacts?": "artifact",
    "(?:cancel|label|model|signal|travel|total)l(?:ed|ing|er)": "-ed, -ing with one l",
    "catalogue[ds]?": "catalog",
    "defence|offence|licence|licences|licenced": "-ense",
    "judgements?": "judgment",
    "programmes?": "program",
    "whilst|amongst": "while, among",
}
# Of names in code alone: as words of a sentence they are good English.
NAMES = {
    "Seen": "`ModelInput`",
    "asked": "`settings`, `options`",
    "Look": "what it holds",
    "look": "`preprocess`, `validate`",
    "develop": "`postprocess`",
    "forget": "`delete_outputs`",
}
# What is not ours to name: taken out of the text before it is read, with the reason.
ALLOWED = {
    "PersonName": "a DICOM value representation",
    "HealthCheck": "a name of hypothesis",
    "health_check": "another",
}
# Files that are not read, with the reason.
NOT_READ = {
    "CHANGELOG.md": "tells of names that were",
    "CODE_OF_CONDUCT.md": "speaks of people",
    "tests/test_vocabulary.py": "the table of these words",
}
_WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+")
_TABLE = [
    (re.compile(rf"\b(?:{pattern})\b"), word, why)
    for table, why in ((RETIRED, FIELD), (BRITISH, AMERICAN))
    for pattern, word in table.items()
]


def files() -> list[Path]:
    """All that a reader of the project reads: code, configurations, pages."""
    found = [*REPOSITORY.glob("*.md"), REPOSITORY / "Makefile", REPOSITORY / "setup.cfg"]
    for folder in ("volumetric", "tests", "benchmarks", "configs", "docs", "data_manifests"):
        found += [p for p in (REPOSITORY / folder).rglob("*") if p.suffix in {".py", ".md", ".yaml", ".html", ".js"}]
    return sorted(p for p in found if str(p.relative_to(REPOSITORY)) not in NOT_READ)


def words_of(text: str) -> str:
    """The words of each line in lower case with a space between: `normaliseHead_of` is `normalise head of`."""
    for allowed in ALLOWED:
        text = text.replace(allowed, " ")
    return "\n".join(" ".join(_WORD.findall(line)) for line in text.splitlines()).lower()


def retired_in(text: str) -> list[tuple[int, str, str, str]]:
    """Line, word, replacement and reason of each retired word in a text."""
    words = words_of(text)
    return [
        (words.count("\n", 0, match.start()) + 1, match.group(), word, why)
        for pattern, word, why in _TABLE
        for match in pattern.finditer(words)
    ]


def retired_names_in(code: str) -> list[tuple[int, str, str, str]]:
    """The same of the names in Python code."""
    tokens = tokenize.generate_tokens(io.StringIO(code).readline)
    names = ((t.start[0], t.string) for t in tokens if t.type == tokenize.NAME)
    return [(line, name, NAMES[key], FIELD) for line, name in names if (key := name.strip("_")) in NAMES]


def test_no_retired_word_in_code_messages_and_pages():
    hits = []
    for path in files():
        text = path.read_text(encoding="utf-8")
        found = retired_in(text) + (retired_names_in(text) if path.suffix == ".py" else [])
        place = path.relative_to(REPOSITORY)
        hits += [f"{place}:{line}: `{word}`: write {other} ({why})" for line, word, other, why in sorted(found)]
    assert not hits, f"{len(hits)} retired words:\n" + "\n".join(hits)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("def normaliseHead_of(person):", ["person", "normalise"]),
        ("an inpainting of 3 revisited noises, precise and otherwise realistic", []),
        ("BrainVerdict(optimiser=1)", ["verdict", "optimiser"]),
        ("the whole head in one pass will do", ["whole head", "one pass will do"]),
        ("dataset.PersonName", []),
        ("analyses of organisms, a centered color, modeled and labeled", []),
        ("colour_grey centred neighbouring", ["centred", "colour", "neighbouring", "grey"]),
    ],
)
def test_words_are_found_in_names_and_sentences_and_nowhere_else(text, words):
    assert sorted(word for _, word, _, _ in retired_in(text)) == sorted(words)


def test_names_are_found_in_code_but_not_in_sentences():
    code = '"""As asked and seen."""\nself._asked = Seen(x)  # look\nlooked = 1\n'
    assert [(line, name) for line, name, _, _ in retired_names_in(code)] == [(2, "_asked"), (2, "Seen")]
