"""The teacher's log-probabilities on their way: from `collect` through `label` and `mix` to what `sft` trains on."""

import json
import random
from pathlib import Path

import pytest

from glow_trl.cli import main
from glow_trl.data import load_rows, read_jsonl, write_jsonl
from glow_trl.data.log_probs import decode_log_probs, decode_token_ids
from glow_trl.data.table import load_table
from glow_trl.generation import Generation, SamplingConfig, create_engine, render_conversation
from glow_trl.generation.base import SampleEngine
from glow_trl.generation.loading import load_tokenizer
from glow_trl.sft import to_dataset


COLUMNS = ("log_probs", "completion_ids")
STOP = ("5", "ab")


def run(command: str, folder: Path, **settings) -> Path:
    """Run a command with its settings; its output folder."""
    assert main([command, *(str(part) for key, value in settings.items() for part in (f"--{key}", value))]) == 0
    return folder


@pytest.fixture(scope="module")
def questions(tmp_path_factory) -> Path:
    rng = random.Random(0)
    path = tmp_path_factory.mktemp("questions") / "questions.jsonl"
    write_jsonl(path, ({"problem": f"{rng.randrange(99)}+{rng.randrange(99)}=", "answer": "7"} for _ in range(8)))
    return path


@pytest.fixture(scope="module", params=["transformers", pytest.param("vllm", marks=pytest.mark.slow)])
def collected(request, questions, tmp_path_factory) -> tuple[str, str, Path]:
    """The engine, the model, and what it was let say, with stop strings, end tokens and cuts by length."""
    model = request.getfixturevalue("vllm_model" if request.param == "vllm" else "tiny_model")
    out = tmp_path_factory.mktemp("collected") / "out"
    settings = {"dataset_name": questions, "model_name_or_path": model, "engine": request.param, "output_dir": out}
    settings |= {"temperature": 0.6, "top_p": 0.95, "num_samples": 12, "max_new_tokens": 10, "dtype": "float32"}
    settings |= {"max_model_len": 256, "log_probs": "true", "seed": 2, "questions_per_shard": 3}
    run("collect", out, **settings, stop=STOP[0])
    return request.param, model, out


def rows_of(folder: Path) -> list[dict]:
    return load_rows(str(folder / "trajectories*.jsonl"))


def test_columns_hold_what_the_engine_says(collected, questions):
    engine, model, out = collected
    rows, tokenizer = rows_of(out), load_tokenizer(model)
    asked = [row["problem"] for _, row in read_jsonl(questions)]
    prompts = [render_conversation([{"role": "user", "content": text}], tokenizer) for text in asked]
    sampling = SamplingConfig(12, 0.6, 0.95, 10, seed=2, stop=STOP[:1], log_probs=True)
    with create_engine(engine, model, dtype="float32", max_model_len=256) as again:
        drawn = [generation for some in again.generate(prompts, sampling) for generation in some]
    ends = set()
    for row, generation in zip(rows, drawn, strict=True):
        assert (row["completion"], row["n_tokens"]) == (generation.text, generation.n_tokens)
        found = decode_log_probs(row["log_probs"])
        assert found == pytest.approx(generation.log_probs, abs=3e-4)
        assert decode_token_ids(row["completion_ids"]).tolist() == generation.token_ids[: len(found)]
        ended = generation.token_ids[-1] == tokenizer.eos_token_id
        ends.add((row["finish_reason"], ended))
        assert ended or row["finish_reason"] == "length" or len(found) < row["n_tokens"]
    assert ends == {("length", False), ("stop", True), ("stop", False)}


def test_the_loss_of_the_same_model_has_the_same_log_probs(collected, tmp_path):
    """To 1e-3 in float32, on the tokens that both have; `loss` has those too with which the template ends."""
    _, model, out = collected
    settings = {"model_name_or_path": model, "dataset_name": str(out / "trajectories-*.jsonl"), "dtype": "float32"}
    measured = rows_of(
        run("loss", tmp_path / "loss", **settings, write_log_probs="true", output_dir=tmp_path / "loss")
    )
    same = tokens = 0
    for ours, theirs in zip(rows_of(out), measured, strict=True):
        assert {**theirs, **{name: ours[name] for name in COLUMNS}} == ours
        sampled, trained = (decode_token_ids(row["completion_ids"]).tolist() for row in (ours, theirs))
        assert len(decode_log_probs(theirs["log_probs"])) == len(trained)
        # A model that was never trained also writes tokens that have no text
        if trained[: len(sampled)] == sampled:
            same += 1
            tokens += len(sampled)
            found = decode_log_probs(theirs["log_probs"])[: len(sampled)]
            assert found == pytest.approx(decode_log_probs(ours["log_probs"]), abs=1e-3)
    assert same > len(measured) / 3 and tokens > 200


def test_columns_go_unharmed_through_label_and_mix(collected, tmp_path):
    """And into the data set that is trained on, if they are wanted there; the card has none of their text."""
    _, _, out = collected
    before = {row["sample_id"]: [row[name] for name in COLUMNS] for row in rows_of(out)}
    label = {"dataset_name": str(out / "trajectories-*.jsonl"), "output_dir": tmp_path / "label"}
    run("label", tmp_path, **label)
    mixed = {"dataset_name": tmp_path / "label" / "trajectories.jsonl", "output_dir": tmp_path / "mix"}
    run("mix", tmp_path, **mixed, near_duplicate_threshold=1)
    train = tmp_path / "mix" / "train.jsonl"
    rows = [row for _, row in read_jsonl(train)]
    assert len(rows) > 10
    assert all([row[name] for name in COLUMNS] == before[row["sample_id"]] for row in rows)
    card = (tmp_path / "mix" / "card.md").read_text() + (tmp_path / "mix" / "card.json").read_text()
    assert not any(name in card for name in COLUMNS)
    table = load_table(str(train))
    dataset = to_dataset(table, None, None, COLUMNS)
    assert [list(pair) for pair in zip(*(dataset[name] for name in COLUMNS), strict=True)] == [
        before[row["sample_id"]] for row in rows
    ]
    assert not set(COLUMNS) & set(to_dataset(table, None, None).column_names)


@pytest.mark.parametrize("collected", ["transformers"], indirect=True)
def test_sft_takes_them_for_the_very_tokens_only(glow_trl, collected, tmp_path):
    """A row whose text has other tokens than were sampled is named; without such rows a weighting by them trains."""
    _, model, out = collected
    rows, tokenizer = rows_of(out), load_tokenizer(model)
    same = [
        tokenizer.encode(row["completion"], add_special_tokens=False)
        == [token for token in decode_token_ids(row["completion_ids"]) if token != tokenizer.eos_token_id]
        for row in rows
    ]
    assert 10 < sum(same) < len(rows)
    options = {"model_name_or_path": model, "weighting": "iw_sft", "num_train_epochs": 1}
    options |= {"per_device_train_batch_size": 4, "report_to": "none", "save_strategy": "no", "bf16": "false"}
    arguments = [str(part) for key, value in options.items() for part in (f"--{key}", value)]
    arguments += ["--use_cpu", "--gradient_checkpointing", "false"]
    for name, chosen in (("all", rows), ("same", [row for row, is_same in zip(rows, same, strict=True) if is_same])):
        write_jsonl(tmp_path / f"{name}.jsonl", chosen)
        places = ["--dataset_name", tmp_path / f"{name}.jsonl", "--output_dir", tmp_path / name]
        code, said = glow_trl("sft", *arguments, *places)
        assert code == (2 if name == "all" else 0), said
        if name == "all":
            assert f"{rows[same.index(False)]['sample_id']}: the log-probabilities of sample" in said
            assert f"({same.count(False)} of {len(rows)} samples differ)" in said and "Traceback" not in said


def test_lists_of_numbers_are_read_like_texts(tmp_path):
    """As people write them; what is not there stays away."""
    rows = [{"problem": "a", "completion": "b", "log_probs": [-1, None, -0.5], "completion_ids": [3, 4, 5]}] * 3
    write_jsonl(tmp_path / "rows.jsonl", rows)
    dataset = to_dataset(load_table(str(tmp_path / "rows.jsonl")), None, None, COLUMNS)
    assert decode_token_ids(dataset["completion_ids"][1]).tolist() == [3, 4, 5]
    assert decode_log_probs(dataset["log_probs"][1])[[0, 2]].tolist() == [-1, -0.5]
    write_jsonl(tmp_path / "none.jsonl", [{"problem": "a", "completion": "b"}])
    names = to_dataset(load_table(str(tmp_path / "none.jsonl")), None, None, COLUMNS).column_names
    assert names == ["prompt", "completion"]


class Telling(SampleEngine):
    """Tells log-probabilities of every other sample only."""

    def __init__(self, model_name_or_path: str):
        pass

    def stream_samples(self, prompts, sampling, done=(), on_refused=None):
        for index in range(len(prompts)):
            for sample in range(sampling.num_samples):
                log_probs = [-0.5, -1.0] if sampling.log_probs and sample % 2 else None
                yield index, sample, Generation("7", [3, 4], 2, "stop", log_probs)

    def close(self) -> None:
        pass


def test_an_engine_that_does_not_tell_is_named_once(glow_trl, questions, tmp_path):
    settings = ["--dataset_name", questions, "--model_name_or_path", "m", "--engine", f"{__name__}:Telling"]
    settings += ["--prompt_format", "raw", "--num_samples", 4, "--output_dir", tmp_path / "out"]
    code, said = glow_trl("collect", *settings, "--log_probs", "true")
    assert code == 0 and said.count("log_probs: the engine") == 1
    assert [set(COLUMNS) <= set(row) for row in rows_of(tmp_path / "out")] == [False, True] * 16
    assert json.loads((tmp_path / "out" / "run.json").read_text())["new_samples_without_log_probs"] == 16
    code, said = glow_trl("collect", *settings[:-1], tmp_path / "without")
    assert code == 0 and "log_probs" not in said
    assert not any(set(COLUMNS) & set(row) for row in rows_of(tmp_path / "without"))
