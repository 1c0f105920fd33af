"""Configuration of `glow-trl collect`."""

from dataclasses import dataclass
from typing import Any, Literal

from ...data.config import PromptedRowsConfig
from ...errors import UserError
from ...generation import EngineConfig
from ...stages.config import as_mapping, setting


@dataclass
class CollectConfig(EngineConfig, PromptedRowsConfig):
    r"""
    Which questions to ask which teacher, and how: [`~glow_trl.data.config.PromptedRowsConfig`] with the questions,
    [`~glow_trl.generation.EngineConfig`] with the teacher, and

    Parameters:
        output_dir (`str`):
            Where to write the trajectories, `trajectories-00000-of-00004.jsonl` and so on, and `rejects.jsonl`: the
            questions that could not be asked, and why.
        prompt_format (`str`, *optional*, defaults to `"chat"`):
            `"chat"`: as a conversation, through the teacher's chat template. `"raw"`: the text as it stands, for
            teachers that only continue text.
        chat_template_path (`str`, *optional*):
            File with a chat template to use in place of the teacher's.
        chat_template_kwargs (`dict`, *optional*):
            Variables of the chat template, `{enable_thinking: true}` for example.
        num_samples (`int`, *optional*, defaults to `8`):
            Samples of each question.
        top_k (`int`, *optional*, defaults to `0`):
            Sample among so many most probable tokens; `0` for all.
        min_p (`float`, *optional*, defaults to `0.0`):
            Leave out tokens less probable than this share of the most probable one.
        stop (`list[str]`, *optional*):
            Strings that end a completion; they are not part of it.
        log_probs (`bool`, *optional*, defaults to `False`):
            Whether to keep the teacher's log-probability of each token, however it was sampled that of the model
            itself: rows then have the columns `log_probs` and `completion_ids`, see [`~glow_trl.data.log_probs`],
            which need 8 characters a token.
        unique_problems (`bool`, *optional*, defaults to `False`):
            Ask each question once, however often the data have it; `limit` then counts what is left.
        keep_columns (`list[str]`, *optional*):
            Columns of the questions to keep beside `problem`, `answer`, `kind`, `choices`, `tolerance` and `source`.
        questions_per_shard (`int`, *optional*, defaults to `128`):
            Questions of each shard.
    """

    output_dir: str | None = setting(None, "Where to write the trajectories.", required=True)
    prompt_format: Literal["chat", "raw"] = setting(
        "chat", "chat (through the chat template) or raw (the text as it stands)."
    )
    chat_template_path: str | None = setting(None, "File with a chat template in place of the teacher's.")
    chat_template_kwargs: dict[str, Any] | str | None = setting(
        None, "Variables of the chat template: '{enable_thinking: true}'."
    )
    num_samples: int = setting(8, "Samples of each question.")
    top_k: int = setting(0, "Sample among so many most probable tokens; 0 for all.")
    min_p: float = setting(0.0, "Least probability, as a share of the greatest.")
    stop: list[str] | None = setting(None, "Strings that end a completion.")
    log_probs: bool = setting(False, "Keep the teacher's log-probability of each token.")
    unique_problems: bool = setting(False, "Ask each question once.")
    keep_columns: list[str] | None = setting(None, "Further columns of the questions to keep.")
    questions_per_shard: int = setting(128, "Questions of each shard.")

    def __post_init__(self):
        PromptedRowsConfig.__post_init__(self)
        EngineConfig.__post_init__(self)
        if not self.output_dir:
            raise UserError("output_dir is required: where to write the trajectories")
        if not self.model_name_or_path:
            raise UserError("model_name_or_path is required: the teacher that answers the questions")
        self.chat_template_kwargs = as_mapping(self.chat_template_kwargs, "chat_template_kwargs")
        self.keep_columns = [self.keep_columns] if isinstance(self.keep_columns, str) else self.keep_columns or []
        if self.questions_per_shard < 1:
            raise UserError(f"questions_per_shard is {self.questions_per_shard}: it must be at least 1")
        if self.prompt_format == "raw":
            for name in ("system_prompt", "chat_template_path", "chat_template_kwargs"):
                if getattr(self, name):
                    raise UserError(f"{name} needs prompt_format: chat; a raw prompt is prompt_template alone")
