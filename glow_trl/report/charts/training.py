"""Charts of training: losses, gains, weights and the data map of SFT, and the curves of GRPO."""

from typing import Any

import numpy as np

from ...analysis.data_map import DataMap
from ...analysis.weights import RunWeighting, token_table
from ..dynamics import OUTCOMES, weighted_epochs
from ..run_data import ArmData, RunData
from ..svg import COLORS, Chart


# A chart of more points would take more than it shows
_MOST_POINTS = 1500
_MOST_MARKS = 300
_MARKERS_ON_LINE = 5
_DASHES = {"positive": "-", "negative": (0, (5, 2))}
_OUTCOME_LINES = {
    outcome: {"color": COLORS[f"outcome-{outcome}"], "linestyle": _DASHES[outcome], "marker": "o", "markersize": 4}
    for outcome in OUTCOMES
}


def loss_charts(data: RunData) -> list[str]:
    """One chart per arm: mean loss of positives and of negatives in each epoch, and the middle half of each."""
    arms = [arm for arm in data.arms.values() if arm.ledger is not None]
    charts = []
    highest = max((_upper(arm) for arm in arms), default=1.0)
    for arm in arms:
        ledger = arm.ledger
        with Chart(arm.name, f"Loss of positive and negative samples per epoch, arm {arm.name}") as chart:
            axes = chart.axes
            for outcome, code in OUTCOMES.items():
                losses = ledger.losses[:, ledger.is_correct == code]
                visited = ~np.isnan(losses).all(axis=1)
                if not losses.size or not visited.any():
                    continue
                epochs, losses = np.array(ledger.epochs)[visited], losses[visited]
                low, high = np.nanquantile(losses, [0.25, 0.75], axis=1)
                look = _OUTCOME_LINES[outcome] | {"label": f"{outcome} ({losses.shape[1]:,})"}
                axes.fill_between(epochs, low, high, color=look["color"], alpha=0.15, linewidth=0)
                axes.plot(epochs, np.nanmean(losses, axis=1), **look)
            axes.set(ylim=(0, highest * 1.05), xlabel="epoch", ylabel="loss, nats per token")
            axes.set_xticks(_epoch_ticks(ledger.epochs))
            chart.add_legend()
        charts.append(chart.svg)
    return charts


def gain_charts(arm: ArmData) -> list[str]:
    """Histograms of the gains in the first and the last epoch that has any."""
    if arm.ledger is None:
        return []
    return [
        _histogram(
            f"Gain in epoch {epoch}",
            f"Distribution of the gains of epoch {epoch} by outcome, arm {arm.name}",
            "gain, nats per token",
            gains,
            arm.ledger.is_correct,
            zero_line=True,
        )
        for epoch, gains in _first_and_last(arm.ledger.gains())
    ]


def weight_charts(arm: ArmData, weighting: RunWeighting) -> list[str]:
    """Histograms of the samples' weights in the first and the last weighted epoch, by its bounds if it has both."""
    low, high = weighting.bounds
    if weighting.names == ("glow",):
        high = min(high, max(weighting.rule.alpha, low))
    mean = "Mean weight" if arm.ledger is not None and arm.ledger.token_weights else "Weight"
    return [
        _histogram(
            f"{mean} in epoch {epoch}",
            f"Distribution of the samples' weights in epoch {epoch} by outcome, arm {arm.name}",
            "mean weight of the sample's tokens" if epoch in arm.ledger.token_weights else "weight",
            weights,
            arm.ledger.is_correct,
            bounds=None if low is None or high is None or epoch in arm.ledger.token_weights else (low, high),
        )
        for epoch, weights in _first_and_last(weighted_epochs(arm, weighting))
    ]


def token_charts(arm: ArmData, weighting: RunWeighting) -> list[str]:
    """The weights of tokens by their position, in the first and the last epoch: mean and middle half by outcome."""
    if arm.ledger is None:
        return []
    epochs = sorted(arm.ledger.token_weights)
    charts = []
    for epoch in epochs[:1] + epochs[1:][-1:]:
        title = f"Weights of tokens in epoch {epoch}"
        with Chart(title, f"{title} by position and outcome, mean and middle half, arm {arm.name}") as chart:
            axes = chart.axes
            for outcome, rows in token_table(arm.ledger.token_weights[epoch], weighting).items():
                look = _OUTCOME_LINES.get(outcome, {"color": COLORS["muted"], "marker": "o", "markersize": 4})
                places = [10 * row["position"] - 5 for row in rows]
                low, high = ([row[f"weight_{name}"] for row in rows] for name in ("q25", "q75"))
                axes.fill_between(places, low, high, color=look["color"], alpha=0.15, linewidth=0)
                axes.plot(places, [row["weight"] for row in rows], **look, label=outcome)
            axes.set(xlim=(0, 100), xlabel="position in the sample's answer, %", ylabel="weight")
            low, high = axes.get_ylim()
            axes.set_ylim(min(low, 0), 1.05 * max(high, 0))
            chart.add_legend()
        charts.append(chart.svg)
    return charts


def bound_charts(arm: ArmData, rows: list[dict[str, Any]]) -> list[str]:
    """Share of the samples at each bound and dropped, by epoch and label; one that nothing reaches has no chart."""
    charts = []
    titles = {"at_min": "At the lower bound", "at_max": "At the upper bound", "dropped": "Dropped"}
    for key, title in titles.items():
        known = [row[f"{key}_{outcome}"] for row in rows for outcome in OUTCOMES]
        # What is dropped where the lower bound is 0 is at the bound
        if len(rows) < 2 or not any(known) or (key == "dropped" and any(row["at_min_positive"] for row in rows)):
            continue
        with Chart(title, f"Share of samples, {title.lower()}, by epoch, arm {arm.name}") as chart:
            axes = chart.axes
            for outcome in OUTCOMES:
                points = [
                    (row["epoch"], 100 * row[f"{key}_{outcome}"])
                    for row in rows
                    if row[f"{key}_{outcome}"] is not None
                ]
                if points:
                    axes.plot(*zip(*points, strict=True), **_OUTCOME_LINES[outcome], label=outcome)
            axes.set(xlabel="epoch", ylabel="% of samples")
            axes.set_xticks(_epoch_ticks([row["epoch"] for row in rows]))
            axes.set_ylim(bottom=0)
            chart.add_legend()
        charts.append(chart.svg)
    return charts


def map_chart(arm: ArmData, cartography: DataMap) -> dict[str, Any] | None:
    """
    The data map of an arm: mean loss against variability.

    Returns:
        `dict`: the chart's `svg`, the number of points that it has `shown` and that of the `samples`; `None` without
        any sample that was visited twice.
    """
    places = np.flatnonzero(~np.isnan(cartography.variability))
    if not places.size:
        return None
    never = np.flatnonzero(cartography.never_improved)
    rng = np.random.default_rng(0)
    shown_never = rng.choice(never, _MOST_MARKS, replace=False) if never.size > _MOST_MARKS else never
    others = np.setdiff1d(places, never)
    shown = rng.choice(others, _MOST_POINTS, replace=False) if others.size > _MOST_POINTS else others
    title = f"Data map, {arm.name}"
    with Chart(title, f"Mean loss against variability of the samples of arm {arm.name}", (5.2, 3.4)) as chart:
        axes = chart.axes
        for outcome, code in {**OUTCOMES, "unlabelled": -1}.items():
            color = COLORS.get(f"outcome-{outcome}", COLORS["muted"])
            for chosen, marker, size, suffix in ((shown, ".", 22, ""), (shown_never, "x", 26, ", never improved")):
                points = chosen[arm.ledger.is_correct[chosen] == code]
                if points.size:
                    axes.scatter(
                        cartography.variability[points].round(4),
                        cartography.mean_loss[points].round(4),
                        s=size,
                        marker=marker,
                        color=color,
                        alpha=0.9 if suffix else 0.4,
                        linewidths=1.2 if suffix else 0,
                        label=outcome + suffix,
                    )
        axes.set_xlabel("variability (standard deviation over epochs), nats per token")
        axes.set_ylabel("mean loss, nats per token")
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
        axes.legend(loc="upper left", markerscale=1.4)
    return {"svg": chart.svg, "shown": int(shown.size + shown_never.size), "samples": int(places.size)}


def grpo_charts(data: RunData) -> list[str]:
    """Reward, entropy, completion length and share of cut-off completions over the GRPO steps, all arms in one."""
    panels = (
        ("Reward", "mean reward", ("reward",)),
        ("Policy entropy", "nats per token", ("entropy",)),
        ("Completion length", "tokens", ("completions/mean_length",)),
        ("Cut-off completions", "share", ("completions/clipped_ratio",)),
    )
    charts = []
    for title, unit, names in panels:
        series = [
            (arm.style, *arm.stages["grpo"].series(*names)) for arm in data.arms.values() if "grpo" in arm.stages
        ]
        series = [item for item in series if item[1].size]
        if not series:
            continue
        with Chart(title, f"{title} over the steps of GRPO") as chart:
            axes = chart.axes
            for place, (style, steps, values) in enumerate(series):
                color = COLORS[style.color]
                axes.plot(steps, values, color=color, linewidth=0.8, alpha=0.3)
                # Markers of the arms stand at different steps, or they would hide each other
                stride = max(1, steps.size // _MARKERS_ON_LINE)
                marks = {"marker": style.marker, "markersize": 5, "markevery": (place * stride // len(series), stride)}
                axes.plot(steps, _smooth(values), color=color, linestyle=style.linestyle, **marks)
            axes.set(xlabel="step", ylabel=unit, xmargin=0.02)
        charts.append(chart.svg)
    return charts


def _histogram(
    title: str,
    description: str,
    xlabel: str,
    values: np.ndarray,
    is_correct: np.ndarray,
    zero_line: bool = False,
    bounds: tuple[float, float] | None = None,
) -> str:
    known = values[~np.isnan(values)]
    low, high = np.quantile(known, [0.002, 0.998]) if bounds is None else bounds
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, 41)
    with Chart(title, description) as chart:
        axes = chart.axes
        for outcome, code in OUTCOMES.items():
            chosen = values[(is_correct == code) & ~np.isnan(values)]
            if chosen.size:
                clipped = np.clip(chosen, low, high)
                same = {
                    "bins": edges,
                    "weights": np.full(chosen.size, 100 / chosen.size),
                    "color": COLORS[f"outcome-{outcome}"],
                }
                axes.hist(clipped, **same, histtype="stepfilled", alpha=0.18)
                axes.hist(clipped, **same, histtype="step", linewidth=1.5, linestyle=_DASHES[outcome], label=outcome)
        if zero_line:
            axes.axvline(0, color=COLORS["muted"], linewidth=1)
        axes.set(xlabel=xlabel, ylabel="% of samples")
        chart.add_legend()
    return chart.svg


def _first_and_last(epochs: list[tuple[int, np.ndarray]]) -> list[tuple[int, np.ndarray]]:
    with_values = [item for item in epochs if not np.isnan(item[1]).all()]
    return with_values[:1] + with_values[1:][-1:]


def _upper(arm: ArmData) -> float:
    """The highest value that the arm's loss chart shows."""
    ledger = arm.ledger
    highest = []
    for code in OUTCOMES.values():
        losses = ledger.losses[:, ledger.is_correct == code]
        visited = losses[~np.isnan(losses).all(axis=1)] if losses.size else losses
        if visited.size:
            highest += [np.nanquantile(visited, 0.75, axis=1).max(), np.nanmean(visited, axis=1).max()]
    return float(max(highest, default=1.0))


def _epoch_ticks(epochs: list[int]) -> list[int]:
    stride = max(1, -(-len(epochs) // 10))
    return epochs[::stride]


def _smooth(values: np.ndarray) -> np.ndarray:
    """Running mean over a twentieth of the curve, narrower at its ends."""
    half = max(1, values.size // 40)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    left = np.maximum(np.arange(values.size) - half, 0)
    right = np.minimum(np.arange(values.size) + half + 1, values.size)
    return (sums[right] - sums[left]) / (right - left)
