"""The reward for giving the final answer in the form that was asked for."""

from collections.abc import Callable, Sequence

from ..verifiers.extraction.boxes import final_part, last_boxes
from .completions import completion_text


def _well_formed(completion: str) -> bool:
    text, _ = final_part(completion)
    boxes = last_boxes(text)
    return len({box.content for box in boxes}) == 1 and bool(boxes[-1].content)


def answer_format_reward(
    completions: Sequence, log_metric: Callable[[str, float], None] | None = None, **kwargs
) -> list[float]:
    r"""
    1.0 if the completion, after its thinking, gives exactly one final answer in a closed, non-empty `\boxed{}`.

    TRL's `think_format_reward` looks at the tags of the thinking part; this one at the answer.

    Args:
        completions (`Sequence`):
            Plain strings or conversations.
        log_metric (`Callable`, *optional*):
            Given by the trainer; takes the share of well-formed answers.

    Returns:
        `list[float]`: one reward per completion.

    Example:
    ```python
    >>> from glow_trl.rewards import answer_format_reward

    >>> answer_format_reward([r"So the answer is \boxed{5}.", "So the answer is 5."])
    [1.0, 0.0]
    ```
    """
    rewards = [float(_well_formed(completion_text(completion))) for completion in completions]
    if log_metric is not None and rewards:
        log_metric("answer_format/boxed", sum(rewards) / len(rewards))
    return rewards
