"""LoRA in both stages: stage 1 leaves an adapter, and stage 2 goes on from it or from the merged model."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from trl import ModelConfig

from glow_trl.training.loop import adapter_to_train
from helpers.launching import CPU
from helpers.letters import write_sums


@pytest.fixture(scope="module")
def questions(tmp_path_factory) -> str:
    return str(write_sums(tmp_path_factory.mktemp("questions") / "questions.jsonl"))


@pytest.fixture
def adapter(glow_trl, tiny_model, trajectories, tmp_path):
    """What stage 1 leaves with `use_peft`."""
    options = ["--model_name_or_path", tiny_model, "--dataset_name", trajectories, "--output_dir", tmp_path / "sft"]
    options += ["--num_train_epochs", 2, "--use_peft", "true", "--lora_r", 4, "--lora_target_modules", "all-linear"]
    code, error = glow_trl("sft", *options, *CPU, "--learning_rate", 0.01)
    assert code == 0, error
    assert json.loads((tmp_path / "sft" / "adapter_config.json").read_text())["base_model_name_or_path"] == tiny_model
    assert not (tmp_path / "sft" / "model.safetensors").exists()
    run, tensors = (
        json.loads((tmp_path / "sft" / "run.json").read_text()),
        tmp_path / "sft" / "adapter_model.safetensors",
    )
    trained = sum(tensor.numel() for tensor in load_file(tensors).values())
    assert run["trainable_parameters"] == trained < run["parameters"]
    return tmp_path / "sft"


def test_one_module_is_a_module_and_not_a_pattern():
    """TRL makes a text of the list."""
    for given, expected in (
        (["q_proj"], {"q_proj"}),
        (["q_proj", "v_proj"], {"q_proj", "v_proj"}),
        (["all-linear"], "all-linear"),
        ([r".*q_proj"], r".*q_proj"),
    ):
        config = adapter_to_train(ModelConfig(use_peft=True, lora_target_modules=given))
        assert config.target_modules == expected
    assert adapter_to_train(ModelConfig()) is None


def changed(a: dict, b: dict) -> set[str]:
    assert a.keys() == b.keys()
    return {name for name in a if not torch.equal(a[name], b[name])}


def test_stage_two_from_an_adapter(glow_trl, adapter, questions, tiny_model, tmp_path):
    """Trained further as it is; merged and trained whole; merged with a new adapter; and what is refused."""

    def grpo(name, *argv):
        options = ["--model_name_or_path", adapter, "--dataset_name", questions, "--output_dir", tmp_path / name]
        options += ["--per_device_train_batch_size", 8, "--num_generations", 4, "--max_completion_length", 8]
        options += ["--learning_rate", 1e-3, "--guard_max_clipped_ratio", 2, "--logging_steps", 1]
        options += ["--reward_funcs", "helpers.letters.letters_reward", "--max_steps", 2]
        return glow_trl("grpo", *options, *CPU, *argv)

    # The adapter itself
    code, error = grpo("further")
    assert code == 0, error
    before = load_file(adapter / "adapter_model.safetensors")
    assert changed(load_file(tmp_path / "further" / "adapter_model.safetensors"), before) == set(before)
    config = json.loads((tmp_path / "further" / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["r"]) == (tiny_model, 4)
    assert not (tmp_path / "further" / "merged_model").exists()

    # The whole model
    code, error = grpo("whole", "--merge_adapter", "true")
    assert code == 0, error
    base = load_file(f"{tiny_model}/model.safetensors")
    merged = load_file(tmp_path / "whole" / "merged_model" / "model.safetensors")
    assert len(changed(merged, base)) == 14
    assert "model.embed_tokens.weight" in changed(load_file(tmp_path / "whole" / "model.safetensors"), merged)
    record = json.loads((adapter / "handover.json").read_text())
    assert record.pop("base_weights")
    for folder in ("whole", "whole/merged_model"):
        assert json.loads((tmp_path / folder / "handover.json").read_text()) == record

    # A new adapter on it
    code, error = grpo("again", "--merge_adapter", "true", "--use_peft", "true", "--lora_r", 2)
    assert code == 0, error
    config = json.loads((tmp_path / "again" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(tmp_path / "again" / "merged_model") and config["r"] == 2

    # On weights that it was not trained on
    other = load_file(f"{tiny_model}/model.safetensors")
    other["model.norm.weight"] *= 1.5
    shutil.copytree(tiny_model, tmp_path / "other")
    save_file(other, tmp_path / "other" / "model.safetensors", metadata={"format": "pt"})
    moved = tmp_path / "moved"
    for place, weights in ((tmp_path / "other", "other"), (tmp_path / "gone", "gone")):
        shutil.copytree(adapter, moved, dirs_exist_ok=True)
        config = json.loads((adapter / "adapter_config.json").read_text())
        (moved / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": str(place)}))
        code, error = grpo("refused", "--model_name_or_path", moved)
        assert code == 2 and not (tmp_path / "refused" / "run.json").exists()
        expected = f"trained on other weights than {place} has now" if weights == "other" else "there is no folder"
        assert expected in error and str(moved) in error
    assert glow_trl("merge", adapter, "--output", tmp_path / "m", "--base_model", tmp_path / "other")[0] == 2

    code, error = grpo("refused", "--use_peft", "true")
    assert code == 2 and "set merge_adapter to train a new one on the merged model" in error
    code, error = grpo("refused", "--model_name_or_path", tiny_model, "--merge_adapter", "true")
    assert code == 2 and "is not an adapter" in error
