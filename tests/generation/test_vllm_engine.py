"""The vLLM engine, where it is installed."""

import dataclasses
import importlib.util

import pytest
import torch

from glow_trl.errors import UserError
from glow_trl.generation import SamplingConfig, create_engine
from glow_trl.generation.loading import load_model, load_tokenizer
from helpers.token_probabilities import TEMPERED, check_engine


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vllm is not installed"),
]

PROMPTS = ["1+2=", "3*4+5-6=", "a", "abcdefgh: 1;", "7", "9-8="]


@pytest.fixture(scope="module")
def engine(vllm_model):
    with create_engine("vllm", vllm_model, dtype="float32", max_model_len=256) as engine:
        yield engine


def test_greedy_completions_equal_those_of_transformers(engine, vllm_model):
    """Also where both sample the same: ids, texts, lengths and reasons to stop."""
    sampling = SamplingConfig(temperature=0, max_new_tokens=24)
    reference = create_engine("transformers", vllm_model, dtype="float32").generate(PROMPTS, sampling)
    assert engine.generate(PROMPTS, sampling) == reference


def test_skipping_and_stopping_early_leave_the_rest_as_it_would_have_been(engine):
    sampling = SamplingConfig(num_samples=3, temperature=1, top_p=1, max_new_tokens=12, seed=3)
    straight = engine.generate(PROMPTS, sampling)
    assert all(len(generations) == 3 for generations in straight)
    stream = engine.stream(PROMPTS, sampling)
    next(stream)
    stream.close()
    resumed = dict(engine.stream(PROMPTS, sampling, skip={0, 4}))
    assert resumed == {index: straight[index] for index in (1, 2, 3, 5)}
    assert engine.generate(PROMPTS, SamplingConfig(3, 1, 1, 12, seed=4)) != straight


def test_samples_follow_the_models_distribution(engine, vllm_model):
    count = 3000
    drawn = engine.generate(["1+2="], SamplingConfig(count, 1.0, 1.0, max_new_tokens=1))[0]
    token_ids = load_tokenizer(vllm_model).encode("1+2=", add_special_tokens=False)
    with torch.no_grad():
        exact = torch.softmax(load_model(vllm_model)(input_ids=torch.tensor([token_ids])).logits[0, -1], dim=0)
    found = torch.bincount(torch.tensor([row.token_ids[0] for row in drawn]), minlength=len(exact)) / count
    assert (found - exact).abs().max() < 4.5 * (exact * (1 - exact) / count).sqrt().max()


def test_stop_strings_end_a_completion_alike_in_both_engines(engine, vllm_model):
    """Greedily, so that both write the same text: it ends before the string, and the string's tokens are counted."""
    free = SamplingConfig(temperature=0, max_new_tokens=24)
    texts = [generations[0].text for generations in engine.generate(PROMPTS, free)]
    stop = tuple({text[3:5] for text in texts if len(text) > 8})
    assert stop
    stopping = SamplingConfig(temperature=0, max_new_tokens=24, stop=stop)
    found = engine.generate(PROMPTS, stopping)
    assert found == create_engine("transformers", vllm_model, dtype="float32").generate(PROMPTS, stopping)
    for text, (generation,) in zip(texts, found, strict=True):
        ends = [text.find(string) for string in stop if string in text]
        assert generation.text == (text[: min(ends)] if ends else text)
        assert not ends or generation.finish_reason == "stop"


def test_a_sample_is_the_same_whatever_else_is_asked_for(engine):
    sampling = SamplingConfig(num_samples=4, temperature=1, top_p=1, max_new_tokens=12, seed=5)
    straight = {(index, sample): text for index, sample, text in engine.stream_samples(PROMPTS, sampling)}
    done = {(index, sample) for index, sample in straight if (index + sample) % 3}
    rest = {(index, sample): text for index, sample, text in engine.stream_samples(PROMPTS, sampling, done)}
    assert rest == {pair: straight[pair] for pair in straight.keys() - done}


def test_a_prompt_without_room_is_refused_and_the_others_are_answered(engine):
    refused = []
    prompts = ["1+2=", "1" * 400, "3"]
    sampling = SamplingConfig(temperature=0, max_new_tokens=300)
    drawn = list(engine.stream_samples(prompts, sampling, on_refused=lambda *refusal: refused.append(refusal)))
    assert {index for index, _, _ in drawn} == {0, 2}
    ((index, reason),) = refused
    assert index == 1 and "max_model_len=256" in reason
    assert all(generation.n_tokens < 256 for _, _, generation in drawn)
    with pytest.raises(UserError, match="prompt 2 cannot be answered"):
        engine.generate(prompts, sampling)


def test_log_probs_are_the_models_own_however_it_was_sampled(engine, vllm_model, monkeypatch):
    """Which vLLM gives in the mode that is its default, and in no other."""
    check_engine(engine, vllm_model, PROMPTS)
    monkeypatch.setattr(engine._llm.llm_engine.model_config, "logprobs_mode", "processed_logprobs")
    with pytest.raises(UserError, match="logprobs_mode is 'processed_logprobs'"):
        engine.generate(PROMPTS, dataclasses.replace(TEMPERED, log_probs=True))


def test_an_adapter_is_applied(vllm_model, tmp_path):
    # The last test here: two engines in one process share what closing one of them takes away
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(load_model(vllm_model), LoraConfig(r=4, target_modules=["q_proj", "v_proj"]))
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.5)
    model.save_pretrained(tmp_path)
    load_tokenizer(vllm_model).save_pretrained(tmp_path)
    sampling = SamplingConfig(temperature=0, max_new_tokens=12)
    expected = create_engine("transformers", str(tmp_path), dtype="float32").generate(PROMPTS, sampling)
    with create_engine("vllm", str(tmp_path), dtype="float32", max_model_len=256) as adapted:
        assert adapted.generate(PROMPTS, sampling) == expected
