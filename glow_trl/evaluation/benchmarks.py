"""Questions of a benchmark and their prompts, checked before anything is generated."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..data import build_prompt, load_rows
from ..errors import UserError
from ..handover import read_handover
from .config import BenchmarkConfig, EvalConfig


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def load_questions(benchmark: BenchmarkConfig, config: EvalConfig) -> tuple[list[dict[str, Any]], int]:
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

    limits = [limit for limit in (benchmark.limit, config.limit) if limit is not None]
    rows = load_rows(
        benchmark.path,
        split=benchmark.split,
        config_name=benchmark.config_name,
        columns=benchmark.columns,
        required=("problem", "answer"),
        limit=None if benchmark.exclude else min(limits, default=None),
    )
    if benchmark.exclude:
        excluded = {row["problem"] for row in load_rows(benchmark.exclude, required=("problem",))}
        rows = [row for row in rows if row["problem"] not in excluded][: min(limits, default=None)]
        if not rows:
            raise UserError(f"benchmark '{benchmark.name}': every question stands in {benchmark.exclude} (`exclude`)")
    questions = [{**row, "kind": row.get("kind") or benchmark.kind or _default_kind(row)} for row in rows]
    report = check_gold(questions)
    if report.ok:
        return questions, 0
    if config.on_bad_gold == "error":
        raise UserError(
            f"benchmark '{benchmark.name}': {report.summary()}; correct the answers or `kind`, or leave these "
            "questions out with on_bad_gold: drop"
        )
    unusable = {failure.index for failure in report.failures}
    usable = [row for position, row in enumerate(questions) if position not in unusable]
    if not usable:
        raise UserError(f"benchmark '{benchmark.name}': {report.summary()}; check `kind` and `columns`")
    return usable, len(unusable)


def render_prompts(
    questions: Sequence[dict[str, Any]],
    benchmark: BenchmarkConfig,
    config: EvalConfig,
    tokenizer: "PreTrainedTokenizerBase",
) -> list[list[int]]:
    """Token ids of each question's prompt.

    System turn and template are those of the benchmark, else those of `config`, else those that the checkpoint was
    trained with, which `glow-trl sft` recorded beside it.

    Raises:
        UserError: the tokenizer has no chat template, or the prompt template lacks `{problem}`.
    """
    if tokenizer.chat_template is None:
        raise UserError(
            f"{config.model_name_or_path}: the tokenizer has no chat template; save the one that was used in training "
            "with it (tokenizer.chat_template)"
        )
    trained = read_handover(config.model_name_or_path) or {}
    system_prompt, template = (
        next((value for value in candidates if value is not None), None)
        for candidates in (
            (benchmark.system_prompt, config.system_prompt, trained.get("system_prompt")),
            (benchmark.prompt_template, config.prompt_template, trained.get("prompt_template")),
        )
    )
    conversations = [
        build_prompt(row["problem"], system_prompt, template, row.get("choices") or None) for row in questions
    ]
    return tokenizer.apply_chat_template(conversations, add_generation_prompt=True, return_dict=False)


def _default_kind(row: dict[str, Any]) -> str:
    return "choice" if row.get("choices") else "math"
