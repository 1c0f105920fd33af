"""Resuming a DeepSpeed run on another number of processes than wrote the checkpoint."""

import logging
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import UserError


if TYPE_CHECKING:
    from transformers import Trainer


logger = logging.getLogger(__name__)

_UNIVERSAL = "latest_universal"


def fit_to_processes(trainer: "Trainer", checkpoint: str | None) -> None:
    """
    Let a trainer resume from a checkpoint of another number of processes. DeepSpeed cuts optimizer states to the
    number of processes; with ZeRO-1 and ZeRO-2 they are converted, in the checkpoint's folder, to DeepSpeed's
    universal format. Without DeepSpeed there is nothing to do. To be called by all processes.

    Args:
        trainer ([`~transformers.Trainer`]): the trainer, before `train`.
        checkpoint (`str`, *optional*): folder of the checkpoint.

    Raises:
        UserError: the numbers differ and the states cannot be converted.
    """
    plugin = getattr(trainer.accelerator.state, "deepspeed_plugin", None)
    if plugin is None:
        return
    written_by = 0 if checkpoint is None else num_partitions(checkpoint)
    convert = written_by not in (0, trainer.accelerator.num_processes)
    if convert:
        check_convertible(checkpoint, written_by, trainer.accelerator.num_processes, plugin.zero_stage)
        with trainer.accelerator.main_process_first():
            if not (Path(checkpoint) / _UNIVERSAL).exists():
                _convert(Path(checkpoint))
    plugin.deepspeed_config.setdefault("checkpoint", {})["load_universal"] = convert


def num_partitions(checkpoint: str | Path) -> int:
    """Into how many parts the optimizer states of a checkpoint are cut; 0 where DeepSpeed did not write it."""
    checkpoint = Path(checkpoint)
    if not (checkpoint / "latest").is_file():
        return 0
    return len(list((checkpoint / (checkpoint / "latest").read_text().strip()).glob("*_optim_states.pt")))


def check_convertible(checkpoint: str | Path, written_by: int, num_processes: int, zero_stage: int) -> None:
    """
    Raises:
        UserError: the states are those of a ZeRO stage that are not converted.
    """
    # Of ZeRO-3, DeepSpeed 0.19 restores Adam's averages but not its count of steps
    if zero_stage not in (1, 2):
        raise UserError(
            f"{checkpoint} was written by {written_by} processes with DeepSpeed ZeRO-{zero_stage}, which cannot go on "
            f"with {num_processes}: resume with {written_by} processes"
        )


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
