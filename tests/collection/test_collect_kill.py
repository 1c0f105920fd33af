"""Collections that are killed again and again end with the bytes of one that was left alone: real engines."""

import json
import random
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from faulty_proxy import FaultyProxy

from glow_trl.data import write_jsonl


pytestmark = pytest.mark.slow

QUESTIONS, SAMPLES = 64, 8
SAMPLING = [
    "--num_samples",
    str(SAMPLES),
    "--temperature",
    "1",
    "--top_p",
    "1",
    "--max_new_tokens",
    "64",
    "--seed",
    "3",
]


@pytest.fixture(scope="module")
def questions(tmp_path_factory) -> Path:
    rng = random.Random(0)
    rows = []
    for _ in range(QUESTIONS):
        a, b, c = (rng.randrange(100) for _ in range(3))
        rows.append({"problem": f"{a}+{b}*{c}=", "answer": str(a + b * c), "source": "made-up"})
    path = tmp_path_factory.mktemp("questions") / "questions.jsonl"
    write_jsonl(path, rows)
    return path


def command(questions: Path, output_dir: Path, options: list[str]) -> list[str]:
    collect = [sys.executable, "-m", "glow_trl", "collect", "--dataset_name", str(questions)]
    return [*collect, "--output_dir", str(output_dir), "--questions_per_shard", "10", *SAMPLING, *options]


def content(output_dir: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(output_dir.glob("trajectories-*.jsonl"))}


def whole_lines(output_dir: Path) -> list[bytes]:
    return [line for file in content(output_dir).values() for line in file.splitlines(True) if line.endswith(b"\n")]


def run_to_the_end(arguments: list[str]) -> None:
    result = subprocess.run(arguments, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr[-3000:]


def kill_in_the_middle(arguments: list[str], output_dir: Path, lines: int) -> None:
    """Start the command and kill it (SIGKILL) when so many samples are there."""
    with (output_dir.parent / "killed.log").open("w") as log:
        process = subprocess.Popen(arguments, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + 240
            while len(whole_lines(output_dir)) < lines:
                assert process.poll() is None, (output_dir.parent / "killed.log").read_text()[-3000:]
                assert time.monotonic() < deadline
                time.sleep(0.005)
        finally:
            process.kill()
    assert process.wait() == -9


def kill_three_times(arguments: list[str], output_dir: Path) -> list[int]:
    """How many samples there are after each kill, at random moments."""
    rng = random.Random(time.time_ns())
    found = []
    for _ in range(3):
        kill_in_the_middle(arguments, output_dir, (found[-1] if found else 0) + rng.randrange(1, 130))
        found.append(len(whole_lines(output_dir)))
    assert 0 < found[0] < found[1] < found[2] < QUESTIONS * SAMPLES
    return found


def check_rows(output_dir: Path) -> None:
    rows = [json.loads(line) for file in content(output_dir).values() for line in file.splitlines()]
    pairs = [(row["index"], row["sample"]) for row in rows]
    assert pairs == [(index, sample) for index in range(QUESTIONS) for sample in range(SAMPLES)]
    assert len({row["sample_id"] for row in rows}) == len(rows)
    assert len({row["completion"] for row in rows}) > len(rows) / 2


def answered_by(server: str) -> int:
    """How many requests the server has answered, by its own count."""
    with urllib.request.urlopen(server.removesuffix("/v1") + "/metrics") as metrics:
        lines = [
            line for line in metrics.read().decode().splitlines() if line.startswith("vllm:request_success_total")
        ]
    return round(sum(float(line.rpartition(" ")[2]) for line in lines))


def test_a_killed_collection_from_vllm_ends_like_one_left_alone(questions, vllm_model, tmp_path):
    options = ["--engine", "vllm", "--model_name_or_path", vllm_model, "--max_model_len", "256", "--dtype", "float32"]
    run_to_the_end(command(questions, tmp_path / "straight", options))
    arguments = command(questions, tmp_path / "killed", options)
    kept = kill_three_times(arguments, tmp_path / "killed")
    run_to_the_end(arguments)
    assert content(tmp_path / "killed") == content(tmp_path / "straight")
    check_rows(tmp_path / "killed")
    record = json.loads((tmp_path / "killed" / "run.json").read_text())
    assert record["samples"] == QUESTIONS * SAMPLES and record["new_samples"] == record["samples"] - kept[-1]


def test_a_killed_collection_from_a_server_ends_like_one_left_alone(questions, openai_server, tmp_path):
    """And asks it for what is missing, no more."""
    place = json.dumps({"base_url": openai_server, "concurrency": 16})
    options = ["--engine", "server", "--model_name_or_path", "teacher", "--engine_options", place]
    run_to_the_end(command(questions, tmp_path / "straight", options))
    arguments = command(questions, tmp_path / "killed", options)
    kept = kill_three_times(arguments, tmp_path / "killed")
    time.sleep(3)  # what the killed process had asked for last
    before = answered_by(openai_server)
    run_to_the_end(arguments)
    assert answered_by(openai_server) - before == QUESTIONS * SAMPLES - kept[-1]
    assert content(tmp_path / "killed") == content(tmp_path / "straight")
    check_rows(tmp_path / "killed")

    # The same with a server that dies and comes back at its address
    straight = content(tmp_path / "straight")
    with FaultyProxy(openai_server, lambda number, _: "die" if number == 150 else None) as proxy:
        place = json.dumps({"base_url": proxy.url, "concurrency": 16, "max_retries": 1})
        options[-1] = place
        arguments = command(questions, tmp_path / "left", options)
        result = subprocess.run(arguments, capture_output=True, text=True, timeout=300)
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert "no connection" in result.stderr and "the same command continues" in result.stderr
    assert 100 < len(whole_lines(tmp_path / "left")) <= 150
    with FaultyProxy(openai_server, lambda *_: None, proxy.port):
        run_to_the_end(arguments)
    assert content(tmp_path / "left") == straight
