"""Configuration of the held-out loss."""

from dataclasses import dataclass, field

from ..data.config import PromptedRowsConfig
from ..errors import UserError


@dataclass
class LossConfig(PromptedRowsConfig):
    r"""
    Which checkpoint's loss to measure, on what: [`~glow_trl.data.config.PromptedRowsConfig`] with trajectories, and

    Parameters:
        model_name_or_path (`str`):
            The checkpoint: a folder (full model or PEFT adapter) or a model id on the Hub. Prompts are rendered with
            the tokenizer saved with it, and with the system turn and template that it was trained with, where that is
            recorded beside it and nothing else is set.
        output_dir (`str`):
            Where to write `losses.jsonl` and `results.json`. Started again with the same settings, what is measured
            already is kept.
        max_length (`int`, *optional*):
            Sequences are cut after so many tokens; 0 for no cut. By default as the checkpoint was trained, where that
            is recorded beside it, else no cut.
        by (`list[str]`, *optional*):
            Columns to tell the trajectories apart by; `a+b` for each combination of two. By default the label, and of
            `source`, `model` and `pattern` those that have more than one value.
        most_values (`int`, *optional*, defaults to `20`):
            Values of a column that are told apart.
        batch_size (`int`, *optional*, defaults to `512`):
            Most sequences in a batch.
        batch_tokens (`int`, *optional*, defaults to `65536`):
            Most tokens in a batch. Lower it if memory runs out.
        dtype (`str`, *optional*, defaults to `"auto"`):
            Precision of the weights: `"auto"` (as saved), `"float32"`, `"bfloat16"` or `"float16"`.
        trust_remote_code (`bool`, *optional*, defaults to `False`):
            Whether code that comes with the checkpoint may run.
    """

    model_name_or_path: str | None = field(default=None, metadata={"help": "Checkpoint folder or model id."})
    output_dir: str | None = field(default=None, metadata={"help": "Where to write the losses."})
    max_length: int | None = field(
        default=None, metadata={"help": "Tokens that sequences are cut after (default: as trained; 0: no cut)."}
    )
    by: list[str] | None = field(
        default=None, metadata={"help": "Columns to tell the trajectories apart by.", "changeable": "recomputes"}
    )
    most_values: int = field(
        default=20, metadata={"help": "Values of a column that are told apart.", "changeable": "recomputes"}
    )
    batch_size: int = field(default=512, metadata={"help": "Most sequences in a batch.", "changeable": True})
    batch_tokens: int = field(default=65536, metadata={"help": "Most tokens in a batch.", "changeable": True})
    dtype: str = field(default="auto", metadata={"help": "auto, float32, bfloat16 or float16."})
    trust_remote_code: bool = field(default=False, metadata={"help": "Whether the checkpoint's code may run."})

    def __post_init__(self):
        super().__post_init__()
        for name in ("model_name_or_path", "output_dir"):
            if not getattr(self, name):
                raise UserError(f"{name} is not set: give it in the configuration file or as --{name}")
        for name in ("batch_size", "batch_tokens"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}: it must be at least 1")
        if self.most_values < 2:
            raise UserError(f"most_values is {self.most_values}: it must be at least 2")
        if self.max_length is not None and self.max_length < 0:
            raise UserError(f"max_length is {self.max_length}: it must be 0 (no cut) or more")
