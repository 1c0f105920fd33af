"""
What each stage costs at two sizes, what a further million rows cost by that, and where that leads.

```shell
python bench/bench_scale.py                                        # 20,000 and 80,000 rows: half an hour on two cores
python bench/bench_scale.py --rows 5000 20000 80000 --stages label mix
python bench/bench_scale.py --json scale.json
```

Each stage is the command, in a process of its own, on rows made here: a question of 40 characters, a completion of
`--length`. The teacher and the model that is evaluated answer at once, so that what is left is what the stage itself
does; training stops before its first step. Processor time and private memory (RssAnon) are those of the command and
all its children; files are what it leaves in its folder and in the cache of `datasets`. The last columns are a line
through the smallest and the largest size.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from glow_trl.generation.base import Generation, SampleEngine


SAMPLES = 4
EPOCHS = 3
WORDS = ("so", "then", "we", "add", "take", "the", "sum", "of", "both", "sides", "and", "get", "which", "is", "equal")


def question(index: int) -> dict[str, str]:
    return {"problem": f"What is {index} + {index % 97}, the sum?", "answer": str(index + index % 97)}


def completion(index: int, sample: int, length: int) -> str:
    rng = random.Random(f"{index}/{sample}")
    answer = index + index % 97 + sample % 2
    return " ".join(rng.choices(WORDS, k=length // 4)) + f" \\boxed{{{answer}}}"


class Scripted(SampleEngine):
    """Answers at once, every other sample rightly."""

    def __init__(self, model_name_or_path: str, length: int):
        self.length = length

    def stream_samples(self, prompts, sampling, done=(), on_refused=None) -> Iterator[tuple[int, int, Generation]]:
        for index in range(len(prompts)):
            _ = prompts[index]
            for sample in range(sampling.num_samples):
                if (index, sample) not in done:
                    yield index, sample, Generation(completion(index, sample, self.length), [], 100, "stop")

    def close(self) -> None:
        pass


def write_questions(path: Path, count: int) -> None:
    with path.open("w") as file:
        file.writelines(json.dumps(question(index)) + "\n" for index in range(count))


def write_trajectories(path: Path, rows: int, length: int) -> None:
    with path.open("w") as file:
        for row in range(rows):
            index, sample = divmod(row, SAMPLES)
            text = completion(index, sample, length)
            labelled = {"completion": text, "is_correct": sample % 2 == 0, "sample_id": f"{index}/{sample}"}
            file.write(json.dumps({**question(index), **labelled}) + "\n")


def write_losses(folder: Path, rows: int) -> None:
    import numpy as np

    from glow_trl.data.loss_history import HISTORY_DIR, write_epoch, write_samples

    rng = np.random.default_rng(0)
    for epoch in range(1, EPOCHS + 1):
        write_epoch(folder / HISTORY_DIR, epoch, rng.random(rows))
    samples = ({"sample_id": f"{row // SAMPLES}/{row % SAMPLES}", "is_correct": row % 2 == 0} for row in range(rows))
    write_samples(folder / HISTORY_DIR, samples)


def arguments(stage: str, rows: int, length: int, folder: Path, model: str) -> list[str]:
    """The arguments of a stage over so many rows, whose input is made in `folder`."""
    source = folder / "rows.jsonl"
    scripted = ["--model_name_or_path", model, "--engine", f"{Path(__file__).stem}:Scripted"]
    scripted += ["--engine_options", json.dumps({"length": length}), "--num_samples", str(SAMPLES)]
    train = ["--model_name_or_path", model, "--bf16", "False", "--use_cpu", "True", "--report_to", "none"]
    if stage == "collect":
        write_questions(source, rows // SAMPLES)
        return ["--dataset_name", str(source), *scripted]
    if stage == "eval":
        write_questions(source, rows // SAMPLES)
        benchmark = {"name": "sums", "path": str(source), "prompt_template": "{problem}"}
        (folder / "eval.yaml").write_text(json.dumps({"benchmarks": [benchmark], "entropy": False}))
        return ["--config", str(folder / "eval.yaml"), *scripted]
    if stage == "label":
        write_trajectories(source, rows, length)
        return ["--dataset_name", str(source), "--kind", "math"]
    if stage == "mix":
        write_trajectories(source, rows, length)
        # As many benchmark questions as the largest of the shipped ones has, none of which is in the rows
        benchmark = folder / "benchmark.jsonl"
        benchmark.write_text(
            "".join(
                json.dumps({"problem": f"How much is {n} - {n // 3}, taken away?", "answer": "1"}) + "\n"
                for n in range(12_000)
            )
        )
        return ["--dataset_name", str(source), "--decontaminate", str(benchmark)]
    if stage == "sft":
        write_trajectories(source, rows, length)
        return ["--dataset_name", str(source), *train]
    if stage == "grpo":
        write_questions(source, rows)
        batch = ["--num_generations", "2", "--per_device_train_batch_size", "2", "--max_completion_length", "4"]
        return ["--dataset_name", str(source), *train, *batch, "--reward_funcs", "accuracy_reward"]
    write_losses(folder, rows)
    return [str(folder)]


STAGES = ("collect", "label", "mix", "sft", "grpo", "eval", "dynamics")


def child(stage: str, argv: list[str]) -> None:
    """The command, a training one up to its first step."""
    from glow_trl.cli import main

    if stage in ("sft", "grpo"):
        from transformers.trainer_callback import CallbackHandler

        CallbackHandler.on_step_begin = lambda *args, **kwargs: os._exit(0)
    sys.exit(main([stage, *argv]))


def private(process: psutil.Process) -> int:
    """Bytes of private memory of a process and its children."""
    total = 0
    try:
        for one in [process, *process.children(recursive=True)]:
            lines = Path(f"/proc/{one.pid}/status").read_text().splitlines()
            total += sum(int(line.split()[1]) << 10 for line in lines if line.startswith("RssAnon"))
    except (psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
        pass
    return total


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def measure(stage: str, rows: int, length: int, work: Path, model: str) -> dict[str, float]:
    folder = work / f"{stage}-{rows}"
    (folder / "out").mkdir(parents=True)
    argv = arguments(stage, rows, length, folder, model) + ["--output_dir", str(folder / "out")]
    environment = {"OMP_NUM_THREADS": "1", **os.environ, "HF_HOME": str(folder / "cache"), "HF_HUB_OFFLINE": "1"}
    environment |= {"TOKENIZERS_PARALLELISM": "false"}
    environment["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    started = time.perf_counter()
    with (folder / "messages").open("w") as messages:
        command = [sys.executable, __file__, "--child", stage, *argv]
        process = subprocess.Popen(command, env=environment, stdout=messages, stderr=messages)
        peak, over = 0, threading.Event()

        def watch() -> None:
            nonlocal peak
            while not over.wait(0.05):
                peak = max(peak, private(watched))

        watched = psutil.Process(process.pid)
        watcher = threading.Thread(target=watch)
        watcher.start()
        _, status, usage = os.wait4(process.pid, 0)
        over.set()
        watcher.join()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(
            f"{stage} with {rows:,} rows ended with {process.returncode}:\n{(folder / 'messages').read_text()[-3000:]}"
        )
    return {
        "rows": rows,
        "seconds": time.perf_counter() - started,
        "cpu": usage.ru_utime + usage.ru_stime,
        "private": peak,
        "files": size(folder / "out") + (size(folder / "cache") if (folder / "cache").exists() else 0),
    }


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], sys.argv[3:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[20_000, 80_000])
    parser.add_argument("--length", type=int, default=2000, help="characters of a completion")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES)
    parser.add_argument("--json", type=Path, help="where to write the figures as well")
    options = parser.parse_args()
    if len(options.rows) < 2:
        parser.error("--rows needs two sizes or more")
    from glow_trl.recipes.built_model import BuiltModelConfig, build_model

    table = Table(title=f"Completions of {options.length:,} characters")
    columns = ("stage", "rows", "seconds", "processor s", "private MB", "files MB")
    for column in (*columns, "per million rows: processor s", "private MB", "files MB"):
        table.add_column(column, justify="left" if column == "stage" else "right")
    figures = {}
    with tempfile.TemporaryDirectory(prefix="bench_scale_") as name:
        work = Path(name)
        text = " ".join([*WORDS, *"0123456789", "What is + , the sum ? How much - taken away \\boxed{}"])
        sizes = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2, "num_key_value_heads": 2}
        model = BuiltModelConfig("bpe", vocab_size=400, num_hidden_layers=1, max_position_embeddings=4096, **sizes)
        build_model(model, [text], work / "model")
        for stage in options.stages:
            found = []
            for rows in sorted(options.rows):
                found.append(measure(stage, rows, options.length, work, str(work / "model")))
                one, last = found[-1], rows == max(options.rows)
                slopes = []
                if last:
                    first, more = found[0], (one["rows"] - found[0]["rows"]) / 1e6
                    slopes = [(one[key] - first[key]) / more for key in ("cpu", "private", "files")]
                row = [one["seconds"], one["cpu"], one["private"] / 1e6, one["files"] / 1e6]
                row += [slopes[0], slopes[1] / 1e6, slopes[2] / 1e6] if last else []
                table.add_row(stage if one is found[0] else "", f"{rows:,}", *(f"{value:,.1f}" for value in row))
            figures[stage] = {"sizes": found, "per_row": [value / 1e6 for value in slopes]}
            table.add_section()
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2))
    Console(width=150).print(table)


if __name__ == "__main__":
    main()
