"""Runs that are killed with SIGKILL, again and again, end as ones that were not: one process, and one of two."""

import os
import random
import signal
from pathlib import Path

import pytest
import torch

from glow_trl.training.checkpoints import last_complete_checkpoint
from helpers.glow_cases import WEIGHTINGS
from helpers.processes import Worker


pytestmark = pytest.mark.slow

# 27 samples, 6 a step
STEPS_PER_EPOCH = 5
ALONE = {
    "num_processes": 1,
    "rows": 27,
    "settings": {"per_device_train_batch_size": 3, "num_train_epochs": 4},
}
# 22 samples, 8 a step
STEPS_OF_TWO = 30
TWO = {
    "num_processes": 2,
    "rows": 22,
    "settings": {"per_device_train_batch_size": 2, "num_train_epochs": 10},
}


@pytest.fixture(scope="module")
def run(tiny_model, tmp_path_factory):
    """Does one run, to its end or to the death of a process."""
    folder = tmp_path_factory.mktemp("kills")
    worker = Worker("helpers.glow_kill_worker", tiny_model, folder, errors=folder / "stderr.txt")

    def run(output_dir: Path, **job) -> None:
        output_dir.mkdir(exist_ok=True)
        codes = worker(output_dir=output_dir, **job)
        as_planned = codes[job["rank"]] == -signal.SIGKILL if "rank" in job else not any(codes)
        assert as_planned, f"{codes} of {job}: {worker.errors.read_text()[-3000:]}"

    yield run
    worker.close()


@pytest.fixture(scope="module")
def undisturbed(run, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed")
    run(out, **ALONE)
    return out


def check_same_end(killed: Path, undisturbed: Path, rank: int, steps: int) -> None:
    """Parameters, ledger and losses, to the bit."""
    result, expected = (torch.load(folder / f"result-{rank}.pt") for folder in (killed, undisturbed))
    assert result["parameters"].keys() == expected["parameters"].keys()
    assert all(torch.equal(result["parameters"][name], value) for name, value in expected["parameters"].items())
    for column in ("previous", "current"):
        assert torch.equal(result[column], expected[column])
    assert result["loss"] == expected["loss"] and len(result["loss"]) == steps


@pytest.mark.parametrize("seed", range(int(os.environ.get("GLOW_TRL_KILLS", "1"))))
def test_killed_in_every_epoch(run, undisturbed, tmp_path, seed):
    """
    Killed at a random step of each of four epochs, at the moment a checkpoint begins to be written or a little later,
    and resumed from the last complete checkpoint. `GLOW_TRL_KILLS` sets how often to try.
    """
    rng = random.Random(seed)
    for epoch in range(4):
        # Neither the first step, which has no checkpoint before it, nor the last two
        step = epoch * STEPS_PER_EPOCH + rng.randint(2, STEPS_PER_EPOCH - 2)
        delay = rng.uniform(0, 0.06) if epoch % 2 else 0
        run(tmp_path, **ALONE, rank=0, step=step, moment="checkpoint", delay=delay)
        assert not (tmp_path / "result-0.pt").exists()
    run(tmp_path, **ALONE)
    check_same_end(tmp_path, undisturbed, 0, 4 * STEPS_PER_EPOCH)


@pytest.mark.parametrize("name", [name for name in WEIGHTINGS if name != "glow"])
def test_other_weightings(run, tmp_path, name):
    """Each of them, killed once: 13 samples, 6 a step, two epochs."""
    settings = {"per_device_train_batch_size": 3, "num_train_epochs": 2, **WEIGHTINGS[name]}
    job = {"num_processes": 1, "rows": 13, "settings": settings}
    run(tmp_path / "undisturbed", **job)
    run(tmp_path / "killed", **job, rank=0, step=4, moment="checkpoint", delay=0)
    assert not (tmp_path / "killed" / "result-0.pt").exists()
    run(tmp_path / "killed", **job)
    check_same_end(tmp_path / "killed", tmp_path / "undisturbed", 0, 6)


def test_one_of_two_killed_ten_times(run, tmp_path):
    """
    Ten times one process, either of the two, is killed at a random moment of a random step or of the checkpoint that
    follows it: the same end on both processes.
    """
    run(tmp_path / "undisturbed", **TWO)
    rng = random.Random(0)
    reached = 0
    for _ in range(10):
        # One of the next steps, so that the run gets on, if slowly
        step, rank = min(STEPS_OF_TWO - 2, reached + rng.randint(1, 2)), rng.randrange(2)
        run(tmp_path / "killed", **TWO, rank=rank, step=step, moment="step", delay=rng.uniform(0, 0.1))
        assert not (tmp_path / "killed" / "result-0.pt").exists()
        checkpoint = last_complete_checkpoint(tmp_path / "killed")
        reached = int(checkpoint.rpartition("-")[2]) if checkpoint else 0
    assert reached > 3, "all the kills were at the beginning"
    run(tmp_path / "killed", **TWO)
    for rank in (0, 1):
        check_same_end(tmp_path / "killed", tmp_path / "undisturbed", rank, STEPS_OF_TWO)
