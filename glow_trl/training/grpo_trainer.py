"""TRL's GRPO trainer, made resumable. A module of its own, since TRL loads vLLM with it where that is installed."""

from collections.abc import Iterator

import torch
from torch.utils.data import Sampler
from trl import GRPOTrainer

from .resume import ResumableTrainer


class OrderOfEpoch(Sampler[int]):
    """
    The order that a TRL `RepeatSampler` has in an epoch of an undisturbed run. It draws one each time that it is gone
    through, and would begin with the first again in an epoch that is resumed.
    """

    def __init__(self, sampler: Sampler[int]):
        self.sampler = sampler
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[int]:
        if self.sampler.shuffle:
            self.sampler.generator.manual_seed(self.sampler.seed)
            for _ in range(self.epoch):
                torch.randperm(self.sampler.num_samples, generator=self.sampler.generator)
        return iter(self.sampler)


class ResumableGRPOTrainer(ResumableTrainer, GRPOTrainer):
    """[`~trl.GRPOTrainer`] as it is, made resumable."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        if not self.args.use_vllm:
            # A model that is ruined must get as far as its loss, which says so. Sampling from what it computes would
            # end in an error of torch, on a GPU with the device in a state that nothing can be asked of
            self.generation_config.remove_invalid_values = True

    def get_train_dataloader(self):
        dataloader = super().get_train_dataloader()
        # One batch sampler around another where there are several processes; a stream has none
        batch_sampler = getattr(dataloader.batch_sampler, "batch_sampler", dataloader.batch_sampler)
        if batch_sampler is not None:
            # Puts it where accelerate looks for `set_epoch`, also in an epoch that is resumed
            dataloader.set_sampler(OrderOfEpoch(batch_sampler.sampler))
        return dataloader
