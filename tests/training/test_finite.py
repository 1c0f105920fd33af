"""Training stops at numbers that are not finite, at the right step, and leaves nothing that has them."""

import json
import math
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Trainer, TrainerCallback

from glow_trl import GLOWTrainer
from glow_trl.data import read_jsonl, write_jsonl
from glow_trl.errors import TrainingCollapsed
from helpers.glow_cases import make_trainer, token_rows
from helpers.launching import CPU, environment, launch_command, on_cpu


RUINOUS = ["--learning_rate", 1e30, "--max_grad_norm", 0, "--save_steps", 1, "--save_total_limit", 1]
REWARD = "def varied(completions, **kwargs):\n    return [len(set(str(c))) / 10.0 for c in completions]\n"


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    """All weights anywhere below a folder."""
    return {
        f"{file}:{name}": tensor
        for file in folder.rglob("*.safetensors")
        for name, tensor in load_file(file).items()
        if "model" in file.name
    }


def collapsed(code: int, error: str, out: Path) -> dict:
    """The record of a run that collapsed, after what holds for each."""
    assert code == 1 and "glow-trl: error: the training collapsed: " in error and "Traceback" not in error
    assert error.count("glow-trl: error") == 1 and "learning_rate (now " in error and "max_grad_norm" in error
    run = json.loads((out / "run.json").read_text())
    assert run["status"] == "collapsed" and run["collapsed"] in error
    assert not list(out.glob("*model.safetensors"))
    assert all(tensor.isfinite().all() for tensor in tensors(out).values())
    return run


@pytest.fixture
def sft(glow_trl, tiny_model, trajectories, tmp_path):
    def run(*argv, output_dir=tmp_path / "out", model=tiny_model):
        options = ["--model_name_or_path", model, "--dataset_name", trajectories, "--output_dir", output_dir]
        return glow_trl("sft", *options, *CPU, "--per_device_train_batch_size", 8, "--num_train_epochs", 2, *argv)

    return run


@pytest.fixture
def grpo(glow_trl, tiny_model, tmp_path, monkeypatch):
    write_jsonl(tmp_path / "q.jsonl", [{"problem": f"{a}+{a}=?", "answer": str(a + a)} for a in range(16)])
    (tmp_path / "rewards_of_a_test.py").write_text(REWARD)
    monkeypatch.syspath_prepend(str(tmp_path))

    def run(*argv, output_dir=tmp_path / "out", model=tiny_model):
        options = ["--model_name_or_path", model, "--dataset_name", tmp_path / "q.jsonl", "--output_dir", output_dir]
        options += ["--reward_funcs", "rewards_of_a_test.varied", "--guard_max_clipped_ratio", 2]
        options += ["--per_device_train_batch_size", 8, "--num_generations", 4, "--max_completion_length", 8]
        return glow_trl("grpo", *options, *CPU, "--max_steps", 4, *argv)

    return run


LORA = ["--use_peft", "true", "--lora_r", 4, "--lora_target_modules", "all-linear"]


@pytest.mark.parametrize(
    ("stage", "argv"),
    [
        ("sft", []),
        ("sft", ["--weighting", "uniform", "--loss_reduction", "token", "--logging_steps", 1]),
        ("sft", [*LORA, "--gradient_accumulation_steps", 2, "--logging_strategy", "no"]),
        ("sft", ["--num_train_epochs", 0.05, "--weighting", "uniform"]),
        ("grpo", ["--logging_steps", 1]),
        ("grpo", [*LORA, "--save_strategy", "no"]),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(map(str, value[:2])),
)
def test_a_ruinous_step_is_no_success(request, tmp_path, stage, argv):
    """Nor is the same command, given again."""
    run = request.getfixturevalue(stage)
    for _ in range(2):
        collapsed(*run(*RUINOUS, *argv), tmp_path / "out")


def test_the_checkpoint_before_is_kept_and_gone_on_from(sft, tmp_path):
    """
    The second step, after one with a learning rate of 0, leaves weights that are finite and good for nothing: the
    checkpoint of it must not have cost the one before, though one only is to be kept.
    """
    schedule = ["--warmup_steps", 2, "--lr_scheduler_type", "constant_with_warmup", "--learning_rate", 1e12]
    out = tmp_path / "out"
    for _ in range(2):
        code, error = sft(*RUINOUS, *schedule)
        run = collapsed(code, error, out)
        assert (
            run["collapsed"].endswith("at step 3") and f"The last good checkpoint is {out / 'checkpoint-1'}" in error
        )
        assert {path.name for path in out.glob("*checkpoint*")} == {"checkpoint-1", "collapsed-checkpoint-2"}
    assert "resuming from" in error
    # As the message says: from its weights, in another folder
    assert sft("--learning_rate", 1e-4, model=out / "checkpoint-1", output_dir=tmp_path / "again")[0] == 0
    code, error = sft(*RUINOUS, "--learning_rate", 1e-4)
    assert code == 2 and "learning_rate" in error and (out / "checkpoint-1").is_dir()


def test_as_many_checkpoints_as_asked_for_are_left_of_a_good_run(sft, tmp_path):
    assert sft("--save_steps", 2, "--save_total_limit", 2)[0] == 0
    assert {path.name for path in (tmp_path / "out").glob("*checkpoint*")} == {"checkpoint-8", "checkpoint-10"}


@pytest.mark.parametrize("stage", ["sft", "grpo"])
def test_a_model_that_is_ruined_is_refused(request, glow_trl, tiny_model, tmp_path, stage):
    """In training, where nothing good can come of it, and where it is measured."""
    ruined = tmp_path / "ruined"
    ruined.mkdir()
    for file in Path(tiny_model).iterdir():
        (ruined / file.name).write_bytes(file.read_bytes())
    weights = load_file(ruined / "model.safetensors")
    weights["model.norm.weight"][3] = math.nan
    save_file(weights, ruined / "model.safetensors", metadata={"format": "pt"})
    code, error = request.getfixturevalue(stage)(model=ruined)
    assert code == 2 and str(ruined) in error and "not finite" in error
    assert not (tmp_path / "out" / "run.json").exists(), "another model may be trained there"
    if stage == "grpo":
        questions = {"name": "sums", "path": str(tmp_path / "q.jsonl")}
        options = ["--benchmarks", json.dumps([questions]), "--output_dir", tmp_path / "eval", "--dtype", "float32"]
        code, error = glow_trl("eval", "--model_name_or_path", ruined, *options, "--max_new_tokens", 2)
        assert code == 2 and "not finite" in error


class Poison(TrainerCallback):
    """Spoils a gradient or a weight at a step."""

    def __init__(self, what: str, step: int):
        self.what, self.step = what, step

    def _due(self, state, what):
        return self.what == what and state.global_step + 1 == self.step

    def on_optimizer_step(self, args, state, control, model=None, **kwargs):
        if self._due(state, "weight"):
            next(model.parameters()).data.view(-1)[5] = math.inf


def spoiled(kind: str, step: int, micro_batch: int):
    """A `GLOWTrainer` whose loss or gradient norm is not finite at a step, in one of its micro-batches."""

    class Spoiled(GLOWTrainer):
        calls = 0

        def compute_loss(self, *args, **kwargs):
            loss = super().compute_loss(*args, **kwargs)
            if kind != "loss" or self.state.global_step + 1 != step:
                return loss
            self.calls += 1
            return loss + (loss.detach() * 0 + math.inf if self.calls == micro_batch else 0)

        def training_step(self, model, *args, **kwargs):
            loss = super().training_step(model, *args, **kwargs)
            if kind == "gradient" and self.state.global_step + 1 == step:
                next(p for p in model.parameters() if p.grad is not None).grad.view(-1)[0] = math.nan
            return loss

    return Spoiled


@pytest.mark.parametrize("logs", ["no", "steps"])
@pytest.mark.parametrize(
    ("kind", "micro_batch", "reason"),
    [
        ("loss", 1, "the loss is not a finite number at step 3"),
        ("loss", 2, "the loss is not a finite number at step 3"),
        ("gradient", 1, "the gradient norm is not a finite number at step 3"),
        ("weight", 1, "the loss is not a finite number at step 4"),
    ],
)
def test_the_step_is_the_right_one(tiny_model, tmp_path, kind, micro_batch, reason, logs):
    """Whether it is logged or not: here at the ninth step, after the seventh, which would be saved, or at the end."""
    trainer = make_trainer(
        tiny_model,
        tmp_path,
        token_rows(16),
        trainer=spoiled(kind, 3, micro_batch),
        per_device_train_batch_size=2,
        gradient_accumulation_steps=2,
        callbacks=[Poison(kind, 3)],
        logging_strategy=logs,
        logging_steps=9,
        save_strategy="steps",
        save_steps=7,
    )
    with pytest.raises(TrainingCollapsed) as error:
        trainer.train()
    assert error.value.reason == reason
    assert trainer.state.global_step == 7 and not list(tmp_path.glob("checkpoint-*"))


def test_steps_that_float16_skips_do_not_stop_a_run(tiny_model, tmp_path, monkeypatch):
    """That its gradients overflow is pretended: one step in three, then all."""
    norm = Trainer._get_grad_norm
    always = False

    def overflowing(self, model, grad_norm=None):
        real = norm(self, model, grad_norm)
        return torch.full_like(real, math.inf) if always or self.state.global_step % 3 == 0 else real

    monkeypatch.setattr(Trainer, "_get_grad_norm", overflowing)
    kwargs = {"per_device_train_batch_size": 4, "logging_steps": 1, "save_strategy": "steps", "save_steps": 1}

    def trained(precision, epochs):
        monkeypatch.setattr(GLOWTrainer, "_may_overflow", precision == "fp16")
        trainer = make_trainer(tiny_model, tmp_path, token_rows(16), num_train_epochs=epochs, **kwargs)
        trainer.train()
        return trainer.state.global_step

    assert trained("fp16", 2) == 8
    with pytest.raises(TrainingCollapsed, match="the gradient norm is not a finite number at step 1"):
        trained("no", 2)
    always = True
    with pytest.raises(TrainingCollapsed, match="the gradient norm is not a finite number at step 51"):
        trained("fp16", 15)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ddp", "zero3"])
def test_all_processes_stop_together(tiny_model, trajectories, tmp_path, name):
    """With whole and with sharded weights: one message, no process is waited for."""
    if name == "zero3":
        pytest.importorskip("deepspeed")
    options = ["--model_name_or_path", tiny_model, "--dataset_name", trajectories, "--output_dir", tmp_path / "out"]
    options += [*CPU, "--per_device_train_batch_size", 4, "--num_train_epochs", 2, *RUINOUS]
    command = launch_command(on_cpu(name, tmp_path, 2), "-m", "helpers.stages", "glow_trl.sft", *map(str, options))
    run = subprocess.run(command, env=environment(), capture_output=True, text=True)
    lines = [line for line in run.stderr.splitlines() if line.startswith("glow-trl: error")]
    collapsed(1, "\n".join(lines), tmp_path / "out")
    assert run.returncode != 0


def test_a_loss_that_is_not_finite_is_logged_as_it_is(sft, tmp_path):
    """`Trainer` puts the mean of the losses before in its place."""
    sft(*RUINOUS, "--logging_steps", 1, "--save_strategy", "no")
    assert [row["loss"] for _, row in read_jsonl(tmp_path / "out" / "log.jsonl") if "loss" in row][1] == "nan"
