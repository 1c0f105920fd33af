"""The reward for a right final answer."""

from collections.abc import Callable, Sequence

from ..data.columns import is_missing
from ..errors import UserError
from ..verifiers import Verdict, verify_batch
from ..verifiers.restated import REJECT
from .completions import completion_text, question_text


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
        log_extra("accuracy/reason", [verdict.reason for verdict in verdicts])
    if log_metric is not None and verdicts:
        for reason in ("timeout", "error", "no_answer", "hedged", "restated", "bad_gold"):
            log_metric(f"accuracy/{reason}", sum(verdict.reason == reason for verdict in verdicts) / len(verdicts))


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
    **kwargs,
) -> list[float | None]:
    r"""
    1.0 for a right final answer, 0.0 for any other, `None` (the sample is skipped) where the gold answer is unusable
    or missing: `None`, or NaN as in the column of a data frame with gaps.

    The row's `kind` chooses the verifier, so that one reward serves a mixed data set. Comparisons that time out or
    break earn 0.0, and their share is logged.

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
            The prompts, as the trainer gives them, or the questions themselves, which are taken where there are both.
            An answer that only restates what was given there earns 0.0.
        restated (`str`, *optional*, defaults to `"reject"`):
            How strict that is: `"accept"`, `"reject"` or `"strict"`, see [`~glow_trl.verifiers.verify`].
        domain, source (`Sequence`, *optional*):
            What each question is about, and where it comes from: names by which the reward is logged too.
        log_extra, log_metric (`Callable`, *optional*):
            Given by the trainer: gold and extracted answers and reasons go into the table of completions, the shares
            of timeouts, errors, missing, hedged and restated answers into the metrics, and `accuracy/domain/NAME` and
            `accuracy/source/NAME`, the mean reward of each domain and source.

    Returns:
        `list[float | None]`: one reward per completion.

    Example:
    ```python
    >>> from glow_trl.rewards import accuracy_reward

    >>> accuracy_reward(["The answer is 42.", r"\boxed{\frac{1}{2}}"], answer=["42", "1/3"])
    [1.0, 0.0]
    ```
    """
    gold = next(
        (values for values in (answer, kwargs.get("solution"), kwargs.get("gold")) if values is not None), None
    )
    if gold is None:
        raise UserError("accuracy_reward needs a column `answer` (or `solution`, or `gold`) in the training data")
    if problem is None and prompts is not None:
        problem = [question_text(prompt) for prompt in prompts]
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
    rewards = [None if verdict.correct is None else float(verdict.correct) for verdict in verdicts]
    if log_metric is not None:
        _log_groups(rewards, kwargs, log_metric)
    return rewards
