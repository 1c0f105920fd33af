"""What several test folders share: a small model built on the spot, and the way to the real data."""

import os
from pathlib import Path

import pytest


# Before anything imports a Hugging Face library: no test needs the network, and none should wait for it.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data: `GLOW_TRL_DATA`, or `shared/data` beside the repository."""
    path = Path(os.environ.get("GLOW_TRL_DATA") or REPOSITORY.parent / "shared" / "data")
    if not path.is_dir():
        pytest.skip(f"no real data at {path}; set GLOW_TRL_DATA to the folder that has it")
    return path


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> str:
    """Folder of a two-layer Qwen2 model of some thousand parameters, with a word-level tokenizer and chat template."""
    from glow_trl.models import BuiltModelConfig, build_model

    path = tmp_path_factory.mktemp("tiny_model")
    config = BuiltModelConfig(hidden_size=32, intermediate_size=64, num_attention_heads=2, num_key_value_heads=2)
    build_model(config, ["0123456789+-*=;: abcdefghijklmnopqrstuvwxyz\\{}?.,\n"], path, vocabulary=["\\boxed{"])
    return str(path)
