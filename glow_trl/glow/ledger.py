"""The loss of every training sample in this epoch and the one before."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ..errors import UserError
from ..stages.files import atomic_path


class LossLedger:
    """
    Loss of each training sample at its visit in the current epoch and in the previous one, and its weight in the
    current one: three float32 numbers, 12 bytes, a sample; a fourth for its loss under the initial model, if that is
    to be kept.

    In a distributed run every process writes down the samples that it visits, and [`~LossLedger.sync`] merges what
    all of them wrote in one collective. The ledger is indexed by sample id, an integer in `[0, num_samples)`.

    Args:
        num_samples (`int`):
            Number of training samples.
        device (`torch.device` or `str`, *optional*, defaults to `"cpu"`):
            Where the ledger lives. On the device of the training batches, reading and writing cause no
            host-device synchronization.
        fingerprint (`str`, *optional*):
            Names the training data. A saved ledger loads only into one with the same fingerprint.
        keep_initial (`bool`, *optional*, defaults to `False`):
            Whether the losses under the initial model are kept too.

    Attributes:
        epoch (`int`):
            The current epoch, counted from 1; 0 before the first.
        previous (`torch.Tensor` of shape `(num_samples,)`, float32):
            Loss at the visit in epoch `epoch - 1`, in nats per token; `NaN` for a sample that was not visited.
        current (`torch.Tensor` of shape `(num_samples,)`, float32):
            Loss at the visit in epoch `epoch`, likewise.
        weight (`torch.Tensor` of shape `(num_samples,)`, float32):
            Weight at that visit, before any normalization; of the mean over the sample's tokens where these have
            weights of their own. `NaN` for a sample that was not visited.
        initial (`torch.Tensor` of shape `(num_samples,)`, float32, *optional*):
            Loss under the initial model; `NaN` where it is not known. `None` without `keep_initial`.
    """

    def __init__(
        self,
        num_samples: int,
        device: torch.device | str = "cpu",
        fingerprint: str | None = None,
        keep_initial: bool = False,
    ):
        if num_samples <= 0:
            raise UserError("a ledger needs at least one sample; the training set is empty")
        self.epoch = 0
        self.fingerprint = fingerprint
        # One slot more than there are samples takes what `record` is told to leave out, without a branch on the host
        self._previous = torch.full((num_samples + 1,), torch.nan, dtype=torch.float32, device=device)
        self._current = self._previous.clone()
        self._weight = self._previous.clone()
        self._initial = self._previous.clone() if keep_initial else None

    def __len__(self) -> int:
        return self._current.numel() - 1

    @property
    def previous(self) -> torch.Tensor:
        return self._previous[:-1]

    @property
    def current(self) -> torch.Tensor:
        return self._current[:-1]

    @property
    def weight(self) -> torch.Tensor:
        return self._weight[:-1]

    @property
    def initial(self) -> torch.Tensor | None:
        return None if self._initial is None else self._initial[:-1]

    def _kept(self) -> dict[str, torch.Tensor]:
        """All that is kept of the samples, by name."""
        kept = {"previous": self.previous, "current": self.current, "weight": self.weight}
        return kept if self.initial is None else {**kept, "initial": self.initial}

    def __repr__(self) -> str:
        return f"{type(self).__name__}(num_samples={len(self)}, epoch={self.epoch}, device={str(self.device)!r})"

    @property
    def device(self) -> torch.device:
        return self._current.device

    @property
    def nbytes(self) -> int:
        """Size of the ledger in bytes."""
        return sum(values.nbytes for values in self._kept().values())

    @property
    def gain(self) -> torch.Tensor:
        """`previous - current`, shape `(num_samples,)`; `NaN` for a sample that lacks one of the two."""
        return self.previous - self.current

    def reset(self) -> None:
        """Forget everything, as before the first epoch."""
        self.epoch = 0
        for values in self._kept().values():
            values.fill_(torch.nan)

    def begin_epoch(self, epoch: int) -> None:
        """
        Make `epoch`, counted from 1, the current one. The losses of the epoch before become the previous ones; nothing
        happens when `epoch` is current already, as when a run is resumed in its middle. Call [`~LossLedger.sync`]
        before in a distributed run.

        Raises:
            ValueError: `epoch` lies before the current one.
        """
        if epoch < self.epoch:
            raise ValueError(f"the ledger is in epoch {self.epoch} and cannot go back to epoch {epoch}")
        if epoch == self.epoch:
            return
        if epoch == self.epoch + 1:
            self._previous, self._current = self._current, self._previous
            # Whatever `record` left there for an id of -1
            self._previous[-1] = torch.nan
        else:
            self._previous.fill_(torch.nan)
        self._current.fill_(torch.nan)
        self._weight.fill_(torch.nan)
        self.epoch = epoch

    def record(self, sample_ids: torch.Tensor, losses: torch.Tensor, weights: torch.Tensor | None = None) -> None:
        """
        Write down the losses, and the weights, of samples visited in the current epoch.

        Args:
            sample_ids (`torch.Tensor` of shape `(n,)`, int64): ids of the samples; nothing is written for an id of -1.
            losses (`torch.Tensor` of shape `(n,)`): their losses; one that is not finite counts as no visit.
            weights (`torch.Tensor` of shape `(n,)`, *optional*): their weights.
        """
        self._current[sample_ids] = _finite(losses)
        if weights is not None:
            self._weight[sample_ids] = _finite(weights)

    def record_initial(self, sample_ids: torch.Tensor, losses: torch.Tensor) -> None:
        """Write down the losses of samples under the initial model, as [`~LossLedger.record`] those of an epoch."""
        if self._initial is None:
            raise ValueError("the ledger was made without keep_initial")
        self._initial[sample_ids] = _finite(losses)

    def initial_loss(self, sample_ids: torch.Tensor) -> torch.Tensor | None:
        """As [`~LossLedger.previous_loss`], under the initial model; `None` without `keep_initial`."""
        return None if self._initial is None else self._initial[sample_ids]

    def previous_loss(self, sample_ids: torch.Tensor) -> torch.Tensor:
        """
        Losses of samples in the previous epoch.

        Args:
            sample_ids (`torch.Tensor` of shape `(n,)`, int64): ids of the samples.

        Returns:
            `torch.Tensor` of shape `(n,)`, float32: `NaN` where unknown, or where the id is -1.
        """
        return self._previous[sample_ids]

    def sync(self) -> None:
        """
        Merge the current epoch's losses of all processes, in one all-reduce. Does nothing without
        `torch.distributed`. May be called at any time and any number of times in an epoch, by all processes together.
        """
        if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
            return
        if torch.distributed.get_world_size() == 1:
            return
        # A sample is visited by one process: the maximum is what this one wrote down
        written = [self.current, self.weight] if self.initial is None else [self.current, self.weight, self.initial]
        merged = torch.stack(written)
        merged.masked_fill_(merged.isnan(), -torch.inf)
        torch.distributed.all_reduce(merged, op=torch.distributed.ReduceOp.MAX)
        merged.masked_fill_(merged.isinf(), torch.nan)
        for values, found in zip(written, merged, strict=True):
            values.copy_(found)

    def save(self, path: str | os.PathLike, extra: Mapping[str, torch.Tensor] | None = None) -> None:
        """
        Write the ledger, and tensors besides, to a safetensors file. The file appears under its name only when it is
        whole.
        """
        tensors = {**self._kept(), **(extra or {})}
        tensors = {name: values.cpu().contiguous() for name, values in tensors.items()}
        # One entry, as safetensors writes several in another order each time
        state = json.dumps({"epoch": self.epoch, "fingerprint": self.fingerprint})
        with atomic_path(path) as partial:
            save_file(tensors, partial, metadata={"state": state})

    def load(self, path: str | os.PathLike) -> dict[str, torch.Tensor]:
        """
        Restore what [`~LossLedger.save`] wrote.

        Returns:
            `dict[str, torch.Tensor]`: what the file holds besides the ledger.

        Raises:
            UserError: the file is missing or damaged, belongs to other training data, or lacks the losses under the
                initial model, which are to be kept.
        """
        path = Path(path)
        if not path.is_file():
            raise UserError(
                f"{path} is missing: the checkpoint was not written by GLOWTrainer. Resume from one that was, or "
                "start a new run"
            )
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata()
                # Version 0.1.0 had an entry for each
                state = json.loads(metadata["state"]) if "state" in metadata else metadata
                epoch, fingerprint = int(state["epoch"]), state["fingerprint"] or None
                found = {name: file.get_tensor(name) for name in file.keys()}
            previous, current = found.pop("previous"), found.pop("current")
            if previous.shape != current.shape:
                raise ValueError(f"shapes {list(previous.shape)} and {list(current.shape)}")
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise UserError(f"{path} is damaged ({error}); resume from an earlier checkpoint") from error
        if len(current) != len(self):
            raise UserError(
                f"{path} holds {len(current)} samples, the training set has {len(self)}: the data changed since the "
                "checkpoint. Resume with the same data, or start a new run"
            )
        if None not in (fingerprint, self.fingerprint) and fingerprint != self.fingerprint:
            raise UserError(
                f"{path} was written for other training data of the same size. Resume with the data of the "
                "checkpoint, or start a new run"
            )
        if self.initial is not None and "initial" not in found:
            raise UserError(
                f"{path} has no losses under the initial model: the run had another weighting. Resume with that, or "
                "start a new run"
            )
        self.previous.copy_(previous)
        self.current.copy_(current)
        # Earlier versions did not keep it
        self.weight.copy_(found.pop("weight", torch.full_like(current, torch.nan)))
        if self.initial is not None:
            self.initial.copy_(found.pop("initial"))
        self.epoch = epoch
        return found


def _finite(values: torch.Tensor) -> torch.Tensor:
    """Detached, in float32, with `NaN` for what is not finite."""
    return values.detach().float().nan_to_num(nan=torch.nan, posinf=torch.nan, neginf=torch.nan)
