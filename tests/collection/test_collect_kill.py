"""Collections that are killed again and again end with the bytes of one that was left alone: real engines."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from glow_trl.data import write_jsonl
from helpers.faulty_proxy import FaultyProxy
from helpers.launching import environment
from helpers.processes import kill_when, run_to_the_end


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


def kill_three_times(arguments: list[str], output_dir: Path) -> list[int]:
    """How many samples there are after each kill, at random moments."""
    rng = random.Random(0)
    found = []
    for _ in range(3):
        least = (found[-1] if found else 0) + rng.randrange(1, 130)
        kill_when(lambda least=least: len(whole_lines(output_dir)) >= least, arguments)
        found.append(len(whole_lines(output_dir)))
    assert 0 < found[0] < found[1] < found[2] < QUESTIONS * SAMPLES
    return found


def check_rows(output_dir: Path) -> None:
    rows = [json.loads(line) for file in content(output_dir).values() for line in file.splitlines()]
    pairs = [(row["index"], row["sample"]) for row in rows]
    assert pairs == [(index, sample) for index in range(QUESTIONS) for sample in range(SAMPLES)]
    assert len({row["sample_id"] for row in rows}) == len(rows)
    assert len({row["completion"] for row in rows}) > len(rows) / 2


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
    options = ["--engine", "server", "--model_name_or_path", "teacher", "--engine_options"]

    def arguments(output_dir: str, url: str, **more) -> list[str]:
        place = json.dumps({"base_url": url, "concurrency": 16, **more})
        return command(questions, tmp_path / output_dir, [*options, place])

    run_to_the_end(arguments("straight", openai_server))
    with FaultyProxy(openai_server, lambda *_: None) as proxy:
        kept = kill_three_times(arguments("killed", proxy.url), tmp_path / "killed")
    # A new one, as the last may still hear what a killed process asked for
    with FaultyProxy(openai_server, lambda *_: None, proxy.port) as counting:
        run_to_the_end(arguments("killed", proxy.url))
    assert len(counting.times) == QUESTIONS * SAMPLES - kept[-1]
    assert content(tmp_path / "killed") == content(tmp_path / "straight")
    check_rows(tmp_path / "killed")

    # The same with a server that dies and comes back at its address
    straight = content(tmp_path / "straight")
    with FaultyProxy(openai_server, lambda number, _: "die" if number == 150 else None) as proxy:
        left = arguments("left", proxy.url, max_retries=1)
        result = subprocess.run(left, capture_output=True, text=True, env=environment())
    assert result.returncode == 1 and "Traceback" not in result.stderr
    # Refused, or cut off where it was taken in before the server was gone
    assert "is gone or overloaded" in result.stderr and "the same command continues" in result.stderr
    assert 100 < len(whole_lines(tmp_path / "left")) <= 150
    with FaultyProxy(openai_server, lambda *_: None, proxy.port):
        run_to_the_end(left)
    assert content(tmp_path / "left") == straight
