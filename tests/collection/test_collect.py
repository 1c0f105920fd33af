"""Collections: what is asked, what is written, and what happens when something goes wrong."""

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from glow_trl.cli import main
from glow_trl.collection.collecting.shards import SampleShards
from glow_trl.data import load_rows, read_jsonl, write_jsonl
from glow_trl.errors import ServiceError, UserError
from glow_trl.generation import Engine, Generation, SamplingConfig, create_engine, render_conversation
from glow_trl.generation.loading import load_tokenizer


QUESTIONS = [
    {"problem": "1+2=", "answer": 3, "source": "sums", "level": "easy", "solution": "long"},
    {"problem": "pick: ", "answer": "B", "kind": "choice", "choices": ["one", "two"], "sample_id": "mine"},
    {"problem": "7-3=", "answer": "4"},
]


@pytest.fixture
def questions(tmp_path) -> str:
    write_jsonl(tmp_path / "questions.jsonl", QUESTIONS)
    return str(tmp_path / "questions.jsonl")


@pytest.fixture
def collect(capsys, caplog):
    """Run the command in this process: exit code and what it said."""

    def run(*argv):
        caplog.clear()
        code = main(["collect", *map(str, argv)])
        return code, capsys.readouterr().err + caplog.text

    return run


def rows_of(folder: Path) -> list[dict]:
    return load_rows(str(folder / "trajectories-*.jsonl"))


def test_samples_are_those_of_the_engine_asked_directly(collect, questions, tiny_model, tmp_path):
    """Through the chat template, with system prompt, template and options; row by row."""
    options = ["--dataset_name", questions, "--model_name_or_path", tiny_model, "--output_dir", tmp_path / "out"]
    options += ["--system_prompt", "be brief", "--prompt_template", "solve: {problem}", "--num_samples", 3]
    options += ["--temperature", 1, "--max_new_tokens", 10, "--seed", 4, "--stop", "5", "--keep_columns", "level"]
    code, said = collect(*options, "--questions_per_shard", 2)
    assert code == 0 and "9 trajectories on 3 questions" in said

    tokenizer = load_tokenizer(tiny_model)
    texts = ["solve: 1+2=", "solve: pick: \nA. one\nB. two", "solve: 7-3="]
    conversations = [[{"role": "system", "content": "be brief"}, {"role": "user", "content": text}] for text in texts]
    prompts = [render_conversation(conversation, tokenizer) for conversation in conversations]
    sampling = SamplingConfig(3, 1, 0.95, 10, seed=4, stop=("5",))
    drawn = create_engine("transformers", tiny_model).generate(prompts, sampling)
    rows = rows_of(tmp_path / "out")
    assert [(row["completion"], row["n_tokens"], row["finish_reason"]) for row in rows] == [
        (generation.text, generation.n_tokens, generation.finish_reason) for some in drawn for generation in some
    ]
    assert [(row["index"], row["sample"]) for row in rows] == [(i, s) for i in range(3) for s in range(3)]
    assert len({row["sample_id"] for row in rows}) == 9
    assert {row["model"] for row in rows} == {tiny_model}
    first, choice = rows[0], rows[3]
    assert (first["problem"], first["answer"], first["source"], first["level"]) == ("1+2=", "3", "sums", "easy")
    assert "solution" not in first and first["question_id"] == "questions:1"
    assert (choice["kind"], choice["choices"], choice["question_id"]) == ("choice", ["one", "two"], "mine")
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert (record["questions"], record["samples"], record["rejected"]) == (3, 9, 0)
    assert record["tokens"] == sum(row["n_tokens"] for row in rows)
    assert record["truncated"] == pytest.approx(sum(row["finish_reason"] == "length" for row in rows) / 9)
    assert record["files"] == ["trajectories-00000-of-00002.jsonl", "trajectories-00001-of-00002.jsonl"]


def test_a_raw_prompt_is_the_text_as_it_stands(collect, questions, tiny_model, tmp_path):
    options = ["--dataset_name", questions, "--model_name_or_path", tiny_model, "--output_dir", tmp_path / "out"]
    options += ["--prompt_format", "raw", "--temperature", 0, "--num_samples", 1, "--max_new_tokens", 8]
    assert collect(*options)[0] == 0
    sampling = SamplingConfig(temperature=0, max_new_tokens=8)
    texts = ["1+2=", "pick: \nA. one\nB. two", "7-3="]
    drawn = create_engine("transformers", tiny_model).generate(texts, sampling)
    assert [row["completion"] for row in rows_of(tmp_path / "out")] == [some[0].text for some in drawn]
    code, said = collect(*options, "--system_prompt", "x", "--output_dir", tmp_path / "other")
    assert code == 2 and "system_prompt needs prompt_format: chat" in said


def test_the_chat_templates_variables_reach_it(collect, questions, tiny_model, tmp_path):
    """As Qwen3's `enable_thinking` does."""
    template = "{{ messages[-1]['content'] }}{% if enable_thinking %}abc{% endif %}"
    (tmp_path / "template.jinja").write_text(template)
    options = ["--dataset_name", questions, "--model_name_or_path", tiny_model, "--temperature", 0]
    options += ["--chat_template_path", tmp_path / "template.jinja", "--num_samples", 1, "--max_new_tokens", 8]
    assert collect(*options, "--output_dir", tmp_path / "off")[0] == 0
    thinking = ["--chat_template_kwargs", '{"enable_thinking": true}']
    assert collect(*options, *thinking, "--output_dir", tmp_path / "on")[0] == 0
    engine = create_engine("transformers", tiny_model)
    for name, ending in (("off", ""), ("on", "abc")):
        drawn = engine.generate(["1+2=" + ending], SamplingConfig(temperature=0, max_new_tokens=8))
        assert rows_of(tmp_path / name)[0]["completion"] == drawn[0][0].text


class Unsteady(Engine):
    """Gives three samples and fails; every sample has its place as text."""

    asked: list[tuple[int, int]] = []

    def __init__(self, model_name_or_path: str, samples: int = 3):
        self.samples = samples

    def stream_samples(self, prompts, sampling, done=(), on_refused=None):
        pairs = [(i, s) for i in range(len(prompts)) for s in range(sampling.num_samples) if (i, s) not in done]
        random.Random(len(pairs)).shuffle(pairs)
        for number, (index, sample) in enumerate(pairs):
            if number == self.samples:
                raise ServiceError("the server is gone")
            Unsteady.asked.append((index, sample))
            yield index, sample, Generation(f"{index}/{sample}", [1], 1, "stop")

    def stream(self, prompts, sampling, skip=()):
        raise NotImplementedError

    def close(self):
        pass


def test_a_server_that_goes_away_costs_nothing_that_was_there(collect, questions, tiny_model, tmp_path):
    """The same command continues, as often as it takes, and asks for no sample twice."""
    Unsteady.asked.clear()
    options = ["--dataset_name", questions, "--model_name_or_path", tiny_model, "--engine", f"{__name__}:Unsteady"]
    options += ["--output_dir", tmp_path / "out", "--num_samples", 4, "--questions_per_shard", 2]
    for kept in (3, 6, 9):
        code, said = collect(*options)
        assert code == 1 and "the server is gone; the samples so far are kept" in said and "Traceback" not in said
        assert len(rows_of(tmp_path / "out")) == kept
    assert collect(*options)[0] == 0
    assert [row["completion"] for row in rows_of(tmp_path / "out")] == [f"{i}/{s}" for i in range(3) for s in range(4)]
    assert len(Unsteady.asked) == len(set(Unsteady.asked)) == 12
    code, said = collect(*options)
    assert code == 0 and "is complete" in said and len(Unsteady.asked) == 12


def test_other_settings_or_questions_are_refused(collect, questions, tiny_model, tmp_path):
    options = ["--dataset_name", questions, "--model_name_or_path", tiny_model, "--engine", f"{__name__}:Unsteady"]
    options += ["--output_dir", tmp_path / "out"]
    assert collect(*options)[0] == 1
    code, said = collect(*options, "--seed", 7)
    assert code == 2 and "differs in seed: 0 -> 7" in said
    write_jsonl(questions, QUESTIONS[:2])
    code, said = collect(*options)
    assert code == 2 and "differs in the content of" in said


def test_questions_that_cannot_be_asked_are_put_aside(collect, tiny_model, tmp_path):
    """Broken lines, missing columns, and a prompt longer than the model allows: each named, none silently dropped."""
    lines = [
        json.dumps({"problem": "1+1=", "answer": "2"}),
        '{"problem": "torn',
        json.dumps({"problem": "no answer"}),
        json.dumps({"problem": 5, "answer": "5"}),
        json.dumps({"problem": "1" * 300, "answer": "2"}),
        json.dumps({"problem": "  ", "answer": "2"}),
        json.dumps({"problem": "2+2=", "answer": "4"}),
    ]
    (tmp_path / "questions.jsonl").write_text("\n".join(lines) + "\n")
    options = ["--dataset_name", tmp_path / "questions.jsonl", "--model_name_or_path", tiny_model, "--num_samples", 2]
    options += ["--max_new_tokens", 4, "--max_model_len", 100, "--output_dir", tmp_path / "out"]
    code, said = collect(*options)
    assert code == 0 and "5 questions could not be asked" in said
    assert [row["problem"] for row in rows_of(tmp_path / "out")] == ["1+1="] * 2 + ["2+2="] * 2
    rejects = [row for _, row in read_jsonl(tmp_path / "out" / "rejects.jsonl")]
    assert sorted(row["line"] for row in rejects) == [2, 3, 4, 5, 6]
    (refused,) = [row for row in rejects if row["line"] == 5]
    assert refused["reason"] == "the teacher refuses it" and "max_model_len=100" in refused["detail"]
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["rejected"] == 5 and sum(record["reasons"].values()) == 5


def test_repeated_questions_are_asked_once_on_demand(collect, tiny_model, tmp_path):
    write_jsonl(tmp_path / "questions.jsonl", [QUESTIONS[0], QUESTIONS[2], QUESTIONS[0]])
    options = ["--dataset_name", tmp_path / "questions.jsonl", "--model_name_or_path", tiny_model]
    options += ["--num_samples", 1, "--max_new_tokens", 2]
    assert collect(*options, "--output_dir", tmp_path / "all")[0] == 0
    assert len(rows_of(tmp_path / "all")) == 3
    assert collect(*options, "--output_dir", tmp_path / "once", "--unique_problems", "true")[0] == 0
    assert len(rows_of(tmp_path / "once")) == 2
    assert json.loads((tmp_path / "once" / "run.json").read_text())["repeated"] == 1
    write_jsonl(tmp_path / "questions.jsonl", [QUESTIONS[0]] * 3 + QUESTIONS)
    limited = ["--unique_problems", "true", "--limit", 2]
    assert collect(*options, *limited, "--output_dir", tmp_path / "limited")[0] == 0
    assert [row["problem"] for row in rows_of(tmp_path / "limited")] == ["1+2=", "pick: "]


def test_a_key_among_the_options_is_refused_and_not_recorded(collect, questions, tmp_path):
    options = ["--dataset_name", questions, "--model_name_or_path", "m", "--engine", "server"]
    code, said = collect(*options, "--engine_options", '{"api_key": "sk-1"}', "--output_dir", tmp_path / "out")
    assert code == 2 and "environment variable" in said and "sk-1" not in said
    assert not (tmp_path / "out").exists()


def make_shards(folder: Path) -> SampleShards:
    return SampleShards(folder, ["a", "b", "c"], num_samples=2, questions_per_shard=2)


def sample(index: int, number: int) -> dict:
    return {"problem": "abc"[index], "index": index, "sample": number, "n_tokens": 2, "finish_reason": "stop"}


def test_torn_lines_and_repeated_samples_do_not_survive_opening(tmp_path):
    with make_shards(tmp_path) as shards:
        for index, number in ((1, 1), (0, 0), (2, 1)):
            shards.append(sample(index, number))
    first, second = shards.paths
    whole = first.read_bytes()
    for rubbish in (b'{"problem": "a", "ind', b'not json\n{"tor', whole[: whole.index(b"\n") + 1], b"\0" * 70_000):
        first.write_bytes(whole + rubbish)
        with make_shards(tmp_path) as opened:
            assert (1, 1) in opened and (0, 0) in opened and (0, 1) not in opened and opened.rows == 3
        assert sorted(first.read_bytes().splitlines()) == sorted(whole.splitlines())
    with make_shards(tmp_path) as opened:
        for index, number in ((1, 0), (2, 0), (0, 1)):
            opened.append(sample(index, number))
        assert opened.complete and opened.tokens == 12
    expected = [sample(index, number) for index in range(3) for number in range(2)]
    assert [row for path in (first, second) for _, row in read_jsonl(path)] == expected


def test_samples_of_other_questions_are_not_taken_for_ours(tmp_path):
    with make_shards(tmp_path) as shards:
        shards.append(sample(0, 0) | {"problem": "something else"})
    with pytest.raises(UserError, match="the questions have changed"):
        make_shards(tmp_path)


def test_a_second_process_is_turned_away(collect, questions, tiny_model, tmp_path):
    """While one holds the folder; a process that was killed does not."""
    out = tmp_path / "out"
    out.mkdir()
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, time, pathlib; from glow_trl.stages.frame import folder_of_stage\n"
            "with folder_of_stage(pathlib.Path(sys.argv[1])): print('held', flush=True); time.sleep(60)",
            str(out),
        ],
        stdout=subprocess.PIPE,
    )
    try:
        assert holder.stdout.readline() == b"held\n"
        options = ["--dataset_name", questions, "--model_name_or_path", tiny_model, "--output_dir", out]
        options += ["--max_new_tokens", 2]
        code, said = collect(*options)
        assert code == 2 and "another process is writing there" in said
    finally:
        holder.kill()
        holder.wait()
    assert collect(*options)[0] == 0


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs a file system of its own")
def test_a_full_disk_ends_with_a_message_and_everything_so_far(tiny_model, tmp_path):
    """A real one of 48 kB; with room, the same command completes."""
    write_jsonl(tmp_path / "questions.jsonl", [{"problem": f"{i}+{i}=", "answer": str(2 * i)} for i in range(60)])
    disk = tmp_path / "disk"
    disk.mkdir()
    command = [sys.executable, "-m", "glow_trl", "collect", "--dataset_name", str(tmp_path / "questions.jsonl")]
    command += ["--model_name_or_path", tiny_model, "--output_dir", str(disk / "out"), "--num_samples", "8"]
    command += ["--max_new_tokens", "8", "--questions_per_shard", "10", "--temperature", "1"]
    command += ["--engine_options", '{"batch_size": 20}']
    script = (
        f"mount -t tmpfs -o size=48k tmpfs {disk} || exit 77; "
        f'"$@"; code=$?; cp -r {disk}/out {tmp_path}/kept; exit $code'
    )
    unshare = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]
    result = subprocess.run([*unshare, *command], capture_output=True, text=True, env=os.environ)
    if result.returncode == 77:
        pytest.skip("no file system can be mounted here")
    assert result.returncode == 1, result.stderr
    assert "No space left on device" in result.stderr and "what is saved is kept" in result.stderr
    assert "Traceback" not in result.stderr
    kept = rows_of(tmp_path / "kept")
    assert 20 < len(kept) < 480
    shutil.copytree(tmp_path / "kept", disk / "out")
    assert subprocess.run(command, capture_output=True).returncode == 0
    rows = rows_of(disk / "out")
    assert len(rows) == 480 and len({row["sample_id"] for row in rows}) == 480
    texts = {row["sample_id"]: row["completion"] for row in rows}
    assert all(texts[row["sample_id"]] == row["completion"] for row in kept)
    assert json.loads((disk / "out" / "run.json").read_text())["new_samples"] == 480 - len(kept)
