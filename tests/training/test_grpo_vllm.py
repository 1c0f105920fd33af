"""
GRPO with a real vLLM engine, in the process and as a server: what the engine samples from stays what is trained. What
stands in for TRL's transfer of weights on CPU is in grpo_vllm_worker.py. Needs vLLM.
"""

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from glow_trl.data import read_jsonl
from glow_trl.recipes.recipe import write_settings
from helpers.launching import CPU, ROOT, environment, free_port
from helpers.letters import write_sums
from helpers.processes import LIMIT, answers, run_to_the_end, wait_until


pytestmark = [pytest.mark.slow, pytest.mark.skipif(find_spec("vllm") is None, reason="vllm is not installed")]

# Largest difference of log-probabilities in float32; with the weights of one step before it is 0.1 and more
ROUNDING = 1e-4
ENGINE = ["--enforce-eager", "--dtype", "float32", "--max-model-len", "128"]
ENVIRONMENT = environment(VLLM_CPU_KVCACHE_SPACE="1")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> Path:
    """A folder with a model, whose heads are as wide as vLLM needs them, and questions."""
    from glow_trl.recipes.built_model import BuiltModelConfig, build_model

    folder = tmp_path_factory.mktemp("vllm")
    config = BuiltModelConfig(hidden_size=64, intermediate_size=64, num_attention_heads=2, num_key_value_heads=2)
    build_model(config, ["0123456789+-*=;: abcdefghijklmnopqrstuvwxyz\\{}?.,\n"], folder / "model")
    write_sums(folder / "questions.jsonl")
    return folder


def train(inputs: Path, output_dir: Path, *argv, steps: int = 10, stale: bool = False) -> list[dict]:
    """Run the stage; the log entries of its steps."""
    options = ["--model_name_or_path", inputs / "model", "--dataset_name", inputs / "questions.jsonl"]
    options += ["--output_dir", output_dir, "--per_device_train_batch_size", 8, "--num_generations", 4]
    options += ["--max_completion_length", 8, "--max_steps", steps, "--logging_steps", 1, "--learning_rate", 1e-3]
    options += [*CPU, "--report_to", "none", "--use_vllm", "true", "--guard_max_clipped_ratio", 2]
    options += ["--reward_funcs", "helpers.letters.letters_reward", *argv]
    command = [sys.executable, "-m", "helpers.grpo_vllm_worker", *(["--stale"] if stale else []), *map(str, options)]
    run_to_the_end(command, env=ENVIRONMENT)
    log = [row for _, row in read_jsonl(output_dir / "log.jsonl") if "reward" in row]
    assert len(log) == steps and all(row["grad_norm"] > 0.01 for row in log), "nothing was learned"
    return log


def differences(log: list[dict]) -> list[float]:
    return [float(row["sampling/sampling_logp_difference/max"]) for row in log]


DYNAMIC = ["--dynamic_sampling", "true", "--reward_funcs", "helpers.letters.lucky_letters_reward"]
COLOCATED = ["--vllm_mode", "colocate", "--vllm_max_model_length", 128]


def test_colocated(inputs, tmp_path):
    """
    Ten steps, each of which changes the weights. With dynamic sampling, so that completions of several rounds are
    trained on, with the log-probabilities that the engine had for them.
    """
    log = train(inputs, tmp_path / "out", *COLOCATED, *DYNAMIC)
    assert max(differences(log)) < ROUNDING
    assert max(row["dynamic_sampling/rounds"] for row in log) > 1
    assert all(row["dynamic_sampling/trained_groups"] == 2 for row in log)


def test_stale_weights_are_seen(inputs, tmp_path):
    """What the other tests measure does grow when weights do not reach the engine."""
    found = differences(train(inputs, tmp_path / "out", *COLOCATED, steps=4, stale=True))
    assert found[0] < ROUNDING and min(found[1:]) > 100 * ROUNDING


def listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_server_started_with_the_run(inputs, tmp_path):
    """Ten steps, with dynamic sampling as well, after which the server is gone."""
    port = free_port()
    settings = {
        "vllm_mode": "server",
        "vllm_server_port": port,
        "vllm_max_model_length": 128,
        "start_vllm_server": True,
        "vllm_server_args": ["--enforce-eager"],
    }
    write_settings(tmp_path / "grpo.yaml", settings)
    log = train(inputs, tmp_path / "out", "--config", tmp_path / "grpo.yaml", *DYNAMIC)
    assert max(differences(log)) < ROUNDING
    assert max(row["dynamic_sampling/rounds"] for row in log) > 1
    assert (tmp_path / "out" / "vllm_server.log").stat().st_size
    assert not listening(port)


def test_server_started_by_hand(inputs, tmp_path):
    """As recipes/README.md says; without a GPU by the module behind `vllm serve`, and without the transfer by NCCL."""
    text = (ROOT / "recipes" / "README.md").read_text()
    (line,) = re.findall(r"VLLM_SERVER_DEV_MODE=1 vllm serve (?:[^\n]*\\\n)*[^\n]*", text)
    variable, _, _, _, *arguments = shlex.split(line.replace("\\\n", " "))
    where = arguments.index("--weight-transfer-config")
    del arguments[where : where + 2]
    port = free_port()
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(inputs / "model")]
    variables = ENVIRONMENT | dict([variable.split("=")])
    with (tmp_path / "server.log").open("w") as log:
        server = subprocess.Popen(
            [*command, "--port", str(port), *arguments, *ENGINE],
            stdout=log,
            stderr=subprocess.STDOUT,
            env=variables,
            start_new_session=True,
        )
    try:
        wait_until(lambda: answers(f"http://127.0.0.1:{port}/health"), server, tmp_path / "server.log")
        log = train(inputs, tmp_path / "out", "--vllm_mode", "server", "--vllm_server_port", port, steps=4)
        assert max(differences(log)) < ROUNDING
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=LIMIT)
