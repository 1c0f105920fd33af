"""
Good settings, data and models with one thing made wrong at random: a key that is misspelt, twice there, gone, or of
another type; a row or a file that is damaged. Nobody chose these cases; all must be refused in one line. Seeded.
"""

import json
import random

import pytest
import yaml

from helpers.bad_inputs import GOOD, PREDICTIONS, QUESTIONS, REQUIRED, ROWS, Case, copy_of, holding, truncated, without


SEED, COUNT = 2026, 60
# Commands that put rows aside which they cannot use, and go on with the rest
REJECTING = ("collect", "label", "mix", "audit")
DATA = {
    "collect": ("dataset_name", QUESTIONS, ("problem", "answer")),
    "label": ("dataset_name", ROWS, ("problem", "completion", "answer")),
    "mix": ("dataset_name", ROWS, ("problem", "completion", "answer", "is_correct")),
    "sft": ("dataset_name", ROWS, ("problem", "completion")),
    "grpo": ("dataset_name", QUESTIONS, ("problem", "answer")),
    "loss": ("dataset_name", ROWS, ("problem", "completion")),
    "annotate": ("dataset_name", ROWS, ("problem", "completion")),
    "audit": ("source", ROWS, ("answer",)),
    "verify": ("file", PREDICTIONS, ("prediction", "gold")),
}
MODELS = {
    **dict.fromkeys(("eval", "loss", "sft", "grpo", "collect"), ("model_name_or_path", "model")),
    "entropy": ("models", "model"),
    "ready": ("checkpoints", "model"),
    "merge": ("adapter", "adapter"),
}


def misspelt(name: str, r: random.Random) -> str:
    place = r.randrange(1, len(name))
    return r.choice([name[:place] + name[place + 1 :], name[:place] + name[place - 1] + name[place:], name + "s_"])


def wrong_type(value, r: random.Random):
    """A value of a type that a setting with this value cannot have."""
    mapping, nested = {"a": 1}, [["x"], {"b": 2}]
    if isinstance(value, bool):
        return r.choice(["perhaps", mapping, nested])
    if isinstance(value, int):
        return r.choice(["several", mapping, nested])
    return r.choice([mapping, nested])


def mutated_settings(r: random.Random, number: int) -> Case:
    command = r.choice([name for name in GOOD if name != "report"])
    settings = dict(GOOD[command])
    key = r.choice(list(settings))
    what = r.choice(["misspelt", "twice", "gone", "type", "type", "broken", "null"])
    name = f"{number}: {what} {key}"
    if what == "misspelt":
        settings = {misspelt(key, r) if item == key else item: value for item, value in settings.items()}
    elif what == "type":
        settings[key] = wrong_type(settings[key], r)
    elif what in ("gone", "null"):
        key = r.choice(REQUIRED[command])
        name = f"{number}: {what} {key}"
        settings = {item: value for item, value in settings.items() if item != key}
        settings |= {key: None} if what == "null" else {}
    text = yaml.safe_dump(settings, sort_keys=False)
    rows = text.splitlines(keepends=True)
    place = r.randrange(len(rows) + 1)
    if what == "twice":
        text += yaml.safe_dump({key: settings[key]})
    if what == "broken":
        rows.insert(place, r.choice(["key: [1, 2\n", "\tkey: 1\n", "key: 'open\n", "a: b: c\n", "@key: 1\n"]))
        text = "".join(rows)
    return Case(command, name, "", config=text, bare=True)


def mutated_row(row: dict, column: str, what: str, r: random.Random) -> bytes:
    row = dict(row)
    if what == "gone":
        del row[column]
    elif what == "null":
        row[column] = None
    elif what == "nan":
        row[column] = float("nan")
    elif what == "type":
        row[column] = r.choice([{"a": 1}, [[1]]])
    text = json.dumps(row).encode()
    if what == "cut":
        text = text[: r.randrange(1, len(text))]
    elif what == "bytes":
        place = r.randrange(1, len(text))
        text = text[:place] + b"\xff\xfe" + text[place:]
    elif what == "list":
        text = json.dumps([row]).encode()
    return text + b"\n"


def mutated_data(r: random.Random, number: int) -> Case:
    command = r.choice(list(DATA))
    setting, rows, columns = DATA[command]
    column, what = r.choice(columns), r.choice(["gone", "null", "nan", "type", "cut", "bytes", "list"])
    if command == "verify" and column == "gold" and what in ("null", "nan", "type"):
        what = "gone"  # it is judged, and found unusable
    chosen = range(len(rows)) if command in REJECTING else [r.randrange(len(rows))]
    text = b"".join(mutated_row(row, column, what if index in chosen else "", r) for index, row in enumerate(rows))
    name = f"{number}: {what} {column}"
    return Case(command, name, "", options={setting: "{here}/rows.jsonl"}, files={"rows.jsonl": text})


def mutated_model(r: random.Random, number: int) -> Case:
    command = r.choice(list(MODELS))
    setting, kind = MODELS[command]
    weights, config = (
        ("model.safetensors", "config.json")
        if kind == "model"
        else ("adapter_model.safetensors", "adapter_config.json")
    )
    name = r.choice([weights, config, "tokenizer.json"])
    what = r.choice(["cut", "gone", "other", "empty"])
    if what == "gone" and name == "tokenizer.json":
        what = "cut"
    change = {
        "cut": truncated(name, r.uniform(0.05, 0.95)),
        "gone": without(name),
        "other": holding(name, r.choice(["[1, 2]", '"text"', "null", "{}", "3"])),
        "empty": holding(name, ""),
    }[what]
    return Case(command, f"{number}: {what} {name}", "", {setting: "{here}/model"}, {"model": copy_of(kind, change)})


def mutated_command_line(r: random.Random, number: int) -> Case:
    command = r.choice(list(GOOD))
    key = r.choice(list(GOOD[command]))
    value = GOOD[command][key]
    what = r.choice(["misspelt", "no value", "positional"])
    if what == "misspelt":
        argv = (f"--{misspelt(key, r)}", str(value))
    elif what == "no value":
        argv = (f"--{r.choice([name for name, item in GOOD[command].items() if not isinstance(item, bool)])}",)
    else:
        argv = ("--seed", "1", "2") if command in ("sft", "grpo", "eval", "mix", "collect", "annotate") else ("---",)
    return Case(command, f"{number}: {what} {' '.join(argv)[:40]}", "", argv=argv)


def cases() -> list[Case]:
    r = random.Random(SEED)
    kinds = [mutated_settings] * 4 + [mutated_data] * 3 + [mutated_model] * 2 + [mutated_command_line]
    return [kinds[number % len(kinds)](r, number) for number in range(COUNT)]


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.id)
def test_a_mutated_input_is_refused_in_one_line(bench, case):
    bench.refuse(case)
