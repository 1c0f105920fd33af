"""What hangs on to a trainer and its model: the outputs that `SFTTrainer` drops, and the epochs of the ledger."""

from typing import TYPE_CHECKING

from transformers import Trainer, TrainerCallback
from transformers.trainer_utils import IntervalStrategy

from .metrics import epoch_metrics


if TYPE_CHECKING:
    from .trainer import GLOWTrainer


class OutputKeeper:
    """Stands for the model in `SFTTrainer.compute_loss` and keeps the per-token outputs, which that drops."""

    def __init__(self, model):
        self.model = model
        self.outputs = None

    def __call__(self, **inputs):
        outputs = self.model(**inputs)
        if inputs.get("fused_lm_head"):
            self.outputs = outputs
        return outputs


class LedgerCallback(TrainerCallback):
    """Tells the ledger where epochs begin and end."""

    def __init__(self, trainer: "GLOWTrainer"):
        self.trainer = trainer
        self.epoch = None

    def on_train_begin(self, args, state, control, **kwargs):
        self.trainer._begin_training()
        self.epoch = int(state.epoch or 0)

    def on_epoch_begin(self, args, state, control, **kwargs):
        self.epoch += 1
        self.trainer.ledger.begin_epoch(self.epoch)

    def on_epoch_end(self, args, state, control, **kwargs):
        self.trainer._sync_ledger()
        if args.logging_strategy != IntervalStrategy.NO:
            # In an entry of their own: `SFTTrainer.log` would put the means of the last steps in as well
            Trainer.log(self.trainer, epoch_metrics(self.trainer.ledger, args, self.trainer._is_correct))
