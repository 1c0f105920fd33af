"""Questions that training has seen can be left out of a benchmark."""

import pytest

from glow_trl.data import write_jsonl
from glow_trl.errors import UserError
from glow_trl.evaluation.config import BenchmarkConfig, EvalConfig
from glow_trl.evaluation.questions import checked_questions


def test_questions_of_a_file_are_left_out_before_the_limit(tmp_path):
    questions = [{"problem": f"{i}+1=?", "answer": str(i + 1)} for i in range(6)]
    write_jsonl(tmp_path / "test.jsonl", questions)
    write_jsonl(tmp_path / "seen.jsonl", [row | {"completion": "x"} for row in questions[:3]])
    settings = {"path": str(tmp_path / "test.jsonl"), "exclude": str(tmp_path / "seen.jsonl")}
    benchmark = BenchmarkConfig(name="unseen", **settings)
    rows, dropped = checked_questions(benchmark, EvalConfig())
    assert [row["problem"] for row in rows] == ["3+1=?", "4+1=?", "5+1=?"] and dropped == 0
    rows, _ = checked_questions(benchmark, EvalConfig(limit=2))
    assert [row["problem"] for row in rows] == ["3+1=?", "4+1=?"]
    write_jsonl(tmp_path / "seen.jsonl", questions)
    with pytest.raises(UserError, match="every question stands in"):
        checked_questions(benchmark, EvalConfig())
