"""The same judgement for other trainers: a plain grade, verl's `compute_score`, a function for `verifiers` rubrics.

Importing this loads neither torch nor TRL. The other trainers have no way to skip a sample: what could not be judged
(an unusable gold answer, a comparison that ran out of time) earns 0.0.
"""

from collections.abc import Mapping
from typing import Any

from ..data.columns import is_missing
from ..verifiers import Verdict, verify
from ..verifiers.restated import REJECT
from .completions import completion_text, question_text


_QUESTION = ("problem", "question")
_PARTS = ("role", "content", "reasoning_content")


def grade(
    prediction: str,
    gold: object,
    kind: str = "math",
    problem: str | None = None,
    restated: str = REJECT,
    **options: Any,
) -> bool | None:
    r"""
    Whether the final answer of a completion is right; `None` where the gold answer is unusable.

    Args:
        prediction (`str`): the whole completion, or an answer.
        gold (`str` or number): the gold answer.
        kind, problem, restated, **options: as of [`~glow_trl.verifiers.verify`].

    Example:
    ```python
    >>> from glow_trl.rewards.adapters import grade

    >>> grade(r"So it is \boxed{\frac{1}{2}}.", "0.5")
    True
    ```
    """
    return verify(prediction, gold, kind, problem=problem, restated=restated, **options).correct


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: object,
    extra_info: Mapping[str, Any] | None = None,
    kind: str | None = None,
    restated: str = REJECT,
    **kwargs: Any,
) -> float:
    """
    verl's reward function: 1.0 for a right final answer, 0.0 for any other.

    Args:
        data_source (`str`): where the question comes from; not used.
        solution_str (`str`): the completion.
        ground_truth (`str` or number): the gold answer.
        extra_info (`dict`, *optional*): the row's `kind`, `choices`, `tolerance`, and its `problem` or `question`.
        kind (`str`, *optional*): kind of the rows that have none, `"math"` by default.
        restated (`str`, *optional*, defaults to `"reject"`): how strict copies of the question are judged.
    """
    return _score(solution_str, ground_truth, extra_info or {}, kind, restated)


def correct_answer(
    completion: Any,
    answer: object,
    prompt: Any = None,
    info: Mapping[str, Any] | None = None,
    kind: str | None = None,
    restated: str = REJECT,
    **kwargs: Any,
) -> float:
    """
    A reward function for a rubric of `verifiers`: 1.0 for a right final answer, 0.0 for any other.

    Args:
        completion (`str` or messages): what the model wrote.
        answer (`str` or number): the gold answer.
        prompt (`str` or messages, *optional*): what it was asked.
        info (`dict`, *optional*): the row's `kind`, `choices` and `tolerance`, and the `problem` or `question` if it
            is not the prompt.
        kind (`str`, *optional*): kind of the rows that have none, `"math"` by default.
        restated (`str`, *optional*, defaults to `"reject"`): how strict copies of the question are judged.
    """
    row = dict(info) if isinstance(info, Mapping) else {}
    if _problem(row) is None:
        row["problem"] = question_text(_plain(prompt))
    return _score(completion_text(_plain(completion)), answer, row, kind, restated)


def _score(completion: str, gold: object, row: Mapping[str, Any], kind: str | None, restated: str) -> float:
    named = row.get("kind")
    verdict: Verdict = verify(
        completion,
        gold,
        kind or "math" if is_missing(named) or not named else named,
        choices=row.get("choices"),
        tolerance=row.get("tolerance"),
        problem=_problem(row),
        restated=restated,
    )
    return float(verdict.correct is True)


def _problem(row: Mapping[str, Any]) -> str | None:
    return next((row[name] for name in _QUESTION if isinstance(row.get(name), str) and row[name]), None)


def _plain(messages: Any) -> Any:
    """Messages as mappings: those of `verifiers` may be models with attributes."""
    if messages is None or isinstance(messages, str):
        return messages
    return [
        message if isinstance(message, Mapping) else {name: getattr(message, name, None) for name in _PARTS}
        for message in messages
    ]
