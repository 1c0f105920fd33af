"""What GRPO made better and worse: every measure against its own computation, and one rule for both directions."""

import json

import numpy as np
import pytest
from rich.console import Console
from test_comparisons import write_evaluation

from glow_trl.report import print_summary, write_report
from glow_trl.report.changes import against_others, arm_changes, chief_changes, counts
from glow_trl.report.run_data import read_run_folder
from glow_trl.report.scores import ScoreBook
from glow_trl.statistics.pairing import difference_interval
from helpers.made_up_run import edit_json, make_mixed_run, make_run_folder, stage_run, write_json, write_rows


STAGES = ("sft", "grpo")


def change_of(folder, arm: str = "mine") -> dict[tuple[str, str], dict]:
    """The changes of an arm by measure and benchmark."""
    data = read_run_folder(folder)
    found = arm_changes(data.arms[arm], list(data.benchmarks), ScoreBook(data))
    return {(item["measure"], item["benchmark"]): item for item in found}


@pytest.fixture
def evaluated(tmp_path):
    """A run of one arm with 40 questions of 4 samples, whose accuracy rises while pass@4 falls; and the verdicts."""
    rng = np.random.default_rng(0)
    verdicts = {"sft": rng.random((40, 4)) < 0.45}
    verdicts["grpo"] = np.repeat(rng.random((40, 1)) < 0.6, 4, axis=1)
    for stage, table in verdicts.items():
        folder = tmp_path / "mine" / f"{stage}_eval"
        write_evaluation(folder, {"set": table.tolist()}, temperature=1.0)
        rows = json.loads((folder / "results.json").read_text())["benchmarks"]
        rows["set"]["pass@4"] = float(table.any(axis=1).mean())
        edit_json(folder / "results.json", benchmarks=rows)
        write_json(tmp_path / "mine" / stage / "run.json", stage_run(stage, 1.0))
    return tmp_path, verdicts


def test_shares_are_compared_on_the_same_questions_with_their_interval(evaluated):
    folder, verdicts = evaluated
    changes = change_of(folder)
    for measure, figure in (("accuracy", np.mean), ("pass@4", np.max)):
        before, after = (figure(verdicts[stage].astype(float), axis=1) for stage in STAGES)
        item = changes[measure, "set"]
        assert (item["before"], item["after"]) == pytest.approx((before.mean(), after.mean()))
        assert item["change"] == pytest.approx((after - before).mean())
        assert item["ci"] == pytest.approx(difference_interval(before, after, (0, 1)))
        assert item["excludes_zero"] == (item["ci"][0] > 0 or item["ci"][1] < 0)
    assert changes["accuracy", "set"]["verdict"] == "better"
    assert changes["pass@4", "set"]["verdict"] == "worse" and changes["pass@4", "set"]["excludes_zero"]


def test_entropy_and_length_are_relative(evaluated):
    folder, _ = evaluated
    rng = np.random.default_rng(1)
    sums, lengths = {}, {}
    for stage, level in (("sft", 1.0), ("grpo", 0.3)):
        path = folder / "mine" / f"{stage}_eval"
        tokens, entropies = rng.integers(5, 20, (40, 4)), level * (0.5 + rng.random((40, 4)))
        rows = [json.loads(line) for line in (path / "generations_set.jsonl").read_text().splitlines()]
        places = [(row["index"], row["sample"]) for row in rows]
        for row, place in zip(rows, places, strict=True):
            row["n_tokens"] = int(tokens[place])
        write_rows(path / "generations_set.jsonl", rows)
        entropy_rows = [
            {"index": place[0], "sample": place[1], "n_tokens": int(tokens[place]), "entropy": float(entropies[place])}
            for place in places
        ]
        write_rows(path / "entropy_set.jsonl", entropy_rows)
        sums[stage] = (tokens * entropies).sum() / tokens.sum()
        lengths[stage] = tokens.mean(axis=1)
    changes = change_of(folder)
    entropy, length = changes["entropy", "set"], changes["response length", "set"]
    assert entropy["change"] == pytest.approx(sums["grpo"] / sums["sft"] - 1)
    assert entropy["verdict"] == "worse" and entropy["excludes_zero"]
    before, after = lengths["sft"], lengths["grpo"]
    assert length["change"] == pytest.approx(after.mean() / before.mean() - 1)
    half = 2.0226909 * (after - before).std(ddof=1) / np.sqrt(40)  # Student's quantile at 39 degrees of freedom
    ends = ((after - before).mean() + np.array([-half, half])) / before.mean()
    assert length["ci"] == pytest.approx(ends) and length["verdict"] == "neither"


def test_swapping_the_stages_swaps_better_and_worse(evaluated):
    """The rule is the same in both directions: nothing but the sign decides on which side a change stands."""
    folder, _ = evaluated
    changes = change_of(folder)
    one, two = (folder / "mine" / f"{stage}_eval" for stage in STAGES)
    one.rename(folder / "aside"), two.rename(one), (folder / "aside").rename(two)
    swapped = change_of(folder)
    opposite = {"better": "worse", "worse": "better", "neither": "neither", "same": "same"}
    assert changes.keys() == swapped.keys() and len(changes) >= 4
    for key, item in changes.items():
        assert swapped[key]["verdict"] == opposite[item["verdict"]]
        assert swapped[key]["excludes_zero"] == item["excludes_zero"]
    figures = counts(list(changes.values()))
    assert counts(list(swapped.values())) == {
        "measures": figures["measures"],
        **{
            f"{a}{end}": figures[f"{b}{end}"]
            for a, b in (("better", "worse"), ("worse", "better"))
            for end in ("", "_clear")
        },
    }


def test_chief_changes_are_one_a_measure_the_certain_ones_first_and_then_the_largest():
    def item(measure, benchmark, change, certain=False, verdict="worse"):
        return {"measure": measure, "benchmark": benchmark, "change": change, "excludes_zero": certain} | {
            "verdict": verdict
        }

    changes = [
        item("entropy", "a", -0.8),
        item("pass@2", "a", -0.01, True),
        item("pass@4", "a", -0.3),
        item("pass@4", "b", -0.02, True),
        item("accuracy", "b", -0.1),
        item("accuracy", "a", 0.5, True, "better"),
    ]
    found = chief_changes(changes, "worse")
    assert [(row["measure"], row["benchmark"], row["others"]) for row in found] == [
        ("pass@4", "b", 1),
        ("entropy", "a", 0),
        ("accuracy", "b", 0),
    ]
    assert [row["benchmark"] for row in chief_changes(changes, "better")] == ["a"]


def test_completions_drawn_in_different_ways_are_not_called_better_or_worse(evaluated):
    folder, _ = evaluated
    edit_json(folder / "mine" / "grpo_eval" / "results.json", sampling={"temperature": 0.2})
    assert change_of(folder) == {}


def test_what_no_evaluation_measured_comes_from_the_log_of_grpo(tmp_path):
    write_json(tmp_path / "mine" / "sft" / "run.json", stage_run("sft", 1.0))
    write_json(tmp_path / "mine" / "grpo" / "run.json", stage_run("grpo", 1.0))
    steps = np.arange(100)
    log = [
        {"step": int(i), "reward": 0.2 + 0.005 * i, "entropy": 2.0 - 0.015 * i, "completions/clipped_ratio": i / 200}
        | {"completions/mean_length": 50.0 + i}
        for i in steps
    ]
    write_rows(tmp_path / "mine" / "grpo" / "log.jsonl", log)
    changes = {key[0]: item for key, item in change_of(tmp_path).items()}
    first, last = steps[:10].mean(), steps[-10:].mean()
    assert changes["entropy"]["change"] == pytest.approx((2 - 0.015 * last) / (2 - 0.015 * first) - 1)
    assert changes["cut off"]["change"] == pytest.approx((last - first) / 200)
    verdicts = {"reward": "better", "entropy": "worse", "cut off": "worse", "response length": "neither"}
    assert {name: item["verdict"] for name, item in changes.items()} == verdicts
    assert not any(item["excludes_zero"] for item in changes.values())


def test_the_first_arm_is_compared_with_each_other_one(tmp_path):
    data = read_run_folder(make_run_folder(tmp_path / "run", arms=("glow", "positive", "negative"), steps=4))
    book = ScoreBook(data)
    rows = against_others(data, book)
    assert [(row["arm"], row["stage"]) for row in rows] == [("positive", "grpo"), ("negative", "grpo")]
    for row in rows:
        pairs = [book.compare(name, ("glow", "grpo"), (row["arm"], "grpo")) for name in data.benchmarks]
        known = [pair for pair in pairs if pair is not None]
        assert row["above"] == sum(pair.high < 0 for pair in known)
        assert row["below"] == sum(pair.low > 0 for pair in known)
        assert row["above"] + row["below"] + row["open"] == len(known) == 2


def test_the_terminal_says_what_got_worse_and_what_is_not_as_it_should_be(tmp_path, undrawn):
    folder = make_mixed_run(tmp_path / "run", steps=4)
    edit_json(folder / "glow" / "grpo" / "run.json", status="collapsed", collapsed="the reward \x1b[31mis gone")
    summary = write_report(folder)
    console = Console(width=80, record=True, file=open("/dev/null", "w"))
    print_summary(summary, console)
    text = console.export_text()
    assert all(len(line) <= 80 for line in text.splitlines()) and "\x1b" not in text
    worse = text[text.index("\nworse") : text.index("\nbetter")]
    assert "entropy, longer <chains> & more" in worse and "−73.7 %" in worse
    assert "pass@4, longer <chains> & more" in worse and "42.0" in worse and "28.0" in worse and "−14.0" in worse
    assert "are better after GRPO and 2 worse" in " ".join(text.split())
    assert "One arm alone compares with nothing" in text
    assert "collapsed: glow / grpo: the reward" in text


def test_the_majority_of_two_is_not_shown(tmp_path):
    folder = make_run_folder(tmp_path / "run", arms=("glow",), steps=4)
    for path in folder.glob("*/*_eval/results.json"):
        rows = json.loads(path.read_text())["benchmarks"]
        kept = {name: {k: v for k, v in row.items() if "@4" not in k and "@8" not in k} for name, row in rows.items()}
        edit_json(path, benchmarks=kept)
    assert all("majority@2" in row for row in kept.values())
    write_report(folder)
    page = (folder / "report.html").read_text()
    assert "majority@2" not in page and "majority@k on" not in page
    assert "pass@2" in page and "pass@k on" in page
