"""The questions of a collection, and how a teacher is asked them."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...data import Place, Reject, build_prompt
from ...data.columns import QUESTION_COLUMNS, present
from ...generation import render_conversation
from ...generation.base import Prompt
from ...stages.config import naming
from ...stages.files import read_text
from .config import CollectConfig


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def questions_to_ask(
    config: CollectConfig, on_reject: Callable[[Reject], None]
) -> tuple[list[dict[str, Any]], list[Place], int]:
    """
    The questions, where each stands, and how many repeated an earlier one and were left out (`unique_problems`).

    Each has a `question_id` that no other has: the row's own `sample_id`, or file name and line.
    """
    questions: list[dict[str, Any]] = []
    places: list[Place] = []
    seen: set[tuple] = set()
    ids: set[str] = set()
    repeated = 0
    # Of unique questions, `limit` counts those that are kept
    source = dataclasses.replace(config, limit=None) if config.unique_problems else config
    for place, row in source.iter_placed(("problem", "answer"), on_reject):
        if config.unique_problems and len(questions) == config.limit:
            break
        key = (row["problem"], *map(str, row.get("choices") or ()))
        if config.unique_problems and key in seen:
            repeated += 1
            continue
        seen.add(key)
        name = row["sample_id"] if row["sample_id"] not in ids else f"{row['sample_id']}#{len(questions)}"
        ids.add(name)
        questions.append({"question_id": name, **present(row, (*QUESTION_COLUMNS, *config.keep_columns))})
        places.append(place)
    return questions, places, repeated


class Prompts(Sequence):
    """
    The prompts of the questions, each made when it is asked for. The tokenizer renders conversations to token ids;
    without one they stay conversations.
    """

    def __init__(
        self,
        questions: Sequence[Mapping[str, Any]],
        config: CollectConfig,
        tokenizer: "PreTrainedTokenizerBase | None" = None,
    ):
        self._questions, self._config, self._tokenizer = questions, config, tokenizer

    def __len__(self) -> int:
        return len(self._questions)

    def __getitem__(self, index: int) -> Prompt:
        question, config = self._questions[index], self._config
        messages = build_prompt(
            question["problem"], config.system_prompt, config.prompt_template, question.get("choices") or None
        )
        if config.prompt_format == "raw":
            return messages[-1]["content"]
        if self._tokenizer is None:
            return messages
        return render_conversation(messages, self._tokenizer, config.chat_template_kwargs)


def read_template(path: str | None) -> str | None:
    """The chat template in a file."""
    if path is None:
        return None
    with naming("chat_template_path"):
        return read_text(Path(path).expanduser())
