"""
What each process of test_glow_ddp.py does: `torchrun -m helpers.glow_ddp_worker MODEL OUT`. OUT holds cases.json,
name -> {"rows", "settings", "resume"}; results go to OUT/<name>-<rank>.pt.
"""

import collections
import functools
import gc
import json
import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch.distributed.fsdp import FSDPModule
from trl import SFTConfig, SFTTrainer

from glow_trl.training.extensions import remove_abandoned_locks
from helpers.glow_cases import logged, make_trainer, parameters, reference_rows
from helpers.stages import use_fsdp2


COLLECTIVES = [
    "all_gather",
    "all_gather_into_tensor",
    "all_gather_object",
    "all_reduce",
    "all_to_all",
    "barrier",
    "broadcast",
    "broadcast_object_list",
    "gather",
    "gather_object",
    "reduce",
    "reduce_scatter",
    "reduce_scatter_tensor",
    "scatter",
]


def count_collectives() -> collections.Counter:
    """Count the calls of the collectives of torch.distributed from now on."""
    calls = collections.Counter()

    def counting(name, function):
        @functools.wraps(function)
        def call(*args, **kwargs):
            calls[name] += 1
            return function(*args, **kwargs)

        return call

    for name in COLLECTIVES:
        setattr(dist, name, counting(name, getattr(dist, name)))
    return calls


def whole_parameters(trainer) -> dict[str, torch.Tensor]:
    """The parameters of the model, gathered where DeepSpeed or FSDP2 has cut them in pieces."""
    if isinstance(trainer.model, FSDPModule):
        alone = dist.get_world_size() == 1
        assert all(alone or each.to_local().numel() < each.numel() for each in trainer.model.parameters())
        return {name: parameter.full_tensor().detach().clone() for name, parameter in trainer.model.named_parameters()}
    if not trainer.is_deepspeed_enabled:
        return parameters(trainer.model)
    import deepspeed

    with deepspeed.zero.GatheredParameters(list(trainer.model.parameters())):
        return parameters(trainer.model)


def main() -> None:
    model, out = sys.argv[1], Path(sys.argv[2])
    calls = count_collectives()
    remove_abandoned_locks()
    use_fsdp2()
    # Of what the imports made, which accelerate would have looked through at the start of each training
    gc.collect()
    gc.freeze()
    for name, case in json.loads((out / "cases.json").read_text()).items():
        kwargs = {"trainer": SFTTrainer, "config": SFTConfig} if case.get("sft") else {}
        rows = reference_rows(case["rows"])
        # Set by accelerate, in the case before
        os.environ.pop("ACCELERATE_USE_FSDP", None)
        trainer = make_trainer(model, out / name, rows, **kwargs, **case["settings"])
        assert dist.get_world_size() == trainer.accelerator.num_processes == int(os.environ["WORLD_SIZE"])
        calls.clear()
        trainer.train(resume_from_checkpoint=case.get("resume"))
        wrapper = type(trainer.model_wrapped)
        assert wrapper.__name__ == case.get("wrapper", "DistributedDataParallel"), wrapper
        result = {
            "world_size": dist.get_world_size(),
            "parameters": whole_parameters(trainer),
            "steps": trainer.state.global_step,
            "collectives": dict(calls),
            "loss": logged(trainer, "loss"),
            "grad_norm": logged(trainer, "grad_norm"),
            "wrapper": wrapper.__name__,
            "zero_stage": trainer.model_wrapped.zero_optimization_stage() if trainer.is_deepspeed_enabled else 0,
        }
        if not case.get("sft"):
            result["sample_loss"] = logged(trainer, "glow/sample_loss")
            result |= {"previous": trainer.ledger.previous.clone(), "current": trainer.ledger.current.clone()}
        torch.save(result, out / f"{name}-{dist.get_rank()}.pt")
    # A process that leaves while another still saves can abort it
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    sys.stderr.flush()
    # On CPU, torch's threads can abort a process that ends in the usual way ("terminate called")
    os._exit(0)
