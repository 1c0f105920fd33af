"""The weight formula against an independent computation in float64."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glow_trl import GLOWConfig
from glow_trl.weighting import Weighting, glow_weights


def expected(gain: np.ndarray, alpha: float, beta: float, low: float, high: float) -> np.ndarray:
    # log(1 + exp(x)) does not overflow this way, and 1 - sigmoid(x) = exp(-log(1 + exp(x)))
    weights = alpha * np.exp(-np.logaddexp(0.0, beta * gain.astype(np.float64)))
    return np.where(np.isnan(gain), 1.0, np.clip(weights, low, high))


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0, 10.0])
@pytest.mark.parametrize("beta", [0.0, 5.0, 20.0, 30.0])
@pytest.mark.parametrize("bounds", [(0.5, 5.0), (0.0, 100.0), (1.0, 1.0)])
def test_formula(alpha, beta, bounds):
    """Equal to 1e-6 over all gains that losses can have, in float32 and float64."""
    gain = np.concatenate([np.linspace(-12, 12, 2001), np.linspace(-0.3, 0.3, 2001), [0.0, 1e-8, -1e-8]])
    for dtype in (np.float32, np.float64):
        weights = glow_weights(torch.from_numpy(gain.astype(dtype)), alpha, beta, *bounds)
        assert weights.numpy().dtype == dtype
        np.testing.assert_allclose(
            weights.numpy(), expected(gain.astype(dtype), alpha, beta, *bounds), atol=1e-6, rtol=0
        )


@settings(max_examples=200, deadline=None)
@given(
    gain=st.floats(-1e30, 1e30),
    alpha=st.floats(0.01, 10),
    beta=st.floats(0, 100),
    low=st.floats(0, 2),
    span=st.floats(0, 10),
)
def test_any_parameters(gain, alpha, beta, low, span):
    """Within the bounds and equal to 1e-6 whatever the parameters, however huge the gain."""
    weight = glow_weights(torch.tensor([gain], dtype=torch.float64), alpha, beta, low, low + span).item()
    assert low <= weight <= low + span
    assert weight == pytest.approx(expected(np.array([gain]), alpha, beta, low, low + span)[0], abs=1e-6)


def test_defaults_are_the_released_ones():
    """alpha 1, beta 20, bounds 0.5 and 5: a sample that improved, or did not change, weighs 0.5."""
    np.testing.assert_allclose(glow_weights(torch.tensor([5.0, 0.0, -0.1, -9.0])), [0.5, 0.5, 0.8807971, 1.0])


def test_unknown_gain_weighs_one():
    """NaN stands for a sample without a previous loss and weighs 1, also where the bounds exclude 1."""
    gain = torch.tensor([float("nan"), 0.0, float("nan")])
    assert glow_weights(gain, 1.0, 20.0, 0.2, 0.6).tolist() == [1.0, 0.5, 1.0]


def test_infinite_gains_reach_the_bounds():
    weights = glow_weights(torch.tensor([float("inf"), float("-inf"), 3e38, -3e38]), 2.0, 20.0, 0.1, 1.5)
    np.testing.assert_allclose(weights, [0.1, 1.5, 0.1, 1.5])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype):
    """A gain in half precision is exact as it stands: only the result is rounded, once."""
    gain = torch.linspace(-1, 1, 401).to(dtype)
    weights = glow_weights(gain, 2.0, 20.0, 0.1, 5.0)
    exact = expected(gain.double().numpy(), 2.0, 20.0, 0.1, 5.0)
    assert weights.dtype == dtype
    assert torch.equal(weights, torch.from_numpy(exact).float().to(dtype))


def test_shape_and_no_gradient():
    """Any shape, also none and empty; the result is detached and the argument left as it is."""
    gain = torch.zeros(2, 3, requires_grad=True)
    assert glow_weights(gain).shape == (2, 3) and not glow_weights(gain).requires_grad
    assert glow_weights(torch.tensor(0.0)).shape == () and glow_weights(torch.zeros(0)).shape == (0,)
    kept = torch.tensor([1.0, float("nan")])
    glow_weights(kept)
    assert kept[0] == 1.0 and kept[1].isnan()


GAINS = torch.tensor([float("nan"), -1.0, 0.0, 1.0])


@pytest.mark.parametrize(
    ("config", "epoch", "weights"),
    [
        ({}, 1, [1.0] * 4),
        ({}, 2, [1.0, 1.0, 0.5, 0.5]),
        ({"glow_warmup_epochs": 2}, 2, [1.0] * 4),
        ({"glow_warmup_epochs": 2}, 3, [1.0, 1.0, 0.5, 0.5]),
        ({"glow_alpha": 4.0, "glow_max_weight": 3.0, "glow_min_weight": 0.0, "glow_beta": 0.0}, 2, [1.0] + [2.0] * 3),
        ({"weighting": "constant", "glow_alpha": 3.0}, 2, [1.0, 1.5, 1.5, 1.5]),
        ({"weighting": "constant", "glow_alpha": 3.0}, 1, [1.0] * 4),
        ({"weighting": "uniform", "glow_alpha": 3.0}, 3, [1.0] * 4),
    ],
    ids=str,
)
def test_rule(config, epoch, weights):
    """Which weights hold in which epoch; the bounds that bind, and whether gains tell samples apart."""
    weighting = Weighting.from_config(config)
    found = weighting.weights(GAINS, epoch)
    torch.testing.assert_close(found, torch.tensor(weights), atol=1e-6, rtol=0)
    assert weighting.follows_gain(epoch) == ("weighting" not in config and epoch > config.get("glow_warmup_epochs", 1))


def test_bounds():
    at_min, at_max = Weighting(min_weight=0.5, max_weight=2.0).at_bounds(torch.tensor([0.5, 0.6, 2.0]))
    assert at_min.tolist() == [True, False, False] and at_max.tolist() == [False, False, True]


def test_rule_of_a_trainer_is_that_of_its_run(tmp_path):
    """From the arguments as from what `run.json` holds of them, set or left open."""
    settings = {"glow_alpha": 2.0, "glow_beta": 5.0, "glow_min_weight": 0.1, "glow_max_weight": 3.0}
    settings |= {"glow_normalization": "mean", "glow_warmup_epochs": 2, "weighting": "constant"}
    for config in ({}, settings):
        args = GLOWConfig(output_dir=str(tmp_path), use_cpu=True, bf16=False, **config)
        assert Weighting.from_config(args) == Weighting.from_config(config)
    assert Weighting.from_config(settings) == Weighting(2.0, 5.0, 0.1, 3.0, "mean", 2, "constant")
