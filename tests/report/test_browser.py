"""The page in a real browser: no error, nothing loaded, readable on a phone, in the dark and in print."""

import base64
import io
import json
import re
from itertools import combinations

import numpy as np
import pytest

from glow_trl.report import write_report
from glow_trl.report.arm_styles import PALETTE
from helpers.colors import contrast, luminance, parse_hex
from helpers.made_up_run import FIVE_ARMS, stage_run, write_json


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


# Elements that stand out of the page at the right, other than inside of what scrolls
TOO_WIDE = (
    "[...document.querySelectorAll('body *')].filter(e => !e.closest('.table, .chart, pre, svg')"
    " && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 80))"
)
CUT_OFF = (
    "[...document.querySelectorAll('.table')]"
    ".filter(e => e.querySelector('table').offsetWidth > e.clientWidth + 1).map(e => e.getAttribute('aria-label'))"
)


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


@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (375, "light"), (375, "dark"), (768, "dark")])
def test_it_opens_without_an_error_and_without_sideways_scrolling(browser, file, width, scheme):
    browser.open(file, width=width, scheme=scheme)
    assert browser.problems == []
    assert browser.requests == [file.resolve().as_uri()]
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    assert browser.evaluate("innerWidth") == width
    assert browser.evaluate(TOO_WIDE) == []
    sizes = browser.evaluate(
        "[...document.querySelectorAll('figure svg')].map(e => [e.getBoundingClientRect().width, "
        "e.getBoundingClientRect().height])"
    )
    assert len(sizes) == 30 and all(width > 200 and height > 60 for width, height in sizes)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_contrast_with_what_is_behind_it(browser, file, scheme):
    """At least 4.5 to 1, WCAG 2's level AA, in both color schemes."""
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
    assert browser.evaluate(CUT_OFF) == []
    pdf = browser.pdf()
    assert pdf.startswith(b"%PDF") and 5 <= len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 40
    assert browser.problems == []


def test_the_links_of_the_navigation_lead_to_their_sections(browser, file):
    browser.open(file)
    targets = browser.evaluate("[...document.querySelectorAll('nav a')].map(a => !!document.querySelector(a.hash))")
    assert len(targets) == 12 and all(targets)


def test_an_empty_run_opens_as_well(browser, tmp_path):
    write_json(tmp_path / "run" / "run.json", stage_run("run", 0.0) | {"status": "running"})
    write_report(tmp_path / "run")
    browser.open(tmp_path / "run" / "report.html", width=375)
    assert browser.problems == [] and browser.evaluate("document.documentElement.scrollWidth") <= 375
    assert "Nothing has been evaluated yet" in browser.evaluate("document.body.innerText")


@pytest.mark.parametrize(
    ("width", "scheme", "media"), [(375, "light", "screen"), (375, "dark", "screen"), (1030, "dark", "print")]
)
def test_five_arms_of_any_names_are_told_apart_with_and_without_colors(browser, five_arms, width, scheme, media):
    """Lines of charts by their dashes, the legend's pieces of line in shades of grey; no name breaks the layout."""
    browser.open(five_arms / "report.html", width=width, scheme=scheme, media=media)
    assert browser.problems == [] and browser.evaluate(TOO_WIDE) == []
    if media == "print":
        assert browser.evaluate(CUT_OFF) == []
    else:
        assert browser.evaluate("document.documentElement.scrollWidth") <= width
    lines = browser.evaluate(
        "[...document.querySelectorAll('#grpo figure')].map(figure => [...figure.querySelectorAll('path')]"
        ".map(e => getComputedStyle(e)).filter(style => style.strokeWidth === '1.8px')"
        ".map(style => [style.stroke, style.strokeDasharray]))"
    )
    palette = [parse_hex(pair[(scheme, media) == ("dark", "screen")]) for pair in PALETTE]
    assert len(lines) == 4
    for chart in lines:
        assert [tuple(map(int, re.findall(r"\d+", color))) for color, _ in chart] == palette[: len(FIVE_ARMS)]
        assert len({dash for _, dash in chart}) == len(FIVE_ARMS)
    swatches = [swatch_in_grey(browser, index) for index in range(len(FIVE_ARMS))]
    for one, two in combinations(swatches, 2):
        # Bright and dark alike, so that what differs is the shape
        assert np.mean((one > 0.5) != (two > 0.5)) > 0.04


def swatch_in_grey(browser, index: int) -> np.ndarray:
    """The legend's swatch of an arm as the page shows it, without colors: 1 is the darkest of it, 0 the brightest."""
    from matplotlib.image import imread

    box = browser.evaluate(
        "(() => {const box = document.querySelectorAll('#grpo .legend .swatch')["
        + str(index)
        + "].getBoundingClientRect();"
        "return {x: box.x + scrollX, y: box.y + scrollY, width: box.width, height: box.height, scale: 4}})()"
    )
    png = browser.call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=box)["data"]
    grey = imread(io.BytesIO(base64.b64decode(png)))[..., :3].mean(axis=-1)[:36, :104]
    grey = abs(grey - grey[0, 0])
    return grey / grey.max()
