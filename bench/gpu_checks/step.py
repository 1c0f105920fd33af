"""A step of GLOWTrainer beside one of SFTTrainer and of the plain implementation: time and peak memory."""

import gc

import bench_glow_step as bench
from datasets import disable_progress_bars
from transformers.utils import logging

from .rows import CheckRun, Row


# Ratios to SFTTrainer that a GPU must not exceed
TIME, MEMORY = 1.05, 1.02
FULL = ["--preset", "gpu", "--steps", "4", "--blocks", "4"]
SMALL = ["--hidden_size", "32", "--layers", "2", "--heads", "2", "--vocab_size", "2048", "--seq_len", "32", "--bf16"]
SMALL += ["--batch_size", "2", "--steps", "2", "--blocks", "2", "--no_memory", "--cpu"]


def padded(run: CheckRun) -> None:
    """8k tokens and a vocabulary of 152k in bfloat16, one sample a row, with the plain implementation."""
    with run.row("padded") as row:
        figures = measure(run, row)
        plain = figures["plain"]
        row["plain / SFT time"] = plain["ratio"]
        if run.gpu:
            row["plain / SFT memory"] = plain["bytes"] / figures["SFTTrainer"]["bytes"]
            judge(row)
            row.require(
                figures["GLOWTrainer"]["bytes"] <= plain["bytes"], "more memory than the plain implementation takes"
            )


def layouts(run: CheckRun) -> None:
    """Rows of as many tokens from samples of a quarter, flattened and packed."""
    short = ["--trainers", "SFTTrainer", "GLOWTrainer"]
    if run.gpu:
        short += ["--seq_len", "2048", "--packed_length", "8192"]
    with run.row("padding_free") as row:
        measure(run, row, *short, "--layout", "padding_free", *(["--batch_size", "4"] if run.gpu else []))
        judge(row)
    with run.row("packed") as row:
        # Rows of 8192 tokens, of which there are fewer than samples
        measure(run, row, *short, "--layout", "packing", *(["--steps", "16"] if run.gpu else ["--steps", "4"]))
        judge(row)


def measure(run: CheckRun, row: Row, *argv: str) -> dict[str, dict]:
    """The figures of [`bench_glow_step.compare`]; the row gets what the table shows."""
    logging.set_verbosity_error()
    disable_progress_bars()
    options = bench.parse_args([*(FULL if run.gpu else SMALL), *argv])
    device = "cuda" if run.gpu else "cpu"
    trainers = bench.make_trainers(options, str(run.folder), device)
    figures = bench.compare(options, trainers)
    # The next row's peak is to be its own
    del trainers
    gc.unfreeze()
    gc.collect()
    sft, glow = figures["SFTTrainer"], figures["GLOWTrainer"]
    row["SFT ms"], row["GLOW ms"] = 1000 * sft["seconds"], 1000 * glow["seconds"]
    row["GLOW tokens / s"] = glow["tokens_per_second"]
    row["GLOW / SFT time"] = glow["ratio"]
    if run.gpu:
        row["SFT GiB"], row["GLOW GiB"] = sft["bytes"] / 2**30, glow["bytes"] / 2**30
        row["GLOW / SFT memory"] = glow["bytes"] / sft["bytes"]
    return figures


def judge(row: Row) -> None:
    """Hold a row to the bars, where there is something to judge: on CPU only that it runs."""
    if "GLOW / SFT memory" not in row:
        return
    row.require(row["GLOW / SFT time"] <= TIME, f"a step of GLOW takes {row['GLOW / SFT time']:.3f} of one of SFT")
    row.require(row["GLOW / SFT memory"] <= MEMORY, f"GLOW takes {row['GLOW / SFT memory']:.3f} of the memory of SFT")
