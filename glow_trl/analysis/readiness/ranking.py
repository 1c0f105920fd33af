"""Starts in the order of a measure, how sure the first place is, and what speaks for it. Nothing is read here."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...errors import UserError
from ...stages.yaml_file import nearest
from ...statistics.informative import threshold_rate
from .measures import BUDGET, INFORMATIVE, LENGTH, Measure, Start, measures_of


COMPOSITE = "composite"
# What one half of the starts of docs/evidence/starts.json has chosen, see bench/starts_evidence.py
CHOSEN = "pass@2"
# Resamplings in which a difference has one sign, for it to be called clear
CLEAR = 0.95
_DRAWN_AT_ONCE = 4_000_000


def readiness(
    starts: Sequence[Start],
    base: Start | None = None,
    group_size: int = 8,
    by: str = COMPOSITE,
    budget: float | None = None,
    coverage_k: int | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Any]:
    """
    How ready some starts are for RL, and which is to be preferred.

    What ranks by default is what one half of the starts of a benchmark chose by what RL made of them: pass@2, or where
    there are single samples, pass@1. docs/ready.md has the evidence and its limits. Starts that cannot be handed over
    to stage 2 are measured and not ranked.

    Args:
        starts (`Sequence[Start]`): the starts, on the same questions.
        base (`Start`, *optional*): the base model on these questions.
        group_size (`int`, *optional*, defaults to 8): samples of a group in stage 2.
        by (`str`, *optional*, defaults to `"composite"`): the measure that ranks.
        budget, coverage_k: see [`~glow_trl.analysis.readiness.measures.measures_of`].
        resamples (`int`, *optional*, defaults to 2000): resamplings of the questions for what is said of certainty.
        seed (`int`, *optional*, defaults to 0): their seed.

    Returns:
        `dict`: `questions`, `group_size`, `p_star`, `rank_by` and what [`measures_of`] says of the measures;
        `measures`, by name their `title` and which way is `better`; `starts`, by name the figures with their 95 %
        intervals, `p_star_verdict` (`"above"`, `"below"` or `"open"`: where the interval of pass@1 lies) and what
        there is to say of the hand-over; `ranking`, the names of those that can be handed over, best first; of the
        first of them, the `pick`, the `confidence`: the share of resamplings in which it is the first; and where there
        is a second, the `runner_up`, `evidence`: for each measure the `difference` between the two with its interval,
        the share of resamplings in which the pick is `better`, and whether that speaks `"for"` it, `"against"` it, or
        is `"open"`.

    Raises:
        UserError: there is no such measure.
    """
    measures, facts = measures_of(starts, base, group_size, budget, coverage_k)
    known = {measure.name: measure for measure in measures}
    keys = _keys(by, known)
    p_star = threshold_rate(group_size)
    entries = {start.name: _entry(start, measures, p_star) for start in starts}
    able = [start.name for start in starts if not start.problems]
    ranking = sorted(able, key=lambda name: tuple(_rank(entries[name], key) for key in keys))
    result: dict[str, Any] = {
        "questions": int(starts[0].judged.size),
        "group_size": group_size,
        "p_star": p_star,
        "rank_by": by,
        "rank_keys": [key.name for key in keys],
        **facts,
        "measures": {measure.name: {"title": measure.title, "better": measure.better} for measure in measures},
        "starts": entries,
        "ranking": ranking,
    }
    if ranking:
        drawn = _Resampled(measures, resamples, seed)
        result |= {"pick": ranking[0], "confidence": _confidence(drawn, keys, ranking)}
        if len(ranking) > 1:
            pair = ranking[0], ranking[1]
            found = {measure.name: _evidence(drawn, measure, *pair) for measure in measures}
            result |= {"runner_up": pair[1], "evidence": {name: item for name, item in found.items() if item}}
    return result


def _keys(by: str, known: Mapping[str, Measure]) -> list[Measure]:
    """The measures that rank, the first first."""
    if by == COMPOSITE:
        return [known[name] for name in (CHOSEN, "pass@1") if name in known][:1]
    able = {name for name, measure in known.items() if measure.better is not None}
    if by not in able:
        close = nearest(by, able) or f"; there are {', '.join([COMPOSITE, *sorted(able)])}"
        raise UserError(f"rank_by: these starts have no measure {by!r} to rank by{close}")
    return [known[by]]


def _entry(start: Start, measures: Sequence[Measure], p_star: float) -> dict[str, Any]:
    entry: dict[str, Any] = {}
    for measure in measures:
        estimate = measure.estimate(start.name)
        entry |= {measure.name: None} if estimate is None else estimate.as_entry(measure.name)
    ends = entry.get("pass@1_ci")
    if ends:
        entry["p_star_verdict"] = "above" if ends[0] > p_star else "below" if ends[1] < p_star else "open"
    return entry | {"problems": list(start.problems), "unchecked": list(start.unchecked)}


def _rank(entry: Mapping[str, Any], key: Measure) -> tuple[bool, float]:
    value = entry.get(key.name)
    return (True, 0.0) if value is None else (False, value if key.better == "lower" else -value)


class _Resampled:
    """Measures in resamplings of their units, the same units for all starts; each is computed once."""

    def __init__(self, measures: Sequence[Measure], count: int, seed: int):
        self._count = count
        self._seed = seed
        self._sizes = {measure.units: next(iter(measure.parts.values()))[0].size for measure in measures}
        self._values: dict[str, dict[str, np.ndarray]] = {}
        self._fill(measures)

    def __call__(self, measure: Measure) -> dict[str, np.ndarray]:
        """The measure of each start that has it, in every resampling."""
        return self._values[measure.name]

    def _fill(self, measures: Sequence[Measure]) -> None:
        for units, size in self._sizes.items():
            own = [measure for measure in measures if measure.units == units]
            rng = np.random.default_rng(self._seed)
            parts: dict[str, dict[str, list[np.ndarray]]] = {m.name: {name: [] for name in m.parts} for m in own}
            rows = max(1, _DRAWN_AT_ONCE // size)
            for first in range(0, self._count, rows):
                weights = rng.multinomial(size, np.full(size, 1 / size), min(rows, self._count - first)).astype(float)
                for measure in own:
                    for name in measure.parts:
                        parts[measure.name][name].append(measure.resampled(name, weights))
            self._values |= {
                measure: {name: np.concatenate(values) for name, values in found.items()}
                for measure, found in parts.items()
            }


def _confidence(drawn: _Resampled, keys: Sequence[Measure], ranking: Sequence[str]) -> float | None:
    """Share of resamplings in which the first of the ranking is the first; several first ones share it."""
    if not keys:
        return None
    ahead = level = None
    for name in ranking[1:]:
        before, same = _before(drawn, keys, ranking[0], name)
        ahead = before | same if ahead is None else ahead & (before | same)
        level = same.astype(int) if level is None else level + same
    return 1.0 if ahead is None else float((ahead / (1 + level)).mean())


def _before(drawn: _Resampled, keys: Sequence[Measure], one: str, other: str) -> tuple[np.ndarray, np.ndarray]:
    """In which resamplings one start comes before another, and in which they have the same place."""
    before = same = None
    for key in keys:
        sign = -1.0 if key.better == "lower" else 1.0
        values = drawn(key)
        missing = np.full_like(next(iter(values.values())), -np.inf)
        first, second = (
            np.nan_to_num(sign * values.get(name, missing), nan=-np.inf, posinf=np.inf, neginf=-np.inf)
            for name in (one, other)
        )
        if before is None:
            before, same = first > second, first == second
        else:
            before, same = before | (same & (first > second)), same & (first == second)
    return before, same


def _evidence(drawn: _Resampled, measure: Measure, pick: str, other: str) -> dict[str, Any] | None:
    estimates = [measure.estimate(name) for name in (pick, other)]
    if None in estimates:
        return None
    values = drawn(measure)
    # Where a resampling has nothing to divide by, the measure is not known
    with np.errstate(invalid="ignore"):
        differences = values[pick] - values[other]
    differences = differences[np.isfinite(differences)]
    entry: dict[str, Any] = {"difference": estimates[0].mean - estimates[1].mean, "ci": None}
    if differences.size and min(estimate.n_groups for estimate in estimates) > 1:
        entry["ci"] = [float(end) for end in np.quantile(differences, [0.025, 0.975])]
        if measure.better is not None:
            signed = differences if measure.better == "higher" else -differences
            better = float((signed > 0).mean() + (signed == 0).mean() / 2)
            verdict = "for" if better >= CLEAR else "against" if better <= 1 - CLEAR else "open"
            entry |= {"better": better, "verdict": verdict}
    return entry


def advice(result: Mapping[str, Any], held_out: Mapping[str, Any] | None = None) -> str:
    """One sentence: which start to take, which measures speak for it, and how sure they are."""
    if not result["ranking"]:
        return "No start can be handed over to stage 2."
    if result["confidence"] is None:
        return "Nothing ranks these starts: no question has a sample of each that could be judged."
    pick, entry = result["pick"], result["starts"][result["pick"]]
    titles = {name: measure["title"] for name, measure in result["measures"].items()}
    text = f"Start RL from {pick}"
    if result["rank_by"] != COMPOSITE:
        text += f", the first by {titles[result['rank_by']]}"
    if entry.get(INFORMATIVE) is not None:
        ends = entry[f"{INFORMATIVE}_ci"]
        text += (
            f": {_percent(entry[INFORMATIVE])} %{_ends(ends)} of its groups of {result['group_size']} are expected "
        )
        text += "to be informative"
    if "runner_up" not in result:
        return text + "; there is no other start to compare it with."
    text += f", and it comes first in {_percent(result['confidence'], 0)} % of resamplings of the questions"
    # Of pass@k the first and the last stand for all
    shown = [name for name in result["evidence"] if not name.startswith("pass@") or _stands_for(name, result)]
    shown = [name for name in shown if name != LENGTH]
    words = {"for": "clearly for it", "against": "clearly against it", "open": "undecided"}
    parts = []
    for verdict, said in words.items():
        found = [
            f"{titles[name]} ({_percent(result['evidence'][name]['better'], 0)} %)"
            for name in shown
            if result["evidence"][name].get("verdict") == verdict
        ]
        if found:
            parts.append(f"{said}: {', '.join(found)}")
    if parts:
        text += f"; against the next, {result['runner_up']}, {'; '.join(parts)}"
    if held_out and held_out["ranking"]:
        same = held_out["ranking"][0] == pick
        text += f"; held-out questions {'agree' if same else 'would pick ' + held_out['ranking'][0]}"
    return text + "."


def _stands_for(name: str, result: Mapping[str, Any]) -> bool:
    ks = result["k_values"]
    return name == BUDGET or name in {f"pass@{k}" for k in (*ks[:1], *ks[-1:])}


def _percent(share: float, decimals: int = 1) -> str:
    return f"{100 * share:.{decimals}f}"


def _ends(ends: Sequence[float] | None) -> str:
    return "" if not ends else f" (95 %: {_percent(ends[0])} to {_percent(ends[1])})"
