"""TRL's GRPO trainer, made resumable. A module of its own, since TRL loads vLLM with it where that is installed."""

from trl import GRPOTrainer

from .resume import ResumableTrainer
from .sampling import DrawnByEpoch, order_by_epoch


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
        order_by_epoch(dataloader, DrawnByEpoch, self.args.seed)
        return dataloader
