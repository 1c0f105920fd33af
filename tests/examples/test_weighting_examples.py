"""The weightings of examples/weightings.py against their formulas, number by number."""

import math
import runpy

import pytest
import torch

from glow_trl.weighting import Samples, Signed, Tokens
from helpers.documents import ROOT


LOG_PROBS = [[-0.1, -3.0, -0.5], [-2.0, -0.2, 0.0], [-1.0, -1.5, -4.0]]
REFERENCE = [[-0.2, -2.0, -0.5], [-1.0, -0.9, 0.0], [-3.0, -1.0, -2.0]]
ENTROPY = [[0.3, 2.0, 1.0], [1.5, 0.1, 0.0], [0.7, 0.9, 3.0]]
LENGTHS = (3, 2, 3)
LABELS = (1.0, 0.0, 0.0)


@pytest.fixture(scope="module")
def weightings():
    return runpy.run_path(ROOT / "examples" / "weightings.py")


@pytest.fixture
def tokens():
    lengths = torch.tensor(LENGTHS, dtype=torch.float32)
    mask = torch.arange(3) < lengths[:, None]
    samples = Samples(
        loss=torch.tensor([1.2, 1.1, 2.2]),
        previous=torch.full((3,), math.nan),
        num_tokens=lengths,
        share=torch.ones(3),
        is_correct=torch.tensor(LABELS),
        epoch=1,
        progress=0.65,
    )
    sample = torch.arange(3)[:, None].expand(3, 3)
    log_probs, entropy, reference = map(torch.tensor, (LOG_PROBS, ENTROPY, REFERENCE))
    return Tokens(log_probs, entropy, mask, sample, samples, reference)


def each(formula):
    """What a formula gives for each token of each sample."""
    return torch.tensor([[formula(i, t) for t in range(3)] for i in range(3)])


def test_profit_is_an_indicator(weightings, tokens):
    found = weightings["profit"](tokens, threshold=0.25)
    torch.testing.assert_close(found, each(lambda i, t: float(math.exp(LOG_PROBS[i][t]) > 0.25)))


def test_eaft_is_a_power_of_the_entropy(weightings, tokens):
    found = weightings["eaft"](tokens, power=2.0)
    torch.testing.assert_close(found, each(lambda i, t: (ENTROPY[i][t] / 3) ** 2))


def test_topr_lowers_negatives_by_the_ratio_of_the_sequences(weightings, tokens):
    def expected(i, t):
        ratio = math.exp(sum(LOG_PROBS[i][: LENGTHS[i]]) - sum(REFERENCE[i][: LENGTHS[i]]))
        return 1.0 if LABELS[i] else -min(ratio, 1.0)

    found = weightings["topr"](tokens)
    assert isinstance(found, Signed) and found.losses is None
    torch.testing.assert_close(found.weights, each(expected))
    assert found.weights[1:].unique().tolist() != [-1.0]  # one of them is below the bound


def test_late_negatives_come_in_by_and_by(weightings, tokens):
    found = weightings["late_negatives"](tokens.samples, start=0.3)
    torch.testing.assert_close(found, torch.tensor([1.0, 0.5, 0.5]))
