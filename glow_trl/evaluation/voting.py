"""Which answers of a question are the same answer, for majority votes."""

from collections.abc import Sequence
from typing import Any


# Wrong answers are often garbage; two that cannot be compared in this time are different answers
_TIMEOUT = 1.0


def answer_groups(rows: Sequence[dict[str, Any]]) -> list[tuple[int, int] | None]:
    """Give equivalent answers to the same question the same label.

    All correct answers are one answer, since each equals the gold answer. Of the others, equal strings are one answer,
    and a further one joins the first that the verifier of the question's kind finds it equal to.

    Args:
        rows (`Sequence[dict]`):
            Generation rows: `index` (the question's number), `kind`, `choices` if there are any, and `verdict`.

    Returns:
        `list[tuple[int, int] or None]`: a label for each row, `None` where it has no answer.
    """
    labels: list[tuple[int, int] | None] = [None] * len(rows)
    wrong: dict[int, dict[str, list[int]]] = {}
    for position, row in enumerate(rows):
        verdict = row["verdict"]
        if verdict["correct"]:
            labels[position] = (row["index"], 0)
        elif verdict["extracted"] is not None:
            wrong.setdefault(row["index"], {}).setdefault(verdict["extracted"], []).append(position)
    parents = _merge(rows, wrong)
    for index, answers in wrong.items():
        numbers = {answer: number for number, answer in enumerate(answers, start=1)}
        for answer, positions in answers.items():
            root = answer
            while parents[index, root] != root:
                root = parents[index, root]
            for position in positions:
                labels[position] = (index, numbers[root])
    return labels


def _merge(rows: Sequence[dict[str, Any]], wrong: dict[int, dict[str, list[int]]]) -> dict[tuple[int, str], str]:
    """Forest over the distinct wrong answers of each question: an answer's parent is one that equals it."""
    from ..verifiers import verify_batch

    pairs: dict[tuple[str, str, str], list[int]] = {}
    for index, answers in wrong.items():
        distinct = list(answers)
        for position, second in enumerate(distinct):
            for first in distinct[:position]:
                kind = rows[answers[first][0]]["kind"]
                pairs.setdefault((first, second, kind), []).append(index)
    verdicts = verify_batch(
        [rf"\boxed{{{second}}}" for _, second, _ in pairs],
        [first for first, _, _ in pairs],
        [kind for _, _, kind in pairs],
        timeout=_TIMEOUT,
    )
    parents = {(index, answer): answer for index, answers in wrong.items() for answer in answers}
    for (first, second, _), indices, verdict in zip(pairs, pairs.values(), verdicts, strict=True):
        if verdict.correct:
            for index in indices:
                if parents[index, second] == second:
                    parents[index, second] = first
    return parents
