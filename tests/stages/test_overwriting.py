"""No command overwrites what it reads, under whatever name, and none writes anything before it says so."""

import os
import shutil
import subprocess

import pytest
from test_frame import history

from glow_trl.stages.registry import COMMANDS
from helpers.launching import CPU, ROOT


@pytest.fixture
def command(trajectories, tiny_model, tmp_path):
    """Arguments with which a command reads a file and writes to a folder, and a name that it would write there."""

    def of(name, source, out):
        data = ["--dataset_name", source, "--output_dir", out]
        model = ["--model_name_or_path", tiny_model]
        return {
            "label": (data, "trajectories.jsonl"),
            "mix": (data, "train.jsonl"),
            "collect": ([*data, *model], "trajectories-00000-of-00001.jsonl"),
            "sft": ([*data, *model, *CPU], "log.jsonl"),
            "grpo": ([*data, *model, *CPU], "log.jsonl"),
            "loss": ([*data, *model], "losses.jsonl"),
            "audit": ([source, "--output_dir", out], "results.json"),
            "annotate": ([*data, *model, "--judge", "rule", "--taxonomy", "quickstart"], "annotations.jsonl"),
            "ready": ([tiny_model, "--questions", source, "--output_dir", out], "rows.jsonl"),
            "eval": (
                ["--benchmarks", f"[{{name: b, path: {source}}}]", *model, "--output_dir", out],
                "generations_b.jsonl",
            ),
            "dynamics": (
                [history(tmp_path / "stage" / "out"), "--data", source, "--output_dir", out],
                "never_improved.jsonl",
            ),
        }[name]

    return of


def names_of(path, how, tmp_path):
    """Another name of a file."""
    other = tmp_path / "other.jsonl"
    if how == "symlink":
        other.symlink_to(path)
    elif how == "hard link":
        other.hardlink_to(path)
    else:
        other = {"same": path, "relative": os.path.relpath(path), "dot": path.parent / "." / ".." / "out" / path.name}[
            how
        ]
    return str(other)


@pytest.mark.parametrize("how", ["same", "relative", "dot", "symlink", "hard link"])
@pytest.mark.parametrize(
    "name", ["label", "mix", "collect", "sft", "grpo", "loss", "annotate", "audit", "ready", "eval", "dynamics"]
)
def test_a_stage_refuses_an_input_in_its_output_folder(glow_trl, command, trajectories, tmp_path, name, how):
    out = tmp_path / "out"
    out.mkdir()
    source = out / command(name, "", out)[1]
    shutil.copyfile(trajectories, source)
    argv, _ = command(name, names_of(source, how, tmp_path), out)
    before = source.read_bytes()
    code, said = glow_trl(name, *argv)
    assert code == 2 and "could be overwritten" in said
    assert source.read_bytes() == before and os.listdir(out) == [source.name]


@pytest.mark.parametrize("how", ["same", "relative", "dot", "symlink", "hard link"])
def test_verify_refuses_to_overwrite_its_input(glow_trl, trajectories, tmp_path, how):
    (tmp_path / "out").mkdir()
    source = tmp_path / "out" / "rows.jsonl"
    shutil.copyfile(trajectories, source)
    before = source.read_bytes()
    code, said = glow_trl("verify", source, "--output", names_of(source, how, tmp_path))
    assert code == 2 and "would overwrite the input" in said and source.read_bytes() == before


def test_compare_does_not_write_over_what_it_compares(glow_trl, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "results.json").write_text('{"benchmarks": {}}')
    code, said = glow_trl("compare", tmp_path / "a", tmp_path / "b", "--output", tmp_path / "b" / "results.json")
    assert code == 2 and "would overwrite the input" in said
    assert (tmp_path / "b" / "results.json").read_text() == '{"benchmarks": {}}'


def test_dynamics_does_not_export_over_its_data(glow_trl, tmp_path):
    data = tmp_path / "rows.parquet"
    data.write_bytes(b"mine")
    code, said = glow_trl("dynamics", history(tmp_path / "out"), "--data", data, "--export", data)
    assert code == 2 and "would overwrite the input" in said and data.read_bytes() == b"mine"


def test_a_model_is_not_trained_into_its_own_folder(glow_trl, tiny_model, trajectories, tmp_path):
    model = shutil.copytree(tiny_model, tmp_path / "model")
    before = {path.name: path.read_bytes() for path in model.iterdir()}
    argv = ["--model_name_or_path", model, "--dataset_name", trajectories, "--output_dir", model, *CPU]
    code, said = glow_trl("sft", *argv)
    assert code == 2 and "is the output folder" in said
    assert {path.name: path.read_bytes() for path in model.iterdir()} == before


def test_make_clean_leaves_the_runs(tmp_path):
    shutil.copyfile(ROOT / "Makefile", tmp_path / "Makefile")
    for name in ("outputs/run", ".venv", ".ruff_cache"):
        (tmp_path / name).mkdir(parents=True)
    subprocess.run(["make", "clean"], cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "outputs" / "run").is_dir() and not (tmp_path / ".venv").exists()


FAULTY = {
    "label": ["--limit", "1", "--timeout", "-1"],
    "mix": ["--mixture", "positive", "--max_tokens", "1"],
    "sft": ["--max_length", "3"],
    "loss": ["--by", "nothing"],
    "annotate": ["--truth_column", "nothing"],
    "audit": ["--columns", "{answer: nothing}"],
}
assert FAULTY.keys() <= COMMANDS.keys()


@pytest.mark.parametrize("name", FAULTY)
def test_a_first_start_that_failed_leaves_the_folder_to_the_corrected_call(
    glow_trl, command, trajectories, tmp_path, name
):
    argv, _ = command(name, trajectories, tmp_path / "out")
    assert glow_trl(name, *argv, *FAULTY[name])[0] == 2
    code, said = glow_trl(name, *argv, *(["--max_steps", 2] if name == "sft" else []))
    assert code == 0, said


def test_a_first_start_that_broke_before_it_had_anything_leaves_the_folder(
    glow_trl, command, trajectories, tmp_path, monkeypatch
):
    """Not only errors of the user's: memory that ran out, too, is mended by another setting."""
    from glow_trl import sft

    argv, _ = command("sft", trajectories, tmp_path / "out")

    def run_out(trainer, run):
        run.start()
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(sft.loop, "train", run_out)
        with pytest.raises(MemoryError):
            glow_trl("sft", *argv, "--num_train_epochs", 2)
    assert glow_trl("sft", *argv, "--max_steps", 2, "--per_device_train_batch_size", 4)[0] == 0
