"""The miniature's files: determinism, right answers, and nothing that is asked in two of them."""

import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import pytest

from glow_trl.analysis.patterns.taxonomy import load_taxonomy
from glow_trl.data.jsonl import read_jsonl
from glow_trl.errors import UserError
from glow_trl.miniature import VOCABULARY, MiniatureConfig, write_data
from glow_trl.miniature.families import FAR, WORDINGS, Task
from glow_trl.quickstart.judge import find_mistakes
from glow_trl.recipes.built_model import BuiltModelConfig, build_tokenizer
from glow_trl.verifiers import verify_batch


SMALL = MiniatureConfig(train_questions=20, rl_questions=30, test_questions=10, pretraining_tasks=400)
SCRIPT = """
import sys
from glow_trl.miniature import MiniatureConfig, write_data
write_data(MiniatureConfig(train_questions=20, rl_questions=30, test_questions=10, pretraining_tasks=400), sys.argv[1])
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, list[dict]]:
    folder = tmp_path_factory.mktemp("miniature")
    counts = write_data(replace(MiniatureConfig(), pretraining_tasks=6000), folder)
    files = {path.name: [row for _, row in read_jsonl(path)] for path in sorted(folder.glob("*.jsonl"))}
    assert counts == {name: len(rows) for name, rows in files.items()}
    return files


def asked(row: dict) -> str:
    """What a question asks, in whatever wording."""
    text = row["problem"]
    if text.startswith("with "):
        *lines, last = text.removeprefix("with ").split(", ")
        return "; ".join([*lines, f"{last.removeprefix('find ')}=?"]).replace(" ", "=", 1)
    for wording in (wording for wordings in WORDINGS.values() for wording in wordings):
        if text.startswith(start := wording.removesuffix("{}")):
            return text.removeprefix(start)
    return text


def test_same_seed_same_bytes_in_another_process(tmp_path):
    """Python's hash seed, which differs between processes, must not reach the data; the seed must."""
    environment = {**os.environ, "PYTHONHASHSEED": "1"}
    subprocess.run([sys.executable, "-c", SCRIPT, str(tmp_path / "there")], check=True, env=environment)
    write_data(SMALL, tmp_path / "here")
    write_data(replace(SMALL, seed=1), tmp_path / "other")
    for path in (tmp_path / "here").iterdir():
        assert path.read_bytes() == (tmp_path / "there" / path.name).read_bytes()
        assert path.read_bytes() != (tmp_path / "other" / path.name).read_bytes()


def test_more_training_data_leaves_the_test_sets_alone(tmp_path):
    """Runs that differ in the amount of data are compared on the same questions."""
    write_data(SMALL, tmp_path / "few")
    write_data(replace(SMALL, train_questions=40, rl_questions=50, pretraining_tasks=10), tmp_path / "many")
    for path in (tmp_path / "few").glob("test_*.jsonl"):
        assert path.read_bytes() == (tmp_path / "many" / path.name).read_bytes()


def test_nothing_is_asked_in_two_files(files):
    """Not in another wording either: neither pretraining nor a stage may see what is evaluated."""
    contents = {name: {asked(row) for row in rows} for name, rows in files.items()}
    assert sum(map(len, contents.values())) == len(set().union(*contents.values()))
    for name in contents.keys() - {"trajectories.jsonl", "pretraining.jsonl"}:
        assert len(contents[name]) == len(files[name])


def test_pretraining_knows_all_that_is_evaluated(files):
    """Each family has its share, each wording some of it, and all solutions but some of the chains' are right."""
    rows = files["pretraining.jsonl"]
    counts = Counter(row["source"].removeprefix("miniature/") for row in rows)
    tests = {name.removeprefix("test_").removesuffix(".jsonl") for name in files if name.startswith("test_")}
    assert counts.keys() == tests and tests > FAR.keys()
    share = sum(counts[name] for name in tests - FAR.keys()) / len(rows)
    assert share == pytest.approx(MiniatureConfig().chain_share, abs=0.03)
    assert max(counts[name] for name in FAR) < 1.4 * min(counts[name] for name in FAR)
    for wordings in WORDINGS.values():
        for wording in wordings:
            assert any(row["problem"].startswith(wording.removesuffix("{}")) for row in rows)
    rows = rows[:1500]
    columns = ([row[name] for row in rows] for name in ("completion", "answer", "kind"))
    verdicts = verify_batch(*columns, problems=[row["problem"] for row in rows])
    right: dict[bool, list[bool]] = {True: [], False: []}
    for row, verdict in zip(rows, verdicts, strict=True):
        right[row["source"].removeprefix("miniature/") in FAR].append(verdict.correct)
    assert all(right[True]) and 0.35 < sum(right[False]) / len(right[False]) < 0.6


def test_the_teacher_errs_on_few_questions_in_another_style(files):
    """Of the family of the in-domain test set alone, with both outcomes, and with what the rule judge finds."""
    rows = files["trajectories.jsonl"]
    assert len({row["problem"] for row in rows}) == MiniatureConfig().train_questions
    verdicts = verify_batch(*([row[name] for row in rows] for name in ("completion", "answer", "kind")))
    assert 0.3 < sum(verdict.correct for verdict in verdicts) / len(rows) < 0.7
    pretrained = {row["problem"]: row["completion"] for row in files["pretraining.jsonl"]}
    assert not any(": " in completion for problem, completion in pretrained.items() if problem.endswith("=?"))
    known = {*load_taxonomy("quickstart").ids}
    for row in rows:
        assert ": " in row["completion"]
        found = find_mistakes(row["problem"], row["completion"])
        assert {name for name, _ in found} <= known and bool(found) >= (not row["patterns"] == [])


def test_every_word_is_one_token(files):
    """Tokens are time; and a text comes back from them as it was."""
    rows = [row for rows in files.values() for row in rows[:60]]
    texts = [text for row in rows for text in (row["problem"], row.get("completion", ""))]
    tokenizer = build_tokenizer(BuiltModelConfig(), texts, VOCABULARY)
    assert all(tokenizer.decode(tokenizer(text)["input_ids"]) == text for text in texts)
    assert max(len(tokenizer(row["problem"])["input_ids"]) for row in rows) <= 32
    pieces = tokenizer("count each k in kdk")["input_ids"]
    assert list(map(tokenizer.decode, pieces)) == ["count", " each", " ", "k", " in ", "k", "d", "k"]


@pytest.mark.parametrize("change", [{"pretraining_tasks": 0}, {"chain_share": 1.5}, {"train_questions": 0}])
def test_values_out_of_range_are_refused_by_name(change, tmp_path):
    with pytest.raises(UserError, match=f"^miniature data: {next(iter(change))}"):
        write_data(replace(SMALL, **change), tmp_path)


def test_a_family_that_the_test_sets_use_up_is_an_error(tmp_path, monkeypatch):
    """Pretraining must not look for a task without end that there is not."""
    few = {"reversed": lambda rng: Task("reverse: ab", "ba", "\\boxed{ba}", "text", rng.choice(("one", "two")))}
    monkeypatch.setattr("glow_trl.miniature.data.FAR", few)
    with pytest.raises(UserError, match="leave no task of reversed for pretraining"):
        write_data(replace(SMALL, test_questions=2), tmp_path)
