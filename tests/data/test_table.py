"""Rows as a memory-mapped table: the rows of `load_rows`, read once, in no one's private memory."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from datasets import Features, Value

from glow_trl.data import load_rows, table, write_jsonl
from glow_trl.data.columnar import read_blocks
from glow_trl.data.table import Rows, load_table
from glow_trl.errors import UserError
from helpers.processes import wait_until


ROWS = [{"problem": f"{i}?", "completion": "x" * i, "is_correct": [True, False, None][i % 3]} for i in range(1, 8)]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    return tmp_path / "cache"


@pytest.fixture
def file(tmp_path):
    write_jsonl(tmp_path / "rows.jsonl", ROWS)
    return tmp_path / "rows.jsonl"


@pytest.mark.parametrize("options", [{}, {"limit": 3}, {"required": ["problem"]}, {"columns": {"text": "completion"}}])
def test_rows_are_those_of_load_rows(file, options):
    """Values of any type, gaps, numbers as answers and unicode come back as they are."""
    odd = {"problem": "\ud800 ü", "answer": 3, "choices": ["a", "b", "c", "d"], "extra": {"a": [1, 2.5, None, "x"]}}
    write_jsonl(
        file, [*ROWS, odd | {"completion": "c"}, {"problem": "p", "completion": "c", "tolerance": float("nan")}]
    )
    table = load_table(str(file), **options)
    rows = load_rows(str(file), **options)
    assert [*table] == rows and len(table) == len(rows)
    assert [table[index] for index in range(len(rows))] == rows and [*table[1:3]] == rows[1:3]


def test_ids_that_two_files_share_are_told_apart(file, tmp_path):
    """With the number of the file, as `load_rows` does; from the cache, too."""
    write_jsonl(tmp_path / "more.jsonl", [row | {"sample_id": f"rows:{i}"} for i, row in enumerate(ROWS, start=3)])
    names = [str(file), str(tmp_path / "more.jsonl")]
    expected = load_rows(names)
    assert expected[0]["sample_id"] == "1/rows:1"
    assert [*load_table(names)] == expected == [*load_table(names)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '{"problem": "a", "sample_id": 1}\n{"problem": "b"}\n{"problem": "c", "sample_id": 1}\n',
            "line 3: sample_id '1'",
        ),
        ('{"problem": "a"}\n{"problem": \n', "line 2: not valid JSON"),
        ('{"problem": "a"}\n{"problem": null}\n', "line 2: column 'problem' is null"),
        ("", "the data set is empty"),
    ],
)
def test_bad_rows_are_refused_as_before(file, text, message):
    """Each time: nothing of a table that was refused stays in the cache."""
    file.write_text(text)
    for _ in range(2):
        with pytest.raises(UserError, match=message):
            load_table(str(file), required=["problem"])
        with pytest.raises(UserError, match=message):
            load_rows(str(file), required=["problem"])


def test_a_file_that_changed_is_read_again(file):
    assert len(load_table(str(file))) == len(ROWS)
    write_jsonl(file, ROWS[:2])
    assert [row["problem"] for row in load_table(str(file))] == ["1?", "2?"]


def test_rows_are_read_once(file, monkeypatch):
    """By all processes: a second call, and a second map, compute nothing."""
    calls = []
    monkeypatch.setattr("glow_trl.data.table.read_blocks", lambda path: calls.append("read") or read_blocks(path))
    made = [load_table(str(file)).map(doubled, Features({"n": Value("int64")}), times=2)["n"][:] for _ in range(2)]
    assert made == [[2 * len(row["completion"]) for row in ROWS]] * 2 and calls == ["read"]


def doubled(rows: Rows, times: int) -> dict:
    return {"n": [times * len(row["completion"]) for row in rows]}


def test_labels_questions_and_types(file):
    write_jsonl(file, [*ROWS, ROWS[0] | {"answer": ["1", "2"]}, {"problem": "new", "answer": "3", "tolerance": 1}])
    table = load_table(str(file))
    assert table.labels.tolist() == [{True: 1, False: 0, None: -1}[row.get("is_correct")] for row in table]
    distinct = [*table.distinct_questions()]
    assert [row["problem"] for row in distinct] == [*dict.fromkeys(row["problem"] for row in table)]
    assert distinct[0]["answer"] == ["1", "2"]
    features = table.features(["answer", "tolerance", "is_correct", "nowhere"])
    # An answer that is a text here and a list there is JSON
    assert features == {"answer": Value("string"), "tolerance": Value("int64"), "is_correct": Value("bool")}
    answers = table.map(as_they_are, features)["answer"][:]
    assert [answer for answer in answers if answer] == [json.dumps(["1", "2"]), "3"]


def as_they_are(rows: Rows) -> dict:
    return {}


def test_killed_while_it_reads(file, cache):
    """The next process finds no half table, and waits for no dead one's lock."""
    code = (
        "import datasets, os, pathlib, signal, sys, glow_trl.data.table as table\n"
        "datasets.config.HF_DATASETS_CACHE = pathlib.Path(sys.argv[2])\n"
        "read = table.read_blocks\n"
        "def cut(path):\n"
        "    yield from read(path)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "table.read_blocks = cut\n"
        "table.load_table(sys.argv[1])\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    killed = subprocess.run([sys.executable, "-c", code, str(file), str(cache)], env=environment, timeout=120)
    assert killed.returncode == -signal.SIGKILL
    assert [*load_table(str(file))] == load_rows(str(file))


def test_two_that_read_the_same_file_at_once_do_not_take_turns_at_one_name(file, cache, tmp_path, monkeypatch):
    """Machines of a run, or runs of a study, share the cache: one of them ended as the other had renamed its file."""
    code = (
        "import datasets, pathlib, sys, glow_trl.data.table as table\n"
        "datasets.config.HF_DATASETS_CACHE = pathlib.Path(sys.argv[2])\n"
        "checked = table._checked\n"
        "def seen(*args):\n"
        "    pathlib.Path(sys.argv[3]).touch()\n"
        "    return checked(*args)\n"
        "def is_the_others(*args):\n"
        "    sys.exit('both are at it')\n"
        "table._checked, table.share_ids = seen, is_the_others\n"
        "print(len(table.load_table(sys.argv[1])))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", code, str(file), str(cache), str(tmp_path / "seen")]
    share, other = table.share_ids, []

    def while_another_comes(*args):
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": environment}
        other.append(subprocess.Popen(command, **options))
        wait_until((tmp_path / "seen").exists)
        with contextlib.suppress(subprocess.TimeoutExpired):
            other[0].wait(1)
        return share(*args)

    monkeypatch.setattr(table, "share_ids", while_another_comes)
    assert len(load_table(str(file))) == len(ROWS)
    said, errors = other[0].communicate(timeout=120)
    assert (other[0].returncode, said.strip()) == (0, str(len(ROWS))), errors
