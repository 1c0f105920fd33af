"""What hangs on to a trainer and its model: the outputs that `SFTTrainer` drops, and the epochs of the ledger."""

from pathlib import Path

import torch
from accelerate.logging import get_logger
from transformers import Trainer, TrainerCallback
from transformers.trainer_utils import IntervalStrategy
from trl import SFTTrainer

from ..training.checkpoints import ledger_file
from .checks import reject_unsupported
from .metrics import epoch_metrics


logger = get_logger(__name__)


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
    """Tells the ledger where training, epochs and steps begin and end, and logs what it and the weights say."""

    def __init__(self, trainer: SFTTrainer, is_correct: torch.Tensor | None):
        self.trainer = trainer
        self.is_correct = is_correct
        self.epoch = 0
        self._synced_step = None

    def on_train_begin(self, args, state, control, **kwargs):
        trainer = self.trainer
        # Resuming may have changed how steps are accumulated
        reject_unsupported(trainer)
        if trainer._normalizer is not None:
            trainer._normalizer.reset(args.gradient_accumulation_steps > 1)
        if trainer.resumed_from is None:
            trainer.ledger.reset()
            trainer._weigher.begin_epoch()
            if trainer.ledger.initial is not None:
                trainer.write_initial_losses()
        else:
            trainer._weigher.load(trainer.ledger.load(ledger_file(Path(trainer.resumed_from))))
            if args.include_num_input_tokens_seen == "no":
                trainer._total_train_tokens = state.num_input_tokens_seen
        self.epoch = int(state.epoch or 0)
        self._synced_step = None
        # A checkpoint at the end of an epoch was written before the entry of that epoch
        ended = trainer.resumed_from is not None and state.epoch == self.epoch
        if ended and not any(entry.get("glow/epoch") == self.epoch for entry in state.log_history):
            self._log_epoch(args)
        if args.weighting != "uniform" and not trainer._weigher.product.tells_apart(state.num_train_epochs):
            logger.warning(
                f"weighting={args.weighting!r} never takes effect: {state.max_steps} steps do not go beyond the first "
                f"{args.glow_warmup_epochs} epoch(s), in which every sample weighs 1"
            )

    def on_epoch_begin(self, args, state, control, **kwargs):
        self.epoch += 1
        if self.trainer.ledger.epoch < self.epoch:
            self.trainer._weigher.begin_epoch()
        self.trainer.ledger.begin_epoch(self.epoch)

    def on_step_end(self, args, state, control, **kwargs):
        # Into the entry that is written next, or that of the whole training
        if control.should_log or control.should_training_stop:
            for name, value in self.trainer._weight_metrics.pop().items():
                self.trainer._metrics["train"][name].append(value)

    def on_epoch_end(self, args, state, control, **kwargs):
        self.on_step_end(args, state, control)
        self.sync()
        should_log = control.should_log
        self._log_epoch(args)
        # An entry that is due at the end of the epoch still is
        control.should_log = should_log

    def _log_epoch(self, args) -> None:
        if args.logging_strategy != IntervalStrategy.NO:
            weigher = self.trainer._weigher
            metrics = epoch_metrics(self.trainer.ledger, weigher.product, self.is_correct, weigher.token_weights)
            # In an entry of their own: `SFTTrainer.log` would put the means of the last steps in as well
            Trainer.log(self.trainer, metrics)

    def sync(self) -> None:
        """Merge the ledgers of the processes, unless that was done since the last step."""
        if self._synced_step != self.trainer.state.global_step:
            self.trainer.ledger.sync()
            self.trainer._weigher.sync()
            self._synced_step = self.trainer.state.global_step
