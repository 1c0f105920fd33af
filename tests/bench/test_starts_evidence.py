"""What predicts the outcome of RL: the page and what ranks starts follow from the evidence that is kept."""

import random
import sys
from itertools import product

import numpy as np
import pytest
from scipy.stats import spearmanr

from glow_trl.analysis.readiness.ranking import CHOSEN
from helpers.launching import ROOT


sys.path.insert(0, str(ROOT / "bench"))

from starts_evidence import BASELINE, OUTCOMES, Starts, choose, conclusions, read_results, spearman, tables


EVIDENCE = ROOT / "docs" / "evidence" / "starts.json"


@pytest.fixture(scope="module")
def evidence():
    return conclusions(read_results(EVIDENCE))


def test_the_page_says_what_follows_from_the_evidence(evidence):
    assert tables(evidence) in (ROOT / "docs" / "ready.md").read_text(encoding="utf-8")


def test_the_evidence_is_of_24_starts_or_more_and_no_run_is_in_both_halves(evidence):
    assert evidence["starts"] >= 24 and evidence["judge_starts"] >= evidence["starts"] // 2
    assert not set(evidence["seeds"]["choose"]) & set(evidence["seeds"]["judge"])


def test_ready_ranks_by_what_was_chosen(evidence):
    assert evidence["choice"]["chosen"] == [CHOSEN]


def made_up(predictive, seeds=4, noise=0.0, seed=0):
    """Starts whose outcome is the sum of what some measures say."""
    rng = random.Random(seed)
    rows = []
    for number, arm, step in product(range(seeds), "abc", (1, 2)):
        measures = {name: rng.random() for name in ("pass@1", "pass@8", "entropy", "loss_all")} | {"constant": 0.5}
        outcome = sum(-measures[name] if name == "loss_all" else measures[name] for name in predictive)
        outcome = dict.fromkeys(OUTCOMES, outcome + rng.gauss(0, noise))
        rows.append({"seed": number, "arm": arm, "step": step, "measures": measures, "outcome": outcome})
    better = {"pass@1": "higher", "pass@8": "higher", "entropy": "higher", "loss_all": "lower", "constant": "higher"}
    return Starts(rows, better | {"tokens": None})


@pytest.mark.parametrize("predictive", [["pass@8"], ["loss_all"], ["pass@8", "loss_all"]])
def test_the_measures_that_make_the_outcome_are_chosen_and_judged_on_other_seeds(predictive):
    found = conclusions(made_up(predictive, seeds=6))
    assert found["choice"]["chosen"] == predictive and found["left_out"] == ["constant"]
    composite, baseline = found["judge"]["composite"]["in_domain"], found["judge"][BASELINE]["in_domain"]
    assert composite["spearman"] > 0.9 and composite["ci"][1] >= composite["spearman"] >= composite["ci"][0]
    assert composite["above"] == pytest.approx(composite["spearman"] - baseline["spearman"])
    assert composite["above"] > 0.3 and composite["above_ci"][0] > 0


def test_a_larger_set_that_gains_nothing_on_left_out_seeds_is_not_taken():
    noisy = made_up(["pass@1"], seeds=6, noise=0.05)
    found = choose(noisy)
    assert found["chosen"] == ["pass@1"] and len(found["best_of_each_size"]) == 3


def test_the_judges_do_not_choose():
    """Outcomes of the second half that are the other way round change the judgement, and not the choice."""
    before, other = made_up(["pass@8"]), made_up(["pass@8"])
    for row in other.rows:
        if row["seed"] >= 2:
            row["outcome"] = {name: -value for name, value in row["outcome"].items()}
    first, second = conclusions(before), conclusions(other)
    assert first["choice"] == second["choice"]
    assert first["judge"]["composite"]["in_domain"]["spearman"] == pytest.approx(
        -second["judge"]["composite"]["in_domain"]["spearman"]
    )


def test_rank_correlations_are_scipys_and_runs_are_resampled_whole():
    starts = made_up(["pass@8"], noise=0.5)
    values, outcome = starts.scores(["pass@8"]), starts.outcome("in_domain")
    assert spearman(values, outcome) == pytest.approx(spearmanr(values, outcome).statistic)
    tied = np.round(np.stack([values, outcome, values]), 0)
    several = spearman(tied, np.stack([outcome, outcome, values]))
    pairs = zip(tied, [outcome, outcome, values], strict=True)
    assert several == pytest.approx([spearmanr(*pair).statistic for pair in pairs])
    drawn = starts.resampled()
    assert drawn.shape == (2000, 24) and drawn.max() == 23
    runs = [(row["seed"], row["arm"]) for row in starts.rows]
    for one in drawn[:20]:
        counts = np.bincount(one, minlength=24)
        by_run = {run: {counts[i] for i, own in enumerate(runs) if own == run} for run in runs}
        assert all(len(own) == 1 for own in by_run.values())
