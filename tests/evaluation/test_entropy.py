"""Token entropy against the full logits."""

import pytest
import torch
from transformers import Gemma2Config, Gemma2ForCausalLM

from glow_trl.evaluation.entropy import completion_entropies, mean_token_entropy
from glow_trl.generation.loading import load_model


def random_sequences(vocabulary: int, count: int = 13, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)

    def draw(low, high):
        length = int(torch.randint(low, high, (), generator=generator))
        return torch.randint(3, vocabulary, (length,), generator=generator).tolist()

    return [draw(1, 20) for _ in range(count)], [draw(1, 30) for _ in range(count)]


def brute_force(model, prompt: list[int], completion: list[int]) -> float:
    """From the whole logits of one sequence, in double precision."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([prompt + completion])).logits[0].double()
    distribution = torch.log_softmax(logits[len(prompt) - 1 : -1], dim=-1)
    return float(-(distribution.exp() * distribution).sum())


def softcapped_model():
    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=101,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        final_logit_softcapping=3.0,
        initializer_range=0.5,
    )
    return Gemma2ForCausalLM(config).eval()


@pytest.mark.parametrize("kind", ["built", "peft", "softcapped"])
@pytest.mark.parametrize("batch_tokens", [1, 150, 10_000])
def test_entropy_equals_brute_force(tiny_model, kind, batch_tokens):
    model = softcapped_model() if kind == "softcapped" else load_model(tiny_model)
    if kind == "peft":
        from peft import LoraConfig, get_peft_model

        model = get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights=False)).eval()
    prompts, completions = random_sequences(model.config.vocab_size)
    found = dict(completion_entropies(model, prompts, completions, batch_tokens=batch_tokens))
    assert sorted(found) == list(range(len(prompts)))
    for index, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
        assert found[index] / len(completion) == pytest.approx(
            brute_force(model, prompt, completion) / len(completion), abs=1e-5
        )


def test_the_full_logits_are_never_built(tiny_model):
    """The output head is not called at all, and the model has its own forward back afterwards."""
    model = load_model(tiny_model)
    prompts, completions = random_sequences(model.config.vocab_size)
    expected = model(input_ids=torch.tensor([prompts[0]])).logits

    def refuse(*_):
        raise AssertionError("the output head was called")

    handle = model.get_output_embeddings().register_forward_hook(refuse)
    assert len(list(completion_entropies(model, prompts, completions))) == len(prompts)
    handle.remove()
    assert "forward" not in vars(model)
    assert torch.equal(model(input_ids=torch.tensor([prompts[0]])).logits, expected)


def test_one_forward_pass_of_the_samples(tiny_model):
    model = load_model(tiny_model)
    prompts, completions = random_sequences(model.config.vocab_size)
    rows = []
    model.model.register_forward_hook(lambda module, args, output: rows.append(output.last_hidden_state.shape[0]))
    list(completion_entropies(model, prompts, completions, batch_size=5))
    assert sum(rows) == len(prompts)


def test_mean_counts_tokens_and_not_completions():
    assert mean_token_entropy([1.0, 9.0], [1, 3]) == pytest.approx(2.5)
