"""Configuration of the loss on trajectories."""

from dataclasses import dataclass

from ..data.config import PromptedRowsConfig
from ..errors import UserError
from ..generation import CheckpointConfig
from ..stages.config import setting


@dataclass
class LossConfig(CheckpointConfig, PromptedRowsConfig):
    r"""
    Which checkpoint's loss to measure, on what: [`~glow_trl.data.config.PromptedRowsConfig`] with trajectories, whose
    prompts are rendered with the checkpoint's tokenizer, and with the system turn and template that it was trained
    with, where that is recorded beside it and nothing else is set; [`~glow_trl.generation.CheckpointConfig`]; and

    Parameters:
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
        write_log_probs (`bool`, *optional*, defaults to `False`):
            Whether to write `trajectories.jsonl` too: the rows with the checkpoint's log-probability of each token
            that the loss is on, in the columns `log_probs` and `completion_ids` (see [`~glow_trl.data.log_probs`]),
            in place of those that they had. Where the cut leaves no such token, the columns are empty.
    """

    output_dir: str | None = setting(None, "Where to write the losses.", required=True)
    max_length: int | None = setting(None, "Tokens that sequences are cut after (default: as trained; 0: no cut).")
    by: list[str] | None = setting(None, "Columns to tell the trajectories apart by.", changeable="recomputes")
    most_values: int = setting(20, "Values of a column that are told apart.", changeable="recomputes")
    write_log_probs: bool = setting(
        False, "Write the trajectories with the log-probability of each token.", changeable="recomputes"
    )

    def __post_init__(self):
        PromptedRowsConfig.__post_init__(self)
        CheckpointConfig.__post_init__(self)
        for name in ("model_name_or_path", "output_dir"):
            if not getattr(self, name):
                raise UserError(f"{name} is not set: give it in the configuration file or as --{name}")
        if self.most_values < 2:
            raise UserError(f"most_values is {self.most_values}: it must be at least 2")
        if self.max_length is not None and self.max_length < 0:
            raise UserError(f"max_length is {self.max_length}: it must be 0 (no cut) or more")
