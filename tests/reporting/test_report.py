import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser

import pytest
from typer.testing import CliRunner

from tests.conftest import REPOSITORY
from tests.reporting.conftest import failed_row, rows_of, summary_of, write_evaluation, write_table
from volumetric.cli import app
from volumetric.errors import InputError
from volumetric.reporting.page import script_json, show_number
from volumetric.reporting.report import ReportError, report

ROLES = ("source", "truth", "prediction")


@pytest.fixture(scope="module")
def page(evaluation, tmp_path_factory) -> str:
    written = report(evaluation.parent, out=tmp_path_factory.mktemp("page") / "report.html")
    assert written.num_bytes == written.path.stat().st_size
    return written.path.read_text()


def data_of(page):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL).group(1))


class Scripts(HTMLParser):
    """The ids of the scripts, as a browser would find them."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        if tag == "script":
            self.found.append(dict(attrs).get("id", ""))


def scripts_of(page):
    parser = Scripts()
    parser.feed(page)
    return parser.found


def test_the_page_needs_nothing_but_itself(page):
    markup = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    assert not re.findall(r'(?:src|href)="(?!#|data:)', markup)
    assert "url(" not in markup
    assert "default-src 'none'" in page


def test_every_script_ends_where_it_should_and_names_are_text(page):
    """A subject is called `</script><b>&"'`: it must be text wherever it stands."""
    assert "<b>&" not in page
    assert "no `t2w` file <b>" not in page
    assert "&lt;/script&gt;&lt;b&gt;&amp;" in page
    assert "\\u003c/script\\u003e\\u003cb\\u003e\\u0026" in page
    assert scripts_of(page) == [
        "data",
        *(f"volume-{n}-{role}" for n in range(3) for role in ROLES),
        "viewer-program",
        *[""] * 4,
    ]
    assert data_of(page)["table"]["subjects"][4]["name"] == "</script><b>&\"'"


def test_best_median_and_worst_have_a_montage_and_three_volumes(page):
    assert page.count("data:image/webp;base64,") == 3
    assert [s["name"] for s in data_of(page)["table"]["subjects"] if s["shown"]] == [
        "a1",
        "c3/late",
        "</script><b>&\"'",
    ]


def test_numbers_of_the_page_are_those_of_the_tables(page):
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))
    assert "PSNR ↑ 28.00 dB" in text
    assert "27.00 to 29.00" in text
    assert "2.00 dB better than cubic" in text
    assert "1 failed." in text
    assert "site=site0" in text
    assert "b2: unlike the training" in text


def test_equal_input_gives_equal_bytes(evaluation, page, tmp_path):
    assert report(evaluation, out=tmp_path / "again.html").path.read_text() == page


def test_without_viewer_there_is_no_program_and_with_all_every_subject_has_one(evaluation, tmp_path):
    small = report(evaluation, out=tmp_path / "none.html", viewer="none").path.read_text()
    assert scripts_of(small) == ["data", *[""] * 4]
    assert 'class="viewer"' not in small
    assert small.count("data:image/webp") == 3
    assert len(small) < 700_000
    assert "NiiVue" not in re.sub(r"<script.*?</script>", "", small, flags=re.DOTALL)
    full = report(evaluation, out=tmp_path / "all.html", viewer="all").path.read_text()
    assert full.count('class="viewer"') == full.count("data:image/webp") == 5
    assert 'id="any-subject"' in full


def test_a_subject_whose_images_are_gone_costs_that_subject_alone(evaluation, tmp_path):
    copy = shutil.copytree(evaluation, tmp_path / "metrics")
    record = json.loads((copy / "subjects" / "a1.json").read_text())
    record["images"]["truth"]["path"] = str(tmp_path / "gone <i>.nii.gz")
    (copy / "subjects" / "a1.json").write_text(json.dumps(record))
    result = CliRunner().invoke(app, ["report", str(copy), "--viewer", "none"])
    assert result.exit_code == 1
    page = (copy / "report.html").read_text()
    assert "cannot be shown" in page
    assert "gone &lt;i&gt;.nii.gz does not exist; correct the path" in page
    assert page.count("data:image/webp") == 2
    assert re.search(r"report\.html  0\.\d MB", result.stdout.replace("\n", ""))


def test_an_evaluation_that_names_no_images_still_has_its_numbers(tmp_path):
    write_evaluation(tmp_path, ["a", "b"], images=False)
    written = report(tmp_path)
    assert written.path == tmp_path / "report.html"
    assert [o.status for o in written.outcomes] == ["failed", "failed"]
    assert "evaluate again with `volumetric evaluate --fresh`" in written.path.read_text()


def test_three_hundred_subjects_and_many_gaps(tmp_path):
    rows = [row for n in range(300) for row in rows_of(f"s{n:03}", n % 7)]
    for row in rows[::5]:
        row |= {"psnr_db": "nan", "ssim": "", "truth_mean": ""}
    rows.append(failed_row("zz", ""))
    write_table(tmp_path / "per_subject.csv", rows)
    write_table(tmp_path / "summary.csv", summary_of(rows_of("a", 0)))
    written = report(tmp_path, viewer="none")
    assert written.num_bytes < 1_000_000
    assert len(data_of(written.path.read_text())["table"]["subjects"]) == 301


def test_no_subject_scored_is_a_page_too(tmp_path):
    write_table(tmp_path / "per_subject.csv", [failed_row("a", "gone")])
    page = report(tmp_path).path.read_text()
    assert "There are no means to show" in page
    assert "<strong>a</strong> gone" in page


def test_wrong_calls_are_named(evaluation, tmp_path):
    with pytest.raises(ReportError, match="--viewer some: expected shown, all, none"):
        report(evaluation, viewer="some")
    with pytest.raises(ReportError, match="give --out the name of an HTML file"):
        report(evaluation, out=tmp_path)
    with pytest.raises(InputError, match="volumetric evaluate PREDICTIONS MANIFEST"):
        report(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_viewer_on_the_command_line_is_answered_with_the_list(evaluation):
    result = CliRunner().invoke(app, ["report", str(evaluation), "--viewer", "some"])
    assert result.exit_code == 2
    assert all(word in result.output for word in ("shown", "all", "none"))


def test_a_damaged_subject_file_costs_that_subject_alone(evaluation, tmp_path):
    copy = shutil.copytree(evaluation, tmp_path / "metrics")
    (copy / "subjects" / "a1.json").write_text('{"format_version": 1, "rows"')
    result = CliRunner().invoke(app, ["report", str(copy), "--viewer", "none"])
    assert result.exit_code == 1
    page = (copy / "report.html").read_text()
    assert "a1.json: not readable JSON" in page
    assert page.count("data:image/webp") == 2


def test_a_page_too_large_to_open_quickly_is_said(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("volumetric.reporting.report._LARGE_MB", 0.01)
    report(write_evaluation(tmp_path, ["a"], images=False), viewer="none")
    assert "--viewer shown keeps it small" in caplog.text


def test_numbers_are_shown_with_the_decimals_that_matter():
    assert [show_number(v, "dB") for v in (27.126, 27.124, None, float("nan"), float("inf"), -float("inf"))] == [
        "27.13", "27.12", "–", "–", "∞", "−∞",
    ]  # fmt: skip
    assert [show_number(v) for v in (0.12345, -0.5, 12.345)] == ["0.123", "−0.500", "12.35"]
    assert script_json({"a": "</script>&\u2028"}) == '{"a":"\\u003c/script\\u003e\\u0026\\u2028"}'


def test_the_report_imports_no_torch():
    code = (
        "import sys; import volumetric.reporting.report; assert not {'torch', 'monai', 'nilearn'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_built_package_has_the_templates(tmp_path):
    """From a copy: a build writes beside its sources."""
    for name in ("setup.py", "setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, tmp_path)
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(REPOSITORY / "volumetric", tmp_path / "volumetric", ignore=ignore)
    build = [sys.executable, "setup.py", "-q", "build_py", "--build-lib", "built"]
    subprocess.run(build, cwd=tmp_path, check=True, capture_output=True)
    here = REPOSITORY / "volumetric" / "reporting" / "templates"
    there = tmp_path / "built" / "volumetric" / "reporting" / "templates"
    assert sorted(p.name for p in there.iterdir()) == sorted(p.name for p in here.iterdir())


def test_a_table_is_not_written_over_by_the_page(tmp_path):
    (tmp_path / "per_subject.csv").write_text("scores")
    with pytest.raises(ReportError, match=r"--out .*per_subject\.csv: expected a name that ends in \.html"):
        report(tmp_path, out=tmp_path / "per_subject.csv")
    assert (tmp_path / "per_subject.csv").read_text() == "scores"
