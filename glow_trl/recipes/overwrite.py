"""Deleting an earlier run: what its stages wrote, and nothing else that lies in its folders."""

import logging
import os
import shutil
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path

from ..errors import UserError
from ..stages.frame import folder_of_stage
from ..stages.record import RUN_FILE, read_run
from ..stages.registry import DATA_STAGES, TRAINING_STAGES
from .recipe import PREPARE_DIR


logger = logging.getLogger(__name__)

# What stages, TRL and transformers write in the folders of a run's stages, at any depth
_FILES = (
    *("run.json", "config.yaml", "config.new.yaml", "*.lock", "*.partial", "rejects.jsonl"),
    *(
        "trajectories*.jsonl",
        "questions.jsonl",
        "pretraining.jsonl",
        "test_*.jsonl",
        "pass_rates.jsonl",
        "disagreements.jsonl",
    ),
    *("train.jsonl", "validation.jsonl", "prompts.jsonl", "contamination.jsonl", "duplicates.jsonl"),
    *("card.json", "card.md", "lengths.svg", "README.md", "log.jsonl", "handover.json", "training_args.bin"),
    *("*.safetensors", "*.safetensors.index.json", "pytorch_model*", "adapter_model*", "adapter_config.json"),
    *("config.json", "generation_config.json", "tokenizer*", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.json", "vocab.txt", "merges.txt", "*.jinja", "epoch-*.npy", "samples.jsonl", "samples*.parquet"),
    *(
        "weights-*.npy",
        "token-weights-*.npz",
        "losses.jsonl",
        "losses.work.jsonl",
        "dynamics.json",
        "never_improved.jsonl",
        "vllm_server.log",
        "results.json",
        "ready.json",
        "asked_*.jsonl",
        "state.json",
    ),
    *("generations_*.jsonl", "entropy_*.jsonl", "*.samples.jsonl", "*.entropy_samples.jsonl"),
)
_FOLDERS = (
    "checkpoint-*",
    "tmp-checkpoint-*",
    "collapsed-checkpoint-*",
    "runs",
    "completions",
    "merged_model",
    "merged_model.partial",
)
_RESULTS = ("summary.json", "report.html", RUN_FILE)


def delete_run(output_dir: Path) -> None:
    """
    Delete what the run in a folder has made. What no stage writes is kept, and named; symbolic links are kept and not
    followed. Raises `UserError`, before anything is deleted, where the folder is no run's.
    """
    if not output_dir.exists():
        return
    if output_dir.resolve() in (Path("/"), Path(os.path.expanduser("~")).resolve(), Path.cwd()):
        raise UserError(f"--overwrite: {output_dir} is no folder of a run's own; nothing was deleted")
    with folder_of_stage(output_dir):
        record = read_run(output_dir)
        if record is None or record.get("stage") != "run":
            raise UserError(
                f"--overwrite: {output_dir} has no {RUN_FILE} of a run, so it is no run's folder; nothing was deleted"
            )
        arms = [output_dir / str(arm) for arm in record.get("arms") or [] if Path(str(arm)).name == str(arm)]
        stages = ["ready", *(f"{stage}{suffix}" for stage in TRAINING_STAGES for suffix in ("", "_eval"))]
        folders = [output_dir / name for name in (PREPARE_DIR, *DATA_STAGES)]
        folders += [arm / stage for arm in arms for stage in stages]
        for path in (*arms, *folders):
            if path.is_symlink():
                raise UserError(
                    f"--overwrite: {path} is a symbolic link, and what it leads to may not be the run's; nothing was "
                    "deleted"
                )
        delete_made(folders)
        for arm in arms:
            if arm.is_dir() and not any(arm.iterdir()):
                arm.rmdir()
        for name in _RESULTS:
            (output_dir / name).unlink(missing_ok=True)


def delete_made(folders: Iterable[Path]) -> None:
    """Delete what stages have written in their folders, and these where nothing is left in them."""
    kept: list[str] = []
    for top in folders:
        for place, subfolders, files in os.walk(top, topdown=True):
            folder = Path(place)
            for name in list(subfolders):
                if (folder / name).is_symlink():
                    kept.append(str(folder / name))
                elif _is_made(name, _FOLDERS):
                    shutil.rmtree(folder / name)
                    subfolders.remove(name)
            for name in files:
                if _is_made(name, _FILES) and not (folder / name).is_symlink():
                    (folder / name).unlink()
                else:
                    kept.append(str(folder / name))
        for place, _, _ in os.walk(top, topdown=False):
            if not any(Path(place).iterdir()):
                Path(place).rmdir()
    if kept:
        more = f" and {len(kept) - 5:,} more" if len(kept) > 5 else ""
        logger.warning("--overwrite: kept what no stage writes: %s%s", ", ".join(kept[:5]), more)


def _is_made(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
