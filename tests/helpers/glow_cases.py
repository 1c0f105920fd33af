"""Data sets and settings that the tests of the GLOW trainer share."""

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset

from helpers.launching import environment


def token_rows(n: int = 22, seed: int = 0, low: int = 3, high: int = 24, vocab: int = 50) -> list[dict[str, Any]]:
    """Tokenized samples of different lengths, the first tokens of each masked as a prompt would be."""
    rng = random.Random(seed)
    rows = []
    for index in range(n):
        ids = [rng.randrange(3, vocab) for _ in range(rng.randint(low, high))]
        prompt = rng.randint(0, len(ids) - 2)
        labels = [-100] * prompt + ids[prompt:]
        rows.append({"input_ids": ids, "labels": labels, "is_correct": index % 3 != 0})
    return rows


def text_rows(n: int = 12, seed: int = 0) -> list[dict[str, Any]]:
    """Prompts and completions as plain text."""
    rng = random.Random(seed)

    def text(longest):
        return "".join(rng.choice("abcdefgh=+0123456789") for _ in range(rng.randint(2, longest)))

    return [{"prompt": f"{text(8)}?", "completion": f" {text(16)}"} for _ in range(n)]


def glow_settings(output_dir: str | Path, **settings: Any) -> dict[str, Any]:
    """
    Keyword arguments of an `SFTConfig` for exact comparisons on CPU. Plain gradient descent without clipping, as
    Adam would hide a wrong scale of the loss.
    """
    return {
        "output_dir": str(output_dir),
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "report_to": "none",
        "disable_tqdm": True,
        "save_strategy": "no",
        "optim": "sgd",
        "learning_rate": 0.3,
        "lr_scheduler_type": "constant",
        "max_grad_norm": 0.0,
        "num_train_epochs": 3,
        "max_length": None,
        **settings,
    }


# Parameters of the weights with which gains of the size seen here reach both bounds and what lies between
WEIGHTS = {"glow_alpha": 1.8, "glow_beta": 8.0, "glow_min_weight": 0.3, "glow_max_weight": 1.4}


# Every shipped weighting, and each of its forms that computes something else
WEIGHTINGS: dict[str, dict[str, Any]] = {
    "glow": {"weighting": "glow"},
    "uniform": {"weighting": "uniform"},
    "constant": {"weighting": "constant"},
    "tail_sft": {"weighting": "tail_sft", "weighting_kwargs": {"gamma": 0.6}},
    "tail_sft_constant": {"weighting": "tail_sft", "weighting_kwargs": {"schedule": "constant"}},
    "pear": {"weighting": "pear"},
    "pear_block": {"weighting": "pear", "weighting_kwargs": {"level": "block"}},
    "pear_sequence": {"weighting": "pear", "weighting_kwargs": {"level": "sequence"}},
    "dft": {"weighting": "dft"},
    "info_sft": {"weighting": "info_sft", "weighting_kwargs": {"normalize": True}},
    "iw_sft": {"weighting": "iw_sft"},
    "iw_sft_token": {"weighting": "iw_sft_token"},
    "unlikelihood": {"weighting": "unlikelihood"},
    "glow_dft": {"weighting": ["glow", "dft"]},
}
for _settings in WEIGHTINGS.values():
    _settings |= WEIGHTS


# The special token of the tiny model that ends an answer
_END = 2


def reference_rows(n: int = 22, seed: int = 0, **kwargs: Any) -> list[dict[str, Any]]:
    """
    [`token_rows`] with log-probabilities of the targets under another model, about those of an untrained one, in steps
    of the column. In every third sample that of one target is unknown, and in every third there is one more, special
    token, as a template puts it behind a completion.
    """
    rng = random.Random(seed + 1)
    rows = token_rows(n, seed, **kwargs)
    for index, row in enumerate(rows):
        sampled = [token for token in row["labels"] if token != -100]
        row["completion_ids"] = sampled
        row["log_probs"] = [-round(2048 * rng.uniform(3.5, 4.3)) / 2048 for _ in sampled]
        if index % 3 == 0:
            row["input_ids"], row["labels"] = [*row["input_ids"], _END], [*row["labels"], _END]
        elif index % 3 == 1:
            row["log_probs"][len(sampled) // 2] = None
    return rows


_ARGUMENTS = ("peft_config", "processing_class", "callbacks", "data_collator")


def make_trainer(model, output_dir, rows, *, config=None, trainer=None, eval_dataset=None, **settings):
    """A `GLOWTrainer`, or another class of trainer with its configuration, for one of the data sets above."""
    from glow_trl import GLOWConfig, GLOWTrainer

    dataset = rows if isinstance(rows, Dataset) else Dataset.from_list(rows)
    extra = {name: settings.pop(name) for name in _ARGUMENTS if name in settings}
    args = (config or GLOWConfig)(**glow_settings(output_dir, **settings))
    return (trainer or GLOWTrainer)(model, args, train_dataset=dataset, eval_dataset=eval_dataset, **extra)


def parameters(model) -> dict[str, torch.Tensor]:
    """The parameters of a model by name, copied."""
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def largest_difference(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    """Largest absolute difference of two sets of parameters."""
    assert a.keys() == b.keys() and a
    return max((a[name].double() - b[name].double()).abs().max().item() for name in a)


def logged(trainer, name: str) -> list[float]:
    """The values that a trainer logged under a name."""
    return [entry[name] for entry in trainer.state.log_history if name in entry]


def zero(stage: int, **options: Any) -> dict[str, Any]:
    """A DeepSpeed configuration for float32 on CPU."""
    return {
        "zero_optimization": {"stage": stage, **options},
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
        "gradient_clipping": "auto",
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
    }


# As in accelerate_configs/fsdp2.yaml
FSDP2 = {
    "fsdp": True,
    "fsdp_config": {
        "version": 2,
        "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
        "reshard_after_forward": True,
        "cpu_ram_efficient_loading": True,
        "state_dict_type": "FULL_STATE_DICT",
    },
}


def launch(model: str, out: Path, cases: dict[str, dict], num_processes: int = 2) -> None:
    """Run cases of glow_ddp_worker.py, which says what they are made of, in processes started by torchrun."""
    command = launch_command(model, out, cases, num_processes)
    run = subprocess.run(command, capture_output=True, text=True, env=environment())
    assert run.returncode == 0, run.stderr[-5000:]


def launch_command(model: str, out: Path, cases: dict[str, dict], num_processes: int) -> list[str]:
    """The command of [`launch`], with its input written."""
    (out / "cases.json").write_text(json.dumps(cases))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(num_processes)]
    return [*command, "-m", "helpers.glow_ddp_worker", model, str(out)]


def results_of(out: Path, name: str, num_processes: int = 2) -> list[dict[str, Any]]:
    """What each process wrote about a case."""
    found = [torch.load(out / f"{name}-{rank}.pt") for rank in range(num_processes)]
    assert all(result["world_size"] == num_processes for result in found)
    return found
