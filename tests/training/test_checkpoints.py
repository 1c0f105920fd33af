"""The last complete checkpoint is found, whatever a run left behind when it died."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from glow_trl.training.checkpoints import (
    last_complete_checkpoint,
    num_processes_of,
    remove_other_ranks,
)
from helpers.glow_cases import make_trainer, parameters, token_rows


SETTINGS = {
    "per_device_train_batch_size": 4,
    "save_strategy": "steps",
    "save_steps": 2,
    "max_steps": 4,
    "optim": "adamw_torch",
}


@pytest.fixture(scope="module")
def written(tiny_model, tmp_path_factory):
    """Output folders of real runs: of GLOW, GLOW with LoRA, and an SFTTrainer, whose checkpoints have no ledger."""
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    root = tmp_path_factory.mktemp("written")
    make_trainer(tiny_model, root / "glow", token_rows(8), **SETTINGS).train()
    make_trainer(tiny_model, root / "lora", token_rows(8), peft_config=LoraConfig(r=2), **SETTINGS).train()
    plain = make_trainer(
        tiny_model, root / "without_ledger", token_rows(8), trainer=SFTTrainer, config=SFTConfig, **SETTINGS
    )
    plain.train()
    sharded = root / "sharded"
    shutil.copytree(root / "glow", sharded)
    for checkpoint in sharded.glob("checkpoint-*"):
        (checkpoint / "model.safetensors").unlink()
        plain.model.save_pretrained(checkpoint, max_shard_size="20KB")
        assert (checkpoint / "model.safetensors.index.json").exists()
    return root


@pytest.fixture
def folder(written, tmp_path):
    def copy(name):
        return Path(shutil.copytree(written / name, tmp_path / name))

    return copy


def last(folder: Path) -> str | None:
    found = last_complete_checkpoint(folder)
    return None if found is None else Path(found).name


def cut(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


@pytest.mark.parametrize("name", ["glow", "lora", "without_ledger", "sharded"])
def test_takes_the_last(folder, name, caplog):
    """By number and not by name, with no word about it."""
    path = folder(name)
    assert last(path) == "checkpoint-4"
    (path / "checkpoint-4").rename(path / "checkpoint-10")
    state = path / "checkpoint-10" / "trainer_state.json"
    state.write_text(json.dumps(json.loads(state.read_text()) | {"global_step": 10}))
    assert last(path) == "checkpoint-10"
    assert not caplog.records


def test_none(tmp_path):
    """No folder, an empty one, other things in it."""
    assert last_complete_checkpoint(tmp_path / "missing") is None
    assert last_complete_checkpoint(tmp_path) is None
    (tmp_path / "checkpoint-5").write_text("a file")
    (tmp_path / "checkpoint-best").mkdir()
    (tmp_path / "checkpoint-7").mkdir()
    assert last_complete_checkpoint(str(tmp_path)) is None


FILES = {
    "glow": [
        "glow/ledger.safetensors",
        "model.safetensors",
        "optimizer.pt",
        "rng_state.pth",
        "scheduler.pt",
        "trainer_state.json",
    ],
    "lora": ["adapter_model.safetensors", "optimizer.pt", "glow/ledger.safetensors"],
    "without_ledger": ["model.safetensors", "rng_state.pth"],
    "sharded": ["model-00002-of-00003.safetensors", "model.safetensors.index.json"],
}


@pytest.mark.parametrize("name, file", [(name, file) for name, files in FILES.items() for file in files])
@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "garbage"])
def test_damaged(folder, name, file, damage, caplog):
    """A file that is missing, empty, cut off or overwritten: the checkpoint before is taken, and the file is named."""
    path = folder(name)
    (target,) = (path / "checkpoint-4").glob(file.replace("00003", "*"))
    if damage == "missing":
        target.unlink()
    elif damage == "empty":
        target.write_bytes(b"")
    elif damage == "cut":
        cut(target)
    else:
        target.write_bytes(b"garbage " * (target.stat().st_size // 8))
    assert last(path) == "checkpoint-2"
    (record,) = caplog.records
    assert target.name in record.getMessage() or damage == "missing" and "missing" in record.getMessage()
    assert "checkpoint-4" in record.getMessage() and record.levelname == "WARNING"


def test_a_ledger_beside_the_weights(folder):
    """Where version 0.1.0 left it: such a checkpoint is as good as the others, and damaged all the same."""
    path = folder("glow")
    for checkpoint in path.glob("checkpoint-*"):
        (checkpoint / "glow" / "ledger.safetensors").rename(checkpoint / "ledger.safetensors")
    assert last(path) == "checkpoint-4"
    cut(path / "checkpoint-4" / "ledger.safetensors")
    assert last(path) == "checkpoint-2"


@pytest.mark.parametrize("file", ["optimizer.pt", "scheduler.pt", "rng_state.pth"])
def test_flipped_bytes(folder, file):
    """Files that torch wrote have checksums."""
    path = folder("glow")
    target = path / "checkpoint-4" / file
    content = bytearray(target.read_bytes())
    middle = content.find(b"/data.pkl") + 200
    content[middle] ^= 0xFF
    target.write_bytes(content)
    assert last(path) == "checkpoint-2"


def test_cut_by_one_byte(folder):
    """The size that the header gives is the size of the file."""
    path = folder("glow")
    model = path / "checkpoint-4" / "model.safetensors"
    model.write_bytes(model.read_bytes()[:-1])
    assert last(path) == "checkpoint-2"


def test_other_step(folder, caplog):
    """A folder that was renamed or mixed up."""
    path = folder("glow")
    shutil.copy(path / "checkpoint-2" / "trainer_state.json", path / "checkpoint-4" / "trainer_state.json")
    assert last(path) == "checkpoint-2" and "step 2" in caplog.text


def test_all_damaged(folder, caplog):
    path = folder("glow")
    for checkpoint in path.glob("checkpoint-*"):
        (checkpoint / "model.safetensors").unlink()
    assert last(path) is None and len(caplog.records) == 2


def test_processes(folder, caplog):
    """The random states of all the processes that a run had."""
    path = folder("glow")
    for checkpoint in path.glob("checkpoint-*"):
        state = checkpoint / "rng_state.pth"
        for rank in (0, 1, 2):
            shutil.copy(state, checkpoint / f"rng_state_{rank}.pth")
        state.unlink()
    assert last(path) == "checkpoint-4"
    (path / "checkpoint-4" / "rng_state_1.pth").unlink()
    assert last(path) == "checkpoint-2" and "rng_state_1.pth" in caplog.text


def test_deepspeed(folder, caplog):
    """Weights and optimizer are in a folder that `latest` names, and there is no optimizer.pt."""
    path = folder("glow")
    for step in (2, 4):
        checkpoint = path / f"checkpoint-{step}"
        shards = checkpoint / f"global_step{step}"
        shards.mkdir()
        for rank in (0, 1):
            torch.save({}, shards / f"bf16_zero_pp_rank_{rank}_mp_rank_00_optim_states.pt")
        torch.save({}, shards / "mp_rank_00_model_states.pt")
        (checkpoint / "latest").write_text(shards.name)
        (checkpoint / "optimizer.pt").unlink()
        (checkpoint / "model.safetensors").unlink()
        (checkpoint / "scheduler.pt").unlink()
    assert last(path) == "checkpoint-4"
    damaged = path / "checkpoint-4" / "global_step4" / "bf16_zero_pp_rank_1_mp_rank_00_optim_states.pt"
    cut(damaged)
    assert last(path) == "checkpoint-2" and damaged.name in caplog.text
    (path / "checkpoint-2" / "latest").unlink()
    assert last(path) is None and "latest is missing" in caplog.text


def test_fsdp(folder, caplog):
    """Weights and optimizer are in folders of shards with metadata that is written last."""
    path = folder("glow")
    for step in (2, 4):
        checkpoint = path / f"checkpoint-{step}"
        for name in ("pytorch_model_fsdp_0", "optimizer_0"):
            (checkpoint / name).mkdir()
            torch.save({}, checkpoint / name / "__0_0.distcp")
            (checkpoint / name / ".metadata").write_bytes(b"metadata")
        (checkpoint / "optimizer.pt").unlink()
        (checkpoint / "model.safetensors").unlink()
    assert last(path) == "checkpoint-4"
    (path / "checkpoint-4" / "optimizer_0" / ".metadata").unlink()
    assert last(path) == "checkpoint-2" and "optimizer_0/.metadata" in caplog.text


def test_trainer_resumes_from_the_last_complete_one(folder, tiny_model, tmp_path):
    """`resume_from_checkpoint=True` passes over a checkpoint that was not finished, and the run ends all the same."""
    path = folder("glow")
    trainer = make_trainer(tiny_model, path, token_rows(8), **SETTINGS)
    trainer.train(resume_from_checkpoint=str(path / "checkpoint-2"))
    expected = parameters(trainer.model)
    cut(path / "checkpoint-4" / "optimizer.pt")
    again = make_trainer(tiny_model, path, token_rows(8), **SETTINGS)
    again.train(resume_from_checkpoint=True)
    assert all(torch.equal(value, expected[name]) for name, value in parameters(again.model).items())
    assert last(path) == "checkpoint-4"


def test_parts_of_more_processes_are_removed(tmp_path):
    names = ["rng_state_{}.pth", "global_step3/zero_pp_rank_{}_mp_rank_00_model_states.pt"]
    names += ["global_step3/bf16_zero_pp_rank_{}_mp_rank_00_optim_states.pt"]
    (tmp_path / "global_step3").mkdir()
    for name in names:
        for rank in (0, 1, 2, 10):
            (tmp_path / name.format(rank)).touch()
    others = [tmp_path / "global_step3" / "mp_rank_00_model_states.pt", tmp_path / "model.safetensors"]
    for path in others:
        path.touch()
    remove_other_ranks(tmp_path, 2)
    assert num_processes_of(tmp_path) == 2 and all(path.exists() for path in others)
    for name in names:
        assert [(tmp_path / name.format(rank)).exists() for rank in (0, 1, 2, 10)] == [True, True, False, False]
