"""`glow-trl merge`: a whole model out of an adapter, exact, with everything stage 2 wants to find."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from glow_trl.cli import main
from glow_trl.data.handover import check_handover, read_handover, write_handover
from glow_trl.errors import UserError
from glow_trl.training.merge import merge_adapter


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def adapter(request, tiny_model, tmp_path_factory) -> Path:
    """An adapter that has learned something, with a tokenizer and a hand-over record, on a base of either type."""
    folder = tmp_path_factory.mktemp("adapter")
    base = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=getattr(torch, request.param))
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    base.save_pretrained(folder / "base")
    base = AutoModelForCausalLM.from_pretrained(folder / "base", dtype=torch.float32)
    model = get_peft_model(base, LoraConfig(r=4, target_modules="all-linear", use_rslora=True))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    model.save_pretrained(folder / "adapter")
    tokenizer.save_pretrained(folder / "adapter")
    write_handover(folder / "adapter", tokenizer, "Add.", None, 1.0)
    return folder / "adapter"


def test_merged_model(adapter, tmp_path):
    """Every weight is `W + scaling * B A`, computed in float64 and rounded once; tokenizer and record are there."""
    assert main(["merge", str(adapter), "--output", str(tmp_path / "merged")]) == 0
    merged = load_file(tmp_path / "merged" / "model.safetensors")
    base = load_file(adapter.parent / "base" / "model.safetensors")
    lora = load_file(adapter / "adapter_model.safetensors")
    config = json.loads((adapter / "adapter_config.json").read_text())
    scaling = config["lora_alpha"] / config["r"] ** 0.5
    assert merged.keys() == base.keys()
    changed = 0
    for name, weight in base.items():
        a = lora.get(f"base_model.model.{name.removesuffix('.weight')}.lora_A.weight")
        expected = weight.double()
        if a is not None:
            b = lora[f"base_model.model.{name.removesuffix('.weight')}.lora_B.weight"]
            expected = expected + scaling * b.double() @ a.double()
            changed += 1
        assert merged[name].dtype == weight.dtype
        # Half a step of the data type, and the rounding of the product in float32
        step = expected.abs() * torch.finfo(weight.dtype).eps / 2 + 1e-7
        assert ((merged[name].double() - expected).abs() <= step).all(), name
    assert changed == 14
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "merged")
    assert read_handover(tmp_path / "merged") == read_handover(adapter)
    assert check_handover(str(tmp_path / "merged"), tokenizer, "Add.", None) == []
    assert not (tmp_path / "merged" / "adapter_config.json").exists() and len(list(tmp_path.iterdir())) == 1


def test_an_epoch_of_stage_1_is_merged_with_the_record_of_its_stage(adapter, tmp_path):
    """It lies in the folder around it, as that of any `checkpoint-N`."""
    stage = tmp_path / "sft"
    shutil.copytree(adapter, stage / "checkpoint-3", ignore=shutil.ignore_patterns("handover.json"))
    shutil.copy(adapter / "handover.json", stage)
    assert main(["merge", str(stage / "checkpoint-3"), "--output", str(tmp_path / "merged")]) == 0
    assert read_handover(tmp_path / "merged") == read_handover(adapter) is not None


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["nowhere", "--output", "out"], "there is no such folder"),
        (["base", "--output", "out"], "is not an adapter"),
        (["adapter", "--output", "base"], "exists and is not empty"),
        (["adapter"], "name the adapter and where its merged model goes"),
        (["adapter", "--output", "out", "--base_model", "./gone"], "cannot be merged into ./gone"),
        (["adapter", "--output", "out", "--outptu", "x"], "unknown option --outptu; did you mean --output?"),
    ],
)
def test_what_is_refused(adapter, tmp_path, monkeypatch, capsys, argv, message):
    shutil.copytree(adapter.parent, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    assert main(["merge", *argv]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("glow-trl: error") == 1
    assert not (tmp_path / "here" / "out").exists()


def test_an_adapter_of_another_model_is_refused(adapter, tmp_path):
    """Nothing is left behind."""
    from glow_trl.recipes.built_model import BuiltModelConfig, build_model

    build_model(BuiltModelConfig(hidden_size=16), ["abc"], tmp_path / "other")
    with pytest.raises(UserError, match="cannot be merged"):
        merge_adapter(adapter, tmp_path / "out", base_model=str(tmp_path / "other"))
    assert [path.name for path in tmp_path.iterdir()] == ["other"]
