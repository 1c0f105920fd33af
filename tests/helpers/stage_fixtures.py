"""Small data for the stages, and a way to run them as a user does."""

import random

import pytest

from glow_trl.cli import main
from glow_trl.data import write_jsonl


CPU = ["--use_cpu", "true", "--bf16", "false", "--gradient_checkpointing", "false", "--disable_tqdm", "true"]


@pytest.fixture(scope="session")
def trajectories(tmp_path_factory) -> str:
    """Forty labelled trajectories on sums, half of them right."""
    rng = random.Random(0)
    rows = []
    for i in range(40):
        a, b = rng.randrange(10), rng.randrange(10)
        right = i % 2 == 0
        answer = a + b + (0 if right else 1)
        rows.append(
            {
                "problem": f"{a}+{b}=?",
                "completion": f"{a}+{b}={answer}; \\boxed{{{answer}}}",
                "answer": str(a + b),
                "is_correct": right,
                "model": "made-up",
            }
        )
    path = tmp_path_factory.mktemp("data") / "trajectories.jsonl"
    write_jsonl(path, rows)
    return str(path)


@pytest.fixture
def glow_trl(capsys, caplog):
    """Run a command in this process: exit code and what it said (errors on stderr, messages in the log)."""

    def run(*argv):
        caplog.clear()
        code = main([str(part) for part in argv])
        return code, capsys.readouterr().err + caplog.text

    return run
