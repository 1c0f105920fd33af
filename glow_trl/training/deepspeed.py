"""Resuming a DeepSpeed run on another number of processes than wrote the checkpoint."""

import logging
import shutil
import subprocess
import sys
from pathlib import Path

import torch
from transformers import Trainer, TrainerCallback

from ..errors import UserError


logger = logging.getLogger(__name__)

_UNIVERSAL = "latest_universal"


def fit_to_processes(trainer: Trainer, checkpoint: str | None) -> None:
    """
    Let a trainer resume from a checkpoint of another number of processes. DeepSpeed cuts optimizer states to the
    number of processes; they are converted, in the checkpoint's folder, to DeepSpeed's universal format, or a
    `UserError` is raised. Without DeepSpeed there is nothing to convert. To be called by all processes before `train`.
    """
    # Of a call of `train` before
    trainer.remove_callback(_StateOfEachGroup)
    plugin = getattr(trainer.accelerator.state, "deepspeed_plugin", None)
    if plugin is None:
        return
    written_by = 0 if checkpoint is None else num_partitions(checkpoint)
    convert = written_by not in (0, trainer.accelerator.num_processes)
    if checkpoint is not None and convert:
        with trainer.accelerator.main_process_first():
            if not (Path(checkpoint) / _UNIVERSAL).exists():
                _convert(Path(checkpoint))
        if plugin.zero_stage == 3:
            trainer.add_callback(_StateOfEachGroup(trainer, Path(checkpoint)))
    plugin.deepspeed_config.setdefault("checkpoint", {})["load_universal"] = convert


def num_partitions(checkpoint: str | Path) -> int:
    """Into how many parts the optimizer states of a checkpoint are cut; 0 where DeepSpeed did not write it."""
    checkpoint = Path(checkpoint)
    if not (checkpoint / "latest").is_file():
        return 0
    return len(list((checkpoint / (checkpoint / "latest").read_text().strip()).glob("*_optim_states.pt")))


class _StateOfEachGroup(TrainerCallback):
    """
    Mends what DeepSpeed 0.19 restores wrongly of ZeRO-3 from the universal format: all parameter groups share one
    tensor for Adam's count of steps, which so counts each step once for every group, and have the hyperparameters of
    the first, such as its weight decay.
    """

    def __init__(self, trainer: Trainer, checkpoint: Path):
        self.trainer = trainer
        self.checkpoint = checkpoint

    def on_train_begin(self, args, state, control, **kwargs):
        optimizer = self.trainer.model_wrapped.optimizer.optimizer
        for parameter_state in optimizer.state.values():
            if torch.is_tensor(parameter_state.get("step")):
                parameter_state["step"] = parameter_state["step"].clone()
        universal = self.checkpoint / (self.checkpoint / _UNIVERSAL).read_text().strip()
        file = universal / "zero" / "optimizer_state.pt"
        # Holds moments too, which are left on disk
        saved = torch.load(file, map_location="cpu", weights_only=False, mmap=True)
        for group, saved_group in zip(optimizer.param_groups, saved["param_groups"], strict=True):
            group.update({key: value for key, value in saved_group.items() if key != "params"})


def _convert(checkpoint: Path) -> None:
    name = (checkpoint / "latest").read_text().strip()
    universal = checkpoint / f"{name}_universal"
    logger.warning("converting %s to another number of processes", checkpoint / name)
    # Left behind by a run that died over it
    shutil.rmtree(universal, ignore_errors=True)
    command = [sys.executable, "-m", "deepspeed.checkpoint.ds_to_universal", "--inject_missing_state"]
    command += ["--input_folder", str(checkpoint / name), "--output_folder", str(universal)]
    run = subprocess.run(command, capture_output=True, text=True)
    # Written last
    if run.returncode or not (checkpoint / _UNIVERSAL).exists():
        last = (run.stderr.strip() or run.stdout.strip() or "no message").splitlines()[-1]
        raise UserError(f"{checkpoint} cannot be converted to another number of processes: {last}")
