"""What a run that goes on keeps: on another number of processes, the number of samples in a step."""

import logging
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from trl import GRPOConfig, SFTConfig

from glow_trl.errors import UserError
from glow_trl.stages.record import StageRun
from glow_trl.training.resume import (
    make_resumable,
    parse_training_stage,
    samples_per_step,
    saved_samples_per_step,
    step_size,
)
from helpers.glow_cases import make_trainer, parameters, token_rows


CPU = ["--use_cpu", "true", "--bf16", "false"]


def parse(folder, *options, config=SFTConfig):
    settings = parse_training_stage("sft", ["--output_dir", str(folder), *CPU, *map(str, options)], [config])
    return settings.config, settings


def begun(folder, *options, num_processes: int, config=SFTConfig) -> StageRun:
    """A run that so many processes have begun; here there is one."""
    args, settings = parse(folder / "elsewhere", *options, config=config)
    sizes = {name: size * num_processes for name, size in step_size(args).items()}
    if "generation_batch_size" in settings.given:
        sizes["completions"] = args.generation_batch_size
    run = StageRun("sft", folder, settings, step_size=sizes)
    run.start()
    return run


def test_accumulation_makes_up_for_processes(tmp_path, caplog):
    options = ["--per_device_train_batch_size", 2, "--gradient_accumulation_steps", 3]
    begun(tmp_path, *options, num_processes=4)
    args, settings = parse(tmp_path, *options)
    assert (args.per_device_train_batch_size, args.gradient_accumulation_steps) == (2, 12)
    assert samples_per_step(args) == 24
    assert f"{tmp_path} goes on with gradient_accumulation_steps: 12, as there are 1 processes now" in caplog.text
    # What the user set is what is recorded, so that more processes may take over again
    assert settings.given["gradient_accumulation_steps"] == 3
    assert not StageRun("sft", tmp_path, settings, step_size=step_size(args)).is_complete


def test_what_is_not_set_has_its_default(tmp_path):
    begun(tmp_path, num_processes=2)
    args, _ = parse(tmp_path)
    assert (args.per_device_train_batch_size, args.gradient_accumulation_steps) == (8, 2)


def test_the_user_may_divide_them(tmp_path, caplog):
    """By the other settings; the run that is there takes it as its own."""
    begun(tmp_path, "--per_device_train_batch_size", 2, num_processes=4)
    args, settings = parse(tmp_path, "--per_device_train_batch_size", 8)
    assert args.gradient_accumulation_steps == 1 and caplog.text == ""
    assert not StageRun("sft", tmp_path, settings, step_size=step_size(args)).is_complete


def test_other_numbers_of_samples_are_refused(tmp_path):
    begun(tmp_path, "--per_device_train_batch_size", 2, num_processes=4)
    args, settings = parse(tmp_path, "--per_device_train_batch_size", 4)
    assert args.gradient_accumulation_steps == 1
    with pytest.raises(UserError, match="differs in per_device_train_batch_size: 2 -> 4"):
        StageRun("sft", tmp_path, settings, step_size=step_size(args))


def test_what_cannot_be_divided(tmp_path):
    run = begun(tmp_path, "--per_device_train_batch_size", 4, num_processes=3)
    run.record["step_size"] = {"samples": 6}
    run.start()
    with pytest.raises(UserError, match=r"6 samples in a step.*1 processes.*per_device_train_batch_size: 4.* is 6"):
        parse(tmp_path, "--per_device_train_batch_size", 4)


def test_a_complete_run_is_left_alone(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    begun(tmp_path, num_processes=4).complete()
    args, settings = parse(tmp_path)
    assert args.gradient_accumulation_steps == 1
    assert StageRun("sft", tmp_path, settings, step_size=step_size(args)).is_complete


@pytest.mark.parametrize(
    ("options", "steps"),
    [([], 4), (["--steps_per_generation", 4], 8), (["--generation_batch_size", 64], 8)],
    ids=["default", "steps_per_generation", "generation_batch_size"],
)
def test_generations(tmp_path, options, steps):
    """As many completions are generated at a time."""
    options = ["--gradient_accumulation_steps", 2, "--num_generations", 4, *options]
    begun(tmp_path, *options, num_processes=2, config=GRPOConfig)
    args, _ = parse(tmp_path, *options, config=GRPOConfig)
    assert (args.gradient_accumulation_steps, args.steps_per_generation) == (4, steps)
    assert args.generation_batch_size == 8 * steps


def test_other_numbers_of_completions_are_refused(tmp_path):
    """With as many samples in a step."""
    options = ["--gradient_accumulation_steps", 4, "--num_generations", 4]
    begun(tmp_path, *options, num_processes=1, config=GRPOConfig)
    args, settings = parse(tmp_path, *options, "--steps_per_generation", 8, config=GRPOConfig)
    assert step_size(args) == {"samples": 32, "completions": 64}
    with pytest.raises(UserError, match="differs in steps_per_generation: 4 -> 8"):
        StageRun("sft", tmp_path, settings, step_size=step_size(args))


def test_make_resumable_leaves_other_devices_alone():
    """Only the numbered CPU of a run of several processes is renamed."""

    class Arguments:
        def __init__(self, device):
            self._setup_devices = torch.device(device)

        @property
        def device(self):
            return self._setup_devices

    for before, after in (("cpu:0", "cpu"), ("cpu", "cpu"), ("cuda:1", "cuda:1"), ("meta", "meta")):
        args = Arguments(before)
        make_resumable(args)
        assert args.device == torch.device(after)


def test_checkpoints_say_how_many_samples_a_step_has(tmp_path):
    """One that does not, of another trainer, leaves it open."""
    state = tmp_path / "trainer_state.json"
    for content in ("", "{}", '{"stateful_callbacks": {"TrainerControl": {}}}'):
        state.write_text(content)
        assert saved_samples_per_step(tmp_path) is None
    assert saved_samples_per_step(tmp_path / "nowhere") is None


def logged_of(trainer) -> list[dict]:
    timed = ("time", "per_second", "flos", "train_loss")
    return [
        {k: v for k, v in row.items() if not any(part in k for part in timed)} for row in trainer.state.log_history
    ]


@pytest.mark.parametrize(("steps", "last"), [(7, 5), (7, 7), (10, 10), (11, 10), (11, 11)])
def test_a_run_that_died_behind_a_checkpoint(steps, last, tiny_model, tmp_path):
    """
    Before it noticed that the training, or an epoch (of 5 steps), is over: no step is done twice or beyond the last,
    and nothing is missing in the log.
    """
    settings = {"save_strategy": "steps", "save_steps": 1, "max_steps": steps, "logging_steps": 1}
    settings |= {"per_device_train_batch_size": 4, "save_total_limit": 2}
    straight = make_trainer(tiny_model, tmp_path / "straight", token_rows(20), **settings | {"save_total_limit": None})
    straight.train()
    for step in (last - 2, last - 1, last):  # older ones were not removed yet
        name = f"checkpoint-{step}"
        shutil.copytree(tmp_path / "straight" / name, tmp_path / "killed" / name)
    killed = make_trainer(tiny_model, tmp_path / "killed", token_rows(20), **settings)
    killed.train(resume_from_checkpoint=True)
    assert killed.state.global_step == steps and killed.state.epoch == straight.state.epoch
    assert logged_of(killed) == logged_of(straight)
    weights, expected = parameters(killed.model), parameters(straight.model)
    assert all(torch.equal(weights[name], value) for name, value in expected.items())
    assert torch.equal(killed.ledger.current.nan_to_num(-1), straight.ledger.current.nan_to_num(-1))
    left = sorted(path.name for path in (tmp_path / "killed").glob("checkpoint-*"))
    assert left == sorted(f"checkpoint-{step}" for step in (steps - 1, steps))


def test_weights_that_are_tied_are_not_said_to_be_missing(tiny_model, tmp_path, caplog):
    """On each resume; one that is missing is."""
    source = make_trainer(tiny_model, tmp_path, token_rows(8), save_strategy="steps", save_steps=1, max_steps=1)
    source.train()
    logger = logging.getLogger("transformers.trainer")
    logger.addHandler(caplog.handler)
    try:
        trainer = make_trainer(tiny_model, tmp_path, token_rows(8), max_steps=2)
        trainer.train(resume_from_checkpoint=True)
        assert trainer.state.global_step == 2 and "missing keys" not in caplog.text
        weights = load_file(tmp_path / "checkpoint-1" / "model.safetensors")
        assert "lm_head.weight" not in weights
        del weights["model.norm.weight"]
        save_file(weights, tmp_path / "checkpoint-1" / "model.safetensors", metadata={"format": "pt"})
        make_trainer(tiny_model, tmp_path, token_rows(8), max_steps=2).train(resume_from_checkpoint=True)
    finally:
        logger.removeHandler(caplog.handler)
    assert "missing keys in the checkpoint model loaded: ['model.norm.weight']" in caplog.text
