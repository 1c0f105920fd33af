"""The log-probability of each token under the teacher, which is a program whose chances are known exactly."""

import functools
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ..data.log_probs import row_columns
from .judge import read_chain
from .task import ALPHABET, Question, Step
from .teacher import Teacher


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_LINES = re.compile(r".+?; |.+$")


def with_log_probs(
    rows: Iterable[Mapping[str, Any]], teacher: Teacher, tokenizer: "PreTrainedTokenizerBase"
) -> Iterator[dict[str, Any]]:
    """
    The teacher's trajectories with the columns `log_probs` and `completion_ids`, see [`~glow_trl.data.log_probs`]: of
    a token, the chance that the teacher goes on with it and not otherwise after those before it.

    Args:
        rows (`Iterable[dict]`): with `problem` and `completion`.
        teacher ([`Teacher`]): who wrote them.
        tokenizer (`PreTrainedTokenizerBase`): one that makes the same tokens of a line alone and within a solution.
    """

    @functools.cache
    def tokens(text: str) -> list[int]:
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    for row in rows:
        first, value, links, asked = read_chain(row["problem"])
        steps = tuple(Step(*links[letter]) for letter in sorted(links))
        question = Question(ALPHABET.index(first), value, steps, ALPHABET.index(asked) - ALPHABET.index(first))
        ids: list[int] = []
        log_probs: list[float] = []
        lines = _LINES.findall(row["completion"])
        for line, alternatives in zip(lines, teacher.alternatives(question, lines), strict=True):
            chances = [(tokens(text), chance) for text, chance in alternatives.items()]
            before = 1.0
            for place, token in enumerate(tokens(line)):
                chances = [(its, chance) for its, chance in chances if its[place : place + 1] == [token]]
                now = sum(chance for _, chance in chances)
                log_probs.append(min(math.log(now / before), 0.0))
                before = now
            ids += tokens(line)
        yield {**row, **row_columns(ids, log_probs)}
