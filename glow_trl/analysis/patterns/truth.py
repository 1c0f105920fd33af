"""Comparison of annotations with the true patterns, where the data know them."""

from collections.abc import Mapping, Sequence
from typing import Any

from ...errors import UserError
from ...stages.config import nearest
from .taxonomy import Taxonomy


def true_patterns(row: Mapping[str, Any], column: str, taxonomy: Taxonomy) -> frozenset[str] | None:
    """The true patterns of a row: a list of ids, one id, or null for none; `None` if the row lacks the column."""
    if column not in row:
        return None
    value = row[column]
    ids = [] if value is None else [value] if isinstance(value, str) else value
    if not isinstance(ids, list) or not all(isinstance(item, str) for item in ids):
        raise UserError(
            f"truth_column: {row.get('sample_id')}: {column!r} must be a list of pattern ids, found {value!r}"
        )
    for item in ids:
        if item not in taxonomy.ids:
            raise UserError(
                f"truth_column: {row.get('sample_id')}: the taxonomy {taxonomy.name!r} has no pattern {item!r}"
                f"{nearest(item, set(taxonomy.ids))}"
            )
    return frozenset(ids)


def compare_with_truth(
    found: Sequence[frozenset[str]], truth: Sequence[frozenset[str]], taxonomy: Taxonomy
) -> dict[str, Any]:
    """
    Compare what was found with what is there: `exact` is the share of trajectories whose patterns are all and only the
    true ones, `accuracy` the share of right decisions over trajectories and patterns, `macro_f1` the mean over the
    patterns that occur. `None` where nothing is to be divided by.
    """
    rows = {
        pattern: _scores([pattern in item for item in found], [pattern in item for item in truth])
        for pattern in taxonomy.ids
    }
    names = ("true_positives", "false_positives", "false_negatives")
    totals = {name: sum(row[name] for row in rows.values()) for name in names}
    decisions = len(found) * len(rows)
    occurring = [row["f1"] or 0.0 for row in rows.values() if row["true_positives"] + row["false_negatives"]]
    return {
        "trajectories": len(found),
        "exact": sum(a == b for a, b in zip(found, truth, strict=True)) / len(found) if found else None,
        "accuracy": 1 - (totals["false_positives"] + totals["false_negatives"]) / decisions if decisions else None,
        **_ratios(totals),
        "macro_f1": sum(occurring) / len(occurring) if occurring else None,
        "patterns": rows,
    }


def _scores(found: Sequence[bool], truth: Sequence[bool]) -> dict[str, Any]:
    pairs = list(zip(found, truth, strict=True))
    counts = {
        "true_positives": pairs.count((True, True)),
        "false_positives": pairs.count((True, False)),
        "false_negatives": pairs.count((False, True)),
    }
    return counts | _ratios(counts)


def _ratios(counts: Mapping[str, int]) -> dict[str, float | None]:
    right, extra, missed = (counts[name] for name in ("true_positives", "false_positives", "false_negatives"))
    return {
        "precision": right / (right + extra) if right + extra else None,
        "recall": right / (right + missed) if right + missed else None,
        "f1": 2 * right / (2 * right + extra + missed) if right + extra + missed else None,
    }
