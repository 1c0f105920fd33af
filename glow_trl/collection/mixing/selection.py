"""Which rows are kept: filters one after another, each with what it removed."""

from dataclasses import dataclass, field

import numpy as np

from .config import MixConfig
from .facts import Facts
from .text import digest, mixed


DROPPED, TRAIN, VALIDATION = 0, 1, 2


@dataclass
class Selection:
    """
    Which of `n` rows are kept.

    Attributes:
        kept (`np.ndarray` of shape `(n,)`, bool): those that no filter removed so far.
        waterfall (`list[tuple[str, int]]`): filter and number of rows that it removed, in order.
        duplicates (`dict[int, tuple[int, float]]`): removed row to the row that it repeats, and their similarity.
    """

    kept: np.ndarray
    waterfall: list[tuple[str, int]] = field(default_factory=list)
    duplicates: dict[int, tuple[int, float]] = field(default_factory=dict)

    def remove(self, name: str, which: np.ndarray) -> None:
        """Remove rows. `which` is a mask of shape `(n,)`; rows that are gone already do not count."""
        self.waterfall.append((name, int((self.kept & which).sum())))
        self.kept &= ~which


def select(facts: Facts, config: MixConfig) -> Selection:
    """
    Apply the filters of a configuration.

    Every random choice is the order of the rows' [`~Facts.completion`] digests scattered by the seed: it depends
    neither on the order of the files nor on the rows that other filters removed.
    """
    selection = Selection(np.ones(len(facts), dtype=bool))
    priority = mixed(facts.completion, config.seed)
    selection.remove("labels that contradict each other", _contradicting(facts))
    if config.decontaminate:
        selection.remove("benchmark contamination", facts.contaminated()[facts.question])
    if config.near_duplicate_threshold is not None:
        _remove_duplicates(selection, facts, priority, config.near_duplicate_threshold)
    if config.truncated == "drop":
        selection.remove("truncated completion", facts.truncated)
    if config.min_tokens is not None:
        selection.remove(f"shorter than {config.min_tokens:,} tokens", facts.tokens < config.min_tokens)
    if config.max_tokens is not None:
        selection.remove(f"longer than {config.max_tokens:,} tokens", facts.tokens > config.max_tokens)
    count, positive = facts.pass_rates()
    remove_outside(selection, (positive / np.maximum(count, 1))[facts.question], config)
    _mix(selection, facts, priority, config)
    return selection


def remove_outside(selection: Selection, rate: np.ndarray, config: MixConfig) -> None:
    """Remove what has a pass rate outside of the configuration's bounds."""
    if config.min_pass_rate is not None:
        selection.remove(f"pass rate below {config.min_pass_rate:g}", rate < config.min_pass_rate)
    if config.max_pass_rate is not None:
        selection.remove(f"pass rate above {config.max_pass_rate:g}", rate > config.max_pass_rate)


def split(facts: Facts, kept: np.ndarray, share: float, seed: int) -> np.ndarray:
    """
    Put kept rows on the side of training or of validation, whole questions at a time. The side of a question follows
    from its text and the seed alone, so that it stays where it is when rows are added.

    From a mask of shape `(n,)` comes an array of that shape, int8: `TRAIN`, `VALIDATION` or `DROPPED`.
    """
    validation = validation_questions(facts, share, seed)[facts.question]
    return np.where(kept, np.where(validation, VALIDATION, TRAIN), DROPPED).astype(np.int8)


def validation_questions(facts: Facts, share: float, seed: int) -> np.ndarray:
    """Which questions are on the side of validation, shape `(q,)`; those that differ only in options are together."""
    return mixed(facts.problem, digest("validation", seed)) / 2.0**64 < share


def _contradicting(facts: Facts) -> np.ndarray:
    """Rows whose completion has another label somewhere else."""
    order = np.argsort(facts.completion, kind="stable")
    same = np.cumsum(np.r_[False, np.diff(facts.completion[order]) != 0])
    count = np.bincount(same)
    positive = np.bincount(same, weights=facts.positive[order])
    mask = np.empty(len(facts), dtype=bool)
    mask[order] = ((positive > 0) & (positive < count))[same]
    return mask


def _remove_duplicates(selection: Selection, facts: Facts, priority: np.ndarray, threshold: float) -> None:
    rows = np.flatnonzero(selection.kept)
    # Of the same completions the one whose id comes first, whatever the order of the files
    ids = np.array([digest(facts.sample_ids[row]) for row in rows], dtype=np.uint64)
    order = rows[np.lexsort((ids, facts.completion[rows]))]
    repeats = np.r_[False, np.diff(facts.completion[order]) == 0] if len(order) else np.empty(0, dtype=bool)
    first = order[np.maximum.accumulate(np.where(repeats, 0, np.arange(len(order))))]
    removed = np.zeros(len(facts), dtype=bool)
    for row, original in zip(order[repeats], first[repeats], strict=True):
        selection.duplicates[int(row)] = (int(original), 1.0)
        removed[row] = True
    selection.remove("repeats a completion of the same question", removed)
    if threshold == 1:
        return
    removed = np.zeros(len(facts), dtype=bool)
    group = facts.question * 2 + facts.positive
    for row, original, similarity in facts.sketches.duplicates(group, priority, selection.kept, threshold):
        selection.duplicates[row] = (original, similarity)
        removed[row] = True
    selection.remove(f"nearly repeats one (similarity {threshold:g} or more)", removed)


def _mix(selection: Selection, facts: Facts, priority: np.ndarray, config: MixConfig) -> None:
    if config.mixture == "positive":
        selection.remove("negative", ~facts.positive)
    if config.mixture == "negative":
        selection.remove("positive", facts.positive)
    balanced = config.mixture == "balanced"
    caps = {True: config.max_positive_per_question, False: config.max_negative_per_question}
    if balanced and config.max_per_question is not None:
        half = config.max_per_question // 2
        caps = {label: half if cap is None else min(cap, half) for label, cap in caps.items()}
    for label, name in ((True, "positive"), (False, "negative")):
        if caps[label] is not None:
            mine = selection.kept & (facts.positive == label)
            over = _over(mine, facts.question, priority, caps[label])
            selection.remove(f"more than {caps[label]} {name} for the question", over)
    if config.max_per_question is not None and not balanced:
        over = _over(selection.kept, facts.question, priority, config.max_per_question)
        selection.remove(f"more than {config.max_per_question} for the question", over)
    if balanced:
        group = facts.question
        if config.balance == "overall":
            # Either side of the split is balanced
            group = validation_questions(facts, config.validation_split, config.seed)[facts.question].astype(np.int64)
        selection.remove(f"balance ({config.balance})", _surplus(selection.kept, facts.positive, group, priority))


def _over(kept: np.ndarray, group: np.ndarray, priority: np.ndarray, cap: int | np.ndarray) -> np.ndarray:
    """The kept rows beyond the first `cap` of their group, as a mask; `cap` is one for all, or one for each group."""
    rows = np.flatnonzero(kept)
    rows = rows[np.lexsort((priority[rows], group[rows]))]
    mask = np.zeros(len(kept), dtype=bool)
    if len(rows):
        starts = np.flatnonzero(np.r_[True, np.diff(group[rows]) != 0])
        rank = np.arange(len(rows)) - np.repeat(starts, np.diff(np.r_[starts, len(rows)]))
        mask[rows] = rank >= (cap if np.isscalar(cap) else cap[group[rows]])
    return mask


def _surplus(kept: np.ndarray, positive: np.ndarray, group: np.ndarray, priority: np.ndarray) -> np.ndarray:
    """The kept rows of a label beyond the number of the other label in their group."""
    size = int(group.max()) + 1 if len(group) else 0
    counts = [np.bincount(group[kept & (positive == label)], minlength=size) for label in (False, True)]
    fewest = np.minimum(*counts)
    mask = np.zeros(len(kept), dtype=bool)
    for label in (False, True):
        mask |= _over(kept & (positive == label), group, priority, fewest)
    return mask
