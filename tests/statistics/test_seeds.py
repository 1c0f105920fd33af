"""Intervals and tests over seeds and questions: against the analysis of variance, and against simulated truth."""

import math

import numpy as np
import pytest
from scipy import stats

from glow_trl.statistics.seeds import SeedMean, decide, mean_over_seeds, one_more_run, paired_over_seeds


STUDIES = 400


def part(values, weights=None):
    values = np.asarray(values, dtype=float)
    return values, np.ones_like(values) if weights is None else np.asarray(weights, dtype=float)


def normal_study(rng, seeds=5, questions=200, sigmas=(0.05, 0.4, 0.4), nested=False):
    """Values with a standard deviation of seeds, of questions, and of what is left."""
    by_question = rng.standard_normal((seeds if nested else 1, questions))
    noise = rng.standard_normal((seeds, questions))
    values = sigmas[0] * rng.standard_normal((seeds, 1)) + sigmas[1] * by_question + sigmas[2] * noise
    if not nested:
        return values
    spread = np.full((seeds, seeds * questions), np.nan)
    for seed in range(seeds):
        spread[seed, seed * questions : (seed + 1) * questions] = values[seed]
    return spread


def test_the_variance_is_that_of_the_two_way_analysis_of_variance():
    """Of crossed data, from the mean squares; where seeds share no question, from the seeds' means alone."""
    rng = np.random.default_rng(0)
    values = normal_study(rng, 4, 30)
    seeds, questions = values.shape
    by_seed, by_question, grand = values.mean(1), values.mean(0), values.mean()
    ms_seed = questions * ((by_seed - grand) ** 2).sum() / (seeds - 1)
    ms_question = seeds * ((by_question - grand) ** 2).sum() / (questions - 1)
    rest = values - by_seed[:, None] - by_question + grand
    ms_rest = (rest**2).sum() / ((seeds - 1) * (questions - 1))
    found = mean_over_seeds([part(values)])
    assert found.mean == pytest.approx(grand)
    assert found.variance == pytest.approx((ms_seed + ms_question - ms_rest) / values.size)
    assert found.seed_variance == pytest.approx(ms_seed / values.size)
    # Cochran and Cox: the quantiles of both parts, weighted by them
    parts = ms_seed, ms_question - ms_rest
    quantile = (parts[0] * stats.t.ppf(0.975, 3) + parts[1] * stats.t.ppf(0.975, 29)) / sum(parts)
    half = quantile * math.sqrt(sum(parts) / values.size)
    assert found.interval() == pytest.approx((grand - half, grand + half))

    nested = mean_over_seeds([part(normal_study(rng, 4, 30, nested=True))])
    assert nested.question_variance == 0 and nested.questions == 120


def test_parts_weights_and_questions_that_a_seed_lacks():
    """Every part counts the same, however many its questions; a ratio of sums is a mean by the denominators."""
    rng = np.random.default_rng(1)
    one, two = rng.random((3, 10)), rng.random((3, 40))
    assert mean_over_seeds([part(one), part(two)]).mean == pytest.approx((one.mean() + two.mean()) / 2)
    sums, counts = rng.random((3, 10)), rng.integers(1, 9, (3, 10))
    assert mean_over_seeds([part(sums / counts, counts)]).mean == pytest.approx(
        np.mean(sums.sum(1) / counts.sum(1)), abs=1e-12
    )
    lacking = one.copy()
    lacking[1, :4] = np.nan
    found = mean_over_seeds([part(lacking)])
    assert found.mean == pytest.approx(np.nanmean(lacking, axis=1).mean()) and found.questions == 10
    # Paired: only the questions that both have
    change = paired_over_seeds([part(lacking)], [part(one + 0.25)])
    assert change.mean == pytest.approx(0.25) and change.variance == pytest.approx(0, abs=1e-30)
    with pytest.raises(ValueError, match="for each seed"):
        mean_over_seeds([part(np.full((2, 3), np.nan))])


def test_a_figure_that_is_one_number_a_seed_has_students_interval():
    values = np.array([3.0, 5.0, 4.0, 9.0])
    found = mean_over_seeds([part(values[:, None])])
    expected = stats.t.interval(0.95, 3, values.mean(), stats.sem(values))
    assert found.interval() == pytest.approx(expected)
    assert found.p_value(2.0) == pytest.approx(stats.ttest_1samp(values, 2.0).pvalue)
    alone = mean_over_seeds([part(values[:1, None])])
    assert alone.interval() == (-math.inf, math.inf) and alone.p_value(100) == 1


def test_one_seed_tells_nothing_about_others():
    """Its interval is that of its questions alone, and no claim is decided by it."""
    values = np.random.default_rng(2).random((1, 50))
    found = mean_over_seeds([part(values)])
    assert found.interval() == pytest.approx(stats.t.interval(0.95, 49, values.mean(), stats.sem(values[0])))
    assert decide(found, 1, -10)[2] == "undecided" and decide(found, 1, -10)[0] == 1


def test_where_all_is_right_neither_interval_is_a_point():
    ones = [part(np.ones((5, 200)))]
    low, high = mean_over_seeds(ones, (0, 1)).interval()
    assert 0.97 < low < 1 and high == 1
    change = paired_over_seeds(ones, ones, (0, 1))
    assert change.mean == 0 and change.p_value() == 1
    low, high = change.interval()
    assert -0.03 < low < 0 < high < 0.03


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("sigmas", [(0, 0.4, 0.4), (0.05, 0.4, 0.4), (0.2, 0.2, 0.4)])
def test_intervals_cover_and_the_test_has_its_size(sigmas, nested):
    """Simulated studies of 5 seeds; bench/bench_study_intervals.py has more of them and more settings."""
    rng = np.random.default_rng([7, nested, *(int(100 * sigma) for sigma in sigmas)])
    covered = refused = 0
    for _ in range(STUDIES):
        first, second = (normal_study(rng, 5, 60, sigmas, nested) for _ in range(2))
        low, high = mean_over_seeds([part(first)]).interval()
        covered += low <= 0 <= high
        refused += paired_over_seeds([part(first)], [part(second)]).p_value() < 0.05
    # Three standard errors around 0.93 to 0.975, where the declared values are to lie
    assert 0.89 < covered / STUDIES < 0.995 and 0.002 < refused / STUDIES < 0.11


def test_one_more_run_of_a_figure_without_bounds_has_the_textbooks_interval():
    """Mean, standard deviation and quantile by scipy; and as the regression on nothing but a constant has it."""
    values = np.array([3.0, 5.0, 4.0, 9.0])
    error = values.std(ddof=1) * math.sqrt(1 + 1 / 4)
    assert one_more_run(values) == pytest.approx(stats.t.interval(0.95, 3, values.mean(), error))
    assert one_more_run(values, 0.8) == pytest.approx(stats.t.interval(0.8, 3, values.mean(), error))
    assert one_more_run(values[:1]) == (-math.inf, math.inf) and one_more_run([0.5], bounds=(0, 1)) == (0, 1)
    low, high = mean_over_seeds([part(values[:, None])]).interval()
    assert one_more_run(values)[0] < low and high < one_more_run(values)[1]


def test_one_more_run_of_a_share_stays_within_the_bounds_and_is_never_a_point():
    low, high = one_more_run([0.97, 1.0, 0.99], bounds=(0, 1), questions=200)
    assert 0 < low < 0.97 and high == 1
    low, high = one_more_run([1.0] * 5, bounds=(0, 1), questions=200)
    assert 0.97 < low < 1 and high == 1
    assert one_more_run([2.0, 4.0, 6.0], bounds=(0, 8)) == pytest.approx(
        [8 * end for end in one_more_run([0.25, 0.5, 0.75], bounds=(0, 1))]
    )


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("setting", ["seeds differ", "questions differ", "near the bound"])
def test_one_more_run_is_where_it_is_expected(setting, nested):
    """Of simulated studies of 5 seeds with 4 samples a question; bench/bench_study_intervals.py has more of them."""
    center, by_seed, by_question = {"seeds differ": (0, 0.7, 1), "questions differ": (0.5, 0.1, 2)}.get(
        setting, (3.5, 0.3, 1)
    )
    rng = np.random.default_rng([11, nested, *setting.encode()])
    covered = 0
    for _ in range(STUDIES):
        logits = center + by_question * rng.standard_normal((6 if nested else 1, 60))
        logits = logits + by_seed * rng.standard_normal((6, 1))
        shares = (rng.binomial(4, 1 / (1 + np.exp(-logits))) / 4).mean(axis=1)
        low, high = one_more_run(shares[:5], bounds=(0, 1), questions=60)
        covered += low - 1e-9 <= shares[5] <= high + 1e-9
    # Four standard errors around 0.95
    assert abs(covered / STUDIES - 0.95) < 4 * math.sqrt(0.95 * 0.05 / STUDIES)


def test_intervals_and_p_values_agree():
    """An interval at level 1 - p ends at the value that p is about."""
    found = SeedMean(0.3, 5, 200, 0.004, 0.002, 199)
    for value in (0.0, 0.25, 0.8):
        low, high = found.interval(1 - found.p_value(value))
        assert min(abs(low - value), abs(high - value)) < 1e-6


@pytest.mark.parametrize(
    ("mean", "sign", "margin", "verdict", "is_small"),
    [
        (0.3, 1, 0.0, "held", True),
        (0.3, -1, 0.0, "did not hold", True),
        (-0.3, -1, 0.05, "held", True),
        (0.001, 1, 0.1, "did not hold", True),  # there may be a difference, but none that matters
        (0.001, 1, 0.0, "held", False),  # as the level says, nothing is decided
        (0.3, 1, 0.31, "held", True),
    ],
)
def test_a_claim_is_decided_by_its_direction_and_margin(mean, sign, margin, verdict, is_small):
    level, refuted, found = decide(SeedMean(mean, 5, 200, 1e-4, 1e-4, 199), sign, 0.0, margin)
    assert found == verdict and (level < 0.01) == is_small and level <= refuted
