"""
How often the intervals of a study cover the truth, how often that of one more run holds the figure of a run with
another seed, and how often the paired test finds a difference where none is.

    python bench/bench_study_intervals.py                 # 2,000 studies a setting, some minutes
    python bench/bench_study_intervals.py --studies 500 --seeds 3

A study here is two arms, 5 seeds and 200 questions, 4 samples each. The log-odds of an arm's right answer vary by arm
and seed, by question, by arm and question, and from case to case; the values below are their standard deviations. The
truth is the mean over all seeds and questions.
"""

import argparse

import numpy as np

from glow_trl.statistics.seeds import mean_over_seeds, one_more_run, paired_over_seeds


# Mean log-odds; deviations of seeds, of questions (of both arms), of questions in an arm, of cases
SETTINGS = {
    "seeds alone": (1.0, 0.5, 0.0, 0.0, 0.0),
    "questions alone": (1.0, 0.0, 1.5, 0.5, 0.0),
    "neither": (0.0, 0.0, 0.0, 0.0, 0.0),
    "both, alike": (0.5, 0.15, 1.5, 0.5, 0.3),
    "both, seeds more": (0.5, 0.5, 1.5, 0.5, 0.3),
    "near the bound": (3.5, 0.3, 1.0, 0.5, 0.3),
    "seeds differ much": (-1.0, 1.0, 1.0, 0.5, 0.3),
    "hard, rarely right": (-3.0, 0.4, 1.5, 0.5, 0.5),
}


def draw(rng: np.random.Generator, setting, seeds: int, questions: int, samples: int, nested: bool):
    """The shares of right answers of two arms without a difference, seeds x questions each."""
    center, by_seed, by_question, by_arm, by_case = setting
    rows = seeds if nested else 1
    common = by_question * rng.standard_normal((rows, questions))
    arms = []
    for _ in range(2):
        logits = center + common + by_seed * rng.standard_normal((seeds, 1))
        logits = logits + by_arm * rng.standard_normal((rows, questions))
        logits = logits + by_case * rng.standard_normal((seeds, questions))
        shares = rng.binomial(samples, 1 / (1 + np.exp(-logits))) / samples
        if nested:
            spread = np.full((seeds, seeds * questions), np.nan)
            for seed in range(seeds):
                spread[seed, seed * questions : (seed + 1) * questions] = shares[seed]
            shares = spread
        arms.append((shares, np.ones_like(shares)))
    return arms


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=2000)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--questions", type=int, default=200)
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--nested", action="store_true", help="each seed asks questions of its own")
    parser.add_argument("--random", type=int, default=0, help="seed of the simulation")
    args = parser.parse_args()
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    titles = f"{'setting':22}{'truth':>8}{'mean covered':>14}{'difference covered':>20}"
    print(f"{titles}{'size of the test':>18}{'one more run':>14}")
    for number, (name, setting) in enumerate(SETTINGS.items()):
        rng, more = (np.random.default_rng([args.random, number, *own]) for own in ((), (1,)))
        deviation = np.sqrt(np.square(setting[1:]).sum())
        truth = float(weights @ (1 / (1 + np.exp(-setting[0] - deviation * nodes)))) / weights.sum()
        counts = np.zeros(4)
        for _ in range(args.studies):
            arms = draw(rng, setting, args.seeds, args.questions, args.samples, args.nested)
            low, high = mean_over_seeds(arms[:1], (0, 1)).interval()
            change = paired_over_seeds(arms[:1], arms[1:], (0, 1))
            least, most = change.interval()
            counts[:3] += [low <= truth <= high, least <= 0 <= most, change.p_value() < 0.05]
            shares = draw(more, setting, args.seeds + 1, args.questions, args.samples, args.nested)[0][0]
            *others, another = np.nanmean(shares, axis=1)
            first, last = one_more_run(others, bounds=(0, 1), questions=args.questions)
            counts[3] += first - 1e-9 <= another <= last + 1e-9
        shares = counts / args.studies
        cells = f"{shares[0]:14.3f}{shares[1]:20.3f}{shares[2]:18.3f}{shares[3]:14.3f}"
        print(f"{name:22}{truth:8.3f}{cells}", flush=True)


if __name__ == "__main__":
    main()
