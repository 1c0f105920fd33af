"""The shipped recipe of the paper's teacher: its stages follow one another, and it asks with thinking on."""

from pathlib import Path

import pytest

from glow_trl.collection.collecting.questions import Prompts
from glow_trl.stages.config import parse_command


FOLDER = Path(__file__).resolve().parents[2] / "recipes" / "qwen3-8b-teacher"


def parse(stage: str):
    return parse_command(stage, ["--config", str(FOLDER / f"{stage}.yaml")]).config


def test_each_stage_reads_what_the_one_before_writes():
    collect, label, mix = (parse(stage) for stage in ("collect", "label", "mix"))
    assert label.dataset_name == [f"{collect.output_dir}/trajectories-*.jsonl"]
    assert mix.dataset_name == [f"{label.output_dir}/trajectories.jsonl"]


def test_the_teacher_is_asked_as_its_makers_recommend_with_thinking_on(tiny_model):
    collect = parse("collect")
    assert collect.model_name_or_path == "Qwen/Qwen3-8B" and collect.chat_template_kwargs == {"enable_thinking": True}
    sampling = collect.sampling
    assert (sampling.temperature, sampling.top_p, sampling.top_k, sampling.min_p) == (0.6, 0.95, 20, 0)
    assert sampling.max_new_tokens == 32768 < collect.max_model_len
    tokenizer = pytest.importorskip("transformers").AutoTokenizer.from_pretrained(tiny_model)
    # Qwen3's template closes the thoughts at once when thinking is off; this one shows what it was told
    tokenizer.chat_template = "{{ messages[-1]['content'] }}{{ ' on' if enable_thinking else ' off' }}"
    (prompt,) = [Prompts([{"problem": "1+1="}], collect, tokenizer)[0]]
    text = tokenizer.decode(prompt)
    assert text.startswith("1+1=") and text.endswith(" on") and "\\boxed{" in text
