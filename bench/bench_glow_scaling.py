"""
A step of GLOWTrainer beside SFTTrainer and a plain implementation of the released method, by sequence length and size
of the vocabulary: time, tokens a second, peak memory. One run of bench_glow_step.py each.

```shell
python bench/bench_glow_scaling.py                    # small models on CPU; 0.5B, to 8k x 152k, on a GPU
python bench/bench_glow_scaling.py --seq_len 1024 4096 --vocab_size 32000 151936 --num_processes 8
```

What bench_glow_scaling.py does not know goes to bench_glow_step.py: `--bf16`, `--hidden_size 1024`, ...
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table


def main() -> None:
    gpu = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seq_len", type=int, nargs="+", default=[2048, 8192] if gpu else [64, 256])
    parser.add_argument("--vocab_size", type=int, nargs="+", default=[32000, 151936] if gpu else [2048, 32768])
    options, rest = parser.parse_known_args()
    step = str(Path(__file__).with_name("bench_glow_step.py"))
    small = ["--hidden_size", "64", "--layers", "2", "--batch_size", "4", "--steps", "2"]
    preset = ["--preset", "gpu", "--steps", "4"] if gpu else small
    preset += ["--blocks", "4", "--memory_runs", "1"]
    table = Table(title="GLOW beside SFTTrainer and a plain implementation")
    for column in ("tokens", "vocabulary", "", "ms a step", "tokens / s", "peak MiB", "time ratio", "memory ratio"):
        table.add_column(column, justify="right")
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "figures.json"
        for seq_len in options.seq_len:
            for vocab_size in options.vocab_size:
                size = ["--seq_len", str(seq_len), "--vocab_size", str(vocab_size)]
                subprocess.run(
                    [sys.executable, step, *preset, *size, *rest, "--json", str(result)],
                    check=True,
                    stdout=subprocess.DEVNULL,
                )
                figures = json.loads(result.read_text())
                base = next(iter(figures.values()))
                for name, figure in figures.items():
                    memory = None if figure["bytes"] is None else figure["bytes"] / 2**20
                    table.add_row(
                        *((f"{seq_len:,}", f"{vocab_size:,}") if figure is base else ("", "")),
                        name,
                        f"{1000 * figure['seconds']:.1f}",
                        f"{figure['tokens_per_second']:,.0f}",
                        "-" if memory is None else f"{memory:,.1f}",
                        f"{figure.get('ratio', 1):.3f}",
                        "-" if memory is None else f"{figure['bytes'] / base['bytes']:.3f}",
                    )
                table.add_section()
    Console().print(table)


if __name__ == "__main__":
    main()
