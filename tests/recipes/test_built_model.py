"""Models built on the spot: they load as any other, write every text exactly, and render turns as TRL needs them."""

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen2ForCausalLM

from glow_trl.data.jsonl import read_jsonl
from glow_trl.errors import UserError
from glow_trl.quickstart import VOCABULARY, QuickstartConfig, write_data
from glow_trl.recipes.built_model import BuiltModelConfig, build_model, build_tokenizer


TEXTS = [
    "Natalia sold 48/2 = <<48/2=24>>24 clips in May.\nA: 24",
    "The café's Δ is  3.\t\\frac{1}{2}\r\n\n",
    "日本 🙂",
]
ODD_TEXTS = ["", " ", "\n\n x", "<|im_end|>", "zero\u200bwidth\x00", "end ", "ﬁ ligature", "a<|im_start|>b"]


@pytest.fixture(scope="module")
def quickstart_texts(tmp_path_factory) -> list[str]:
    folder = tmp_path_factory.mktemp("data")
    write_data(QuickstartConfig(train_questions=300, rl_questions=300, test_questions=50), folder)
    rows = [row for path in sorted(folder.glob("*.jsonl")) for _, row in read_jsonl(path)]
    return [text for row in rows for text in (row["problem"], row.get("completion")) if text is not None]


@pytest.fixture(scope="module")
def word_model(tmp_path_factory, quickstart_texts):
    folder = tmp_path_factory.mktemp("word")
    build_model(BuiltModelConfig(), quickstart_texts, folder, VOCABULARY)
    return folder


@pytest.fixture(scope="module")
def bpe_model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bpe")
    config = BuiltModelConfig(tokenizer="bpe", vocab_size=320, num_key_value_heads=2, tie_word_embeddings=False)
    build_model(config, TEXTS * 5, folder)
    return folder


def test_word_round_trip_over_all_quickstart_texts(word_model, quickstart_texts):
    """A text that does not survive the tokenizer would be scored wrong whatever the model does."""
    tokenizer = AutoTokenizer.from_pretrained(word_model)
    for text in quickstart_texts:
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_word_tokenizer_has_one_token_for_each_piece(word_model):
    """Every token costs time in the quickstart."""
    tokenizer = AutoTokenizer.from_pretrained(word_model)
    assert tokenizer.tokenize("g=1; h plus 3; h=?") == ["g", "=1", "; ", "h", " plus 3", "; ", "h", "=?"]
    assert tokenizer.tokenize("h: 1+3=4; \\boxed{4}") == ["h", ": 1", "+3", "=4", "; ", "\\boxed{", "4", "}"]
    assert len(tokenizer) < 120


def test_word_tokenizer_learns_the_characters_of_its_texts():
    """Texts beyond the vocabulary, with characters of several bytes, round-trip as well."""
    tokenizer = build_tokenizer(BuiltModelConfig(), TEXTS)
    for text in TEXTS:
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_bpe_round_trip_over_any_text(bpe_model):
    """Byte-level pairs can write what training never showed."""
    tokenizer = AutoTokenizer.from_pretrained(bpe_model)
    assert len(tokenizer) <= 320
    for text in TEXTS + ODD_TEXTS:
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert len(tokenizer("Natalia sold")["input_ids"]) < len("Natalia sold")


def test_bpe_round_trip_over_real_trajectories(shared_data):
    """The real data of the gsm8k recipe."""
    rows = [row for _, row in read_jsonl(shared_data / "traj_gsm8k_openai.jsonl")][:500]
    texts = [text for row in rows for text in (row["problem"], row["completion"])]
    config = BuiltModelConfig(tokenizer="bpe", vocab_size=1024, max_position_embeddings=4096)
    tokenizer = build_tokenizer(config, texts)
    assert len(tokenizer) == 1024
    for text in texts:
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


@pytest.mark.parametrize("kind", ["word_model", "bpe_model"])
def test_model_loads_with_auto_classes_and_generates(kind, request):
    """What is saved must be a checkpoint like any other."""
    folder = request.getfixturevalue(kind)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert isinstance(model, Qwen2ForCausalLM) and model.dtype == torch.float32
    assert model.config.vocab_size == len(tokenizer)
    for config in (model.config, model.generation_config):
        assert config.eos_token_id == tokenizer.eos_token_id
        assert config.pad_token_id == tokenizer.pad_token_id
    assert tokenizer.eos_token == "<|im_end|>" and tokenizer.pad_token != tokenizer.eos_token
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "a=1; a=?"}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    output = model.generate(**prompt, max_new_tokens=5)
    assert output.shape[1] > prompt["input_ids"].shape[1]


@pytest.mark.parametrize("kind", ["word_model", "bpe_model"])
@pytest.mark.parametrize("system", [None, "s"])
def test_prompt_is_a_token_prefix_and_the_turn_ends_with_eos(kind, system, request):
    """Completion-only loss needs the prefix; generation after training needs the end token to be a target."""
    tokenizer = AutoTokenizer.from_pretrained(request.getfixturevalue(kind))
    messages = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": "g=1; h+3; h=?"})
    answered = [*messages, {"role": "assistant", "content": "h: 1+3=4; \\boxed{4}"}]
    prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    full = tokenizer.apply_chat_template(answered, return_dict=True, return_assistant_tokens_mask=True)
    ids = full["input_ids"]
    assert ids[: len(prompt)] == prompt
    assert tokenizer.decode(ids[len(prompt) :]) == "h: 1+3=4; \\boxed{4}<|im_end|>"
    assert ids[-1] == tokenizer.eos_token_id
    assert full["assistant_masks"] == [0] * len(prompt) + [1] * (len(ids) - len(prompt))
    # The markers are single tokens, and a turn of the chat goes on from the one before.
    assert ids.count(tokenizer.convert_tokens_to_ids("<|im_start|>")) == len(answered)
    assert ids.count(tokenizer.eos_token_id) == len(answered)
    longer = tokenizer.apply_chat_template([*answered, messages[-1]], return_dict=False)
    assert longer[: len(ids)] == ids


def test_same_seed_same_weights(tmp_path):
    """A run is repeatable, and building a model leaves the global generator alone."""
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        build_model(BuiltModelConfig(seed=seed, hidden_size=16, intermediate_size=32), [], tmp_path / name, VOCABULARY)
    assert torch.equal(torch.rand(3), expected)
    a, b, c = (AutoModelForCausalLM.from_pretrained(tmp_path / name).state_dict() for name in "abc")
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert not torch.equal(a["model.embed_tokens.weight"], c["model.embed_tokens.weight"])


def test_configuration_reaches_the_model(bpe_model):
    """Sizes in the recipe are the sizes of the model."""
    config = AutoModelForCausalLM.from_pretrained(bpe_model).config
    assert (config.hidden_size, config.num_hidden_layers, config.num_key_value_heads) == (64, 2, 2)
    assert config.rope_parameters["rope_theta"] == 10000.0
    assert config.initializer_range == 0.1 and config.tie_word_embeddings is False


@pytest.mark.parametrize(
    "change, message",
    [
        ({"tokenizer": "letters"}, "tokenizer"),
        ({"num_hidden_layers": 0}, "num_hidden_layers"),
        ({"hidden_size": 60}, "hidden_size"),
        ({"num_key_value_heads": 3}, "num_key_value_heads"),
        ({"tokenizer": "bpe", "vocab_size": 100}, "vocab_size"),
    ],
)
def test_impossible_configurations_are_refused_by_name(change, message, tmp_path):
    """A typo in the recipe must name the key, not end in a traceback."""
    with pytest.raises(UserError, match=message):
        build_model(BuiltModelConfig(**change), TEXTS, tmp_path)


@pytest.mark.parametrize("word", ["", "caf\u00e9"])
def test_vocabulary_that_would_not_round_trip_is_refused(word):
    """The byte-level decoder reads accented letters as bytes."""
    with pytest.raises(UserError, match="vocabulary"):
        build_tokenizer(BuiltModelConfig(), TEXTS, [word])


def test_unwritable_folder_is_a_user_error(tmp_path):
    """One line, no traceback."""
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        build_model(BuiltModelConfig(), TEXTS, tmp_path / "file" / "model")


@pytest.mark.parametrize(("heads", "rope_theta"), [(2, 10_000.0), (2, 1e6), (4, 100.0)])
def test_a_head_begins_by_looking_at_the_token_before(tmp_path, heads, rope_theta):
    """Whatever the tokens; the other heads and all other weights are those of a model without it."""
    sizes = {"num_attention_heads": heads, "num_key_value_heads": heads, "rope_theta": rope_theta, "seed": 3}
    for name, wanted in (("plain", False), ("looking", True)):
        build_model(BuiltModelConfig(**sizes, previous_token_head=wanted), ["abc"], tmp_path / name, VOCABULARY)
    plain, looking = (
        AutoModelForCausalLM.from_pretrained(tmp_path / name, attn_implementation="eager")
        for name in ("plain", "looking")
    )
    tokens = torch.randint(0, 60, (8, 40), generator=torch.Generator().manual_seed(0))
    found, before = (model(tokens, output_attentions=True).attentions[0] for model in (looking, plain))
    assert found[:, 0].diagonal(-1, 1, 2).mean() > 0.75 > 3 * before[:, 0].diagonal(-1, 1, 2).mean()
    assert torch.equal(found[:, 1:], before[:, 1:])
    changed = {
        name
        for (name, mine), theirs in zip(looking.named_parameters(), plain.parameters(), strict=True)
        if not torch.equal(mine, theirs)
    }
    assert changed == {f"model.layers.0.self_attn.{part}_proj.bias" for part in "qk"}
