"""`glow_normalization="mean"`: weights divided by their mean over the optimizer step, on all processes."""

from collections.abc import Iterable

import torch
from accelerate import Accelerator

from ..errors import UserError


class MeanNormalizer:
    """
    Divides the weights of an optimizer step by their mean.

    The mean is known with the last forward pass of the step, which is too late for the weights of the micro-batches
    before: of an accumulated step the gradient is divided instead. DeepSpeed steps inside of the last backward pass
    and holds the gradient itself. There the mean goes into its loss scale, by which it divides the gradient before it
    clips, and the last loss, which it multiplies by the scale, is divided by the mean beforehand.
    """

    def __init__(self, accelerator: Accelerator):
        self.accelerator = accelerator
        self.accumulated = False
        self._totals: torch.Tensor | float = 0.0
        self._loss: torch.Tensor | float = 0.0
        self._scale: torch.Tensor | float = 1.0
        self._loss_scale: float | None = None

    @property
    def _deepspeed_optimizer(self):
        wrapper = getattr(self.accelerator, "deepspeed_engine_wrapped", None)
        return None if wrapper is None else wrapper.engine.optimizer

    def reset(self, accumulated: bool) -> None:
        """
        Begin to train, without what a step that ended in an exception has left. `accumulated`: whether an optimizer
        step may have several micro-batches. Raises `UserError` if DeepSpeed runs in a way that has no loss scale.
        """
        self._restore_loss_scale()
        self._totals = self._loss = 0.0
        self._scale = 1.0
        self.accumulated = accumulated
        if not accumulated or self._deepspeed_optimizer is None:
            return
        scale = getattr(self._deepspeed_optimizer, "loss_scale", None)
        if scale is None or getattr(self._deepspeed_optimizer, "dynamic_loss_scale", False):
            raise UserError(
                "glow_normalization='mean' with gradient_accumulation_steps > 1 under DeepSpeed needs ZeRO stage 1, 2 "
                "or 3 in bf16 or float32: choose one of these, or set gradient_accumulation_steps to 1 or "
                "glow_normalization='none'"
            )

    def divisor(self, weights: torch.Tensor, visited: torch.Tensor) -> torch.Tensor | float:
        """
        What to divide the loss of a micro-batch by, from the weights of its samples, of shape `(n,)` and 0 for what
        does not count, and a bool tensor of the same shape that says which samples count.
        """
        totals = torch.stack([weights.sum(), visited.sum()])
        if not self.accumulated:
            return self._mean(totals)
        self._totals = self._totals + totals
        if self.accelerator.sync_gradients:
            mean = self._mean(self._totals)
            self._scale = 1 / mean
            if self._deepspeed_optimizer is not None:
                optimizer, self._loss_scale = self._deepspeed_optimizer, self._deepspeed_optimizer.loss_scale
                optimizer.loss_scale = self._loss_scale * mean.item()
                return mean
        return 1.0

    def end_micro_batch(self, loss: torch.Tensor, parameters: Iterable[torch.nn.Parameter]) -> torch.Tensor:
        """
        After the backward pass of a micro-batch, and under DeepSpeed the step: from its detached loss, what to log.
        `Trainer` logs the sum over the micro-batches of a step, which so becomes the normalized loss. The parameters
        have the gradient of the step so far.
        """
        if not self.accumulated:
            return loss
        if not self.accelerator.sync_gradients:
            self._loss = self._loss + loss
            return loss
        if self._loss_scale is not None:
            self._restore_loss_scale()
        else:
            _scale_gradients(parameters, self._scale)
            loss = loss * self._scale
        loss = loss + self._loss * (self._scale - 1)
        self._totals = self._loss = 0.0
        return loss

    def _mean(self, totals: torch.Tensor) -> torch.Tensor:
        """Mean weight over all processes, from the sum of the weights and the number of samples on this one."""
        weight, count = self.accelerator.reduce(totals) if self.accelerator.num_processes > 1 else totals
        # All weights are 0 where `glow_min_weight` is and every gain is large
        return (weight / count.clamp(min=1)).clamp(min=torch.finfo(torch.float32).tiny)

    def _restore_loss_scale(self) -> None:
        if self._loss_scale is not None:
            self._deepspeed_optimizer.loss_scale, self._loss_scale = self._loss_scale, None


@torch.no_grad()
def _scale_gradients(parameters: Iterable[torch.nn.Parameter], scale: torch.Tensor) -> None:
    for parameter in parameters:
        if parameter.grad is not None:
            # FSDP2 has sharded the gradient: each process scales its part
            gradient = parameter.grad.to_local() if hasattr(parameter.grad, "to_local") else parameter.grad
            gradient.mul_(scale)
