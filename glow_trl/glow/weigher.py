"""What the weighting of a run makes of a batch: from losses and log-probabilities to weights."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from trl import SFTTrainer

from ..data.log_probs import STEPS, UNKNOWN
from ..weighting import Samples, Tokens
from ..weighting.product import Product, Term, select
from .reference import REF_LOG_PROBS
from .token_weights import TokenWeights


@dataclass(frozen=True)
class Weights:
    """
    The weights of a batch, `n` samples.

    Args:
        samples (`torch.Tensor` of shape `(n,)`): product of the weightings of samples.
        tokens (`torch.Tensor` of shape `(batch_size, seq_len - 1)`, *optional*): product of those of tokens; 0 for
            what is no target.
        losses (`torch.Tensor` of the same shape, *optional*): losses of the tokens, where a weighting replaces them.
        sample (`torch.Tensor` of the same shape, int64, *optional*): number of each token's sample.
        mean (`torch.Tensor` of shape `(n,)`): of each sample, the mean over its tokens of the product of all.
        at_bounds (`tuple[torch.Tensor, torch.Tensor]`, *optional*): of each sample, the shares of its weights at the
            lower and the upper clip bound.
        usable (`torch.Tensor` of shape `(n,)`, bool): whether all are finite, and not negative unawares.
    """

    samples: torch.Tensor
    tokens: torch.Tensor | None
    losses: torch.Tensor | None
    sample: torch.Tensor | None
    mean: torch.Tensor
    at_bounds: tuple[torch.Tensor, torch.Tensor] | None
    usable: torch.Tensor

    def token_losses(self, log_probs: torch.Tensor) -> torch.Tensor:
        """Weighted losses of the tokens, with the gradient of their log-probabilities times their weights."""
        weighted = -log_probs * self.tokens
        if self.losses is None:
            return weighted
        # The value of one function with the gradient of another
        return weighted + (self.losses - weighted).detach()


class Weigher:
    """
    Applies the weightings of a trainer to its batches.

    Args:
        trainer ([`GLOWTrainer`]): whose ledger, epoch and processes it asks.
        product ([`~glow_trl.weighting.product.Product`]): the weightings.
        is_correct (`torch.Tensor` of shape `(num_samples,)`, bool, *optional*): labels of the training samples.
    """

    def __init__(self, trainer: SFTTrainer, product: Product, is_correct: torch.Tensor | None):
        self.trainer = trainer
        self.product = product
        device = trainer.args.device
        labels = torch.full((len(trainer.ledger) + 1,), torch.nan, device=device)
        if is_correct is not None:
            labels[:-1] = is_correct.to(labels)
        # The last is that of id -1
        self._labels = labels
        self.token_weights = TokenWeights(product, device) if product.of("tokens") else None

    def samples(self, ids: torch.Tensor, losses: torch.Tensor, num_targets: torch.Tensor) -> Samples:
        """What is known of the samples of a batch: their ids (-1 for one that does not count), losses and targets."""
        trainer, ledger, state = self.trainer, self.trainer.ledger, self.trainer.state
        return Samples(
            loss=losses,
            previous=ledger.previous_loss(ids),
            num_tokens=num_targets,
            share=trainer._share_of_divisor(num_targets) * (ids >= 0),
            is_correct=self._labels[ids],
            epoch=max(ledger.epoch, 1),
            progress=min(state.global_step / max(state.max_steps - 1, 1), 1.0),
            initial_loss=ledger.initial_loss(ids),
        )

    def weigh(
        self,
        outputs: Any,
        inputs: dict[str, torch.Tensor],
        samples: Samples,
        ids: torch.Tensor,
        of_step: torch.Tensor | None,
    ) -> Weights:
        """
        The weights of a batch.

        Args:
            outputs: of the fused head, with fields of shape `(batch_size, seq_len - 1)`.
            inputs (`dict`): the batch.
            samples ([`~glow_trl.weighting.Samples`]): its samples.
            ids (`torch.Tensor` of shape `(n,)`, int64): their ids.
            of_step (`torch.Tensor` of shape `(n,)`, *optional*): the product of the weightings of steps, if it was
                computed before the step.
        """
        weights, at_bounds = torch.ones_like(samples.loss), None
        usable = weights.bool()
        for term in self.product.of("samples"):
            found = term(samples)
            weights, usable = weights * found.weights, usable & found.usable
            at_bounds = self._at_bounds(term, found.weights) or at_bounds
        if self.product.of("step"):
            if of_step is None:
                (of_step,) = self.of_step([samples], [ids])
            weights, usable = weights * of_step, usable & of_step.isfinite()
            for term in self.product.of("step"):
                at_bounds = self._at_bounds(term, of_step) or at_bounds
        terms = self.product.of("tokens")
        if not terms:
            return Weights(weights, None, None, None, weights, at_bounds, usable)

        tokens = self._tokens(outputs, inputs, samples)
        product, losses = tokens.mask.float(), None
        for term in terms:
            found = term(tokens)
            usable = usable & (tokens.sum(~found.usable) == 0)
            factor = found.weights.where(tokens.mask, 0)
            losses = losses if losses is None else losses * factor
            if found.losses is not None:
                losses = found.losses.where(tokens.mask, 0) * product
            product = product * factor
            bounds = self._at_bounds(term, factor)
            if bounds is not None:
                at_bounds = tokens.mean(bounds[0]).float(), tokens.mean(bounds[1]).float()
        if self.token_weights is not None:
            self.token_weights.update(tokens, product, samples.share > 0)
        mean = weights * tokens.mean(product).float()
        return Weights(weights, product, losses, tokens.sample, mean, at_bounds, usable)

    def of_step(self, batches: Sequence[Samples], ids: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """
        The product of the weightings that compare the samples of an optimizer step, for each of the batches that this
        process has in it; 0 for what does not count, NaN for what is not usable. To be called by all processes
        together.
        """
        own = {name: torch.cat([batch.tensors()[name] for batch in batches]) for name in batches[0].tensors()}
        all_ids, table = torch.cat(list(ids)), torch.stack(list(own.values()))
        lengths, first = [len(part) for part in ids], 0
        accelerator = self.trainer.accelerator
        if accelerator.num_processes > 1:
            all_ids = accelerator.pad_across_processes(all_ids, pad_index=-1)
            table = accelerator.pad_across_processes(table, dim=1)
            first = accelerator.process_index * len(all_ids)
            all_ids, table = accelerator.gather(all_ids), accelerator.gather(table[None])
            table = table.transpose(0, 1).flatten(1)
        everything = replace(batches[0], **dict(zip(own, table, strict=True)))
        counted = ((all_ids >= 0) & (everything.share > 0)).nonzero().flatten()
        weights = torch.zeros_like(everything.loss)
        if len(counted):
            # In one order, however the step is divided
            counted = counted[all_ids[counted].argsort()]
            step = select(everything, counted)
            product = torch.ones_like(step.loss)
            for term in self.product.of("step"):
                found = term(step)
                product = (product * found.weights).masked_fill(~found.usable, torch.nan)
            weights[counted] = product
        return list(weights[first : first + sum(lengths)].split(lengths))

    def begin_epoch(self) -> None:
        """Forget the weights of the tokens of the epoch before."""
        if self.token_weights is not None:
            self.token_weights.reset()

    def sync(self) -> None:
        """Merge what the processes have counted. To be called by all of them together."""
        if self.token_weights is not None:
            self.token_weights.sync()

    def state(self) -> dict[str, torch.Tensor]:
        """What a checkpoint keeps, once synced."""
        return {} if self.token_weights is None else self.token_weights.tensors()

    def load(self, state: dict[str, torch.Tensor]) -> None:
        """Restore what [`Weigher.state`] gave."""
        if self.token_weights is not None:
            self.token_weights.load(state)

    def _tokens(self, outputs: Any, inputs: dict[str, torch.Tensor], samples: Samples) -> Tokens:
        log_probs = outputs.log_probs.detach().float()
        count = len(samples.loss)
        if inputs.get("seq_idx") is None:
            sample = torch.arange(count, device=log_probs.device)[:, None].expand(log_probs.shape)
        else:
            sample = inputs["seq_idx"][:, 1:].long().clamp(max=count - 1)
        reference = inputs.get(REF_LOG_PROBS)
        if reference is not None:
            codes = reference[:, 1:]
            reference = (codes / -STEPS).masked_fill(codes == UNKNOWN, torch.nan)
            # Virtual tokens of prompt learning stand in front
            ahead = log_probs.shape[1] - reference.shape[1]
            reference = torch.nn.functional.pad(reference, (ahead, 0), value=torch.nan) if ahead else reference
        return Tokens(
            log_probs=log_probs,
            entropy=outputs.entropy.detach().float(),
            mask=outputs.label_mask.bool(),
            sample=sample,
            samples=samples,
            reference=reference,
        )

    def _at_bounds(self, term: Term, weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Which weights of a term are at its lower and its upper clip bound, float32, if these are shown."""
        if term is not self.product.bounded or term.bounds is None:
            return None
        low, high = torch.tensor(term.bounds, dtype=weights.dtype).tolist()
        return (weights <= low).float(), (weights >= high).float()
