"""
What DeepSpeed and FSDP2 do in ways of their own, on two processes: checkpoints, and offloading. That they compute what
one process does is in test_glow_processes.py. Needs the extra `deepspeed`.
"""

from pathlib import Path

import pytest
import torch

from glow_trl.training.checkpoints import last_complete_checkpoint
from glow_trl.training.deepspeed import num_partitions
from helpers.glow_cases import FSDP2, WEIGHTS, largest_difference, launch, results_of, zero


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
    # All that a weighting may know: the history of a sample, its initial loss, the column of log-probabilities
    "weighting": ["glow", "tail_sft", "pear"],
    **WEIGHTS,
}


# kind -> wrapper of the model, stage of ZeRO. A process does not get back from DeepSpeed to FSDP2
KINDS = {
    "fsdp2": ("FSDPQwen2ForCausalLM", 0),
    "zero1": ("DeepSpeedEngine", 1),
    "zero2": ("DeepSpeedEngine", 2),
    "zero3": ("DeepSpeedEngine", 3),
}


def case_of(kind: str, **case) -> dict:
    wrapper, stage = KINDS[kind]
    settings = {**RESUMED, **(FSDP2 if kind == "fsdp2" else {"deepspeed": zero(stage)}), **case.pop("settings", {})}
    return {"rows": 22, "wrapper": wrapper, "settings": settings, **case}


@pytest.fixture(scope="module")
def launched(tiny_model, tmp_path_factory) -> Path:
    """The folder of results."""
    out = tmp_path_factory.mktemp("deepspeed")
    cases = {}
    for kind in KINDS:
        cases[f"run-{kind}"] = case_of(kind)
        cases[f"resumed-{kind}"] = case_of(kind, resume=str(out / f"run-{kind}" / "checkpoint-5"))
    for stage in (2, 3):
        offload = {"offload_optimizer": {"device": "cpu"}}
        if stage == 3:
            offload["offload_param"] = {"device": "cpu"}
        settings = {"save_strategy": "no", "deepspeed": zero(stage, **offload)}
        cases[f"offload-zero{stage}"] = case_of(f"zero{stage}", settings=settings)
    launch(tiny_model, out, cases)
    return out


@pytest.mark.parametrize("stage", [2, 3])
def test_offload(launched, stage):
    """Where optimizer states and parameters lie changes nothing."""
    for offloaded, run in zip(
        results_of(launched, f"offload-zero{stage}"), results_of(launched, f"run-zero{stage}"), strict=True
    ):
        assert offloaded["zero_stage"] == stage and offloaded["steps"] == run["steps"]
        assert largest_difference(offloaded["parameters"], run["parameters"]) < 1e-6
        torch.testing.assert_close(offloaded["current"], run["current"], rtol=1e-6, atol=0)


def kinds_of(num_processes: int) -> list[str]:
    # One process is no FSDP2
    return [kind for kind in KINDS if num_processes > 1 or kind != "fsdp2"]


@pytest.fixture(scope="module", params=[1, 4], ids=["one", "four"])
def resumed_elsewhere(request, launched, tiny_model, tmp_path_factory) -> tuple[Path, int]:
    """The folder of results and the number of processes of runs that two processes began."""
    out = tmp_path_factory.mktemp(f"elsewhere{request.param}")
    cases = {}
    for kind in kinds_of(request.param):
        settings = {"save_strategy": "no"}
        if kind in ("zero1", "zero3"):
            # Of the others, gradient_accumulation_steps makes up for the number of processes
            settings["per_device_train_batch_size"] = 4 // request.param
        checkpoint = launched / f"run-{kind}" / "checkpoint-5"
        assert num_partitions(checkpoint) == (2 if kind.startswith("zero") else 0)
        cases[kind] = case_of(kind, settings=settings, resume=str(checkpoint))
    launch(tiny_model, out, cases, request.param)
    return out, request.param


def test_resume_on_another_number_of_processes(launched, resumed_elsewhere):
    """In the middle of an epoch, with the moments of Adam and two groups of parameters, of each kind."""
    out, num_processes = resumed_elsewhere
    for kind in kinds_of(num_processes):
        expected, _ = results_of(launched, f"run-{kind}")
        for result in results_of(out, kind, num_processes):
            assert result["steps"] == expected["steps"] == 9 and result["zero_stage"] == KINDS[kind][1]
            assert largest_difference(result["parameters"], expected["parameters"]) < 1e-5, kind
            torch.testing.assert_close(result["current"], expected["current"], rtol=1e-5, atol=0)
            torch.testing.assert_close(result["previous"], expected["previous"], rtol=1e-5, atol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_resume(launched, kind):
    """From the middle of an epoch, to the bit, and from a checkpoint that is known as complete."""
    for resumed, run in zip(results_of(launched, f"resumed-{kind}"), results_of(launched, f"run-{kind}"), strict=True):
        assert resumed["steps"] == run["steps"] == 9
        assert largest_difference(resumed["parameters"], run["parameters"]) == 0
        assert torch.equal(resumed["current"], run["current"])
    folder = launched / f"run-{kind}"
    assert Path(last_complete_checkpoint(folder)).name == "checkpoint-9"
    pattern = "optimizer.bin" if kind == "fsdp2" else "global_step9/*optim_states.pt"
    (shard, *_) = (folder / "checkpoint-9").glob(pattern)
    shard.write_bytes(shard.read_bytes()[:100])
    assert Path(last_complete_checkpoint(folder)).name == "checkpoint-8"
