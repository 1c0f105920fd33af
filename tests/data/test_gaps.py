"""
A gap in a data frame, or NaN in JSON, is missing and no answer, wherever rows are read: it is rejected with its place,
and rewards skip the sample. The text "nan" is a text.
"""

import json
import math

import numpy as np
import pandas
import pytest

from glow_trl.data import load_rows, read_jsonl
from glow_trl.data.columns import is_missing
from glow_trl.rewards import accuracy_reward
from glow_trl.verifiers import verify
from glow_trl.verifiers.gold import check_gold


GAPS = [None, float("nan"), np.float32("nan"), np.float64("nan"), pandas.NA, pandas.NaT, np.datetime64("NaT")]


@pytest.mark.parametrize("gap", GAPS, ids=repr)
def test_a_gap_is_missing(gap):
    assert is_missing(gap)


@pytest.mark.parametrize(
    "value", ["nan", "NaN", "", 0, 0.0, False, math.inf, [], [float("nan")], {}, np.array([1, 2])]
)
def test_anything_else_is_not(value):
    assert not is_missing(value)


@pytest.mark.parametrize("gap", GAPS, ids=repr)
def test_rewards_skip_a_sample_whose_gold_answer_is_missing(gap):
    assert accuracy_reward(["5", "nan", r"\boxed{nan}"], answer=["5", gap, gap]) == [1.0, None, None]


def test_rewards_take_the_columns_of_a_data_frame_with_gaps():
    frame = pandas.DataFrame(
        [
            {"completion": "3.05", "answer": "3", "kind": "number", "tolerance": 0.1},
            {"completion": "5", "answer": "5"},
            {"completion": "B", "answer": "B", "choices": ["4", "5"], "kind": "choice"},
            {"completion": "3.05", "answer": "3", "kind": "number"},
            {"completion": "5"},
        ]
    )
    columns = {name: frame[name] for name in ("answer", "kind", "choices", "tolerance")}
    assert accuracy_reward(frame["completion"], **columns) == [1.0, 1.0, 1.0, 0.0, None]
    listed = {name: frame[name].tolist() for name in columns}
    assert accuracy_reward(frame["completion"].tolist(), **listed) == [1.0, 1.0, 1.0, 0.0, None]


def test_a_missing_tolerance_is_none():
    assert verify("3", "3", kind="number", tolerance=float("nan")).correct is True
    assert verify("3.05", "3", kind="number", tolerance=float("nan")).correct is False


def test_a_gold_answer_that_is_missing_is_unusable():
    report = check_gold([{"answer": "5"}, {"answer": float("nan")}, {"answer": pandas.NA, "kind": float("nan")}])
    assert [failure.index for failure in report.failures] == [1, 2]


def test_the_text_nan_is_a_text(tmp_path):
    assert accuracy_reward(["So the answer is nan"], answer=["nan"], kind=["text"]) == [1.0]
    (tmp_path / "rows.jsonl").write_text('{"problem": "?", "answer": "nan", "kind": "text"}\n')
    assert load_rows(str(tmp_path / "rows.jsonl"), required=["answer"])[0]["answer"] == "nan"


@pytest.fixture(params=["parquet", "jsonl", "json"])
def rows_with_gaps(request, tmp_path):
    """Three trajectories, the second of which has no answer; as a data frame without one writes them."""
    frame = pandas.DataFrame(
        {
            "problem": ["1+1=?", "1+2=?", "1+3=?"],
            "completion": ["so 2", "so 3", "so 5"],
            "answer": [2.0, float("nan"), 4.0],
            "tolerance": [float("nan"), 0.1, float("nan")],
            "is_correct": [True, True, False],
        }
    )
    path = tmp_path / f"rows.{request.param}"
    if request.param == "parquet":
        frame.to_parquet(path)
    else:
        rows = frame.to_dict("records")
        text = json.dumps(rows) if request.param == "json" else "".join(json.dumps(row) + "\n" for row in rows)
        assert "NaN" in text
        path.write_text(text)
    return path


def rejects(folder):
    return [(row["line"], row["reason"]) for _, row in read_jsonl(folder / "rejects.jsonl")]


@pytest.mark.parametrize("command", ["label", "mix"])
def test_a_row_without_an_answer_is_rejected(rows_with_gaps, tmp_path, glow_trl, command):
    out = tmp_path / "out"
    code, said = glow_trl(command, "--dataset_name", rows_with_gaps, "--output_dir", out)
    assert code == 0, said
    assert rejects(out) == [(2, "column 'answer' is null")]
    kept = [row for name in ("trajectories", "train", "validation") for row in written(out / f"{name}.jsonl")]
    assert sorted((row["completion"], row["is_correct"], row["tolerance"]) for row in kept) == [
        ("so 2", True, None),
        ("so 5", False, None),
    ]


def written(path):
    return [row for _, row in read_jsonl(path)] if path.exists() else []


def test_a_benchmark_with_a_gap_is_refused(rows_with_gaps, tmp_path, glow_trl, tiny_model):
    benchmark = f"[{{name: b, path: {rows_with_gaps}}}]"
    argv = ["--model_name_or_path", tiny_model, "--benchmarks", benchmark, "--output_dir", tmp_path / "out"]
    code, said = glow_trl("eval", *argv)
    assert code == 2 and "row 2: column 'answer' is None" in said


def test_questions_for_stage_2_with_a_gap_are_refused(rows_with_gaps, tmp_path, glow_trl, tiny_model):
    argv = ["--model_name_or_path", tiny_model, "--dataset_name", rows_with_gaps, "--output_dir", tmp_path / "out"]
    code, said = glow_trl("grpo", *argv, "--use_cpu", "true", "--bf16", "false")
    assert code == 2 and "2: column 'answer' is null" in said


def test_verify_finds_no_gold_answer_in_a_gap(tmp_path, glow_trl):
    row = '{"prediction": "nan", "gold": NaN, "kind": "text", "tolerance": NaN}\n'
    (tmp_path / "in.jsonl").write_text(row + row.replace('"gold": NaN', '"gold": "nan"'))
    code, said = glow_trl("verify", tmp_path / "in.jsonl", "--output", tmp_path / "out.jsonl")
    assert code == 0, said
    assert [row["reason"] for row in written(tmp_path / "out.jsonl")] == ["bad_gold", "match"]
