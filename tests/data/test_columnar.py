"""Rows read in columns: what Python's `json` makes of each line, or nothing, so that they are read line by line."""

import json
import random

import numpy as np
import pyarrow
import pytest
from datasets import Features

from glow_trl.data import build_prompt, load_rows
from glow_trl.data.columnar import parse_lines, split_lines
from glow_trl.data.table import MESSAGES, Rows, load_table
from glow_trl.errors import UserError
from glow_trl.verifiers import check_gold
from glow_trl.verifiers.gold import surely_accepted


PLAIN = [
    {"problem": "1+1?", "completion": '2 ü 😀 \\ " \n', "answer": "2", "is_correct": True, "n_tokens": 3},
    {"problem": "1+1?", "completion": "", "answer": "-0.5", "is_correct": None, "pass_rate": 0.5, "sample_id": "b"},
    {"problem": "which?", "answer": "B", "choices": ["x", "y"], "kind": "mcq", "date": "2026-01-02"},
]
# What a block of lines may have in it, besides plain rows
ODD = {
    "mixed types": b'{"problem": "p", "extra": 1}\n{"problem": "q", "extra": "x"}\n',
    "int and float": b'{"problem": "p", "extra": 1}\n{"problem": "q", "extra": 2.5}\n',
    "nested": b'{"problem": "p", "extra": {"a": [1, {"b": null}]}}\n',
    "nested deeply": b'{"problem": "p", "extra": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n",
    "null": b'{"problem": "p", "answer": null}\n{"problem": null}\n',
    "null in a list": b'{"problem": "p", "choices": ["a", null]}\n',
    "numbers in a list": b'{"problem": "p", "choices": [1, 2], "answer": 1}\n',
    "empty list": b'{"problem": "p", "choices": []}\n',
    "huge": b'{"problem": "p", "extra": 123456789012345678901234567890}\n{"problem": "p", "extra": -9223372036854775808}\n',  # noqa: E501
    "longer than Python reads": b'{"problem": "p", "extra": ' + b"1" * 5000 + b"}\n",
    "NaN": b'{"problem": "p", "extra": NaN, "answer": Infinity}\n',
    "infinite": b'{"problem": "p", "n_tokens": 1e400}\n',
    "number as answer": b'{"problem": "p", "answer": 0.10}\n{"problem": "p", "answer": true}\n',
    "number as gold": b'{"problem": "p", "gold": NaN}\n',
    "number as problem": b'{"problem": 1}\n',
    "number as label": b'{"problem": "p", "is_correct": 1}\n',
    "text as number": b'{"problem": "p", "n_tokens": "many"}\n',
    "number as id": b'{"problem": "p", "sample_id": 7}\n{"problem": "p", "sample_id": 7.0}\n',
    "empty id": b'{"problem": "p", "sample_id": ""}\n',
    "key twice": b'{"problem": "p", "problem": "q"}\n',
    "key empty": b'{"problem": "p", "": 1, "\\u0000": "\\u0000"}\n',
    "byte order mark": b'\xef\xbb\xbf{"problem": "p"}\n',
    "blank lines": b'{"problem": "p"}\n\n  \n{"problem": "q"}\n',
    "no text in UTF-8": b'{"problem": "\xff"}\n',
    "no key in UTF-8": b'{"problem": "p", "\xff": 1}\n',
    "surrogate in UTF-8": b'{"problem": "\xed\xa0\x80"}\n',
    "lone surrogate": b'{"problem": "\\ud800", "answer": "\\udc00"}\n',
    "pair of surrogates": b'{"problem": "\\ud83d\\ude00"}\n',
    "CRLF": b'{"problem": "p"}\r\n{"problem": "q"}\r\n',
    "no end of line": b'{"problem": "p"}\n{"problem": "q"}',
    "two in a line": b'{"problem": "p"} {"problem": "q"}\n',
    "one in two lines": b'{"problem":\n"p"}\n',
    "one in two lines, two in the other": b'{"problem": {"a": 1}\n, "b": 1}{"problem": "q"}\n',
    "line break in a text": b'{"problem": "p}\n{q"}\n{"problem": "r"}\n',
    "no object": b'["problem"]\n',
    "broken": b'{"problem": "p"}\n{"problem": \n',
    "empty": b"",
    "no rows": b"\n\n",
    "dates": b'{"problem": "2026-01-02", "answer": "2026-01-02T03:04:05Z", "choices": ["2026-01-02", "b"]}\n',
}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


def lines(rows: list[dict]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def read(load, *arguments, **options):
    """The rows as JSON, which tells 1, 1.0 and true apart, or what is said of them."""
    try:
        return [json.dumps(row) for row in load(*arguments, **options)]
    except UserError as error:
        return str(error)


@pytest.mark.parametrize("required", [[], ["problem"], ["problem", "answer"]])
@pytest.mark.parametrize("odd", ODD)
def test_odd_rows_are_those_of_load_rows(tmp_path, monkeypatch, odd, required):
    """
    Value by value, or with the same message; also as one of many blocks, where ids and numbers of lines go on.
    """
    monkeypatch.setattr("glow_trl.data.columnar._BLOCK", 200)
    file = tmp_path / "rows.jsonl"
    for content in (ODD[odd], lines(PLAIN[:2]) + ODD[odd] + lines(PLAIN[:1] + PLAIN[2:])):
        file.write_bytes(content)
        assert read(load_table, str(file), required=required) == read(load_rows, str(file), required=required)


def test_plain_rows_are_read_in_columns():
    """The rule, not the exception: texts, labels, numbers, lists of texts, gaps and dates."""
    table = parse_lines(lines(PLAIN))
    assert table is not None and table["problem"].to_pylist() == [row["problem"] for row in PLAIN]
    assert split_lines(lines(PLAIN)).to_pylist() == [json.dumps(row) + "\n" for row in PLAIN]


def test_mutated_lines_are_what_json_reads():
    """Whatever bytes are changed: what is read in columns is what `json` makes of each line."""
    rng = random.Random(0)
    content, taken = lines([{**row, "t": index / 2} for index, row in enumerate(PLAIN)]), 0
    pieces = [
        b"}\n{",
        b"\n",
        b"\\",
        b'"',
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b"null",
        b"1e5",
        b"NaN",
        b"-",
        b"\xff",
        b"0",
    ]
    for _ in range(4000):
        start = rng.randrange(len(content))
        mutated = content[:start] + rng.choice(pieces) + content[start + rng.randrange(3) :]
        table = parse_lines(mutated)
        if table is None:
            continue
        taken += 1
        rows = [json.loads(line.decode()) for line in mutated.removesuffix(b"\n").split(b"\n")]
        names = [name for name in table.column_names if not pyarrow.types.is_timestamp(table[name].type)]
        for name in names:
            assert table[name].to_pylist() == [row.get(name) for row in rows], mutated
        assert {name for row in rows for name in row} <= set(table.column_names)
    assert taken > 400


@pytest.mark.parametrize("system_prompt", [None, "Think."])
@pytest.mark.parametrize("template", [None, "{problem}", "Q: {problem} {a} {problem}"])
def test_prompts_in_columns_are_those_of_each_row(tmp_path, system_prompt, template):
    """Of rows with options and without, and what the rows have besides in its own type."""
    file = tmp_path / "rows.jsonl"
    for rows in (PLAIN, PLAIN[:2], [{"problem": "p", "answer": 5, "kind": None}]):
        file.write_bytes(lines(rows))
        table = load_table(str(file))
        features = Features({"prompt": MESSAGES, **table.features(["answer", "choices", "sample_id", "kind"])})
        made = table.map(asked, features, system_prompt=system_prompt, template=template)
        expected = [
            {
                "prompt": build_prompt(row["problem"], system_prompt, template, row.get("choices")),
                **{name: row.get(name) for name in features if name != "prompt"},
            }
            for row in table
        ]
        assert [*made] == expected


def asked(rows: Rows, system_prompt: str | None, template: str | None) -> dict:
    return {"prompt": rows.prompts(system_prompt, template)}


def test_gold_answers_known_at_a_glance_are_accepted():
    """None of them is one that `check_gold` turns down, and whole numbers are among them."""
    golds = ["1", "-12", "007", "1,000", "1.5", "x", "", " 1", "1\n", "9" * 15, "9" * 16, "١", "-0"]
    further = [
        {},
        {"kind": "math"},
        {"kind": "mcq"},
        {"kind": "nowhere"},
        {"kind": ""},
        {"gold": "x"},
        {"tolerance": -1},
    ]
    further += [{"choices": ["a"] * 27}]
    rows = [{"problem": "p", "answer": gold, **more} for gold in golds for more in further]
    table = parse_lines(lines([{"problem": "p"}, *rows]))
    known = np.flatnonzero(surely_accepted(table)[1:])
    assert not check_gold(rows[index] for index in known).failures
    assert {rows[index]["answer"] for index in known} == {"1", "-12", "9" * 15, "-0"}
    assert not surely_accepted(table)[0]
