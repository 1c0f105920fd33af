"""
GLOW training written down once more, from its definition: float64, full logits, one sample at a time, one sum over all
the samples of an optimizer step. Nothing of glow_trl or TRL is used.
"""

import math
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
    # One loss for each optimizer step
    step_losses: list[float] = field(default_factory=list)


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
) -> Reference:
    """Gradient descent on `step_size` samples at a time."""
    model = AutoModelForCausalLM.from_pretrained(model_path, dtype=torch.float64)
    model.train()
    run = Reference({})
    previous = np.full(len(rows), np.nan)
    for epoch in range(epochs):
        current = np.full(len(rows), np.nan)
        order = epoch_order(len(rows), epoch)
        for start in range(0, len(rows), step_size):
            step = order[start : start + step_size]
            if drop_last and len(step) < step_size:
                continue
            sums, counts, weights = [], [], []
            for position in step:
                ids = torch.tensor(rows[position]["input_ids"])
                labels = torch.tensor(rows[position].get("labels", rows[position]["input_ids"]))
                log_probs = model(ids[None]).logits[0, :-1].log_softmax(-1)
                target = labels[1:] != -100
                picked = log_probs[torch.arange(len(ids) - 1), ids[1:]][target]
                sums.append(-picked.sum())
                counts.append(int(target.sum()))
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
            if normalize:
                weights = [weight * len(weights) / sum(weights) for weight in weights]
            if by_token:
                loss = sum(w * s for w, s in zip(weights, sums, strict=True)) / sum(counts)
            else:
                loss = sum(w * s / c for w, s, c in zip(weights, sums, counts, strict=True)) / len(step)
            model.zero_grad()
            loss.backward()
            run.step_losses.append(loss.item())
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter -= learning_rate * parameter.grad
        run.losses.append(current)
        previous = current
    run.parameters = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    return run
