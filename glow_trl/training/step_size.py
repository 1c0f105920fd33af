"""How many samples an optimizer step has: kept where a run goes on on another number of processes."""

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from transformers import Trainer, TrainingArguments

from ..errors import UserError
from ..stages.config import Settings, command_types, parse_settings
from ..stages.record import DIVISION, jsonable, read_run


logger = logging.getLogger(__name__)


def samples_per_step(args: TrainingArguments) -> int:
    """Samples of an optimizer step, on all processes."""
    return args.train_batch_size * args.gradient_accumulation_steps * args.world_size


def step_size(args: TrainingArguments) -> dict[str, int]:
    """Numbers of samples on all processes: of an optimizer step, and with GRPO of the completions made at a time."""
    sizes = {"samples": samples_per_step(args)}
    if getattr(args, "generation_batch_size", None) is not None:
        sizes["completions"] = args.generation_batch_size
    return sizes


def set_accumulation(trainer: Trainer, steps: int) -> None:
    """Change `gradient_accumulation_steps` of a trainer that has not begun to train."""
    trainer.args.gradient_accumulation_steps = steps
    plugin = getattr(trainer.accelerator.state, "deepspeed_plugin", None)
    if plugin is not None:
        plugin.deepspeed_config["gradient_accumulation_steps"] = steps
        if "train_batch_size" in plugin.deepspeed_config:
            plugin.deepspeed_config["train_batch_size"] = samples_per_step(trainer.args)


# Settings of TRL's and transformers' configurations that do not change what a training makes: how it is logged and
# saved, where and how fast a step is computed, where its server is
CHANGEABLE = frozenset(
    "run_name project report_to disable_tqdm logging_strategy logging_steps log_level save_strategy save_steps "
    "save_total_limit resume_from_checkpoint overwrite_output_dir dataloader_num_workers dataset_num_proc use_cpu "
    "gradient_checkpointing gradient_checkpointing_kwargs dataloader_pin_memory dataloader_persistent_workers "
    "dataloader_prefetch_factor ddp_timeout per_device_eval_batch_size vllm_mode vllm_gpu_memory_utilization "
    "vllm_tensor_parallel_size vllm_enable_sleep_mode vllm_server_host vllm_server_port vllm_server_base_url "
    "vllm_server_timeout".split()
)


def parse_training_stage(command: str, argv: Sequence[str], dataclass_types: Sequence[type] | None = None) -> Settings:
    """
    As [`~glow_trl.stages.config.parse_command`]. Where the output folder holds a run of another number of processes,
    `gradient_accumulation_steps` makes up for the difference, so that it goes on with as many samples in a step.

    Raises:
        UserError: as there, or the samples of a step cannot be divided among the processes.
    """
    types = command_types(command) if dataclass_types is None else dataclass_types
    settings = parse_settings(types, argv, command, CHANGEABLE)
    (args,) = (config for config in settings.configs if isinstance(config, TrainingArguments))
    division = _division_to_keep(args, settings.given, read_run(args.output_dir) or {})
    if division:
        changes = ", ".join(f"{name}: {value}" for name, value in division.items())
        logger.warning("%s goes on with %s, as there are %d processes now", args.output_dir, changes, args.world_size)
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
    accumulation, rest = divmod(wanted, args.train_batch_size * args.world_size)
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
