"""Configuration of the checkpoint that a stage runs, and of the engine that draws its completions."""

import dataclasses
import inspect
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..data.handover import check_trained
from ..errors import UserError
from ..stages.config import as_mapping, setting
from ..stages.fingerprint import fingerprint
from ..stages.secrets import without_secrets
from .base import Engine, SamplingConfig
from .loading import load_model, load_tokenizer, local_folder
from .model_files import check_model_files
from .registry import ENGINES, create_engine, engine_class


if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_DTYPES = ("auto", "float32", "bfloat16", "float16")

logger = logging.getLogger(__name__)


@dataclass
class CheckpointConfig:
    r"""
    Which checkpoint a stage runs, and in batches of what size.

    Parameters:
        model_name_or_path (`str`):
            A checkpoint's folder (full model or PEFT adapter) or a model id on the Hub.
        dtype (`str`, *optional*, defaults to `"auto"`):
            Precision of the weights: `"auto"` (as saved; vLLM takes bfloat16 for float32), `"float32"`, `"bfloat16"`
            or `"float16"`.
        trust_remote_code (`bool`, *optional*, defaults to `False`):
            Whether code that comes with the checkpoint may run.
        batch_size (`int`, *optional*, defaults to `512`):
            Most sequences in a batch; vLLM makes its own.
        batch_tokens (`int`, *optional*, defaults to `65536`):
            Most tokens in a batch. Lower it if memory runs out.
    """

    model_name_or_path: str | None = setting(None, "Checkpoint folder or model id.", required=True)
    dtype: str = setting("auto", "auto, float32, bfloat16 or float16.")
    trust_remote_code: bool = setting(False, "Whether the checkpoint's code may run.")
    batch_size: int = setting(512, "Most sequences in a batch.", changeable=True)
    batch_tokens: int = setting(65536, "Most tokens in a batch.", changeable=True)

    def __post_init__(self):
        for name in ("batch_size", "batch_tokens"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}: it must be at least 1")
        if self.dtype not in _DTYPES:
            raise UserError(f"dtype is {self.dtype!r}: it must be one of {', '.join(_DTYPES)}")

    def checkpoint_folder(self) -> Path | None:
        """The checkpoint's folder; `None` for a model id. Raises `UserError` where its files are not whole."""
        folder = local_folder(self.model_name_or_path)
        check_model_files(self.model_name_or_path)
        return folder

    def load_tokenizer(self, samples: bool = True) -> "PreTrainedTokenizerBase":
        """
        The checkpoint's tokenizer, see [`~glow_trl.generation.loading.load_tokenizer`], checked to be that of its
        training, see [`~glow_trl.data.handover.check_trained`], for a stage that `samples` or one that does not.
        """
        tokenizer = load_tokenizer(self.model_name_or_path, self.trust_remote_code)
        check_trained(self.model_name_or_path, tokenizer, samples)
        return tokenizer

    def load_model(self) -> "PreTrainedModel":
        """The checkpoint in evaluation mode; see [`~glow_trl.generation.loading.load_model`]."""
        return load_model(self.model_name_or_path, self.dtype, trust_remote_code=self.trust_remote_code)


@dataclass
class EngineConfig(CheckpointConfig):
    r"""
    Which model completes prompts, in which engine, and how completions are drawn: [`CheckpointConfig`], and

    Parameters:
        engine (`str`, *optional*, defaults to `"transformers"`):
            `"vllm"` or `"transformers"` (in this process), `"server"` (any server with OpenAI's API;
            `model_name_or_path` is then the name that the server gives the model), or `package.module:Class`.
        engine_options (`dict`, *optional*):
            Further arguments of the engine: `{base_url: http://localhost:8000/v1, concurrency: 64}`,
            `{tensor_parallel_size: 2}`.
        max_model_len (`int`, *optional*):
            Most tokens of a prompt with its completion; by default what the model allows. This, `dtype` and
            `trust_remote_code` are for engines in this process: a server was started with its own.
        temperature (`float`, *optional*, defaults to `0.6`):
            Sampling temperature. `0` decodes greedily.
        top_p (`float`, *optional*, defaults to `0.95`):
            Share of the probability that nucleus sampling keeps.
        max_new_tokens (`int`, *optional*, defaults to `4096`):
            Completions are cut after this many tokens.
        seed (`int`, *optional*, defaults to `0`):
            Seed of the samples; each has one of its own, made from this one.
    """

    engine: str = setting("transformers", "transformers, vllm, server or package.module:Class.")
    engine_options: dict[str, Any] | str | None = setting(None, "Further arguments of the engine.")
    max_model_len: int | None = setting(None, "Most tokens of a prompt with its completion (default: the model's).")
    temperature: float = setting(0.6, "Sampling temperature; 0 is greedy.")
    top_p: float = setting(0.95, "Nucleus sampling.")
    max_new_tokens: int = setting(4096, "Completions are cut after this many tokens.")
    seed: int = setting(0, "Seed of the samples.")

    def __post_init__(self):
        super().__post_init__()
        if self.max_model_len is not None and self.max_model_len < 1:
            raise UserError(f"max_model_len is {self.max_model_len}: it must be at least 1")
        self.engine_options = as_mapping(self.engine_options, "engine_options")
        if "api_key" in self.engine_options:
            raise UserError(
                "engine_options: put the API key in an environment variable, and its name in `api_key_env`"
            )
        _ = self.sampling

    @property
    def sampling(self) -> SamplingConfig:
        """How completions are drawn; a stage's `num_samples`, `stop`, `top_k` and `min_p` count where it has them."""
        names = [item.name for item in dataclasses.fields(SamplingConfig) if hasattr(self, item.name)]
        return SamplingConfig(**{name: getattr(self, name) for name in names})

    @property
    def is_remote(self) -> bool:
        """Whether the model is in another process, which has its chat template too."""
        return engine_class(self.engine).takes_messages

    def checkpoint_folder(self) -> Path | None:
        # The name under which a server has a model is no folder, even if there is one
        if self.is_remote:
            return None
        # What an engine of the user's own loads is its own affair
        return super().checkpoint_folder() if self.engine in ENGINES else local_folder(self.model_name_or_path)

    def create_engine(self, **for_messages: Any) -> Engine:
        """
        Load the model.

        Args:
            **for_messages:
                Options for an engine that is given conversations, `chat_template_kwargs` for example.

        Raises:
            UserError: there is no such engine, or it cannot be used with these settings.
        """
        defaults = {"dtype": "auto", "trust_remote_code": False, "max_model_len": None}
        options = {name: getattr(self, name) for name in defaults if getattr(self, name) != defaults[name]}
        known = inspect.signature(engine_class(self.engine)).parameters
        if self.is_remote:
            if options:
                logger.warning("%s: for engines in this process; the server has its own", ", ".join(options))
            options = {}
        else:
            options |= {name: getattr(self, name) for name in ("batch_size", "batch_tokens") if name in known}
            for_messages = {}
        return create_engine(self.engine, self.model_name_or_path, **options | self.engine_options | for_messages)

    def identity(self) -> dict[str, Any]:
        """What a run's settings are compared by in place of the fields' values: the engine's options without those
        that do not change what is drawn, such as a server's address."""
        options = self.engine_options
        incidental = engine_class(self.engine).incidental_options if options else ()
        lasting = {name: value for name, value in options.items() if name not in incidental}
        return {"engine_options": without_secrets(lasting)}

    def model_identity(self) -> dict[str, Any]:
        """What decides which completions the model gives to a prompt: its files, the engine and its lasting options.

        Sizes of batches, addresses and the like are left out on purpose: they may change between two starts.
        """
        folder = self.checkpoint_folder()
        return {
            "model": self.model_name_or_path if folder is None else fingerprint(folder),
            "engine": self.engine,
            "options": self.identity()["engine_options"],
            "dtype": self.dtype,
            **({} if self.max_model_len is None else {"max_model_len": self.max_model_len}),
        }
