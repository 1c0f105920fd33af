"""Training stops at a number that is not finite, before anything is saved that comes of it."""

import math
import shutil
from pathlib import Path

import torch
from transformers import Trainer, TrainerCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, rotate_checkpoints

from ..errors import TrainingCollapsed, UserError
from .checkpoints import last_complete_checkpoint


_NEVER = 1 << 62
# With float16, whose scale is found by overflowing, so many steps in a row may be skipped
_SKIPPED_STEPS = 50


class FiniteTrainer(Trainer):
    """
    Put before a [`~transformers.Trainer`] among the bases of a class, lets its `train` raise `TrainingCollapsed` at a
    loss, a gradient norm or a weight that is not a finite number.

    Losses and gradient norms of all steps are noted on the device, which costs no wait. They are looked at, with all
    weights, before each checkpoint, in the step after it and at the end; a loss also at each log. All processes raise
    together. A checkpoint therefore has finite weights, and older ones are removed for it (`save_total_limit`) only
    when the step after it has had a finite loss and gradient; one that has not is renamed `collapsed-checkpoint-N`, so
    that the same command goes on from the one before. With float16 a step whose gradients overflow is skipped, and
    only many in a row end the training.

    Raises:
        UserError: the weights to begin with are not finite numbers.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        # It would put another number in place of a loss that is not finite, and waits for each loss to do so
        self.args.logging_nan_inf_filter = False
        self._forget_numbers()
        self.add_callback(_NumbersCallback(self))

    def _forget_numbers(self) -> None:
        self._first = {
            name: torch.tensor(_NEVER, device=self.args.device) for name in ("loss", "gradient norm", "weights")
        }
        self._overflows = torch.tensor(0, device=self.args.device)
        self._checked: int | None = None
        # The step of a checkpoint for which no older one has been removed yet
        self._unproven: int | None = None

    def train(self, *args, **kwargs):
        self._forget_numbers()
        output = super().train(*args, **kwargs)
        self.check_numbers()
        if self.state.global_step >= self.state.max_steps:
            self._remove_older_checkpoints()
        return output

    def training_step(self, model, inputs, num_items_in_batch=None):
        loss = super().training_step(model, inputs, num_items_in_batch)
        self._note("loss", torch.isfinite(loss.detach()))
        return loss

    def _get_grad_norm(self, model, grad_norm=None):
        norm = super()._get_grad_norm(model, grad_norm)
        if norm is not None:
            finite = torch.isfinite(torch.as_tensor(norm, device=self.args.device))
            # Of a sharded model
            finite = finite.full_tensor() if hasattr(finite, "full_tensor") else finite
            if self._may_overflow:
                self._overflows = torch.where(finite, 0, self._overflows + 1)
                finite = self._overflows <= _SKIPPED_STEPS
            self._note("gradient norm", finite)
        return norm

    @property
    def _may_overflow(self) -> bool:
        return self.accelerator.mixed_precision == "fp16"

    def _note(self, name: str, finite: torch.Tensor) -> None:
        """Keep the first step at which something was not finite."""
        step = torch.where(finite, _NEVER, self.state.global_step + 1)
        self._first[name] = torch.minimum(self._first[name], step)

    def check_numbers(self) -> None:
        """Raise `TrainingCollapsed` if something has not been finite so far. To be called by all processes."""
        if self._checked == self.state.global_step:
            return
        self._first["weights"] = torch.where(self._finite_weights(), _NEVER, self.state.global_step)
        steps = torch.stack(list(self._first.values()))
        if self.accelerator.num_processes > 1:
            steps = self.accelerator.gather(steps[None]).amin(0)
        first = dict(zip(self._first, steps.tolist(), strict=True))
        name = min(first, key=first.__getitem__)
        if first[name] < _NEVER:
            self._collapse(name, first[name])
        self._checked = self.state.global_step

    def _finite_weights(self, trained: bool = True) -> torch.Tensor:
        """Whether the weights, or this process's part of them, have a finite norm: more would overflow if squared."""
        norms = []
        for parameter in self.model.parameters():
            if parameter.is_floating_point() and (parameter.requires_grad or not trained):
                # The part of this process, with DeepSpeed's ZeRO-3 and with FSDP2
                part = getattr(parameter, "ds_tensor", parameter).detach()
                part = part.to_local() if hasattr(part, "to_local") else part
                wide = torch.promote_types(part.dtype, torch.float32)
                norms.append(torch.linalg.vector_norm(part, dtype=wide).to(self.args.device))
        return torch.stack(norms).isfinite().all() if norms else torch.tensor(True, device=self.args.device)

    def _collapse(self, name: str, step: int) -> None:
        reason = f"the {name} is not a finite number at step {step}"
        if name == "weights":
            reason = f"weights are not finite numbers, or so large that their squares are not, after step {step}"
        args = self.args
        lower = f"lower learning_rate (now {args.learning_rate:g}) or max_grad_norm (now {args.max_grad_norm:g})"
        if not args.max_grad_norm:
            lower = f"lower learning_rate (now {args.learning_rate:g}) or set max_grad_norm: gradients are not clipped"
        suspect = Path(args.output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{step - 1}"
        if name != "weights" and args.should_save and suspect.is_dir():
            # Its weights may be the reason, and would be so again if training went on from it
            aside = suspect.with_name(f"collapsed-{suspect.name}")
            shutil.rmtree(aside, ignore_errors=True)
            suspect.rename(aside)
        good = last_complete_checkpoint(args.output_dir)
        if good is not None:
            advice = (
                f"The last good checkpoint is {good}. The same command goes on from there, to the same end if nothing "
                f"else has changed; to go on from its weights in another output_dir (model_name_or_path: {good}), "
            )
        else:
            advice = "There is no good checkpoint yet. To start again in another output_dir, "
        raise TrainingCollapsed(reason, advice + lower)

    def log(self, logs, *args, **kwargs):
        super().log(logs, *args, **kwargs)
        # The same in all processes
        watched = ["loss"] if self._may_overflow else ["loss", "grad_norm"]
        if any(not math.isfinite(logs[name]) for name in watched if logs.get(name) is not None):
            self.check_numbers()

    def _save_checkpoint(self, model, trial):
        self.check_numbers()
        limit, self.args.save_total_limit = self.args.save_total_limit, None
        try:
            super()._save_checkpoint(model, trial)
        finally:
            self.args.save_total_limit = limit
        self._unproven = self.state.global_step

    def _remove_older_checkpoints(self) -> None:
        if self.args.should_save:
            rotate_checkpoints(
                self.args.output_dir, self.args.save_total_limit, self.state.best_model_checkpoint, use_mtime=True
            )
        self._unproven = None


class _NumbersCallback(TrainerCallback):
    def __init__(self, trainer: FiniteTrainer):
        self.trainer = trainer

    def on_train_begin(self, args, state, control, **kwargs):
        trainer = self.trainer
        finite = trainer._finite_weights(trained=False)
        if trainer.accelerator.num_processes > 1:
            finite = trainer.accelerator.gather(finite[None]).all()
        if not finite:
            source = getattr(trainer, "resumed_from", None) or trainer.model.config.name_or_path or "the model"
            raise UserError(
                f"{source} has weights that are not finite numbers, as a training that collapsed leaves them: take "
                "another checkpoint, and delete this one if it lies in output_dir"
            )

    def on_step_end(self, args, state, control, **kwargs):
        trainer = self.trainer
        if trainer._unproven is not None and state.global_step > trainer._unproven:
            trainer.check_numbers()
            trainer._remove_older_checkpoints()
