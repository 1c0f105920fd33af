"""The quickstart, and the miniature, with everything made small, so that a run takes seconds."""

import shutil
from pathlib import Path
from typing import Any

import yaml

from helpers.launching import ROOT


SMALL: dict[str, dict[str, Any]] = {
    "recipe": {
        "quickstart": {"train_questions": 40, "samples_per_question": 2, "rl_questions": 32, "test_questions": 8},
        "built_model": {
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
        },
    },
    "sft": {
        "max_steps": 10,
        "per_device_train_batch_size": 16,
        "save_steps": 2,
        "logging_steps": 1,
        "warmup_steps": 0,
    },
    "grpo": {
        **{"max_steps": 3, "per_device_train_batch_size": 32, "max_completion_length": 12, "save_steps": 1},
        **{"guard_max_clipped_ratio": None, "guard_max_entropy": None},
    },
    "eval": {"num_samples": 2, "max_new_tokens": 12},
}


SMALL_MINIATURE = SMALL | {
    "recipe": {
        "miniature": {"train_questions": 20, "rl_questions": 32, "test_questions": 4, "pretraining_tasks": 320},
        "built_model": SMALL["recipe"]["built_model"] | {"num_hidden_layers": 2},
        "built_model_training": {"per_device_train_batch_size": 32},
    }
}


def small_quickstart(folder: Path, **changes: dict[str, Any] | None) -> Path:
    """Write the recipe, with changes by the names of its files: of a setting, `None` takes it away; of a file too."""
    return _write(folder, "quickstart", SMALL, changes)


def small_miniature(folder: Path, **changes: dict[str, Any] | None) -> Path:
    """Likewise."""
    return _write(folder, "miniature", SMALL_MINIATURE, changes)


def _write(
    folder: Path, recipe: str, smaller: dict[str, dict[str, Any]], changes: dict[str, dict[str, Any] | None]
) -> Path:
    shutil.copytree(ROOT / "recipes" / recipe, folder)
    for name, small in {**smaller, **dict.fromkeys(changes.keys() - smaller.keys(), {})}.items():
        path = folder / f"{name}.yaml"
        own = changes.get(name, {})
        if own is None:
            path.unlink()
            continue
        settings = yaml.safe_load(path.read_text()) if path.is_file() else {}
        for key, value in small.items():
            settings[key] = {**settings[key], **value} if isinstance(value, dict) else value
        settings = {key: value for key, value in (settings | own).items() if key not in own or own[key] is not None}
        # The first arm is what runs
        path.write_text(yaml.safe_dump(settings, sort_keys=False))
    return folder
