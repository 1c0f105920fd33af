"""A run that is killed with SIGKILL, again and again, ends as one that was not."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch


pytestmark = pytest.mark.slow

# 27 samples, 6 a step
STEPS_PER_EPOCH = 5


class Runs:
    """Starts training processes, one at a time."""

    def __init__(self, model: str, errors: Path):
        worker = Path(__file__).with_name("glow_kill_worker.py")
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

    def start(self, output_dir: Path, resume: bool) -> int:
        line = json.dumps({"output_dir": str(output_dir), "resume": resume})
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self._number("pid ")

    def wait(self) -> int:
        return self._number("exit code ")

    def _number(self, name: str) -> int:
        # Libraries print there too
        while not (line := self.process.stdout.readline()).startswith(name):
            assert line, self.errors.read_text()[-3000:]
        return int(line.removeprefix(name))

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait(timeout=30)


@pytest.fixture(scope="module")
def runs(tiny_model, tmp_path_factory):
    started = Runs(tiny_model, tmp_path_factory.mktemp("killed") / "stderr.txt")
    yield started
    started.close()


@pytest.fixture(scope="module")
def undisturbed(runs, tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed")
    runs.start(out, resume=False)
    assert runs.wait() == 0, runs.errors.read_text()[-3000:]
    return torch.load(out / "result.pt")


@pytest.mark.parametrize("seed", range(int(os.environ.get("GLOW_TRL_KILLS", "1"))))
def test_killed_in_every_epoch(runs, undisturbed, tmp_path, seed):
    """
    Killed at a random step of each of four epochs, at the moment a checkpoint begins to be written or a little later,
    and resumed from the last complete checkpoint: same parameters, ledger and losses, to the bit. `GLOW_TRL_KILLS`
    sets how often to try.
    """
    rng = random.Random(seed)
    for epoch in range(4):
        # Neither the first step, which has no checkpoint before it, nor the last
        step = epoch * STEPS_PER_EPOCH + rng.randint(2, STEPS_PER_EPOCH - 1)
        delay = rng.uniform(0, 0.06) if epoch % 2 else 0
        pid = runs.start(tmp_path, resume=epoch > 0)
        deadline = time.monotonic() + 60
        while not (tmp_path / f"checkpoint-{step}").exists():
            assert time.monotonic() < deadline and _is_alive(pid), runs.errors.read_text()[-3000:]
            time.sleep(0.0005)
        time.sleep(delay)
        os.kill(pid, signal.SIGKILL)
        assert runs.wait() == -signal.SIGKILL, "the run ended before it was killed"
    runs.start(tmp_path, resume=True)
    assert runs.wait() == 0, runs.errors.read_text()[-3000:]

    result = torch.load(tmp_path / "result.pt")
    expected = undisturbed["parameters"]
    assert result["parameters"].keys() == expected.keys()
    assert all(torch.equal(result["parameters"][name], expected[name]) for name in expected)
    for column in ("previous", "current"):
        assert torch.equal(result[column], undisturbed[column])
    assert result["loss"] == undisturbed["loss"] and len(result["loss"]) == 4 * STEPS_PER_EPOCH


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
