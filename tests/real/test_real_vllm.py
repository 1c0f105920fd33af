"""A real pretrained model, SmolLM2-135M-Instruct, in vLLM: in this process, and behind its server as a teacher."""

from importlib.util import find_spec

import pytest
import torch
from transformers import AutoModelForCausalLM

from glow_trl.data import read_jsonl, write_jsonl
from glow_trl.generation import SamplingConfig, create_engine, render_conversation
from glow_trl.generation.loading import load_tokenizer
from helpers.openai_server import serving


pytestmark = [pytest.mark.slow, pytest.mark.skipif(find_spec("vllm") is None, reason="vllm is not installed")]

# Two tokens whose logits differ by less may change places between two implementations in float32
TIE = 1e-3
GREEDY = SamplingConfig(temperature=0, max_new_tokens=16)


@pytest.fixture(scope="module")
def questions(shared_data, tmp_path_factory) -> list[dict]:
    """Four short questions of GSM8K."""
    rows = [row for _, row in read_jsonl(shared_data / "qa_gsm8k_train.jsonl")]
    return sorted(rows, key=lambda row: len(row["problem"]))[:4]


@pytest.fixture(scope="module")
def prompts(real_model, questions) -> list[list[int]]:
    tokenizer = load_tokenizer(str(real_model))
    return [render_conversation([{"role": "user", "content": row["problem"]}], tokenizer) for row in questions]


@pytest.fixture(scope="module")
def expected(real_model, prompts) -> list[list[int]]:
    """The tokens that `transformers` decodes greedily."""
    engine = create_engine("transformers", str(real_model), dtype="float32")
    return [list(answer.token_ids) for (answer,) in engine.generate(prompts, GREEDY)]


def assert_alike(model, prompts: list[list[int]], expected: list[list[int]], found: list[list[int]]) -> None:
    """The same tokens, up to the first place where the logits of both choices tie."""
    assert len(found) == len(expected)
    for prompt, ours, others in zip(prompts, expected, found, strict=True):
        if ours == others:
            continue
        place = next(i for i, pair in enumerate(zip(ours, others, strict=False)) if pair[0] != pair[1])
        with torch.no_grad():
            logits = model(torch.tensor([prompt + ours[:place]])).logits[0, -1]
        assert (logits[ours[place]] - logits[others[place]]).abs() < TIE, (place, ours, others)


def test_vllm_and_transformers_agree_greedily(real_model, prompts, expected):
    with create_engine("vllm", str(real_model), dtype="float32", max_model_len=256) as engine:
        found = [list(answer.token_ids) for (answer,) in engine.generate(prompts, GREEDY)]
    assert_alike(AutoModelForCausalLM.from_pretrained(real_model), prompts, expected, found)


def test_collect_through_a_server(real_model, questions, prompts, expected, glow_trl, tmp_path):
    """The server has the chat template, with its system turn, and gives back what this process would have drawn."""
    write_jsonl(tmp_path / "questions.jsonl", questions)
    with serving(real_model, tmp_path / "server.log") as address:
        options = ["--engine", "server", "--engine_options", f"{{base_url: {address}, concurrency: 4}}"]
        options += ["--model_name_or_path", "teacher", "--dataset_name", tmp_path / "questions.jsonl"]
        options += ["--num_samples", 1, "--temperature", 0, "--max_new_tokens", GREEDY.max_new_tokens]
        code, said = glow_trl("collect", *options, "--output_dir", tmp_path / "out")
    assert code == 0, said
    rows = {row["problem"]: row for path in (tmp_path / "out").glob("*-of-*.jsonl") for _, row in read_jsonl(path)}
    answers = [rows[row["problem"]] for row in questions]
    tokenizer = load_tokenizer(str(real_model))
    found = [
        tokenizer(row["completion"]).input_ids + [tokenizer.eos_token_id] * (row["finish_reason"] == "stop")
        for row in answers
    ]
    assert [len(tokens) for tokens in found] == [row["n_tokens"] for row in answers]
    assert_alike(AutoModelForCausalLM.from_pretrained(real_model), prompts, expected, found)
