"""The order in which training samples come."""

from collections.abc import Iterator

import torch
from torch.utils.data import Sampler


class SeededByEpoch(Sampler[int]):
    """
    Makes the order of a sampler, which draws from its attribute `generator`, depend on the seed and the epoch alone,
    as accelerate does for random sampling. A sampler that draws from the global generator orders a resumed epoch in
    another way than it was begun, and may order it differently on each process.
    """

    def __init__(self, sampler: Sampler[int], seed: int):
        self.sampler = sampler
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[int]:
        self.sampler.generator = torch.Generator().manual_seed(self.seed + self.epoch)
        return iter(self.sampler)
