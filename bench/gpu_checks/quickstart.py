"""The quickstart, shortened, with its stages on the GPU: a whole run with evaluations and report."""

import json
import sys
import time

from helpers.launching import ROOT

from .rows import CheckRun, run_through


EVALUATION = ["--eval.only", "[in_domain]"]
FULL = [*EVALUATION, "--sft.max_steps", "400", "--grpo.max_steps", "20", "--eval.num_samples", "2"]
FULL += ["--sft.use_cpu", "false", "--grpo.use_cpu", "false"]
SMALL = [*EVALUATION, "--sft.max_steps", "3", "--grpo.max_steps", "1", "--grpo.per_device_train_batch_size", "16"]
SMALL += ["--grpo.max_completion_length", "8", "--eval.num_samples", "1", "--eval.limit", "8"]
SMALL += ["--eval.max_new_tokens", "8"]
# Of in-domain answers after so few steps; on CPU there were 0.51 and 0.70, and a guess is 0.14
LEAST = 0.25


def check(run: CheckRun) -> None:
    with run.row("quickstart") as row:
        out = run.folder / "out"
        command = [
            sys.executable,
            "-m",
            "glow_trl",
            "run",
            str(ROOT / "recipes" / "quickstart"),
            "--output_dir",
            str(out),
        ]
        start = time.monotonic()
        run_through([*command, *(FULL if run.gpu else SMALL)])
        row["minutes"] = (time.monotonic() - start) / 60
        summary = json.loads((out / "summary.json").read_text())
        for stage in ("sft", "grpo"):
            row[f"{stage} accuracy"] = summary["arms"]["glow"][stage]["benchmarks"]["in_domain"]["pass@1"]
            record = json.loads((out / "glow" / stage / "run.json").read_text())
            on_gpu = not record["config"]["use_cpu"]
            row.require(on_gpu == run.gpu, f"{stage} ran with use_cpu: {record['config']['use_cpu']}")
        row.require((out / "report.html").stat().st_size > 0, "there is no report")
        if run.gpu:
            lowest = min(row["sft accuracy"], row["grpo accuracy"])
            row.require(lowest >= LEAST, f"the model learned too little: less than {LEAST}")
