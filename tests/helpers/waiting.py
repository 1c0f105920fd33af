"""Counting the operators that make the host wait for a device, on any device."""

import collections

import torch
from torch.utils._python_dispatch import TorchDispatchMode


aten = torch.ops.aten
# The host needs their results: a number, or the size of what they return
WAITING = {
    aten._local_scalar_dense,
    aten.nonzero,
    aten.masked_select,
    aten.equal,
    aten._unique2,
    aten.unique_dim,
    aten.repeat_interleave,
    aten.bincount,
}
# With a mask in place of positions they look for these first
INDEXING = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_}


class WaitingOperators(TorchDispatchMode):
    """Counts them while it is entered."""

    def __init__(self):
        super().__init__()
        self.counts = collections.Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        packet = function.overloadpacket
        by_mask = packet in INDEXING and any(index is not None and index.dtype == torch.bool for index in args[1])
        if packet in WAITING or by_mask:
            self.counts[str(packet)] += 1
        return function(*args, **(kwargs or {}))
