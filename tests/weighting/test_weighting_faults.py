"""Weightings of one's own: right ones, and what each mistake in one is told as."""

import pytest
import torch

from glow_trl.errors import UserError
from helpers.glow_cases import logged, make_trainer, parameters, reference_rows, token_rows


OWN = "helpers.own_weightings."
ADAM = {"optim": "adamw_torch", "learning_rate": 5e-3, "weight_decay": 0.0, "logging_steps": 1}
STEP = {"per_device_train_batch_size": 8, **ADAM}


@pytest.mark.parametrize(
    "weighting, kwargs, message",
    [
        ("dff", {}, "there is none called 'dff'.*did you mean dft"),
        ("tailsft", {}, "did you mean tail_sft"),
        (["dft", "dft"], {}, "different"),
        ([], {}, "one or more"),
        (f"{OWN}no_such", {}, "no_such"),
        ("helpers.no_such_module.f", {}, "cannot be imported"),
        (f"{OWN}NO_FUNCTION", {}, "is no function"),
        (f"{OWN}wrong_first_name", {}, "first parameter of .* is called 'batch'.*samples.*step.*tokens"),
        ("tail_sft", {"gama": 0.3}, "tail_sft has no parameter 'gama'.*did you mean gamma"),
        (f"{OWN}focal", {"powr": 3.0}, "has no parameter 'powr'.*did you mean power"),
        (f"{OWN}negatives_less", {}, "needs weight"),
        ("glow", {"alpha": 2.0}, "set glow_alpha"),
        (["glow", "dft"], {"gamma": 2.0}, "'gamma' is not among the weightings"),
        (["dft", "tail_sft"], {"tail_sft": 0.5}, "tail_sft: expected a mapping"),
        (f"{OWN}one_number", {}, r"must return a tensor of the shape of samples.loss, \[4\], got \[\]"),
        (f"{OWN}one_for_each_sample", {}, r"shape of tokens.log_probs, \[4, 6\], got \[4\]"),
        (f"{OWN}a_list", {}, r"\[4\], got list"),
        (f"{OWN}of_nan", {}, "not finite"),
        (f"{OWN}unsaid_negative", {}, "negative weights; if they are meant, return glow_trl.weighting.Signed"),
        (f"{OWN}raising", {}, "raising fails on a made-up batch: AttributeError.*own_weightings.py, line"),
        ("tail_sft", {"gamma": 1.0}, "gamma"),
        ("pear", {"level": "tokens"}, "level"),
        ("info_sft", {"threshold": 0.5}, "threshold"),
        ("unlikelihood", {"alpha": -1.0}, "alpha"),
    ],
    ids=str,
)
def test_refused(tiny_model, tmp_path, weighting, kwargs, message):
    """Before the training begins."""
    with pytest.raises(UserError, match=f"(?s)weighting.*{message}|{message}"):
        make_trainer(tiny_model, tmp_path, reference_rows(8), weighting=weighting, weighting_kwargs=kwargs)


@pytest.mark.parametrize("name", ["pear", "iw_sft", "iw_sft_token"])
def test_missing_column(tiny_model, tmp_path, name):
    """A weighting that compares with another model wants the column, and says how it is made."""
    with pytest.raises(UserError, match="has no column 'log_probs'.*glow-trl loss --write_log_probs"):
        make_trainer(tiny_model, tmp_path, token_rows(8), weighting=name)


@pytest.mark.parametrize("of_step", ["", "_of_a_step"], ids=["samples", "step"])
@pytest.mark.parametrize("name", ["nan_for_long_ones", "unsaid_negative_for_long_ones"])
@pytest.mark.parametrize("accumulated", [1, 2])
def test_fault_on_real_data_alone(tiny_model, tmp_path, name, of_step, accumulated):
    """What the made-up batch does not show ends the training with the name of the weighting."""
    settings = {**STEP, "weighting": f"{OWN}{name}{of_step}", "gradient_accumulation_steps": accumulated}
    with pytest.raises(UserError, match=f"{name}{of_step} gave weights that are not finite numbers, or negative"):
        make_trainer(tiny_model, tmp_path, token_rows(24), **settings).train()


def test_own_equals_shipped(tiny_model, tmp_path):
    """A function of one's own that is DFT's, in ten lines or fewer, trains to the same bit."""
    rows = token_rows(12)
    runs = []
    for weighting in ("dft", f"{OWN}attached"):
        runs.append(make_trainer(tiny_model, tmp_path, rows, weighting=weighting, **STEP))
        runs[-1].train()
    first, second = (parameters(run.model) for run in runs)
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize(
    "weighting, kwargs",
    [
        (f"{OWN}focal", {"power": 3.0}),
        (f"{OWN}negatives_less", {"weight": 0.25}),
        (f"{OWN}repel", {}),
        (f"{OWN}short_ones", {}),
        ([f"{OWN}focal", "tail_sft"], {"tail_sft": {"gamma": 0.25}}),
    ],
    ids=str,
)
def test_own_in_any_layout(tiny_model, tmp_path, weighting, kwargs):
    """One batch, micro-batches and packed rows come to the same."""
    rows = token_rows(16)
    settings = {"weighting": weighting, "weighting_kwargs": kwargs, "logging_steps": 1}
    runs = []
    for layout in (
        {"per_device_train_batch_size": 64},
        {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 4},
        {"per_device_train_batch_size": 64, "packing": True, "max_length": 48},
    ):
        runs.append(make_trainer(tiny_model, tmp_path, rows, **settings, **layout))
        runs[-1].train()
    expected = parameters(runs[0].model)
    for run in runs[1:]:
        for name, value in parameters(run.model).items():
            torch.testing.assert_close(value, expected[name], atol=1e-5, rtol=0)


@pytest.mark.parametrize("weighting", [f"{OWN}nothing", f"{OWN}no_tokens", [f"{OWN}nothing", "dft"]], ids=str)
@pytest.mark.parametrize("settings", [{}, {"glow_normalization": "mean"}, {"loss_reduction": "token"}], ids=str)
def test_all_dropped(tiny_model, tmp_path, weighting, settings):
    """Loss 0, no NaN anywhere, an optimizer that has seen zeros alone, and the parameters that one began with."""
    trainer = make_trainer(tiny_model, tmp_path, token_rows(12), weighting=weighting, **STEP, **settings)
    start = parameters(trainer.model)
    trainer.train()
    assert logged(trainer, "loss") == logged(trainer, "grad_norm") == [0.0] * 6
    assert all(torch.equal(value, start[name]) for name, value in parameters(trainer.model).items())
    for state in trainer.optimizer.state.values():
        assert not state["exp_avg"].any() and not state["exp_avg_sq"].any()
    for entry in trainer.state.log_history:
        assert not any(value != value for value in entry.values()), entry


def test_dropped_at_first(tiny_model, tmp_path):
    """An epoch in which nothing counts leaves no trace: the training then begins."""
    trainer = make_trainer(tiny_model, tmp_path, token_rows(12), weighting=f"{OWN}nothing_at_first", **STEP)
    trainer.train()
    losses = logged(trainer, "loss")
    assert losses[:2] == [0.0, 0.0] and all(2 < loss < 5 for loss in losses[2:])
    assert all(value.isfinite().all() for value in parameters(trainer.model).values())
