"""GLOWTrainer against an independent implementation of the method: parameters, ledger, weights, losses."""

import numpy as np
import pytest
from transformers import TrainerCallback

from helpers.glow_cases import WEIGHTS, largest_difference, logged, make_trainer, parameters, token_rows
from helpers.glow_reference import formula, train_reference


ROWS = token_rows(22)
_NAMES = {"glow_alpha": "alpha", "glow_beta": "beta", "glow_min_weight": "low", "glow_max_weight": "high"}
_references = {}


def reference(tiny_model, step_size, **kwargs):
    key = (step_size, *sorted(kwargs.items()))
    if key not in _references:
        weights = {_NAMES[name]: value for name, value in WEIGHTS.items()}
        _references[key] = train_reference(tiny_model, ROWS, step_size, **weights, **kwargs)
    return _references[key]


def check(trainer, run, tolerance=1e-5):
    assert largest_difference(parameters(trainer.model), run.parameters) < tolerance
    np.testing.assert_allclose(trainer.ledger.current.numpy(), run.losses[-1], atol=tolerance, rtol=0)
    np.testing.assert_allclose(trainer.ledger.previous.numpy(), run.losses[-2], atol=tolerance, rtol=0)


# 22 samples: the last step of an epoch has 6 of 8 samples, 4 of 9 or 22 of 24, in batches that are not full either
@pytest.mark.parametrize("batch_size, accumulation", [(8, 1), (4, 2), (2, 4), (1, 8), (3, 3), (8, 3)])
@pytest.mark.parametrize("by_token", [False, True], ids=["sample", "token"])
@pytest.mark.parametrize("normalize", [False, True], ids=["none", "mean"])
def test_accumulation(tiny_model, tmp_path, batch_size, accumulation, by_token, normalize):
    """However a step is cut into batches, it is the step of the definition, also where the last one is not full."""
    trainer = make_trainer(
        tiny_model,
        tmp_path,
        ROWS,
        per_device_train_batch_size=batch_size,
        gradient_accumulation_steps=accumulation,
        loss_reduction="token" if by_token else "sample",
        glow_normalization="mean" if normalize else "none",
        logging_steps=1,
        **WEIGHTS,
    )
    trainer.train()
    run = reference(tiny_model, batch_size * accumulation, by_token=by_token, normalize=normalize)
    check(trainer, run)
    np.testing.assert_allclose(logged(trainer, "loss"), run.step_losses, atol=2e-5)


@pytest.mark.parametrize("layout", [{"padding_free": True}, {"pad_to_multiple_of": 16}])
@pytest.mark.parametrize("normalize", [False, True], ids=["none", "mean"])
@pytest.mark.parametrize("by_token", [False, True], ids=["sample", "token"])
def test_layouts(tiny_model, tmp_path, layout, normalize, by_token):
    """Padding and its absence make no difference."""
    trainer = make_trainer(
        tiny_model,
        tmp_path,
        ROWS,
        per_device_train_batch_size=4,
        gradient_accumulation_steps=2,
        loss_reduction="token" if by_token else "sample",
        glow_normalization="mean" if normalize else "none",
        **layout,
        **WEIGHTS,
    )
    trainer.train()
    check(trainer, reference(tiny_model, 8, by_token=by_token, normalize=normalize))


@pytest.mark.parametrize(
    "settings, kwargs",
    [
        ({"weighting": "constant"}, {"weighting": "constant"}),
        ({"weighting": "uniform"}, {"weighting": "uniform"}),
        ({"glow_warmup_epochs": 2}, {"warmup_epochs": 2}),
        ({"num_train_epochs": 5}, {"epochs": 5}),
        ({"dataloader_drop_last": True}, {"drop_last": True}),
        ({"dataloader_drop_last": True, "weighting": "constant"}, {"drop_last": True, "weighting": "constant"}),
        ({"dataloader_num_workers": 2}, {}),
        ({"gradient_checkpointing": True}, {}),
        ({"padding_free": True, "pad_to_multiple_of": 32}, {}),
    ],
    ids=str,
)
def test_options(tiny_model, tmp_path, settings, kwargs):
    """Weightings, warm-up, dropped last batches (samples without a previous loss weigh 1), data loader workers."""
    trainer = make_trainer(tiny_model, tmp_path, ROWS, per_device_train_batch_size=8, **{**WEIGHTS, **settings})
    trainer.train()
    run = reference(tiny_model, 8, **kwargs)
    check(trainer, run)
    if "dataloader_drop_last" in settings:
        assert np.isnan(run.losses[-2]).any(), "the case does not leave samples out"


def test_weights_read_back(tiny_model, tmp_path):
    """The weight of each sample in each step is, to 1e-6, the formula's of the two losses in the ledger."""
    rows = ROWS[:9]
    seen = []

    class Snapshots(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            ledger = trainer.ledger
            seen.append((ledger.epoch, ledger.previous.double().numpy(), ledger.current.double().numpy()))

    # One sample a step, so that the logged mean weight is that of the sample
    trainer = make_trainer(
        tiny_model, tmp_path, rows, per_device_train_batch_size=1, logging_steps=1, num_train_epochs=4, **WEIGHTS
    )
    trainer.add_callback(Snapshots())
    trainer.train()
    used, losses = logged(trainer, "glow/mean_weight"), logged(trainer, "loss")
    assert len(used) == len(seen) == 4 * len(rows)
    weights = []
    for step, ((epoch, previous, current), loss) in enumerate(zip(seen, losses, strict=True)):
        known = seen[step - 1][2] if step % len(rows) else np.full(len(rows), np.nan)
        (sample,) = np.flatnonzero(np.isnan(known) & ~np.isnan(current))
        assert np.isnan(previous[sample]) == (epoch == 1)
        weights.append(formula(previous[sample] - current[sample], *WEIGHTS.values()))
        assert abs(loss - weights[-1] * current[sample]) < 1e-6
    np.testing.assert_allclose(used, weights, atol=1e-6, rtol=0)
    lower, upper = WEIGHTS["glow_min_weight"], WEIGHTS["glow_max_weight"]
    assert lower in weights and any(lower < weight < upper for weight in weights)
