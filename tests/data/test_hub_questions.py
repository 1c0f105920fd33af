"""
Questions of a data set on the Hub, or of a copy of it.

The Hub itself cannot be reached in tests: `openai/gsm8k` is here a folder in its layout (a configuration `main` with
Parquet files for `train` and `test`, columns `question` and `answer`), in which `datasets` itself finds its way. What
is not tested is the download.
"""

import itertools
import json

import datasets
import pyarrow
import pyarrow.parquet
import pytest
import yaml

from glow_trl.benchmarks import get_benchmark, load_questions
from glow_trl.data import load_rows, write_jsonl
from glow_trl.data.config import RowsConfig
from glow_trl.errors import MissingDataError, UserError


CARD = {
    "configs": [
        {
            "config_name": "main",
            "data_files": [{"split": split, "path": f"main/{split}-*"} for split in ("train", "test")],
        }
    ]
}
TRAIN = [
    {"question": f"Ann has {i} pens and buys {j}. How many has she?", "answer": f"{i}+{j}=<<{i}+{j}=5>>\n#### {i + j}"}
    for i, j in itertools.product(range(600, 605), range(600, 604))
]
TEST = [{"question": "Bob has 2 pens. How many?", "answer": "He has 2, not #### 3.\n#### 2"}]
GSM8K = {
    "dataset_name": "openai/gsm8k",
    "dataset_config": "main",
    "columns": {"problem": "question"},
    "patterns": {"answer": r"####\s*(\S.*)"},
}


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A folder in the layout of `openai/gsm8k`, which stands in for it, and no copies."""
    folder = tmp_path / "hub"
    (folder / "main").mkdir(parents=True)
    (folder / "README.md").write_text(f"---\n{yaml.safe_dump(CARD)}---\n# GSM8K\n")
    for split, rows in (("train", TRAIN), ("test", TEST)):
        path = folder / "main" / f"{split}-00000-of-00001.parquet"
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    load_dataset = datasets.load_dataset
    monkeypatch.setattr(
        datasets,
        "load_dataset",
        lambda name, *args, **options: load_dataset(str(folder) if name == "openai/gsm8k" else name, *args, **options),
    )
    monkeypatch.setenv("GLOW_TRL_DATA", str(tmp_path / "copies"))
    return folder


def test_questions_of_the_hub_have_their_final_answers(hub):
    """As a stream (`collect`), as a table (the training stages) and as a benchmark: one way of cutting them out."""
    config = RowsConfig(**GSM8K)
    for rows in ([row for _, row in config.iter_placed(["problem", "answer"])], list(config.load(["problem"]))):
        assert [row["problem"] for row in rows] == [row["question"] for row in TRAIN]
        assert [row["answer"] for row in rows] == [
            str(i + j) for i, j in itertools.product(range(600, 605), range(600, 604))
        ]
    test = RowsConfig(**GSM8K, dataset_train_split="test").load(["problem"])
    (question,) = load_questions(get_benchmark("gsm8k"))
    assert test[0]["answer"] == question["answer"] == "2" and test[0]["problem"] == question["problem"]


def test_a_download_of_the_hub_s_file_is_read_alike(hub):
    file = str(hub / "main" / "train-00000-of-00001.parquet")
    rows = RowsConfig(**(GSM8K | {"dataset_name": file})).load(["problem", "answer"])
    assert [row["answer"] for row in rows[:2]] == ["1200", "1201"]


def test_a_copy_is_read_where_it_is_and_only_for_its_data_set(hub, tmp_path):
    """In the shape of the Hub's rows, or in one of its own; what somebody names instead is what is read."""
    alike, own = (
        {"openai/gsm8k": "copy.jsonl"},
        {"openai/gsm8k": {"path": "own.jsonl", "columns": {"problem": "text"}}},
    )
    for copy in (alike, own):
        assert len(RowsConfig(**GSM8K, local_copy=copy).load(["problem"])) == len(TRAIN)
    (tmp_path / "copies").mkdir()
    write_jsonl(tmp_path / "copies" / "copy.jsonl", [{"question": "q", "answer": "so #### 7"}])
    write_jsonl(tmp_path / "copies" / "own.jsonl", [{"text": "t", "answer": "####"}])
    for copy, expected in ((alike, ("q", "7")), (own, ("t", "####")), (json.dumps(own), ("t", "####"))):
        config = RowsConfig(**GSM8K, local_copy=copy)
        (row,) = config.load(["problem", "answer"])
        assert (row["problem"], row["answer"]) == expected
        # Its content belongs to what the run is of
        assert len(config.files) == 1 and config.files[0].startswith(str(tmp_path / "copies"))
    mine = tmp_path / "mine.jsonl"
    write_jsonl(mine, [{"question": "mine", "answer": "#### 1"}])
    named = RowsConfig(**(GSM8K | {"dataset_name": str(mine)}), local_copy=own).load(["problem", "answer"])
    assert [row["problem"] for row in named] == ["mine"]


def test_a_data_set_that_is_nowhere_is_an_error_that_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("GLOW_TRL_DATA", str(tmp_path))
    with pytest.raises(MissingDataError, match="openai/gsm8k: neither a local file nor a data set that the Hub gives"):
        RowsConfig(**GSM8K, local_copy={"openai/gsm8k": "copy.jsonl"}).load(["problem"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"patterns": {"answer": "("}}, r"patterns: answer: '\(' is not a regular expression"),
        ({"patterns": "[answer]"}, "patterns: expected a mapping"),
        (
            {"local_copy": {"x": {"path": "y", "pattern": {}}}},
            "local_copy: x: unknown key 'pattern'; did you mean patt",
        ),
        ({"local_copy": {"x": {"columns": {}}}}, "local_copy: x: expected a file name, or a mapping with `path`"),
        ({"local_copy": {"x": 3}}, "local_copy: x: expected a mapping, found int"),
    ],
)
def test_mistakes_in_the_settings_are_named(settings, message):
    with pytest.raises(UserError, match=message):
        RowsConfig(dataset_name="x", **settings)


def test_a_row_that_the_pattern_finds_nothing_in_is_named_or_collected(tmp_path):
    path = tmp_path / "rows.jsonl"
    write_jsonl(path, [{"problem": "p", "answer": "#### 1"}, {"problem": "q", "answer": "none"}, {"problem": "r"}])
    patterns = {"answer": "#### (.+)"}
    with pytest.raises(
        UserError, match=r"rows.jsonl, line 2: column 'answer' lacks what `patterns` cuts out .*'none'"
    ):
        load_rows(str(path), patterns=patterns)
    rejects = []
    config = RowsConfig(dataset_name=str(path), patterns=patterns)
    rows = [row for _, row in config.iter_placed(["problem", "answer"], rejects.append)]
    assert [row["answer"] for row in rows] == ["1"]
    assert [(reject.line, reject.reason) for reject in rejects] == [
        (2, "column 'answer' lacks what `patterns` cuts out"),
        (3, "column 'answer' is missing"),
    ]


def test_tables_of_other_patterns_are_other_tables(tmp_path):
    path = tmp_path / "rows.jsonl"
    write_jsonl(path, [{"problem": "p", "answer": "1 2"}])
    for pattern, answer in ((r"^\d", "1"), (r"\d$", "2"), (r"\d", "2")):
        (row,) = RowsConfig(dataset_name=str(path), patterns={"answer": pattern}).load(["problem", "answer"])
        assert row["answer"] == answer
