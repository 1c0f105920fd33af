"""One process of two is killed with SIGKILL, again and again: resumed, the run ends as one that was not disturbed."""

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from glow_trl.training.checkpoints import last_complete_checkpoint


pytestmark = pytest.mark.slow

# 22 samples, 8 a step, 10 epochs
STEPS = 30


class Runs:
    """Runs of two processes, one after the other."""

    def __init__(self, model: str, errors: Path):
        worker = Path(__file__).with_name("glow_rank_kill_worker.py")
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(worker.parents[2])}
        self.errors = errors
        with errors.open("w") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, str(worker), model, str(errors.parent)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                env=environment,
            )

    def run(self, output_dir: Path, step: int = 0, rank: int = 0, delay: float = 0.0) -> list[int]:
        output_dir.mkdir(exist_ok=True)
        run = {"output_dir": str(output_dir), "step": step, "rank": rank, "delay": delay}
        self.process.stdin.write(json.dumps(run) + "\n")
        self.process.stdin.flush()
        # Libraries print there too
        while not (line := self.process.stdout.readline()).startswith("exit codes "):
            assert line, self.errors.read_text()[-3000:]
        return json.loads(line.removeprefix("exit codes "))

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait(timeout=30)


@pytest.fixture
def runs(tiny_model, tmp_path):
    started = Runs(tiny_model, tmp_path / "stderr.txt")
    yield started
    started.close()


def test_killed_ten_times(runs, tmp_path):
    """
    Ten times one process, either of the two, is killed at a random moment of a random step or of the checkpoint that
    follows it: same parameters, ledger and losses on both processes, to the bit.
    """
    assert runs.run(tmp_path / "undisturbed") == [0, 0], runs.errors.read_text()[-3000:]
    rng = random.Random(0)
    reached = 0
    for _ in range(10):
        # One of the next steps, so that the run gets on, if slowly
        step, rank = min(STEPS - 2, reached + rng.randint(1, 2)), rng.randrange(2)
        codes = runs.run(tmp_path / "killed", step, rank, rng.uniform(0, 0.1))
        assert codes[rank] == -signal.SIGKILL, f"{codes} at step {step}: {runs.errors.read_text()[-3000:]}"
        assert not (tmp_path / "killed" / "result-0.pt").exists()
        checkpoint = last_complete_checkpoint(tmp_path / "killed")
        reached = int(checkpoint.rpartition("-")[2]) if checkpoint else 0
    assert reached > 3, "all the kills were at the beginning"
    assert runs.run(tmp_path / "killed") == [0, 0], runs.errors.read_text()[-3000:]
    for rank in (0, 1):
        result, expected = (torch.load(tmp_path / name / f"result-{rank}.pt") for name in ("killed", "undisturbed"))
        assert result["parameters"].keys() == expected["parameters"].keys()
        assert all(torch.equal(result["parameters"][name], value) for name, value in expected["parameters"].items())
        for column in ("previous", "current"):
            assert torch.equal(result[column], expected[column])
        assert result["loss"] == expected["loss"] and len(result["loss"]) == STEPS
