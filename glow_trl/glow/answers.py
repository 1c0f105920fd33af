"""What is learned of the final answers of negative samples: all, nothing, or nothing from there on."""

import json
import logging
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from os.path import commonprefix
from typing import TYPE_CHECKING, Any

import numpy as np
from accelerate import PartialState
from datasets import Dataset, Features, Value

from ..errors import UserError
from ..stages.dotted import is_dotted
from ..verifiers import KINDS, answer_span
from .samples import BY_TOKEN, SAMPLE_ID


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)


_OUTCOME = "negative_answer_outcome"
_OTHER, _CHANGED, _NO_ANSWER, _NOTHING_LEFT = range(4)
# A character of several bytes may be in as many tokens
_BYTES = 4
# Characters beside an answer by which it is known again
_CONTEXT = 1000

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class NegativeAnswers:
    """How many negative samples were changed, left whole as no final answer was found, and dropped as empty."""

    changed: int
    without_answer: int
    dropped: int


def limit_negatives(
    dataset: Dataset, how: str, tokenizer: "PreTrainedTokenizerBase", num_proc: int | None = None
) -> tuple[Dataset, NegativeAnswers]:
    """
    Leave the final answers of negative samples out of what is learned.

    Args:
        dataset (`Dataset`):
            Tokenized samples, neither truncated nor packed: with `input_ids` and `labels`, the `prompt` and the
            `completion` that these were made of (texts or messages), and `is_correct`; perhaps `kind`, `answer` and
            `choices`, which the verifier takes to find the answer, and `ref_log_probs`, which is kept aligned.
        how (`str`):
            - `"mask"`: the tokens of the answer are read, and are no targets.
            - `"truncate"`: the sample ends before the first of them.
        tokenizer (`PreTrainedTokenizerBase`): what made the tokens.
        num_proc (`int`, *optional*): number of processes.

    Returns:
        `tuple[Dataset, NegativeAnswers]`: the data set, without negatives that have no target left, and the numbers of
        negatives.

    Raises:
        UserError: there are no labels or no completions, or an answer is not to be found in the tokens of its sample.
    """
    columns = dataset.column_names
    if "is_correct" not in columns:
        raise UserError(f"negative_answer={how!r} needs is_correct for every sample: run `glow-trl label` first")
    if not {"prompt", "completion"} <= set(columns):
        raise UserError(f"negative_answer={how!r} needs samples with a prompt and a completion")
    before = dataset.features
    dataset = dataset.map(
        _limit,
        fn_kwargs={"how": how, "tokenizer": tokenizer},
        features=Features({**before, _OUTCOME: Value("int8")}),
        num_proc=num_proc,
        desc="Leaving out the answers of negatives",
    )
    outcomes = np.asarray(dataset.with_format("numpy", columns=[_OUTCOME])[:][_OUTCOME])
    found = NegativeAnswers(*np.bincount(outcomes, minlength=4)[1:].tolist())
    dataset = dataset.remove_columns(_OUTCOME)
    if found.dropped:
        dataset = dataset.select(np.flatnonzero(outcomes != _NOTHING_LEFT))
    if PartialState().is_main_process:
        logger.warning(
            "negative_answer=%s: the final answers of %d negatives are not learned, %d have none that was found and "
            "are learned whole, %d have nothing else and are left out",
            how,
            *astuple(found),
        )
    return dataset, found


def _limit(row: dict[str, Any], how: str, tokenizer: "PreTrainedTokenizerBase") -> dict[str, Any]:
    """One sample as it is learned."""
    name = f"sample {row[SAMPLE_ID]}" if SAMPLE_ID in row else "a sample"
    if row["is_correct"] is None:
        raise UserError(f"negative_answer={how!r}: {name} has no is_correct: run `glow-trl label` first")
    if row["is_correct"]:
        return {_OUTCOME: _OTHER}
    completion = _text_of(row["completion"], name).removesuffix(tokenizer.eos_token or "")
    span = _answer_of(completion, row)
    if span is None:
        return {_OUTCOME: _NO_ANSWER}
    tokens = answer_tokens(tokenizer, row, completion, span)
    if tokens is None:
        answer = completion[slice(*span)]
        raise UserError(
            f"negative_answer={how!r}: the final answer {answer:.60} of {name} is not among its tokens: the chat "
            "template leaves it out, or the tokenizer writes it otherwise. Correct the template, or set "
            "negative_answer: keep"
        )
    first, last = tokens
    if how == "truncate":
        changed = {name: row[name][:first] for name in BY_TOKEN if name in row}
    else:
        changed = {"labels": [*row["labels"][:first], *[-100] * (last - first), *row["labels"][last:]]}
    empty = all(label == -100 for label in changed["labels"][1:])
    return {**changed, _OUTCOME: _NOTHING_LEFT if empty else _CHANGED}


def _text_of(completion: Any, name: str) -> str:
    """The text of a completion, or of its last message."""
    content = completion if isinstance(completion, str) else completion[-1].get("content") if completion else ""
    if not isinstance(content, str):
        raise UserError(f"negative_answer: the completion of {name} is not a text")
    return content


def _answer_of(completion: str, row: dict[str, Any]) -> Span | None:
    """Where the final answer stands; kinds of one's own do not tell."""
    kind, choices = row.get("kind") or "math", row.get("choices")
    if kind not in KINDS.names() and is_dotted(kind):
        return None
    if isinstance(choices, str):  # as a table keeps lists of several types
        choices = json.loads(choices)
    return answer_span(completion, kind, row.get("answer"), choices)


def answer_tokens(
    tokenizer: "PreTrainedTokenizerBase", row: dict[str, Any], completion: str, span: Span
) -> tuple[int, int] | None:
    """
    Which tokens of a sample touch a part of its completion: the first of them and the one behind the last, or `None`
    if the part is not found in the text of the tokens.
    """
    for read in (_rendered, _decoded):
        text, offsets = read(tokenizer, row)
        pairs = zip(offsets, row["labels"], strict=bool(offsets))
        # Special tokens that the tokenizer adds are nowhere in the text
        targets = [(start, end) for (start, end), label in pairs if label != -100 and start < end]
        if not targets:
            continue
        found = locate(text, completion, span, min(start for start, _ in targets), max(end for _, end in targets))
        if found is None:
            continue
        touching = [number for number, (start, end) in enumerate(offsets) if start < found[1] and end > found[0]]
        if touching:
            return touching[0], touching[-1] + 1
    return None


def locate(text: str, completion: str, span: Span, start: int, end: int) -> Span | None:
    """
    Where in a text, between `start` and `end`, a part of a completion stands: of several places the one with most of
    what is around it in the completion, as chat templates may strip and reshape this; the last one of equals.
    """
    part = completion[slice(*span)]
    before, after = completion[max(0, span[0] - _CONTEXT) : span[0]][::-1], completion[span[1] :][:_CONTEXT]
    best, found = -1, None
    at = text.find(part, start, end)
    while at >= 0:
        left, right = text[max(0, at - _CONTEXT) : at][::-1], text[at + len(part) :][:_CONTEXT]
        shared = commonprefix([before, left]), commonprefix([after, right])
        if (context := sum(map(len, shared))) >= best:
            best, found = context, (at, at + len(part))
        at = text.find(part, at + 1, end)
    return found


def _rendered(tokenizer: "PreTrainedTokenizerBase", row: dict[str, Any]) -> tuple[str, Sequence[Span]]:
    """The text that a sample's tokens were made of, and what of it each token is; nothing if the tokens differ."""
    prompt, completion, tools = row["prompt"], row["completion"], row.get("tools")
    if not tokenizer.is_fast or not isinstance(completion, str) and tokenizer.chat_template is None:
        return "", []
    if isinstance(completion, str):
        text = prompt + completion
    else:
        text = tokenizer.apply_chat_template(
            prompt + completion,
            tools=json.loads(tools) if isinstance(tools, str) else tools,
            tokenize=False,
            **(row.get("chat_template_kwargs") or {}),
        )
    encoding = tokenizer(
        text, add_special_tokens=isinstance(completion, str), return_offsets_mapping=True, verbose=False
    )
    return (text, encoding["offset_mapping"]) if encoding["input_ids"] == row["input_ids"] else ("", [])


def _decoded(tokenizer: "PreTrainedTokenizerBase", row: dict[str, Any]) -> tuple[str, Sequence[Span]]:
    """The text that a sample's tokens say, and what of it each is; tokens that share a character have all of it."""
    ids = row["input_ids"]
    pieces: list[str] = []
    offsets: list[Span] = []
    length = known = done = 0  # what comes before a token may tell whether a blank is before it
    for end in range(1, len(ids) + 1):
        told = _decode(tokenizer, ids[known:done])
        piece = _decode(tokenizer, ids[known:end])[len(told) :]
        if piece.endswith("\N{REPLACEMENT CHARACTER}") and end - done < _BYTES and end < len(ids):
            continue
        offsets += [(length, length + len(piece))] * (end - done)
        pieces.append(piece)
        length += len(piece)
        known, done = done, end
    return "".join(pieces), offsets


def _decode(tokenizer: "PreTrainedTokenizerBase", ids: Sequence[int]) -> str:
    text = tokenizer.decode(ids, clean_up_tokenization_spaces=False)
    return text if isinstance(text, str) else "".join(text)
