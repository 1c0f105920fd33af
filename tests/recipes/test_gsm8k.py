"""
The gsm8k recipe: from the questions to the report with the small model, and nothing that it is evaluated on in what it
trains on.
"""

import json
import re
import shutil
from collections import defaultdict
from pathlib import Path

import pytest
import yaml

from glow_trl.benchmarks import get_benchmark, load_questions
from glow_trl.data import read_jsonl, write_jsonl
from glow_trl.data.config import RowsConfig
from glow_trl.recipes.recipe import Recipe
from glow_trl.recipes.run import main
from glow_trl.stages.config import parse_command


ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "recipes" / "gsm8k"


@pytest.fixture(autouse=True)
def copies(shared_data, monkeypatch):
    monkeypatch.setenv("GLOW_TRL_DATA", str(shared_data))
    monkeypatch.chdir(ROOT)


def read(path):
    return [row for _, row in read_jsonl(path)]


def problems(*names):
    return [question["problem"] for name in names for question in load_questions(get_benchmark(name))]


def near(text, others):
    """
    Whether one of the texts has almost the same words, in order, and the same numbers: independent of what `mix` does.
    """
    words, numbers = re.findall(r"[a-z]+|\d+", text.lower()), sorted(re.findall(r"\d+", text))
    shared = defaultdict(set)
    windows = {tuple(words[i : i + 4]) for i in range(len(words) - 3)}
    for window in windows:
        for number in others.windows.get(window, ()):
            shared[number].add(window)
    return any(
        len(found) >= 0.7 * len(windows) and others.numbers[number] == numbers for number, found in shared.items()
    )


class Texts:
    """Texts by their windows of four words."""

    def __init__(self, texts):
        self.windows, self.numbers = defaultdict(set), []
        for number, text in enumerate(texts):
            self.numbers.append(sorted(re.findall(r"\d+", text)))
            words = re.findall(r"[a-z]+|\d+", text.lower())
            for i in range(len(words) - 3):
                self.windows[tuple(words[i : i + 4])].add(number)


def plain(text):
    return re.sub(r"\W+", "", text).casefold()


@pytest.mark.slow
def test_no_question_of_the_test_sets_is_trained_on(shared_data, tmp_path):
    """All training questions and, among them, test questions as they stand, in other type, and with words around: what
    `mix` keeps has none of these, by its own report and by two comparisons of our own, and loses no other."""
    training = [row["problem"] for row in read(shared_data / "qa_gsm8k_train.jsonl")]
    test, svamp = problems("gsm8k"), problems("svamp")
    assert (len(training), len(test), len(svamp)) == (7473, 1319, 1000)
    planted = test[::20] + svamp[::20]
    planted += [f"  {text.upper()} " for text in test[1::20]] + [f"Solve this: {text} Think." for text in test[2::20]]
    planted += [text.replace(".", " .").replace(",", "") for text in svamp[3::20]]
    rows = [
        {"problem": text, "completion": f"so {i}", "answer": str(i), "is_correct": i % 2 == 0, "finish_reason": "stop"}
        for i, text in enumerate([*training, *planted])
    ]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    settings = ["--config", "recipes/gsm8k/mix.yaml", "--dataset_name", str(tmp_path / "rows.jsonl")]
    from glow_trl.collection import mix

    mix.main([*settings, "--output_dir", str(tmp_path / "mix"), "--prompts_never_solved", "keep"])
    kept = {name: read(tmp_path / "mix" / f"{name}.jsonl") for name in ("train", "validation", "prompts")}
    found = {row["problem"] for row in read(tmp_path / "mix" / "contamination.jsonl")}
    assert found == {*planted}
    assert {row["problem"] for row in kept["train"] + kept["validation"]} == {*training}
    texts = [row["problem"] for rows in kept.values() for row in rows]
    assert not {plain(text) for text in texts} & {plain(text) for text in test + svamp}
    others = Texts(test + svamp)
    assert all(near(text, others) for text in test[:50] + [test[0].replace("eggs", "egg")])
    assert not [text for text in {*texts} if near(text, others)]
    card = json.loads((tmp_path / "mix" / "card.json").read_text())
    assert {item["name"]: item["questions"] for item in card["contamination"]["benchmarks"]} == {
        "gsm8k": 1319,
        "svamp": 1000,
    }


def test_what_is_evaluated_on_is_the_whole_of_both_test_sets():
    evaluation = parse_command("eval", ["--config", "recipes/gsm8k/eval.yaml"]).config
    assert evaluation.limit is None and not evaluation.only
    benchmarks = evaluation.resolve()
    assert [(item.name, item.domain, len(load_questions(item))) for item in benchmarks] == [
        ("gsm8k", "in", 1319),
        ("svamp", "out", 1000),
    ]
    mixing = parse_command("mix", ["--config", "recipes/gsm8k/mix.yaml"]).config
    assert mixing.decontaminate == [item.name for item in benchmarks]


def hub_rows(file):
    """Rows of `openai/gsm8k`, put together again from a copy: question, and solution with the answer behind it."""
    return [{"question": row["problem"], "answer": f"{row['solution']}\n#### {row['answer']}"} for row in read(file)]


def test_the_copy_gives_the_questions_of_the_hub_s_rows(shared_data, tmp_path):
    """To the teacher and, with their solutions, to the small model."""
    write_jsonl(tmp_path / "hub.jsonl", hub_rows(shared_data / "qa_gsm8k_train.jsonl"))
    settings = yaml.safe_load((FOLDER / "collect.yaml").read_text())
    chosen = {key: settings[key] for key in ("dataset_name", "columns", "patterns", "local_copy")}
    from_copy = RowsConfig(**chosen).load(["problem", "answer"])
    from_hub = RowsConfig(**(chosen | {"dataset_name": str(tmp_path / "hub.jsonl")})).load(["problem", "answer"])
    assert len(from_copy) == len(from_hub) == 7473
    for one, other in zip(from_copy, from_hub, strict=True):
        assert (one["problem"], one["answer"]) == (other["problem"], other["answer"])
    training = yaml.safe_load((FOLDER / "recipe.yaml").read_text())["built_model_training"]
    chosen = {key: training[key] for key in ("dataset_name", "columns", "local_copy", "limit")}
    from_copy = RowsConfig(**chosen).load(["problem", "completion"])
    from_hub = RowsConfig(**(chosen | {"dataset_name": str(tmp_path / "hub.jsonl")})).load(["problem", "completion"])
    assert len(from_copy) == len(from_hub) == 32
    for one, other in zip(from_copy, from_hub, strict=True):
        assert other["completion"] == f"{one['completion']}\n#### {one['answer']}"


def test_copies_are_made_as_the_readme_says(shared_data, tmp_path, monkeypatch):
    """With stand-ins for the Hub's data sets, in their columns; the downloads themselves are not tested."""
    import datasets

    def load_dataset(name, config_name=None, split=None, streaming=False):
        if (name, config_name) == ("openai/gsm8k", "main"):
            return hub_rows(shared_data / f"qa_gsm8k_{split}.jsonl")[:200]
        assert (name, config_name, split) == ("ChilleD/SVAMP", None, "train+test")
        rows = [(*row["problem"].rsplit(" ", 1), row["answer"]) for row in read(shared_data / "qa_svamp.jsonl")[:200]]
        return [dict(zip(("Body", "Question", "Answer"), row, strict=True)) for row in rows]

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    (block,) = re.findall(r"^```python\n(.*?)^```", (ROOT / "recipes" / "README.md").read_text(), re.M | re.S)
    monkeypatch.chdir(tmp_path)
    exec(block)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "qa_gsm8k_test.jsonl",
        "qa_gsm8k_train.jsonl",
        "qa_svamp.jsonl",
    ]
    for path in tmp_path.iterdir():
        pairs = [
            [(row["problem"].split(), row["answer"]) for row in read(file)[:200]]
            for file in (path, shared_data / path.name)
        ]
        assert pairs[0] == pairs[1] and len(pairs[0]) == 200
    # They are what the recipe reads then
    monkeypatch.setenv("GLOW_TRL_DATA", str(tmp_path))
    assert len(problems("gsm8k")) == len(problems("svamp")) == 200
    recipe = Recipe(FOLDER)
    settings = recipe.model_training(tmp_path / "out")
    chosen = {key: settings[key] for key in ("dataset_name", "columns", "local_copy", "limit")}
    assert RowsConfig(**chosen).load(["completion"])[0]["completion"].startswith("Natalia sold")


@pytest.mark.slow
def test_the_recipe_runs_every_stage_with_the_model_that_it_builds(shared_data, tmp_path):
    """With fewer steps than it has; its questions, and their two outcomes, are real."""
    folder, out = tmp_path / "gsm8k", tmp_path / "out"
    shutil.copytree(FOLDER, folder)
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text())
    recipe["built_model_training"] |= {"limit": 8, "num_train_epochs": 40, "per_device_train_batch_size": 8}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    steps = ["--collect.limit", "8", "--sft.save_steps", "2", "--grpo.max_steps", "2", "--eval.limit", "8"]
    steps += [
        "--grpo.per_device_train_batch_size",
        "32",
        "--eval.entropy_questions",
        "4",
        "--mix.validation_split",
        "0",
    ]
    assert main([str(folder), "--output_dir", str(out), *steps]) == 0
    asked = [row["problem"] for row in read(shared_data / "qa_gsm8k_train.jsonl")[:8]]
    labelled = read(out / "label" / "trajectories.jsonl")
    assert len(labelled) == 64 and {row["problem"] for row in labelled} == {*asked}
    assert 0 < sum(row["is_correct"] for row in labelled) < 64
    for name in ("train", "prompts"):
        rows = read(out / "mix" / f"{name}.jsonl")
        assert rows and {row["problem"] for row in rows} <= {*asked}
        assert not {plain(row["problem"]) for row in rows} & {plain(text) for text in problems("gsm8k", "svamp")}
    assert {row["is_correct"] for row in read(out / "mix" / "train.jsonl")} == {True, False}
    rewards = [row["reward"] for row in read(out / "glow" / "grpo" / "log.jsonl") if "reward" in row]
    assert len(rewards) == 2 and any(rewards)
    summary = json.loads((out / "summary.json").read_text())
    assert set(summary["arms"]["glow"]) == {"sft", "grpo"}
    for stage in summary["arms"]["glow"].values():
        assert {"gsm8k", "svamp"} == set(stage["benchmarks"])
    report = " ".join((out / "report.html").read_text().split())
    assert "trajectories of mix/train.jsonl." in report


def test_with_a_real_model_nothing_of_the_small_one_is_left(tmp_path):
    recipe = Recipe(FOLDER)
    collect = recipe.settings("collect", tmp_path, built_model=False)
    assert (collect["model_name_or_path"], collect["engine"]) == ("Qwen/Qwen2.5-1.5B-Instruct", "vllm")
    assert collect["num_samples"] == 4 and collect["temperature"] == 1 and "limit" not in collect
    assert recipe.settings("mix", tmp_path, built_model=False)["prompts_never_solved"] == "drop"
