"""ZeRO-2 and ZeRO-3 on two processes against the definition. Needs the extra `deepspeed`."""

from pathlib import Path

import numpy as np
import pytest
import torch
from glow_cases import WEIGHTS, largest_difference, launch, results_of, token_rows
from glow_reference import train_reference

from glow_trl.checkpoints import last_complete_checkpoint


pytest.importorskip("deepspeed", reason="the extra `deepspeed` is not installed")
pytestmark = pytest.mark.slow

CASES = {
    "uneven": ({"per_device_train_batch_size": 2}, 4, {}),
    "accumulated": ({"per_device_train_batch_size": 3, "gradient_accumulation_steps": 2}, 12, {}),
    "mean": ({"per_device_train_batch_size": 2, "glow_normalization": "mean"}, 4, {"normalize": True}),
}
RESUMED = {
    "per_device_train_batch_size": 2,
    "gradient_accumulation_steps": 2,
    "optim": "adamw_torch",
    "learning_rate": 5e-3,
    "save_strategy": "steps",
    "save_steps": 1,
    **WEIGHTS,
}


def zero(stage: int) -> dict:
    return {
        "zero_optimization": {"stage": stage},
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
        "gradient_clipping": "auto",
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
    }


@pytest.fixture(scope="module")
def launched(tiny_model, tmp_path_factory) -> Path:
    """The folder of results."""
    out = tmp_path_factory.mktemp("deepspeed")
    cases = {}
    for stage in (2, 3):
        shared = {"rows": 22, "wrapper": "DeepSpeedEngine"}
        for name, (settings, _, _) in CASES.items():
            cases[f"{name}-{stage}"] = {"settings": {**WEIGHTS, **settings, "deepspeed": zero(stage)}, **shared}
        cases[f"run-{stage}"] = {"settings": {**RESUMED, "deepspeed": zero(stage)}, **shared}
        cases[f"resumed-{stage}"] = {**cases[f"run-{stage}"], "resume": str(out / f"run-{stage}" / "checkpoint-5")}
    launch(tiny_model, out, cases)
    return out


@pytest.mark.parametrize("stage", [2, 3])
@pytest.mark.parametrize("name", CASES)
def test_equals_the_definition(launched, tiny_model, name, stage):
    """To 1e-5 in parameters and ledger, on both processes."""
    _, step_size, kwargs = CASES[name]
    weights = dict(zip(("alpha", "beta", "low", "high"), WEIGHTS.values(), strict=True))
    run = train_reference(tiny_model, token_rows(22), step_size, **weights, **kwargs)
    for result in results_of(launched, f"{name}-{stage}"):
        assert largest_difference(result["parameters"], run.parameters) < 1e-5
        np.testing.assert_allclose(result["current"].numpy(), run.losses[-1], atol=1e-5, rtol=0)
        np.testing.assert_allclose(result["previous"].numpy(), run.losses[-2], atol=1e-5, rtol=0)


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
