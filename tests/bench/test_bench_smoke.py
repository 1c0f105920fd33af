"""That the benchmarks of training run, with the least to do. They measure nothing here."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from glow_trl.weighting.product import SHIPPED


pytestmark = pytest.mark.slow

FOLDER = Path(__file__).resolve().parents[2] / "bench"


def bench(name: str, *argv, folder: Path) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(FOLDER.parent), "COLUMNS": "160"}
    command = [sys.executable, str(FOLDER / name), *map(str, argv)]
    run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-3000:]
    return run.stdout


SIZE = ["--hidden_size", 16, "--layers", 1, "--heads", 2, "--batch_size", 2, "--steps", 2]


def test_glow_step_on_two_processes(tmp_path):
    size = [*SIZE, "--vocab_size", 64, "--seq_len", 16]
    options = ["--num_processes", 2, "--blocks", 2, "--no_memory", "--json", tmp_path / "figures.json"]
    table = bench("bench_glow_step.py", *size, *options, folder=tmp_path)
    assert "2 processes" in table and "tokens / s" in table
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert list(figures) == ["SFTTrainer", "GLOWTrainer", "plain"]
    assert all(figure["seconds"] > 0 for figure in figures.values()) and figures["plain"]["ratio"] > 0


def test_step_of_each_weighting(tmp_path):
    size = [*SIZE, "--vocab_size", 64, "--seq_len", 16, "--blocks", 1, "--no_memory"]
    options = ["--trainers", "SFTTrainer", "weightings", "--json", tmp_path / "figures.json"]
    bench("bench_glow_step.py", *size, *options, folder=tmp_path)
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures.keys() == {"SFTTrainer", "GLOWTrainer", *SHIPPED} - {"glow"}
    assert all(figure["ratio"] > 0 for name, figure in figures.items() if name != "SFTTrainer")


def test_glow_scaling(tmp_path):
    sizes = ["--seq_len", 16, "--vocab_size", 64, 2048, "--blocks", 1, "--trainers", "SFTTrainer", "GLOWTrainer"]
    table = bench("bench_glow_scaling.py", *sizes, *SIZE, "--no_memory", folder=tmp_path)
    assert table.count("SFTTrainer") == table.count("GLOWTrainer") + 1 == 3 and "2,048" in table


def test_profile(tmp_path):
    """The steps of GLOW make the host wait no more often than those of `SFTTrainer`."""
    size = [*SIZE, "--vocab_size", 64, "--seq_len", 16]
    table = bench("bench_glow_step.py", *size, "--profile", tmp_path / "traces", folder=tmp_path)
    rows = [line.split("│") for line in table.splitlines() if line.startswith("│")]
    waits = {row[1].strip(): float(row[2]) for row in rows}
    assert 0 < waits["GLOWTrainer"] <= waits["SFTTrainer"]
    assert {path.stem for path in (tmp_path / "traces").iterdir()} == waits.keys()


def test_parallel(tmp_path):
    """This one also fails where processes differ from one."""
    table = bench("bench_parallel.py", "--kinds", "fsdp2", folder=tmp_path)
    assert "FSDPQwen2ForCausalLM" in table and "2 processes against one" in table


def test_ledger(tmp_path):
    table = bench("bench_ledger.py", "--samples", 100, 1000, "--repeats", 1, folder=tmp_path)
    assert "1,000" in table and "sync, ms" in table


def test_scale(tmp_path):
    sizes = ["--rows", 40, 400, "--length", 100, "--stages", "label", "--json", tmp_path / "figures.json"]
    table = bench("bench_scale.py", *sizes, folder=tmp_path)
    assert "label" in table and "400" in table
    small, large = json.loads((tmp_path / "figures.json").read_text())["label"]["sizes"]
    assert small["cpu"] > 0 and small["private"] > 1e6
    # 360 rows of at least 200 bytes
    assert large["files"] - small["files"] > 72_000


def test_rewards(tmp_path):
    options = ["--steps", 1, "--per_device_train_batch_size", 8, "--max_completion_length", 8]
    table = bench("bench_rewards.py", *options, folder=tmp_path)
    assert "share of the step" in table and "accuracy_reward" in table


def test_audit(tmp_path, shared_data):
    table = bench("bench_audit.py", "--rows", 50, "--workers", 1, "--distinct", "--data", shared_data, folder=tmp_path)
    assert "│ 50 " in table and "%" in table


def test_restated(tmp_path, shared_data):
    """This one also counts: no problem is won in strict mode."""
    table = bench("bench_restated.py", "--problems", 40, "--data", shared_data, folder=tmp_path)
    assert "math-verify" in table and "│ strict      │ 0 of 40" in table


def test_start_up(tmp_path):
    options = ["--stage", "grpo", "--rows", 64, "--only", "ours"]
    table = bench("bench_start_up.py", *options, folder=tmp_path)
    assert "grpo, 64 rows" in table and "ours" in table


def test_ready(tmp_path):
    size = ["--checkpoints", 2, "--questions", 5, "--samples", 4, "--stages", "collect"]
    table = bench("bench_ready.py", *size, folder=tmp_path)
    assert "collect" in table and "seconds" in table


def test_starts(tmp_path):
    """From the recipe to the table, with a recipe that is made small."""
    folder = tmp_path / "quickstart"
    shutil.copytree(FOLDER.parent / "recipes" / "quickstart", folder)
    content = yaml.safe_load((folder / "recipe.yaml").read_text())
    content["quickstart"] |= {"train_questions": 16, "rl_questions": 32, "test_questions": 4}
    content["built_model"] |= {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    small = ["--sft.max_steps", 4, "--sft.per_device_train_batch_size", 16, "--grpo.max_steps", 1]
    small += ["--grpo.per_device_train_batch_size", 8, "--grpo.max_completion_length", 4, "--eval.num_samples", 1]
    small += ["--ready.num_questions", 4, "--ready.num_samples", 2, "--eval.max_new_tokens", 4]
    options = ["--recipe", folder, "--output_dir", tmp_path / "out", "--arms", "all", "--seeds", 1, *small]
    table = bench("bench_starts.py", *options, folder=tmp_path)
    assert table == (tmp_path / "out" / "tables.md").read_text() and table.startswith("2 starts of 1 runs")
    found = json.loads((tmp_path / "out" / "starts.json").read_text())
    assert [start["arm"] for start in found["starts"]] == ["all", "all"]
    assert found["starts"][0]["measures"].keys() == found["better"].keys() >= {"pass@1", "entropy", "loss_positive"}
    assert all(0 <= start["outcome"]["out_of_domain"] <= 1 for start in found["starts"])
