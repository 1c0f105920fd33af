"""Overhead of `glow-trl eval` over the bare engine, and the time to score saved completions again.

    python bench/bench_eval.py [--data FOLDER] [--engine transformers|vllm] [--questions 200]
        [--completions 100000]

Overhead: the same engine draws the same completions, once bare and once through `evaluate`, which also loads and
checks the questions, saves every completion, judges and summarizes; alternating, with the order turned every round.
Engine start-up counts for neither. The model is small, so that a completion costs little beside what is done about
it: with a real one the overhead is smaller.

Scoring: real completions of several models on several benchmarks (shared/data/traj_*), repeated up to the number asked
for, each repetition with another beginning and, for half of them, another final number, so that neither caches nor
equal answers help more than they do for real samples. Votes of 8 to 64 samples are part of it.
"""

import argparse
import json
import os
import random
import re
import statistics
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from glow_trl.evaluation import EvalConfig, evaluate
from glow_trl.generation import Engine, create_engine
from glow_trl.recipes.built_model import BuiltModelConfig, build_model


TRAJECTORIES = {
    "traj_gsm8k_openai": "math",
    "traj_gsm8k_zeroeval_5models": "math",
    "traj_math100_qwen_n8": "math",
    "traj_math50_nemo_n3": "math",
    "traj_mmlupro_4models": "choice",
    "traj_bbh_davinci002": "text",
}
NUMBER = re.compile(r"\d+(?!.*\d)", re.DOTALL)


def read(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.open(encoding="utf-8")]


def write(path: Path, rows: list[dict]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


class Refusing(Engine):
    """Scoring must not generate."""

    def stream(self, prompts, sampling, skip=()):
        raise RuntimeError("asked to generate")

    def close(self):
        pass


def measure_overhead(folder: Path, data: Path, engine_name: str, questions: int, rounds: int, tokens: int) -> dict:
    rows = read(data / "qa_gsm8k_test.jsonl")[:questions]
    path = write(folder / "questions.jsonl", rows)
    model = str(folder / "model")
    sizes = {"hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 4, "num_attention_heads": 4}
    build_model(BuiltModelConfig("bpe", **sizes), [row["problem"] for row in rows], model)
    settings = {
        "model_name_or_path": model,
        # The bare question, as the bare engine is asked: the prompt that ships with the benchmark is longer
        "benchmarks": [{"name": "gsm8k", "path": path, "prompt_template": "{problem}"}],
        "engine": engine_name,
        "num_samples": 4,
        "max_new_tokens": tokens,
        "entropy": False,
    }
    seconds: dict[str, list[float]] = {"bare": [], "eval": []}
    with create_engine(engine_name, model) as engine:
        prompts = [
            engine.tokenizer.apply_chat_template(
                [{"role": "user", "content": row["problem"]}], add_generation_prompt=True, return_dict=False
            )
            for row in rows
        ]
        sampling = EvalConfig(**settings, output_dir="x").sampling
        # What is imported or started once counts for neither
        engine.generate(prompts[:8], sampling)
        evaluate(EvalConfig(**settings, output_dir=str(folder / "warm"), limit=2), engine)
        for number in range(rounds):
            for name in ("bare", "eval") if number % 2 else ("eval", "bare"):
                start = time.perf_counter()
                if name == "bare":
                    engine.generate(prompts, sampling)
                else:
                    evaluate(EvalConfig(**settings, output_dir=str(folder / f"out_{number}")), engine)
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()} | {
        "ratio": statistics.median(two / one for one, two in zip(seconds["bare"], seconds["eval"], strict=True))
    }


def saved_evaluation(folder: Path, data: Path, completions: int) -> EvalConfig:
    """An evaluation's folder with so many saved completions, and its configuration."""
    rng = random.Random(0)
    pool = [
        {**row, "kind": row.get("kind") or kind}
        for name, kind in TRAJECTORIES.items()
        for row in read(data / f"{name}.jsonl")
    ]
    questions: dict[str, dict] = {}
    for row in pool:
        questions.setdefault(row["problem"], {"problem": row["problem"], "answer": row["gold"], "kind": row["kind"]})
    numbers = {problem: number for number, problem in enumerate(questions)}
    path = write(folder / "questions.jsonl", list(questions.values()))
    model = folder / "model"
    build_model(BuiltModelConfig("word", hidden_size=32), ["\n".join(questions)], str(model))
    settings = {"benchmarks": [{"name": "saved", "path": path}], "model_name_or_path": str(model), "entropy": False}
    config = EvalConfig(
        **settings, output_dir=str(folder / "out"), num_samples=64, max_new_tokens=1024, on_bad_gold="drop"
    )
    config.rescore = True
    samples: dict[str, int] = {}

    class Once(Engine):
        """Gives every question one text, so that the folder has the state of a finished evaluation."""

        def stream(self, prompts, sampling, skip=()):
            from glow_trl.generation import Generation

            for index in range(len(prompts)):
                yield index, [Generation("", [1], 1, "stop")] * sampling.num_samples

        def close(self):
            pass

    evaluate(config, Once())
    kept = {row["problem"]: row for row in read(folder / "out" / "generations_saved.jsonl")}
    rows = []
    while len(rows) < completions:
        for row in rng.sample(pool, len(pool)):
            if row["problem"] not in kept or len(rows) == completions:
                continue
            sample = samples[row["problem"]] = samples.get(row["problem"], -1) + 1
            text = row["completion"]
            if len(rows) >= len(pool):
                text = f"Attempt {sample}. {text}"
                if rng.random() < 0.5:
                    text = NUMBER.sub(str(rng.randrange(10_000)), text, count=1)
            rows.append(
                {
                    **kept[row["problem"]],
                    **{"sample": sample, "completion": text, "n_tokens": len(text) // 4, "finish_reason": "stop"},
                }
            )
    rows.sort(key=lambda row: (numbers[row["problem"]], row["sample"]))
    write(folder / "out" / "generations_saved.jsonl", rows)
    return config


def measure_scoring(folder: Path, data: Path, completions: int) -> dict:
    config = saved_evaluation(folder, data, completions)
    before, start = os.times(), time.perf_counter()
    results = evaluate(config, Refusing())
    wall, after = time.perf_counter() - start, os.times()
    row = results["benchmarks"]["saved"]
    return {
        "wall": wall,
        "cpu": after.user + after.system - before.user - before.system,
        "accuracy": row["pass@1"],
        "questions": row["n"],
        "votes": [key for key in row if key.startswith("majority") and not key.endswith("_ci")],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = os.environ.get("GLOW_TRL_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data"
    parser.add_argument("--data", type=Path, default=Path(default))
    parser.add_argument("--engine", default="transformers")
    parser.add_argument("--questions", type=int, default=100)
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--completions", type=int, default=100_000)
    parser.add_argument("--only", choices=("overhead", "scoring"))
    options = parser.parse_args()
    console = Console()
    with tempfile.TemporaryDirectory() as name:
        if options.only != "scoring":
            arguments = (options.data, options.engine, options.questions, options.rounds, options.tokens)
            (folder := Path(name) / "overhead").mkdir()
            found = measure_overhead(folder, *arguments)
            table = Table(
                title=f"{options.questions} questions, 4 samples of {options.tokens} tokens, {options.engine}"
            )
            for column in ("bare engine, s", "eval, s", "overhead (bar: 5 %)"):
                table.add_column(column, justify="right")
            table.add_row(f"{found['bare']:.1f}", f"{found['eval']:.1f}", f"{100 * (found['ratio'] - 1):+.1f} %")
            console.print(table)
        if options.only != "overhead":
            (folder := Path(name) / "scoring").mkdir()
            found = measure_scoring(folder, options.data, options.completions)
            table = Table(
                title=f"{options.completions:,} saved completions of {found['questions']:,} questions, scored"
            )
            for column in ("wall, s (bar: 60 on 2 cores)", "CPU of this process, s", "accuracy", "votes"):
                table.add_column(column, justify="right")
            votes = ", ".join(found["votes"])
            table.add_row(f"{found['wall']:.1f}", f"{found['cpu']:.1f}", f"{100 * found['accuracy']:.1f} %", votes)
            console.print(table)


if __name__ == "__main__":
    main()
