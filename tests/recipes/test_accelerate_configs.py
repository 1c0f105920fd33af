"""Both stages start under each of the files for accelerate, and train with what the file says."""

import subprocess
from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file
from torch.utils.cpp_extension import _get_build_directory

from glow_trl.data import read_jsonl, write_jsonl
from glow_trl.recipes.recipe import write_settings
from glow_trl.stages.record import read_run
from helpers.launching import CONFIGS, environment, free_port, launch_command, on_cpu


NAMES = {
    *("cpu", "single_gpu", "ddp", "fsdp2", "multi_node"),
    *("zero1", "zero2", "zero2_offload", "zero3", "zero3_offload"),
}


def test_all_are_there():
    assert CONFIGS.keys() == NAMES


@pytest.mark.parametrize("name", sorted(NAMES))
def test_accelerate_reads_it(name):
    """Known keys only, and a comment that says what it is for."""
    from accelerate.commands.config.config_args import load_config_from_file

    config = load_config_from_file(str(CONFIGS[name]))
    assert config.num_processes >= 1 and CONFIGS[name].read_text().startswith("# ")


def launch(config: Path, folder: Path, num_machines: int) -> None:
    """Run both stages with one `accelerate launch`, started once for each machine."""
    sft, grpo = (["glow_trl." + stage, "--config", str(folder / f"{stage}.yaml")] for stage in ("sft", "grpo"))
    port = free_port()
    machines = []
    for rank in range(num_machines):
        place = ["--machine_rank", str(rank), "--main_process_port", str(port)] if num_machines > 1 else []
        machines.append(
            subprocess.Popen(
                launch_command(config, *place, "-m", "helpers.stages", *sft, "then", *grpo),
                cwd=folder,
                env=environment(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    try:
        # DeepSpeed compiles an optimizer, once, for the files that offload
        errors = [machine.communicate()[1] for machine in machines]
    finally:
        for machine in machines:
            machine.kill()
    assert all(machine.returncode == 0 for machine in machines), errors[0][-4000:]


def parts_of(checkpoint: Path) -> dict[str, int]:
    """Into how many parts a checkpoint is cut: by DeepSpeed, and by FSDP2."""
    return {
        "deepspeed": len(list(checkpoint.glob("global_step*/*_optim_states.pt"))),
        "weights": len(list(checkpoint.glob("global_step*/zero_pp_rank_*_model_states.pt"))),
        "fsdp": len(list(checkpoint.glob("pytorch_model_fsdp.bin"))),
    }


# `single_gpu` is started for both stages by tests/docs/test_documents.py, on CPU, where it is as `cpu`
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "adapter"),
    [*((name, False) for name in sorted(NAMES - {"single_gpu"})), ("fsdp2", True), ("zero3", True)],
)
def test_both_stages(name, adapter, tiny_model, tmp_path):
    """
    As for GPUs, but on CPU: stage 2 goes on from what stage 1 leaves, a model or an adapter; where each process has a
    part of the model, with dynamic sampling.
    """
    dynamic = name in ("fsdp2", "zero2", "zero3")
    if name == "zero1":
        # Of a run that was killed while it loaded DeepSpeed's operators
        build = Path(_get_build_directory("deepspeed_shm_comm", False))
        (build / "lock").touch()
    content = yaml.safe_load(CONFIGS[name].read_text())
    num_processes = min(content["num_processes"], 2)
    config = on_cpu(name, tmp_path, num_processes)
    rows = ({"problem": f"{a}+1=?", "completion": f"\\boxed{{{a + 1}}}", "answer": str(a + 1)} for a in range(8))
    write_jsonl(tmp_path / "rows.jsonl", rows)
    shared = {
        "dataset_name": str(tmp_path / "rows.jsonl"),
        "use_cpu": True,
        "bf16": False,
        "per_device_train_batch_size": 2,
        "gradient_checkpointing": False,
        "max_steps": 2,
        "learning_rate": 1.0e-3,
        "report_to": "none",
        "save_strategy": "steps",
        "save_steps": 2,
    }
    stages = {
        "sft": {"weighting": "uniform", "eos_token": "<|im_end|>"},
        "grpo": {"num_generations": 2, "max_completion_length": 8, "dynamic_sampling": dynamic, "logging_steps": 1},
    }
    stages["grpo"]["reward_funcs"] = [f"helpers.letters.{'lucky_' if dynamic else ''}letters_reward"]
    weights = "model.safetensors"
    if adapter:
        weights = "adapter_model.safetensors"
        stages["sft"] |= {"use_peft": True, "lora_r": 4, "lora_target_modules": "all-linear"}
    model = tiny_model
    for stage, settings in stages.items():
        output_dir = tmp_path / stage
        settings = {"model_name_or_path": str(model), "output_dir": str(output_dir), **shared, **settings}
        write_settings(tmp_path / f"{stage}.yaml", settings)
        model = output_dir
    launch(config, tmp_path, content["num_machines"])
    model = tiny_model
    for stage in stages:
        output_dir = tmp_path / stage
        assert read_run(output_dir)["status"] == "complete"
        checkpoint = output_dir / "checkpoint-2"
        assert len(list(checkpoint.glob("rng_state*.pth"))) == num_processes
        assert parts_of(checkpoint) == {
            "deepspeed": num_processes if "deepspeed_config" in content else 0,
            "weights": num_processes if "zero3" in name or name == "multi_node" else 0,
            "fsdp": name == "fsdp2",
        }
        after = load_file(output_dir / weights)
        if adapter and stage == "sft":
            assert all("lora_" in key and value.any() for key, value in after.items()) and len(after) == 28
        else:
            before = load_file(Path(model) / weights)
            # `transformers` saves a tied output head too where it gets copies of the weights
            assert before.keys() - {"lm_head.weight"} == after.keys() - {"lm_head.weight"}
            assert not all((before[key] == after[key]).all() for key in before)
        model = output_dir
    trained = [row.get("dynamic_sampling/trained_groups") for _, row in read_jsonl(model / "log.jsonl")]
    assert trained[:2] == [2 if dynamic else None] * 2
