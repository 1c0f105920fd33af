"""
What `bench_starts.py` has found: which measures predict the outcome of RL. Numbers only, nothing is trained here.

    python bench/starts_evidence.py docs/evidence/starts.json

Rank correlations are over all starts of some seeds. Their 95 % intervals come from resampling whole runs (an arm of a
seed), as the epochs of a run are not independent. `within seeds` is the mean of the correlations among the starts of
each seed.

How the composite is chosen was laid down before any outcome was seen. Seeds are halved in their order: the first half
chooses, the second judges. Candidates are sets of one, two or three measures that have a better side, that all starts
have and in which they differ; what a set says of a start is the mean of its standardized measures. Of each size the
set with the largest Spearman correlation with accuracy in domain is taken, and a larger set only where that gains .02
in the mean over seeds that are left out, judging what the other seeds of the half choose.
"""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import kendalltau, rankdata


OUTCOMES = {"in_domain": "in domain", "out_of_domain": "out of domain", "learning_curve": "learning curve"}
CHOSEN_BY = "in_domain"
BASELINE = "pass@1"
MOST_MEASURES, GAIN = 3, 0.02
RESAMPLES = 2000


class Starts:
    """
    Starts with their measures and what RL made of them.

    Args:
        rows (`list[dict]`): `seed`, `arm`, `step`, `measures` and `outcome` of each start.
        better (`dict[str, str]`): the better side of each measure, `None` for neither.
    """

    def __init__(self, rows: Sequence[Mapping[str, Any]], better: Mapping[str, str | None]):
        self.rows = list(rows)
        self._better = better
        self.seeds = list(dict.fromkeys(row["seed"] for row in rows))

    def of(self, seeds: Iterable[int]) -> "Starts":
        kept = set(seeds)
        return Starts([row for row in self.rows if row["seed"] in kept], self._better)

    @property
    def sided(self) -> list[str]:
        """The measures that have a better side."""
        return [name for name, side in self._better.items() if side is not None]

    @property
    def usable(self) -> list[str]:
        """Those of them that all starts have, and in which they differ."""
        values = {name: [row["measures"].get(name) for row in self.rows] for name in self.sided}
        return [name for name, own in values.items() if None not in own and len(set(own)) > 1]

    def values(self, names: Sequence[str]) -> np.ndarray:
        """By measure and start, more being better."""
        signs = np.array([-1.0 if self._better[name] == "lower" else 1.0 for name in names])
        return signs[:, None] * np.array([[row["measures"][name] for row in self.rows] for name in names], dtype=float)

    def scores(self, names: Sequence[str]) -> np.ndarray:
        """What a set of measures says of each start."""
        return standardized_mean(self.values(names))

    def outcome(self, name: str) -> np.ndarray:
        return np.array([row["outcome"][name] for row in self.rows])

    def resampled(self, seed: int = 0) -> np.ndarray:
        """Positions of the starts of as many runs as there are, drawn with replacement; a resampling a row."""
        runs: dict[Any, list[int]] = {}
        for position, row in enumerate(self.rows):
            runs.setdefault((row["seed"], row["arm"]), []).append(position)
        # All runs have the same number of starts
        positions = np.array(list(runs.values()))
        drawn = np.random.default_rng(seed).integers(len(positions), size=(RESAMPLES, len(positions)))
        return positions[drawn].reshape(RESAMPLES, -1)


def standardized_mean(values: np.ndarray) -> np.ndarray:
    """
    The mean over measures, the first axis, of their values standardized over starts, the last one. A measure in which
    the starts do not differ says nothing.
    """
    spread = values.std(axis=-1, keepdims=True)
    centered = values - values.mean(axis=-1, keepdims=True)
    return np.divide(centered, spread, out=np.zeros_like(centered), where=spread > 0).mean(axis=0)


def spearman(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Spearman's rank correlation along the last axis; not a number where one of the two does not vary."""
    one, other = (rankdata(values, axis=-1) for values in (one, other))
    one, other = (ranks - ranks.mean(axis=-1, keepdims=True) for ranks in (one, other))
    with np.errstate(invalid="ignore"):
        return (one * other).sum(axis=-1) / np.sqrt((one**2).sum(axis=-1) * (other**2).sum(axis=-1))


def best_sets(starts: Starts, names: Sequence[str]) -> list[tuple[str, ...]]:
    """Of each size the set of measures whose rank correlation with the outcome is largest; the first of equal ones."""
    found = starts.outcome(CHOSEN_BY)

    def fit(chosen: tuple[str, ...]) -> float:
        # What is computed in another order differs by a hair
        return round(float(np.nan_to_num(spearman(starts.scores(chosen), found), nan=-1)), 9)

    sizes = range(1, min(MOST_MEASURES, len(names)) + 1)
    return [max(combinations(names, size), key=fit) for size in sizes]


def choose(starts: Starts) -> dict[str, Any]:
    """The set of measures that these starts choose, how it came to that, and what left-out seeds said by size."""
    names = starts.usable
    sets = best_sets(starts, names)
    left_out = []
    for seed in starts.seeds if len(starts.seeds) > 1 else []:
        own, others = starts.of([seed]), starts.of(other for other in starts.seeds if other != seed)
        chosen = best_sets(others, names)
        left_out.append([spearman(own.scores(one), own.outcome(CHOSEN_BY)) for one in chosen])
    means = np.nan_to_num(np.mean(left_out, axis=0) if left_out else np.zeros(len(sets)))
    size = 0
    for larger in range(1, len(sets)):
        if means[larger] >= means[size] + GAIN:
            size = larger
    return {"chosen": list(sets[size]), "best_of_each_size": [list(one) for one in sets], "left_out": means.tolist()}


def judged(starts: Starts, sets: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """The correlations of sets of measures, by a name, with each outcome, and how far each is above pass@1."""
    samples = starts.resampled()
    found: dict[str, Any] = {name: {} for name in sets}
    sizes = {BASELINE: [BASELINE], **sets}
    for name in OUTCOMES:
        own = starts.outcome(name)
        here, drawn = {}, {}
        for key, names in sizes.items():
            values = starts.values(names)
            here[key] = float(spearman(standardized_mean(values), own))
            drawn[key] = spearman(standardized_mean(values[:, samples]), own[samples])
        for key, names in sets.items():
            within = [starts.of([seed]) for seed in starts.seeds]
            found[key][name] = {
                "spearman": here[key],
                "ci": interval(drawn[key]),
                "kendall": float(kendalltau(starts.scores(names), own).statistic),
                "within": float(np.mean([spearman(part.scores(names), part.outcome(name)) for part in within])),
                "above": here[key] - here[BASELINE],
                "above_ci": interval(drawn[key] - drawn[BASELINE]),
            }
    return found


def interval(values: np.ndarray) -> list[float] | None:
    known = values[np.isfinite(values)]
    return [float(end) for end in np.quantile(known, [0.025, 0.975])] if known.size else None


def conclusions(starts: Starts) -> dict[str, Any]:
    """Everything that follows from some starts."""
    names, half = starts.usable, len(starts.seeds) // 2
    chooses, judges = starts.of(starts.seeds[:half]), starts.of(starts.seeds[half:])
    result = {
        "starts": len(starts.rows),
        "runs": len({(row["seed"], row["arm"]) for row in starts.rows}),
        "seeds": {"choose": chooses.seeds, "judge": judges.seeds},
        "outcomes": {name: np.quantile(starts.outcome(name), [0, 0.5, 1]).tolist() for name in OUTCOMES},
        "left_out": [name for name in starts.sided if name not in names],
        "all": judged(starts, {name: [name] for name in names}),
    }
    if half:
        choice = choose(chooses)
        sets = {"composite": choice["chosen"], BASELINE: [BASELINE]}
        result |= {"choice": choice, "judge": judged(judges, sets), "judge_starts": len(judges.rows)}
    return result


def write_results(path: Path, facts: Mapping[str, Any], starts: Starts, better: Mapping[str, Any]) -> None:
    """A start a line, in a file that is small enough to be kept."""
    head = json.dumps({**facts, "better": better}, indent=2)
    lines = ",\n".join(f"    {json.dumps(_rounded(row))}" for row in starts.rows)
    path.write_text(f'{head[:-2]},\n  "starts": [\n{lines}\n  ]\n}}\n', encoding="utf-8")


def read_results(path: Path) -> Starts:
    """What `write_results` wrote."""
    content = json.loads(path.read_text(encoding="utf-8"))
    return Starts(content["starts"], content["better"])


def _rounded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    return round(value, 4) if isinstance(value, float) else value


def tables(found: Mapping[str, Any]) -> str:
    """The correlations as Markdown, as they stand in docs/ready.md."""
    titles = list(OUTCOMES.values())
    parts = [
        f"{title} {low:.2f}, {middle:.2f}, {high:.2f}"
        for title, (low, middle, high) in zip(titles, found["outcomes"].values(), strict=True)
    ]
    lines = [f"{found['starts']} starts of {found['runs']} runs. Smallest, median and largest outcome:"]
    lines += [f"{'; '.join(parts)}.", "", f"| measure | {' | '.join(titles)} | Kendall, in domain | within seeds |"]
    lines.append("|---|" + "---|" * (len(OUTCOMES) + 2))
    for name, entries in sorted(found["all"].items(), key=lambda item: -item[1][CHOSEN_BY]["spearman"]):
        cells = [_figure(entries[outcome], "spearman", "ci") for outcome in OUTCOMES]
        cells += [f"{entries[CHOSEN_BY][key]:.2f}".replace("nan", "–") for key in ("kendall", "within")]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    if "judge" not in found:
        return "\n".join(lines) + "\n"
    seeds = {half: ", ".join(map(str, own)) for half, own in found["seeds"].items()}
    lines += ["", f"Seeds {seeds['choose']} choose, and the {found['judge_starts']} starts of seeds {seeds['judge']}"]
    lines += ["judge:", "", f"| | {' | '.join(titles)} |", "|---|" + "---|" * len(OUTCOMES)]
    chosen = ", ".join(f"`{name}`" for name in found["choice"]["chosen"])
    for key, title in {"composite": f"what was chosen: {chosen}", BASELINE: f"`{BASELINE}`"}.items():
        cells = [_figure(found["judge"][key][outcome], "spearman", "ci") for outcome in OUTCOMES]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    above = [_figure(found["judge"]["composite"][outcome], "above", "above_ci") for outcome in OUTCOMES]
    lines.append(f"| the first above the second | {' | '.join(above)} |")
    return "\n".join(lines) + "\n"


def _figure(entry: Mapping[str, Any], key: str, ends: str) -> str:
    text = f"{entry[key]:.2f}"
    return text if entry[ends] is None else f"{text} ({entry[ends][0]:.2f} to {entry[ends][1]:.2f})"


if __name__ == "__main__":
    print(tables(conclusions(read_results(Path(sys.argv[1])))), end="")
