"""The page in a real browser: no error, nothing loaded, readable on a phone, in the dark and in print."""

import re

import pytest

from glow_trl.report import write_report
from helpers.made_up_run import stage_run, write_json


browser_module = pytest.importorskip("helpers.browser", reason="the tests in a browser need the package websockets")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(browser_module.CHROMIUM is None, reason="no Chromium on this machine"),
]

# Of every text on the page its color, what is behind it, and its size
COLORS = """
(() => {
  const parse = text => (text.match(/[\\d.]+/g) || []).map(Number);
  const behind = node => {
    for (let at = node; at; at = at.parentElement) {
      const color = parse(getComputedStyle(at).backgroundColor);
      if (color.length === 3 || color[3] === 1) return color.slice(0, 3);
    }
    return [255, 255, 255];
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const found = {};
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !node.getClientRects().length) continue;
    const style = getComputedStyle(node);
    const svg = node.closest("svg");
    const color = parse(svg ? style.fill : style.color).slice(0, 3);
    found[JSON.stringify([color, behind(svg || node)])] = walker.currentNode.data.trim().slice(0, 40);
  }
  return found;
})()
"""


@pytest.fixture(scope="module")
def file(page, tmp_path_factory):
    """The report of a made-up run with all its sections."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(page)
    return path


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with browser_module.Browser(tmp_path_factory.mktemp("browser") / "profile") as browser:
        yield browser


def luminance(color) -> float:
    linear = [
        value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
        for value in (channel / 255 for channel in color)
    ]
    return float(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])


def contrast(one, two) -> float:
    """The ratio of WCAG 2."""
    light, dark = sorted((luminance(one), luminance(two)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (375, "light"), (375, "dark"), (768, "dark")])
def test_it_opens_without_an_error_and_without_sideways_scrolling(browser, file, width, scheme):
    browser.open(file, width=width, scheme=scheme)
    assert browser.problems == []
    assert browser.requests == [file.resolve().as_uri()]
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    assert browser.evaluate("innerWidth") == width
    wide = browser.evaluate(
        "[...document.querySelectorAll('body *')].filter(e => !e.closest('.table, .chart, pre, svg')"
        " && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 80))"
    )
    assert wide == []
    sizes = browser.evaluate(
        "[...document.querySelectorAll('figure svg')].map(e => [e.getBoundingClientRect().width, "
        "e.getBoundingClientRect().height])"
    )
    assert len(sizes) == 30 and all(width > 200 and height > 60 for width, height in sizes)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_contrast_with_what_is_behind_it(browser, file, scheme):
    """At least 4.5 to 1, WCAG 2's level AA, in both color schemes."""
    import json

    browser.open(file, scheme=scheme)
    pairs = {tuple(map(tuple, json.loads(key))): text for key, text in browser.evaluate(COLORS).items()}
    assert len(pairs) > 8
    background = browser.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (luminance(map(int, re.findall(r"\d+", background))) < 0.1) == (scheme == "dark")
    faint = {text: round(contrast(*pair), 2) for pair, text in pairs.items() if contrast(*pair) < 4.5}
    assert faint == {}


def test_it_prints(browser, file):
    """In print the tables are not cut off at the margin, the background is white, and a PDF comes out."""
    browser.open(file, width=1030, scheme="dark", media="print")
    assert browser.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert browser.evaluate("getComputedStyle(document.querySelector('nav')).display") == "none"
    cut = browser.evaluate(
        "[...document.querySelectorAll('.table')]"
        ".filter(e => e.querySelector('table').offsetWidth > e.clientWidth + 1)"
        ".map(e => e.getAttribute('aria-label'))"
    )
    assert cut == []
    pdf = browser.pdf()
    assert pdf.startswith(b"%PDF") and 5 <= len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 40
    assert browser.problems == []


def test_the_links_of_the_navigation_lead_to_their_sections(browser, file):
    browser.open(file)
    targets = browser.evaluate("[...document.querySelectorAll('nav a')].map(a => !!document.querySelector(a.hash))")
    assert len(targets) == 11 and all(targets)


def test_an_empty_run_opens_as_well(browser, tmp_path):
    write_json(tmp_path / "run" / "run.json", stage_run("run", 0.0) | {"status": "running"})
    write_report(tmp_path / "run")
    browser.open(tmp_path / "run" / "report.html", width=375)
    assert browser.problems == [] and browser.evaluate("document.documentElement.scrollWidth") <= 375
    assert "Nothing has been evaluated yet" in browser.evaluate("document.body.innerText")
