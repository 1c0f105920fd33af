"""What `glow-trl collect` costs over asking the engine directly: same engine, same prompts, in turns.

    python bench/bench_collect.py [--engine vllm] [--base_url URL] [--questions 64] [--rounds 5]

With --base_url a server is asked for its first model (`--engine server`); otherwise a small model is built. Each round
draws the same samples twice, once through the engine alone and once through `collect` with all that it writes, in
changing order. The table has the medians over the rounds, and the median of the rounds' ratios.
"""

import argparse
import os
import random
import statistics
import tempfile
import time
from pathlib import Path


os.environ.setdefault("OMP_NUM_THREADS", "1")

import httpx
from rich.console import Console
from rich.table import Table

from glow_trl.collection.collect import CollectConfig, collect
from glow_trl.collection.collecting.questions import Prompts, questions_to_ask
from glow_trl.data import write_jsonl
from glow_trl.generation import create_engine
from glow_trl.generation.loading import load_tokenizer
from glow_trl.recipes.built_model import BuiltModelConfig, build_model
from glow_trl.stages.record import StageRun


LIMIT = 1.05


def write_questions(path: Path, count: int) -> None:
    rng = random.Random(0)
    numbers = [[rng.randrange(100) for _ in range(3)] for _ in range(count)]
    write_jsonl(path, ({"problem": f"{a}+{b}*{c}=", "answer": str(a + b * c)} for a, b, c in numbers))


def measure(action) -> tuple[float, float]:
    """Wall-clock and processor seconds."""
    wall, processor = time.perf_counter(), time.process_time()
    action()
    return time.perf_counter() - wall, time.process_time() - processor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engine", default="vllm", choices=["vllm", "transformers", "server"])
    parser.add_argument("--base_url")
    parser.add_argument("--questions", type=int, default=64)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--max_new_tokens", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="bench_collect_"))
    write_questions(folder / "questions.jsonl", options.questions)
    arguments, name = {}, str(folder / "model")
    if options.base_url:
        options.engine, arguments = "server", {"base_url": options.base_url}
        name = httpx.get(f"{options.base_url}/models").json()["data"][0]["id"]
    else:
        sizes = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 2, "num_key_value_heads": 2}
        build_model(BuiltModelConfig(**sizes), ["0123456789+-*=;: abcdefghijklmnopqrstuvwxyz\n"], folder / "model")
    config = CollectConfig(
        dataset_name=str(folder / "questions.jsonl"),
        model_name_or_path=name,
        output_dir=str(folder / "out"),
        engine=options.engine,
        num_samples=options.samples,
        temperature=1.0,
        top_p=1.0,
        max_new_tokens=options.max_new_tokens,
    )
    tokens, ratios, direct, through = 0, [], [], []
    with create_engine(options.engine, name, **arguments) as engine:

        def ask_directly() -> None:
            nonlocal tokens
            questions, _, _ = questions_to_ask(config, print)
            tokenizer = None if engine.takes_messages else load_tokenizer(name)
            samples = engine.stream_samples(Prompts(questions, config, tokenizer), config.sampling)
            tokens = sum(generation.n_tokens for _, _, generation in samples)

        def ask_through_collect(number: int) -> None:
            facts = collect(config, StageRun("collect", folder / f"out{number}"), engine)
            assert facts["samples"] == options.questions * options.samples and facts["tokens"] == tokens

        ask_directly()
        for number in range(options.rounds):
            actions = [(direct, ask_directly), (through, lambda number=number: ask_through_collect(number))]
            for results, action in actions if number % 2 else reversed(actions):
                results.append(measure(action))
            ratios.append([after / before for before, after in zip(direct[-1], through[-1], strict=True)])

    table = Table("", "wall clock", "processor time", title=f"{options.engine}: {tokens:,} tokens a round")
    for label, results in (("engine alone", direct), ("collect", through)):
        table.add_row(label, *(f"{statistics.median(column):.3f} s" for column in zip(*results, strict=True)))
    medians = [statistics.median(column) for column in zip(*ratios, strict=True)]
    table.add_row("ratio", *(f"{ratio:.3f} (at most {LIMIT})" for ratio in medians))
    Console().print(table)


if __name__ == "__main__":
    main()
