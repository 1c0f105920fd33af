"""Time of `glow-trl ready` on saved generations: the whole command, from its start to the table.

    python bench/bench_ready.py [--checkpoints 10] [--questions 200] [--samples 16]

What `eval` saves is judged already; what `collect` saves `ready` judges itself. The generations are made here, by an
engine that answers at once.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from glow_trl.generation.base import Generation, SampleEngine


class Scripted(SampleEngine):
    """Answers each question rightly at a rate of its own, and a model's questions at higher rates than another's."""

    def __init__(self, model_name_or_path: str, skill: float):
        self.skill = skill

    def stream_samples(self, prompts, sampling, done=(), on_refused=None) -> Iterator[tuple[int, int, Generation]]:
        for index in range(len(prompts)):
            _ = prompts[index]
            rate = random.Random(index).betavariate(self.skill, 2)
            for sample in range(sampling.num_samples):
                rng = random.Random(f"{self.skill}/{index}/{sample}")
                answer = 2 * index + 1 + (rng.random() > rate)
                text = f"We take {index} and {index + 1} and add them up. " * 5 + f"\\boxed{{{answer}}}"
                yield index, sample, Generation(text, [], rng.randint(50, 150), "stop")

    def close(self) -> None:
        pass


def saved(stage: str, options: argparse.Namespace, work: Path) -> list[Path]:
    """Folders with the generations of each checkpoint."""
    from glow_trl.cli import main

    source = work / "questions.jsonl"
    rows = ({"problem": f"What is {n} + {n + 1}?", "answer": str(2 * n + 1)} for n in range(options.questions))
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    if stage == "collect":
        asked = ["--dataset_name", str(source), "--prompt_template", "{problem}"]
    else:
        benchmark = {"name": "sums", "path": str(source), "prompt_template": "{problem}"}
        (work / "eval.yaml").write_text(json.dumps({"benchmarks": [benchmark], "entropy": False}))
        asked = ["--config", str(work / "eval.yaml")]
    asked += ["--engine", f"{Path(__file__).stem}:Scripted", "--num_samples", str(options.samples)]
    folders = [work / f"{stage}-{number}" for number in range(options.checkpoints)]
    for number, folder in enumerate(folders):
        skill = json.dumps({"skill": 0.5 + number / 4})
        model = ["--model_name_or_path", str(work / "model"), "--engine_options", skill]
        if main([stage, *asked, *model, "--output_dir", str(folder)]):
            sys.exit(f"{stage} has failed")
    return folders


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoints", type=int, default=10)
    parser.add_argument("--questions", type=int, default=200)
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--stages", nargs="+", choices=("eval", "collect"), default=("eval", "collect"))
    options = parser.parse_args()
    from glow_trl.recipes.built_model import BuiltModelConfig, build_model

    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2, "num_key_value_heads": 2}
    built = BuiltModelConfig("bpe", vocab_size=300, num_hidden_layers=1, **sizes)
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    table = Table("generations of", "checkpoints", "questions", "samples", "seconds (at most 60)", "of the processors")
    with tempfile.TemporaryDirectory(prefix="bench_ready_") as name:
        build_model(
            built, ["What is 0 1 2 3 4 5 6 7 8 9 + ? We take and add them up. \\boxed{}"], Path(name) / "model"
        )
        for stage in options.stages:
            folders = saved(stage, options, Path(name))
            given = [*map(str, folders), "--base", str(folders[0]), "--output_dir", f"{name}/ready-{stage}"]
            command = [sys.executable, "-m", "glow_trl", "ready", "--generations", *given]
            started, before = time.perf_counter(), os.times()
            subprocess.run(command, check=True, capture_output=True, env=environment)
            seconds, after = time.perf_counter() - started, os.times()
            found = json.loads((Path(name) / f"ready-{stage}" / "ready.json").read_text())
            assert len(found["ranking"]) == options.checkpoints
            counts = (options.checkpoints, options.questions, options.samples)
            used = sum(after[2:4]) - sum(before[2:4])
            table.add_row(stage, *(f"{count:,}" for count in counts), f"{seconds:.1f}", f"{used:.1f}")
    Console().print(table)


if __name__ == "__main__":
    main()
