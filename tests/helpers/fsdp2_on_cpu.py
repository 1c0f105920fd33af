"""
Runs a module with FSDP2 on CPU: `accelerate launch --config_file FILE -m helpers.fsdp2_on_cpu MODULE ...`. accelerate
takes DDP in its place there, without a word. All that it does for FSDP2 on a GPU is done here: wrapping, loading,
checkpoints. On a GPU this changes nothing.
"""

import importlib
import os
import sys

from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType


_init = AcceleratorState.__init__


def _init_with_fsdp(self, *args, fsdp_plugin=None, **kwargs) -> None:
    first = AcceleratorState._shared_state == {}
    _init(self, *args, fsdp_plugin=fsdp_plugin, **kwargs)
    if first and fsdp_plugin is not None and self.distributed_type != DistributedType.FSDP:
        assert self.distributed_type == DistributedType.MULTI_CPU, self.distributed_type
        # The one is made from the other again and again
        self.distributed_type = PartialState._shared_state["distributed_type"] = DistributedType.FSDP
        self.fsdp_plugin = fsdp_plugin


def use_fsdp2() -> None:
    """From now on, where the file for accelerate or the arguments of a trainer ask for FSDP2."""
    AcceleratorState.__init__ = _init_with_fsdp


if __name__ == "__main__":
    from glow_trl.stages.command import guarded

    assert os.environ.get("ACCELERATE_USE_FSDP") == "true"
    use_fsdp2()
    stage = importlib.import_module(sys.argv[1])
    sys.exit(guarded(lambda: stage.main(sys.argv[2:])))
