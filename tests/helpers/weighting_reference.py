"""
The published weightings written down once more, as `rule`s of [`helpers.glow_reference.train_reference`]: floats,
loops over samples and tokens, nothing of glow_trl.
"""

import math

from helpers.glow_reference import Visit


def _clip(x: float, low: float, high: float) -> float:
    return min(max(x, low), high)


def _deltas(visit: Visit) -> list[float]:
    """Log of the ratio to the reference, of each target; 0 where there is none."""
    pairs = zip(visit.log_probs, visit.ref_log_probs, strict=True)
    return [0.0 if other is None else mine - other for mine, other in pairs]


def tail_sft(visits: list[Visit], by_token: bool, progress: float, gamma: float = 0.5, ramp: bool = True):
    """Algorithm 1 of arXiv:2608.25756 as TRL's example has it, over the samples of the step."""
    fraction = gamma * progress if ramp else gamma
    margins = []
    for visit in visits:
        margin = -sum(visit.log_probs) / len(visit.log_probs) - visit.initial
        # As documented: what differs by less than 2^-13 ties, and of ties the first in the data goes first
        margins.append((round(margin * 2**13), visit.position))
    by_margin = sorted(range(len(visits)), key=lambda index: margins[index])
    dropped = by_margin[: min(round(len(visits) * fraction), len(visits) - 1)]
    kept = [index for index in range(len(visits)) if index not in dropped]
    # The mean is over what is kept, while the loss is divided by all
    if by_token:
        scale = sum(len(visit.log_probs) for visit in visits) / sum(len(visits[index].log_probs) for index in kept)
    else:
        scale = len(visits) / len(kept)
    return [[scale if index in kept else 0.0] * len(visit.log_probs) for index, visit in enumerate(visits)]


def pear(visits: list[Visit], by_token: bool, progress: float, level: str = "token", gamma=0.999, block_size=4):
    """Sections 3.3 to 3.5 and 3.7 of arXiv:2602.01058."""
    weights = []
    for visit in visits:
        deltas = [_clip(delta, -0.08, 0.3) for delta in _deltas(visit)]
        length = len(deltas)
        found = []
        for token in range(length):
            if level == "sequence":
                log_weight = sum(deltas)
            else:
                end = token + 1
                while level == "block" and end < length and end % block_size:
                    end += 1
                log_weight = (length - end) * math.log(gamma) + sum(deltas[end:])
            found.append(math.exp(_clip(log_weight, -10, 5)))
        weights.append(found)
    return weights


def dft(visits: list[Visit], by_token: bool, progress: float):
    """arXiv:2508.05629: the token's own probability."""
    return [[math.exp(log_prob) for log_prob in visit.log_probs] for visit in visits]


def info_sft(visits: list[Visit], by_token: bool, progress: float, threshold: float = 0.93, normalize: bool = False):
    """arXiv:2605.14967, and with `normalize` the authors' code."""
    top = math.log(threshold / (1 - threshold))
    weights = []
    for visit in visits:
        found = []
        for log_prob in visit.log_probs:
            q = math.exp(log_prob)
            # A certain token is beyond every threshold
            odds = math.log(q / (1 - q)) if q < 1 else math.inf
            found.append(q * max(0.0, top - odds) / (top if normalize else 1.0))
        weights.append(found)
    return weights


def iw_sft(visits: list[Visit], by_token: bool, progress: float, temperature: float = 1.0):
    """The authors' code for arXiv:2507.12856 with `sum_over_time=True`."""
    weights = []
    for visit in visits:
        deltas = _deltas(visit)
        weights.append([_clip(math.exp(temperature * sum(deltas) / len(deltas)), 0.0, 16.0)] * len(deltas))
    return weights


def iw_sft_token(visits: list[Visit], by_token: bool, progress: float):
    """The same with `sum_over_time=False`."""
    return [[_clip(math.exp(delta), 0.2, 1.8) for delta in _deltas(visit)] for visit in visits]


def unlikelihood(visits: list[Visit], by_token: bool, progress: float, alpha: float = 1.0):
    """arXiv:1908.04319, of the tokens of negatives: the value is -log(1 - p), its derivative p / (1 - p)."""
    weights = []
    for visit in visits:
        found = []
        for log_prob in visit.log_probs:
            rest = max(1 - math.exp(log_prob), 1e-5)
            wrong = (-alpha * math.exp(log_prob) / rest, -alpha * math.log(rest))
            found.append((1.0, -log_prob) if visit.is_correct else wrong)
        weights.append(found)
    return weights


def uniform(visits: list[Visit], by_token: bool, progress: float):
    return [[1.0] * len(visit.log_probs) for visit in visits]
