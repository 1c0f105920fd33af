"""What a tracker is given: GLOW's own metrics in stage 1, rewards by source in stage 2. With TensorBoard's files."""

import struct
from pathlib import Path

import pytest

from glow_trl.data import write_jsonl
from helpers.launching import CPU


event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2")


def tracked(folder: Path) -> dict[str, dict[int, float]]:
    """Name to step to value, of all the event files in a folder."""
    values: dict[str, dict[int, float]] = {}
    for path in folder.rglob("events.out.tfevents.*"):
        content, at = path.read_bytes(), 0
        while at < len(content):
            # A record: its length, a checksum of that, the event, a checksum of that
            (size,) = struct.unpack("<Q", content[at : at + 8])
            event = event_pb2.Event.FromString(content[at + 12 : at + 12 + size])
            for value in event.summary.value:
                values.setdefault(value.tag, {})[event.step] = value.simple_value
            at += size + 16
    return values


@pytest.fixture
def tracker(monkeypatch, tmp_path) -> list[str]:
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "events"))
    return ["--report_to", "tensorboard", "--logging_steps", "1"]


def test_stage_one(glow_trl, tiny_model, trajectories, tmp_path, tracker):
    options = ["--model_name_or_path", tiny_model, "--dataset_name", trajectories, "--output_dir", tmp_path / "out"]
    options += ["--per_device_train_batch_size", 8, "--num_train_epochs", 2, "--learning_rate", 1e-3]
    code, error = glow_trl("sft", *options, *CPU, *tracker)
    assert code == 0, error
    values = tracked(tmp_path / "events")
    # 40 samples, 8 a step: 5 steps an epoch
    for name in ("glow/mean_weight", "glow/share_at_min", "glow/share_at_max", "glow/mean_gain", "glow/sample_loss"):
        steps = values[f"train/{name}"]
        assert set(range(6, 11)) <= steps.keys(), name
    assert all(values["train/glow/mean_weight"][step] == 1 for step in range(1, 6))
    assert values["train/glow/mean_weight"][10] < 1
    for name in ("loss_positive", "loss_negative"):
        assert values[f"train/glow/epoch_{name}"].keys() == {5, 10}
    for name in ("gain_positive", "gain_negative", "weight", "share_at_min", "share_at_max"):
        assert values[f"train/glow/epoch_{name}"].keys() == {10}, name


def test_stage_two(glow_trl, tiny_model, tmp_path, tracker):
    rows = [{"problem": f"{a}+1=?", "answer": str(a + 1), "source": ("odd", "even")[a % 2 == 0]} for a in range(8)]
    write_jsonl(tmp_path / "questions.jsonl", rows)
    options = ["--model_name_or_path", tiny_model, "--dataset_name", tmp_path / "questions.jsonl"]
    options += ["--output_dir", tmp_path / "out", "--per_device_train_batch_size", 16, "--num_generations", 2]
    options += ["--max_completion_length", 8, "--max_steps", 2]
    code, error = glow_trl("grpo", *options, *CPU, *tracker)
    assert code == 0, error
    values = tracked(tmp_path / "events")
    for name in ("reward", "accuracy/source/odd", "accuracy/source/even"):
        assert values[f"train/{name}"].keys() == {1, 2}, name
    for step in (1, 2):
        # Every step has all the questions
        mean = (values["train/accuracy/source/odd"][step] + values["train/accuracy/source/even"][step]) / 2
        assert values["train/reward"][step] == pytest.approx(mean)
