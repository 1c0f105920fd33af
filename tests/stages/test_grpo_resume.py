"""A GRPO run that is killed and resumed ends as one that was not: weights, prompts, completions, rewards, guard."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from glow_trl.checkpoints import last_complete_checkpoint
from glow_trl.data import read_jsonl, write_jsonl
from glow_trl.guard import CollapseGuard, GuardConfig

from .conftest import CPU


pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
STEPS = 8


def letters_reward(completions, prompts, log_extra, **kwargs) -> list[float]:
    """Varies among the completions of any model; the prompts go into the folder that the environment names."""
    with open(os.environ["GLOW_TRL_TEST_PROMPTS"], "a") as file:
        step = kwargs["trainer_state"].global_step
        pairs = zip(prompts, completions, strict=True)
        rows = [[step, prompt[-1]["content"], completion[0]["content"]] for prompt, completion in pairs]
        file.write(json.dumps(rows) + "\n")
    return [sum(character.isalpha() for character in completion[0]["content"]) / 8 for completion in completions]


def command(model: str, questions: Path, output_dir: Path) -> list[str]:
    options = ["--model_name_or_path", model, "--dataset_name", questions, "--output_dir", output_dir]
    options += ["--per_device_train_batch_size", 4, "--gradient_accumulation_steps", 2, "--num_generations", 4]
    options += ["--max_completion_length", 8, "--max_steps", STEPS, "--logging_steps", 1, "--save_steps", 1]
    options += ["--reward_funcs", "tests.stages.test_grpo_resume.letters_reward", "--learning_rate", 1e-3]
    options += ["--guard_max_clipped_ratio", 2, "--guard_patience", 2, "--report_to", "none", *CPU]
    return [sys.executable, "-m", "glow_trl.grpo", *map(str, options)]


def environment(output_dir: Path) -> dict[str, str]:
    output_dir.mkdir(exist_ok=True)
    prompts = str(output_dir / "prompts.jsonl")
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "GLOW_TRL_TEST_PROMPTS": prompts}


def seen(output_dir: Path) -> dict[int, list]:
    """Step to the prompts and completions of its last attempt."""
    return {rows[0][0]: rows for _, rows in read_rows(output_dir / "prompts.jsonl")}


def read_rows(path: Path):
    return enumerate(json.loads(line) for line in path.read_text().splitlines())


@pytest.fixture(scope="module")
def inputs(tiny_model, tmp_path_factory) -> tuple[str, Path]:
    path = tmp_path_factory.mktemp("questions") / "questions.jsonl"
    write_jsonl(path, ({"problem": f"{a}+{b}=?", "answer": str(a + b)} for a in range(4) for b in range(4)))
    return tiny_model, path


def test_killed_and_resumed(inputs, tmp_path):
    """
    Killed when its fourth checkpoint begins to be written; then the last complete checkpoint is damaged as well. It
    goes on from the one before, and says so.
    """
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    run = subprocess.run(
        command(*inputs, straight), env=environment(straight), capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 0, run.stderr[-3000:]

    process = subprocess.Popen(command(*inputs, killed), env=environment(killed), stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 200
    while not (killed / "checkpoint-4").exists():
        assert time.monotonic() < deadline and process.poll() is None, process.stderr.read()[-3000:]
        time.sleep(0.001)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    process.stderr.close()
    whole = Path(last_complete_checkpoint(killed))
    assert whole.name in ("checkpoint-3", "checkpoint-4")
    weights = whole / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])

    run = subprocess.run(
        command(*inputs, killed), env=environment(killed), capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 0, run.stderr[-3000:]
    before = f"checkpoint-{int(whole.name[-1]) - 1}"
    assert f"{whole} is not complete and is passed over: model.safetensors has" in run.stderr
    assert f"resuming from {killed / before}" in run.stderr

    expected = load_file(straight / "model.safetensors")
    result = load_file(killed / "model.safetensors")
    assert expected.keys() == result.keys() and all((expected[name] == result[name]).all() for name in expected)
    assert seen(killed) == seen(straight) and len(seen(straight)) == STEPS
    logs = [[row for _, row in read_jsonl(folder / "log.jsonl") if "reward" in row] for folder in (straight, killed)]
    assert len(logs[0]) == STEPS
    times = {"step_time", "sampling/step_time"}
    for entry, other in zip(*logs, strict=True):
        assert {k: v for k, v in entry.items() if k not in times} == {k: v for k, v in other.items() if k not in times}


def test_a_resumed_guard_knows_what_was(tmp_path):
    """Best reward and streaks come back from the log of the checkpoint."""
    from transformers import TrainerControl, TrainerState

    config = GuardConfig(guard_patience=3)
    logs = [{"reward": reward, "entropy": 1.0, "step": step} for step, reward in enumerate([0.9] * 4 + [0.01] * 3, 1)]
    for split in range(len(logs)):
        guard = CollapseGuard(config)
        guard.on_train_begin(None, TrainerState(log_history=logs[:split]), TrainerControl())
        assert guard.reason is None
        control = TrainerControl()
        for entry in logs[split:]:
            guard.on_log(None, TrainerState(global_step=entry["step"]), control, logs=entry)
        assert control.should_training_stop and "the reward is gone" in guard.reason
        assert "best average of the run was 0.9" in guard.reason
