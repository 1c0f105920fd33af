"""GLOW under FSDP2 and ZeRO-3 in bfloat16, on one process, beside a training without either."""

from importlib.util import find_spec

import torch

from helpers.glow_cases import FSDP2, WEIGHTS, launch_command, make_trainer, reference_rows, results_of, zero

from .inputs import small_model
from .rows import CheckRun, Row, Skipped, run_through


ROWS = 48
BATCH = 4
# Of a sample's loss, on average: one has weights in bfloat16 where the other has autocast
TOLERANCE = 0.03
WRAPPERS = {"fsdp2": "FSDPQwen2ForCausalLM", "zero3": "DeepSpeedEngine"}


def settings(run: CheckRun, num_processes: int = 1) -> dict:
    return {
        **WEIGHTS,
        "use_cpu": not run.gpu,
        "bf16": True,
        "per_device_train_batch_size": BATCH // num_processes,
        "optim": "adamw_torch",
        "learning_rate": 1e-3,
        "max_grad_norm": 1.0,
        "gradient_checkpointing": True,
        "logging_strategy": "epoch",
    }


def check(run: CheckRun) -> None:
    model = small_model(run.folder / "model")
    expected = None
    with run.row("one process") as row:
        trainer = make_trainer(model, run.folder / "one", reference_rows(ROWS), **settings(run))
        trainer.train()
        expected = trainer.ledger.previous.cpu(), trainer.ledger.current.cpu()
        tell(row, *expected)
    # accelerate has FSDP2 on CPU only as helpers.stages makes it, for several processes
    for kind, num_processes in (("fsdp2", 1 if run.gpu else 2), ("zero3", 1)):
        with run.row(kind) as row:
            if kind == "zero3" and find_spec("deepspeed") is None:
                raise Skipped("deepspeed is not installed")
            row.require(expected is not None, "there is nothing to compare with")
            extra = FSDP2 if kind == "fsdp2" else {"deepspeed": zero(3) | {"bf16": {"enabled": "auto"}}}
            case = {"rows": ROWS, "wrapper": WRAPPERS[kind], "settings": settings(run, num_processes) | extra}
            out = run.folder / kind
            out.mkdir()
            run_through(launch_command(model, out, {kind: case}, num_processes))
            result = results_of(out, kind, num_processes)[0]
            row["wrapper"], row["processes"] = result["wrapper"], num_processes
            row.require(result["wrapper"] == WRAPPERS[kind], f"the model is wrapped in {result['wrapper']}")
            found = result["previous"].cpu(), result["current"].cpu()
            tell(row, *found)
            pairs = list(zip(found, expected, strict=True))
            row["losses differ by"] = max(((one - other).abs() / other).mean().item() for one, other in pairs)
            row.require(row["losses differ by"] <= TOLERANCE, f"losses differ by more than {TOLERANCE:.0%}")
            finite = all(torch.isfinite(each).all() for each in result["parameters"].values())
            row.require(finite, "weights are not finite numbers")


def tell(row: Row, previous: torch.Tensor, current: torch.Tensor) -> None:
    """The mean losses of the last two epochs, from the ledger."""
    row["loss, epoch 2"], row["loss, epoch 3"] = previous.mean().item(), current.mean().item()
    row.require(row["loss, epoch 3"] < row["loss, epoch 2"], "nothing was learned")
