"""Streaming rows: the same rows from every kind of file, flat memory, and every bad row named, counted and kept."""

import json
import subprocess
import sys

import pyarrow
import pyarrow.parquet
import pytest

from glow_trl.data import NoUsableRows, Reject, RejectsFile, iter_placed_rows, load_rows, write_jsonl
from glow_trl.errors import UserError


REQUIRED = ("problem", "completion", "answer")


def iter_rows(*args, **options):
    return (row for _, row in iter_placed_rows(*args, **options))


def trajectory(number):
    return {"problem": f"{number}+1=?", "completion": f'so "{{{number + 1}}}" [é]\n', "answer": str(number + 1)}


def test_jsonl_json_parquet_and_a_streamed_data_set_give_the_same_rows(tmp_path, monkeypatch):
    rows = [trajectory(number) for number in range(3000)]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    (tmp_path / "rows.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "rows.parquet", row_group_size=700)
    names = [str(tmp_path / f"rows.{suffix}") for suffix in ("jsonl", "json", "parquet")]
    streams = [list(iter_rows(name, required=REQUIRED)) for name in names]
    assert streams[0] == streams[1] == streams[2] == load_rows(names[0])

    import datasets

    real = datasets.load_dataset

    def hub(name, config_name, split, streaming):
        assert (name, split, streaming) == ("someone/rows", "train", True)
        return real("json", data_files=names[0], split=split, streaming=True)

    monkeypatch.setattr(datasets, "load_dataset", hub)
    placed = list(iter_placed_rows("someone/rows", required=REQUIRED))
    assert str(placed[6][0]) == "someone/rows (split train), row 7"
    without_id = [{key: row[key] for key in REQUIRED} for _, row in placed]
    assert without_id == rows


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[{"problem": "a"}, 3]', "row 2: expected an object, found int"),
        ('[{"problem": "a"},\n {"problem": }]', "line 2: not valid JSON (Expecting value at column 14)"),
        ('{"problem": "a"}\n{"problem": "b"}\n', "line 2: not valid JSON (Extra data at column 1); a file with one"),
        (
            '{"problem": "a"}',
            "expected a list of objects, found dict; a file with one object per line",
        ),
        ("[" * 100_000, "not valid JSON"),
        ("", "line 1: not valid JSON"),
        ("[]", "the data set is empty"),
    ],
)
def test_faults_of_a_json_file_are_named_by_line_or_row(tmp_path, content, message):
    (tmp_path / "rows.json").write_text(content, encoding="utf-8-sig")
    with pytest.raises(UserError) as error:
        list(iter_rows(str(tmp_path / "rows.json")))
    assert message in str(error.value) and "rows.json" in str(error.value)


BAD_LINES = [
    ('{"problem": "a", "completion": "b"', "not valid JSON"),
    ("[1, 2]", "expected an object, found list"),
    ('{"problem": "a", "completion": "b"}', "column 'answer' is missing"),
    ('{"problem": "a", "completion": null, "answer": "1"}', "column 'completion' is null"),
    ('{"problem": "a", "completion": " \\n", "answer": "1"}', "column 'completion' is empty"),
    ('{"problem": 3, "completion": "b", "answer": "1"}', "column 'problem' must be a string"),
    ('{"problem": "a", "completion": ["b"], "answer": "1"}', "column 'completion' must be a string"),
    ('{"problem": "a", "completion": "b", "answer": {"x": 1}}', "column 'answer' must be a string or a number"),
    ('{"problem": "a", "completion": "b", "answer": "1", "is_correct": 1}', "column 'is_correct' must be true or"),
    ('{"problem": "a", "completion": "b", "answer": "A", "choices": "xy"}', "column 'choices' must be a list"),
    ('{"problem": "a", "completion": "b", "answer": "1", "n_tokens": "9"}', "column 'n_tokens' must be a number"),
]


def test_every_bad_row_is_put_aside_with_its_place_and_the_good_ones_are_read(tmp_path):
    good = json.dumps(trajectory(1))
    lines = [line for bad, _ in BAD_LINES for line in (good, bad)]
    (tmp_path / "rows.jsonl").write_bytes("\n".join(lines).encode() + b'\n{"problem": "\xff"}\n')
    with RejectsFile(tmp_path / "rejects.jsonl") as rejects:
        rows = list(iter_rows(str(tmp_path / "rows.jsonl"), required=REQUIRED, on_reject=rejects))
    assert len(rows) == len(BAD_LINES) and rejects.count == len(BAD_LINES) + 1
    kept = [json.loads(line) for line in (tmp_path / "rejects.jsonl").read_text().splitlines()]
    for number, ((bad, reason), reject) in enumerate(zip(BAD_LINES, kept, strict=False), start=1):
        assert reject["file"].endswith("rows.jsonl") and reject["line"] == 2 * number
        assert reject["reason"].startswith(reason) and rejects.counts[reject["reason"]] >= 1
        assert reject.get("text") == bad or reject.get("row") == json.loads(bad)
    assert kept[-1]["reason"] == "not valid UTF-8" and kept[-1]["line"] == len(lines) + 1


def test_bad_elements_of_a_json_list_and_rows_of_a_parquet_file_are_put_aside(tmp_path):
    found: list[Reject] = []
    (tmp_path / "rows.json").write_text(json.dumps([trajectory(1), 7, {"problem": "x"}, trajectory(2)]))
    assert len(list(iter_rows(str(tmp_path / "rows.json"), required=REQUIRED, on_reject=found.append))) == 2
    assert [(reject.line, reject.unit) for reject in found] == [(2, "row"), (3, "row")]

    found.clear()
    # Of a file that was cut off no row can be told to be whole
    (tmp_path / "torn.json").write_text(json.dumps([trajectory(1), trajectory(2)], indent=1)[:-20])
    with pytest.raises(UserError, match=r"torn\.json, line 10: not valid JSON"):
        list(iter_rows(str(tmp_path / "torn.json"), required=REQUIRED, on_reject=found.append))
    found.clear()
    table = pyarrow.Table.from_pylist([trajectory(1), trajectory(2) | {"completion": ""}, trajectory(3)])
    pyarrow.parquet.write_table(table, tmp_path / "rows.parquet")
    assert len(list(iter_rows(str(tmp_path / "rows.parquet"), required=REQUIRED, on_reject=found.append))) == 2
    assert str(found[0]).endswith("rows.parquet, row 2: column 'completion' is empty")


def test_a_full_disk_is_no_bad_input_and_leaves_no_file(tmp_path):
    (tmp_path / "rows.jsonl.partial").symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"No space left on device.*rows\.jsonl") as error:
        write_jsonl(tmp_path / "rows.jsonl", (trajectory(number) for number in range(5)))
    assert not isinstance(error.value, UserError) and not (tmp_path / "rows.jsonl").exists()


def test_without_a_callback_the_first_bad_row_is_an_error(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"problem": "a"}\n{"problem": " "}\n')
    with pytest.raises(UserError, match=r"rows\.jsonl, line 2: column 'problem' is empty"):
        list(iter_rows(str(tmp_path / "rows.jsonl"), required=["problem"]))


def test_files_without_a_usable_row_are_an_error_and_the_rejects_are_kept(tmp_path):
    write_jsonl(tmp_path / "rows.jsonl", [{"question": "a", "gold": "1"}] * 3)
    with pytest.raises(NoUsableRows, match=r"none of 3 rows .* no column 'golds'; did you mean gold\?"):
        with RejectsFile(tmp_path / "rejects.jsonl") as rejects:
            list(iter_rows(str(tmp_path / "rows.jsonl"), columns={"answer": "golds"}, on_reject=rejects))
    assert len((tmp_path / "rejects.jsonl").read_text().splitlines()) == 3
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(NoUsableRows, match="empty"):
        list(iter_rows(str(tmp_path / "empty.jsonl"), on_reject=rejects))


def test_patterns_name_files_in_order_and_a_limit_counts_usable_rows(tmp_path):
    for name, first in (("b", 10), ("a", 0), ("c", 20)):
        write_jsonl(tmp_path / f"part-{name}.jsonl", [{"problem": ""}, *map(trajectory, range(first, first + 3))])
    found = []
    rows = iter_rows(str(tmp_path / "part-*.jsonl"), required=REQUIRED, limit=5, on_reject=found.append)
    assert [row["answer"] for row in rows] == ["1", "2", "3", "11", "12"] and len(found) == 2
    with pytest.raises(UserError, match="no file matches"):
        list(iter_rows(str(tmp_path / "shard-*.jsonl")))


# `ru_maxrss` would count what the parent had when it forked
_MEASURE = """
import sys
from pathlib import Path
from glow_trl.data import iter_placed_rows
count = sum(1 for _ in iter_placed_rows(sys.argv[1]))
(peak,) = (line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(count, peak)
"""


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_memory_does_not_grow_with_the_number_of_rows(tmp_path, suffix):
    """Eight times as many rows, 96 MB more of them, in a process of its own: less than 16 MB more memory."""

    def write(path, count):
        rows = (trajectory(number) | {"completion": f"{number} " * 300} for number in range(count))
        if suffix == "jsonl":
            write_jsonl(path, rows)
        else:
            pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(rows)), path, row_group_size=2000)

    peaks = []
    for count in (8000, 64000):
        path = tmp_path / f"rows{count}.{suffix}"
        write(path, count)
        result = subprocess.run(
            [sys.executable, "-c", _MEASURE, str(path)], capture_output=True, text=True, check=True
        ).stdout.split()
        assert int(result[0]) == count
        peaks.append(int(result[1]) / 1024)
    assert peaks[1] - peaks[0] < 16
