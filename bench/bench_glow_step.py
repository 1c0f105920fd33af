"""
What a step of GLOWTrainer costs over a step of TRL's SFTTrainer, and beside a plain implementation of the released
method (plain_glow.py): time, tokens a second, peak memory.

```shell
python bench/bench_glow_step.py                       # hidden 256, 4 layers, vocabulary 8k, 256 tokens
python bench/bench_glow_step.py --preset quickstart   # hidden 64, 2 layers, 46 tokens, batch 32 x 54
python bench/bench_glow_step.py --preset gpu          # 0.5B, 152k vocabulary, 8k tokens, bf16
python bench/bench_glow_step.py --num_processes 2     # data parallelism: DDP
python bench/bench_glow_step.py --preset gpu --profile trace   # what the GPU and the host do in a step
python bench/bench_glow_step.py --trainers SFTTrainer dft pear  # other weightings; `weightings` stands for all
```

The trainers train one model (each its own under data parallelism) on the same batches in one process, in short blocks
that take turns, so that what else the machine does falls on all; two neighboring blocks give one ratio of times. A
block is a call of `train` over two epochs, of which the second counts: in the first, GLOW has no weights to compute.
Memory is the peak of a process of its own for each trainer, or on one GPU that of its blocks. bench_glow_scaling.py
repeats this for several sequence lengths and vocabularies.

With `--profile DIR` each trainer's step is profiled instead: traces for chrome://tracing in DIR, and a table of the
calls that make the host wait for the GPU, in which GLOWTrainer must not have more than SFTTrainer.
"""

import argparse
import copy
import ctypes
import gc
import json
import math
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path


os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch
from datasets import Dataset, disable_progress_bars
from plain_glow import PlainGLOWTrainer
from rich.console import Console
from rich.progress import track
from rich.table import Table
from transformers import Qwen2Config, Qwen2ForCausalLM, TrainerCallback
from transformers.utils import logging
from trl import SFTConfig, SFTTrainer

from glow_trl import GLOWConfig, GLOWTrainer
from glow_trl.recipes.built_model import BuiltModelConfig, build_tokenizer
from glow_trl.weighting.product import SHIPPED


TRAINERS = ("SFTTrainer", "GLOWTrainer", "plain")
# The weightings of GLOWTrainer beside GLOW, and those among them that read a column of log-probabilities
WEIGHTINGS = tuple(name for name in SHIPPED if name != "glow")
COMPARING = ("pear", "iw_sft", "iw_sft_token")
# What torchrun tells a process
LAUNCHED = (
    "RANK",
    "LOCAL_RANK",
    "WORLD_SIZE",
    "LOCAL_WORLD_SIZE",
    "MASTER_ADDR",
    "MASTER_PORT",
    "TORCHELASTIC_RUN_ID",
)
# What makes the host wait for the GPU
WAITS = ("aten::_local_scalar_dense", "cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize")


PRESETS = {
    "small": {"batch_size": 4, "steps": 4, "blocks": 12},
    "quickstart": {"hidden_size": 64, "layers": 2, "vocab_size": 46, "seq_len": 54, "batch_size": 32},
    "gpu": {
        "hidden_size": 896,
        "layers": 24,
        "heads": 14,
        "vocab_size": 151936,
        "seq_len": 8192,
        "batch_size": 1,
        "gradient_checkpointing": True,
        "bf16": True,
    },
}


class StepTimes(TrainerCallback):
    """Times of the steps of the second epoch, each from the end of the one before, so that nothing is left out."""

    def on_train_begin(self, args, state, control, **kwargs):
        # (seconds on the clock, seconds of CPU time of the process)
        self.times: list[tuple[float, float]] = []

    def on_step_end(self, args, state, control, **kwargs):
        if args.device.type == "cuda":
            torch.cuda.synchronize()
        now = time.perf_counter(), time.process_time()
        if state.epoch > 1:
            self.times.append((now[0] - self._last[0], now[1] - self._last[1]))
        self._last = now

    def median(self, clock: int) -> float:
        return statistics.median(step[clock] for step in self.times)


class StepProfile(TrainerCallback):
    """Profiles the steps of the second epoch, without what the end of an epoch and the logs cost."""

    def __init__(self, profile: torch.profiler.profile):
        self.profile = profile

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == state.max_steps // 2:
            self.profile.start()

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == state.max_steps:
            self.profile.stop()


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=PRESETS, default="small")
    parser.add_argument("--hidden_size", type=int, default=256)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--vocab_size", type=int, default=8192)
    parser.add_argument("--seq_len", type=int, default=256, help="longest sample; the shortest is half as long")
    parser.add_argument("--packed_length", type=int, help="tokens of a packed row; default: the longest sample's")
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--gradient_accumulation_steps", type=int, default=1)
    parser.add_argument("--layout", choices=["padded", "padding_free", "packing"], default="padded")
    parser.add_argument("--loss_reduction", choices=["sample", "token"], default="sample")
    parser.add_argument("--glow_normalization", choices=["none", "mean"], default="none")
    parser.add_argument("--gradient_checkpointing", action="store_true")
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--cpu", action="store_true", help="even where there is a GPU")
    parser.add_argument("--threads", type=int, help="of PyTorch on CPU")
    parser.add_argument("--steps", type=int, default=10, help="steps that count in a block")
    parser.add_argument("--blocks", type=int, default=20, help="blocks of each trainer")
    parser.add_argument("--no_memory", action="store_true", help="do not measure memory")
    parser.add_argument("--memory_runs", type=int, default=3, help="runs to measure memory, of which the least counts")
    parser.add_argument(
        "--trainers",
        nargs="+",
        choices=[*TRAINERS, *WEIGHTINGS, "weightings"],
        default=list(TRAINERS),
        help="weightings: all of GLOWTrainer's",
    )
    parser.add_argument("--num_processes", type=int, default=1, help="data-parallel processes")
    parser.add_argument("--profile", metavar="DIR", help="profile a step of each instead of timing them")
    parser.add_argument("--json", metavar="FILE", help="write the figures there as well")
    parser.add_argument("--max_ratio", type=float, help="exit with 1 if a median ratio of GLOWTrainer is higher")
    parser.add_argument(
        "--memory_of", choices=[*TRAINERS, *WEIGHTINGS], help="only print the peak memory of this one, in bytes"
    )
    parser.set_defaults(**PRESETS[parser.parse_known_args(argv)[0].preset])
    options = parser.parse_args(argv)
    if "weightings" in options.trainers:
        options.trainers = [name for name in options.trainers if name != "weightings"]
        options.trainers += [name for name in ("GLOWTrainer", *WEIGHTINGS) if name not in options.trainers]
    return options


def make_model(options: argparse.Namespace, device: str = "cpu") -> Qwen2ForCausalLM:
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=options.vocab_size,
        hidden_size=options.hidden_size,
        intermediate_size=4 * options.hidden_size,
        num_hidden_layers=options.layers,
        num_attention_heads=options.heads,
        num_key_value_heads=options.heads,
        max_position_embeddings=max(options.seq_len, options.packed_length or 0),
        tie_word_embeddings=True,
    )
    with torch.device(device):
        return Qwen2ForCausalLM(config)


def make_trainer(
    name: str,
    options: argparse.Namespace,
    output_dir: str,
    model: Qwen2ForCausalLM,
    optimizer: torch.optim.Optimizer | None = None,
) -> SFTTrainer:
    # Two, so that all the trainers have the same samples
    rng, other = random.Random(0), random.Random(1)
    rows = []
    for _ in range(options.steps * options.batch_size * options.gradient_accumulation_steps * options.num_processes):
        length = rng.randint(options.seq_len // 2, options.seq_len)
        ids = [rng.randrange(options.vocab_size) for _ in range(length)]
        rows.append({"input_ids": ids, "labels": [-100] * (length // 4) + ids[length // 4 :]})
        if name in COMPARING:
            # About those of an untrained model, so that ratios are clipped now and then
            reference = [-math.log(options.vocab_size) + other.uniform(-0.5, 0.5) for _ in ids[length // 4 :]]
            rows[-1] |= {"log_probs": reference, "completion_ids": ids[length // 4 :]}
    settings = {
        "output_dir": output_dir,
        "per_device_train_batch_size": options.batch_size,
        "gradient_accumulation_steps": options.gradient_accumulation_steps,
        "num_train_epochs": 2,
        "learning_rate": 1e-5,
        "max_length": (options.packed_length or options.seq_len) if options.layout == "packing" else None,
        "packing": options.layout == "packing",
        "padding_free": options.layout == "padding_free",
        "gradient_checkpointing": options.gradient_checkpointing,
        "bf16": options.bf16,
        "use_cpu": options.cpu or not torch.cuda.is_available(),
        "logging_steps": 10,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }
    trainer_class, config_class = PlainGLOWTrainer if name == "plain" else SFTTrainer, SFTConfig
    if name in ("GLOWTrainer", *WEIGHTINGS):
        trainer_class, config_class = GLOWTrainer, GLOWConfig
        settings |= {
            "loss_reduction": options.loss_reduction,
            "glow_normalization": options.glow_normalization,
            "glow_alpha": 2.0,
            "weighting": "glow" if name == "GLOWTrainer" else name,
        }
    tokenizer = build_tokenizer(BuiltModelConfig(), ["benchmark"])
    config = config_class(**settings)
    trainer = trainer_class(
        model,
        config,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        optimizers=(optimizer, None),
    )
    # Printing is not what is measured
    trainer.callback_handler.callbacks = [
        callback for callback in trainer.callback_handler.callbacks if type(callback).__name__ != "PrinterCallback"
    ]
    return trainer


def measure_memory(name: str, options: argparse.Namespace) -> None:
    """Print the peak of this process in bytes: on a GPU of what PyTorch allocated there, else of all its memory."""
    with tempfile.TemporaryDirectory() as output_dir:
        trainer = make_trainer(name, options, output_dir, make_model(options))
        if trainer.args.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        trainer.train()
    if trainer.args.device.type == "cuda":
        peak = torch.cuda.max_memory_allocated()
    else:
        peak = resident_peak()
    if os.environ.get("RANK", "0") == "0":
        print(json.dumps(peak))


def resident_peak() -> int:
    """Peak of the memory of this process in bytes."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not `ru_maxrss`, which Linux makes at least what the parent had
        (peak,) = (line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return 1024 * int(peak)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def launcher(options: argparse.Namespace) -> list[str]:
    """The command that starts this file, with the processes that are asked for."""
    if options.num_processes == 1:
        return [sys.executable]
    processes = ["--nproc_per_node", str(options.num_processes)]
    return [sys.executable, "-m", "torch.distributed.run", "--standalone", *processes]


def peak_memory(name: str, options: argparse.Namespace) -> int:
    """The least of a few processes' peaks: what an allocator does beyond need is chance."""
    command = [*launcher(options), *sys.argv, "--memory_of", name]
    peaks = []
    # In processes of their own, which must not take themselves for those of this launch
    environment = {key: value for key, value in os.environ.items() if key not in LAUNCHED}
    for _ in range(options.memory_runs if options.num_processes == 1 else 1):
        output = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True, text=True, env=environment
        )
        peaks.append(json.loads(output.stdout.splitlines()[-1]))
    return min(peaks)


def keep_freed_memory() -> None:
    """
    Let the allocator of Linux keep what is freed. Whether it returns a tensor's memory to the system and takes it back
    in each step depends on the addresses that it happens to use, and is worth several percent of a step either way.
    """
    if sys.platform == "linux":
        mallopt = ctypes.CDLL(None).mallopt
        for parameter, value in ((-1, 2**31 - 1), (-3, 2**25)):  # thresholds of trimming and of using mmap
            mallopt(parameter, value)


def main() -> None:
    options = parse_args()
    if not options.memory_of:
        keep_freed_memory()
    logging.set_verbosity_error()
    disable_progress_bars()
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.memory_of:
        measure_memory(options.memory_of, options)
        return
    if options.num_processes > 1 and "RANK" not in os.environ:
        sys.exit(
            subprocess.run([*launcher(options), *sys.argv], env={"OMP_NUM_THREADS": "1", **os.environ}).returncode
        )
    device = "cpu" if options.cpu or not torch.cuda.is_available() else "cuda"
    with tempfile.TemporaryDirectory() as output_dir:
        trainers = make_trainers(options, output_dir, device)
        if options.profile:
            profile_steps(options, trainers)
            return
        figures = compare(options, trainers)
    if os.environ.get("RANK", "0") != "0":
        return
    report(options, trainers[0].args.device, figures)
    ratios = [figure.get("ratio", 0) for name, figure in figures.items() if name in ("GLOWTrainer", *WEIGHTINGS)]
    if options.max_ratio is not None and max(ratios, default=0) > options.max_ratio:
        sys.exit(1)


def make_trainers(options: argparse.Namespace, output_dir: str, device: str) -> list[SFTTrainer]:
    """The trainers that are compared."""
    # One model and one optimizer, as where they lie in memory makes a difference too. DDP keeps hooks on its model
    models = [make_model(options, device)]
    models += [copy.deepcopy(models[0]) if options.num_processes > 1 else models[0] for _ in options.trainers[1:]]
    shared = torch.optim.AdamW(models[0].parameters(), lr=1e-5) if options.num_processes == 1 else None
    return [
        make_trainer(name, options, output_dir, model, shared)
        for name, model in zip(options.trainers, models, strict=True)
    ]


def compare(options: argparse.Namespace, trainers: list[SFTTrainer]) -> dict[str, dict]:
    """
    The figures of each trainer by its name: seconds a step, on the clock and of the processor, tokens a second, peak
    memory in bytes, and, but for the first, the quartiles of the ratios of its times to those of the first.
    """
    times, memory = time_blocks(options, trainers, os.environ.get("RANK", "0") == "0")
    if options.num_processes > 1 or trainers[0].args.device.type != "cuda":
        # Elsewhere it is that of all trainers
        memory = [None if options.no_memory else peak_memory(name, options) for name in options.trainers]
    samples = trainers[0].train_dataset["input_ids"]
    tokens = sum(map(len, samples)) * trainers[0].state.num_train_epochs / trainers[0].state.max_steps
    figures = {}
    for name, blocks, peak in zip(options.trainers, times, memory, strict=True):
        wall, cpu = (statistics.median(column) for column in zip(*blocks, strict=True))
        figures[name] = {"seconds": wall, "cpu_seconds": cpu, "tokens_per_second": tokens / wall, "bytes": peak}
        if blocks is times[0]:
            continue
        for clock, key in enumerate(("ratio", "cpu_ratio")):
            ratios = [other[clock] / first[clock] for first, other in zip(times[0], blocks, strict=True)]
            quartiles = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
            figures[name] |= {key: quartiles[1], f"{key}_quartiles": quartiles}
    return figures


def time_blocks(options, trainers, main_process) -> tuple[list[list[tuple[float, float]]], list[int]]:
    """
    For each trainer and block the median step: seconds on the clock, seconds of CPU time; and for each trainer the
    peak of what PyTorch allocated on the GPU during its blocks, in bytes.
    """
    clocks = [StepTimes() for _ in trainers]
    for trainer, clock in zip(trainers, clocks, strict=True):
        trainer.add_callback(clock)
        trainer.train()
    # What the imports made need not be looked through again at the start of each block
    gc.freeze()
    times, peaks = [[] for _ in trainers], [0] * len(trainers)
    cuda = trainers[0].args.device.type == "cuda"
    console = Console(stderr=True, quiet=not main_process)
    for block in track(range(options.blocks), description="Blocks", console=console):
        order = range(len(trainers)) if block % 2 == 0 else reversed(range(len(trainers)))
        for who in order:
            if cuda:
                torch.cuda.reset_peak_memory_stats()
            trainers[who].train()
            times[who].append((clocks[who].median(0), clocks[who].median(1)))
            if cuda:
                peaks[who] = max(peaks[who], torch.cuda.max_memory_allocated())
    return times, peaks


def profile_steps(options, trainers) -> None:
    """Write a trace of each trainer's last steps, and print the calls that make the host wait."""
    os.makedirs(options.profile, exist_ok=True)
    activities = [torch.profiler.ProfilerActivity.CPU]
    if trainers[0].args.device.type == "cuda":
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    table = Table(title="Calls in a step that make the host wait")
    for column in ("", *WAITS):
        table.add_column(column, justify="right" if column else "left")
    for name, trainer in zip(options.trainers, trainers, strict=True):
        trainer.train()
        profile = torch.profiler.profile(activities=activities)
        trainer.add_callback(StepProfile(profile))
        trainer.train()
        profile.export_chrome_trace(os.path.join(options.profile, f"{name}.json"))
        counts = {event.key: event.count for event in profile.key_averages()}
        table.add_row(name, *(f"{counts.get(key, 0) / options.steps:.2f}" for key in WAITS))
    Console().print(table)


def report(options, device, figures: dict[str, dict]) -> None:
    """Print the table, and write the figures where `--json` says."""
    place = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    table = Table(
        title=f"hidden {options.hidden_size}, {options.layers} layers, vocabulary {options.vocab_size}, batch "
        f"{options.batch_size} x {options.seq_len} x {options.gradient_accumulation_steps}, {options.layout}, "
        f"{options.num_processes} processes ({place})"
    )
    for column in ("", "ms a step", "CPU ms a step", "tokens / s", "peak memory, MiB"):
        table.add_column(column, justify="right" if column else "left")
    for name, figure in figures.items():
        peak = "-" if figure["bytes"] is None else f"{figure['bytes'] / 2**20:.1f}"
        wall, cpu = (f"{1000 * figure[key]:.2f}" for key in ("seconds", "cpu_seconds"))
        table.add_row(name, wall, cpu, f"{figure['tokens_per_second']:,.0f}", peak)
    first = options.trainers[0]
    for name in options.trainers[1:]:
        figure, base = figures[name], figures[first]["bytes"]
        memory_ratio = "-" if base is None else f"{figure['bytes'] / base:.4f}"
        table.add_section()
        ratios = [f"{figure['ratio']:.4f}", f"{figure['cpu_ratio']:.4f}", f"{1 / figure['ratio']:.4f}"]
        table.add_row(f"{name} / {first}, median of {options.blocks}", *ratios, memory_ratio)
        quartiles = (figure["ratio_quartiles"], figure["cpu_ratio_quartiles"])
        table.add_row("middle half of them", *[f"{low:.3f} to {high:.3f}" for low, _, high in quartiles], "", "")
    Console().print(table)
    if options.json:
        with open(options.json, "w") as file:
            json.dump(figures, file)


if __name__ == "__main__":
    main()
