"""
What is DeepSpeed's own, on two processes: its checkpoints, and offloading. That ZeRO-2 and ZeRO-3 compute what one
process does is in test_glow_processes.py. Needs the extra `deepspeed`.
"""

from pathlib import Path

import pytest
import torch
from glow_cases import WEIGHTS, largest_difference, launch, results_of, zero

from glow_trl.checkpoints import last_complete_checkpoint
from glow_trl.deepspeed_resume import num_partitions


pytest.importorskip("deepspeed", reason="the extra `deepspeed` is not installed")
pytestmark = pytest.mark.slow

RESUMED = {
    "per_device_train_batch_size": 2,
    "gradient_accumulation_steps": 2,
    "optim": "adamw_torch",
    "learning_rate": 5e-3,
    # Of the matrices alone: two groups of parameters
    "weight_decay": 0.1,
    "save_strategy": "steps",
    "save_steps": 1,
    **WEIGHTS,
}


@pytest.fixture(scope="module")
def launched(tiny_model, tmp_path_factory) -> Path:
    """The folder of results."""
    out = tmp_path_factory.mktemp("deepspeed")
    cases = {}
    for stage in (1, 2, 3):
        shared = {"rows": 22, "wrapper": "DeepSpeedEngine"}
        cases[f"run-{stage}"] = {"settings": {**RESUMED, "deepspeed": zero(stage)}, **shared}
        cases[f"resumed-{stage}"] = {**cases[f"run-{stage}"], "resume": str(out / f"run-{stage}" / "checkpoint-5")}
        if stage == 1:
            continue
        offload = {"offload_optimizer": {"device": "cpu"}}
        if stage == 3:
            offload["offload_param"] = {"device": "cpu"}
        settings = {**RESUMED, "save_strategy": "no", "deepspeed": zero(stage, **offload)}
        cases[f"offload-{stage}"] = {"settings": settings, **shared}
    launch(tiny_model, out, cases)
    return out


@pytest.mark.parametrize("stage", [2, 3])
def test_offload(launched, stage):
    """Where optimizer states and parameters lie changes nothing."""
    for offloaded, run in zip(
        results_of(launched, f"offload-{stage}"), results_of(launched, f"run-{stage}"), strict=True
    ):
        assert offloaded["zero_stage"] == stage and offloaded["steps"] == run["steps"]
        assert largest_difference(offloaded["parameters"], run["parameters"]) < 1e-6
        torch.testing.assert_close(offloaded["current"], run["current"], rtol=1e-6, atol=0)


@pytest.fixture(scope="module", params=[1, 4], ids=["one", "four"])
def resumed_elsewhere(request, launched, tiny_model, tmp_path_factory) -> tuple[Path, int]:
    """The folder of results and the number of processes of runs that two processes began."""
    out = tmp_path_factory.mktemp(f"elsewhere{request.param}")
    cases = {}
    for stage in (1, 2, 3):
        checkpoint = launched / f"run-{stage}" / "checkpoint-5"
        assert num_partitions(checkpoint) == 2
        settings = {**RESUMED, "per_device_train_batch_size": 4 // request.param, "save_strategy": "no"}
        settings["deepspeed"] = zero(stage)
        cases[str(stage)] = {"rows": 22, "settings": settings, "wrapper": "DeepSpeedEngine", "resume": str(checkpoint)}
    launch(tiny_model, out, cases, request.param)
    return out, request.param


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_resume_on_another_number_of_processes(launched, resumed_elsewhere, stage):
    """In the middle of an epoch, with the moments of Adam and two groups of parameters."""
    expected, _ = results_of(launched, f"run-{stage}")
    for result in results_of(resumed_elsewhere[0], str(stage), resumed_elsewhere[1]):
        assert result["steps"] == expected["steps"] == 9 and result["zero_stage"] == stage
        assert largest_difference(result["parameters"], expected["parameters"]) < 1e-5
        torch.testing.assert_close(result["current"], expected["current"], rtol=1e-5, atol=0)
        torch.testing.assert_close(result["previous"], expected["previous"], rtol=1e-5, atol=0)


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_resume(launched, stage):
    """From the middle of an epoch, to the bit, and from a checkpoint that is known as complete."""
    for resumed, run in zip(
        results_of(launched, f"resumed-{stage}"), results_of(launched, f"run-{stage}"), strict=True
    ):
        assert resumed["steps"] == run["steps"] == 9
        assert largest_difference(resumed["parameters"], run["parameters"]) == 0
        assert torch.equal(resumed["current"], run["current"])
    folder = launched / f"run-{stage}"
    assert Path(last_complete_checkpoint(folder)).name == "checkpoint-9"
    (shard, *_) = (folder / "checkpoint-9" / "global_step9").glob("*optim_states.pt")
    shard.write_bytes(shard.read_bytes()[:100])
    assert Path(last_complete_checkpoint(folder)).name == "checkpoint-8"
