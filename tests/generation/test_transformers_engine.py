"""The transformers engine: what it draws, how it pads and stops, and that it can be interrupted."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch

from glow_trl.generation import SamplingConfig, create_engine
from glow_trl.generation.loading import load_model, load_tokenizer
from helpers.token_probabilities import TEMPERED, check_engine


PROMPTS = ["1+2=", "3*4+5-6=", "a", "abcdefgh: 1;", "7", "9-8=", "what is 1+1?", "zz", "5*5*5*5="]


@pytest.fixture(scope="module")
def engine(tiny_model):
    with create_engine("transformers", tiny_model, batch_size=4) as engine:
        yield engine


def greedy_reference(model, token_ids: list[int], steps: int, end_ids: set[int]) -> list[int]:
    """One sequence alone, without padding, cache or `generate`."""
    drawn = []
    with torch.no_grad():
        for _ in range(steps):
            logits = model(input_ids=torch.tensor([token_ids + drawn])).logits
            drawn.append(int(logits[0, -1].argmax()))
            if drawn[-1] in end_ids:
                break
    return drawn


def test_greedy_batches_equal_sequences_decoded_alone(engine, tiny_model):
    """Left padding and batching change nothing."""
    tokenizer, model = load_tokenizer(tiny_model), load_model(tiny_model)
    found = engine.generate(PROMPTS, SamplingConfig(temperature=0, max_new_tokens=12))
    for prompt, generations in zip(PROMPTS, found, strict=True):
        token_ids = tokenizer.encode(prompt, add_special_tokens=False)
        expected = greedy_reference(model, token_ids, 12, {tokenizer.eos_token_id})
        assert [generation.token_ids for generation in generations] == [expected]


def test_same_seed_same_completions_other_seed_others(engine):
    sampling = SamplingConfig(num_samples=3, temperature=1, top_p=1, max_new_tokens=16, seed=5)
    first = engine.generate(PROMPTS, sampling)
    assert engine.generate(PROMPTS, sampling) == first
    assert engine.generate(PROMPTS, SamplingConfig(3, 1, 1, 16, seed=6)) != first
    samples = [tuple(generation.token_ids) for generations in first for generation in generations]
    assert len(set(samples)) == len(samples)


def test_generation_leaves_the_random_state_alone(engine):
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    engine.generate(PROMPTS[:2], SamplingConfig(temperature=1, max_new_tokens=4))
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("skip", [{0}, {1, 4, 7}, set(range(8)), set(range(9))])
def test_skipping_what_is_done_leaves_the_rest_as_it_would_have_been(engine, skip):
    sampling = SamplingConfig(num_samples=3, temperature=1, max_new_tokens=8, seed=1)
    straight = engine.generate(PROMPTS, sampling)
    resumed = dict(engine.stream(PROMPTS, sampling, skip=skip))
    assert resumed == {index: straight[index] for index in range(len(PROMPTS)) if index not in skip}


def test_log_probs_are_the_models_own_however_it_was_sampled(engine, tiny_model):
    check_engine(engine, tiny_model, PROMPTS)


def test_log_probs_of_what_is_missing_are_what_they_would_have_been(engine):
    sampling = dataclasses.replace(TEMPERED, log_probs=True)
    straight = engine.generate(PROMPTS, sampling)
    assert dict(engine.stream(PROMPTS, sampling, skip={1, 4, 7})) == {
        index: straight[index] for index in range(len(PROMPTS)) if index not in {1, 4, 7}
    }


def test_strings_and_token_ids_are_the_same_prompts(engine, tiny_model):
    tokenizer = load_tokenizer(tiny_model)
    token_ids = [tokenizer.encode(prompt, add_special_tokens=False) for prompt in PROMPTS]
    sampling = SamplingConfig(temperature=1, max_new_tokens=6)
    assert engine.generate(PROMPTS, sampling) == engine.generate(token_ids, sampling)


def test_batches_respect_both_bounds_and_hold_every_sample_once(tiny_model):
    engine = create_engine("transformers", tiny_model, batch_size=3, batch_tokens=60)
    token_ids = [[1] * length for length in (3, 30, 8, 12, 12, 80, 1)]
    sampling = SamplingConfig(num_samples=4, max_new_tokens=10)
    batches = list(engine._batches(token_ids, sampling, range(7)))
    assert sorted(index for batch in batches for index in batch) == sorted(list(range(7)) * 4)
    for batch in batches:
        assert len(batch) <= 3
        assert len(batch) == 1 or len(batch) * (max(len(token_ids[index]) for index in batch) + 10) <= 60
    assert max(map(len, batches)) == 3


def test_finish_reason_and_end_token(engine, tiny_model):
    """A completion that ends itself keeps its end token in the ids and not in the text."""
    tokenizer = load_tokenizer(tiny_model)
    drawn = engine.generate(PROMPTS, SamplingConfig(num_samples=20, temperature=1, top_p=1, max_new_tokens=40))
    flat = [generation for generations in drawn for generation in generations]
    assert {generation.finish_reason for generation in flat} == {"stop", "length"}
    for generation in flat:
        assert generation.n_tokens == len(generation.token_ids)
        ends = [token == tokenizer.eos_token_id for token in generation.token_ids]
        assert generation.text == tokenizer.decode(generation.token_ids, skip_special_tokens=True)
        assert tokenizer.eos_token not in generation.text
        if generation.finish_reason == "stop":
            assert ends.index(True) == len(ends) - 1
        else:
            assert not any(ends) and generation.n_tokens == 40


def copy_with_generation_config(tiny_model: str, folder: Path, **settings) -> str:
    shutil.copytree(tiny_model, folder)
    file = folder / "generation_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))
    return str(folder)


def test_end_tokens_of_the_generation_config_count_too(tiny_model, tmp_path):
    tokenizer = load_tokenizer(tiny_model)
    other = tokenizer.encode("7", add_special_tokens=False)[0]
    path = copy_with_generation_config(tiny_model, tmp_path / "model", eos_token_id=[tokenizer.eos_token_id, other])
    engine = create_engine("transformers", path)
    drawn = engine.generate(PROMPTS, SamplingConfig(num_samples=20, temperature=1, top_p=1, max_new_tokens=40))
    last = {generation.token_ids[-1] for row in drawn for generation in row if generation.finish_reason == "stop"}
    assert last == {tokenizer.eos_token_id, other}


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.5, 1.0), (1.0, 0.6)])
def test_samples_follow_the_distribution_that_was_asked_for(tiny_model, tmp_path, temperature, top_p):
    """Frequencies of the first token against the exact distribution, in spite of the checkpoint's own defaults."""
    path = copy_with_generation_config(
        tiny_model, tmp_path / "model", top_k=2, repetition_penalty=3.0, temperature=0.1, top_p=0.2, do_sample=True
    )
    count = 6000
    engine = create_engine("transformers", path, batch_size=count)
    drawn = engine.generate(["1+2="], SamplingConfig(count, temperature, top_p, max_new_tokens=1))[0]
    token_ids = load_tokenizer(path).encode("1+2=", add_special_tokens=False)
    with torch.no_grad():
        logits = load_model(path)(input_ids=torch.tensor([token_ids])).logits[0, -1]
    exact = torch.softmax(logits.double() / temperature, dim=0)
    ordered, order = exact.sort(descending=True)
    kept = ordered.cumsum(0) - ordered < top_p
    exact = torch.zeros_like(exact).scatter(0, order[kept], ordered[kept])
    exact /= exact.sum()
    found = torch.bincount(torch.tensor([row.token_ids[0] for row in drawn]), minlength=len(exact)) / count
    assert not found[exact == 0].any()
    assert (found - exact).abs().max() < 4.5 * (exact * (1 - exact) / count).sqrt().max()


def test_an_adapter_generates_as_its_merged_model_and_not_as_its_base(tiny_model, tmp_path):
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(load_model(tiny_model), LoraConfig(r=4, target_modules=["q_proj", "v_proj", "down_proj"]))
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.3)
    tokenizer = load_tokenizer(tiny_model)
    for name, saved in (("adapter", model), ("merged", None)):
        saved = saved or model.merge_and_unload()
        saved.save_pretrained(tmp_path / name)
        tokenizer.save_pretrained(tmp_path / name)
    sampling = SamplingConfig(temperature=0, max_new_tokens=12)
    adapter, merged, base = (
        create_engine("transformers", str(path)).generate(PROMPTS, sampling)
        for path in (tmp_path / "adapter", tmp_path / "merged", tiny_model)
    )
    assert adapter == merged
    assert adapter != base


def test_stop_strings_cut_text_and_tokens(engine, tiny_model):
    """The samples without a stop string are those with one up to there: tokens, text and reason."""
    tokenizer = load_tokenizer(tiny_model)
    free = SamplingConfig(num_samples=1, temperature=0, max_new_tokens=30)
    stopping = SamplingConfig(num_samples=1, temperature=0, max_new_tokens=30, stop=["5", "ab", "z"])
    stopped = 0
    for (before,), (after,) in zip(engine.generate(PROMPTS, free), engine.generate(PROMPTS, stopping), strict=True):
        ends = [before.text.find(string) for string in stopping.stop if string in before.text]
        if not ends:
            assert after == before
            continue
        stopped += 1
        assert after.finish_reason == "stop" and after.text == before.text[: min(ends)]
        assert after.token_ids == before.token_ids[: after.n_tokens]
        # The last token is the one that completes the string
        assert any(string in tokenizer.decode(after.token_ids) for string in stopping.stop)
        assert not any(string in tokenizer.decode(after.token_ids[:-1]) for string in stopping.stop)
    assert stopped


def test_single_missing_samples_are_what_they_would_have_been(engine):
    sampling = SamplingConfig(num_samples=3, temperature=1, max_new_tokens=8, seed=1)
    straight = {(index, sample): text for index, sample, text in engine.stream_samples(PROMPTS, sampling)}
    assert len(straight) == 3 * len(PROMPTS)
    done = {pair for number, pair in enumerate(sorted(straight)) if number % 4}
    rest = {(index, sample): text for index, sample, text in engine.stream_samples(PROMPTS, sampling, done)}
    assert rest == {pair: straight[pair] for pair in straight.keys() - done}


def test_top_k_keeps_the_most_probable_tokens(engine):
    sampling = SamplingConfig(2000, 1.0, 1.0, max_new_tokens=1, top_k=3)
    assert len({generation.token_ids[0] for generation in engine.generate(["1+2="], sampling)[0]}) == 3


def test_a_sample_does_not_depend_on_its_batch(tiny_model):
    """Its random numbers follow from seed, prompt and number. One prompt leaves less room than asked for."""
    prompts = [*PROMPTS, list(range(5, 9)) * 12]
    sampling = SamplingConfig(num_samples=2, temperature=1, top_p=0.9, max_new_tokens=20, seed=3)
    drawn = []
    for batch_size in (1, 3, 512):
        with create_engine("transformers", tiny_model, batch_size=batch_size, max_model_len=64) as engine:
            drawn.append(engine.generate(prompts, sampling))
    assert drawn[0] == drawn[1] == drawn[2]
    assert len({generation.text for samples in drawn[0] for generation in samples}) > len(prompts)
