"""A whole evaluation: its numbers, its files, its resuming, and what it says about bad input."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from glow_trl.errors import UserError
from glow_trl.evaluation import EvalConfig, evaluate, pass_at_k
from glow_trl.generation import Engine, Generation, create_engine
from helpers.launching import environment
from helpers.processes import kill_when


QUESTIONS = [{"problem": f"{a}+{b}=", "answer": str(a + b)} for a in range(5) for b in range(4)]
SETTINGS = {"num_samples": 3, "temperature": 1.0, "top_p": 1.0, "max_new_tokens": 12, "batch_size": 8}


def write_questions(path: Path, rows=QUESTIONS) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture
def settings(tmp_path, tiny_model):
    first = write_questions(tmp_path / "first.jsonl")
    second = write_questions(tmp_path / "second.jsonl", QUESTIONS[:7])
    return {
        "model_name_or_path": tiny_model,
        "output_dir": str(tmp_path / "out"),
        "benchmarks": [
            {"name": "first", "path": first, "version": 2},
            {"name": "second", "path": second, "domain": "logic"},
        ],
        **SETTINGS,
    }


class KnownEngine(Engine):
    """Answers from a list of texts by sample, the same for all questions; counts what it was asked."""

    def __init__(self, answers, interrupt_after: int | None = None):
        self.answers = answers
        self.interrupt_after = interrupt_after
        self.asked = 0

    def stream(self, prompts, sampling, skip=()):
        for index in range(len(prompts)):
            if index in skip:
                continue
            if self.interrupt_after is not None and self.asked >= self.interrupt_after:
                raise KeyboardInterrupt
            self.asked += 1
            answers = self.answers(index) if callable(self.answers) else self.answers
            yield (
                index,
                [
                    Generation(text, [5] * (sample + 1), sample + 1, "length" if sample == 2 else "stop")
                    for sample, text in enumerate(answers[: sampling.num_samples])
                ],
            )

    def close(self):
        self.answers = None


class RefusingEngine(Engine):
    """For evaluations that must not generate."""

    def stream(self, prompts, sampling, skip=()):
        raise AssertionError("asked to generate")

    def close(self):
        raise AssertionError("not ours to close")


def rows_of(folder, name: str) -> list[dict]:
    return [json.loads(line) for line in (Path(folder) / f"generations_{name}.jsonl").read_text().splitlines()]


def outputs(folder) -> dict[str, str]:
    """Content of the files that an evaluation leaves, without its time."""
    found = {path.name: path.read_text() for path in Path(folder).iterdir() if path.is_file()}
    found.pop("state.json")
    results = json.loads(found.pop("results.json"))
    return found | {"results": json.dumps(results["benchmarks"], sort_keys=True)}


def test_numbers_of_known_answers(settings, tmp_path):
    """Every figure against what was put in: right, wrong and missing answers in known places."""
    right = {0, 1, 2, 5}
    engine = KnownEngine(
        lambda index: [
            rf"\boxed{{{QUESTIONS[index]['answer']}}}" if index in right else r"\boxed{-1}",
            r"so it is \boxed{-1.0}",
            "",
        ]
    )
    config = EvalConfig(**settings | {"entropy": False, "k_values": [2, 3]})
    results = evaluate(config, engine)
    assert results == json.loads((tmp_path / "out" / "results.json").read_text())
    first, second = results["benchmarks"]["first"], results["benchmarks"]["second"]
    assert (first["domain"], second["domain"]) == ("in", "out")
    assert (first["version"], second["version"]) == (2, None)
    assert (first["n"], first["samples"], second["n"]) == (20, 3, 7)
    assert first["pass@1"] == pytest.approx(4 / 60)
    assert first["pass@1_ci"][0] < 4 / 60 < first["pass@1_ci"][1]
    assert second["pass@1"] == pytest.approx(4 / 21)
    assert first["pass@2"] == pytest.approx(4 * pass_at_k(3, 1, 2) / 20)
    assert first["pass@3"] == pytest.approx(4 / 20)
    # Where the first is right, all three vote 1:1 with an abstention; else "-1" and "-1.0" are one answer, and wrong
    assert first["majority@3"] == pytest.approx(4 / 20 / 2)
    assert first["response_length"] == pytest.approx(2)
    assert first["truncated"] == pytest.approx(1 / 3)
    assert first["no_answer"] == pytest.approx(1 / 3)
    row = rows_of(config.output_dir, "first")[3]
    assert row["problem"] == "0+1=" and row["benchmark"] == "first" and row["sample"] == 0
    assert row["verdict"]["correct"] is True and row["finish_reason"] == "stop" and row["n_tokens"] == 1


def test_generations_of_the_model_itself(settings):
    """The saved rows hold what the engine draws, and the entropy covers exactly those tokens."""
    results = evaluate(EvalConfig(**settings))
    rows = rows_of(settings["output_dir"], "first")
    engine = create_engine("transformers", settings["model_name_or_path"], batch_size=8)
    prompts = [
        engine.tokenizer.apply_chat_template(
            [{"role": "user", "content": row["problem"]}], add_generation_prompt=True, return_dict=False
        )
        for row in QUESTIONS
    ]
    drawn = engine.generate(prompts, EvalConfig(**settings).sampling)
    assert [row["completion"] for row in rows] == [item.text for generations in drawn for item in generations]
    lengths = [row["n_tokens"] for row in rows]
    protocol = results["benchmarks"]["first"]["entropy_protocol"]
    assert protocol["tokens"] == sum(lengths) and protocol["completions"] == len(rows)
    assert 2 < results["benchmarks"]["first"]["entropy"] < 5
    assert not (Path(settings["output_dir"]) / "work").exists()


def test_entropy_is_measured_at_temperature_one_whatever_the_evaluation_samples_at(settings):
    """Greedy answers have no say in it: one untempered completion is drawn for each of the first questions."""
    config = EvalConfig(**settings | {"temperature": 0.0, "num_samples": 1, "entropy_questions": 5})
    results = evaluate(config)["benchmarks"]
    assert results["first"]["entropy_protocol"]["completions"] == 5
    reference = evaluate(EvalConfig(**settings | {"output_dir": settings["output_dir"] + "2"}))["benchmarks"]
    assert results["first"]["entropy"] == pytest.approx(reference["first"]["entropy"], rel=0.1)


@pytest.mark.parametrize("stops", [[0], [10, 31], [1, 17, 29], [70]])
def test_interrupted_and_resumed_equals_straight(settings, tmp_path, stops):
    """Interrupted after so many completions, once or repeatedly, the files are the same to the byte."""
    straight = EvalConfig(**settings)
    evaluate(straight)
    config = EvalConfig(**settings | {"output_dir": str(tmp_path / "resumed")})
    for stop in stops:
        engine = create_engine("transformers", config.model_name_or_path, batch_size=8)
        stream, left = engine.stream_samples, [stop]

        def interrupted(prompts, sampling, done=(), on_refused=None, stream=stream, left=left):
            for item in stream(prompts, sampling, done, on_refused):
                if left[0] == 0:
                    raise KeyboardInterrupt
                left[0] -= 1
                yield item

        engine.stream_samples = interrupted
        with pytest.raises(KeyboardInterrupt):
            evaluate(config, engine)
    evaluate(config)
    assert outputs(config.output_dir) == outputs(straight.output_dir)


def test_a_torn_last_line_is_generated_again(settings, tmp_path):
    evaluate(EvalConfig(**settings))
    config = EvalConfig(**settings | {"output_dir": str(tmp_path / "torn")})
    with pytest.raises(KeyboardInterrupt):
        evaluate(config, KnownEngine(["a", "b", "c"], interrupt_after=4))
    file = tmp_path / "torn" / "work" / "first.samples.jsonl"
    file.write_bytes(file.read_bytes()[:-9])
    engine = KnownEngine(["a", "b", "c"])
    evaluate(EvalConfig(**vars(config) | {"entropy": False}), engine)
    assert engine.asked == len(QUESTIONS) - 3 + 7


def test_what_is_finished_is_neither_generated_nor_counted_in_time_again(settings):
    results = evaluate(EvalConfig(**settings))
    again = evaluate(EvalConfig(**settings), RefusingEngine())
    assert again == results


def test_adding_a_benchmark_generates_only_that_one(settings, tmp_path):
    evaluate(EvalConfig(**settings | {"entropy": False}))
    third = {"name": "third", "path": write_questions(tmp_path / "third.jsonl", QUESTIONS[:2])}
    engine = KnownEngine(["1", "2", "3"])
    evaluate(EvalConfig(**settings | {"entropy": False, "benchmarks": [*settings["benchmarks"], third]}), engine)
    assert engine.asked == 2


@pytest.mark.parametrize("change", ["seed", "system_prompt", "data", "model", "template"])
def test_whatever_changes_the_completions_generates_them_again(settings, tmp_path, tiny_model, change):
    model = tmp_path / "model"
    shutil.copytree(tiny_model, model)
    settings |= {"model_name_or_path": str(model), "entropy": False}
    evaluate(EvalConfig(**settings), KnownEngine(["1", "2", "3"]))
    if change == "seed":
        settings["seed"] = 1
    elif change == "system_prompt":
        settings["system_prompt"] = "be brief"
    elif change == "template":
        settings["prompt_template"] = "solve {problem}"
    elif change == "data":
        for name in ("first", "second"):
            write_questions(
                tmp_path / f"{name}.jsonl", [{"problem": "9+9=", "answer": "18"}, *QUESTIONS[: len(QUESTIONS)]]
            )
    else:
        file = model / "model.safetensors"
        file.write_bytes(file.read_bytes()[:-1] + b"\x01")
    engine = KnownEngine(["1", "2", "3"])
    evaluate(EvalConfig(**settings), engine)
    assert engine.asked >= 27


def test_corrected_answers_are_judged_again_without_generating(settings, tmp_path):
    """Also what `rescore` asks for; the completions stay as they are."""
    settings |= {"entropy": False}
    before = evaluate(EvalConfig(**settings), KnownEngine([r"\boxed{77}", "x", "y"]))
    completions = [row["completion"] for row in rows_of(settings["output_dir"], "first")]
    write_questions(tmp_path / "first.jsonl", [{**row, "answer": "77"} for row in QUESTIONS])
    after = evaluate(EvalConfig(**settings), RefusingEngine())
    assert before["benchmarks"]["first"]["pass@1"] == 0
    assert after["benchmarks"]["first"]["pass@1"] == pytest.approx(1 / 3)
    assert [row["completion"] for row in rows_of(settings["output_dir"], "first")] == completions

    file = Path(settings["output_dir"]) / "generations_second.jsonl"
    rows = [
        {**row, "verdict": {**row["verdict"], "correct": True}} for row in rows_of(settings["output_dir"], "second")
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert evaluate(EvalConfig(**settings), RefusingEngine())["benchmarks"]["second"]["pass@1"] == 1
    rescored = evaluate(EvalConfig(**settings | {"rescore": True}), RefusingEngine())
    assert rescored["benchmarks"]["second"]["pass@1"] == 0


def test_the_prompt_is_the_one_of_training_unless_the_recipe_says_otherwise(settings, tmp_path, tiny_model):
    """A checkpoint of the SFT stage records its system turn and template."""
    from glow_trl.data.handover import write_handover
    from glow_trl.generation.loading import load_tokenizer

    model = tmp_path / "model"
    shutil.copytree(tiny_model, model)
    tokenizer = load_tokenizer(tiny_model)
    write_handover(model, tokenizer, "be exact", "q: {problem}", 1.0)
    seen = []

    class Recorder(KnownEngine):
        def stream(self, prompts, sampling, skip=()):
            seen.append(tokenizer.decode(prompts[0]))
            yield from super().stream(prompts, sampling, skip)

    settings |= {"model_name_or_path": str(model), "entropy": False, "only": ["first"]}
    for number, extra in enumerate(
        [{}, {"system_prompt": "other"}, {"system_prompt": "", "prompt_template": "{problem}"}]
    ):
        evaluate(
            EvalConfig(**settings | extra | {"output_dir": str(tmp_path / str(number))}), Recorder(["1", "2", "3"])
        )
    assert "be exact" in seen[0] and "q: 0+0=" in seen[0]
    assert "other" in seen[1] and "be exact" not in seen[1] and "q: 0+0=" in seen[1]
    assert "be exact" not in seen[2] and "q: " not in seen[2] and "0+0=" in seen[2]


def test_unusable_gold_answers_stop_the_evaluation_or_are_dropped_and_counted(settings, tmp_path):
    write_questions(tmp_path / "first.jsonl", [*QUESTIONS, {"problem": "1+1=", "answer": ""}])
    with pytest.raises(UserError, match=r"'first': 1 of 21 gold answers.*on_bad_gold"):
        evaluate(EvalConfig(**settings), RefusingEngine())
    results = evaluate(
        EvalConfig(**settings | {"on_bad_gold": "drop", "entropy": False}), KnownEngine(["1", "2", "3"])
    )
    assert (results["benchmarks"]["first"]["n"], results["benchmarks"]["first"]["bad_gold"]) == (20, 1)


def test_a_question_too_long_for_the_model_is_one_that_it_does_not_answer(settings, tmp_path):
    long = {"problem": "1+" * 400 + "1=", "answer": "401"}
    write_questions(tmp_path / "first.jsonl", [QUESTIONS[0], long, QUESTIONS[1]])
    config = EvalConfig(**settings | {"only": ["first"]})
    first = evaluate(config)["benchmarks"]["first"]
    assert (first["n"], first["refused"]) == (3, 1) and first["entropy_protocol"]["questions"] == 2
    rows = [row for row in rows_of(config.output_dir, "first") if row["index"] == 1]
    assert [row["verdict"]["reason"] for row in rows] == ["no_answer"] * 3
    write_questions(tmp_path / "first.jsonl", [long])
    with pytest.raises(UserError, match="'first': no question can be asked.*tokens"):
        evaluate(config)


def test_multiple_choice_questions_show_their_options_and_are_judged_by_letter(settings, tmp_path, tiny_model):
    from glow_trl.generation.loading import load_tokenizer

    rows = [{"question": "which?", "choices": ["one", "two", "three"], "answer": "B"}] * 2
    path = write_questions(tmp_path / "mcq.jsonl", rows)
    benchmark = {"name": "mcq", "path": path, "columns": {"problem": "question"}}
    seen = []

    class Recorder(KnownEngine):
        def stream(self, prompts, sampling, skip=()):
            seen.append(load_tokenizer(tiny_model).decode(prompts[0]))
            yield from super().stream(prompts, sampling, skip)

    engine = Recorder([r"\boxed{B}", "The answer is (C)", "The answer is B"])
    results = evaluate(EvalConfig(**settings | {"benchmarks": [benchmark], "entropy": False}), engine)
    assert results["benchmarks"]["mcq"]["pass@1"] == pytest.approx(2 / 3)
    assert "two" in seen[0] and "three" in seen[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_name_or_path": None}, "model_name_or_path is not set"),
        ({"output_dir": None}, "output_dir is not set"),
        ({"benchmarks": []}, "benchmarks is empty"),
        ({"benchmarks": ["gsm8"]}, "did you mean gsm8k"),
        ({"benchmarks": [7]}, "expected the name of a benchmark"),
        (
            {"benchmarks": [{"name": "a", "path": "x.jsonl", "colums": {}}]},
            "unknown key 'colums'; did you mean columns",
        ),
        ({"benchmarks": [{"name": "a"}]}, "path is missing"),
        ({"benchmarks": [{"path": "x.jsonl"}]}, "name is missing"),
        ({"benchmarks": [{"name": "a/b", "path": "x.jsonl"}]}, "file name"),
        ({"benchmarks": [{"name": "a", "path": "x"}, {"name": "a", "path": "y"}]}, "two entries are named 'a'"),
        ({"benchmarks": [{"name": "a", "path": "x", "limit": 0}]}, "limit"),
        ({"benchmarks": [{"name": "a", "path": "no/such.jsonl"}]}, "no/such.jsonl"),
        ({"only": ["frist"]}, "there is no benchmark 'frist'; did you mean first"),
        ({"k_values": [4]}, "k_values: k = 4"),
        ({"num_samples": 0}, "num_samples"),
        ({"temperature": -1.0}, "temperature"),
        ({"limit": 0}, "limit"),
        ({"model_name_or_path": "./no/model"}, "no folder"),
        ({"engine": "transformes"}, "unknown generation engine"),
    ],
)
def test_bad_settings_are_named(settings, change, message):
    with pytest.raises(UserError, match=message):
        evaluate(EvalConfig(**settings | change))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "empty"),
        ('{"problem": "1+1=", "answer": "2"}\n{"problem": \n', "line 2"),
        ('{"problem": "1+1=", "gold": "2"}\n', "answer"),
        ('{"question": "1+1=", "answer": "2"}\n', "problem"),
    ],
)
def test_bad_data_is_named_by_file_and_line(settings, tmp_path, content, message):
    (tmp_path / "first.jsonl").write_text(content)
    with pytest.raises(UserError, match=message) as caught:
        evaluate(EvalConfig(**settings), RefusingEngine())
    assert "first.jsonl" in str(caught.value)


def test_a_model_without_tokenizer_or_chat_template_is_named(settings, tmp_path, tiny_model):
    model = tmp_path / "model"
    shutil.copytree(tiny_model, model)
    (model / "chat_template.jinja").unlink()
    with pytest.raises(UserError, match="no chat template"):
        evaluate(EvalConfig(**settings | {"model_name_or_path": str(model)}), RefusingEngine())
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (model / name).unlink()
    with pytest.raises(UserError, match="no tokenizer"):
        evaluate(EvalConfig(**settings | {"model_name_or_path": str(model)}), RefusingEngine())


def test_an_output_folder_that_cannot_be_written_is_named(settings, tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "out"):
        with pytest.raises(UserError, match="file"):
            evaluate(EvalConfig(**settings | {"output_dir": str(path)}), RefusingEngine())


def command(settings: dict, tmp_path: Path, *options: str) -> list[str]:
    config = tmp_path / "eval.yaml"
    config.write_text(json.dumps(settings))  # JSON is YAML
    return [sys.executable, "-m", "glow_trl.evaluation", "--config", str(config), *options]


@pytest.mark.slow
def test_the_command_writes_its_record_and_is_killed_and_resumed(settings, tmp_path):
    """SIGKILL in the middle of generating; the second start ends with what an undisturbed run has."""
    many = [{"problem": f"{a}+{b}=", "answer": str(a + b)} for a in range(20) for b in range(20)]
    write_questions(tmp_path / "first.jsonl", many)
    settings |= {"num_samples": 2, "max_new_tokens": 24}
    config = EvalConfig(**settings | {"output_dir": str(tmp_path / "straight")})
    evaluate(config)
    partial = Path(settings["output_dir"]) / "work" / "first.samples.jsonl"
    kill_when(lambda: partial.exists() and partial.stat().st_size > 5_000, command(settings, tmp_path))
    assert not partial.with_name("generations_first.jsonl").exists()
    result = subprocess.run(command(settings, tmp_path), env=environment(), capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "first v2" in result.stdout
    found = outputs(settings["output_dir"])
    record = json.loads(found.pop("run.json"))
    assert record["status"] == "complete" and record["stage"] == "eval" and record["seed"] == 42
    assert record["config"]["num_samples"] == 2 and record["versions"]["trl"] and record["seconds"] > 0
    assert found == outputs(config.output_dir)


@pytest.mark.slow
def test_killed_five_times_at_random_moments_the_numbers_are_the_same(settings, tmp_path):
    """SIGKILL while it loads, generates, judges, measures entropy or summarizes, wherever it happens to be."""
    many = [{"problem": f"{a}+{b}=", "answer": str(a + b)} for a in range(8) for b in range(8)]
    write_questions(tmp_path / "first.jsonl", many)
    settings |= {"num_samples": 4, "max_new_tokens": 24, "temperature": 0.8}
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "helpers.evaluation_kill_worker", str(tmp_path / "settings.json"), "5", "1"]
    result = subprocess.run(command, env=environment(), capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-2000:]
    assert json.loads(result.stdout.splitlines()[-1]) == {"killed": 5}
    assert outputs(settings["output_dir"]) == outputs(settings["output_dir"] + "_straight")


@pytest.mark.slow
def test_the_command_says_what_is_wrong_in_one_line(settings, tmp_path):
    (tmp_path / "first.jsonl").write_text("")
    result = subprocess.run(command(settings, tmp_path), capture_output=True, text=True)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr and len(result.stderr.strip().splitlines()) == 1
    result = subprocess.run(command(settings, tmp_path, "--num_sample", "2"), capture_output=True, text=True)
    assert result.returncode == 2 and "--num_samples" in result.stderr


@pytest.mark.slow
def test_a_server_is_evaluated_and_killed_runs_ask_only_for_what_is_missing(settings, openai_server):
    """A real server: conversations go to it, nothing is loaded here, and policy entropy is left out."""
    settings |= {"model_name_or_path": "teacher", "engine": "server", "engine_options": {"base_url": openai_server}}
    results = evaluate(EvalConfig(**settings))
    first = results["benchmarks"]["first"]
    assert first["n"] == 20 and first["samples"] == 3 and "entropy" not in first
    rows = rows_of(settings["output_dir"], "first")
    assert len(rows) == 60 and all(1 <= row["n_tokens"] <= 12 for row in rows)

    config = EvalConfig(**settings | {"output_dir": settings["output_dir"] + "_2"})
    with create_engine("server", "teacher", base_url=openai_server) as engine:
        stream, asked = engine.stream_samples, []

        def interrupted(prompts, sampling, done=(), on_refused=None):
            assert prompts[0] == [{"role": "user", "content": "0+0="}]
            for number, item in enumerate(stream(prompts, sampling, done, on_refused)):
                if number == 25 and not asked:
                    asked.append(number)
                    raise KeyboardInterrupt
                yield item

        engine.stream_samples = interrupted
        with pytest.raises(KeyboardInterrupt):
            evaluate(config, engine)
        saved = (Path(config.output_dir) / "work" / "first.samples.jsonl").read_text().splitlines()
        assert len(saved) == 25
        evaluate(config, engine)
    assert outputs(config.output_dir) == outputs(settings["output_dir"])
