"""
Going on with a run: from its last complete checkpoint, on the processes that there are now, with as many samples in a
step.

A step is kept in two places. A stage knows from its `run.json` how many samples its run has in a step, and sets the
arguments by it before the trainer is made, as [`~trl.GRPOTrainer`] plans its generations then. A trainer that is used
by itself finds the number in the checkpoint.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate.logging import get_logger
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import ExportableState
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from ..errors import UserError
from ..stages.config import Settings, command_types, parse_settings
from ..stages.record import DIVISION, jsonable, read_run
from ..stages.secrets import hide
from .checkpoints import TRAINER_STATE_FILE, last_complete_checkpoint, num_processes_of, remove_other_ranks
from .deepspeed import fit_to_processes
from .extensions import remove_abandoned_locks
from .finite import FiniteTrainer


logger = get_logger(__name__)


class ResumableTrainer(FiniteTrainer):
    """
    Put before a [`~transformers.Trainer`] among the bases of a class, lets its `train` go on from a checkpoint that a
    run left behind when it died, also one of another number of processes; and stop where numbers are not finite, as
    [`~glow_trl.training.finite.FiniteTrainer`] does.

    Attributes:
        resumed_from (`str`, *optional*):
            The checkpoint that the last call of `train` went on from, if any.
    """

    resumed_from: str | None = None

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        make_resumable(self.args)
        self.add_callback(_ResumableCheckpoints)

    def train(self, resume_from_checkpoint=None, *args, **kwargs):
        if resume_from_checkpoint is True:
            # `Trainer` takes the last one, which is not whole if the run died while writing it
            resume_from_checkpoint = last_complete_checkpoint(self.args.output_dir)
            if resume_from_checkpoint is None:
                raise UserError(
                    f"there is no complete checkpoint in {self.args.output_dir}: start a new run, without "
                    "resume_from_checkpoint"
                )
        self.resumed_from = resume_from_checkpoint or None
        if self.resumed_from is not None:
            logger.warning(f"resuming from {self.resumed_from}")
            _keep_samples_per_step(self, Path(self.resumed_from))
        fit_to_processes(self, self.resumed_from)
        return super().train(self.resumed_from, *args, **kwargs)

    def get_batch_samples(self, epoch_iterator, num_batches, device):
        if self.state.global_step >= self.state.max_steps:
            # The run died after its last step: `Trainer` would do one more, and only then see that there is none
            self.control.should_training_stop = True
            return [], None
        return super().get_batch_samples(epoch_iterator, num_batches, device)

    def _issue_warnings_after_load(self, load_result):
        # Weights that are tied to others are saved with these, and are not missing
        tied = getattr(self.model, "all_tied_weights_keys", {})
        missing = [name for name in load_result.missing_keys if name not in tied]
        super()._issue_warnings_after_load(load_result._replace(missing_keys=missing))

    def create_model_card(self, *args, **kwargs):
        super().create_model_card(*args, **kwargs)
        # It names the model on the Hub and the trackers' pages
        card = Path(self.args.output_dir) / "README.md"
        if self.is_world_process_zero() and card.is_file():
            text = card.read_text(encoding="utf-8")
            if hide(text) != text:
                card.write_text(hide(text), encoding="utf-8")


def make_resumable(args: TrainingArguments) -> None:
    """
    Let a run of several processes on CPU load optimizer states, by a change of `args` in place. accelerate calls the
    device of such a run `cpu:0`, and `transformers` asks `torch.load` for tensors there, which knows the CPU without a
    number only.
    """
    if args.device.type == "cpu" and args.device.index is not None:
        # Where the property `device` keeps its value
        vars(args)["_setup_devices"] = torch.device("cpu")


def samples_per_step(args: TrainingArguments) -> int:
    """Samples of an optimizer step, on all processes."""
    return args.train_batch_size * args.gradient_accumulation_steps * args.world_size


def step_size(args: TrainingArguments) -> dict[str, int]:
    """Numbers of samples on all processes: of an optimizer step, and with GRPO of the completions made at a time."""
    sizes = {"samples": samples_per_step(args)}
    if getattr(args, "generation_batch_size", None) is not None:
        sizes["completions"] = args.generation_batch_size
    return sizes


# Settings of TRL's and transformers' configurations that do not change what a training makes: how it is logged and
# saved, where and how fast a step is computed, where its server is
CHANGEABLE = frozenset(
    "run_name project report_to disable_tqdm logging_strategy logging_steps log_level save_strategy save_steps "
    "save_total_limit resume_from_checkpoint overwrite_output_dir dataloader_num_workers dataset_num_proc use_cpu "
    # The name that newer releases of transformers have for the same, beside the old one
    "activation_checkpointing activation_checkpointing_kwargs "
    "gradient_checkpointing gradient_checkpointing_kwargs dataloader_pin_memory dataloader_persistent_workers "
    "dataloader_prefetch_factor ddp_timeout per_device_eval_batch_size vllm_mode vllm_gpu_memory_utilization "
    "vllm_tensor_parallel_size vllm_enable_sleep_mode vllm_server_host vllm_server_port vllm_server_base_url "
    "vllm_server_timeout".split()
)


def parse_training_stage(command: str, argv: Sequence[str], dataclass_types: Sequence[type] | None = None) -> Settings:
    """
    As [`~glow_trl.stages.config.parse_command`]. Where the output folder holds a run of another number of processes,
    `gradient_accumulation_steps` makes up for the difference, so that it goes on with as many samples in a step; a
    `UserError` says that these cannot be divided among the processes.
    """
    # The arguments of a training start DeepSpeed
    remove_abandoned_locks()
    types = command_types(command) if dataclass_types is None else dataclass_types
    settings = parse_settings(types, argv, command, CHANGEABLE)
    (args,) = (config for config in settings.configs if isinstance(config, TrainingArguments))
    division = _division_to_keep(args, settings.given, read_run(args.output_dir) or {})
    if division:
        changes = ", ".join(f"{name}: {value}" for name, value in division.items())
        logger.warning(f"{args.output_dir} goes on with {changes}, as there are {args.world_size} processes now")
        options = [part for name, value in division.items() for part in (f"--{name}", str(value))]
        divided = parse_settings(types, [*argv, *options], command, CHANGEABLE)
        settings = dataclasses.replace(divided, given=settings.given, resolved=settings.resolved)
    return settings


def _division_to_keep(args: TrainingArguments, given: Mapping[str, Any], earlier: Mapping[str, Any]) -> dict[str, int]:
    """What to change for the run `earlier` to go on; nothing if it is not the number of processes that differs."""
    wanted = earlier.get("step_size", {}).get("samples")
    if wanted in (None, samples_per_step(args)) or earlier.get("status") == "complete":
        return {}
    if any(earlier.get("given", {}).get(name) != jsonable(given.get(name)) for name in DIVISION):
        return {}
    accumulation, rest = _accumulation(wanted, args)
    division = {"gradient_accumulation_steps": accumulation}
    if "steps_per_generation" in given:
        steps, more = divmod(given["steps_per_generation"] * accumulation, args.gradient_accumulation_steps)
        division["steps_per_generation"] = steps
        rest += more
    if rest:
        raise UserError(
            f"{args.output_dir} holds a run with {wanted} samples in a step, which cannot be divided among "
            f"{args.world_size} processes with per_device_train_batch_size: {args.per_device_train_batch_size}. Set "
            f"this and gradient_accumulation_steps so that the product of the three is {wanted}"
        )
    return division


def _keep_samples_per_step(trainer: Trainer, checkpoint: Path) -> None:
    """Let `gradient_accumulation_steps` make up for another number of processes, if it can."""
    wanted, samples = saved_samples_per_step(checkpoint), samples_per_step(trainer.args)
    if wanted in (None, samples):
        return
    steps, rest = _accumulation(wanted, trainer.args)
    same_processes = num_processes_of(checkpoint) == trainer.args.world_size
    if rest or same_processes or "completions" in step_size(trainer.args):
        logger.warning(
            f"{checkpoint} has {wanted} samples in a step, and there are {samples} now: its steps are another part of "
            "an epoch, and some samples are visited twice or not at all in this one"
        )
        return
    logger.warning(f"{checkpoint} has {wanted} samples in a step: gradient_accumulation_steps is now {steps}")
    trainer.args.gradient_accumulation_steps = steps
    plugin = getattr(trainer.accelerator.state, "deepspeed_plugin", None)
    if plugin is not None:
        plugin.deepspeed_config["gradient_accumulation_steps"] = steps
        if "train_batch_size" in plugin.deepspeed_config:
            plugin.deepspeed_config["train_batch_size"] = wanted


def _accumulation(samples: int, args: TrainingArguments) -> tuple[int, int]:
    """The `gradient_accumulation_steps` for so many samples in a step, and how many are left over."""
    return divmod(samples, args.train_batch_size * args.world_size)


def saved_samples_per_step(checkpoint: Path) -> int | None:
    """Samples of a step of the run that wrote a checkpoint; `None` where that is not known."""
    try:
        callbacks = json.loads((checkpoint / TRAINER_STATE_FILE).read_bytes())["stateful_callbacks"]
        return int(callbacks[_ResumableCheckpoints.__name__]["attributes"]["samples"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


class _ResumableCheckpoints(TrainerCallback, ExportableState):
    """
    Records in each checkpoint's `trainer_state.json` how many samples a step has, and leaves no parts of more
    processes in a checkpoint that is written over theirs. Where epochs are saved, they are logged before: what is
    logged is a mean over the steps since the log before, and these a run that goes on would not know.
    """

    samples: int | None = None

    def on_train_begin(self, args, state, control, **kwargs):
        self.samples = samples_per_step(args)
        # `Trainer` takes it for granted, and one that was resumed from a checkpoint without it lacks it
        state.stateful_callbacks.setdefault(type(self).__name__, self.state())

    def on_step_end(self, args, state, control, **kwargs):
        control.should_log |= control.should_save and args.save_strategy == "epoch"

    on_epoch_end = on_step_end

    def on_save(self, args, state, control, **kwargs):
        if state.is_local_process_zero:
            checkpoint = Path(args.output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}"
            remove_other_ranks(checkpoint, args.world_size)

    def state(self) -> dict[str, Any]:
        return {"args": {}, "attributes": {"samples": self.samples}}
