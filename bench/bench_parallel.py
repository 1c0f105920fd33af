"""
Several processes against one, on your own devices: DDP, FSDP2, ZeRO-2, ZeRO-3. GLOW trains a small model on the same
samples in one process and in several, with uneven last batches and gradient accumulation, and the parameters and
ledgers are compared.

```shell
python bench/bench_parallel.py                              # all GPUs, or two processes on CPU
python bench/bench_parallel.py --num_processes 4 --kinds fsdp2
```

Exits with 1 where parameters differ by more than 1e-5, or ledgers by more than 1e-6 of the loss.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path


sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import torch
from rich.console import Console
from rich.table import Table
from transformers import PrinterCallback

from glow_trl.recipes.built_model import BuiltModelConfig, build_model
from helpers.glow_cases import FSDP2, WEIGHTS, largest_difference, make_trainer, parameters, reference_rows, zero


ROOT = Path(__file__).resolve().parents[1]
LAUNCHED = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
SETTINGS = {
    "fsdp2": FSDP2,
    "ddp": {},
    "zero2": {"deepspeed": zero(2)},
    "zero3": {"deepspeed": zero(3)},
}
WRAPPERS = {"fsdp2": "FSDPQwen2ForCausalLM", "ddp": "DistributedDataParallel"}
SAMPLES = 118
ACCUMULATION = 2


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num_processes", type=int, help="by default the number of GPUs, or two on CPU")
    kinds = [kind for kind in SETTINGS if not kind.startswith("zero") or find_spec("deepspeed")]
    parser.add_argument("--kinds", nargs="+", choices=SETTINGS, default=kinds)
    parser.add_argument("--cpu", action="store_true", help="even where there is a GPU")
    options = parser.parse_args()
    if options.num_processes is None:
        counted = subprocess.run(
            [sys.executable, "-c", "import torch; print(torch.cuda.device_count())"],
            env=LAUNCHED,
            capture_output=True,
            text=True,
            check=True,
        )
        options.num_processes = 2 if options.cpu else int(counted.stdout.split()[-1]) or 2
    return options


def settings(options: argparse.Namespace, num_processes: int) -> dict:
    return {
        **WEIGHTS,
        "learning_rate": 0.1,
        "use_cpu": options.cpu or not torch.cuda.is_available(),
        "per_device_train_batch_size": 2 * options.num_processes // num_processes,
        "gradient_accumulation_steps": ACCUMULATION,
        "logging_steps": 1,
    }


def launch(model: Path, out: Path, kind: str, options: argparse.Namespace) -> list[dict]:
    """What each process came to."""
    case = {"rows": SAMPLES, "settings": settings(options, options.num_processes) | SETTINGS[kind]}
    case["wrapper"] = WRAPPERS.get(kind, "DeepSpeedEngine")
    (out / "cases.json").write_text(json.dumps({kind: case}))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc_per_node", str(options.num_processes), "-m", "helpers.glow_ddp_worker"]
    run = subprocess.run(
        [*command, str(model), str(out)], env={"OMP_NUM_THREADS": "1", **LAUNCHED}, capture_output=True, text=True
    )
    if run.returncode:
        sys.exit(run.stderr[-4000:])
    return [torch.load(out / f"{kind}-{rank}.pt", map_location="cpu") for rank in range(options.num_processes)]


def main() -> None:
    options = parse_args()
    # `Trainer` would use all GPUs that this one process sees
    os.environ["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    table = Table(title=f"{options.num_processes} processes against one, {SAMPLES} samples, 3 epochs")
    for column in ("", "wrapper", "steps", "parameters differ by", "ledgers differ by, of the loss"):
        table.add_column(column, justify="right" if column else "left")
    equal = True
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model"
        small = BuiltModelConfig(hidden_size=32, intermediate_size=64, num_attention_heads=2, num_key_value_heads=2)
        build_model(small, ["0123456789abcdefghijklmnopqrstuvwxyz+-*/=()[]{}.,:;?! "], model)
        one = make_trainer(str(model), Path(folder) / "one", reference_rows(SAMPLES), **settings(options, 1))
        one.remove_callback(PrinterCallback)
        one.train()
        expected = {name: value.cpu() for name, value in parameters(one.model).items()}
        for kind in options.kinds:
            out = Path(folder) / kind
            out.mkdir()
            results = launch(model, out, kind, options)
            difference = max(largest_difference(result["parameters"], expected) for result in results)
            ledger = max(
                ((result[name].cpu() - getattr(one.ledger, name).cpu()) / result[name].cpu()).abs().max().item()
                for result in results
                for name in ("previous", "current")
            )
            equal &= difference <= 1e-5 and ledger <= 1e-6
            wrapper, steps = results[0]["wrapper"], str(results[0]["steps"])
            table.add_row(kind, wrapper, steps, f"{difference:.1e}", f"{ledger:.1e}")
    Console().print(table)
    sys.exit(0 if equal else 1)


if __name__ == "__main__":
    main()
