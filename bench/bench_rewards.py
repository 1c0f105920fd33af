"""
Which share of a GRPO step is spent in rewards.

```shell
python bench/bench_rewards.py                     # a small model built on the spot
python bench/bench_rewards.py --model_name_or_path Qwen/Qwen2.5-0.5B --dataset_name questions.jsonl \
  --max_completion_length 1024 --per_device_train_batch_size 64 --use_vllm       # on a GPU
```

The completions of an untrained model seldom hold an answer, which is cheap to verify. So each is verified with
the end of a worked solution appended, half of them right, in the forms that models write.
"""

import argparse
import functools
import os
import random
import statistics
import sys
import tempfile
import time


os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch
from datasets import Dataset
from rich.console import Console
from rich.table import Table
from transformers import TrainerCallback
from transformers.utils import logging
from trl import GRPOConfig, GRPOTrainer

from glow_trl.data import read_jsonl
from glow_trl.recipes.built_model import BuiltModelConfig, build_model
from glow_trl.rewards import accuracy_reward, answer_format_reward


ENDINGS = ("\nSo the answer is \\boxed{{{0}}}.", "\nThe answer is {0}.", "\nTherefore \\boxed{{\\frac{{{1}}}{{2}}}}.")


class StepTimes(TrainerCallback):
    """Seconds of each step on the clock."""

    def __init__(self):
        self.times: list[float] = []

    def on_step_begin(self, args, state, control, **kwargs):
        self._start = time.perf_counter()

    def on_step_end(self, args, state, control, **kwargs):
        if args.device.type == "cuda":
            torch.cuda.synchronize()
        self.times.append(time.perf_counter() - self._start)


def timed(reward, spent: list[float]):
    """`reward` on completions that end in an answer, with the seconds of each call noted."""

    @functools.wraps(reward)
    def call(completions, answer, **kwargs):
        rng = random.Random(len(spent))
        texts = []
        for completion, gold in zip(completions, answer, strict=True):
            right = rng.random() < 0.5
            value = int(gold) + (0 if right else rng.randint(1, 9))
            texts.append(completion[0]["content"] + rng.choice(ENDINGS).format(value, 2 * value))
        start = time.perf_counter()
        rewards = reward([[{"role": "assistant", "content": text}] for text in texts], answer=answer, **kwargs)
        spent.append(time.perf_counter() - start)
        return rewards

    return call


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model_name_or_path", help="default: a small model built on the spot")
    parser.add_argument("--dataset_name", help="JSONL with problem and answer, a whole number; default: sums")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--per_device_train_batch_size", type=int, default=32)
    parser.add_argument("--num_generations", type=int, default=8)
    parser.add_argument("--max_completion_length", type=int, default=32)
    parser.add_argument("--use_vllm", action="store_true")
    parser.add_argument("--cpu", action="store_true", help="even where there is a GPU")
    return parser.parse_args()


def main() -> None:
    options = parse_args()
    logging.set_verbosity_error()
    cpu = options.cpu or not torch.cuda.is_available()
    if options.dataset_name:
        rows = [row for _, row in read_jsonl(options.dataset_name)]
    else:
        rows = [{"problem": f"{a}+{b}=?", "answer": str(a + b)} for a in range(16) for b in range(16)]
    dataset = Dataset.from_dict(
        {
            "prompt": [[{"role": "user", "content": row["problem"]}] for row in rows],
            "answer": [str(row["answer"]) for row in rows],
        }
    )
    spent = {"accuracy_reward": [], "answer_format_reward": []}
    clock = StepTimes()
    with tempfile.TemporaryDirectory() as folder:
        model = options.model_name_or_path
        if model is None:
            model = f"{folder}/model"
            build_model(BuiltModelConfig(), ["0123456789+-*=;: abcdefghijklmnopqrstuvwxyz\\{}?.,\n"], model)
        args = GRPOConfig(
            output_dir=f"{folder}/out",
            max_steps=options.steps + 2,
            per_device_train_batch_size=options.per_device_train_batch_size,
            num_generations=options.num_generations,
            max_completion_length=options.max_completion_length,
            use_vllm=options.use_vllm,
            vllm_mode="colocate",
            use_cpu=cpu,
            bf16=not cpu,
            gradient_checkpointing=not cpu,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
        )
        trainer = GRPOTrainer(
            model=model,
            args=args,
            reward_funcs=[
                timed(accuracy_reward, spent["accuracy_reward"]),
                timed(answer_format_reward, spent["answer_format_reward"]),
            ],
            train_dataset=dataset,
            callbacks=[clock],
        )
        trainer.train()
    # The first steps start the verifiers' processes and warm the device up
    step = statistics.median(clock.times[2:])
    place = "CPU" if cpu else torch.cuda.get_device_name()
    table = Table(
        title=f"A GRPO step of {options.per_device_train_batch_size} completions of {options.max_completion_length} "
        f"tokens ({place}), median of {options.steps}"
    )
    for column in ("", "ms", "share of the step", "completions / s"):
        table.add_column(column, justify="right" if column else "left")
    table.add_row("step", f"{1000 * step:.1f}", "", f"{options.per_device_train_batch_size / step:,.0f}")
    for name, times in spent.items():
        seconds = statistics.median(times[2:])
        rate = options.per_device_train_batch_size / seconds
        table.add_row(name, f"{1000 * seconds:.1f}", f"{seconds / step:.1%}", f"{rate:,.0f}")
    Console().print(table)


if __name__ == "__main__":
    sys.exit(main())
