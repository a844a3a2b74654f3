"""The page in a real browser: nothing in the console, nothing requested of a network, and every control does its work.

Screenshots are kept in the folder that VOLUMETRIC_SCREENSHOTS names, if it does.
"""

from __future__ import annotations

import io
import os
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from tests.reporting.conftest import failed_row, rows_of, write_evaluation, write_table
from volumetric.reporting.report import report

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium; `make browser` installs it on Debian")

# WebGL without a GPU; and a browser that asks for nothing by itself.
FLAGS = ["--headless", "--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--use-gl=angle", "--use-angle=swiftshader",
         "--enable-unsafe-swiftshader"]  # fmt: skip


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def files(evaluation, tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("browser")
    return {
        viewer: report(evaluation, out=folder / f"{viewer}.html", viewer=viewer).path for viewer in ("shown", "none")
    }


@pytest.fixture
def page(browser, files, request):
    """The page, opened from disk; afterward, nothing may have been said or requested for.

    It has viewers only for a test marked so, since they take seconds.
    """
    page_file = files["shown" if request.node.get_closest_marker("viewer") else "none"]
    context = browser.new_context(
        viewport={"width": 1300, "height": 900}, reduced_motion="reduce", color_scheme="light"
    )
    tab = context.new_page()
    said, requested = [], []
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.on("request", lambda request: requested.append(request.url))
    tab.goto(page_file.as_uri())
    yield tab
    context.close()
    assert said == []
    assert [url for url in requested if not url.startswith(("data:", "blob:"))] == [page_file.as_uri()]


@pytest.fixture
def keep(page, tmp_path, request):
    """Takes a screenshot of a part of the page and returns its pixels, `(rows, columns, 3)`."""
    folder = Path(os.environ.get("VOLUMETRIC_SCREENSHOTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)

    def take(selector: str = "body", name: str = "") -> np.ndarray:
        png = page.locator(selector).first.screenshot()
        (folder / f"{request.node.name}{name}.png").write_bytes(png)
        with PillowImage.open(io.BytesIO(png)) as screenshot:
            return np.asarray(screenshot.convert("RGB")).astype(int)

    return take


def names(page) -> list[str]:
    return page.locator("#subject-table tbody th").all_inner_texts()


def test_columns_sort_by_mouse_and_by_keyboard(page):
    assert names(page)[0] == "</script><b>&\"'"
    assert names(page)[-1] == "e<5>"  # who failed comes last
    psnr = page.get_by_role("button", name="PSNR", exact=True)
    psnr.click()
    assert names(page)[:2] == ["</script><b>&\"'", "d4"]  # 26 and 27 dB
    assert page.locator("th[aria-sort]").get_attribute("aria-sort") == "ascending"
    page.keyboard.press("Enter")  # the button has kept the focus
    assert names(page)[:2] == ["a1", "b2"]
    assert names(page)[-1] == "e<5>"
    assert page.locator("th[aria-sort]").get_attribute("aria-sort") == "descending"
    page.get_by_role("button", name="age").click()
    assert names(page)[0] == "a1"


def test_rows_are_filtered_and_region_and_method_chosen(page):
    page.get_by_label("Filter").fill("SITE1")
    assert names(page) == ["b2", "d4"]
    assert page.locator("#table-count").inner_text() == "2 of 6 subjects"
    cells = page.locator("#subject-table tbody tr").first.locator("td")
    assert cells.first.inner_text() == "29.00"
    page.locator("#table-method").select_option("cubic")
    assert cells.first.inner_text() == "27.00"
    assert page.locator("tfoot td").first.inner_text() == "26.00"  # 27 and 25
    page.locator("#table-region").select_option("wm")
    assert cells.first.inner_text() == "27.00"
    page.get_by_label("Filter").fill("nobody")
    assert names(page) == []


def test_headers_explain_themselves_to_pointer_and_keyboard(page):
    tip = page.locator("#tip")
    page.locator("#subject-table").get_by_role("button", name="SSIM").hover()
    assert tip.inner_text() == "SSIM\na pure number, higher is better\nmean of <a & b>\nSource: Wang 2004"
    page.mouse.move(0, 0)
    assert not tip.is_visible()
    page.locator("#subject-table").get_by_role("button", name="MAE").focus()
    assert "mean |e|" in tip.inner_text()
    page.keyboard.press("Escape")
    assert not tip.is_visible()


def test_points_of_the_distribution_name_their_subjects(page, keep):
    plot = page.locator("#distribution-plot svg")
    assert plot.locator(".dot").count() == 15
    plot.locator('.dot[data-subject="1"][data-method="cubic"]').hover()
    assert page.locator("#tip").inner_text() == "b2\ncubic: 27.00 dB"
    assert plot.locator(".dot.on").count() == 3  # the same subject in every method
    page.mouse.move(0, 0)
    plot.focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("#tip").inner_text().startswith("</script><b>&\"'\nmodel: 26.00")
    page.keyboard.press("ArrowRight")
    assert page.locator("#tip").inner_text().startswith("d4")
    page.keyboard.press("Enter")  # d4 has no images on the page: its row is marked
    assert page.locator("#subject-table tr.on th").inner_text() == "d4"
    page.get_by_label("Metric").select_option("mae")
    assert "lower is better" in page.locator("#distribution-what").inner_text()
    assert "MAE" in plot.get_attribute("aria-label")
    keep("#distribution")


def test_agreement_and_training_are_drawn(page, keep):
    assert page.locator("#agreement-plots figure").count() == 3
    assert "bias 0.140, limits 0.078 to 0.202" in page.locator("#agreement-plots figcaption").first.inner_text()
    assert page.locator("#agreement-plots figure").first.locator(".dot").count() == 5
    assert page.locator("#training-plots .curve").count() == 2
    keep("#agreement")
    keep("#training", "_training")


def test_tabs_change_the_subject_and_the_table_leads_to_it(page):
    panels = page.locator(".subject:visible")
    assert panels.get_attribute("data-subject") == "a1"
    page.get_by_role("tab", name="median").click()
    assert panels.get_attribute("data-subject") == "c3/late"
    page.keyboard.press("ArrowRight")
    assert panels.get_attribute("data-subject") == "</script><b>&\"'"
    assert page.locator('[role=tab][aria-selected="true"]').count() == 1
    page.locator("#subject-table").get_by_role("button", name="a1").click()
    assert panels.get_attribute("data-subject") == "a1"


@pytest.mark.viewer
def test_the_viewer_shows_volumes_and_the_error_fades_with_the_slider(page, keep):
    page.locator("#subjects").scroll_into_view_if_needed()
    viewer = page.locator(".viewer").first
    page.wait_for_selector(".viewer[data-ready]", timeout=60_000)
    assert page.evaluate("running.panels.length") == 4

    def panel(role, name=""):
        page.wait_for_timeout(150)  # a frame is drawn when the browser gets to it
        return keep(f'.viewer >> nth=0 >> [data-role="{role}"] .stage', f"_{role}{name}")

    for role in ("source", "truth", "prediction"):
        pixels = panel(role)
        brightness = pixels.max(axis=2)
        assert (brightness > 60).mean() > 0.1, f"{role} is blank"
        assert (brightness < 20).mean() > 0.1, f"{role} has no background"
        assert brightness.std() > 30
    color = lambda pixels: np.abs(pixels[..., 0] - pixels[..., 2])  # noqa: E731
    error = panel("error")
    with_error = color(error) > 60
    assert with_error.mean() > 0.02
    axial = error[:, : error.shape[1] // 3]  # the prediction is too bright behind, at the bottom, and too dark in front
    bright, dark = (np.argwhere(sign * (axial[..., 0] - axial[..., 2]) > 90)[:, 0] for sign in (1, -1))
    assert bright.mean() > dark.mean() + 40
    slider = viewer.get_by_label("Error overlay")
    slider.fill("0")
    without = color(panel("error", "_without")) > 60
    assert without.mean() < 0.3 * with_error.mean()  # the crosshair stays

    # the error is the one of the files: prediction = truth * ramp, in steps of the shown step
    found = page.evaluate(
        "(() => { const [t, p, e] = ['truth', 'prediction', 'error'].map((role) => "
        "running.panels.find((panel) => panel.role === role).nv.volumes.at(-1)); "
        "const dims = e.hdr.dims; const at = [3, 5, 7, 11, 13].map((n) => [n, n + 2, n + 1]); "
        "return at.map((xyz) => [t, p, e].map((volume) => volume.getValue(...xyz))); })()"
    )
    assert any(truth > 0 for truth, _, _ in found)
    for truth, prediction, error in found:
        assert error == pytest.approx(prediction - truth, abs=1e-4)

    where = viewer.locator(".where")
    before = where.inner_text()
    assert "mm" in before
    viewer.locator("canvas").nth(1).focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    assert where.inner_text() != before
    positions = page.evaluate("running.panels.map(({ nv }) => Array.from(nv.scene.crosshairPos))")
    assert all(position == pytest.approx(positions[0]) for position in positions)  # one crosshair for all
    viewer.locator("canvas").nth(0).click(position={"x": 60, "y": 90})
    moved = page.evaluate("running.panels.map(({ nv }) => Array.from(nv.scene.crosshairPos))")
    assert moved[3] == pytest.approx(moved[0])
    assert moved[0] != pytest.approx(positions[0])
    viewer.get_by_role("button", name="3D").click()
    assert viewer.get_by_role("button", name="3D").get_attribute("aria-pressed") == "true"
    assert (panel("truth", "_3d").max(axis=2) > 60).mean() > 0.05

    # another subject's viewer takes over, and the first one's contexts are given up
    page.get_by_role("tab", name="worst").click()
    page.wait_for_selector('.viewer[data-ready][data-index="2"]', timeout=60_000)
    assert page.locator(".viewer[data-ready]").count() == 1
    page.get_by_role("tab", name="best").click()
    page.wait_for_selector('.viewer[data-ready][data-index="0"]', timeout=60_000)
    assert page.evaluate("running.panels.length") == 4


def test_light_and_dark_by_system_and_by_button(page, keep):
    paper = lambda: page.evaluate("getComputedStyle(document.body).backgroundColor")  # noqa: E731
    light = paper()
    page.emulate_media(color_scheme="dark")
    dark = paper()
    assert dark != light
    page.locator("#theme").click()
    assert paper() == light  # against the system's wish
    page.locator("#theme").click()
    assert paper() == dark
    assert page.locator("#theme").get_attribute("aria-pressed") == "true"
    assert keep("#summary").mean() < 80


@pytest.mark.viewer
def test_a_narrow_window_scrolls_nowhere_sideways_and_print_leaves_out_what_is_not_paper(page, keep):
    page.set_viewport_size({"width": 400, "height": 800})
    page.wait_for_timeout(200)
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    keep("#summary")
    page.emulate_media(media="print")
    assert page.locator(".montage:visible").count() == 3
    for selector in (".viewer", ".top", "#table-filter"):
        assert not page.locator(selector).first.is_visible()
    assert page.pdf()[:4] == b"%PDF"
    assert page.evaluate("document.querySelector('details').open")


def test_odd_evaluations_open_too(browser, tmp_path):
    """No subject scored; no summary, no definitions; one subject alone."""
    write_table(tmp_path / "failed" / "per_subject.csv", [failed_row("a", "gone")])
    write_table(tmp_path / "bare" / "per_subject.csv", rows_of("a", 0))
    write_evaluation(tmp_path / "one", ["a"], images=False)
    for name in ("failed", "bare", "one"):
        said = []
        tab = browser.new_page()
        tab.on("console", lambda message, said=said: said.append(message.text))
        tab.on("pageerror", lambda error, said=said: said.append(str(error)))
        tab.goto(report(tmp_path / name).path.as_uri())
        assert tab.locator("#subject-table tbody tr").count() == 1
        tab.locator("#theme").click()
        tab.close()
        assert said == []


@pytest.mark.viewer
def test_everything_that_can_be_operated_has_a_name(page):
    """By the browser's own accessibility tree; no heading level is left out."""
    nameless = page.evaluate(
        "[...document.querySelectorAll('button, select, input, canvas, svg[role=img], [role=region]')]"
        ".filter((e) => !(e.getAttribute('aria-label') || e.labels?.length || e.textContent.trim()))"
        ".map((e) => e.outerHTML)"
    )
    assert nameless == []
    levels = page.evaluate("[...document.querySelectorAll('h1,h2,h3')].map((h) => Number(h.tagName[1]))")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map((e) => e.id)")
    assert len(ids) == len(set(ids))


def test_very_many_subjects_are_paged_and_their_spread_is_drawn(browser, tmp_path, monkeypatch):
    monkeypatch.setattr("volumetric.reporting.table.MANY_SUBJECTS", 400)
    folder = write_evaluation(tmp_path / "many", ["one"], images=False)
    write_table(folder / "per_subject.csv", [row for n in range(450) for row in rows_of(f"s{n:03d}", n % 20)])
    tab = browser.new_page()
    said = []
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.goto(report(folder, viewer="none").path.as_uri())
    assert len(names(tab)) == 200
    assert tab.locator("#table-pages span").inner_text() == "page 1 of 3"
    tab.get_by_role("button", name="Next rows").click()
    tab.get_by_role("button", name="Next rows").click()
    assert names(tab) == [f"s{n}" for n in range(400, 450)]
    assert tab.get_by_role("button", name="Next rows").is_disabled()
    assert tab.locator("#table-method option").all_inner_texts() == ["model"]
    tab.evaluate("goToSubject(205)")
    assert tab.locator("#table-pages span").inner_text() == "page 2 of 3"
    assert tab.locator("#subject-table tr.on").get_attribute("data-subject") == "205"
    tab.fill("#table-filter", "s04")
    assert names(tab) == [f"s{n:03d}" for n in range(40, 50)]
    assert tab.locator("#table-pages").is_hidden()
    assert tab.locator("#distribution-plot .dot").count() == 0
    assert tab.locator("#distribution-plot g").count() == 3  # every method, though the table has the model alone
    assert tab.locator("#distribution-plot .bin").count() == 3 * 20  # 20 different values in 40 bins
    tab.select_option("#distribution-region", "wm")
    assert tab.locator("#distribution-plot .bin").count() == 3 * 20
    assert tab.locator("#agreement-plots .dot").count() == 0
    assert tab.locator("#agreement-plots .bin").count() > 30
    assert said == []
