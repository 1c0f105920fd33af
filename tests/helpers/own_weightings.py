"""Weightings as users write them, named in tests by their dotted paths: right ones, and each with a fault."""

import torch

from glow_trl.weighting import Signed


def focal(tokens, power=2.0):
    """(1 - p)^power."""
    return (1 - tokens.log_probs.exp()) ** power


def negatives_less(samples, weight):
    """Has a parameter without a default."""
    return torch.where(samples.is_correct == 0, weight, 1.0)


def repel(tokens):
    """Negative weights, and said so."""
    return Signed(torch.where(tokens.is_correct == 0, -0.1, 1.0) * tokens.mask)


def attached(tokens):
    """Would take part in the gradient, if it could."""
    with torch.enable_grad():
        return tokens.log_probs.detach().requires_grad_().exp()


def short_ones(step):
    """The shorter half of the step."""
    return (step.num_tokens <= step.num_tokens.median()).float()


def nothing(samples):
    return torch.zeros_like(samples.loss)


def nothing_at_first(samples):
    return torch.full_like(samples.loss, float(samples.epoch > 1))


def no_tokens(tokens):
    return torch.zeros_like(tokens.log_probs)


def one_number(samples):
    return torch.tensor(1.0)


def one_for_each_sample(tokens):
    return tokens.samples.loss


def a_list(samples):
    return [1.0] * len(samples.loss)


def of_nan(samples):
    return samples.previous


def nan_for_long_ones(samples):
    """Only of data that a made-up batch does not have."""
    return torch.where(samples.num_tokens > 15, torch.nan, 1.0)


def unsaid_negative(samples):
    return samples.is_correct.nan_to_num(1.0) * 2 - 1


def unsaid_negative_for_long_ones(samples):
    return torch.where(samples.num_tokens > 15, -1.0, 1.0)


def nan_for_long_ones_of_a_step(step):
    return torch.where(step.num_tokens > 15, torch.nan, 1.0)


def unsaid_negative_for_long_ones_of_a_step(step):
    return torch.where(step.num_tokens > 15, -1.0, 1.0)


def raising(tokens):
    return tokens.log_probs / tokens.no_such_thing


def wrong_first_name(batch):
    return batch.loss


NO_FUNCTION = 3
