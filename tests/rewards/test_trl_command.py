"""`trl grpo --reward_funcs glow_trl.rewards.accuracy_reward`, TRL's own command line, for real."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_trl_grpo_takes_our_rewards_by_dotted_path(tmp_path, tiny_model):
    data = tmp_path / "data"
    data.mkdir()
    rows = [
        {"prompt": [{"role": "user", "content": f"{n}+1="}], "answer": str(n + 1), "kind": "math" if n % 2 else None}
        for n in range(8)
    ]
    (data / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    output = tmp_path / "run"
    command = [
        *(str(Path(sys.executable).with_name("trl")), "grpo"),
        *("--model_name_or_path", tiny_model, "--dataset_name", str(data), "--output_dir", str(output)),
        *("--reward_funcs", "glow_trl.rewards.accuracy_reward", "glow_trl.rewards.answer_format_reward"),
        *("--use_cpu", "True", "--bf16", "False", "--max_steps", "2", "--num_generations", "4", "--report_to", "none"),
        *("--per_device_train_batch_size", "4", "--max_completion_length", "8", "--logging_steps", "1"),
        *(
            "--save_strategy",
            "steps",
            "--save_steps",
            "2",
            "--gradient_checkpointing",
            "False",
            "--log_completions",
            "True",
        ),
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-3000:]
    state = json.loads((output / "checkpoint-2" / "trainer_state.json").read_text())
    logged = set().union(*state["log_history"])
    assert {"rewards/accuracy_reward/mean", "rewards/answer_format_reward/mean"} <= logged
    assert {"accuracy/timeout", "accuracy/no_answer", "answer_format/boxed"} <= logged
