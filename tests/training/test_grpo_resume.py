"""
A GRPO run that is killed and resumed ends as one that was not: weights, prompts, completions, rewards, guard. With
questions in a random order, and in the order of the losses of stage 1.
"""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from glow_trl.cli import main
from glow_trl.data import read_jsonl, write_jsonl
from glow_trl.training.checkpoints import last_complete_checkpoint
from glow_trl.training.guard import CollapseGuard, GuardConfig
from helpers.launching import CPU, environment, launch_command, on_cpu
from helpers.letters import write_sums
from helpers.processes import kill_when, run_to_the_end


pytestmark = pytest.mark.slow

STEPS = 8


def command(model: str, questions: Path, output_dir: Path, shuffle: bool = True) -> list[str]:
    options = ["--model_name_or_path", model, "--dataset_name", questions, "--output_dir", output_dir]
    options += ["--per_device_train_batch_size", 4, "--gradient_accumulation_steps", 2, "--num_generations", 4]
    options += ["--max_completion_length", 8, "--max_steps", STEPS, "--logging_steps", 1, "--save_steps", 1]
    options += ["--reward_funcs", "helpers.letters.letters_reward", "--learning_rate", 1e-3]
    options += ["--guard_max_clipped_ratio", 2, "--guard_patience", 2, "--report_to", "none", *CPU]
    options += ["--shuffle_dataset", shuffle]
    return [sys.executable, "-m", "helpers.stages", "glow_trl.grpo", *map(str, options)]


def environment_of(output_dir: Path, **variables: str) -> dict[str, str]:
    output_dir.mkdir(exist_ok=True)
    return environment(GLOW_TRL_TEST_PROMPTS=str(output_dir), **variables)


def seen(output_dir: Path, rank: int = 0) -> dict[int, list]:
    """Step to the prompts and completions of its last attempt."""
    return {rows[0][0]: rows for _, rows in read_rows(output_dir / f"prompts-{rank}.jsonl")}


def read_rows(path: Path):
    return enumerate(json.loads(line) for line in path.read_text().splitlines())


@pytest.fixture(scope="module")
def inputs(tiny_model, tmp_path_factory) -> tuple[str, Path]:
    return tiny_model, write_sums(tmp_path_factory.mktemp("questions") / "questions.jsonl")


@pytest.fixture(scope="module")
def hard_first(tiny_model, tmp_path_factory) -> tuple[str, Path]:
    """What stage 1 leaves, and the questions of its trajectories in the order of their losses in the ledger."""
    folder = tmp_path_factory.mktemp("hard_first")
    rows = []
    for a in range(4):
        for b in range(4):
            for answer in (a + b, a + b + 1):
                completion = f"{'=' * (3 * a + b)}\\boxed{{{answer}}}"
                rows.append({"problem": f"{a}+{b}=?", "completion": completion, "answer": str(a + b)})
    write_jsonl(folder / "rows.jsonl", rows)
    label = ["label", "--dataset_name", folder / "rows.jsonl", "--output_dir", folder / "label"]
    labelled = folder / "label" / "trajectories.jsonl"
    sft = ["sft", "--model_name_or_path", tiny_model, "--dataset_name", labelled, "--output_dir", folder / "sft"]
    sft += ["--num_train_epochs", 2, "--eos_token", "<|im_end|>", "--report_to", "none", "--save_strategy", "no", *CPU]
    mix = ["mix", "--dataset_name", labelled, "--output_dir", folder / "mix", "--validation_split", 0]
    mix += ["--prompt_order", "hard_first", "--ledger", folder / "sft" / "ledger"]
    for argv in (label, sft, mix):
        assert main([str(part) for part in argv]) == 0
    return str(folder / "sft"), folder / "mix" / "prompts.jsonl"


def kill_and_resume(command: list[str], output_dir: Path) -> None:
    """
    Kill a run when its fourth checkpoint begins to be written, and damage the last complete checkpoint as well. It
    goes on from the one before, and says so.
    """
    kill_when((output_dir / "checkpoint-4").exists, command, env=environment_of(output_dir))
    whole = Path(last_complete_checkpoint(output_dir))
    assert whole.name in ("checkpoint-3", "checkpoint-4")
    weights = whole / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])

    run = run_to_the_end(command, env=environment_of(output_dir))
    before = f"checkpoint-{int(whole.name[-1]) - 1}"
    assert f"{whole} is not complete and is passed over: model.safetensors has" in run.stderr
    assert f"resuming from {output_dir / before}" in run.stderr


def check_same_end(straight: Path, killed: Path, num_processes: int = 1) -> None:
    """Weights, prompts, completions, and all that was logged but times."""
    expected = load_file(straight / "model.safetensors")
    result = load_file(killed / "model.safetensors")
    assert expected.keys() == result.keys() and all((expected[name] == result[name]).all() for name in expected)
    for rank in range(num_processes):
        assert seen(killed, rank) == seen(straight, rank) and len(seen(straight, rank)) == STEPS
    logs = [[row for _, row in read_jsonl(folder / "log.jsonl") if "reward" in row] for folder in (straight, killed)]
    assert len(logs[0]) == STEPS
    times = {"step_time", "sampling/step_time"}
    for entry, other in zip(*logs, strict=True):
        assert {k: v for k, v in entry.items() if k not in times} == {k: v for k, v in other.items() if k not in times}


@pytest.mark.parametrize("order", ["random", "ledger"])
def test_killed_and_resumed(order, request, tmp_path):
    model, questions = request.getfixturevalue("inputs" if order == "random" else "hard_first")
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    commands = [command(model, questions, folder, order == "random") for folder in (straight, killed)]
    run_to_the_end(commands[0], env=environment_of(straight))
    kill_and_resume(commands[1], killed)

    check_same_end(straight, killed)
    steps = [dict.fromkeys(problem for _, problem, _ in rows) for _, rows in sorted(seen(killed).items())]
    problems = [row["problem"] for _, row in read_jsonl(questions)]
    # Two questions a step, all of them once
    in_order = [list(step) for step in steps] == [problems[at : at + 2] for at in range(0, 2 * STEPS, 2)]
    assert in_order == (order == "ledger") and len(problems) == 2 * STEPS
    assert order == "random" or problems != sorted(problems)


def test_a_run_that_died_after_its_last_step(inputs, tmp_path):
    """In the middle of an epoch: it makes no further step."""
    options = ["--max_steps", "3", "--save_steps", "3"]
    _, *argv = command(*inputs, tmp_path / "straight")
    run_to_the_end([sys.executable, *argv, *options], env=environment_of(tmp_path / "straight"))
    last = tmp_path / "straight" / "checkpoint-3"
    _, *argv = command(*inputs, tmp_path / "killed")
    resume = ["--resume_from_checkpoint", str(last)]
    run = run_to_the_end([sys.executable, *argv, *options, *resume], env=environment_of(tmp_path / "killed"))
    assert f"resuming from {last}" in run.stderr
    steps = [
        [row.get("step") for _, row in read_jsonl(tmp_path / name / "log.jsonl")] for name in ("straight", "killed")
    ]
    assert steps[0] == steps[1] == [1, 2, 3, 3] and not (tmp_path / "killed" / "prompts-0.jsonl").exists()
    expected, result = (load_file(tmp_path / name / "model.safetensors") for name in ("straight", "killed"))
    assert all((expected[name] == result[name]).all() for name in expected)


@pytest.mark.parametrize("num_processes", [1, 2])
def test_resumed_in_a_later_epoch(num_processes, inputs, tmp_path):
    """
    Each epoch has another order, and leaves out another question: five questions are two steps of two. What was asked
    in the third epoch is asked in it after the run was killed there, too.
    """
    model, questions = inputs
    write_jsonl(tmp_path / "five.jsonl", [row for _, row in read_jsonl(questions)][3:8])

    def run(folder: str, **variables: str) -> subprocess.CompletedProcess:
        output_dir = tmp_path / folder
        argv = [*command(model, tmp_path / "five.jsonl", output_dir)[1:], "--gradient_accumulation_steps"]
        stage = [*argv, str(2 // num_processes)]
        launched = launch_command(on_cpu("ddp", tmp_path, num_processes), *stage)
        environment = environment_of(output_dir, **variables)
        return subprocess.run(launched, env=environment, capture_output=True, text=True)

    straight = run("straight")
    assert straight.returncode == 0, straight.stderr[-3000:]
    assert run("killed", GLOW_TRL_TEST_KILL="0:5").returncode != 0
    resumed = run("killed")
    assert resumed.returncode == 0, resumed.stderr[-3000:]
    assert f"resuming from {tmp_path / 'killed' / 'checkpoint-5'}" in resumed.stderr
    check_same_end(tmp_path / "straight", tmp_path / "killed", num_processes)
    epochs = [asked(tmp_path / "straight")[at : at + 2] for at in range(0, STEPS, 2)]
    assert all(len(first | second) == 4 for first, second in epochs)
    assert len({tuple(map(frozenset, epoch)) for epoch in epochs}) > 2


def test_dynamic_sampling_killed_between_two_generations(inputs, tmp_path):
    """
    Groups give way to further ones on two processes, as luck would have it; killed where half of what was generated is
    trained on, a run logs and learns the same from there on.
    """
    changes = ["--dynamic_sampling", "true", "--reward_funcs", "helpers.letters.lucky_letters_reward"]
    changes += ["--save_steps", "5", "--gradient_accumulation_steps", "1", "--steps_per_generation", "2"]
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    stages = [[*command(*inputs, folder)[3:], *changes] for folder in (killed, straight)]

    def run(*stage: str, **variables: str) -> subprocess.CompletedProcess:
        launched = launch_command(on_cpu("ddp", tmp_path, 2), "-m", "helpers.stages", *stage)
        return subprocess.run(launched, env=environment(**variables), capture_output=True, text=True)

    assert run(*stages[0], GLOW_TRL_TEST_KILL="1:6").returncode != 0
    both = run(*stages[0], "then", *stages[1])
    assert both.returncode == 0, both.stderr[-3000:]
    assert f"resuming from {killed / 'checkpoint-5'}" in both.stderr
    expected, result = (load_file(folder / "model.safetensors") for folder in (straight, killed))
    assert all((expected[name] == result[name]).all() for name in expected)
    logs = [
        [{k: v for k, v in row.items() if not k.endswith("step_time")} for _, row in read_jsonl(file) if "loss" in row]
        for file in (straight / "log.jsonl", killed / "log.jsonl")
    ]
    assert logs[0] == logs[1] and len(logs[0]) == STEPS
    batches = [row for row in logs[0] if "dynamic_sampling/rounds" in row]
    assert len(batches) == STEPS / 2 and any(row["dynamic_sampling/rounds"] > 1 for row in batches)
    assert all(row["dynamic_sampling/trained_groups"] == 4 for row in batches)


def asked(output_dir: Path) -> list[set[str]]:
    """The questions of each step, on all processes."""
    ranks = [seen(output_dir, rank) for rank in range(len(list(output_dir.glob("prompts-*.jsonl"))))]
    return [{problem for steps in ranks for _, problem, _ in steps.get(step, [])} for step in range(STEPS)]


@pytest.mark.parametrize(("name", "remaining"), [("zero2", 2), ("zero3", 1)])
def test_one_of_two_processes_killed(name, remaining, inputs, tmp_path):
    """
    At a random step; the launcher ends the other, and both go on from the last complete checkpoint. Where only one
    goes on, with the same settings, it has as many samples in a step and the same questions in the same order.
    """

    def run(folder: str, num_processes: int = 2, **variables: str) -> subprocess.CompletedProcess:
        _, *stage = command(*inputs, tmp_path / folder)
        return subprocess.run(
            launch_command(on_cpu(name, tmp_path, num_processes), *stage),
            env=environment_of(tmp_path / folder, **variables),
            capture_output=True,
            text=True,
        )

    rng = random.Random(name)
    rank, step = rng.randrange(2), rng.randrange(1, STEPS)
    straight = run("straight")
    assert straight.returncode == 0, straight.stderr[-3000:]
    assert run("killed", GLOW_TRL_TEST_KILL=f"{rank}:{step}").returncode != 0
    resumed = run("killed", remaining)
    assert resumed.returncode == 0, resumed.stderr[-3000:]
    assert f"resuming from {tmp_path / 'killed' / f'checkpoint-{step}'}" in resumed.stderr
    if remaining == 2:
        check_same_end(tmp_path / "straight", tmp_path / "killed", num_processes=2)
    else:
        assert "goes on with gradient_accumulation_steps: 4, as there are 1 processes now" in resumed.stderr
        assert asked(tmp_path / "killed") == asked(tmp_path / "straight")


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
        assert "0.9 at the beginning or at its best" in guard.reason
