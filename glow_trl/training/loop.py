"""What the two training stages share: loading model and tokenizer, and the run around a TRL trainer."""

import math
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from typing import Any

import datasets
import torch
import transformers
from accelerate import PartialState
from peft import PeftConfig, PeftModel
from transformers import PreTrainedTokenizerBase, ProgressCallback, TrainerCallback, TrainingArguments
from trl import ModelConfig, get_peft_config

from ..data import write_jsonl
from ..data.handover import HANDOVER_FILE, check_vocabulary
from ..errors import TrainingCollapsed, UserError
from ..generation.loading import adapter_config, load_tokenizer, loading, local_folder
from ..generation.model_files import check_model_files, weights_digest
from ..stages.config import Settings
from ..stages.files import check_room
from ..stages.frame import stage_run
from ..stages.processes import wait_for_others
from ..stages.record import StageRun
from .checkpoints import check_checkpoint, last_complete_checkpoint
from .resume import ResumableTrainer, step_size


LOG_FILE = "log.jsonl"

_ROWS_WORTH_A_BAR = 20_000
# One process makes the tokens of much data for hours while the others wait for them
_PREPARATION = timedelta(days=7)


def adapter_to_train(model_args: ModelConfig) -> PeftConfig | None:
    """
    The adapter that `use_peft`, `lora_r`, ... describe; `None` without `use_peft`.

    TRL makes a text of a list with one module, which PEFT would take for a pattern of the whole name. Here it stays
    the module's name.
    """
    config = get_peft_config(model_args)
    modules = getattr(config, "target_modules", None)
    if isinstance(modules, str) and modules != "all-linear" and re.fullmatch(r"\w+", modules):
        config.target_modules = {modules}
    return config


def model_folder(model_args: ModelConfig) -> Path | None:
    """The folder of the model to train; `None` for one on the Hub, and where none is named."""
    name = model_args.model_name_or_path
    return local_folder(name) if name else None


def training_run(
    settings: Settings, args: TrainingArguments, inputs: Iterable[Any]
) -> AbstractContextManager[StageRun]:
    """The frame of a training stage, see [`~glow_trl.stages.frame.stage_run`]."""
    wait_for_others(_PREPARATION)
    return stage_run(
        settings, args.output_dir, inputs, has_progress=last_complete_checkpoint, step_size=step_size(args)
    )


def check_files(model_args: ModelConfig, args: TrainingArguments) -> None:
    """
    Check the files that a training names, before it writes any: the model, the checkpoint to go on from, the chat
    template. Raises `UserError` where no model is named, or a file is missing or damaged.
    """
    if not model_args.model_name_or_path:
        raise UserError("model_name_or_path is required: a folder or a model on the Hub")
    check_model_files(model_args.model_name_or_path)
    if args.resume_from_checkpoint in ("true", "True"):
        args.resume_from_checkpoint = True
    if isinstance(args.resume_from_checkpoint, str):
        check_checkpoint(args.resume_from_checkpoint)
    template = getattr(args, "chat_template_path", None)
    if template and (template.endswith((".jinja", ".j2")) or Path(template).is_absolute()):
        if not Path(template).exists():
            raise UserError(f"chat_template_path: there is no file {template}")


def stage_tokenizer(model_args: ModelConfig, trust_remote_code: bool) -> PreTrainedTokenizerBase:
    """The tokenizer of the model to train. Raises `UserError` where it has tokens that the model cannot read."""
    name, revision = model_args.model_name_or_path, model_args.model_revision
    tokenizer = load_tokenizer(name, trust_remote_code, revision)
    # An adapter may have embeddings of its own for tokens that were added in stage 1
    if adapter_config(name) is None:
        with loading(what := f"{name} cannot be trained so"):
            config = transformers.AutoConfig.from_pretrained(
                name, revision=revision, trust_remote_code=trust_remote_code
            )
            embeddings = getattr(config.get_text_config(), "vocab_size", None)
            if embeddings and (problems := check_vocabulary(tokenizer, embeddings)):
                raise UserError(f"{what}: " + "; ".join(problems))
    return tokenizer


def base_weights(trainer: ResumableTrainer) -> str | None:
    """The digest of the weights that an adapter is trained on; `None` for a whole model, or one on the Hub."""
    if not isinstance(trainer.model, PeftModel):
        return None
    folder = local_folder(trainer.model.active_peft_config.base_model_name_or_path)
    return None if folder is None else weights_digest(folder)


def model_init_kwargs(model_args: ModelConfig) -> dict[str, Any]:
    """Keyword arguments of `from_pretrained` that a [`~trl.ModelConfig`] stands for."""
    return {
        "revision": model_args.model_revision,
        "attn_implementation": model_args.attn_implementation,
        "dtype": model_args.dtype,
    }


def quiet_libraries(num_rows: int) -> None:
    """Turn off the progress bars of what takes no time with so many rows; those of the work itself stay."""
    transformers.utils.logging.disable_progress_bar()
    if num_rows < _ROWS_WORTH_A_BAR:
        datasets.disable_progress_bars()
    else:
        datasets.enable_progress_bars()


class LogProgress(ProgressCallback):
    """The progress bar of `transformers`, with the latest figures at its end instead of a line for each log."""

    shown = ("loss", "reward", "entropy", "glow/mean_weight", "completions/clipped_ratio")

    def on_train_begin(self, args, state, control, **kwargs):
        super().on_train_begin(args, state, control, **kwargs)
        if self.training_bar is not None and not sys.stderr.isatty():
            # In a log file every refresh is a line
            self.training_bar.mininterval = 30.0

    def on_log(self, args, state, control, logs=None, **kwargs):
        if state.is_world_process_zero and self.training_bar is not None:
            figures = {name.split("/")[-1]: f"{logs[name]:.3g}" for name in self.shown if name in (logs or {})}
            if figures:
                self.training_bar.set_postfix(figures, refresh=False)


class _StepCounter(TrainerCallback):
    """Counts the steps of this process."""

    done = 0

    def on_step_end(self, args, state, control, **kwargs):
        self.done += 1


def train(trainer: ResumableTrainer, run: StageRun) -> None:
    """
    Train, from the last complete checkpoint in the output folder if there is one, and save model, tokenizer and log.
    Of a training that collapsed only the log is saved.
    """
    progress = LogProgress()
    if not trainer.args.disable_tqdm:
        trainer.remove_callback(ProgressCallback)
        trainer.add_callback(progress)
    checkpoint = trainer.args.resume_from_checkpoint or last_complete_checkpoint(run.output_dir)
    # PEFT counts those that are packed or spread over processes as what they stand for, in any model
    trainable, total = PeftModel.get_nb_trainable_parameters(trainer.model)
    run.record |= {"parameters": total, "trainable_parameters": trainable}
    run.start()
    steps = _StepCounter()
    trainer.add_callback(steps)
    wait_for_others(trainer.args.ddp_timeout_delta)
    try:
        trainer.train(resume_from_checkpoint=checkpoint)
    except BaseException as error:
        # What is said next has a line of its own
        if progress.training_bar is not None:
            progress.training_bar.close()
        if isinstance(error, TrainingCollapsed):
            _write_log(trainer, run)
            leave_process_group()
            raise
        # `torch.save` says of a file that it could not write whole where it is, and not why
        if any(mark in str(error) for mark in ("inline_container", "PytorchStreamWriter")):
            check_room(run.output_dir)
        if steps.done or not isinstance(error, Exception):
            raise
        if run.is_new and run.main_process:
            (run.output_dir / HANDOVER_FILE).unlink(missing_ok=True)
        # What a library refuses before a step is done is a setting, or the checkpoint
        with loading(f"{checkpoint} cannot be resumed from" if checkpoint else "the training cannot begin"):
            raise
    trainer.save_model(str(run.output_dir))
    _write_log(trainer, run)


def _write_log(trainer: ResumableTrainer, run: StageRun) -> None:
    if trainer.is_world_process_zero():
        write_jsonl(run.output_dir / LOG_FILE, log_rows(trainer.state.log_history))


def log_rows(log_history: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """
    What a trainer has logged, for JSON: in one order, as a checkpoint has it in another, and without `train_loss`,
    which of a resumed run is not that of all its steps.
    """
    for entry in log_history:
        yield json_floats({key: entry[key] for key in sorted(entry) if key != "train_loss"})


def json_floats(entry: dict[str, Any]) -> dict[str, Any]:
    """A log entry with strings for what JSON has no number for."""
    return {
        key: str(value) if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in entry.items()
    }


def leave_process_group() -> None:
    """End the process group in good order: a process that leaves early can abort the others."""
    state = PartialState()
    state.wait_for_everyone()
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
