"""Verdicts and limits on a busy machine and with hostile completions: the benchmark of them, with the least to do."""

import os
import subprocess
import sys
from pathlib import Path

from helpers.processes import LIMIT


ROOT = Path(__file__).resolve().parents[2]


def test_same_verdicts_in_1_and_8_threads_and_no_leak_from_hostile_completions():
    """Its full size is 5,000 cases, three times, and 10,000 completions: see bench/bench_verifier_load.py."""
    command = [sys.executable, ROOT / "bench" / "bench_verifier_load.py", "--cases", "30", "--runs", "1"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    options = ["--hostile", "26", "--limit", "0.3"]
    run = subprocess.run([*command, *options], env=environment, capture_output=True, text=True, timeout=LIMIT)
    assert run.returncode == 0, run.stdout + run.stderr
