"""Which checkpoint of a training run can be resumed from: a run may have died while it wrote the last one."""

import json
import logging
import os
import re
import zipfile
from contextlib import suppress
from pathlib import Path

from ..errors import UserError
from ..generation.model_files import DamagedFile, check_file, weight_files


logger = logging.getLogger(__name__)

# In a folder of its own: vLLM takes all such files beside a model's weights for weights
LEDGER_FILE = "glow/ledger.safetensors"
# Completions that are not all trained on yet, of each process
GENERATIONS_FILE = "generations_{}.pt"
TRAINER_STATE_FILE = "trainer_state.json"

_FOLDER = re.compile(r"checkpoint-(\d+)")
_RANK = re.compile(r"(?:rng_state|zero_pp_rank|generations)_(\d+)")
_WEIGHTS = ("model", "pytorch_model", "adapter_model")


def last_complete_checkpoint(output_dir: str | os.PathLike) -> str | None:
    """
    The latest checkpoint in the output folder of a `transformers` trainer that training can go on from, if there is
    one. A damaged or unfinished one is passed over, with a warning that says what is wrong with it.

    Weights and optimizer states are not loaded: their files are checked by header and size.
    """
    found = []
    if Path(output_dir).is_dir():
        matches = ((_FOLDER.fullmatch(path.name), path) for path in Path(output_dir).iterdir() if path.is_dir())
        found = sorted(((int(match[1]), path) for match, path in matches if match), reverse=True)
    # A run either keeps a ledger, from its first checkpoint on, or never does
    has_ledger = any(ledger_file(path).exists() for _, path in found)
    for step, path in found:
        fault = _find_fault(path, step, has_ledger)
        if fault is None:
            return str(path)
        logger.warning("checkpoint %s is not complete and is passed over: %s", path, fault)
    return None


def check_checkpoint(checkpoint: str | os.PathLike) -> None:
    """Raise a `UserError` for a folder that is no checkpoint which training can go on from; says what is wrong."""
    folder = Path(checkpoint)
    if not folder.is_dir():
        raise UserError(f"resume_from_checkpoint: there is no folder {folder}")
    fault = _find_fault(folder, None, False)
    if fault is not None:
        raise UserError(f"resume_from_checkpoint: {folder} is not complete: {fault}")


def ledger_file(checkpoint: Path) -> Path:
    """Where a checkpoint has its ledger; in those of version 0.1.0 it lies beside the weights."""
    path = checkpoint / LEDGER_FILE
    earlier = checkpoint / path.name
    return earlier if earlier.is_file() and not path.exists() else path


def num_processes_of(checkpoint: str | os.PathLike) -> int:
    """How many processes wrote a checkpoint."""
    # Of one process it is `rng_state.pth`
    return max(1, len(list(Path(checkpoint).glob("rng_state_*.pth"))))


def remove_other_ranks(checkpoint: str | os.PathLike, num_processes: int) -> None:
    """
    Remove from a checkpoint what more processes than these left there: a run that died over it, in whose place fewer
    have written it again. DeepSpeed would take all the parts that it finds for those of one run.
    """
    for pattern in ("rng_state_*.pth", GENERATIONS_FILE.format("*"), "global_step*/*zero_pp_rank_*.pt"):
        for path in Path(checkpoint).glob(pattern):
            if (rank := _RANK.search(path.name)) and int(rank[1]) >= num_processes:
                path.unlink(missing_ok=True)


def _find_fault(checkpoint: Path, step: int | None, has_ledger: bool) -> str | None:
    """What keeps a checkpoint from being resumed from, if anything does."""
    try:
        # Written last
        state = json.loads((checkpoint / TRAINER_STATE_FILE).read_bytes())
        if step not in (None, state["global_step"]):
            return f"{TRAINER_STATE_FILE} is of step {state['global_step']}"
        files = [*_weight_files(checkpoint), *_training_state_files(checkpoint)]
        if has_ledger:
            files.append(ledger_file(checkpoint))
        for file in files:
            check_file(file)
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        if isinstance(error, FileNotFoundError) and error.filename:
            return f"{Path(error.filename).relative_to(checkpoint)} is missing"
        return str(error) if isinstance(error, DamagedFile) else f"{TRAINER_STATE_FILE} is damaged ({error})"
    return None


def _weight_files(checkpoint: Path) -> list[Path]:
    """The files of the weights. Raises `FileNotFoundError` if there are none, or not all."""
    if _is_sharded(checkpoint):
        return _sharded_files(checkpoint)
    # Adapters beyond the first are in folders of their own
    for folder in (checkpoint, *(path for path in sorted(checkpoint.iterdir()) if path.is_dir())):
        with suppress(FileNotFoundError):
            return weight_files(folder, _WEIGHTS)
    raise FileNotFoundError(2, "no weights", str(checkpoint / "model.safetensors"))


def _training_state_files(checkpoint: Path) -> list[Path]:
    files = sorted(checkpoint.glob("rng_state*.pth"))
    ranks = sorted(int(match[1]) for file in files if (match := re.fullmatch(r"rng_state_(\d+)\.pth", file.name)))
    for rank in range(max(ranks, default=-1) + 1):
        if rank not in ranks:
            raise FileNotFoundError(2, "rank missing", str(checkpoint / f"rng_state_{rank}.pth"))
    if not files:
        raise FileNotFoundError(2, "no random state", str(checkpoint / "rng_state.pth"))
    files += sorted(checkpoint.glob(GENERATIONS_FILE.format("*")))
    if (checkpoint / "scaler.pt").exists():
        files.append(checkpoint / "scaler.pt")
    if _is_sharded(checkpoint):
        # DeepSpeed may keep the scheduler among its own files
        return files + [path for path in (checkpoint / "scheduler.pt",) if path.exists()]
    return [*files, checkpoint / "optimizer.pt", checkpoint / "scheduler.pt"]


def _is_sharded(checkpoint: Path) -> bool:
    """Whether DeepSpeed or FSDP wrote weights and optimizer in files of their own."""
    return any(checkpoint.glob("global_step*")) or any(checkpoint.glob("pytorch_model_fsdp*"))


def _sharded_files(checkpoint: Path) -> list[Path]:
    if any(checkpoint.glob("global_step*")):
        # `latest` is written when all processes have written their files
        folder = checkpoint / (checkpoint / "latest").read_text().strip()
        files = sorted(folder.glob("*.pt"))
        if not any("model_states" in file.name for file in files):
            raise FileNotFoundError(2, "no weights", str(folder / "mp_rank_00_model_states.pt"))
        if not any("optim_states" in file.name for file in files):
            raise FileNotFoundError(2, "no optimizer", str(folder / "zero_pp_rank_0_mp_rank_00_optim_states.pt"))
        return files
    files = []
    for path in (*checkpoint.glob("pytorch_model_fsdp*"), *checkpoint.glob("optimizer*")):
        # A folder holds a shard of each process, and metadata that is written after them
        files += [path / ".metadata", *sorted(path.glob("*.distcp"))] if path.is_dir() else [path]
    if not any("optimizer" in str(file.relative_to(checkpoint)) for file in files):
        raise FileNotFoundError(2, "no optimizer", str(checkpoint / "optimizer_0"))
    return files
