"""
Runs stages of the package as `python -m MODULE ...` does, several one after the other in the same processes, as most
of a small run are its imports: `-m helpers.stages MODULE ARGUMENT... [then MODULE ARGUMENT...]`. Two things differ:

- FSDP2 is FSDP2 on CPU too. accelerate takes DDP in its place there, without a word. All that it does for FSDP2 on a
  GPU is done here: wrapping, loading, checkpoints. On a GPU this changes nothing.
- TRL does not import vLLM, which costs each process seconds. What runs vLLM is in grpo_vllm_worker.py.
"""

import importlib
import itertools
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


def run(argv: list[str]) -> int:
    """The stages of a command line; the exit code of the first that fails, or 0."""
    from torch import distributed
    from trl import import_utils

    from glow_trl.stages.command import guarded

    use_fsdp2()
    import_utils.is_vllm_available = lambda min_version=None: False
    stages = [list(part) for then, part in itertools.groupby(argv, lambda word: word == "then") if not then]
    leave = distributed.destroy_process_group
    for number, (module, *arguments) in enumerate(stages, 1):
        # The next stage needs it
        distributed.destroy_process_group = leave if number == len(stages) else lambda: None
        stage = importlib.import_module(module)
        if code := guarded(lambda stage=stage, arguments=arguments: stage.main(arguments)):
            return code
    return 0


if __name__ == "__main__":
    code = run(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    # On CPU, torch's threads can abort a process that ends in the usual way ("terminate called")
    os._exit(code)
