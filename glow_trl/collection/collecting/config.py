"""Configuration of `glow-trl collect`."""

from dataclasses import dataclass, field
from typing import Any, Literal

from ...data.config import PromptedRowsConfig
from ...errors import UserError
from ...generation import SamplingConfig, engine_class
from ...stages.config import as_mapping


@dataclass
class CollectConfig(PromptedRowsConfig):
    r"""
    Which questions to ask which teacher, and how: [`~glow_trl.data.config.PromptedRowsConfig`], and

    Parameters:
        output_dir (`str`):
            Where to write the trajectories, `trajectories-00000-of-00004.jsonl` and so on, and `rejects.jsonl`: the
            questions that could not be asked, and why.
        model_name_or_path (`str`):
            The teacher: a checkpoint's folder or a model id; for the engine `server` its name there.
        engine (`str`, *optional*, defaults to `"transformers"`):
            `"vllm"` or `"transformers"` (in this process), `"server"` (any server with OpenAI's API), or
            `package.module:Class`.
        engine_options (`dict`, *optional*):
            Further arguments of the engine: `{base_url: http://localhost:8000/v1, concurrency: 64}`,
            `{tensor_parallel_size: 2}`.
        dtype (`str`, *optional*, defaults to `"auto"`):
            Precision of the weights: `"auto"` (as saved; vLLM takes bfloat16 for float32), `"float32"`,
            `"bfloat16"` or `"float16"`. This and the next two are for engines in this process: a server was started
            with its own.
        max_model_len (`int`, *optional*):
            Most tokens of a prompt with its completion; by default what the model allows.
        trust_remote_code (`bool`, *optional*, defaults to `False`):
            Whether code that comes with the checkpoint may run.
        prompt_format (`str`, *optional*, defaults to `"chat"`):
            `"chat"`: as a conversation, through the teacher's chat template. `"raw"`: the text as it stands, for
            teachers that only continue text.
        chat_template_path (`str`, *optional*):
            File with a chat template to use in place of the teacher's.
        chat_template_kwargs (`dict`, *optional*):
            Variables of the chat template, `{enable_thinking: true}` for example.
        num_samples (`int`, *optional*, defaults to `8`):
            Samples of each question.
        temperature (`float`, *optional*, defaults to `0.6`):
            Sampling temperature.
        top_p (`float`, *optional*, defaults to `0.95`):
            Share of the probability that nucleus sampling keeps.
        top_k (`int`, *optional*, defaults to `0`):
            Sample among so many most probable tokens; `0` for all.
        min_p (`float`, *optional*, defaults to `0.0`):
            Leave out tokens less probable than this share of the most probable one.
        max_new_tokens (`int`, *optional*, defaults to `4096`):
            Completions are cut after this many tokens.
        stop (`list[str]`, *optional*):
            Strings that end a completion; they are not part of it.
        seed (`int`, *optional*, defaults to `0`):
            Seed of the samples; each has one of its own, made from this one.
        unique_problems (`bool`, *optional*, defaults to `False`):
            Ask each question once, however often the data have it; `limit` then counts what is left.
        keep_columns (`list[str]`, *optional*):
            Columns of the questions to keep beside `problem`, `answer`, `kind`, `choices`, `tolerance` and `source`.
        questions_per_shard (`int`, *optional*, defaults to `128`):
            Questions of each shard.
    """

    output_dir: str | None = field(default=None, metadata={"help": "Where to write the trajectories."})
    model_name_or_path: str | None = field(default=None, metadata={"help": "The teacher."})
    engine: str = field(
        default="transformers", metadata={"help": "transformers, vllm, server or package.module:Class."}
    )
    engine_options: dict[str, Any] | str | None = field(
        default=None, metadata={"help": "Further arguments of the engine."}
    )
    dtype: str = field(default="auto", metadata={"help": "auto, float32, bfloat16 or float16."})
    max_model_len: int | None = field(
        default=None, metadata={"help": "Most tokens of a prompt with its completion (default: the model's)."}
    )
    trust_remote_code: bool = field(default=False, metadata={"help": "Whether the checkpoint's code may run."})
    prompt_format: Literal["chat", "raw"] = field(
        default="chat", metadata={"help": "chat (through the chat template) or raw (the text as it stands)."}
    )
    chat_template_path: str | None = field(
        default=None, metadata={"help": "File with a chat template in place of the teacher's."}
    )
    chat_template_kwargs: dict[str, Any] | str | None = field(
        default=None, metadata={"help": "Variables of the chat template: '{\"enable_thinking\": true}'."}
    )
    num_samples: int = field(default=8, metadata={"help": "Samples of each question."})
    temperature: float = field(default=0.6, metadata={"help": "Sampling temperature; 0 is greedy."})
    top_p: float = field(default=0.95, metadata={"help": "Nucleus sampling."})
    top_k: int = field(default=0, metadata={"help": "Sample among so many most probable tokens; 0 for all."})
    min_p: float = field(default=0.0, metadata={"help": "Least probability, as a share of the greatest."})
    max_new_tokens: int = field(default=4096, metadata={"help": "Completions are cut after this many tokens."})
    stop: list[str] | None = field(default=None, metadata={"help": "Strings that end a completion."})
    seed: int = field(default=0, metadata={"help": "Seed of the samples."})
    unique_problems: bool = field(default=False, metadata={"help": "Ask each question once."})
    keep_columns: list[str] | None = field(
        default=None, metadata={"help": "Further columns of the questions to keep."}
    )
    questions_per_shard: int = field(default=128, metadata={"help": "Questions of each shard."})

    def __post_init__(self):
        super().__post_init__()
        if not self.output_dir:
            raise UserError("output_dir is required: where to write the trajectories")
        if not self.model_name_or_path:
            raise UserError("model_name_or_path is required: the teacher that answers the questions")
        self.engine_options = as_mapping(self.engine_options, "engine_options")
        self.chat_template_kwargs = as_mapping(self.chat_template_kwargs, "chat_template_kwargs")
        self.keep_columns = [self.keep_columns] if isinstance(self.keep_columns, str) else self.keep_columns or []
        if self.questions_per_shard < 1:
            raise UserError(f"questions_per_shard is {self.questions_per_shard}: it must be at least 1")
        if self.prompt_format == "raw":
            for name in ("system_prompt", "chat_template_path", "chat_template_kwargs"):
                if getattr(self, name):
                    raise UserError(f"{name} needs prompt_format: chat; a raw prompt is prompt_template alone")
        _ = self.sampling

    def identity(self) -> dict[str, Any]:
        """What decides which samples there are, of the settings that also say how fast they are drawn."""
        options = self.engine_options
        if "api_key" in options:
            raise UserError(
                "engine_options: put the API key in an environment variable, and its name in `api_key_env`"
            )
        incidental = engine_class(self.engine).incidental_options
        return {"engine_options": {key: value for key, value in options.items() if key not in incidental}}

    @property
    def sampling(self) -> SamplingConfig:
        """How completions are drawn."""
        return SamplingConfig(
            num_samples=self.num_samples,
            temperature=self.temperature,
            top_p=self.top_p,
            max_new_tokens=self.max_new_tokens,
            seed=self.seed,
            stop=tuple([self.stop] if isinstance(self.stop, str) else self.stop or ()),
            top_k=self.top_k,
            min_p=self.min_p,
        )
