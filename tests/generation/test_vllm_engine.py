"""The vLLM engine, where it is installed."""

import importlib.util

import pytest
import torch

from glow_trl.generation import SamplingConfig, create_engine
from glow_trl.generation.loading import load_model, load_tokenizer


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vllm is not installed"),
]

PROMPTS = ["1+2=", "3*4+5-6=", "a", "abcdefgh: 1;", "7", "9-8="]


@pytest.fixture(scope="module")
def small_model(tmp_path_factory) -> str:
    """vLLM's attention wants a head dimension of at least 32."""
    from glow_trl.models import BuiltModelConfig, build_model

    path = tmp_path_factory.mktemp("small_model")
    config = BuiltModelConfig(hidden_size=64, intermediate_size=64, num_attention_heads=2, num_key_value_heads=2)
    build_model(config, ["0123456789+-*=;: abcdefghijklmnopqrstuvwxyz\\{}?.,\n"], path, vocabulary=["\\boxed{"])
    return str(path)


@pytest.fixture(scope="module")
def engine(small_model):
    with create_engine("vllm", small_model, dtype="float32", max_model_len=256) as engine:
        yield engine


def test_greedy_completions_equal_those_of_transformers(engine, small_model):
    """Also where both sample the same: ids, texts, lengths and reasons to stop."""
    sampling = SamplingConfig(temperature=0, max_new_tokens=24)
    reference = create_engine("transformers", small_model, dtype="float32").generate(PROMPTS, sampling)
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


def test_samples_follow_the_models_distribution(engine, small_model):
    count = 3000
    drawn = engine.generate(["1+2="], SamplingConfig(count, 1.0, 1.0, max_new_tokens=1))[0]
    token_ids = load_tokenizer(small_model).encode("1+2=", add_special_tokens=False)
    with torch.no_grad():
        exact = torch.softmax(load_model(small_model)(input_ids=torch.tensor([token_ids])).logits[0, -1], dim=0)
    found = torch.bincount(torch.tensor([row.token_ids[0] for row in drawn]), minlength=len(exact)) / count
    assert (found - exact).abs().max() < 4.5 * (exact * (1 - exact) / count).sqrt().max()


def test_an_adapter_is_applied(small_model, tmp_path):
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(load_model(small_model), LoraConfig(r=4, target_modules=["q_proj", "v_proj"]))
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.5)
    model.save_pretrained(tmp_path)
    load_tokenizer(small_model).save_pretrained(tmp_path)
    sampling = SamplingConfig(temperature=0, max_new_tokens=12)
    expected = create_engine("transformers", str(tmp_path), dtype="float32").generate(PROMPTS, sampling)
    with create_engine("vllm", str(tmp_path), dtype="float32", max_model_len=256) as adapted:
        assert adapted.generate(PROMPTS, sampling) == expected
