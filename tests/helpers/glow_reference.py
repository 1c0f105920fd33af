"""
GLOW training written down once more, from its definition: float64, full logits, one sample at a time, one sum over all
the samples of an optimizer step. Nothing of glow_trl or TRL is used.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from transformers import AutoModelForCausalLM


@dataclass
class Reference:
    """What a reference run ends with."""

    parameters: dict[str, torch.Tensor]
    # One array of losses for each epoch, by position in the data set; NaN where a sample was not visited
    losses: list[np.ndarray] = field(default_factory=list)
    # (epoch, position in the data set) -> weight before normalization
    weights: dict[tuple[int, int], float] = field(default_factory=dict)
    # One loss for each optimizer step, and its gradients by the name of the parameter
    step_losses: list[float] = field(default_factory=list)
    gradients: list[dict[str, torch.Tensor]] = field(default_factory=list)


@dataclass
class Visit:
    """A sample in an optimizer step, as the rules of helpers.weighting_reference see it."""

    position: int
    # Of its target tokens, and the same under the model that the data's column is of; None where that says nothing
    log_probs: list[float]
    ref_log_probs: list[float | None]
    # Mean loss under the initial model
    initial: float
    is_correct: bool


def formula(gain: float, alpha: float, beta: float, low: float, high: float) -> float:
    """The weight of a sample."""
    if math.isnan(gain):
        return 1.0
    x = np.float64(beta) * np.float64(gain)
    sigmoid = 1 / (1 + np.exp(-x)) if x >= 0 else np.exp(x) / (1 + np.exp(x))
    return float(min(max(alpha * (1 - sigmoid), low), high))


def epoch_order(n: int, epoch: int, seed: int = 42) -> list[int]:
    """The order in which accelerate's seeded sampler visits the samples in an epoch, counted from 0."""
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed + epoch)).tolist()


def target_log_probs(model, row: dict) -> torch.Tensor:
    """Log-probabilities of the target tokens of a sample, from the whole distributions."""
    ids = torch.tensor(row["input_ids"])
    labels = torch.tensor(row.get("labels", row["input_ids"]))
    log_probs = model(ids[None]).logits[0, :-1].log_softmax(-1)
    return log_probs[torch.arange(len(ids) - 1), ids[1:]][labels[1:] != -100]


@torch.no_grad()
def initial_losses(model, rows: list[dict]) -> list[float]:
    """Mean loss of each sample before the first step."""
    return [-target_log_probs(model, row).mean().item() for row in rows]


def reference_of(row: dict, num_targets: int) -> list[float | None]:
    """The column `log_probs` of a row, with None for the targets behind its end. Nothing predicts the first token."""
    known = row.get("log_probs", [])[0 if row["labels"][0] == -100 else 1 :]
    return [*known, *[None] * (num_targets - len(known))]


def weighted_sum(log_probs: torch.Tensor, weights: list) -> torch.Tensor:
    """Sum over the tokens of a sample of weight times loss, with the gradient that is asked for."""
    total = log_probs.new_zeros(())
    for log_prob, weight in zip(log_probs, weights, strict=True):
        if isinstance(weight, tuple):
            slope, value = weight
            total = total + value - slope * (log_prob - log_prob.detach())
        else:
            total = total - weight * log_prob
    return total


def train_reference(
    model_path: str,
    rows: list[dict],
    step_size: int,
    epochs: int = 3,
    learning_rate: float = 0.3,
    alpha: float = 1.0,
    beta: float = 20.0,
    low: float = 0.5,
    high: float = 5.0,
    normalize: bool = False,
    by_token: bool = False,
    weighting: str = "glow",
    warmup_epochs: int = 1,
    drop_last: bool = False,
    rule: Callable[..., list[list]] | None = None,
) -> Reference:
    """
    Gradient descent on `step_size` samples at a time. `rule` gives weights in place of GLOW's, or times them with
    `weighting="glow"`: a list for each sample of a list for each of its targets, from the samples of the step, whether
    the loss is a mean over tokens, and how far the run is, 0 in the first step and 1 in the last. In place of a weight
    it may give a pair, of the weight of the gradient and of the value of the loss.
    """
    model = AutoModelForCausalLM.from_pretrained(model_path, dtype=torch.float64)
    model.train()
    run = Reference({})
    initial = initial_losses(model, rows) if rule else None
    last_step = epochs * math.ceil(len(rows) / step_size) - 1
    previous = np.full(len(rows), np.nan)
    for epoch in range(epochs):
        current = np.full(len(rows), np.nan)
        order = epoch_order(len(rows), epoch)
        for start in range(0, len(rows), step_size):
            step = order[start : start + step_size]
            if drop_last and len(step) < step_size:
                continue
            sums, counts, weights, tokens = [], [], [], []
            for position in step:
                picked = target_log_probs(model, rows[position])
                tokens.append(picked)
                sums.append(-picked.sum())
                counts.append(len(picked))
                current[position] = -picked.mean().item()
                gain = previous[position] - current[position]
                if weighting == "uniform" or epoch < warmup_epochs:
                    weight = 1.0
                elif weighting == "constant":
                    weight = 1.0 if math.isnan(gain) else formula(0.0, alpha, beta, low, high)
                else:
                    weight = formula(gain, alpha, beta, low, high)
                weights.append(weight)
                run.weights[epoch, position] = weight
            if rule:
                visits = [
                    Visit(
                        at, picked.tolist(), reference_of(rows[at], len(picked)), initial[at], rows[at]["is_correct"]
                    )
                    for at, picked in zip(step, tokens, strict=True)
                ]
                by_sample = rule(visits, by_token, len(run.step_losses) / max(last_step, 1))
                sums = [weighted_sum(picked, found) for picked, found in zip(tokens, by_sample, strict=True)]
            if normalize:
                weights = [weight * len(weights) / sum(weights) for weight in weights]
            if by_token:
                loss = sum(w * s for w, s in zip(weights, sums, strict=True)) / sum(counts)
            else:
                loss = sum(w * s / c for w, s, c in zip(weights, sums, counts, strict=True)) / len(step)
            model.zero_grad()
            loss.backward()
            run.step_losses.append(loss.item())
            run.gradients.append({name: each.grad.clone() for name, each in model.named_parameters()})
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter -= learning_rate * parameter.grad
        run.losses.append(current)
        previous = current
    run.parameters = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    return run
