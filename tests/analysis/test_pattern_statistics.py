"""Counts, intervals, diversity and agreement against hand-worked values, brute force and simulation."""

import math
from itertools import combinations

import numpy as np
import pytest

from glow_trl.analysis.patterns import load_taxonomy
from glow_trl.analysis.patterns.counts import Annotated, count_patterns, diversity, grouped_difference
from glow_trl.analysis.patterns.truth import compare_with_truth, true_patterns
from glow_trl.errors import UserError
from glow_trl.statistics.agreement import krippendorff_alpha, percent_agreement


def annotated(problem, label, *patterns):
    return Annotated(problem, label, frozenset(patterns))


def test_percent_agreement_is_that_of_pairwise_counting():
    rng = np.random.default_rng(0)
    ratings = (rng.random((40, 4)) < rng.random((40, 1))).tolist()
    agree = [first == second for item in ratings for first, second in combinations(item, 2)]
    assert percent_agreement(ratings) == pytest.approx(np.mean(agree))
    assert percent_agreement([[True], [None, False]]) is None


def test_krippendorffs_alpha_with_missing_values_by_its_coincidences():
    """Against the coincidence matrix of the definition."""
    rng = np.random.default_rng(1)
    ratings = [
        [None if rng.random() < 0.25 else bool(rng.random() < rate) for _ in range(3)] for rate in rng.random(60)
    ]
    matrix = np.zeros((2, 2))
    for item in ratings:
        known = [int(rating) for rating in item if rating is not None]
        for i, first in enumerate(known):
            for j, second in enumerate(known):
                if i != j:
                    matrix[first, second] += 1 / (len(known) - 1)
    n, margins = matrix.sum(), matrix.sum(axis=0)
    observed, expected = matrix[0, 1] + matrix[1, 0], 2 * margins[0] * margins[1] / (n - 1)
    assert krippendorff_alpha(ratings) == pytest.approx(1 - observed / expected)
    assert krippendorff_alpha([[True, None], [False, None]]) is None


def test_counts_by_label_and_differences():
    items = [
        annotated("a", True),
        annotated("a", False, "slip", "stale"),
        annotated("b", True, "slip"),
        annotated("b", False, "slip"),
        annotated("c", False, "guess"),
        annotated("d", None, "guess"),
    ]
    taxonomy = _taxonomy()
    result = count_patterns(items, taxonomy)
    assert {label: row["trajectories"] for label, row in result["counts"].items()} == {
        "all": 6,
        "positive": 2,
        "negative": 3,
    }
    negative = result["counts"]["negative"]
    assert negative["patterns"]["slip"]["count"] == 2 and negative["patterns"]["slip"]["share"] == pytest.approx(2 / 3)
    assert negative["groups"]["Sums"]["count"] == 2 and negative["per_trajectory"] == pytest.approx(4 / 3)
    assert result["counts"]["all"]["with_any"] == pytest.approx(5 / 6)
    low, high = negative["patterns"]["slip"]["share_ci"]
    assert 0 <= low < 2 / 3 < high <= 1
    difference = result["differences"]["slip"]
    assert difference["difference"] == pytest.approx(2 / 3 - 1 / 2)
    assert difference["p_holm"] >= difference["p"]
    assert count_patterns(items[:1], taxonomy)["differences"] is None


def _taxonomy():
    from glow_trl.analysis.patterns import Pattern, Taxonomy

    def pattern(name, group):
        return Pattern(name, name, "d", "e", group)

    return Taxonomy("t", "", (pattern("slip", "Sums"), pattern("stale", "Sums"), pattern("guess", "Other")))


def test_diversity_is_the_exponential_of_shannons_entropy():
    items = [annotated(i, False, *(["a", "b"] if i % 2 else ["c"])) for i in range(40)]
    found = diversity(items)
    assert (found["mentions"], found["distinct"]) == (60, 3)
    assert found["entropy"] == pytest.approx(math.log(3)) and found["effective_patterns"] == pytest.approx(3)
    skewed = diversity([annotated(i, False, "a" if i < 9 else "b") for i in range(10)])
    entropy = -(0.9 * math.log(0.9) + 0.1 * math.log(0.1))
    assert skewed["entropy"] == pytest.approx(entropy)
    assert skewed["effective_patterns_ci"][0] < math.exp(entropy) < skewed["effective_patterns_ci"][1]
    assert diversity([annotated(1, False)])["effective_patterns"] is None


@pytest.mark.slow
def test_intervals_of_differences_and_entropies_cover_the_truth():
    """Clustered samples: each question has a rate of its own, shared by its trajectories of both labels."""
    rng = np.random.default_rng(2)
    questions, each, runs = 60, 4, 1000
    covered = significant = entropy_covered = 0
    shares = np.array([0.5, 0.3, 0.2])
    entropy = -(shares * np.log(shares)).sum()
    groups = np.repeat(np.arange(questions), each)
    second = np.tile([False, False, True, True], questions)
    for _ in range(runs):
        base = np.repeat(rng.beta(2, 3, questions), each)
        values = rng.random(questions * each) < base
        result = grouped_difference(values, second, groups)
        covered += result["difference_ci"][0] <= 0 <= result["difference_ci"][1]
        significant += result["p"] < 0.05
        # Half of the mentions of a question are the same pattern
        favorite = rng.choice(3, questions, p=shares)
        kinds = np.where(
            rng.random((questions, each)) < 0.5, favorite[:, None], rng.choice(3, (questions, each), p=shares)
        )
        items = [annotated(q, False, str(kind)) for q in range(questions) for kind in kinds[q]]
        low, high = diversity(items)["entropy_ci"]
        entropy_covered += low <= entropy <= high
    assert 0.93 <= covered / runs <= 0.97
    assert covered + significant == runs
    assert 0.92 <= entropy_covered / runs <= 0.975


def test_a_paired_difference_uses_the_pairing():
    """Where both labels of a question move together the interval is narrower than for independent questions."""
    rng = np.random.default_rng(3)
    question = rng.random(200)
    first, second = question + 0.01 * rng.random(200), question + 0.05 + 0.01 * rng.random(200)
    values, mask = np.concatenate([first, second]), np.repeat([False, True], 200)
    paired = grouped_difference(values, mask, np.tile(np.arange(200), 2))
    apart = grouped_difference(values, mask, np.arange(400))
    differences = second - first
    error = differences.std(ddof=1) / math.sqrt(200)
    half = (paired["difference_ci"][1] - paired["difference_ci"][0]) / 2
    assert half / error == pytest.approx(1.972, abs=0.01)  # Student's quantile for 199 degrees of freedom
    assert paired["p"] < 1e-10 < 0.05 < apart["p"]


def test_one_question_has_differences_but_no_p_values():
    result = count_patterns([annotated("a", True), annotated("a", False, "slip")], _taxonomy())
    assert result["differences"]["slip"] == {"difference": 1.0, "difference_ci": None, "p": None, "p_holm": None}


def test_the_comparison_with_the_truth():
    taxonomy = _taxonomy()
    found = [frozenset({"slip"}), frozenset({"slip", "guess"}), frozenset()]
    truth = [frozenset({"slip"}), frozenset({"stale"}), frozenset()]
    result = compare_with_truth(found, truth, taxonomy)
    assert result["exact"] == pytest.approx(2 / 3) and result["accuracy"] == pytest.approx(1 - 3 / 9)
    assert (result["precision"], result["recall"]) == (pytest.approx(1 / 3), pytest.approx(1 / 2))
    assert result["patterns"]["stale"]["recall"] == 0 and result["patterns"]["stale"]["precision"] is None
    assert result["macro_f1"] == pytest.approx((2 / 3 + 0) / 2)
    assert true_patterns({"t": "slip"}, "t", taxonomy) == {"slip"}
    assert true_patterns({"t": None}, "t", taxonomy) == frozenset() and true_patterns({}, "t", taxonomy) is None
    with pytest.raises(UserError, match="no pattern 'slp'; did you mean slip"):
        true_patterns({"t": ["slp"], "sample_id": "x:1"}, "t", taxonomy)
    with pytest.raises(UserError, match="x:1"):
        true_patterns({"t": 3, "sample_id": "x:1"}, "t", taxonomy)


def test_the_shipped_taxonomy_can_be_counted():
    taxonomy = load_taxonomy("reasoning")
    items = [annotated(i, i % 2 == 0, *taxonomy.ids[: i % 23]) for i in range(60)]
    result = count_patterns(items, taxonomy)
    assert len(result["differences"]) == 22
    assert result["counts"]["all"]["diversity"]["distinct"] == 22
