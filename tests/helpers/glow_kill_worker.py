"""
What test_glow_kill.py starts and kills: `glow_kill_worker.py MODEL OUT` reads one JSON line per run from standard
input, forks a process that trains, prints its process id and then its exit status. Imports serve all the runs.
"""

import json
import os
import sys

import torch
from glow_cases import WEIGHTS, make_trainer, parameters, token_rows


SETTINGS = {
    "per_device_train_batch_size": 3,
    "gradient_accumulation_steps": 2,
    "num_train_epochs": 4,
    "save_strategy": "steps",
    "save_steps": 1,
    "optim": "adamw_torch",
    "learning_rate": 5e-3,
    "lr_scheduler_type": "cosine",
    "max_grad_norm": 1.0,
    "logging_steps": 1,
    # Makes the end state depend on the random state too
    "model_init_kwargs": {"attention_dropout": 0.1},
    **WEIGHTS,
}


def train(model: str, output_dir: str, resume: bool) -> None:
    trainer = make_trainer(model, output_dir, token_rows(27), **SETTINGS)
    trainer.train(resume_from_checkpoint=resume)
    result = {
        "parameters": parameters(trainer.model),
        "previous": trainer.ledger.previous.clone(),
        "current": trainer.ledger.current.clone(),
        "loss": [entry["loss"] for entry in trainer.state.log_history if "loss" in entry],
    }
    torch.save(result, os.path.join(output_dir, "result.pt"))


def main() -> None:
    # Loads what a run would load late
    make_trainer(sys.argv[1], sys.argv[2], token_rows(27), **SETTINGS)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            with open(os.devnull, "w") as nothing:
                os.dup2(nothing.fileno(), 1)
            train(sys.argv[1], **json.loads(line))
            os._exit(0)
        print(f"pid {pid}", flush=True)
        _, status = os.waitpid(pid, 0)
        print(f"exit code {os.waitstatus_to_exitcode(status)}", flush=True)


if __name__ == "__main__":
    main()
