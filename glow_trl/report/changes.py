"""What GRPO made better and what it made worse, measure by measure: one rule for both."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..evaluation.metrics import points_by_k
from ..evaluation.paired import accuracies, entropy_change, means_per_sample
from ..statistics.numbers import number, percent
from ..statistics.pairing import difference_interval
from .run_data import STAGES, ArmData, RunData
from .scores import ScoreBook


BETTER, WORSE, NEITHER = "better", "worse", "neither"
# What a rise of a measure means; a length is good or bad only together with what it brings
_RISE = {"no answer": WORSE, "cut off": WORSE, "response length": NEITHER}
_OPPOSITE = {BETTER: WORSE, WORSE: BETTER, NEITHER: NEITHER}
_SUMS = {"no answer": "no_answer", "cut off": "truncated", "response length": "tokens"}
# What GRPO logs of measures that no evaluation has
_LOGGED = {
    "reward": "reward",
    "entropy": "entropy",
    "cut off": "completions/clipped_ratio",
    "response length": "completions/mean_length",
}
_IN_TRAINING = "GRPO’s log"
# Smaller changes round to zero
_SMALLEST = 5e-4


def arm_changes(arm: ArmData, benchmarks: Sequence[str], book: ScoreBook) -> list[dict[str, Any]]:
    """
    Every measure of an arm after GRPO against the same after SFT, on the questions that both evaluations have.

    Returns:
        `list[dict]`: `benchmark` (or that it is GRPO's log), `measure`, `before`, `after`, `change` (of a share the
        difference, of an entropy, a length or a reward the relative change, which `relative` says), its 95 % interval
        `ci` (`None` where it is not known), whether that `excludes_zero`, and the `verdict`: `"better"`,
        `"worse"`, `"neither"`, or `"same"` for less than 0.05 points or percent.
    """
    if not all(stage in arm.stages for stage in STAGES):
        return []
    found = [_change(name, *item) for name in benchmarks for item in _measured(arm, name, book)]
    measured = {item["measure"] for item in found}
    return found + [_change(_IN_TRAINING, *item) for item in _logged(arm, measured)]


def chief_changes(changes: Sequence[dict[str, Any]], verdict: str) -> list[dict[str, Any]]:
    """
    Of each measure (all pass@k are one, and all majority@k) the chief change of one verdict, with the number of
    `others`, the further benchmarks on which the measure has that verdict. Chief are those whose interval excludes
    zero, then the largest; in that order the measures stand.
    """
    chief: dict[str, dict[str, Any]] = {}
    places: dict[str, set[str]] = {}
    for item in changes:
        measure = item["measure"].partition("@")[0]
        if item["verdict"] == verdict:
            places.setdefault(measure, set()).add(item["benchmark"])
            chief[measure] = min(chief.get(measure, item), item, key=_rank)
    found = [item | {"others": len(places[measure]) - 1} for measure, item in chief.items()]
    return sorted(found, key=_rank)


def counts(changes: Sequence[dict[str, Any]]) -> dict[str, int]:
    """How many `measures` there are, how many are `better` and `worse`, and of how many of these (`better_clear`,
    `worse_clear`) the interval excludes zero."""
    found = {"measures": len(changes)}
    for verdict in (BETTER, WORSE):
        chosen = [item for item in changes if item["verdict"] == verdict]
        found |= {verdict: len(chosen), f"{verdict}_clear": sum(item["excludes_zero"] for item in chosen)}
    return found


def level(change: dict[str, Any], value: float) -> str:
    """A figure before or after a change as people read it: shares in percent, others as they are."""
    return number(value, 1 if change["measure"] == "response length" else 3) if change["relative"] else percent(value)


def against_others(data: RunData, book: ScoreBook) -> list[dict[str, Any]]:
    """
    The first arm against each other one after the last stage that both have: `arm`, `stage`, and on how many
    benchmarks the accuracy of the first is `above` or `below` (the 95 % interval excludes zero) or `open`.
    """
    rows = []
    first = data.main_arm
    for name, arm in data.arms.items():
        shared = [stage for stage in STAGES if first is not None and stage in first.stages and stage in arm.stages]
        if first is None or arm is first or not shared:
            continue
        pairs = ((first.name, shared[-1]), (name, shared[-1]))
        compared = [item for benchmark in data.benchmarks if (item := book.compare(benchmark, *pairs)) is not None]
        below, above = sum(item.low > 0 for item in compared), sum(item.high < 0 for item in compared)
        if compared:
            found = {"above": above, "below": below, "open": len(compared) - above - below}
            rows.append({"arm": name, "stage": shared[-1], **found})
    return rows


def _rank(item: dict[str, Any]) -> tuple[bool, float]:
    return not item["excludes_zero"], -abs(item["change"])


def _change(
    benchmark: str, measure: str, before: float, after: float, ci: tuple[float, float] | None, relative: bool
) -> dict[str, Any]:
    """A change of a measure; `ci` is that of the difference, or of the relative change."""
    change = after / before - 1 if relative else after - before
    rise = _RISE.get(measure, BETTER)
    known = ci is not None and all(map(math.isfinite, ci))
    return {
        "benchmark": benchmark,
        "measure": measure,
        "before": before,
        "after": after,
        "change": change,
        "ci": list(map(float, ci)) if known else None,
        "relative": relative,
        "excludes_zero": known and not ci[0] <= 0 <= ci[1],
        "verdict": "same" if abs(change) < _SMALLEST else rise if change > 0 else _OPPOSITE[rise],
    }


def _measured(arm: ArmData, benchmark: str, book: ScoreBook) -> Iterator[tuple]:
    """The measures of a benchmark that both evaluations have, as [`_change`] takes them."""
    before, after = (arm.stages[stage].summary(benchmark) for stage in STAGES)
    columns = [(arm.name, stage) for stage in STAGES]
    if not book.comparable(benchmark, *columns):
        return
    pairs = book.pairs(benchmark, *columns)
    for k in sorted(points_by_k(before).keys() & points_by_k(after).keys()):
        figures = accuracies(pairs, k)
        name = "accuracy" if k == 1 else f"pass@{k}"
        if figures is None:
            yield name, before[f"pass@{k}"], after[f"pass@{k}"], None, False
        else:
            one, two = figures
            yield name, float(one.mean()), float(two.mean()), difference_interval(one, two, (0, 1)), False
    votes = [points_by_k(row, "majority") for row in (before, after)]
    for k in sorted(votes[0].keys() & votes[1].keys() - {1}):
        yield f"majority@{k}", votes[0][k], votes[1][k], None, False
    for measure, name in _SUMS.items():
        relative = measure == "response length"
        if pairs:
            one, two = means_per_sample(pairs, name)
            low, high = difference_interval(one, two, None if relative else (0, 1))
            if not relative:
                yield measure, float(one.mean()), float(two.mean()), (low, high), False
            elif one.mean() > 0:
                ends = (low / one.mean(), high / one.mean())
                yield measure, float(one.mean()), float(two.mean()), ends, True
        else:
            key = "response_length" if relative else name
            if before.get(key) is not None and after.get(key) is not None and (before[key] > 0 or not relative):
                yield measure, before[key], after[key], None, relative
    change = entropy_change(book.entropies(benchmark, *columns)) or {
        "first": before.get("entropy"),
        "second": after.get("entropy"),
        "ci": None,
    }
    if change["first"] and change["second"] is not None:
        yield "entropy", change["first"], change["second"], change.get("ci"), True


def _logged(arm: ArmData, measured: set[str]) -> Iterator[tuple]:
    """First and last tenth of what GRPO logged of measures that no evaluation has; of the reward without any."""
    for measure, name in _LOGGED.items():
        _, values = arm.stages["grpo"].series(name)
        values = values[np.isfinite(values)]
        if measure in measured or (measure == "reward" and measured) or values.size < 2:
            continue
        part = max(1, values.size // 10)
        before, after = float(values[:part].mean()), float(values[-part:].mean())
        relative = measure != "cut off"
        if before > 0 or not relative:
            yield measure, before, after, None, relative
