"""
What is DeepSpeed's own, on two processes: its checkpoints, and offloading. That ZeRO-2 and ZeRO-3 compute what one
process does is in test_glow_processes.py. Needs the extra `deepspeed`.
"""

from pathlib import Path

import pytest
import torch
from glow_cases import WEIGHTS, largest_difference, launch, results_of, zero

from glow_trl.checkpoints import last_complete_checkpoint
from glow_trl.deepspeed_resume import check_convertible, num_partitions
from glow_trl.errors import UserError


pytest.importorskip("deepspeed", reason="the extra `deepspeed` is not installed")
pytestmark = pytest.mark.slow

RESUMED = {
    "per_device_train_batch_size": 2,
    "gradient_accumulation_steps": 2,
    "optim": "adamw_torch",
    "learning_rate": 5e-3,
    "save_strategy": "steps",
    "save_steps": 1,
    **WEIGHTS,
}


@pytest.fixture(scope="module")
def launched(tiny_model, tmp_path_factory) -> Path:
    """The folder of results."""
    out = tmp_path_factory.mktemp("deepspeed")
    cases = {}
    for stage in (2, 3):
        shared = {"rows": 22, "wrapper": "DeepSpeedEngine"}
        cases[f"run-{stage}"] = {"settings": {**RESUMED, "deepspeed": zero(stage)}, **shared}
        cases[f"resumed-{stage}"] = {**cases[f"run-{stage}"], "resume": str(out / f"run-{stage}" / "checkpoint-5")}
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


def test_resume_on_another_number_of_processes(launched, tiny_model, tmp_path):
    """Two processes and then one, with ZeRO-2; with ZeRO-3 it is refused."""
    checkpoint = launched / "run-2" / "checkpoint-5"
    settings = {**RESUMED, "per_device_train_batch_size": 4, "save_strategy": "no", "deepspeed": zero(2)}
    case = {"rows": 22, "settings": settings, "wrapper": "DeepSpeedEngine", "resume": str(checkpoint)}
    launch(tiny_model, tmp_path, {"one": case}, num_processes=1)
    (result,), (expected, _) = results_of(tmp_path, "one", 1), results_of(launched, "run-2")
    assert result["steps"] == expected["steps"] == 9
    assert largest_difference(result["parameters"], expected["parameters"]) < 1e-5
    torch.testing.assert_close(result["current"], expected["current"], rtol=1e-5, atol=0)
    torch.testing.assert_close(result["previous"], expected["previous"], rtol=1e-5, atol=0)
    assert num_partitions(checkpoint) == num_partitions(launched / "run-3" / "checkpoint-5") == 2
    with pytest.raises(UserError, match="written by 2 processes with DeepSpeed ZeRO-3.*resume with 2 processes"):
        check_convertible(checkpoint, 2, 1, 3)


@pytest.mark.parametrize("stage", [2, 3])
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
