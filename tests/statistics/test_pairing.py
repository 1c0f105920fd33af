"""Paired comparisons against enumeration, the binomial distribution and simulation."""

import itertools
import math

import numpy as np
import pytest

from glow_trl.evaluation import Estimate
from glow_trl.statistics.estimates import student_quantile
from glow_trl.statistics.pairing import (
    combined,
    difference_interval,
    holm,
    paired_difference,
    relative_change,
    sign_flip_test,
)


def enumerated(differences) -> float:
    """The p value by counting every assignment of signs."""
    total = abs(sum(differences))
    sums = [abs(sum(signs)) for signs in itertools.product(*((-value, value) for value in differences))]
    return sum(value >= total - 1e-12 for value in sums) / len(sums)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("samples", [1, 3, 4])
def test_the_exact_test_equals_enumeration(seed, samples):
    rng = np.random.default_rng([seed, samples])
    differences = (rng.integers(0, samples + 1, 11) - rng.integers(0, samples + 1, 11)) / samples
    assert sign_flip_test(differences, grain=1 / samples) == pytest.approx(enumerated(differences.tolist()), abs=1e-12)


@pytest.mark.parametrize(("lost", "won"), [(3, 11), (0, 6), (40, 61), (5, 5)])
def test_with_one_sample_it_is_mcnemars_exact_test(lost, won):
    """The signs of the questions on which the runs differ are those of a fair coin."""
    differences = [-1.0] * lost + [1.0] * won + [0.0] * 30
    count = lost + won
    tail = sum(math.comb(count, k) for k in range(max(lost, won), count + 1)) / 2**count
    assert sign_flip_test(differences, grain=1) == pytest.approx(min(1.0, 2 * tail))


def test_the_drawn_test_is_close_to_the_exact_one():
    rng = np.random.default_rng(7)
    differences = (rng.binomial(8, 0.6, 60) - rng.binomial(8, 0.5, 60)) / 8
    exact = sign_flip_test(differences, grain=1 / 8)
    assert 0.0002 < exact < 0.5
    assert sign_flip_test(differences) == pytest.approx(exact, abs=4 * math.sqrt(exact / 20_000) + 1e-4)
    assert sign_flip_test([0.0, 0.0]) == 1


def test_a_large_benchmark_is_tested_exactly_and_agrees_with_the_normal_distribution():
    rng = np.random.default_rng(1)
    differences = rng.choice([-1, 0, 1], 14_000, p=[0.09, 0.81, 0.1]).astype(float)
    z = abs(differences.sum()) / math.sqrt((differences**2).sum())
    assert sign_flip_test(differences, grain=1) == pytest.approx(math.erfc(z / math.sqrt(2)), rel=0.1)


def test_equal_runs_are_seldom_called_different():
    """Of two runs of one model, no more than 5 % come out significant."""
    rng = np.random.default_rng(2)
    rejected = 0
    for _ in range(600):
        ability = rng.beta(1, 1, 80)
        one, two = (rng.binomial(4, ability) / 4 for _ in range(2))
        rejected += paired_difference(one, two, (0, 1), 1 / 4).p_value <= 0.05
    assert 0.02 <= rejected / 600 <= 0.07


@pytest.mark.parametrize(
    ("questions", "samples", "ability", "drop"),
    [(30, 4, (1, 1), 0.1), (100, 1, (2, 1), 0.1), (100, 16, (1, 2), 0.2), (400, 4, (9, 1), 0.0)],
)
def test_intervals_of_differences_hold_the_truth(questions, samples, ability, drop):
    rng = np.random.default_rng([questions, samples])
    runs, held = 1500, 0
    truth = -drop * ability[0] / sum(ability)
    for _ in range(runs):
        before = rng.beta(*ability, questions)
        one = rng.binomial(samples, before) / samples
        two = rng.binomial(samples, before * (1 - drop)) / samples
        low, high = difference_interval(one, two, (0, 1))
        held += low <= truth <= high
    assert 0.93 <= held / runs <= 0.975


def test_unbounded_differences_are_the_paired_t_test():
    rng = np.random.default_rng(3)
    one = rng.normal(100, 20, 25)
    two = one + rng.normal(3, 5, 25)
    change = two - one
    half = student_quantile(0.975, 24) * change.std(ddof=1) / 5
    difference = paired_difference(one, two)
    assert difference.mean == pytest.approx(change.mean())
    assert (difference.low, difference.high) == pytest.approx((change.mean() - half, change.mean() + half))


def test_runs_without_any_difference_still_have_an_interval():
    difference = paired_difference([1.0] * 30, [1.0] * 30, (0, 1), 1)
    assert difference.mean == 0 and difference.p_value == 1
    assert -0.2 < difference.low < -0.05 and 0.05 < difference.high < 0.2


def test_relative_change_of_a_ratio_against_the_bootstrap_over_questions():
    rng = np.random.default_rng(4)
    tokens = [rng.integers(20, 200, 150).astype(float) for _ in range(2)]
    level = rng.gamma(20, 0.05, 150)
    entropy = [level * tokens[0], 1.35 * level * tokens[1] * rng.normal(1, 0.1, 150)]
    change = relative_change((entropy[0], tokens[0]), (entropy[1], tokens[1]))
    expected = (entropy[1].sum() / tokens[1].sum()) / (entropy[0].sum() / tokens[0].sum()) - 1
    assert change.mean == pytest.approx(expected)
    picks = rng.integers(0, 150, (20_000, 150))
    ratios = [entropy[run][picks].sum(1) / tokens[run][picks].sum(1) for run in (0, 1)]
    low, high = np.quantile(ratios[1] / ratios[0] - 1, [0.025, 0.975])
    assert (change.low, change.high) == pytest.approx((low, high), abs=0.01)
    assert relative_change((entropy[0], tokens[0]), (entropy[0], tokens[0])) == Estimate(0.0, 0.0, 0.0, 150)


def test_holms_adjustment_of_known_values():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_the_mean_of_several_benchmarks_has_an_interval_that_holds_the_truth():
    from glow_trl.evaluation import grouped_mean

    rng = np.random.default_rng(5)
    abilities, sizes = [(1, 1), (9, 1), (1, 6)], [60, 200, 40]
    truth = float(np.mean([first / (first + second) for first, second in abilities]))
    held = 0
    for _ in range(1500):
        parts = [
            grouped_mean(rng.binomial(4, rng.beta(*ability, size)) / 4, bounds=(0, 1))
            for ability, size in zip(abilities, sizes, strict=True)
        ]
        whole = combined(parts)
        held += whole.low <= truth <= whole.high
    assert 0.93 <= held / 1500 <= 0.97
    assert combined(parts[:1]) == parts[0]
