"""Reading rows: every fault of the input is named with its place, and nothing is lost on the way."""

import json

import pytest

from glow_trl.data import build_prompt, load_rows, read_jsonl, write_jsonl
from glow_trl.data.paths import expand_path
from glow_trl.errors import UserError


ROWS = [{"problem": f"{i}+1=?", "answer": str(i + 1)} for i in range(5)]


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_jsonl_json_and_parquet_give_the_same_rows(tmp_path):
    import pyarrow
    import pyarrow.parquet

    write_jsonl(tmp_path / "rows.jsonl", ROWS)
    write(tmp_path / "rows.json", json.dumps(ROWS))
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), tmp_path / "rows.parquet")
    loaded = [load_rows(str(tmp_path / f"rows.{suffix}")) for suffix in ("jsonl", "json", "parquet")]
    assert loaded[0] == loaded[1] == loaded[2]
    assert [{key: row[key] for key in ("problem", "answer")} for row in loaded[0]] == ROWS


def test_sample_ids_are_unique_over_concatenated_files_that_number_from_zero(tmp_path):
    paths = [tmp_path / name for name in ("a.jsonl", "b.jsonl", "c.jsonl")]
    for path in paths[:2]:
        write_jsonl(path, [row | {"sample_id": i} for i, row in enumerate(ROWS)])
    write_jsonl(paths[2], ROWS)
    rows = load_rows([str(path) for path in paths])
    assert len(rows) == 15 and len({row["sample_id"] for row in rows}) == 15


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"problem": "a", "answer": "1"}\n{"problem": \n', "line 2: not valid JSON"),
        ('{"problem": "a", "answer": "1"}\n\n[1]\n', "line 3: expected an object"),
        ('{"problem": "a"}\n', "line 1: column 'answer' is missing"),
        ('{"problem": "a", "answr": "1"}\n', "did you mean answr"),
        ('{"problem": "a", "answer": null}\n', "line 1: column 'answer' is null"),
        ('{"problem": 3, "answer": "1"}\n', "line 1: column 'problem' must be a string, found int"),
        ('{"problem": "a", "answer": "1", "is_correct": "yes"}\n', "'is_correct' must be true or false"),
        ('{"problem": "a", "answer": "1", "sample_id": 1}\n' * 2, "line 2: sample_id '1' was used"),
        ("", "the data set is empty"),
        ("\n\n", "the data set is empty"),
        ("[" * 100_000, "line 1: nested too deeply"),
    ],
)
def test_every_fault_is_named_with_its_place(tmp_path, content, message):
    path = write(tmp_path / "rows.jsonl", content)
    with pytest.raises(UserError) as error:
        load_rows(path, required=["problem", "answer"])
    assert message in str(error.value) and "rows.jsonl" in str(error.value)


def test_a_missing_file_and_bytes_that_are_not_text_are_named(tmp_path):
    with pytest.raises(UserError, match=r"none\.jsonl: cannot be read"):
        load_rows(str(tmp_path / "none.jsonl"))
    (tmp_path / "latin.jsonl").write_bytes('{"problem": "é"}\n'.encode("latin-1"))
    with pytest.raises(UserError, match="line 1: not valid UTF-8"):
        load_rows(str(tmp_path / "latin.jsonl"))
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(UserError, match="cannot be read as Parquet"):
        load_rows(str(tmp_path / "bad.parquet"))


def test_columns_are_renamed_and_a_wrong_name_is_told_the_nearest(tmp_path):
    path = write(tmp_path / "rows.jsonl", '{"question": "a", "gold": 7}\n')
    (row,) = load_rows(path, columns={"problem": "question", "answer": "gold"}, required=["problem", "answer"])
    assert (row["problem"], row["answer"]) == ("a", "7") and "gold" not in row
    with pytest.raises(UserError, match=r"no column 'golds'; did you mean gold\?"):
        load_rows(path, columns={"answer": "golds"})


def test_an_option_given_by_number_becomes_its_letter(tmp_path):
    write_jsonl(tmp_path / "rows.jsonl", [{"problem": "?", "answer": 2, "choices": ["x", "y", "z"]}])
    assert load_rows(str(tmp_path / "rows.jsonl"))[0]["answer"] == "C"


def test_limit_stops_reading_before_a_later_fault(tmp_path):
    path = write(tmp_path / "rows.jsonl", '{"problem": "a"}\n{"problem": "b"}\nnot json\n')
    assert len(load_rows(path, limit=2)) == 2


def test_malformed_lines_can_be_collected_instead(tmp_path):
    path = write(tmp_path / "rows.jsonl", '{"a": 1}\nx\n{"a": 2}\n')
    bad = []
    assert [number for number, _ in read_jsonl(path, bad.append)] == [1, 3]
    assert [fault.line for fault in bad] == [2]


def test_environment_variables_in_paths(monkeypatch):
    monkeypatch.setenv("SOME_FOLDER", "/data")
    monkeypatch.delenv("NO_SUCH_FOLDER", raising=False)
    assert expand_path("${SOME_FOLDER:-x}/a") == "/data/a" == expand_path("$SOME_FOLDER/a")
    assert expand_path("${NO_SUCH_FOLDER:-../x}/a") == "../x/a"
    with pytest.raises(UserError, match="NO_SUCH_FOLDER is not set"):
        expand_path("${NO_SUCH_FOLDER}/a")


def test_a_file_that_cannot_be_finished_does_not_appear(tmp_path):
    def rows():
        yield {"a": 1}
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_jsonl(tmp_path / "rows.jsonl", rows())
    assert not (tmp_path / "rows.jsonl").exists()


def test_prompts_keep_latex_braces_and_list_choices():
    messages = build_prompt(r"\frac{1}{2}?", "Be brief.", "Q: {problem} \\boxed{}", choices=["a", "b"])
    assert messages == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Q: \\frac{1}{2}?\nA. a\nB. b \\boxed{}"},
    ]
    assert build_prompt("x") == [{"role": "user", "content": "x"}]
    with pytest.raises(UserError, match="must contain"):
        build_prompt("x", prompt_template="no place")
