"""How often a step of GLOWTrainer makes the host wait for the device, beside one of SFTTrainer."""

import collections
import gc
import warnings
from pathlib import Path
from typing import Any

import bench_glow_step as bench
import torch
from datasets import disable_progress_bars
from transformers import TrainerCallback
from transformers.utils import logging

from helpers.waiting import WaitingOperators

from .rows import CheckRun


SIZE = ["--trainers", "SFTTrainer", "GLOWTrainer", "--vocab_size", "2048", "--steps", "4"]
FULL = [*SIZE, "--hidden_size", "256", "--seq_len", "512", "--batch_size", "4", "--bf16", "--gradient_checkpointing"]
SMALL = [
    *SIZE,
    "--hidden_size",
    "32",
    "--layers",
    "2",
    "--heads",
    "2",
    "--seq_len",
    "32",
    "--batch_size",
    "2",
    "--cpu",
]
# Copies the tensors of a batch to the GPU, each of which waits. GLOW has two more of them, of a number for each
# sample, and what comes after the first copy finds the GPU idle
COPY = str(Path("accelerate", "utils", "operations.py"))


class CudaWaits:
    """Counts the places that wait while it is entered, as CUDA's synchronization debug mode tells them."""

    def __init__(self):
        self.counts: collections.Counter[str] = collections.Counter()

    def __enter__(self):
        torch.cuda.synchronize()
        self._catcher = warnings.catch_warnings(record=True)
        self._caught = self._catcher.__enter__()
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        return self

    def __exit__(self, *exception: Any) -> None:
        torch.cuda.set_sync_debug_mode("default")
        self._catcher.__exit__(*exception)
        for warning in self._caught:
            if "synchronizing CUDA operation" in str(warning.message):
                self.counts[f"{warning.filename}:{warning.lineno}"] += 1


class WaitsOfSteps(TrainerCallback):
    """Counts in the steps of the second epoch, without what the end of an epoch and the logs cost."""

    def __init__(self, counter: Any):
        self.counter = counter

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == state.max_steps // 2:
            self.counter.__enter__()

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == state.max_steps:
            self.counter.__exit__(None, None, None)


def check(run: CheckRun) -> None:
    logging.set_verbosity_error()
    disable_progress_bars()
    for layout in ("padded", "padding_free"):
        with run.row(layout) as row:
            if run.gpu:
                with CudaWaits() as probe:
                    torch.ones(1, device="cuda").item()
                row.require(sum(probe.counts.values()) >= 1, "torch does not tell of a wait that is there")
            options = bench.parse_args([*(FULL if run.gpu else SMALL), "--layout", layout])
            found = {}
            for name in options.trainers:
                model = bench.make_model(options, "cuda" if run.gpu else "cpu")
                trainer = bench.make_trainer(name, options, str(run.folder), model)
                counter = CudaWaits() if run.gpu else WaitingOperators()
                trainer.add_callback(WaitsOfSteps(counter))
                trainer.train()
                found[name] = counter.counts
                print(layout, name, *counter.counts.most_common(), sep="\n  ", flush=True)
                del trainer, model
                gc.collect()
            for name, short in zip(options.trainers, ("SFT", "GLOW"), strict=True):
                copies = sum(count for place, count in found[name].items() if COPY in place)
                row[f"{short} waits a step"] = (sum(found[name].values()) - copies) / options.steps
                if run.gpu:
                    row[f"{short} copies a step"] = copies / options.steps
            row.require(row["SFT waits a step"] > 0, "no wait of SFT was seen, which has some")
            more = sorted((found["GLOWTrainer"] - found["SFTTrainer"]).items())
            more = [f"{place} {count}x" for place, count in more if COPY not in place]
            row.require(
                row["GLOW waits a step"] <= row["SFT waits a step"], f"GLOW waits more often: {', '.join(more)[:300]}"
            )
