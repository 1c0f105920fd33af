"""
A step of GLOW makes the host wait for the device no more often than a step of `SFTTrainer`: counted on CPU, by the
operators that would wait on a GPU. `bench_glow_step.py --profile` shows it on a GPU.
"""

import collections

import pytest
import torch
from trl import SFTConfig, SFTTrainer

from glow_trl import GLOWTrainer
from helpers.glow_cases import WEIGHTS, make_trainer, token_rows
from helpers.waiting import WaitingOperators


def waits(model, folder, epochs: int, **settings) -> collections.Counter:
    """The operators of a whole training."""
    trainer = make_trainer(
        model, folder, token_rows(16), num_train_epochs=epochs, logging_strategy="no", max_grad_norm=1.0, **settings
    )
    with WaitingOperators() as mode:
        trainer.train()
    return mode.counts


def waits_by_epoch(model, folder, **settings) -> dict[str, int]:
    """Those of an epoch, without what a training does once."""
    first, second = (waits(model, folder, epochs, **settings) for epochs in (2, 3))
    return {name: second[name] - first[name] for name in second if second[name] != first[name]}


LAYOUTS = {
    "padded": {},
    "accumulated": {"gradient_accumulation_steps": 2},
    "padding_free": {"padding_free": True},
    "packed": {"packing": True, "max_length": 32},
}


@pytest.fixture(scope="module")
def of_sft(tiny_model, tmp_path_factory) -> dict[str, dict[str, int]]:
    """Those of `SFTTrainer`, by layout of the batches."""
    kwargs = {"trainer": SFTTrainer, "config": SFTConfig, "per_device_train_batch_size": 2}
    # Which waits for each loss, and which GLOW does without
    kwargs["logging_nan_inf_filter"] = False
    folder = tmp_path_factory.mktemp("sft")
    return {name: waits_by_epoch(tiny_model, folder, **kwargs, **settings) for name, settings in LAYOUTS.items()}


def test_operators_are_seen():
    x = torch.arange(4)
    with WaitingOperators() as mode:
        x.sum().item()
        x[x > 1]
        x[x > 1] = torch.tensor([1, 1])
        x[torch.tensor([1])]
    assert sum(mode.counts.values()) >= 3 and {"aten._local_scalar_dense", "aten.index"} <= mode.counts.keys()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("glow", [{}, {"glow_normalization": "mean"}, {"loss_reduction": "token"}], ids=str)
def test_no_more_than_sft(of_sft, tiny_model, tmp_path, layout, glow):
    settings = {**LAYOUTS[layout], "per_device_train_batch_size": 2}
    assert of_sft[layout]["aten._local_scalar_dense"] > 0
    assert waits_by_epoch(tiny_model, tmp_path, **settings, **WEIGHTS, **glow) == of_sft[layout]


def test_one_more_is_seen(tiny_model, tmp_path):
    class Waiting(GLOWTrainer):
        def _weighted_loss(self, *args):
            loss = super()._weighted_loss(*args)
            loss.item()
            return loss

    usual, more = (waits_by_epoch(tiny_model, tmp_path, trainer=kind, **WEIGHTS) for kind in (GLOWTrainer, Waiting))
    # Batches of 8 of 16 samples
    assert more["aten._local_scalar_dense"] == usual["aten._local_scalar_dense"] + 2
