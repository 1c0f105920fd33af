"""
What test_glow_kill.py starts: `-m helpers.glow_kill_worker MODEL OUT` does one run after the other, each in one or two
processes that it forks, as imports then serve all the runs. A job says {"output_dir", "num_processes", "rows",
"settings"}, and of a process that is to be killed {"rank", "step", "moment", "delay"}. A run resumes from the last
complete checkpoint, if there is one. The answer is the exit codes of its processes.
"""

import contextlib
import gc
import json
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path

import torch
import torch.distributed as dist
from accelerate import PartialState
from transformers import TrainerCallback

from glow_trl.training.checkpoints import last_complete_checkpoint
from helpers.glow_cases import WEIGHTS, logged, make_trainer, parameters, reference_rows
from helpers.launching import free_port


SETTINGS = {
    "gradient_accumulation_steps": 2,
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
    """
    SIGKILL to this very process, some time after a step begins or after its checkpoint begins to be written. The run
    waits for that before the step after the next, so that it never ends before.
    """

    def __init__(self, step: int, moment: str, delay: float):
        self.step, self.moment, self.delay = step, moment, delay

    def on_step_begin(self, args, state, control, **kwargs):
        checkpoint = Path(args.output_dir, f"checkpoint-{self.step}")
        if state.global_step + 1 == self.step:
            threading.Thread(target=self.kill, args=(checkpoint,), daemon=True).start()
        if state.global_step == self.step + 1:
            threading.Event().wait()

    def kill(self, checkpoint: Path) -> None:
        while self.moment == "checkpoint" and not checkpoint.exists():
            time.sleep(0.0005)
        time.sleep(self.delay)
        os.kill(os.getpid(), signal.SIGKILL)


def train(model: str, out: Path, num_processes: int, rows: int, settings: dict, kill: dict | None) -> None:
    callbacks = [Killer(**kill)] if kill else []
    trainer = make_trainer(model, out, reference_rows(rows), callbacks=callbacks, **{**SETTINGS, **settings})
    assert trainer.accelerator.num_processes == num_processes
    trainer.train(resume_from_checkpoint=last_complete_checkpoint(out))
    assert (type(trainer.model_wrapped).__name__ == "DistributedDataParallel") == (num_processes > 1)
    result = {
        "parameters": parameters(trainer.model),
        "previous": trainer.ledger.previous.clone(),
        "current": trainer.ledger.current.clone(),
        "loss": logged(trainer, "loss"),
    }
    torch.save(result, out / f"result-{os.environ.get('RANK', '0')}.pt")
    if num_processes > 1:
        dist.barrier()
        dist.destroy_process_group()


def start(model: str, rank: int, port: int, job: dict) -> int:
    """Fork a process of a run; its id."""
    pid = os.fork()
    if pid:
        return pid
    with open(os.devnull, "w") as nothing:
        os.dup2(nothing.fileno(), 1)
    n = job["num_processes"]
    if n > 1:
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(n), "LOCAL_WORLD_SIZE": str(n)}
        os.environ |= address
    kill = {name: job[name] for name in ("step", "moment", "delay")} if job.get("rank") == rank else None
    try:
        train(model, Path(job["output_dir"]), n, job["rows"], job["settings"], kill)
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
    make_trainer(model, out, reference_rows(22), **SETTINGS)
    PartialState._reset_state()
    # Of what the imports made, which accelerate would have looked through at the start of each training
    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        job = json.loads(line)
        port = free_port()
        pids = [start(model, rank, port, job) for rank in range(job["num_processes"])]
        print(f"answer {json.dumps(wait(pids))}", flush=True)


if __name__ == "__main__":
    main()
