"""An evaluation through vLLM: greedily it finds what the transformers engine finds."""

import importlib.util
import json
from pathlib import Path

import pytest

from glow_trl.data import write_jsonl
from glow_trl.evaluation import EvalConfig, evaluate
from glow_trl.recipes.built_model import BuiltModelConfig, build_model


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vllm is not installed"),
]


def test_greedy_evaluations_of_two_engines_agree(tmp_path):
    """Completions, verdicts and measures; vLLM's attention wants a head dimension of at least 32."""
    sizes = {"hidden_size": 64, "intermediate_size": 64, "num_attention_heads": 2, "num_key_value_heads": 2}
    build_model(BuiltModelConfig(**sizes), ["0123456789+-*=;: \\boxed{}?\n"], tmp_path / "model")
    questions = tmp_path / "questions.jsonl"
    write_jsonl(questions, ({"problem": f"{a}+{b}=", "answer": str(a + b)} for a in range(4) for b in range(4)))
    results, rows = {}, {}
    for engine in ("transformers", "vllm"):
        config = EvalConfig(
            model_name_or_path=str(tmp_path / "model"),
            output_dir=str(tmp_path / engine),
            benchmarks=[{"name": "sums", "path": str(questions), "prompt_template": "{problem}"}],
            engine=engine,
            dtype="float32",
            temperature=0.0,
            max_new_tokens=16,
            entropy=False,
        )
        results[engine] = evaluate(config)["benchmarks"]["sums"]
        rows[engine] = [json.loads(line) for line in (Path(config.output_dir) / "generations_sums.jsonl").open()]
    assert results["vllm"] == results["transformers"] and results["vllm"]["n"] == 16
    assert rows["vllm"] == rows["transformers"] and len({row["completion"] for row in rows["vllm"]}) > 1
