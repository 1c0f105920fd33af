"""What the report computes itself: paired tests, domain means, relative entropies, data maps, patterns."""

import json
import re
from itertools import product

import numpy as np
import pytest
from test_report import Page

from glow_trl.report import write_report
from glow_trl.report.comparison import arms_table, results_table
from glow_trl.report.entropy import entropy_section
from glow_trl.report.patterns import pattern_sections
from glow_trl.report.run_data import read_run_folder
from glow_trl.report.scores import ScoreBook, domain_groups
from glow_trl.statistics.estimates import grouped_mean
from helpers.made_up_run import make_run_folder, write_json, write_ledger, write_rows


def write_evaluation(folder, scores: dict[str, list[list[bool]]], domain="out", **sampling) -> None:
    """An evaluation whose questions have these verdicts."""
    rows = {}
    for name, questions in scores.items():
        write_rows(
            folder / f"generations_{name}.jsonl",
            [
                {"problem": f"q{index}", "answer": "1", "index": index, "sample": sample, "completion": "c"}
                | {"n_tokens": 5, "finish_reason": "stop", "verdict": {"correct": correct, "reason": "match"}}
                for index, verdicts in enumerate(questions)
                for sample, correct in enumerate(verdicts)
            ],
        )
        found = grouped_mean([np.mean(verdicts) for verdicts in questions], bounds=(0, 1))
        rows[name] = {"domain": domain, "group": domain, "n": len(questions), "pass@1": found.mean}
        rows[name]["pass@1_ci"] = [found.low, found.high]
    write_json(folder / "results.json", {"sampling": sampling, "benchmarks": rows, "seconds": 1.0})


@pytest.fixture
def small_run(tmp_path):
    """Two arms, both stages, two benchmarks of nine questions."""
    rng = np.random.default_rng(0)
    rates = {("glow", "sft"): 0.3, ("glow", "grpo"): 0.9, ("all", "sft"): 0.4, ("all", "grpo"): 0.5}
    verdicts = {}
    for (arm, stage), rate in rates.items():
        scores = {name: (rng.random((9, 2)) < rate).tolist() for name in ("one", "two")}
        verdicts[arm, stage] = scores
        write_evaluation(tmp_path / arm / f"{stage}_eval", scores, temperature=1.0)
        write_json(tmp_path / arm / stage / "run.json", {"stage": stage, "config": {}})
    write_json(tmp_path / "run.json", {"recipe": "small", "arms": ["glow", "all"]})
    return tmp_path, verdicts


def sign_flips(differences) -> float:
    """The exact p-value by going through all assignments of signs."""
    found = abs(sum(differences))
    sums = [
        abs(sum(sign * value for sign, value in zip(signs, differences, strict=True)))
        for signs in product((1, -1), repeat=len(differences))
    ]
    return float(np.mean([value >= found - 1e-9 for value in sums]))


def test_changes_are_tested_question_by_question_and_corrected(small_run):
    folder, verdicts = small_run
    table = results_table(data := read_run_folder(folder), ScoreBook(data))
    assert [group["label"] for group in table["groups"]] == ["Out-of-domain"]
    expected = []
    group = table["groups"][0]
    for row in group["benchmarks"]:
        for arm in ("glow", "all"):
            before, after = (np.mean(verdicts[arm, stage][row["name"]], axis=1) for stage in ("sft", "grpo"))
            change = row["arms"][arm]["change"]
            assert change.difference == pytest.approx(after.mean() - before.mean())
            assert change.p == pytest.approx(sign_flips(after - before), abs=1e-9)
            assert change.low < change.difference < change.high and change.questions == 9
            expected.append((change.p, change))
    for arm in ("glow", "all"):
        change = group["means"][0]["arms"][arm]["change"]
        cells = group["means"][0]["arms"][arm]["cells"]
        assert change.difference == pytest.approx(cells[1]["value"] - cells[0]["value"])
        expected.append((change.p, change))
    assert table["tests"] == len(expected) == 6
    # Holm, by its definition
    ordered, reached = sorted(expected, key=lambda item: item[0]), 0.0
    for rank, (p, change) in enumerate(ordered):
        reached = max(reached, min(1.0, (6 - rank) * p))
        assert change.corrected == pytest.approx(reached)
        stars = "***" if reached < 0.001 else "**" if reached < 0.01 else "*" if reached < 0.05 else ""
        assert change.mark == stars
    assert any(change.mark for _, change in expected) and not all(change.mark for _, change in expected)


def test_arms_are_compared_with_the_first_one_after_each_stage(small_run, undrawn):
    folder, verdicts = small_run
    table = arms_table(data := read_run_folder(folder), ScoreBook(data))
    assert table["reference"] == "glow" and table["columns"] == [("sft", "all"), ("grpo", "all")]
    assert [row["name"] for row in table["rows"]] == ["one", "two", "Out-of-domain, mean of 2"]
    for row in table["rows"][:2]:
        for cell, (stage, arm) in zip(row["cells"], table["columns"], strict=True):
            ours, theirs = (np.mean(verdicts[name, stage][row["name"]], axis=1) for name in ("glow", arm))
            assert cell.difference == pytest.approx(theirs.mean() - ours.mean())
            assert cell.p == pytest.approx(sign_flips(theirs - ours), abs=1e-9)
    write_report(folder)
    text = " ".join(Page((folder / "report.html").read_text()).text)
    assert "Holm’s method for the 6 tests" in text and "Arms compared" in text and "p < 0.05" in text


def test_completions_drawn_in_different_ways_are_not_tested(small_run, undrawn):
    folder, verdicts = small_run
    write_evaluation(folder / "all" / "grpo_eval", verdicts["all", "grpo"], temperature=0.6)
    table = results_table(data := read_run_folder(folder), ScoreBook(data))
    change = table["groups"][0]["benchmarks"][0]["arms"]["all"]["change"]
    assert change["corrected"] is None and change["mark"] == "" and table["tests"] == 3
    write_report(folder)


def test_domains_and_the_recipes_own_groups(small_run, undrawn):
    folder, _ = small_run
    for path in folder.glob("*/*_eval/results.json"):
        content = json.loads(path.read_text())
        content["benchmarks"]["one"] |= {"domain": "in", "group": "math"}
        content["benchmarks"]["two"]["group"] = "general"
        content["benchmarks"]["three"] = content["benchmarks"]["two"] | {"pass@1": 0.25, "pass@1_ci": [0.1, 0.4]}
        content["benchmarks"]["four"] = content["benchmarks"]["two"] | {"group": "other"}
        path.write_text(json.dumps(content))
    data = read_run_folder(folder)
    assert domain_groups(data) == (
        {"In-domain": ["one"], "Out-of-domain": ["two", "three", "four"]},
        {"general": ["two", "three"]},
    )
    groups = {group["label"]: group for group in results_table(data, ScoreBook(data))["groups"]}
    assert [row["name"] for row in groups["Groups of the recipe"]["means"]] == ["general, mean of 2"]
    cell = groups["Groups of the recipe"]["means"][0]["arms"]["glow"]["cells"][0]
    rows = json.loads((folder / "glow" / "sft_eval" / "results.json").read_text())["benchmarks"]
    assert cell["value"] == pytest.approx((rows["two"]["pass@1"] + rows["three"]["pass@1"]) / 2)
    halves = [rows[name]["pass@1_ci"][1] - rows[name]["pass@1"] for name in ("two", "three")]
    assert cell["interval"][1] - cell["value"] == pytest.approx(np.hypot(*halves) / 2)
    write_report(folder)


def test_relative_changes_of_the_entropy(tmp_path):
    """Against the ratio of the pooled means, and a bootstrap over questions for the interval."""
    folder = make_run_folder(tmp_path / "run", arms=("glow", "positive", "negative"), steps=4)
    section = entropy_section(data := read_run_folder(folder), ScoreBook(data))
    after_sft = [column for column in section["columns"] if column[1] == "sft"]
    assert after_sft == [("glow", "sft"), ("positive", "sft"), ("negative", "sft")]
    assert section["pairs"][:2] == [
        (("positive", "sft"), ("glow", "sft")),
        (("positive", "sft"), ("negative", "sft")),
    ]
    sums = {}
    for arm in ("positive", "negative"):
        file = folder / arm / "sft_eval" / "entropy_in-domain.jsonl"
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        sums[arm] = np.array([sum(row["entropy"] for row in rows if row["index"] == index) for index in range(40)])
    row = next(row for row in section["rows"] if row["name"] == "in-domain")
    change = row["changes"][1]
    assert change["relative_change"] == pytest.approx(sums["negative"].sum() / sums["positive"].sum() - 1)
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, 40, (4000, 40))
    ratios = sums["negative"][drawn].sum(axis=1) / sums["positive"][drawn].sum(axis=1) - 1
    assert change["ci"] == pytest.approx(np.quantile(ratios, [0.025, 0.975]), abs=0.015)
    assert section["protocols"] == ["temperature 1.0, top-p 1.0, at most 64 new tokens"]
    pooled = section["rows"][-1]
    assert pooled["name"] == "all benchmarks"


def test_a_large_run_has_a_small_page(tmp_path):
    """The data map of 60,000 samples shows some of them, and says so; those that never improve are all counted."""
    folder = tmp_path / "run"
    write_json(folder / "glow" / "sft" / "run.json", {"stage": "sft", "config": {"weighting": "glow"}})
    ledger = folder / "glow" / "sft" / "ledger"
    losses = write_ledger(ledger, np.random.default_rng(0), 0.5, samples=60_000, epochs=4)
    losses[1:, 100:1100] = losses[0, 100:1100] + 0.1
    for epoch, values in enumerate(losses, start=1):
        np.save(ledger / f"epoch-{epoch:03d}.npy", values)
    write_report(folder)
    page = (folder / "report.html").read_text()
    assert len(page) < 1_000_000
    text = " ".join(" ".join(Page(page).text).split())
    never = int((losses[1:, 5:].min(axis=0) >= losses[0, 5:]).sum())
    assert never >= 1000
    assert f"{never:,} of 59,995 samples never improved. Shown: 1,800 of 59,995, drawn at random." in text


def test_patterns_stand_in_the_page_with_both_labels(tmp_path, undrawn):
    folder = make_run_folder(tmp_path / "run", arms=("glow",), steps=4)
    section = pattern_sections(read_run_folder(folder))[0]
    results = json.loads((folder / "annotation" / "results.json").read_text())
    assert section["labels"] == ["positive", "negative"]
    assert sum(len(rows) for rows in section["groups"].values()) == 22
    write_report(folder)
    text = " ".join(" ".join(Page((folder / "report.html").read_text()).text).split())
    for label in ("positive", "negative"):
        for pattern in results["taxonomy"]["patterns"]:
            share = results["counts"][label]["patterns"][pattern["id"]]
            assert pattern["name"] in text and f"{100 * share['share']:.1f}" in text
    assert "Krippendorff’s alpha is" in text and "376 of 400 judgements valid" in text
    assert "no_json: 20, cut_off: 52" not in text or results["unannotated"]
    assert "of glow_trl's own making" in text and "“<b>h”" in text


def test_an_annotation_without_any_valid_judgement_says_so(tmp_path, undrawn):
    folder = make_run_folder(tmp_path / "run", arms=("glow",), steps=4)
    path = folder / "annotation" / "results.json"
    content = json.loads(path.read_text()) | {"annotated": 0, "unannotated": 200, "counts": {}, "differences": None}
    path.write_text(json.dumps(content | {"agreement": None}))
    write_report(folder)
    text = " ".join(Page((folder / "report.html").read_text()).text)
    assert "No judgement of this annotation is valid" in text and "left out (no_json: 20, cut_off: 52)" in text


def test_tables_have_headers_and_charts_have_texts(page):
    for table in re.findall(r"<table>.*?</table>", page, flags=re.DOTALL):
        assert table.count("<thead>") == 1 and 'scope="col"' in table
        assert not re.search(r"<th(?![^>]*scope=)[ >]", table)
    for svg in re.findall(r"<svg (?!class=\"swatch)[^>]*>", page):
        assert 'role="img"' in svg and len(re.search(r'aria-label="([^"]+)"', svg)[1]) > 15
