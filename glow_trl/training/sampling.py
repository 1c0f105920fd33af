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


class QuestionOrder:
    """
    The questions of a GRPO run one after the other, epoch by epoch, as TRL's trainer asks them: without those that do
    not fill a batch at the end of an epoch. `sampler` is TRL's `RepeatSampler`, and is changed.

    Attributes:
        position (`int`): how many of them have been passed.
    """

    def __init__(self, sampler: Sampler[int], seed: int):
        self.position = 0
        # Each question once
        sampler.mini_repeat_count = sampler.repeat_count = 1
        self._sampler = DrawnByEpoch(sampler, seed)
        self._epoch: tuple[int, list[int]] | None = None

    def take(self, number: int, asked: set[int], multiple_of: int = 1) -> list[int]:
        """
        The next `number` questions that are not among `asked`, and put them there. There are fewer, as many as can be
        divided by `multiple_of`, where two epochs do not have that many.
        """
        length, taken, ends = len(self._sampler), [], []
        for at in range(self.position, self.position + 2 * length):
            question = self._of_epoch(at // length)[at % length]
            if question not in asked:
                asked.add(question)
                taken.append(question)
                ends.append(at + 1)
                if len(taken) == number:
                    break
        kept = len(taken) // multiple_of * multiple_of
        asked.difference_update(taken[kept:])
        self.position = ends[kept - 1] if kept else self.position
        return taken[:kept]

    def _of_epoch(self, epoch: int) -> list[int]:
        if self._epoch is None or self._epoch[0] != epoch:
            self._sampler.set_epoch(epoch)
            self._epoch = epoch, list(self._sampler)
        return self._epoch[1]


def order_by_epoch(dataloader: DataLoader, kind: Callable[[Sampler[int], int], EpochSampler], seed: int) -> None:
    """Put such a sampler around that of a prepared data loader. One over a stream has none, and stays as it is."""
    # One batch sampler around another where there are several processes
    batch_sampler = getattr(dataloader.batch_sampler, "batch_sampler", dataloader.batch_sampler)
    if batch_sampler is not None:
        # Puts it where accelerate looks for `set_epoch`, also in a run that was resumed on several processes
        dataloader.set_sampler(kind(batch_sampler.sampler, seed))
