"""Models, data and a reward that the checks train with. Nothing is downloaded."""

import json
from pathlib import Path

import torch
from transformers import GenerationConfig, Qwen2Config, Qwen2ForCausalLM

from glow_trl.data import write_jsonl
from glow_trl.recipes.built_model import BuiltModelConfig, build_model, build_tokenizer


ALPHABET = ["0123456789+-*=;: abcdefghijklmnopqrstuvwxyz\\{}?.,\n"]
# Of a small model here; on a GPU TRL's own defaults hold: bfloat16, gradient checkpointing
CPU = ["--use_cpu", "true", "--bf16", "false", "--gradient_checkpointing", "false"]
QUIET = ["--report_to", "none", "--disable_tqdm", "true", "--logging_steps", "1"]


def small_model(folder: Path, dropout: float = 0.0) -> str:
    """Two layers, with heads of a width that every engine has kernels for. Dropout makes chance play a part."""
    config = BuiltModelConfig(hidden_size=128, intermediate_size=128, num_attention_heads=2, num_key_value_heads=2)
    build_model(config, ALPHABET, folder)
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(settings | {"attention_dropout": dropout}))
    return str(folder)


def shaped_model(folder: Path, gpu: bool) -> str:
    """Random weights in the shape of Qwen2.5-0.5B, or on CPU in one with as many tokens that no tokenizer has."""
    tokenizer = build_tokenizer(BuiltModelConfig(max_position_embeddings=4096), ALPHABET)
    shape = {"hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24, "num_attention_heads": 14}
    if not gpu:
        shape = {"hidden_size": 56, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 14}
    config = Qwen2Config(
        vocab_size=151936 if gpu else 2048,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        dtype="bfloat16" if gpu else "float32",
        **shape,
    )
    with torch.device("cuda" if gpu else "cpu"):
        model = Qwen2ForCausalLM(config).to(config.dtype)
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    model.generation_config = GenerationConfig(do_sample=True, **ends)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def write_sums(folder: Path, solutions: int = 2) -> tuple[Path, Path]:
    """Trajectories, half of them wrong, and questions: the sums of two numbers below eight."""
    trajectories, questions = [], []
    for a in range(8):
        for b in range(8):
            question = {"problem": f"{a}+{b}=?", "answer": str(a + b)}
            questions.append(question)
            for wrong in range(solutions):
                steps = "; ".join(f"{a}+{b}" for _ in range(1 + (a + b) % 3))
                completion = f"{steps}. so \\boxed{{{a + b + wrong}}}"
                trajectories.append({**question, "completion": completion, "is_correct": not wrong})
    paths = folder / "trajectories.jsonl", folder / "questions.jsonl"
    for path, rows in zip(paths, (trajectories, questions), strict=True):
        write_jsonl(path, rows)
    return paths


def even_reward(completion_ids, **kwargs) -> list[float]:
    """The share of even token ids: it varies among the completions of any model, so that each step teaches it."""
    return [sum(token % 2 == 0 for token in ids) / max(1, len(ids)) for ids in completion_ids]
