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
from helpers import made_up_run
from helpers.colors import contrast, luminance, parse_hex
from helpers.made_up_run import FIVE_ARMS, edit_json, make_mixed_run, make_run_folder, stage_run, write_json


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


# What one reads without scrolling, as a text
FIRST_SCREEN = """
(() => {
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const found = [];
  while (walker.nextNode()) {
    const range = document.createRange();
    range.selectNodeContents(walker.currentNode);
    const rects = [...range.getClientRects()].filter(r => r.width && r.height);
    const inside = r => r.top >= 0 && r.bottom <= innerHeight && r.left >= 0 && r.right <= innerWidth;
    if (walker.currentNode.parentElement.checkVisibility() && rects.length && rects.every(inside))
      found.push(walker.currentNode.data.trim());
  }
  return found.join(" ").replace(/\\s+/g, " ");
})()
"""
# Pairs of texts that lie over each other, as far as they are shown
OVERLAPS = """
(() => {
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const boxes = [];
  while (walker.nextNode()) {
    const node = walker.currentNode;
    if (!node.data.trim() || !node.parentElement.checkVisibility()) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    for (const rect of range.getClientRects()) {
      // The letters themselves fill the middle of their line
      const box = {left: rect.left + 1, right: rect.right - 1, top: rect.top + 0.22 * rect.height,
                   bottom: rect.bottom - 0.22 * rect.height, node, text: node.data.trim().slice(0, 40)};
      for (let at = node.parentElement; at && at !== document.body; at = at.parentElement) {
        if (getComputedStyle(at).overflow === "visible" || at.tagName === "svg") continue;
        const clip = at.getBoundingClientRect();
        box.left = Math.max(box.left, clip.left); box.right = Math.min(box.right, clip.right);
        box.top = Math.max(box.top, clip.top); box.bottom = Math.min(box.bottom, clip.bottom);
      }
      if (box.right > box.left && box.bottom > box.top) boxes.push(box);
    }
  }
  boxes.sort((a, b) => a.top - b.top);
  const found = [];
  boxes.forEach((a, i) => {
    for (let j = i + 1; j < boxes.length && boxes[j].top < a.bottom; j++) {
      const b = boxes[j];
      if (a.node !== b.node && b.left < a.right && a.left < b.right) found.push([a.text, b.text]);
    }
  });
  return found;
})()
"""
PHONE, DESKTOP = (375, 667), (1280, 800)


def runs_to_look_at(folder):
    """Made-up runs of which each is unusual in its own way, by name."""
    runs = {"mixed": make_mixed_run(folder / "mixed", steps=30)}
    stopped = runs["stopped"] = make_run_folder(folder / "stopped", arms=("glow", "all"), steps=30)
    reason = "the reward is gone: 0.01 on average over the last 20 logs before step 120"
    edit_json(stopped / "glow" / "grpo" / "run.json", status="collapsed", collapsed=reason)
    edit_json(stopped / "all" / "grpo" / "run.json", status="running")
    edit_json(stopped / "run.json", status="running")
    (stopped / "label" / "trajectories.jsonl").write_text('{"problem": "p", "completion": "c", "answer": "1"}\n')
    old = runs["old"] = make_run_folder(folder / "old", arms=("glow", "all"), steps=30)
    for path in old.rglob("run.json"):
        newer = ("machine", "parameters", "trainable_parameters", "git", "versions", "given", "started")
        edit_json(path, **dict.fromkeys(newer))
    benchmarks = {"a_very-long.name_that_goes_on_" * 3: ("in", 0.5, 0.4), "withoutanybreak" * 9: ("out", 0.5, 0.3)}
    benchmarks["<b>&amp;\"'$y^2$ \\frac"] = ("out", 0.2, 0.1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(made_up_run, "BENCHMARKS", benchmarks)
        arms = {"anarmwithoutend" * 5: {}, "<script>x & \"$y^2$'": {"a_<b>": "</td>" * 20}}
        runs["names"] = make_run_folder(folder / "names", arms=arms, steps=30)
    edit_json(runs["names"] / "run.json", recipe="a_recipe-with.too_long_a_name" * 5)
    missing = runs["missing"] = make_run_folder(folder / "missing", arms=("glow", "all"), steps=30)
    for path in missing.glob("*/*_eval/results.json"):
        rows = json.loads(path.read_text())["benchmarks"]
        kept = ("n", "domain", "pass@1", "pass@2", "pass@8")
        edit_json(path, benchmarks={name: {key: row[key] for key in kept} for name, row in rows.items()})
    return runs


@pytest.fixture(scope="module")
def unusual(tmp_path_factory):
    runs = runs_to_look_at(tmp_path_factory.mktemp("unusual"))
    for folder in runs.values():
        write_report(folder)
    return {name: folder / "report.html" for name, folder in runs.items()}


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


@pytest.mark.parametrize("size", [PHONE, DESKTOP])
def test_the_first_screen_says_what_got_better_and_what_got_worse(browser, unusual, size):
    """Both by one rule, with sizes and whether the interval excludes zero, and that one arm compares with nothing."""
    browser.open(unusual["mixed"], *size)
    seen = browser.evaluate(FIRST_SCREEN)
    better, worse = seen.index("Better after GRPO"), seen.index("Worse after GRPO")
    assert better < worse
    assert "accuracy, in-domain and 2 others" in seen[better:worse]
    for text in ("entropy, longer", "0.190 → 0.050 −73.7 %", "pass@4, longer", "42.0 → 28.0 −14.0"):
        assert text in seen[worse:]
    assert "2 worse" in seen[:better] and "with a 95 % interval that excludes zero" in seen[:better]
    assert "One arm alone compares with nothing" in seen


@pytest.mark.parametrize("size", [PHONE, DESKTOP])
def test_the_first_screen_says_what_collapsed_is_unfinished_or_stale(browser, unusual, size):
    browser.open(unusual["stopped"], *size)
    seen = browser.evaluate(FIRST_SCREEN)
    assert "collapsed glow / grpo: the reward is gone" in seen
    assert "unfinished all / grpo" in seen and "stale" in seen and "Worse after GRPO" in seen


@pytest.mark.parametrize("size", [PHONE, DESKTOP])
@pytest.mark.parametrize("name", ["mixed", "stopped", "old", "names", "missing"])
def test_unusual_runs_are_laid_out_well(browser, unusual, name, size):
    """Nothing stands out of the page, no text lies over another, charts come in pairs, and every change is in view."""
    browser.open(unusual[name], *size, scheme="dark" if name == "stopped" else "light")
    assert browser.problems == [] and browser.evaluate(TOO_WIDE) == []
    assert browser.evaluate("document.documentElement.scrollWidth") <= size[0]
    assert browser.evaluate(OVERLAPS) == []
    browser.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
    assert browser.evaluate(OVERLAPS) == [] and browser.evaluate(TOO_WIDE) == []
    cells = browser.evaluate(
        "[...document.querySelectorAll('td.change')].map(e => e.getBoundingClientRect()).map(r => [r.left, r.right])"
    )
    assert len(cells) >= 3 and all(left >= 0 and right <= size[0] for left, right in cells)
    groups = browser.evaluate(
        "[...document.querySelectorAll('.charts:not(.single)')].map(group => [...group.children].map(chart => "
        "Math.round(chart.getBoundingClientRect().left)))"
    )
    assert groups
    for lefts in groups:
        assert len(set(lefts)) == (1 if size == PHONE else min(2, len(lefts)))


def test_every_change_is_in_view_in_runs_of_many_arms(browser, five_arms):
    browser.open(five_arms / "report.html", *PHONE)
    assert browser.evaluate(OVERLAPS) == [] and browser.evaluate(TOO_WIDE) == []
    inside = browser.evaluate(
        "[...document.querySelectorAll('#results td.change, #entropy td')].map(e => e.getBoundingClientRect())"
        ".map(r => r.left >= 0 && r.right <= innerWidth)"
    )
    assert len(inside) > 5 * 4 and all(inside)


def test_all_curves_over_k_have_the_same_axes(browser, five_arms):
    """The same ticks at the same places in every panel of pass@k and of majority@k, of any benchmark."""
    browser.open(five_arms / "report.html", *DESKTOP)
    panels = browser.evaluate(
        "[...document.querySelectorAll('#results svg[aria-label*=\"@k on\"]')].map(svg => {"
        "const box = svg.getBoundingClientRect(); return [...svg.querySelectorAll('text')].filter(e => /^\\d+$/.test("
        "e.textContent.trim())).map(e => {const r = e.getBoundingClientRect(); return [e.textContent.trim(), "
        "Math.round(r.left - box.left), Math.round(r.top - box.top)]})})"
    )
    assert len(panels) == 6 and all(panel == panels[0] for panel in panels)
    ticks = [text for text, *_ in panels[0]]
    assert ticks[:4] == ["1", "2", "4", "8"] and ticks[4:] == ["0", "20", "40", "60", "80", "100"]
    assert "majority@2" not in browser.evaluate("document.body.textContent")
