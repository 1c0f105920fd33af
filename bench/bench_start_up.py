"""
What a training stage needs before its first step, beside plain TRL on the same rows: time, and private memory.

```shell
python bench/bench_start_up.py                                 # SFT, 20,000 trajectories of 700 bytes
python bench/bench_start_up.py --rows 130000 --num_processes 2
python bench/bench_start_up.py --stage grpo --rows 1000000     # questions, without trajectories
```

Each start is a process (or several) of its own with an empty cache of `datasets`, a second one finds what the first
left there. Private memory is RssAnon: what is mapped from files is not in it. Its growth is over the same start with
32 rows. Seconds are those of the slowest process, CPU seconds of all together: where others use the machine, these
tell more.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table


FEW = 32
WORDS = ("so", "then", "we", "add", "take", "the", "sum", "of", "both", "sides", "and", "get", "which", "is", "equal")


def write_rows(folder: Path, stage: str, count: int, length: int) -> None:
    """The same rows for both: as trajectories (SFT) or questions (GRPO), and as TRL reads them."""
    rng = random.Random(0)
    folder.mkdir(parents=True)
    with (folder / "ours.jsonl").open("w") as ours, (folder / "trl.jsonl").open("w") as theirs:
        for index in range(count):
            problem = f"What is {rng.randrange(1000)} + {rng.randrange(1000)}, case {index}?"
            row = {"problem": problem, "answer": str(index)}
            conversation = {"prompt": [{"role": "user", "content": problem}], "answer": str(index)}
            if stage == "sft":
                text = " ".join(rng.choices(WORDS, k=length // 4)) + f" \\boxed{{{index}}}"
                row |= {"completion": text, "is_correct": index % 2 == 0}
                conversation["completion"] = [{"role": "assistant", "content": text}]
            ours.write(json.dumps(row) + "\n")
            theirs.write(json.dumps(conversation) + "\n")


def child(kind: str, stage: str, folder: Path, model: str, output: Path) -> None:
    """Start one trainer, and end before its first step."""
    started = time.perf_counter()
    from transformers.trainer_callback import CallbackHandler

    def stop(self, *args, **kwargs):
        seconds = time.perf_counter() - started
        with open("/proc/self/status") as status:
            private = next(int(line.split()[1]) for line in status if line.startswith("RssAnon"))
        user, system, *_ = os.times()
        record = {"seconds": seconds, "cpu": user + system, "private": private / 1024}
        (output / f"{os.environ.get('RANK', '0')}.json").write_text(json.dumps(record))
        os._exit(0)

    CallbackHandler.on_step_begin = stop
    common = {"bf16": False, "use_cpu": True, "report_to": "none", "save_strategy": "no", "max_steps": 1}
    if stage == "grpo":
        common |= {"num_generations": 2, "per_device_train_batch_size": 2, "max_completion_length": 4}
    if kind == "trl":
        from datasets import load_dataset
        from transformers import AutoTokenizer
        from trl import GRPOConfig, GRPOTrainer, SFTConfig, SFTTrainer

        dataset = load_dataset("json", data_files=str(folder / "trl.jsonl"), split="train")
        config, trainer = (SFTConfig, SFTTrainer) if stage == "sft" else (GRPOConfig, GRPOTrainer)
        further = {} if stage == "sft" else {"reward_funcs": lambda completions, **_: [0.0] * len(completions)}
        trainer(
            model=model,
            args=config(output_dir=str(output / "run"), **common),
            train_dataset=dataset,
            processing_class=AutoTokenizer.from_pretrained(model),
            **further,
        ).train()
    else:
        from glow_trl.cli import main

        options = [f"--{name}={value}" for name, value in common.items()]
        arguments = ["--model_name_or_path", model, "--dataset_name", str(folder / "ours.jsonl")]
        main([stage, *arguments, "--output_dir", str(output / "run"), *options])


def start(kind: str, options: argparse.Namespace, rows: Path, model: str, work: Path, cache: Path) -> list[dict]:
    """What each process of one start says."""
    output = Path(tempfile.mkdtemp(dir=work))
    command = [sys.executable, __file__, "--child", kind, "--stage", options.stage, str(rows), model, str(output)]
    if options.num_processes > 1:
        command[1:1] = ["-m", "torch.distributed.run", "--nproc_per_node", str(options.num_processes)]
    environment = {**os.environ, "HF_HOME": str(cache), "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    found = [json.loads(file.read_text()) for file in sorted(output.glob("*.json"))]
    if len(found) < options.num_processes:
        raise SystemExit(f"{kind} did not start:\n{result.stdout[-2000:]}\n{result.stderr[-3000:]}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--stage", choices=["sft", "grpo"], default="sft")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--length", type=int, default=600, help="about how many characters a trajectory has")
    parser.add_argument("--num_processes", type=int, default=1)
    parser.add_argument("--only", choices=["ours", "trl"], help="leave the other out")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("places", nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        rows, model, output = options.places
        child(options.child, options.stage, Path(rows), model, Path(output))
        return
    from glow_trl.recipes.built_model import BuiltModelConfig, build_model

    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        model = str(work / "model")
        text = " ".join([*WORDS, *"0123456789", "What is + , case ? \\boxed{}"])
        build_model(BuiltModelConfig(num_hidden_layers=1, max_position_embeddings=4096), [text], Path(model))
        write_rows(work / "few", options.stage, FEW, options.length)
        write_rows(work / "all", options.stage, options.rows, options.length)
        size = (work / "all" / "ours.jsonl").stat().st_size >> 20
        title = f"{options.stage}, {options.rows:,} rows, {size:,} MiB, {options.num_processes} process(es)"
        names = ("", "seconds", "CPU s", "second start", "CPU s", "private MiB", "growth MiB", "of a further process")
        table = Table(*names, title=title)
        for kind in ("trl", "ours") if options.only is None else (options.only,):
            few = start(kind, options, work / "few", model, work, work / f"cache-few-{kind}")
            first = start(kind, options, work / "all", model, work, work / f"cache-{kind}")
            second = start(kind, options, work / "all", model, work, work / f"cache-{kind}")
            growth = [after["private"] - before["private"] for before, after in zip(few, first, strict=True)]
            table.add_row(
                kind,
                *(
                    f"{combine(entry[name] for entry in entries):.1f}"
                    for entries in (first, second)
                    for name, combine in (("seconds", max), ("cpu", sum))
                ),
                " ".join(f"{entry['private']:.0f}" for entry in first),
                f"{growth[0]:.0f}",
                " ".join(f"{value:.0f}" for value in growth[1:]),
            )
    Console().print(table)


if __name__ == "__main__":
    main()
