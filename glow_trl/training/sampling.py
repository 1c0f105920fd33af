"""The order in which training samples come, the same in an epoch that is resumed as in one that is not."""

from collections.abc import Callable, Iterator

import torch
from torch.utils.data import DataLoader, Sampler


class EpochSampler(Sampler[int]):
    """A sampler that makes the order of another depend on the epoch alone, however often that was gone through."""

    def __init__(self, sampler: Sampler[int], seed: int):
        self.sampler = sampler
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.sampler)


class SeededByEpoch(EpochSampler):
    """
    For a sampler that draws from its attribute `generator`: seeds it by seed and epoch, as accelerate does for random
    sampling. One that draws from the global generator orders a resumed epoch in another way than it was begun, and
    may order it differently on each process.
    """

    def __iter__(self) -> Iterator[int]:
        self.sampler.generator = torch.Generator().manual_seed(self.seed + self.epoch)
        return iter(self.sampler)


class DrawnByEpoch(EpochSampler):
    """
    For a TRL `RepeatSampler`: has the order that it has in an epoch of an undisturbed run. It draws one each time that
    it is gone through, and would begin with the first again in an epoch that is resumed.
    """

    def __iter__(self) -> Iterator[int]:
        if self.sampler.shuffle:
            self.sampler.generator.manual_seed(self.seed)
            for _ in range(self.epoch):
                torch.randperm(self.sampler.num_samples, generator=self.sampler.generator)
        return iter(self.sampler)


def order_by_epoch(dataloader: DataLoader, kind: Callable[[Sampler[int], int], EpochSampler], seed: int) -> None:
    """Put such a sampler around that of a prepared data loader. One over a stream has none, and stays as it is."""
    # One batch sampler around another where there are several processes
    batch_sampler = getattr(dataloader.batch_sampler, "batch_sampler", dataloader.batch_sampler)
    if batch_sampler is not None:
        # Puts it where accelerate looks for `set_epoch`, also in a run that was resumed on several processes
        dataloader.set_sampler(kind(batch_sampler.sampler, seed))
