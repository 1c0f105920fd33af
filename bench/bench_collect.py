"""
What `glow-trl collect` costs over asking the engine directly, and what keeping the log-probabilities costs: same
engine, same prompts, in turns.

    python bench/bench_collect.py [--engine vllm transformers] [--base_url URL] [--questions 16] [--rounds 5]

With --base_url a server is asked for its first model (`--engine server`); otherwise one of 20M parameters is built, or
another with --hidden_size, --layers and --vocabulary: what a token costs beside the model counts the more, the smaller
it is. Each round draws the same samples three times, through the engine alone, through `collect` with all that it
writes, and with `log_probs: true`, in changing order. The table has the medians over the rounds, and the medians of
the rounds' ratios.
"""

import argparse
import dataclasses
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
    parser.add_argument("--engine", nargs="+", default=["vllm"], choices=["vllm", "transformers", "server"])
    parser.add_argument("--base_url")
    parser.add_argument("--questions", type=int, default=16)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--max_new_tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--hidden_size", type=int, default=512)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--vocabulary", type=int, default=8000)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="bench_collect_"))
    write_questions(folder / "questions.jsonl", options.questions)
    arguments, name = {}, str(folder / "model")
    if options.base_url:
        options.engine, arguments = ["server"], {"base_url": options.base_url}
        name = httpx.get(f"{options.base_url}/models").json()["data"][0]["id"]
    else:
        heads = {"num_attention_heads": options.hidden_size // 32, "num_key_value_heads": options.hidden_size // 32}
        sizes = {"hidden_size": options.hidden_size, "intermediate_size": 2 * options.hidden_size, **heads}
        texts = ["0123456789+-*=;: abcdefghijklmnopqrstuvwxyz\n"]
        words = [f"<{number}>" for number in range(options.vocabulary)]
        build_model(BuiltModelConfig(**sizes, num_hidden_layers=options.layers), texts, folder / "model", words)
    for engine in options.engine:
        compare(engine, name, arguments, folder, options)


def compare(engine_name: str, model: str, arguments: dict, folder: Path, options: argparse.Namespace) -> None:
    """Print the table of one engine."""
    config = CollectConfig(
        dataset_name=str(folder / "questions.jsonl"),
        model_name_or_path=model,
        output_dir=str(folder / "out"),
        engine=engine_name,
        num_samples=options.samples,
        temperature=1.0,
        top_p=1.0,
        max_new_tokens=options.max_new_tokens,
    )
    with_log_probs = dataclasses.replace(config, log_probs=True)
    tokens, results = 0, {name: [] for name in ("engine alone", "collect", "with log_probs")}
    with create_engine(engine_name, model, **arguments) as engine:

        def ask_directly() -> None:
            nonlocal tokens
            questions, _, _ = questions_to_ask(config, print)
            tokenizer = None if engine.takes_messages else load_tokenizer(model)
            samples = engine.stream_samples(Prompts(questions, config, tokenizer), config.sampling)
            tokens = sum(generation.n_tokens for _, _, generation in samples)

        def ask_through_collect(config: CollectConfig, number: int) -> None:
            out = folder / f"{engine_name}-{number}-{config.log_probs}"
            facts = collect(config, StageRun("collect", out), engine)
            assert facts["samples"] == options.questions * options.samples and facts["tokens"] == tokens
            assert not facts.get("new_samples_without_log_probs")

        ask_directly()
        for number in range(options.rounds):
            actions = [
                ("engine alone", ask_directly),
                ("collect", lambda number=number: ask_through_collect(config, number)),
                ("with log_probs", lambda number=number: ask_through_collect(with_log_probs, number)),
            ]
            for name, action in actions if number % 2 else reversed(actions):
                results[name].append(measure(action))

    table = Table("", "wall clock", "processor time", title=f"{engine_name}: {tokens:,} tokens a round")
    for name, times in results.items():
        table.add_row(name, *(f"{statistics.median(column):.3f} s" for column in zip(*times, strict=True)))
    for name, base in (("collect", "engine alone"), ("with log_probs", "collect")):
        pairs = zip(results[name], results[base], strict=True)
        ratios = [[after / before for after, before in zip(*pair, strict=True)] for pair in pairs]
        medians = [statistics.median(column) for column in zip(*ratios, strict=True)]
        table.add_row(f"{name} / {base}", *(f"{ratio:.3f} (at most {LIMIT})" for ratio in medians))
    Console().print(table)


if __name__ == "__main__":
    main()
