"""Token entropy against the full logits."""

import pytest
import torch
from transformers import Gemma2Config, Gemma2ForCausalLM, Qwen2Config, Qwen2ForCausalLM

from glow_trl.generation.forward import completion_entropies
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


def test_no_tensor_is_as_large_as_the_logits():
    """With the vocabulary of Qwen2.5: what the operations make stays below half of tokens x vocabulary."""
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=151_936,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
    )
    model = Qwen2ForCausalLM(config).eval()
    prompts, completions = random_sequences(151_936, count=25)
    sizes: list[tuple[int, tuple[int, ...]]] = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
            result = function(*arguments, **(keywords or {}))
            made = (leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor) and not is_weight(leaf))
            sizes.extend((leaf.numel(), tuple(leaf.shape)) for leaf in made)
            return result

    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}

    def is_weight(tensor) -> bool:
        return tensor.untyped_storage().data_ptr() in weights

    with Watch():
        assert len(list(completion_entropies(model, prompts, completions))) == 25
    logits = (sum(map(len, prompts)) + sum(map(len, completions))) * 151_936
    assert max(sizes)[0] < logits / 2, max(sizes)


def test_one_forward_pass_of_the_samples(tiny_model):
    """Each sample goes through the model once, and its tokens with little padding."""
    model = load_model(tiny_model)
    prompts, completions = random_sequences(model.config.vocab_size, count=60)
    shapes = []
    model.model.register_forward_hook(lambda module, args, output: shapes.append(output.last_hidden_state.shape[:2]))
    list(completion_entropies(model, prompts, completions, batch_size=5))
    assert sum(rows for rows, _ in shapes) == len(prompts)
    tokens = sum(map(len, prompts)) + sum(map(len, completions))
    assert tokens <= sum(rows * length for rows, length in shapes) <= 1.15 * tokens


def test_checkpoints_side_by_side(tmp_path, tiny_model):
    """A model whose output weights are halved is less certain; the change and its interval say so."""
    import json
    import shutil

    from safetensors.torch import load_file, save_file

    from glow_trl.cli import main
    from glow_trl.evaluation import compare_entropy

    flat = tmp_path / "flat"
    shutil.copytree(tiny_model, flat)
    weights = load_file(flat / "model.safetensors")
    weights["model.norm.weight"] *= 0.5
    save_file(weights, flat / "model.safetensors", metadata={"format": "pt"})
    questions = tmp_path / "sums.jsonl"
    questions.write_text("".join(json.dumps({"problem": f"{a}+1=", "answer": str(a + 1)}) + "\n" for a in range(40)))
    (tmp_path / "sums.yaml").write_text(json.dumps({"path": str(questions)}))
    command = ["entropy", tiny_model, str(flat), "--benchmarks", str(tmp_path / "sums.yaml"), "--max_new_tokens", "12"]
    assert main([*command, "--output_dir", str(tmp_path / "out"), "--entropy_questions", "30"]) == 0
    found = json.loads((tmp_path / "out" / "entropy.json").read_text())["sums"]
    assert list(found["models"]) == [tiny_model, str(flat)] and list(found["changes"]) == [str(flat)]
    means = []
    for path in (tiny_model, flat):
        folder = next(item for item in (tmp_path / "out").iterdir() if item.name.endswith(str(path).split("/")[-1]))
        rows = [json.loads(line) for line in (folder / "entropy_sums.jsonl").read_text().splitlines()]
        assert len(rows) == 30
        means.append(sum(row["entropy"] * row["n_tokens"] for row in rows) / sum(row["n_tokens"] for row in rows))
        entry = found["models"][str(path)]
        assert entry["entropy"] == pytest.approx(means[-1])
        assert entry["entropy_ci"][0] < means[-1] < entry["entropy_ci"][1]
        assert entry["entropy_protocol"]["questions"] == 30 and entry["entropy_protocol"]["temperature"] == 1
    change = found["changes"][str(flat)]
    assert change["relative_change"] == pytest.approx(means[1] / means[0] - 1) and change["ci"][0] > 0
    again = compare_entropy(
        [tiny_model, str(flat)],
        tmp_path / "out",
        benchmarks=[str(tmp_path / "sums.yaml")],
        max_new_tokens=12,
        entropy_questions=30,
    )
    assert again["sums"]["changes"] == found["changes"]


def test_an_engine_without_a_model_here_is_named():
    from glow_trl.errors import UserError
    from glow_trl.evaluation import EvalConfig

    settings = {"model_name_or_path": "m", "output_dir": "o", "benchmarks": ["gsm8k"], "engine": "server"}
    with pytest.raises(UserError, match="'server' gives samples and no distributions"):
        EvalConfig(**settings, entropy=True).resolve()
    EvalConfig(**settings).resolve()
    assert not EvalConfig(**settings).measures_entropy
