"""The frame of a stage: one process at a time in a folder, and a folder that only a run which began well claims."""

import contextlib
import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from glow_trl.errors import UserError
from glow_trl.stages.command import run_command
from glow_trl.stages.config import Settings, parse_command
from glow_trl.stages.frame import stage_run
from glow_trl.stages.record import read_run
from glow_trl.stages.registry import COMMANDS, TRAINING_STAGES
from glow_trl.training.resume import parse_training_stage


@contextlib.contextmanager
def held(lock: Path):
    """Another process holds a lock file until the block ends."""
    code = f"""
        import sys
        from pathlib import Path
        from glow_trl.stages.lock import exclusive

        with exclusive(Path({str(lock)!r}), "here"):
            print("held", flush=True)
            sys.stdin.read()
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-c", textwrap.dedent(code)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    try:
        yield process
    finally:
        process.stdin.close()
        assert process.wait() == 0, "the first process was disturbed"


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "rows.jsonl"
    row = {"problem": "1+1=?", "completion": "so \\boxed{2}", "answer": "2", "is_correct": True}
    path.write_text(json.dumps(row) + "\n")
    return path


def arguments(name: str, rows: Path, out: Path) -> tuple[list[str], Path]:
    """A command line that writes to `out`, and the lock file of a process that writes there."""
    data, model = ["--dataset_name", str(rows)], ["--model_name_or_path", "model"]
    folder = ["--output_dir", str(out)]
    cpu = ["--use_cpu", "true", "--bf16", "false"]
    argv = {
        "run": [str(recipe(rows)), *folder],
        "collect": [*data, *model, *folder],
        "label": [*data, *folder],
        "mix": [*data, *folder],
        "sft": [*data, *model, *cpu, *folder],
        "grpo": [*data, *model, *cpu, *folder],
        "eval": ["--benchmarks", f"[{{name: b, path: {rows}}}]", *model, *folder],
        "merge": ["adapter", "--output", str(out)],
        "compare": ["a", "b", "--output", str(out)],
        "entropy": ["a", "b", "--benchmarks", "gsm8k", *folder],
        "ready": ["a", "b", "--questions", str(rows), *folder],
        "report": [str(out)],
        "dynamics": [str(history(out)), *folder],
        "loss": [*data, *model, *folder],
        "annotate": [*data, *model, *folder],
        "audit": [str(rows), *folder],
        "verify": [str(rows), "--output", str(out)],
        "study": [str(study(rows)), *folder],
    }[name]
    if name == "report":
        return argv, out / ".report.html.lock"
    beside = name in ("merge", "compare", "verify")
    return argv, out.parent / f".{out.name}.lock" if beside else out / ".lock"


def recipe(rows: Path) -> Path:
    folder = rows.parent / "recipe"
    folder.mkdir(exist_ok=True)
    settings = f"dataset_name: {rows}\nmodel_name_or_path: model\noutput_dir: outputs/recipe/glow/sft\n"
    (folder / "sft.yaml").write_text(settings + "use_cpu: true\nbf16: false\n")
    return folder


def study(rows: Path) -> Path:
    path = rows.parent / "recipe" / "study.yaml"
    settings = f"recipe: {recipe(rows)}\narms: [glow]\nseeds: [1]\ncontrol: glow\nprimary: [loss]\n"
    path.write_text(settings + "measures: {loss: {stage: sft, curve: loss}}\n")
    return path


def history(out: Path) -> Path:
    import numpy as np

    folder = out.parent / "sft"
    (folder / "ledger").mkdir(parents=True, exist_ok=True)
    np.save(folder / "ledger" / "epoch-001.npy", np.zeros(1, dtype="float32"))
    return folder


@pytest.mark.parametrize("name", COMMANDS)
def test_a_second_process_is_refused_and_the_first_is_undisturbed(name, rows, tmp_path, capsys):
    out = tmp_path / "out"
    argv, lock = arguments(name, rows, out)
    with held(lock):
        before = sorted(path for path in tmp_path.rglob("*") if path != rows.parent / "recipe")
        assert run_command(name, argv) == 2
        assert "another process is writing there" in capsys.readouterr().err
        assert before == sorted(path for path in tmp_path.rglob("*") if path != rows.parent / "recipe")
    assert not lock.exists()


def settings(**given) -> Settings:
    return Settings("label", (), given, {}, {"seed": 0} | given, {})


def test_a_lock_is_free_again_when_its_process_is_killed(tmp_path):
    with contextlib.suppress(AssertionError), held(tmp_path / ".lock") as process:
        process.kill()
    with stage_run(settings(), tmp_path) as run:
        assert not run.is_complete


def test_a_first_start_that_fails_leaves_the_folder_to_other_settings(tmp_path):
    with pytest.raises(UserError, match="bad rows"), stage_run(settings(seed=1), tmp_path / "out") as run:
        run.start()
        raise UserError("bad rows")
    assert not (tmp_path / "out").exists()
    with stage_run(settings(seed=2), tmp_path / "out") as run:
        run.start()
        run.complete(rows=1)
    assert read_run(tmp_path / "out")["given"] == {"seed": 2}


def test_a_run_that_was_begun_keeps_its_settings(tmp_path):
    with pytest.raises(KeyboardInterrupt), stage_run(settings(seed=1), tmp_path) as run:
        run.start()
        raise KeyboardInterrupt
    assert read_run(tmp_path)["status"] == "running"
    with pytest.raises(UserError, match=r"seed: 1 -> 2"), stage_run(settings(seed=2), tmp_path):
        pass
    assert read_run(tmp_path)["given"] == {"seed": 1}


def test_a_complete_run_is_left_as_it_is(tmp_path, caplog):
    for _ in range(2):
        with stage_run(settings(seed=1), tmp_path) as run:
            if not run.is_complete:
                run.start()
                run.complete()
    assert caplog.text.count("is complete, nothing to do") == 1


# Of each stage that goes on: a setting that decides what comes out, and one that does not
CHANGES = {
    "collect": (["--temperature", "0.5"], []),
    "label": (["--kind", "text"], ["--workers", "1"]),
    "mix": (["--mixture", "positive"], []),
    "sft": (["--glow_beta", "3"], ["--logging_steps", "7"]),
    "grpo": (["--temperature", "0.5"], ["--guard_patience", "7"]),
    "eval": (["--temperature", "0.5"], ["--batch_size", "2"]),
    "ready": (["--temperature", "0.5"], ["--rank_by", "entropy"]),
    "loss": (["--max_length", "7"], ["--batch_size", "2"]),
    "annotate": (["--temperature", "0.5"], ["--num_judgements", "2"]),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_setting_may_change_if_its_field_says_so(name, rows, tmp_path):
    argv, _ = arguments(name, rows, tmp_path / "out")
    refused, taken = CHANGES[name]
    with pytest.raises(KeyboardInterrupt), stage_run(told(name, argv), tmp_path / "out") as run:
        run.start()
        raise KeyboardInterrupt
    with stage_run(told(name, [*argv, *taken]), tmp_path / "out") as run:
        assert not run.is_complete
    key = refused[0].removeprefix("--")
    with (
        pytest.raises(UserError, match=f"differs in {key}: "),
        stage_run(told(name, argv + refused), tmp_path / "out"),
    ):
        pass


def told(name: str, argv: list[str]) -> Settings:
    return parse_training_stage(name, argv) if name in TRAINING_STAGES else parse_command(name, argv)
