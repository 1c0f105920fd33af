"""Lengths of completions in tokens, and the picture of their distribution."""

import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np


_BINS = 40
_COLORS = {"positive": "#2a7f62", "negative": "#b5483a"}


def token_counter(model_name_or_path: str) -> Callable[[Sequence[str]], list[int]]:
    """A function from texts to their numbers of tokens, without special tokens."""
    from ...generation.loading import load_tokenizer

    tokenizer = load_tokenizer(model_name_or_path)

    def count(texts: Sequence[str]) -> list[int]:
        return [len(ids) for ids in tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]]

    return count


def length_statistics(lengths: np.ndarray, positive: np.ndarray, unit: str) -> dict[str, Any]:
    """
    A histogram and quantiles of lengths by label, both of shape `(n,)`. The last of the bins, whose `edges` are given,
    also holds all that is longer; without rows of a label, all but its `counts` are 0.
    """
    longest = int(lengths.max()) if len(lengths) else 1
    # A few very long completions would push all others into one bin
    limit = min(longest, int(np.ceil(1.25 * np.quantile(lengths, 0.99)))) if len(lengths) else 1
    edges = np.unique(np.linspace(0, max(limit, 1), min(_BINS, max(limit, 1)) + 1).round().astype(np.int64))
    statistics: dict[str, Any] = {"unit": unit, "edges": edges.tolist(), "longest": longest}
    for label in ("positive", "negative"):
        mine = lengths[positive == (label == "positive")]
        median, p95 = np.quantile(mine, [0.5, 0.95]) if len(mine) else (0, 0)
        statistics[label] = {
            "counts": np.histogram(np.minimum(mine, edges[-1]), edges)[0].tolist(),
            "mean": round(float(mine.mean()), 2) if len(mine) else 0,
            "min": int(mine.min()) if len(mine) else 0,
            "median": round(float(median), 2),
            "p95": round(float(p95), 2),
            "max": int(mine.max()) if len(mine) else 0,
            "total": int(mine.sum()),
        }
    return statistics


def length_plot(statistics: dict[str, Any]) -> str:
    """The histogram of [`length_statistics`] as an SVG document."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    edges = np.array(statistics["edges"])
    with matplotlib.rc_context({"svg.hashsalt": "glow-trl", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(7, 3.2), layout="constrained")
        axes = figure.add_subplot()
        for label in ("positive", "negative"):
            counts = statistics[label]["counts"]
            axes.stairs(counts, edges, fill=True, alpha=0.45, color=_COLORS[label], label=f"{label} ({sum(counts):,})")
        axes.set_xlabel(f"{statistics['unit']} in the completion")
        axes.set_ylabel("trajectories")
        axes.margins(x=0)
        if statistics["longest"] > edges[-1]:
            axes.set_title(f"the last bin holds all that is longer, up to {statistics['longest']:,}", fontsize=8)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        axes.legend(frameon=False)
        buffer = io.StringIO()
        FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None, "Creator": None})
    return buffer.getvalue()
