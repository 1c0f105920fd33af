"""What must make no difference makes none: how a step is cut, packed and padded, in losses, ledger and parameters."""

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig

from helpers.glow_cases import (
    WEIGHTINGS,
    WEIGHTS,
    largest_difference,
    logged,
    make_trainer,
    parameters,
    reference_rows,
    token_rows,
)
from helpers.glow_reference import train_reference


ADAM = {
    "optim": "adamw_torch",
    # Adam makes the rounding of a gradient that should be zero, as a key bias has, as large as a true one
    "adam_epsilon": 1e-4,
    "learning_rate": 5e-3,
    "lr_scheduler_type": "cosine",
    "warmup_steps": 2,
    "max_grad_norm": 1.0,
    "logging_steps": 1,
}
WHOLE = {"per_device_train_batch_size": 64, "logging_steps": 1, **WEIGHTS}


def trained(model, path, rows, **settings):
    trainer = make_trainer(model, path, rows, **settings)
    trainer.train()
    return trainer


def compare(a, b, tolerance):
    assert largest_difference(parameters(a.model), parameters(b.model)) < tolerance
    for column in ("previous", "current"):
        torch.testing.assert_close(
            getattr(a.ledger, column), getattr(b.ledger, column), atol=tolerance, rtol=0, equal_nan=True
        )
    for metric in ("loss", "grad_norm"):
        torch.testing.assert_close(logged(a, metric), logged(b, metric), atol=10 * tolerance, rtol=10 * tolerance)


def check_adapters(model, path, rows, size, settings):
    """Adapters come to the same in one batch of `size` and in several, straight and resumed; the run in one."""
    lora = {"peft_config": LoraConfig(r=4, target_modules="all-linear"), "save_strategy": "epoch", **ADAM, **settings}
    whole = trained(model, path / "whole", rows, per_device_train_batch_size=size, **lora)
    cut = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": size // 2}
    compare(trained(model, path / "cut", rows, **cut, **lora), whole, 1e-5)
    resumed = make_trainer(model, path / "whole", rows, per_device_train_batch_size=size, **lora)
    resumed.train(resume_from_checkpoint=str(path / "whole" / "checkpoint-3"))
    compare(resumed, whole, 1e-12)
    return whole


@pytest.mark.parametrize("by_token", ["sample", "token"])
@pytest.mark.parametrize("normalization", ["none", "mean"])
def test_one_batch_equals_accumulated_batches(tiny_model, tmp_path, by_token, normalization):
    """1 x 8, 4 x 2, 2 x 4 and 8 x 1 agree to 1e-5, with Adam, clipping and a schedule; losses and norms agree too."""
    settings = {"loss_reduction": by_token, "glow_normalization": normalization, **ADAM, **WEIGHTS}
    rows = token_rows(24)
    whole = trained(tiny_model, tmp_path, rows, per_device_train_batch_size=8, **settings)
    for size in (2, 4, 1):
        cut = {"per_device_train_batch_size": size, "gradient_accumulation_steps": 8 // size}
        compare(trained(tiny_model, tmp_path, rows, **cut, **settings), whole, 1e-5)


@pytest.mark.parametrize("by_token", ["sample", "token"])
@pytest.mark.parametrize("normalization", ["none", "mean"])
@pytest.mark.parametrize("layout", [{}, {"pad_to_multiple_of": 16}, {"shuffle_dataset": True}], ids=str)
def test_packed_equals_unpacked(tiny_model, tmp_path, by_token, normalization, layout):
    """With the same samples in a step: each packed sequence keeps its id, its loss and its weight."""
    settings = {"loss_reduction": by_token, "glow_normalization": normalization, **WHOLE}
    rows = token_rows(19)
    unpacked = trained(tiny_model, tmp_path, rows, **settings)
    packed = trained(tiny_model, tmp_path, rows, packing=True, max_length=48, **layout, **settings)
    assert len(packed.train_dataset) < len(rows) / 2
    compare(packed, unpacked, 1e-5)


@pytest.mark.parametrize("name", [name for name in WEIGHTINGS if name != "glow"])
def test_other_weightings(tiny_model, tmp_path, name):
    """One batch and several, the last step not full; packed and padded; adapters, straight and resumed."""
    rows, settings = reference_rows(22), {"loss_reduction": "token", **ADAM, **WEIGHTINGS[name]}
    whole = trained(tiny_model, tmp_path, rows, per_device_train_batch_size=8, **settings)
    for size in (2, 4):
        cut = {"per_device_train_batch_size": size, "gradient_accumulation_steps": 8 // size}
        compare(trained(tiny_model, tmp_path, rows, **cut, **settings), whole, 1e-5)

    settings = {**WHOLE, **WEIGHTINGS[name]}
    unpacked = trained(tiny_model, tmp_path, rows, **settings)
    for layout in ({"packing": True, "max_length": 48}, {"padding_free": True}):
        compare(trained(tiny_model, tmp_path, rows, **layout, **settings), unpacked, 1e-5)

    check_adapters(tiny_model, tmp_path, rows, 8, WEIGHTINGS[name])


def test_packed_and_accumulated(tiny_model, tmp_path):
    """A step of packed rows one by one is the step of all the samples in them."""
    rows = token_rows(19)
    settings = {"packing": True, "max_length": 48, **WEIGHTS, "logging_steps": 1}
    whole = trained(tiny_model, tmp_path, rows, per_device_train_batch_size=4, **settings)
    cut = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 4}
    compare(trained(tiny_model, tmp_path, rows, **cut, **settings), whole, 1e-5)


def test_packed_in_several_processes(tiny_model, tmp_path):
    """Packed by two worker processes, which pack other sequences together."""
    rows = token_rows(19)
    packed = trained(tiny_model, tmp_path, rows, packing=True, max_length=48, dataset_num_proc=2, **WHOLE)
    compare(packed, trained(tiny_model, tmp_path, rows, **WHOLE), 1e-5)


def test_packed_and_truncated(tiny_model, tmp_path):
    """A sample longer than a packed row is cut, and one without a target then is left out, as without packing."""
    rows = token_rows(19)
    unpacked = trained(tiny_model, tmp_path, rows, max_length=12, **WHOLE)
    packed = trained(tiny_model, tmp_path, rows, packing=True, max_length=12, **WHOLE)
    assert 0 < int(packed.ledger.current.isnan().sum()) < len(rows)
    compare(packed, unpacked, 1e-5)


def test_order_of_the_data_set(tiny_model, tmp_path):
    """The ledger goes by the position of a sample in the data set as passed, however the trainer shuffles it."""
    rows = token_rows(13)
    whole = trained(tiny_model, tmp_path, rows, **WHOLE)
    shuffled = trained(tiny_model, tmp_path, rows, shuffle_dataset=True, dataset_num_proc=2, **WHOLE)
    assert shuffled.train_dataset["sample_id"] != whole.train_dataset["sample_id"]
    compare(shuffled, whole, 1e-5)
    selected = Dataset.from_list(rows).select(range(12, -1, -1))
    torch.testing.assert_close(
        trained(tiny_model, tmp_path, selected, **WHOLE).ledger.current,
        whole.ledger.current.flip(0),
        atol=1e-5,
        rtol=0,
    )


def test_grouped_by_length(tiny_model, tmp_path):
    """Every sample once an epoch, and a resumed epoch in the order it was begun in."""
    rows = token_rows(21)
    settings = {
        "per_device_train_batch_size": 2,
        "train_sampling_strategy": "group_by_length",
        "save_strategy": "steps",
        "save_steps": 1,
        **ADAM,
        **WEIGHTS,
    }
    straight = trained(tiny_model, tmp_path, rows, **settings)
    assert not straight.ledger.current.isnan().any() and not straight.ledger.previous.isnan().any()
    resumed = make_trainer(tiny_model, tmp_path, rows, **settings)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-15"))
    compare(resumed, straight, 1e-12)


def test_lora(tiny_model, tmp_path):
    """Adapters train by the same losses and weights: in one batch and in several, straight and resumed."""
    whole = check_adapters(tiny_model, tmp_path, token_rows(18), 6, WEIGHTS)
    trainable = [name for name, parameter in whole.model.named_parameters() if parameter.requires_grad]
    assert trainable and all("lora" in name for name in trainable)


def test_bf16(tiny_model, tmp_path):
    """Losses are summed in float32: in bf16 they stay close to the exact ones, and packing stays close to padding."""
    rows = token_rows(19)
    run = train_reference(tiny_model, rows, 64, 2, learning_rate=0.0)
    for layout in ({}, {"packing": True, "max_length": 48}, {"padding_free": True}):
        trainer = trained(
            tiny_model, tmp_path, rows, bf16=True, num_train_epochs=2, **{**WHOLE, "learning_rate": 0.0}, **layout
        )
        assert trainer.ledger.current.dtype == torch.float32
        torch.testing.assert_close(
            trainer.ledger.current.double(), torch.from_numpy(run.losses[-1]), atol=0.02, rtol=0
        )


@pytest.mark.parametrize("checkpointing", [{"use_reentrant": False}, {"use_reentrant": True}], ids=str)
def test_gradient_checkpointing(tiny_model, tmp_path, checkpointing):
    """A second forward pass during the backward one does not count as a second visit."""
    rows = token_rows(19)
    settings = {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": checkpointing, **WHOLE}
    compare(trained(tiny_model, tmp_path, rows, **settings), trained(tiny_model, tmp_path, rows, **WHOLE), 1e-6)


def test_train_twice(tiny_model, tmp_path):
    """A second call of `train` starts with an empty ledger."""
    rows = token_rows(9)
    trainer = trained(tiny_model, tmp_path, rows, **WHOLE)
    trainer.train()
    assert trainer.ledger.epoch == 3
    assert logged(trainer, "glow/mean_weight")[0] == 1.0
