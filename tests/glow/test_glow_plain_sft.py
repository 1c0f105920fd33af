"""weighting="uniform" with loss_reduction="token" is TRL's SFTTrainer, bit for bit."""

import pytest
import torch
from trl import SFTConfig, SFTTrainer

from helpers.glow_cases import logged, make_trainer, parameters, text_rows, token_rows


CASES = {
    "padded": {"per_device_train_batch_size": 4},
    "accumulated": {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 3},
    "padding_free": {"per_device_train_batch_size": 4, "padding_free": True},
    "packed": {"per_device_train_batch_size": 2, "packing": True, "max_length": 40},
    "packed_accumulated": {
        "per_device_train_batch_size": 1,
        "packing": True,
        "max_length": 32,
        "gradient_accumulation_steps": 2,
    },
    # Shorter than some prompts: `SFTTrainer` drops what is without a target, but not before packing
    "truncated": {"per_device_train_batch_size": 4, "max_length": 12},
    "truncated_end": {"per_device_train_batch_size": 4, "max_length": 12, "truncation_mode": "keep_end"},
    "packed_truncated": {"per_device_train_batch_size": 2, "packing": True, "max_length": 12},
    "shuffled": {"per_device_train_batch_size": 2, "packing": True, "max_length": 40, "shuffle_dataset": True},
    "checkpointed": {"per_device_train_batch_size": 4, "gradient_checkpointing": True},
    "bf16": {"per_device_train_batch_size": 4, "bf16": True},
    "grouped": {"per_device_train_batch_size": 4, "train_sampling_strategy": "group_by_length"},
    "smoothed": {"per_device_train_batch_size": 4, "label_smoothing_factor": 0.1},
    "dft": {"per_device_train_batch_size": 4, "loss_type": "dft"},
}
ADAM = {
    "max_steps": 20,
    "optim": "adamw_torch",
    "learning_rate": 5e-3,
    "lr_scheduler_type": "cosine",
    "warmup_steps": 3,
    "max_grad_norm": 1.0,
    "logging_steps": 1,
}


@pytest.mark.parametrize("name", CASES)
def test_equals_sft_trainer(tiny_model, tmp_path, name):
    """Parameters after 20 steps, losses and gradient norms are equal to the bit, with Adam, schedule and clipping."""
    settings = {**ADAM, **CASES[name]}
    rows = token_rows(26)
    sft = make_trainer(tiny_model, tmp_path, rows, trainer=SFTTrainer, config=SFTConfig, **settings)
    start = parameters(sft.model)
    sft.train()
    glow = make_trainer(tiny_model, tmp_path, rows, weighting="uniform", loss_reduction="token", **settings)
    glow.train()
    check_equal(sft, glow, start)


def check_equal(sft, glow, start):
    """Two trained ones, and the parameters that both began with."""
    assert sft.state.global_step == glow.state.global_step == 20
    a, b = parameters(sft.model), parameters(glow.model)
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert any(not torch.equal(a[key], start[key]) for key in a)
    for metric in ("loss", "grad_norm", "num_tokens", "entropy", "mean_token_accuracy"):
        assert logged(sft, metric) == logged(glow, metric)


@pytest.mark.parametrize("name", ["padded", "accumulated", "padding_free", "packed_accumulated", "bf16"])
def test_dft_equals_sft_trainer(tiny_model, tmp_path, name):
    """`weighting="dft"` is TRL's `loss_type="dft"`, likewise."""
    settings = {**ADAM, **CASES[name]}
    rows = token_rows(26)
    sft = make_trainer(tiny_model, tmp_path, rows, trainer=SFTTrainer, config=SFTConfig, loss_type="dft", **settings)
    start = parameters(sft.model)
    sft.train()
    glow = make_trainer(tiny_model, tmp_path, rows, weighting="dft", loss_reduction="token", **settings)
    glow.train()
    check_equal(sft, glow, start)


def test_equals_sft_trainer_on_text(tiny_model, tmp_path):
    """Likewise from text, with an evaluation set: tokenization and completion-only loss are TRL's."""
    settings = {"per_device_train_batch_size": 4, "logging_steps": 1, "eval_strategy": "epoch", "max_length": 64}
    rows, evaluation = text_rows(14), make_dataset(text_rows(5, seed=1))
    sft = make_trainer(
        tiny_model, tmp_path, rows, trainer=SFTTrainer, config=SFTConfig, eval_dataset=evaluation, **settings
    )
    glow = make_trainer(
        tiny_model, tmp_path, rows, weighting="uniform", loss_reduction="token", eval_dataset=evaluation, **settings
    )
    sft.train()
    glow.train()
    a, b = parameters(sft.model), parameters(glow.model)
    assert all(torch.equal(a[key], b[key]) for key in a)
    for metric in ("loss", "eval_loss", "eval_entropy"):
        assert logged(sft, metric) == logged(glow, metric) != []


def make_dataset(rows):
    from datasets import Dataset

    return Dataset.from_list(rows)


def test_keeps_a_ledger_all_the_same(tiny_model, tmp_path):
    """The control arm's losses can be compared with GLOW's, sample by sample."""
    rows = token_rows(10)
    trainer = make_trainer(
        tiny_model, tmp_path, rows, weighting="uniform", loss_reduction="token", per_device_train_batch_size=4
    )
    trainer.train()
    assert trainer.ledger.epoch == 3
    assert not trainer.ledger.current.isnan().any() and (trainer.ledger.gain > 0).any()
