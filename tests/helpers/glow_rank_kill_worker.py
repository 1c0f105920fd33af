"""
What test_glow_rank_kill.py starts: `glow_rank_kill_worker.py MODEL OUT` reads one JSON line per run from standard
input, {"output_dir", "step", "rank", "delay"}, and forks the two processes of the run, as imports then serve all the
runs. One of them kills itself some seconds after the step has begun, none with step 0. A run resumes from the last
complete checkpoint, if there is one. The exit codes of the two are printed.
"""

import contextlib
import json
import os
import signal
import socket
import sys
import threading
import time
import traceback
from pathlib import Path

import torch
import torch.distributed as dist
from accelerate import PartialState
from glow_cases import WEIGHTS, logged, make_trainer, parameters, token_rows
from transformers import TrainerCallback

from glow_trl.training.checkpoints import last_complete_checkpoint


SETTINGS = {
    "per_device_train_batch_size": 2,
    "gradient_accumulation_steps": 2,
    "num_train_epochs": 10,
    "save_strategy": "steps",
    "save_steps": 1,
    "save_total_limit": 3,
    "optim": "adamw_torch",
    "learning_rate": 5e-3,
    "lr_scheduler_type": "cosine",
    "max_grad_norm": 1.0,
    "logging_steps": 1,
    # Makes the end state depend on the random state too
    "model_init_kwargs": {"attention_dropout": 0.1},
    **WEIGHTS,
}


class Killer(TrainerCallback):
    """SIGKILL to this very process, in the middle of a step or of the checkpoint after it."""

    def __init__(self, step: int, delay: float):
        self.step, self.delay = step, delay

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step + 1 == self.step:
            threading.Timer(self.delay, lambda: os.kill(os.getpid(), signal.SIGKILL)).start()


def train(model: str, out: Path, step: int, delay: float) -> None:
    trainer = make_trainer(model, out, token_rows(22), callbacks=[Killer(step, delay)], **SETTINGS)
    assert dist.get_world_size() == trainer.accelerator.num_processes == 2
    trainer.train(resume_from_checkpoint=last_complete_checkpoint(out))
    assert type(trainer.model_wrapped).__name__ == "DistributedDataParallel"
    result = {
        "parameters": parameters(trainer.model),
        "previous": trainer.ledger.previous.clone(),
        "current": trainer.ledger.current.clone(),
        "loss": logged(trainer, "loss"),
    }
    torch.save(result, out / f"result-{dist.get_rank()}.pt")
    dist.barrier()
    dist.destroy_process_group()


def start(model: str, out: Path, port: int, rank: int, step: int, delay: float) -> int:
    """Fork a process of a run; its id."""
    pid = os.fork()
    if pid:
        return pid
    with open(os.devnull, "w") as nothing:
        os.dup2(nothing.fileno(), 1)
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", **address}
    try:
        train(model, out, step, delay)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def wait(pids: list[int]) -> list[int]:
    """The exit codes of processes; as torchrun does, those that are left when one fails are killed."""
    codes = dict.fromkeys(pids)
    while None in codes.values():
        pid, status = os.wait()
        codes[pid] = os.waitstatus_to_exitcode(status)
        for other in [other for other, code in codes.items() if code is None and codes[pid]]:
            os.kill(other, signal.SIGTERM)
            time.sleep(0.2)
            with contextlib.suppress(ProcessLookupError):
                os.kill(other, signal.SIGKILL)
    return list(codes.values())


def main() -> None:
    model, out = sys.argv[1], Path(sys.argv[2])
    # Loads what a run would load late
    make_trainer(model, out, token_rows(22), **SETTINGS)
    PartialState._reset_state()
    for line in sys.stdin:
        run = json.loads(line)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        steps = [run["step"] if rank == run["rank"] else 0 for rank in (0, 1)]
        folder = Path(run["output_dir"])
        pids = [start(model, folder, port, rank, steps[rank], run["delay"]) for rank in (0, 1)]
        print(f"exit codes {wait(pids)}", flush=True)


if __name__ == "__main__":
    main()
