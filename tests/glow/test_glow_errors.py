"""Mistakes that end in one clear line, at construction wherever possible, and what it must say."""

import logging

import pytest
import torch
from datasets import Dataset, DatasetDict

from glow_trl import GLOWConfig, GLOWTrainer
from glow_trl.errors import UserError
from helpers.glow_cases import WEIGHTS, glow_settings, make_trainer, token_rows


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"weighting": "glo"}, "weighting: there is none called .glo.; did you mean glow"),
        ({"loss_reduction": "sum"}, "loss_reduction: expected one of sample, token"),
        ({"glow_normalization": "sum"}, "glow_normalization: expected one of none, mean"),
        ({"glow_alpha": 0.0}, "glow_alpha must be positive"),
        ({"glow_alpha": float("nan")}, "glow_alpha must be positive"),
        ({"glow_alpha": float("inf")}, "glow_alpha must be positive and finite"),
        ({"glow_beta": -1.0}, "glow_beta must not be negative"),
        ({"glow_beta": float("nan")}, "glow_beta must not be negative"),
        ({"glow_min_weight": 2.0, "glow_max_weight": 1.0}, "0 <= min <= max, got 2.0 and 1.0"),
        ({"glow_min_weight": -0.1}, "0 <= min <= max"),
        ({"glow_max_weight": float("nan")}, "0 <= min <= max"),
        ({"glow_warmup_epochs": 0}, "glow_warmup_epochs must be at least 1"),
        ({"num_train_epochs": 1}, "never takes effect.*Train for more epochs, or set weighting='uniform'"),
        ({"num_train_epochs": 2, "glow_warmup_epochs": 2}, "never takes effect"),
        ({"num_train_epochs": 1, "weighting": "constant"}, "never takes effect"),
        ({"packing": True, "max_length": 64, "packing_strategy": "wrapped"}, "use packing_strategy='bfd'"),
        ({"packing": True, "max_length": 64, "packing_strategy": "bfd_split"}, "use packing_strategy='bfd'"),
        ({"loss_type": "dft"}, "loss_type='dft' has no GLOW form"),
        ({"label_smoothing_factor": 0.1}, "needs the full logits; set it to 0"),
    ],
    ids=str,
)
def test_configuration(tmp_path, settings, message):
    """Options out of range, and those that do not go together."""
    with pytest.raises(UserError, match=message):
        GLOWConfig(**glow_settings(tmp_path, **settings))


@pytest.mark.parametrize(
    "settings",
    [
        {"num_train_epochs": 1, "weighting": "uniform"},
        {"num_train_epochs": 1.5},
        {"num_train_epochs": 1, "max_steps": 5},
        {"glow_beta": 0.0},
        {"glow_min_weight": 0.0, "glow_max_weight": 0.0},
        {"weighting": "uniform", "loss_reduction": "token", "loss_type": "dft"},
        {"weighting": "uniform", "loss_reduction": "token", "label_smoothing_factor": 0.1},
    ],
    ids=str,
)
def test_allowed(tmp_path, settings):
    GLOWConfig(**glow_settings(tmp_path, **settings))


@pytest.mark.parametrize(
    "rows, settings, message",
    [
        (Dataset.from_list([]), {}, "the training set is empty"),
        (Dataset.from_list(token_rows(3)).to_iterable_dataset(), {"max_steps": 2}, "without streaming=True"),
        (DatasetDict(train=Dataset.from_list(token_rows(3))), {}, "several splits \\(train\\)"),
        (token_rows(3)[0], {}, "must be a datasets.Dataset, got dict"),
        (
            Dataset.from_list([{"input_ids": [5, 6, 7], "labels": [5, 6, 7], "seq_lengths": [2, 1]}]),
            {},
            "is packed already; pass it unpacked",
        ),
        (Dataset.from_list(token_rows(3)).with_transform(lambda batch: batch), {}, "apply the transform with map"),
        (
            Dataset.from_list([{"input_ids": list(range(20)), "labels": [-100] * 10 + list(range(10))}] * 3),
            {"max_length": 8},
            "none of the 3 samples of the training set has a target token left within max_length=8",
        ),
        (
            Dataset.from_list([{"input_ids": list(range(20)), "labels": [-100] * 10 + list(range(10))}] * 3),
            {"max_length": 8, "packing": True},
            "none of the 3 samples of the training set",
        ),
        (
            Dataset.from_list([{"prompt": "aaaaaaaaaaaaaaaaaaaaaaa", "completion": "b"}]),
            {"max_length": 8},
            "none of the 1 samples of the training set",
        ),
        (Dataset.from_list(token_rows(3)), {"packing": True, "max_length": None}, "packing=True needs max_length"),
        (
            Dataset.from_list(token_rows(3)),
            {"train_sampling_strategy": "batch_rebalance"},
            "does not support train_sampling_strategy='batch_rebalance'",
        ),
        (
            Dataset.from_list(token_rows(3)),
            {"accelerator_config": {"split_batches": True}},
            "split_batches and dispatch_batches off",
        ),
    ],
)
def test_training_set(tiny_model, tmp_path, rows, settings, message):
    """Data sets that cannot be trained on, and options of the trainer that GLOW has no answer to."""
    with pytest.raises(UserError, match=message):
        GLOWTrainer(tiny_model, GLOWConfig(**glow_settings(tmp_path, **settings)), train_dataset=rows)


def test_evaluation_set(tiny_model, tmp_path):
    """Empty, and emptied by truncation."""
    rows = token_rows(4)
    with pytest.raises(UserError, match="the evaluation set 'eval' is empty"):
        make_trainer(tiny_model, tmp_path, rows, eval_dataset=Dataset.from_list([]))
    long = Dataset.from_list([{"input_ids": list(range(20)), "labels": [-100] * 10 + list(range(10))}] * 3)
    with pytest.raises(UserError, match="samples of the evaluation set 'long' has a target token left"):
        make_trainer(tiny_model, tmp_path, rows, eval_dataset={"long": long}, max_length=8)


def test_arguments(tiny_model, tmp_path):
    """Arguments that are missing, of another class, or would replace the loss."""
    dataset = Dataset.from_list(token_rows(3))
    config = GLOWConfig(**glow_settings(tmp_path))
    with pytest.raises(UserError, match="args is required"):
        GLOWTrainer(tiny_model, train_dataset=dataset)
    from trl import SFTConfig

    with pytest.raises(UserError, match="args must be a GLOWConfig, got SFTConfig"):
        GLOWTrainer(tiny_model, SFTConfig(**glow_settings(tmp_path)), train_dataset=dataset)
    with pytest.raises(UserError, match="train_dataset is required"):
        GLOWTrainer(tiny_model, config)
    with pytest.raises(UserError, match="compute_loss_func would replace the GLOW loss"):
        GLOWTrainer(tiny_model, config, train_dataset=dataset, compute_loss_func=lambda *args, **kwargs: 0)


class TestResume:
    SETTINGS = {"per_device_train_batch_size": 4, "save_strategy": "epoch", "num_train_epochs": 2}

    @pytest.fixture
    def checkpoint(self, tiny_model, tmp_path):
        make_trainer(tiny_model, tmp_path / "run", token_rows(8), **self.SETTINGS).train()
        return tmp_path / "run" / "checkpoint-2"

    def resume(self, tiny_model, tmp_path, checkpoint, rows, **settings):
        trainer = make_trainer(tiny_model, tmp_path, rows, **{**self.SETTINGS, **settings})
        trainer.train(resume_from_checkpoint=str(checkpoint))

    def test_without_ledger(self, tiny_model, tmp_path, checkpoint):
        (checkpoint / "glow" / "ledger.safetensors").unlink()
        with pytest.raises(UserError, match="ledger.safetensors is missing.*start a new run"):
            self.resume(tiny_model, tmp_path, checkpoint, token_rows(8))

    def test_ledger_beside_the_weights(self, tiny_model, tmp_path, checkpoint):
        """Version 0.1.0 left it there, where vLLM would take it for weights of the model; now nothing is."""
        assert [path.name for path in checkpoint.glob("*.safetensors")] == ["model.safetensors"]
        (checkpoint / "glow" / "ledger.safetensors").rename(checkpoint / "ledger.safetensors")
        self.resume(tiny_model, tmp_path / "run", checkpoint, token_rows(8), num_train_epochs=3)

    def test_damaged_ledger(self, tiny_model, tmp_path, checkpoint):
        (checkpoint / "glow" / "ledger.safetensors").write_bytes(b"not a ledger")
        with pytest.raises(UserError, match="is damaged.*earlier checkpoint"):
            self.resume(tiny_model, tmp_path, checkpoint, token_rows(8))

    @pytest.mark.parametrize("rows", [token_rows(8, seed=1), token_rows(8)[::-1], token_rows(7)], ids=len)
    def test_other_data(self, tiny_model, tmp_path, checkpoint, rows):
        """Other samples, the same in another order, fewer."""
        with pytest.raises(UserError, match="the training set has|other training data"):
            self.resume(tiny_model, tmp_path, checkpoint, rows)

    def test_nothing_to_resume_from(self, tiny_model, tmp_path):
        trainer = make_trainer(tiny_model, tmp_path, token_rows(8), **self.SETTINGS)
        with pytest.raises(UserError, match="there is no complete checkpoint in"):
            trainer.train(resume_from_checkpoint=True)


def test_limit_of_steps_within_the_warm_up(tiny_model, tmp_path, caplog):
    """A limit of steps that never leaves the first epoch is allowed, as a trial run, but not without a word."""
    caplog.set_level(logging.WARNING)
    make_trainer(tiny_model, tmp_path, token_rows(8), per_device_train_batch_size=4, max_steps=2).train()
    assert "weighting='glow' never takes effect: 2 steps" in caplog.text
    caplog.clear()
    make_trainer(tiny_model, tmp_path, token_rows(8), per_device_train_batch_size=4, max_steps=3).train()
    assert "never takes effect" not in caplog.text


def test_batch_of_another_loader(tiny_model, tmp_path):
    """`compute_loss` on a batch without ids says where to take batches from; with ids it gives the loss."""
    trainer = make_trainer(tiny_model, tmp_path, token_rows(6), per_device_train_batch_size=6, **WEIGHTS)
    trainer.model.train()
    (batch,) = trainer.get_train_dataloader()
    loss = trainer.compute_loss(trainer.model, dict(batch))
    torch.testing.assert_close(loss.detach(), trainer.ledger.current.mean())
    del batch["sample_id"]
    with pytest.raises(UserError, match="the trainer's own data loader"):
        trainer.compute_loss(trainer.model, batch)


def test_all_weights_zero(tiny_model, tmp_path):
    """Normalized weights that are all zero leave the model as it is instead of making it NaN."""
    settings = {"glow_normalization": "mean", "glow_min_weight": 0.0, "glow_beta": 1e9, "num_train_epochs": 2}
    for accumulation in (1, 2):
        trainer = make_trainer(
            tiny_model,
            tmp_path,
            token_rows(8),
            per_device_train_batch_size=8 // accumulation,
            gradient_accumulation_steps=accumulation,
            **settings,
        )
        trainer.train()
        assert (trainer.ledger.gain > 0).all()
        assert all(parameter.isfinite().all() for parameter in trainer.model.parameters())
