"""The report of a made-up run: numbers, missing pieces, hostile text, and the page in a browser."""

import json
import re
import shutil
from collections import Counter
from html.parser import HTMLParser

import numpy as np
import pytest
from rich.console import Console

from glow_trl.cli import main as cli
from glow_trl.errors import UserError
from glow_trl.report import print_summary, write_report
from glow_trl.report.dynamics import weight_table, weighting_of
from glow_trl.report.examples import evaluation_examples
from glow_trl.report.report import main
from glow_trl.report.run_data import read_run_folder
from glow_trl.report.scores import ScoreBook
from glow_trl.statistics.numbers import duration
from helpers.made_up_run import (
    BENCHMARKS,
    WEIGHTED_ARMS,
    edit_json,
    make_run_folder,
    stage_run,
    verdict,
    write_json,
    write_ledger,
    write_rows,
)


ARMS = ("glow", "positive", "negative", "all")


class Page(HTMLParser):
    """Collects what the checks look at, and refuses tags that do not close."""

    VOID = {"meta", "link", "br", "img", "hr", "input", "wbr"}

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: Counter = Counter()
        self.text: list[str] = []
        self.feed(text)
        assert not self.open, f"unclosed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags[tag] += 1
        if tag not in self.VOID:
            self.open.append(tag)
        self._collect(attrs)

    def handle_startendtag(self, tag, attrs):
        self.tags[tag] += 1
        self._collect(attrs)

    def _collect(self, attrs):
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            if name in ("href", "src", "xlink:href"):
                self.links.append(value)

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"</{tag}> does not close what is open"

    def handle_data(self, data):
        if "style" not in self.open[-1:]:
            self.text.append(data)


def test_summary_is_the_contract_and_holds_the_measured_numbers(whole_run, undrawn):
    summary = write_report(whole_run)
    assert summary == json.loads((whole_run / "summary.json").read_text())
    assert summary["recipe"] == "quickstart"
    assert list(summary["arms"]) == list(ARMS)
    for arm in ARMS:
        assert set(summary["arms"][arm]) == {"sft", "grpo"}
        for stage, content in summary["arms"][arm].items():
            results = json.loads((whole_run / arm / f"{stage}_eval" / "results.json").read_text())
            assert content["benchmarks"] == results["benchmarks"]
            assert content["seconds"] == (41.2 if stage == "sft" else 62.0)
            assert {row["domain"] for row in content["benchmarks"].values()} == {"in", "out"}


def test_the_page_is_sound_and_needs_nothing_from_outside(page):
    parsed = Page(page)
    assert [identifier for identifier, count in Counter(parsed.ids).items() if count > 1] == []
    for link in parsed.links:
        assert link.startswith("#") or link == "data:,", link
        if link.startswith("#"):
            assert link[1:] in parsed.ids, link
    assert parsed.tags["script"] == 0
    assert "@import" not in page and "url(http" not in page
    assert page.lstrip().startswith("<!doctype html>")


def test_every_number_of_the_results_stands_on_the_page(page, whole_run):
    text = " ".join(Page(page).text)
    for arm in ARMS:
        for stage in ("sft", "grpo"):
            results = json.loads((whole_run / arm / f"{stage}_eval" / "results.json").read_text())["benchmarks"]
            for row in results.values():
                for key in ("pass@1", "pass@8", "majority@8"):
                    assert f"{100 * row[key]:.1f}" in text
                assert f"{row['entropy']:.3f}" in text
                assert "{:.1f}–{:.1f}".format(*(100 * end for end in row["pass@1_ci"])) in text
    assert page.count("<small>v1</small>") == len(BENCHMARKS)


def test_hostile_text_is_shown_and_not_run(page):
    """Completions hold tags, ampersands and LaTeX; so do the names of benchmarks and patterns."""
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "longer &lt;chains&gt; &amp; more" in page
    assert "book_<wbr>&lt;2&gt;" in page and "&lt;wbr" not in page
    text = "".join(Page(page).text)
    assert r"i<3 & j>2 \frac{1}{2}" in text
    assert "stale <value>" in text


def test_charts_take_colors_and_fonts_from_the_page(page):
    svgs = re.findall(r"<svg role=.*?</svg>", page, flags=re.DOTALL)
    # accuracy, pass@k and majority@k of three benchmarks, differences after each stage, entropy; losses of four arms,
    # gains, weights, share at the lower bound, four data maps; four curves of GRPO; patterns
    assert len(svgs) == 3 * 3 + 2 + 1 + 4 + 2 + 2 + 1 + 4 + 4 + 1
    for svg in svgs:
        assert 'role="img"' in svg and "aria-label=" in svg and "viewBox=" in svg
        assert "var(--" in svg and "DejaVu" not in svg
        assert not re.search(r"<svg[^>]* (width|height)=", svg)
        left = set(re.findall(r"#[0-9a-fA-F]{6}\b", svg))
        assert left <= {"#000000", "#ffffff"}, left
    assert "prefers-color-scheme: dark" in page and "@media print" in page


def test_weights_are_those_of_the_formula(whole_run):
    """Mean weights, gains and shares at the bounds against numpy."""
    arm = read_run_folder(whole_run).arms["glow"]
    weighting = weighting_of(arm)
    expected = {"alpha": 2.0, "beta": 10.0, "min_weight": 0.5, "max_weight": 5.0}
    assert expected.items() <= weighting.parameters.items()
    losses = np.stack([np.load(path) for path in sorted((whole_run / "glow/sft/ledger").glob("epoch-*.npy"))])
    rows = weight_table(arm, weighting)
    assert [row["epoch"] for row in rows] == [2, 3, 4, 5, 6]
    for number, row in enumerate(rows, start=1):
        gain = (losses[number - 1].astype(float) - losses[number])[5:]
        expected = np.clip(2 * (1 - 1 / (1 + np.exp(-10 * gain))), 0.5, 5)
        positive = arm.ledger.is_correct[5:] == 1
        assert row["gain"] == pytest.approx(gain.mean())
        assert row["weight"] == pytest.approx(expected.mean())
        assert row["weight_negative"] == pytest.approx(expected[~positive].mean())
        assert row["at_min"] == pytest.approx((expected == 0.5).mean())
        assert row["dropped"] == 0
        assert row["effective_sample_size"] == pytest.approx(expected.sum() ** 2 / (595 * (expected**2).sum()))
    assert not weighting_of(read_run_folder(whole_run).arms["positive"]).tells_apart


def test_every_arm_is_shown_with_its_weighting(tmp_path, undrawn):
    """Thirteen arms: one table of all, the first weighted arm in detail, and the others and what is more folded."""
    folder = make_run_folder(tmp_path / "run", arms=WEIGHTED_ARMS, steps=4)
    sft = {arm: stages["sft"] for arm, stages in write_report(folder)["arms"].items()}
    page = (folder / "report.html").read_text()
    section = page[page.index('<section id="sft">') : page.index('<section id="losses">')]
    table = section[section.index('aria-label="Weights by arm"') :].partition("</table>")[0]
    rows = ["".join(Page(row).text).split() for row in re.findall("<tr>.*?</tr>", table, re.DOTALL)[1:]]
    rows = {row[0]: row[1:] for row in rows}
    assert list(rows) == list(WEIGHTED_ARMS)
    assert rows["all"] == "uniform every sample weighs the same".split()
    assert rows["glow_dft"][:5] == ["glow", "×", "dft,", "of", "tokens"]
    mine = sft["mine"]["weights"][-1]
    weights = np.load(folder / "mine" / "sft" / "ledger" / "weights-006.npy")[5:]
    assert mine["weight"] == pytest.approx(weights.mean()) and mine["dropped"] == pytest.approx((weights == 0).mean())
    assert (mine["at_min"], mine["at_max"]) == pytest.approx(((weights <= 0.25).mean(), (weights >= 2).mean()))
    figures = [f"{mine[name]:.3f}" for name in ("weight_positive", "weight_negative", "weight")]
    figures += [f"{100 * mine[name]:.1f}" for name in ("at_min", "at_max", "dropped", "effective_sample_size")]
    assert rows["mine"] == ["my_weightings.gentle", *"min_weight 0.25, max_weight 2".split(), *figures]
    # What only the trainer knew of a product's bounds is taken from the log
    assert sft["glow_dft"]["weights"][-1]["at_max"] == 0.0123
    positions = sft["dft"]["token_weights"]["6"]["positive"]
    assert [row["weight"] for row in positions] == sorted(row["weight"] for row in positions) and len(positions) == 10
    assert "token_weights" not in sft["mine"] and "weights" in sft["glow"]
    folded = re.findall("<summary>(.*?)</summary>", section, re.DOTALL)
    others = [arm for arm in WEIGHTED_ARMS if arm not in ("all", "glow")]
    names = ["".join(Page(text).text).split() for text in folded]
    assert [name[4].rstrip(":") for name in names if name[0] == "Weights"] == others
    assert ["Losses", "of", "the", "other", "7", "arms"] in names


def test_only_the_run_folder_itself_is_written(whole_run, undrawn):
    before = {path: path.stat().st_mtime_ns for path in whole_run.rglob("*") if path.is_file()}
    write_report(whole_run)
    after = {path: path.stat().st_mtime_ns for path in whole_run.rglob("*") if path.is_file()}
    assert set(after) == set(before)
    changed = {path.name for path in after if after[path] != before[path]}
    assert changed == {"summary.json", "report.html"}


def test_the_same_run_gives_the_same_page(whole_run):
    write_report(whole_run)
    first = (whole_run / "report.html").read_bytes()
    write_report(whole_run)
    assert (whole_run / "report.html").read_bytes() == first


@pytest.mark.parametrize(
    ("removed", "sentence"),
    [
        (["*/*_eval"], "Nothing has been evaluated yet"),
        (["*/grpo", "*/grpo_eval"], "GRPO has not logged any step"),
        (["*/sft/ledger"], "No arm of this run has a ledger"),
        (["label"], "gone or have changed since"),
        (["*/*_eval/generations_*"], "No generations have been saved"),
        (["*/*_eval/entropy_*"], "Policy entropy"),
        (["annotation/results.json", "heldout_loss/results.json"], "Run facts"),
        (["annotation/annotations.jsonl"], "Patterns in the trajectories"),
        (["*/sft/run.json", "*/grpo/run.json", "run.json"], "Run facts"),
        (["*/sft/ledger/epoch-00[2-6].npy"], "the run has recorded none yet"),
        (["*/sft/ledger/samples.jsonl"], "What SFT did"),
        (["*/grpo/log.jsonl", "*/sft/log.jsonl"], "GRPO has not logged any step"),
        (["glow"], "No arm of this run was weighted"),
        (["*/grpo_eval"], "after SFT"),
        (["*/sft_eval"], "after GRPO"),
        (["glow", "all"], "Nothing has been evaluated yet"),
    ],
)
def test_missing_pieces_leave_a_sentence(tmp_path, removed, sentence, undrawn):
    folder = make_run_folder(tmp_path / "run", arms=("glow", "all"), steps=8)
    for pattern in removed:
        for path in sorted(folder.glob(pattern)):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    write_report(folder)
    text = (folder / "report.html").read_text()
    assert sentence in " ".join(Page(text).text)


@pytest.mark.parametrize("arms", [("glow", "base"), ("base", "glow"), ("base",)])
def test_an_arm_without_sft_has_what_it_has(tmp_path, arms, undrawn):
    """RL from the base, as another arm, as the first and alone: its accuracy after GRPO, and no change."""
    changes = {"glow": {}, "base": {"stages": ["grpo"]}}
    folder = make_run_folder(tmp_path / "run", arms={arm: changes[arm] for arm in arms}, steps=8)
    for name in ("sft", "sft_eval"):
        shutil.rmtree(folder / "base" / name)
    summary = write_report(folder)
    assert list(summary["arms"]["base"]) == ["grpo"] and summary["changes"]["base"] == []
    text = " ".join(Page((folder / "report.html").read_text()).text)
    assert f"{100 * summary['arms']['base']['grpo']['benchmarks']['in-domain']['pass@1']:.1f}" in text
    print_summary(summary, Console(file=open("/dev/null", "w")))


def test_one_arm_that_is_still_running(tmp_path, undrawn):
    """Files that were cut off by a kill are read as far as they go."""
    folder = make_run_folder(tmp_path / "run", arms=("glow",), steps=6)
    log = folder / "glow" / "grpo" / "log.jsonl"
    log.write_text(log.read_text() + '{"step": 7, "rew')
    (folder / "glow" / "grpo_eval" / "results.json").write_text('{"benchmarks": {')
    summary = write_report(folder)
    assert summary["arms"]["glow"]["grpo"]["benchmarks"] == {}
    Page((folder / "report.html").read_text())


def test_a_weighted_arm_without_labels_or_second_epoch(tmp_path, undrawn):
    folder = tmp_path / "run"
    write_json(folder / "glow" / "sft" / "run.json", stage_run("sft", 1.0))
    losses = write_ledger(folder / "glow" / "sft" / "ledger", np.random.default_rng(0), 0.5, samples=20, epochs=2)
    np.save(folder / "glow" / "sft" / "ledger" / "epoch-002.npy", np.full_like(losses[0], np.nan))
    write_report(folder)
    Page((folder / "report.html").read_text())


def test_what_is_not_a_run_folder_says_so_and_exits_2(tmp_path, capsys):
    """Neither a folder of something else nor one within or around a run gets a report that is empty."""
    run = tmp_path / "outputs" / "run"
    write_json(run / "run.json", stage_run("run", 1.0))
    for stage in ("sft", "grpo", "sft_eval"):
        name = stage.removeprefix("sft_")
        write_json(run / "glow" / stage / "run.json", stage_run(name, 1.0))
    (tmp_path / "sources" / "tests" / "sft").mkdir(parents=True)
    write_json(tmp_path / "service" / "run.json", {"stage": "eval", "status": "complete"})
    expected = {
        "none": "no such run folder",
        ".": "neither the run.json of a run nor arms or data of one",
        "sources": "neither the run.json of a run nor arms or data of one",
        "outputs": "runs lie in it, run; give the folder of one",
        "outputs/run/glow": "it is that of an arm, with sft and grpo; give the folder that it lies in",
        "outputs/run/glow/sft": "its run.json is that of a stage, sft; give the folder of the run",
        "outputs/run/glow/sft_eval": "its run.json is that of a stage, eval",
        "service": "its run.json is that of a stage, eval",
    }
    for name, message in expected.items():
        assert cli(["report", str(tmp_path / name)]) == 2, name
        errors = capsys.readouterr().err
        assert message in " ".join(errors.split()) and "Traceback" not in errors, name
        assert not (tmp_path / name / "report.html").exists()
    assert cli(["report", str(run)]) == 0


def test_facts_name_the_machine_the_parameters_and_the_state(tmp_path, undrawn):
    folder = make_run_folder(tmp_path / "run", arms=("glow",), steps=4)
    edit_json(folder / "glow" / "grpo" / "run.json", trainable_parameters=1000)

    def facts() -> str:
        write_report(folder)
        return " ".join("".join(Page((folder / "report.html").read_text()).text).split()).rpartition("Run facts")[2]

    text = facts()
    assert "machine1 × Some GPU (80 GiB), Some CPU (16 cores), 124.8 GiB of memory" in text
    assert "parameters1,234,567; 1,234,567 (1,000 of them trained)" in text and "statuscomplete" in text
    # As runs of older versions are
    for path in folder.rglob("run.json"):
        edit_json(path, machine=None, parameters=None, trainable_parameters=None)
    text = facts()
    assert "machineunknown" in text and "parametersunknown" in text


def test_examples_are_paired_by_question_wherever_it_stands(tmp_path, undrawn):
    """In the second evaluation the questions stand in another order, as of a benchmark that was read otherwise."""
    for stage, order in (("sft", range(8)), ("grpo", reversed(range(8)))):
        rows = [
            {
                "problem": f"question {n}",
                "answer": str(n),
                "index": place,
                "sample": 0,
                "completion": f"{stage} on {n}",
            }
            | {"n_tokens": 1, "finish_reason": "stop", "verdict": verdict(stage == "grpo" or n > 3, str(n))}
            for place, n in enumerate(order)
        ]
        write_rows(tmp_path / "mine" / f"{stage}_eval" / "generations_set.jsonl", rows)
        summary = {"set": {"domain": "in", "n": 8, "pass@1": 1.0}}
        write_json(tmp_path / "mine" / f"{stage}_eval" / "results.json", {"benchmarks": summary})
        write_json(tmp_path / "mine" / stage / "run.json", stage_run(stage, 1.0))
    data = read_run_folder(tmp_path)
    examples = evaluation_examples(data, ScoreBook(data))
    assert len(examples) == 2
    for example in examples:
        number = example["problem"].removeprefix("question ")
        assert [attempt["text"] for attempt in example["attempts"]] == [f"sft on {number}", f"grpo on {number}"]


@pytest.mark.parametrize("arms", [("glow",), ARMS])
def test_the_terminal_table_shows_everything_at_eighty_columns(tmp_path, arms, undrawn):
    summary = write_report(make_run_folder(tmp_path / "run", arms=arms, steps=4))
    console = Console(width=80, record=True, file=open("/dev/null", "w"))
    print_summary(summary, console)
    lines = console.export_text().splitlines()
    assert all(len(line) <= 80 for line in lines)
    text = "\n".join(lines)
    for arm in arms:
        for stage, content in summary["arms"][arm].items():
            if len(arms) > 1:
                assert f"{arm} {stage.upper()}" in text
            for row in content["benchmarks"].values():
                assert f"{100 * row['pass@1']:.1f}" in text and f"{row['entropy']:.3f}" in text
    for name in ("in-domain v1", "all words v1"):
        assert name in text
    assert "…" not in text


def test_the_command_takes_a_folder_an_option_or_a_file(whole_run, tmp_path, capsys, undrawn):
    config = tmp_path / "report.yaml"
    config.write_text(f"run_dir: {whole_run}\n")
    for argv in ([str(whole_run)], ["--run_dir", str(whole_run)], ["--config", str(config)]):
        (whole_run / "report.html").unlink(missing_ok=True)
        main(argv)
        assert (whole_run / "report.html").exists()
        assert "report.html" in capsys.readouterr().out
    config.write_text("run_dri: x\n")
    with pytest.raises(UserError, match="run_dir"):
        main(["--config", str(config)])


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, ""), (3.21, "3.2 s"), (59.4, "59 s"), (185, "3 min 05 s"), (7845, "2 h 10 min")]
)
def test_durations_are_for_people(seconds, text):
    assert duration(seconds) == text


def test_the_made_up_run_has_both_domains():
    assert {domain for domain, *_ in BENCHMARKS.values()} == {"in", "out"}
