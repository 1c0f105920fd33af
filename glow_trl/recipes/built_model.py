"""Small Qwen2 models and their tokenizers, built on the spot: nothing is downloaded."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..errors import UserError
from ..generation.loading import without_file_bars
from ..stages.files import write_errors


if TYPE_CHECKING:
    from transformers import Qwen2ForCausalLM, Qwen2Tokenizer


PAD_TOKEN = "<|endoftext|>"
TURN_START = "<|im_start|>"
TURN_END = "<|im_end|>"
_SPECIAL_TOKENS = [PAD_TOKEN, TURN_START, TURN_END]
# Of a head that looks back: by how much the token before is ahead of the next, as a logarithm, and the least turn in a
# step, in radians, of the channels that tell one token from another
_AHEAD, _FAST = 6.0, 0.3
# What the chat template writes; a word-level tokenizer has one token for each.
_TEMPLATE_WORDS = ["system\n", "user\n", "assistant\n"]

# The line break stands before a turn and not after it, so that an assistant's turn ends with the token that ends
# generation, and the rendering of a prompt is a prefix of the rendering of prompt and completion.
CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{{- '\\n' if not loop.first else '' -}}"
    "{{- '<|im_start|>' + message['role'] + '\\n' -}}"
    "{%- if message['role'] == 'assistant' -%}"
    "{%- generation -%}{{- message['content'] + '<|im_end|>' -}}{%- endgeneration -%}"
    "{%- else -%}"
    "{{- message['content'] + '<|im_end|>' -}}"
    "{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}"
    "{{- '\\n' if messages else '' -}}"
    "{{- '<|im_start|>assistant\\n' -}}"
    "{%- endif -%}"
)


@dataclass
class BuiltModelConfig:
    r"""
    A small model of the Qwen2 architecture and its tokenizer.

    Args:
        tokenizer (`str`, *optional*, defaults to `"word"`):
            `"word"`: one token for each entry of the vocabulary and for each byte that the texts have; it passes over
            what is in neither. `"bpe"`: byte-pair encoding trained on the texts, which knows every byte. Both bring
            a text to Unicode's composed form first, as Qwen2 does.
        vocab_size (`int`, *optional*, defaults to `4096`):
            Upper bound of the number of tokens with `"bpe"`. With `"word"` there are as many as it needs.
        hidden_size (`int`, *optional*, defaults to `64`):
            Width of the model.
        intermediate_size (`int`, *optional*, defaults to `256`):
            Width of its feed-forward layers.
        num_hidden_layers (`int`, *optional*, defaults to `2`):
            Number of layers.
        num_attention_heads (`int`, *optional*, defaults to `4`):
            Attention heads.
        num_key_value_heads (`int`, *optional*, defaults to `4`):
            Heads of keys and values.
        max_position_embeddings (`int`, *optional*, defaults to `512`):
            Longest sequence.
        initializer_range (`float`, *optional*, defaults to `0.1`):
            Standard deviation of the initial weights. Small models need more than the 0.02 of large ones.
        rope_theta (`float`, *optional*, defaults to `10000.0`):
            Base of the rotary position embedding.
        tie_word_embeddings (`bool`, *optional*, defaults to `True`):
            Whether input and output embedding are one.
        previous_token_head (`bool`, *optional*, defaults to `False`):
            Whether the first head of the first layer begins by looking at the token before. Models that were trained
            on text have such heads, and find with them what came after a token the last time ([induction
            heads](https://arxiv.org/abs/2209.11895)). When a small model gets there by itself depends on the seed.
        seed (`int`, *optional*, defaults to `0`):
            Seed of the initial weights.
    """

    tokenizer: Literal["word", "bpe"] = "word"
    vocab_size: int = 4096
    hidden_size: int = 64
    intermediate_size: int = 256
    num_hidden_layers: int = 2
    num_attention_heads: int = 4
    num_key_value_heads: int = 4
    max_position_embeddings: int = 512
    initializer_range: float = 0.1
    rope_theta: float = 10000.0
    tie_word_embeddings: bool = True
    previous_token_head: bool = False
    seed: int = 0


def build_model(
    config: BuiltModelConfig,
    texts: Iterable[str],
    output_dir: str | os.PathLike,
    vocabulary: Iterable[str] | None = None,
) -> None:
    """Build the model and its tokenizer and save both, in float32, as `from_pretrained` wants to find them.

    Args:
        config ([`BuiltModelConfig`]): sizes, kind of tokenizer, seed.
        texts (`Iterable[str]`): what the tokenizer must be able to write (`"word"`) or is trained on (`"bpe"`).
        output_dir (`str` or `os.PathLike`): where to save.
        vocabulary (`Iterable[str]`, *optional*): ASCII pieces of text that get one token each; longer ones go first.
            With `"bpe"` they are added to what training finds.

    Raises:
        UserError: a value of `config` cannot be used, or the folder cannot be written to.
    """
    import torch
    from transformers import GenerationConfig, Qwen2Config, Qwen2ForCausalLM

    _validate(config)
    tokenizer = build_tokenizer(config, texts, vocabulary)
    model_config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=config.hidden_size,
        intermediate_size=config.intermediate_size,
        num_hidden_layers=config.num_hidden_layers,
        num_attention_heads=config.num_attention_heads,
        num_key_value_heads=config.num_key_value_heads,
        max_position_embeddings=config.max_position_embeddings,
        initializer_range=config.initializer_range,
        rope_parameters={"rope_type": "default", "rope_theta": config.rope_theta},
        tie_word_embeddings=config.tie_word_embeddings,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        dtype="float32",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = Qwen2ForCausalLM(model_config)
    if config.previous_token_head:
        _look_back(model)
    model.generation_config = GenerationConfig(
        do_sample=True, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    without_file_bars()
    output_dir = Path(output_dir)
    with write_errors(output_dir):
        output_dir.mkdir(parents=True, exist_ok=True)
        model.save_pretrained(output_dir)
        tokenizer.save_pretrained(output_dir)


def _look_back(model: "Qwen2ForCausalLM") -> None:
    """
    Let the first head of the first layer begin by attending to the token before. Its biases do: the rotary embedding
    turns them by the position, and those of query and key point the same way where the key is one token behind.
    """
    import torch

    config, attention = model.config, model.model.layers[0].self_attn
    width = attention.head_dim
    turns = config.rope_parameters["rope_theta"] ** (-torch.arange(0, width, 2) / width)
    # What is hardly turned in a step cannot tell a token from the one before
    fast = (turns > _FAST).float()
    fast *= (_AHEAD * width**0.5 / (fast * (1 - turns.cos())).sum()).sqrt()
    with torch.no_grad():
        attention.k_proj.bias[:width] = torch.cat([fast, torch.zeros(width // 2)])
        attention.q_proj.bias[:width] = torch.cat([fast * turns.cos(), -fast * turns.sin()])


def build_tokenizer(
    config: BuiltModelConfig, texts: Iterable[str], vocabulary: Iterable[str] | None = None
) -> "Qwen2Tokenizer":
    """The tokenizer of [`build_model`], with chat template, end and padding token.

    Raises:
        UserError: the vocabulary has an entry that cannot be a token, or `vocab_size` has no room for it.
    """
    from tokenizers import AddedToken
    from tokenizers.pre_tokenizers import ByteLevel

    words = dict.fromkeys(vocabulary or ())
    for word in words:
        # The decoder would take other letters for bytes.
        if not word or not word.isascii():
            raise UserError(f"tokenizer: an entry of the vocabulary must be ASCII and not empty, found {word!r}")
    if config.tokenizer == "bpe":
        tokenizer = _byte_tokenizer(ByteLevel.alphabet())
        smallest = len(tokenizer) + len(words)
        if config.vocab_size < smallest:
            raise UserError(f"model: vocab_size must be at least {smallest} with 'bpe', found {config.vocab_size}")
        tokenizer = tokenizer.train_new_from_iterator(texts, config.vocab_size - len(words), show_progress=False)
    else:
        words |= dict.fromkeys(_TEMPLATE_WORDS)
        to_bytes = ByteLevel(add_prefix_space=False, use_regex=False)
        pieces = (to_bytes.pre_tokenize_str(character) for character in set().union(*texts, *words))
        tokenizer = _byte_tokenizer({symbol for ((piece, _),) in pieces for symbol in piece})
    # One byte has its token already.
    tokenizer.add_tokens([AddedToken(word, normalized=False) for word in words if len(word) > 1])
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.model_max_length = config.max_position_embeddings
    return tokenizer


def _validate(config: BuiltModelConfig) -> None:
    if config.tokenizer not in ("word", "bpe"):
        raise UserError(f"model: tokenizer must be 'word' or 'bpe', found {config.tokenizer!r}")
    for name in ("hidden_size", "intermediate_size", "num_hidden_layers", "max_position_embeddings"):
        if getattr(config, name) < 1:
            raise UserError(f"model: {name} must be at least 1, found {getattr(config, name)}")
    heads, key_value_heads = config.num_attention_heads, config.num_key_value_heads
    if heads < 1 or config.hidden_size % (2 * heads):
        raise UserError(
            f"model: hidden_size must be an even multiple of num_attention_heads, found {config.hidden_size}, {heads}"
        )
    if key_value_heads < 1 or heads % key_value_heads:
        raise UserError(
            f"model: num_attention_heads must be a multiple of num_key_value_heads, found {heads}, {key_value_heads}"
        )


def _byte_tokenizer(alphabet: Iterable[str]) -> "Qwen2Tokenizer":
    from transformers import Qwen2Tokenizer

    # For a Qwen2 model `AutoTokenizer` always makes this class, with its own splitting rules, whatever was saved.
    return Qwen2Tokenizer(
        vocab={token: index for index, token in enumerate([*_SPECIAL_TOKENS, *sorted(alphabet)])},
        merges=[],
        unk_token=PAD_TOKEN,
        eos_token=TURN_END,
        pad_token=PAD_TOKEN,
        extra_special_tokens=[TURN_START],
    )
