"""How many samples an optimizer step has: kept where a run goes on on another number of processes."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from transformers import Trainer, TrainingArguments

from ..errors import UserError
from ..stages.config import parse_stage
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


def parse_training_stage(
    dataclass_types: Sequence[type], argv: Sequence[str], prog: str, stage: str
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """
    As [`~glow_trl.stages.config.parse_stage`]. Where the output folder holds a run of another number of processes,
    `gradient_accumulation_steps` makes up for the difference, so that it goes on with as many samples in a step.

    Raises:
        UserError: as there, or the samples of a step cannot be divided among the processes.
    """
    instances, settings = parse_stage(dataclass_types, argv, prog, stage)
    (args,) = (instance for instance in instances if isinstance(instance, TrainingArguments))
    division = _division_to_keep(args, settings, read_run(args.output_dir) or {})
    if division:
        changes = ", ".join(f"{name}: {value}" for name, value in division.items())
        logger.warning("%s goes on with %s, as there are %d processes now", args.output_dir, changes, args.world_size)
        options = [part for name, value in division.items() for part in (f"--{name}", str(value))]
        instances, _ = parse_stage(dataclass_types, [*argv, *options], prog, stage)
    return instances, settings


def _division_to_keep(
    args: TrainingArguments, settings: Mapping[str, Any], earlier: Mapping[str, Any]
) -> dict[str, int]:
    """What to change for the run `earlier` to go on; nothing if it is not the number of processes that differs."""
    wanted = earlier.get("step_size", {}).get("samples")
    if wanted in (None, samples_per_step(args)) or earlier.get("status") == "complete":
        return {}
    if any(earlier["config"].get(name) != jsonable(settings.get(name)) for name in DIVISION):
        return {}
    accumulation, rest = divmod(wanted, args.train_batch_size * args.world_size)
    division = {"gradient_accumulation_steps": accumulation}
    if "steps_per_generation" in settings:
        steps, more = divmod(settings["steps_per_generation"] * accumulation, args.gradient_accumulation_steps)
        division["steps_per_generation"] = steps
        rest += more
    if rest:
        raise UserError(
            f"{args.output_dir} holds a run with {wanted} samples in a step, which cannot be divided among "
            f"{args.world_size} processes with per_device_train_batch_size: {args.per_device_train_batch_size}. Set "
            f"this and gradient_accumulation_steps so that the product of the three is {wanted}"
        )
    return division
