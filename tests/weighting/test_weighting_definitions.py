"""
Each shipped weighting in a training step against the published formula: float64, full logits, a loop over samples and
tokens (helpers/weighting_reference.py).
"""

import math
from functools import partial

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback

from glow_trl.weighting import Samples, Tokens
from glow_trl.weighting.product import SHIPPED
from helpers import weighting_reference as published
from helpers.glow_cases import WEIGHTINGS, WEIGHTS, logged, make_trainer, reference_rows
from helpers.glow_reference import Visit, train_reference


# Short: a product over a sequence multiplies how float32 rounds the log-probabilities, those of the fused head
ROWS = reference_rows(22, high=12)
# A weight multiplies by beta how the losses are rounded, which the ledger keeps in float32
BETA = 2.0
GLOW = {**dict(zip(("alpha", "beta", "low", "high"), WEIGHTS.values(), strict=True)), "beta": BETA}
# At a higher one the rounding grows from step to step
LEARNING_RATE = 0.03
# What of the reference each one is; GLOW's own weights, by default
FORMULAS = {
    "glow": {},
    "constant": {"weighting": "constant"},
    "tail_sft": {"rule": partial(published.tail_sft, gamma=0.6)},
    "tail_sft_constant": {"rule": partial(published.tail_sft, ramp=False)},
    "pear": {"rule": published.pear},
    "pear_block": {"rule": partial(published.pear, level="block")},
    "pear_sequence": {"rule": partial(published.pear, level="sequence")},
    "dft": {"rule": published.dft},
    "info_sft": {"rule": partial(published.info_sft, normalize=True)},
    "iw_sft": {"rule": published.iw_sft},
    "iw_sft_token": {"rule": published.iw_sft_token},
    "unlikelihood": {"rule": published.unlikelihood},
    "uniform": {"rule": published.uniform},
    "glow_dft": {"rule": published.dft, "weighting": "glow"},
}


class Gradients(TrainerCallback):
    """Keeps the gradient of each step."""

    def __init__(self):
        self.steps = []

    def on_pre_optimizer_step(self, args, state, control, model, **kwargs):
        self.steps.append({name: each.grad.clone() for name, each in model.named_parameters()})


def relative_difference(gradient, expected):
    """Norm of the difference over the norm."""
    assert gradient.keys() == expected.keys()
    difference = sum((gradient[name] - expected[name]).square().sum() for name in expected)
    return (difference / sum(each.square().sum() for each in expected.values())).sqrt().item()


@pytest.mark.parametrize("by_token", [False, True], ids=["sample", "token"])
@pytest.mark.parametrize("name", WEIGHTINGS)
def test_loss_and_gradient(tiny_model, tmp_path, name, by_token):
    """To 1e-6 in every step of three epochs, the last of each with 6 of 8 samples."""
    gradients = Gradients()
    trainer = make_trainer(
        AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float64),
        tmp_path,
        ROWS,
        processing_class=AutoTokenizer.from_pretrained(tiny_model),
        callbacks=[gradients],
        per_device_train_batch_size=8,
        loss_reduction="token" if by_token else "sample",
        logging_steps=1,
        learning_rate=LEARNING_RATE,
        **{**WEIGHTINGS[name], "glow_beta": BETA},
    )
    trainer.train()
    formula = {"weighting": "uniform", **FORMULAS[name]} if "rule" in FORMULAS[name] else FORMULAS[name]
    run = train_reference(tiny_model, ROWS, 8, learning_rate=LEARNING_RATE, by_token=by_token, **GLOW, **formula)
    assert len(gradients.steps) == len(run.gradients) == 9
    np.testing.assert_allclose(logged(trainer, "loss"), run.step_losses, rtol=1e-6)
    for gradient, expected in zip(gradients.steps, run.gradients, strict=True):
        assert relative_difference(gradient, expected) < 1e-6


# Log-probabilities of a sample's tokens and of the other model's, None where unknown
EXTREMES = [
    [(0.0, -0.001), (-1e-9, -60.0), (-1e-4, -0.2)],
    [(-80.0, -0.1), (-200.0, None), (-3.0, -3.0), (-0.0725, -0.07), (-0.5, -0.25)],
    [(-1.0, -32.0)],
    [(-30.0, -0.001)] * 41,
    [(-0.001, -30.0)] * 41,
]
OF_TOKENS = ["pear", "pear_block", "pear_sequence", "dft", "info_sft", "iw_sft", "iw_sft_token", "unlikelihood"]


@pytest.mark.parametrize("packed", [False, True], ids=["padded", "packed"])
@pytest.mark.parametrize("name", OF_TOKENS)
def test_extremes(name, packed):
    """Certain and impossible tokens, ratios beyond every bound, a sample of one token: finite, and the formula's."""
    lengths = [len(sample) for sample in EXTREMES]
    visits = [
        Visit(index, [own for own, _ in sample], [other for _, other in sample], 0.0, index % 2 == 0)
        for index, sample in enumerate(EXTREMES)
    ]
    pairs = [[(own, math.nan if other is None else other) for own, other in sample] for sample in EXTREMES]
    tensors = [torch.tensor(sample, dtype=torch.float64).T.float() for sample in pairs]
    if packed:
        log_probs, reference = torch.cat(tensors, 1)[:, None]
        mask = torch.ones_like(log_probs, dtype=torch.bool)
        sample = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))[None]
    else:
        padded = torch.nn.utils.rnn.pad_sequence([each.T for each in tensors], batch_first=True)
        log_probs, reference = padded.unbind(-1)
        mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
        sample = torch.arange(len(lengths))[:, None].expand(mask.shape)
    counts = torch.tensor(lengths).float()
    unknown = torch.full_like(counts, math.nan)
    is_correct = torch.tensor([float(visit.is_correct) for visit in visits])
    samples = Samples(unknown, unknown, counts, counts, is_correct, epoch=1, progress=0.0)
    tokens = Tokens(log_probs, torch.zeros_like(log_probs), mask, sample, samples, reference)
    settings = WEIGHTINGS[name]
    found = SHIPPED[settings["weighting"]](tokens, **settings.get("weighting_kwargs", {}))
    weights, losses = found if isinstance(found, tuple) else (found, None)
    expected = [weight for sample in FORMULAS[name]["rule"](visits, True, 0.0) for weight in sample]
    values = [weight if isinstance(weight, tuple) else (weight, None) for weight in expected]
    np.testing.assert_allclose(weights[mask], [weight for weight, _ in values], rtol=2e-5, atol=1e-7)
    assert weights[mask].isfinite().all()
    if losses is not None:
        np.testing.assert_allclose(losses[mask], [loss for _, loss in values], rtol=2e-5, atol=1e-7)
