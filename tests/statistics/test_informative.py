"""The share of groups that teach anything, against enumeration, Beta integrals and an explicit jackknife."""

from itertools import combinations
from math import exp, lgamma, prod

import numpy as np
import pytest

from glow_trl.statistics.informative import fitted_informative_chance, informative_chance, threshold_rate


@pytest.mark.parametrize(("drawn", "group"), [(4, 2), (6, 4), (7, 3), (8, 8)])
def test_the_chance_is_the_share_of_all_groups_that_can_be_made(drawn, group):
    for correct in range(drawn + 1):
        groups = list(combinations([True] * correct + [False] * (drawn - correct), group))
        mixed = sum(any(some) and not all(some) for some in groups) / len(groups)
        found = informative_chance(np.array([drawn]), np.array([correct]), group)
        assert found == pytest.approx([mixed], abs=1e-12)


def test_half_of_the_groups_are_all_wrong_at_the_threshold():
    for group in (2, 8, 16, 64):
        assert (1 - threshold_rate(group)) ** group == pytest.approx(0.5, abs=1e-12)


def of_beta(rates, squares, group):
    """1 - E[p^g] - E[(1-p)^g] of the beta distribution with these moments, by gamma functions."""
    mean, square = sum(rates) / len(rates), sum(squares) / len(squares)
    size = mean * (1 - mean) / (square - mean**2) - 1
    ends = []
    for one in (mean * size, (1 - mean) * size):
        ends.append(exp(lgamma(one + group) - lgamma(one) + lgamma(size) - lgamma(size + group)))
    return 1 - sum(ends)


def test_fewer_samples_than_a_group_are_taken_for_a_beta_distribution():
    rng = np.random.default_rng(3)
    correct = rng.binomial(4, rng.beta(1.0, 2.0, 60))
    rates = [int(c) / 4 for c in correct]
    squares = [prod((int(c), int(c) - 1)) / 12 for c in correct]
    whole = of_beta(rates, squares, 8)
    values = []
    for index in range(60):
        others = [[value for place, value in enumerate(part) if place != index] for part in (rates, squares)]
        values.append(60 * whole - 59 * of_beta(*others, 8))
    assert fitted_informative_chance(np.full(60, 4), correct, 8) == pytest.approx(values, rel=1e-9)


@pytest.mark.parametrize(("correct", "share"), [([0] * 9, 0.0), ([3] * 9, 0.0), ([0, 3] * 9, 0.0)])
def test_questions_that_are_always_or_never_solved_have_no_informative_group(correct, share):
    found = fitted_informative_chance(np.full(len(correct), 3), np.array(correct), 8)
    assert found.mean() == pytest.approx(share, abs=1e-9)


def test_a_rate_that_all_questions_share_needs_no_distribution():
    """Where the rates found vary less than chance alone makes them, they are taken to be one."""
    found = fitted_informative_chance(np.full(40, 4), np.full(40, 2), 8)
    assert found == pytest.approx([1 - 2 / 2**8] * 40)
