"""The HTML report in a real browser: nothing but the file itself, on a phone and on a desk."""

from __future__ import annotations

from pathlib import Path

import pytest

from rollout.report import collect, html
from tests.e2e.test_browser import browser, needs_chromium  # noqa: F401 - a fixture, and when it can run
from tests.support import summaries
from tests.support.summaries import BEGAN, DAY

pytestmark = [*needs_chromium, pytest.mark.slow("two reports with plots, drawn in a browser a dozen times")]


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> dict[str, Path]:
    """The no-go of the seed's figures, and the go of the day after."""
    folder = tmp_path_factory.mktemp("reports")
    config = summaries.project(folder)
    summaries.seed(config)
    (folder / "no-go.html").write_text(html(collect(config, "dev", now=BEGAN + DAY)))
    record = summaries.fixed(config)
    # What was not seen makes the soak longer.
    log = summaries.day(record.ended, record.generation, blind=range(700, 715), rounds=1440 + 20)
    data = collect(config, "dev", **summaries.live(config, log, record, record.ended + DAY + 1200))
    (folder / "go.html").write_text(html(data))
    return {"no-go": folder / "no-go.html", "go": folder / "go.html"}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("name", ["no-go", "go"])
def test_the_report_stands_alone_and_is_readable(browser, pages, name, width, scheme, tmp_path):  # noqa: F811
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    problems: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(pages[name].as_uri())
    page.screenshot(path=tmp_path / f"{name}-{width}-{scheme}.png", full_page=True)
    assert problems == []
    assert asked == [pages[name].as_uri()]
    # No sideways scrolling of the page, and no text that is cut off or too small to read.
    assert page.evaluate("document.scrollingElement.scrollWidth") == width
    assert page.evaluate(OUTSIDE, width) == []
    assert page.evaluate(SMALLEST) >= 7
    decision = page.locator("#decision").inner_text()
    assert decision.startswith("go\n" if name == "go" else "no-go: rolled back")


@pytest.mark.parametrize("width", [360, 1280])
def test_plots_are_drawn_named_and_themed(browser, pages, width):  # noqa: F811
    colours = {}
    for scheme in ("light", "dark"):
        page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
        page.goto(pages["go"].as_uri())
        drawn = page.locator("figure > svg[role=img]")
        assert drawn.count() == 8
        for index in range(8):
            box = drawn.nth(index).bounding_box()
            assert box["width"] > 280 and box["height"] > 150
            labels = drawn.nth(index).get_attribute("aria-labelledby").split()
            said = [page.locator(f"[id='{label}']").text_content() for label in labels]
            assert all(said) and "UTC" in said[1]
        assert page.evaluate(UNSEEN) == []
        line = page.locator("#plot-shift-latency svg path[style*='--s1']").first
        colours[scheme] = line.evaluate("element => getComputedStyle(element).stroke")
    assert colours["light"] != colours["dark"]
    page.goto(pages["no-go"].as_uri())
    assert page.get_by_text("No data: no load run has left samples").count() >= 2


def test_links_lead_to_the_evidence(browser, pages):  # noqa: F811
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.goto(pages["go"].as_uri())
    assert page.evaluate(BROKEN) == []
    page.locator("#metrics ~ .cards a").first.click()
    target = page.locator(":target")
    assert "validate.pass_ratio" in target.inner_text()


BROKEN = """[...document.querySelectorAll('a')].map(link => link.hash.slice(1))
  .filter(id => !document.getElementById(id))"""
OUTSIDE = """width => [...document.querySelectorAll('main *')]
  .filter(element => !element.closest('svg') && !element.closest('pre'))
  .filter(element => element.getBoundingClientRect().right > width + 1)
  .map(element => element.outerHTML.slice(0, 80))"""
SMALLEST = """Math.min(...[...document.querySelectorAll('figure svg text')].map(text => {
  const svg = text.ownerSVGElement;
  const scale = svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
  return parseFloat(getComputedStyle(text).fontSize) * scale;
}), 99)"""
UNSEEN = """[...document.querySelectorAll('figure > svg')].filter(svg => {
  const [lines, dots] = ['path', 'use'].map(tag => [...svg.querySelectorAll(`${tag}[style*='--s']`)]);
  const wide = element => element.getBoundingClientRect().width;
  return !lines.some(line => wide(line) > 100) && !dots.some(dot => wide(dot) > 2);
}).map(svg => svg.parentElement.id)"""
