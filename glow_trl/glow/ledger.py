"""The loss of every training sample in this epoch and the one before."""

import json
import os
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ..errors import UserError
from ..stages.files import atomic_path


class LossLedger:
    """
    Loss of each training sample at its visit in the current epoch and in the previous one: two float32 numbers, 8
    bytes, a sample.

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

    Attributes:
        epoch (`int`):
            The current epoch, counted from 1; 0 before the first.
        previous (`torch.Tensor` of shape `(num_samples,)`, float32):
            Loss at the visit in epoch `epoch - 1`, in nats per token; `NaN` for a sample that was not visited.
        current (`torch.Tensor` of shape `(num_samples,)`, float32):
            Loss at the visit in epoch `epoch`, likewise.
    """

    def __init__(self, num_samples: int, device: torch.device | str = "cpu", fingerprint: str | None = None):
        if num_samples <= 0:
            raise UserError("a ledger needs at least one sample; the training set is empty")
        self.epoch = 0
        self.fingerprint = fingerprint
        # One slot more than there are samples takes what `record` is told to leave out, without a branch on the host
        self._previous = torch.full((num_samples + 1,), torch.nan, dtype=torch.float32, device=device)
        self._current = self._previous.clone()

    def __len__(self) -> int:
        return self._current.numel() - 1

    @property
    def previous(self) -> torch.Tensor:
        return self._previous[:-1]

    @property
    def current(self) -> torch.Tensor:
        return self._current[:-1]

    def __repr__(self) -> str:
        return f"{type(self).__name__}(num_samples={len(self)}, epoch={self.epoch}, device={str(self.device)!r})"

    @property
    def device(self) -> torch.device:
        return self._current.device

    @property
    def nbytes(self) -> int:
        """Size of the ledger in bytes."""
        return self.previous.nbytes + self.current.nbytes

    @property
    def gain(self) -> torch.Tensor:
        """`previous - current`, shape `(num_samples,)`; `NaN` for a sample that lacks one of the two."""
        return self.previous - self.current

    def reset(self) -> None:
        """Forget everything, as before the first epoch."""
        self.epoch = 0
        self._previous.fill_(torch.nan)
        self._current.fill_(torch.nan)

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
        self.epoch = epoch

    def record(self, sample_ids: torch.Tensor, losses: torch.Tensor) -> None:
        """
        Write down the losses of samples visited in the current epoch.

        Args:
            sample_ids (`torch.Tensor` of shape `(n,)`, int64): ids of the samples; nothing is written for an id of -1.
            losses (`torch.Tensor` of shape `(n,)`): their losses; one that is not finite counts as no visit.
        """
        losses = losses.detach().to(self._current.dtype)
        self._current[sample_ids] = losses.nan_to_num(nan=torch.nan, posinf=torch.nan, neginf=torch.nan)

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
        # A sample is visited by one process: the maximum is the loss that this one wrote down
        merged = self.current.masked_fill(self.current.isnan(), -torch.inf)
        torch.distributed.all_reduce(merged, op=torch.distributed.ReduceOp.MAX)
        self.current.copy_(merged.masked_fill_(merged.isinf(), torch.nan))

    def save(self, path: str | os.PathLike) -> None:
        """Write the ledger to a safetensors file. The file appears under its name only when it is whole."""
        tensors = {"previous": self.previous.cpu().contiguous(), "current": self.current.cpu().contiguous()}
        # One entry, as safetensors writes several in another order each time
        state = json.dumps({"epoch": self.epoch, "fingerprint": self.fingerprint})
        with atomic_path(path) as partial:
            save_file(tensors, partial, metadata={"state": state})

    def load(self, path: str | os.PathLike) -> None:
        """
        Restore what [`~LossLedger.save`] wrote.

        Raises:
            UserError: the file is missing or damaged, or belongs to other training data.
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
                previous, current = file.get_tensor("previous"), file.get_tensor("current")
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
        self.previous.copy_(previous)
        self.current.copy_(current)
        self.epoch = epoch
