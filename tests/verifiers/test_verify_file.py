"""`glow-trl verify`: order, streaming, malformed lines, what is left behind when it stops."""

import json

import pytest

from glow_trl.errors import UserError
from glow_trl.verifiers.verify_file import main


GOOD = [
    {"prediction": "The answer is 5", "gold": "5"},
    {"completion": r"\boxed{7}", "answer": 8, "extra": "kept"},
    {"prediction": "B", "gold": "B", "kind": "choice"},
    {"prediction": "Paris", "gold": "B", "kind": "choice", "choices": ["London", "Paris"]},
    {"prediction": "3.1", "gold": 3, "kind": "number", "tolerance": 0.1},
    {"prediction": "é ½", "gold": None},
]


def write(path, lines):
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_rows_keep_their_order_and_columns(tmp_path, capsys):
    source, target = write(tmp_path / "in.jsonl", GOOD * 100), tmp_path / "new" / "out.jsonl"
    assert main([str(source), "--output", str(target)]) == 0
    rows = read(target)
    assert [{key: row[key] for key in given} for row, given in zip(rows, GOOD * 100, strict=True)] == GOOD * 100
    assert [row["correct"] for row in rows[:6]] == [True, False, True, True, True, None]
    assert rows[1]["extracted"] == "7" and rows[5]["reason"] == "bad_gold"
    assert "600 rows judged" in capsys.readouterr().out
    assert [path.name for path in target.parent.iterdir()] == ["out.jsonl"]


@pytest.mark.parametrize(
    "line, problem",
    [
        ("{bad", "line 2: not valid JSON"),
        ("[1]", "line 2: expected an object"),
        ('{"gold": "5"}', "line 2: expected a text under `prediction`"),
        ('{"prediction": "5"}', "line 2: expected a `gold`"),
        (
            '{"prediction": "5", "gold": "5", "kind": "txt"}',
            "line 2: column 'kind' names no verifier: unknown kind of verifier 'txt'; did you mean text",
        ),
        ('{"prediction": "5", "gold": "5", "choices": "A"}', "line 2: column 'choices' must be a list"),
        ('{"prediction": "5", "gold": "5", "tolerance": "x"}', "line 2: column 'tolerance' must be a number"),
    ],
)
def test_malformed_line(tmp_path, capsys, line, problem):
    source, target = write(tmp_path / "in.jsonl", [GOOD[0], line, GOOD[1]]), tmp_path / "out.jsonl"
    with pytest.raises(UserError, match=problem.replace("`", ".").replace("'", ".")):
        main([str(source), "--output", str(target)])
    assert not target.exists()
    assert [row["correct"] for row in read(tmp_path / "out.jsonl.partial")] == [True]
    assert main([str(source), "--output", str(target), "--keep-going"]) == 2
    assert [row["correct"] for row in read(target)] == [True, False]
    assert problem in capsys.readouterr().err


def test_bad_paths_and_options(tmp_path):
    source = write(tmp_path / "in.jsonl", GOOD)
    (tmp_path / "file").write_text("")
    for arguments, problem in [
        ([tmp_path / "none.jsonl", "--output", tmp_path / "out.jsonl"], "cannot be read"),
        ([source, "--output", tmp_path / "file" / "out.jsonl"], "cannot be written"),
        ([source, "--output", tmp_path], "cannot be written"),
        ([source, "--output", source], "overwrite the input"),
        ([source, "--output", tmp_path / "out.jsonl", "--kind", "mth"], "did you mean math"),
        ([source, "--output", tmp_path / "out.jsonl", "--timeout", "0"], "timeout"),
        ([source, "--output", tmp_path / "out.jsonl", "--workers", "0"], "workers"),
    ]:
        with pytest.raises(UserError, match=problem):
            main([str(argument) for argument in arguments])
    assert not (tmp_path / "out.jsonl").exists() and not (tmp_path / "out.jsonl.partial").exists()


def test_empty_file(tmp_path, capsys):
    """Nothing to judge is nothing that was judged right."""
    source = write(tmp_path / "in.jsonl", [])
    with pytest.raises(UserError, match="in.jsonl"):
        main([str(source), "--output", str(tmp_path / "out.jsonl")])
    assert not (tmp_path / "out.jsonl").exists()
