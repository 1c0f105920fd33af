"""The table of seeds in the quickstart's README says what the runs left, and counts what fails."""

import json
import runpy

import pytest

from helpers.documents import ROOT


SETS = ("in_domain", "longer_chains", "all_words")
# After SFT and after GRPO, by set; the run's seed is its place
RUNS = [
    ([50, 20, 30], [95, 10, 31]),  # meets the bar, as longer chains do not count
    ([50, 20, 30], [89, 30, 40]),
    ([81, 20, 30], [90, 30, 40]),
    ([50, 20, 30], [95, 30, 30]),
    ([50, 20, 30], None),  # the guard ended GRPO
]


@pytest.fixture
def runs(tmp_path):
    for seed, stages in enumerate(RUNS):
        folder = tmp_path / str(seed)
        folder.mkdir()
        found = {
            stage: {"benchmarks": {name: {"pass@1": value / 100} for name, value in zip(SETS, values, strict=True)}}
            for stage, values in zip(("sft", "grpo"), stages, strict=True)
            if values is not None
        }
        (folder / "summary.json").write_text(json.dumps({"arms": {"glow": found}}))
        (folder / "run.json").write_text(json.dumps({"seed": seed}))
    return tmp_path


def test_the_table_has_a_row_a_run_and_counts_those_that_meet_the_bar(runs):
    script = runpy.run_path(str(ROOT / "recipes" / "quickstart" / "seeds.py"))
    table = script["table"](script["accuracies"](runs))
    rows = [line.split(" | ") for line in table.splitlines() if line.startswith("| ")]
    assert [row[0] for row in rows] == ["| seed", "| 0", "| 1", "| 2", "| 3", "| 4"]
    assert rows[1][1:] == ["50.0 → 95.0", "20.0 → 10.0", "30.0 → 31.0 |"]
    assert "nan" in rows[5][1] and "In 1 of 5 runs" in table
