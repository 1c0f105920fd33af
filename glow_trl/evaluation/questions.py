"""Questions of a benchmark and their prompts, checked before anything is generated."""

import dataclasses
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .. import benchmarks
from ..benchmarks import BenchmarkConfig
from ..data import build_prompt
from ..data.handover import other_prompts, read_handover
from ..errors import UserError
from ..generation import Prompt
from .config import EvalConfig


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

PROMPT_SETTINGS = ("system_prompt", "prompt_template")


def checked_questions(benchmark: BenchmarkConfig, config: EvalConfig) -> tuple[list[dict[str, Any]], int]:
    """Read a benchmark's questions and let every gold answer grade itself.

    Args:
        benchmark ([`BenchmarkConfig`]): where they are.
        config ([`EvalConfig`]): its `limit` and `on_bad_gold`.

    Returns:
        `tuple[list[dict], int]`: the usable questions, each with a `kind`, and how many were left out.

    Raises:
        UserError: the data cannot be read or lacks a column, there are no questions, or a gold answer is unusable and
            `on_bad_gold` is `"error"`.
    """
    from ..verifiers import check_gold
    from ..verifiers.gold import usable_positions

    limits = [limit for limit in (benchmark.limit, config.limit) if limit is not None]
    questions = benchmarks.load_questions(dataclasses.replace(benchmark, limit=min(limits, default=None)))
    kept = usable_positions(check_gold(questions), config.on_bad_gold, f"benchmark '{benchmark.name}': ")
    usable = [questions[index] for index in kept]
    return usable, len(questions) - len(usable)


def render_prompts(
    questions: Sequence[dict[str, Any]],
    benchmark: BenchmarkConfig,
    config: EvalConfig,
    tokenizer: "PreTrainedTokenizerBase | None",
) -> list[Prompt]:
    """Token ids of each question's prompt; without a tokenizer the conversations themselves, for engines that have
    the chat template.

    System turn and template are those of the benchmark's entry, else those of `config`, else those that the checkpoint
    was trained with, which `glow-trl sft` recorded beside it, else the benchmark's defaults.

    Raises:
        UserError: the tokenizer has no chat template, or the prompt template lacks `{problem}`.
    """
    if tokenizer is not None and tokenizer.chat_template is None:
        raise UserError(
            f"{config.model_name_or_path}: the tokenizer has no chat template; save the one that was used in training "
            "with it (tokenizer.chat_template)"
        )
    system_prompt, template = (prompt_setting(name, benchmark, config) for name in PROMPT_SETTINGS)
    conversations = [
        build_prompt(row["problem"], system_prompt, template, row.get("choices") or None) for row in questions
    ]
    for other in other_prompts(read_handover(config.model_name_or_path), system_prompt, template):
        logger.warning("benchmark '%s': %s", benchmark.name, other)
    if tokenizer is None:
        return conversations
    return tokenizer.apply_chat_template(conversations, add_generation_prompt=True, return_dict=False)


def prompt_setting(name: str, benchmark: BenchmarkConfig, config: EvalConfig) -> str | None:
    """The `system_prompt` or the `prompt_template` of a benchmark's prompts."""
    for owner in (benchmark, config):
        if getattr(owner, name) is not None:
            return getattr(owner, name)
    trained = read_handover(config.model_name_or_path)
    # A record that has none says that the checkpoint was trained without
    return getattr(benchmark, f"default_{name}") if trained is None else trained.get(name)
