"""The reward for a right final answer."""

import logging
from collections import Counter
from collections.abc import Callable, Sequence

from ..data.columns import is_missing
from ..errors import UserError
from ..verifiers import Verdict, verify_batch
from ..verifiers.restated import REJECT
from .completions import completion_text, question_text


logger = logging.getLogger(__name__)

UNJUDGED = {"none": None, "zero": 0.0}
# What is longer is no name, but a reference to one question
_LONGEST_LABEL = 64


def _log_verdicts(
    verdicts: list[Verdict],
    golds: Sequence,
    log_extra: Callable[[str, list], None] | None,
    log_metric: Callable[[str, float], None] | None,
) -> None:
    if log_extra is not None:
        log_extra("accuracy/gold", ["" if is_missing(gold) else str(gold) for gold in golds])
        log_extra("accuracy/extracted", [verdict.extracted or "" for verdict in verdicts])
        log_extra("accuracy/kind", [verdict.kind for verdict in verdicts])
        log_extra("accuracy/reason", [verdict.reason for verdict in verdicts])
    if log_metric is not None and verdicts:
        for reason in ("timeout", "error", "no_answer", "hedged", "restated", "bad_gold"):
            log_metric(f"accuracy/{reason}", sum(verdict.reason == reason for verdict in verdicts) / len(verdicts))


def _reward(verdict: Verdict, unjudged: float | None) -> float | None:
    if verdict.correct is None or verdict.judged:
        return None if verdict.correct is None else float(verdict.correct)
    return unjudged


def _say_what_is_unjudged(verdicts: list[Verdict], unjudged: str) -> None:
    reasons = Counter(verdict.reason for verdict in verdicts if verdict.correct is not None and not verdict.judged)
    if reasons:
        logger.warning(
            "accuracy_reward: %d of %d completions could not be judged (%s): %s (unjudged: %s)",
            reasons.total(),
            len(verdicts),
            ", ".join(f"{reason}: {count}" for reason, count in sorted(reasons.items())),
            "they have no reward" if UNJUDGED[unjudged] is None else f"their reward is {UNJUDGED[unjudged]}",
            unjudged,
        )


def _log_groups(
    rewards: list[float | None], columns: dict[str, Sequence], log_metric: Callable[[str, float], None]
) -> None:
    """The mean reward of each domain and source: reward by reward, so that it is exact over batches and processes."""
    for group in ("domain", "source"):
        for reward, label in zip(rewards, columns.get(group) or (), strict=False):
            if reward is not None and not is_missing(label) and len(str(label)) <= _LONGEST_LABEL:
                log_metric(f"accuracy/{group}/{label}", reward)


def accuracy_reward(
    completions: Sequence,
    answer: Sequence | None = None,
    kind: Sequence[str | None] | str | None = None,
    choices: Sequence | None = None,
    tolerance: Sequence[float | None] | None = None,
    prompts: Sequence | None = None,
    problem: Sequence[str | None] | None = None,
    restated: str = REJECT,
    log_extra: Callable[[str, list], None] | None = None,
    log_metric: Callable[[str, float], None] | None = None,
    unjudged: str = "none",
    **kwargs,
) -> list[float | None]:
    r"""
    1.0 for a right final answer, 0.0 for any other, `None` (the sample is skipped) where the gold answer is unusable
    or missing: `None`, or NaN as in the column of a data frame with gaps.

    The row's `kind` chooses the verifier, so that one reward serves a mixed data set. Completions that could not be
    judged, as the comparison timed out or broke, have no reward either, by default; their share is logged.

    Args:
        completions (`Sequence`):
            Plain strings or conversations.
        answer (`Sequence`):
            Gold answers; a column named `solution`, as in TRL's own reward, or `gold` is taken instead where there is
            no `answer`.
        kind (`Sequence`, *optional*):
            Kind of verifier per row, `"math"` where absent.
        choices, tolerance (`Sequence`, *optional*):
            Options of multiple-choice questions, and tolerances of numbers, per row.
        prompts, problem (`Sequence`, *optional*):
            The prompts, as the trainer gives them, or the questions themselves, which are taken in a row with both.
            An answer that only restates what was given there earns 0.0.
        restated (`str`, *optional*, defaults to `"reject"`):
            How strict that is: `"accept"`, `"reject"` or `"strict"`, see [`~glow_trl.verifiers.verify`].
        domain, source (`Sequence`, *optional*):
            What each question is about, and where it comes from: names by which the reward is logged too.
        log_extra, log_metric (`Callable`, *optional*):
            Given by the trainer: gold and extracted answers, kinds and reasons go into the table of completions, the
            shares of timeouts, errors, missing, hedged and restated answers into the metrics, and
            `accuracy/domain/NAME` and `accuracy/source/NAME`, the mean reward of each domain and source.
        unjudged (`str`, *optional*, defaults to `"none"`):
            What a completion earns that could not be judged: `"none"`, no reward, so that it teaches nothing;
            `"zero"`, 0.0 as a wrong one. Each call says in the log how many there were. In TRL's trainer:
            `functools.partial(accuracy_reward, unjudged="zero")`.

    Returns:
        `list[float | None]`: one reward per completion.

    Example:
    ```python
    >>> from glow_trl.rewards import accuracy_reward

    >>> accuracy_reward(["The answer is 42.", r"\boxed{\frac{1}{2}}"], answer=["42", "1/3"])
    [1.0, 0.0]
    ```
    """
    if unjudged not in UNJUDGED:
        raise UserError(f"accuracy_reward: unjudged is none or zero, not {unjudged!r}")
    gold = next(
        (values for values in (answer, kwargs.get("solution"), kwargs.get("gold")) if values is not None), None
    )
    if gold is None:
        raise UserError("accuracy_reward needs a column `answer` (or `solution`, or `gold`) in the training data")
    if prompts is not None:
        given = [None] * len(prompts) if problem is None else problem
        problem = [
            question_text(prompt) if is_missing(text) or not text else text
            for prompt, text in zip(prompts, given, strict=False)
        ]
    verdicts = verify_batch(
        [completion_text(completion) for completion in completions],
        gold,
        kind,
        choices=choices,
        tolerances=tolerance,
        problems=problem,
        restated=restated,
    )
    _log_verdicts(verdicts, gold, log_extra, log_metric)
    _say_what_is_unjudged(verdicts, unjudged)
    rewards = [_reward(verdict, UNJUDGED[unjudged]) for verdict in verdicts]
    if log_metric is not None:
        _log_groups(rewards, kwargs, log_metric)
    return rewards
