"""pass@k, majority@k and intervals against closed forms, enumeration and simulation."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glow_trl.evaluation import grouped_mean, majority_at_k, pass_at_k
from glow_trl.statistics.estimates import student_quantile


@pytest.mark.parametrize("n", range(1, 8))
def test_pass_at_k_equals_counting_all_subsets(n):
    for c in range(n + 1):
        for k in range(1, n + 1):
            draws = list(itertools.combinations([True] * c + [False] * (n - c), k))
            assert pass_at_k(n, c, k) == pytest.approx(sum(map(any, draws)) / len(draws), abs=1e-12)


@pytest.mark.parametrize(
    ("n", "c", "k"), [(1000, 1, 1), (1000, 3, 500), (5000, 40, 128), (10_000, 1, 10), (400, 399, 2)]
)
def test_pass_at_k_keeps_its_digits_where_the_binomials_overflow(n, c, k):
    exact = 1 - Fraction(math.comb(n - c, k), math.comb(n, k))
    assert pass_at_k(n, c, k) == pytest.approx(float(exact), rel=1e-12)


def test_pass_at_k_takes_arrays_and_scalars():
    found = pass_at_k(np.array([4, 4, 8]), [0, 1, 8], 2)
    assert isinstance(found, np.ndarray)
    assert found == pytest.approx([0.0, 0.5, 1.0])
    assert isinstance(pass_at_k(4, 1, 2), float)
    assert pass_at_k(10, 3, np.array([1, 5, 10])) == pytest.approx([pass_at_k(10, 3, k) for k in (1, 5, 10)])


@pytest.mark.parametrize(("n", "c", "k"), [(4, 1, 5), (4, 1, 0), (4, 5, 1), (4, -1, 1), (4, 1.5, 1), ([4, 2], 1, 3)])
def test_pass_at_k_rejects_what_has_no_meaning(n, c, k):
    with pytest.raises(ValueError, match="pass_at_k"):
        pass_at_k(n, c, k)


def vote(drawn: tuple) -> float:
    """Accuracy of one vote, ties shared, by the plainest code."""
    votes = [answer for answer, _ in drawn if answer is not None]
    if not votes:
        return 0.0
    most = max(votes.count(answer) for answer in votes)
    winners = {answer for answer in votes if votes.count(answer) == most}
    correct = dict(drawn)
    return sum(correct[answer] for answer in winners) / len(winners)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(["a", "b", "c", "d", None]), min_size=1, max_size=7), st.sets(st.sampled_from("abcd")))
def test_majority_at_k_equals_the_mean_over_all_subsets(answers, right):
    correct = [answer in right for answer in answers]
    for k in range(1, len(answers) + 1):
        draws = list(itertools.combinations(zip(answers, correct, strict=True), k))
        expected = sum(map(vote, draws)) / len(draws)
        assert majority_at_k(answers, correct, k) == pytest.approx(expected, abs=1e-9)


def test_majority_of_all_samples():
    assert majority_at_k(["7", "7", "8"], [True, True, False]) == pytest.approx(1)
    assert majority_at_k(["7", "8"], [True, False]) == pytest.approx(1 / 2)
    assert majority_at_k(["7", "8", "9"], [True, False, False]) == pytest.approx(1 / 3)
    assert majority_at_k([None, None], [False, False]) == 0
    assert majority_at_k([None, "7", None], [False, True, False]) == pytest.approx(1)


def test_majority_of_one_is_accuracy_among_all_samples():
    answers = ["1"] * 5 + ["2"] * 3 + [None] * 2
    assert majority_at_k(answers, [answer == "1" for answer in answers], 1) == pytest.approx(0.5)


def test_equal_answers_win_equally_often_to_the_last_digit():
    """Where counts exceed what a float holds: 32 answers of two samples each, and votes of half of them."""
    answers = [number // 2 for number in range(64)]
    assert majority_at_k(answers, [answer == 0 for answer in answers], 32) == 1 / 32
    assert majority_at_k(answers, [answer < 8 for answer in answers], 32) == 8 / 32


def test_majority_of_many_samples_against_simulation():
    rng = np.random.default_rng(0)
    answers = np.repeat(np.arange(6), [300, 280, 150, 120, 100, 50])
    found = majority_at_k(answers.tolist(), (answers == 0).tolist(), 64)
    wins = []
    for _ in range(4000):
        counts = np.bincount(rng.choice(answers, 64, replace=False), minlength=6)
        wins.append((counts[0] == counts.max()) / (counts == counts.max()).sum())
    assert found == pytest.approx(np.mean(wins), abs=4 * np.std(wins) / len(wins) ** 0.5)


@pytest.mark.parametrize(
    ("answers", "correct", "k"), [(["1"], [True], 2), (["1"], [True], 0), (["1"], [], None), ([], [], None)]
)
def test_majority_at_k_rejects_what_has_no_meaning(answers, correct, k):
    with pytest.raises(ValueError, match="majority_at_k"):
        majority_at_k(answers, correct, k)


def test_student_quantiles_equal_the_tables():
    table = {1: 12.7062, 2: 4.3027, 3: 3.1824, 5: 2.5706, 10: 2.2281, 29: 2.0452, 120: 1.9799, 100_000: 1.9600}
    for degrees, value in table.items():
        assert student_quantile(0.975, degrees) == pytest.approx(value, abs=6e-5)
    assert student_quantile(0.995, 4) == pytest.approx(4.6041, abs=6e-5)


def test_interval_of_independent_values_is_students():
    values = np.array([3.0, 5.0, 4.0, 8.0, 1.0])
    estimate = grouped_mean(values)
    half = 2.776445 * values.std(ddof=1) / 5**0.5
    assert estimate.mean == pytest.approx(4.2)
    assert (estimate.low, estimate.high) == pytest.approx((4.2 - half, 4.2 + half), abs=1e-5)


def test_repeating_every_sample_of_a_question_adds_no_information():
    """The interval is that of the questions, however many copies there are."""
    values = [0.0, 1.0, 1.0, 0.0, 1.0, 1.0]
    once = grouped_mean(values, bounds=(0, 1))
    often = grouped_mean(np.repeat(values, 50), np.repeat(range(6), 50), bounds=(0, 1))
    assert (often.low, often.high, often.n_groups) == pytest.approx((once.low, once.high, 6))


def test_groups_of_different_sizes_are_weighted_by_their_samples():
    """Against the bootstrap over questions."""
    rng = np.random.default_rng(1)
    sizes = rng.integers(1, 9, 80)
    groups = np.repeat(np.arange(80), sizes)
    values = rng.normal(rng.normal(0, 1, 80)[groups], 0.5)
    estimate = grouped_mean(values, groups)
    assert estimate.mean == pytest.approx(values.mean())
    sums, counts = np.bincount(groups, values), np.bincount(groups)
    picks = rng.integers(0, 80, (20_000, 80))
    means = sums[picks].sum(1) / counts[picks].sum(1)
    low, high = np.quantile(means, [0.025, 0.975])
    assert (estimate.low, estimate.high) == pytest.approx((low, high), abs=0.03)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_interval_of_equal_accuracies_is_wilsons_and_not_a_point(value):
    estimate = grouped_mean([value] * 40, bounds=(0, 1))
    z2 = student_quantile(0.975, 39) ** 2
    width = z2 / (40 + z2)
    assert (estimate.low, estimate.high) == pytest.approx((0, width) if value == 0 else (1 - width, 1))


def test_one_question_says_nothing_about_others():
    estimate = grouped_mean([1.0, 0.0], ["a", "a"], bounds=(0, 1))
    assert (estimate.mean, estimate.low, estimate.high) == (0.5, 0.0, 1.0)
    with pytest.raises(ValueError, match="at least one"):
        grouped_mean([])
    with pytest.raises(ValueError, match="groups"):
        grouped_mean([1.0, 2.0], ["a"])


@pytest.mark.parametrize(
    ("questions", "samples", "ability"),
    [(40, 4, (1, 1)), (40, 16, (5, 2)), (100, 1, (1, 1)), (100, 8, (0.5, 0.5)), (300, 4, (0.5, 6)), (500, 16, (8, 1))],
)
def test_intervals_hold_the_truth_as_often_as_they_promise(questions, samples, ability):
    """Benchmarks are simulated: questions differ in difficulty, samples of a question share it."""
    rng = np.random.default_rng([questions, samples])
    truth = ability[0] / sum(ability)
    runs = 3000
    difficulty = rng.beta(*ability, (runs, questions))
    rows = (rng.random((runs, questions, samples)) < difficulty[..., None]).astype(float)
    groups = np.repeat(np.arange(questions), samples)
    held = 0
    for row in rows:
        sums = row.sum(axis=1) / samples  # equal sizes: the mean of questions is the mean of samples
        estimate = grouped_mean(sums, bounds=(0, 1))
        held += estimate.low <= truth <= estimate.high
    assert 0.93 <= held / runs <= 0.97
    whole = grouped_mean(rows[0].ravel(), groups, bounds=(0, 1))
    by_question = grouped_mean(rows[0].mean(axis=1), bounds=(0, 1))
    assert (whole.low, whole.high) == pytest.approx((by_question.low, by_question.high))
