"""The record of a run: complete runs are recognized, different ones refused, and no record is ever half written."""

import pytest

from glow_trl.errors import UserError
from glow_trl.stages.config import Settings
from glow_trl.stages.record import StageRun, read_run


def run_of(stage, folder, given, inputs=(), **options) -> StageRun:
    """A run that was told `given`, of a stage that has some further settings."""
    resolved = {"seed": 0, "logging_steps": 10, "benchmarks": []} | given
    changeable = {"logging_steps": True, "benchmarks": "recomputes"}
    return StageRun(stage, folder, Settings(stage, (), given, changeable, resolved, {}), inputs, **options)


def test_a_complete_run_is_recognized_and_one_that_stopped_is_not(tmp_path):
    run = run_of("sft", tmp_path, {"seed": 1})
    run.start()
    assert read_run(tmp_path)["status"] == "running"
    assert not run_of("sft", tmp_path, {"seed": 1}).is_complete
    run.complete(rows=3)
    again = run_of("sft", tmp_path, {"seed": 1, "logging_steps": 5})
    assert again.is_complete and again.record["rows"] == 3 and again.record["seed"] == 1
    assert {"torch", "trl", "python"} <= again.record["versions"].keys()


def test_other_settings_or_other_data_are_refused_by_name(tmp_path):
    data = tmp_path / "rows.jsonl"
    data.write_text("{}\n")
    run_of("sft", tmp_path / "out", {"seed": 1}, [data]).complete()
    with pytest.raises(UserError, match=r"seed: 1 -> 2"):
        run_of("sft", tmp_path / "out", {"seed": 2}, [data])
    data.write_text("{}\n{}\n")
    with pytest.raises(UserError, match="the content of .*rows.jsonl"):
        run_of("sft", tmp_path / "out", {"seed": 1}, [data])
    with pytest.raises(UserError, match="differs"):
        run_of("grpo", tmp_path / "out", {"seed": 1}, [data])


def test_a_default_that_is_written_out_changes_nothing(tmp_path):
    run_of("sft", tmp_path, {}).complete()
    assert run_of("sft", tmp_path, {"seed": 0}).is_complete
    assert read_run(tmp_path)["config"] == {"seed": 0, "logging_steps": 10, "benchmarks": []}
    assert read_run(tmp_path)["given"] == {}


def test_a_complete_run_is_opened_again_for_what_it_computes_anew(tmp_path):
    run_of("eval", tmp_path, {"benchmarks": ["a"]}, depends_on={"data": 1}).complete()
    assert run_of("eval", tmp_path, {"benchmarks": ["a"]}, depends_on={"data": 1}).is_complete
    assert not run_of("eval", tmp_path, {"benchmarks": ["a", "b"]}, depends_on={"data": 1}).is_complete
    assert not run_of("eval", tmp_path, {"benchmarks": ["a"]}, depends_on={"data": 2}).is_complete


def test_no_secret_is_written(tmp_path):
    run_of("sft", tmp_path, {"hub_token": "hf_planted"}).complete()
    assert "hf_planted" not in (tmp_path / "run.json").read_text()


def test_time_adds_up_over_starts(tmp_path):
    run = run_of("sft", tmp_path, {})
    run.start()
    run.interrupt(collapsed="x")
    first = read_run(tmp_path)["seconds"]
    second = run_of("sft", tmp_path, {})
    second.complete()
    assert read_run(tmp_path)["seconds"] >= first


def test_a_record_that_is_damaged_is_not_written_over(tmp_path):
    """It was some run's, and nobody can tell whether it is this one."""
    (tmp_path / "run.json").write_text('{"stage": "sft", "sta')
    assert read_run(tmp_path) is None
    with pytest.raises(UserError, match="run.json is damaged"):
        run_of("sft", tmp_path, {})
    assert (tmp_path / "run.json").read_text() == '{"stage": "sft", "sta'


def test_an_unwritable_folder_is_an_error_for_people(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"output_dir .*file/out: cannot be written to"):
        run_of("sft", tmp_path / "file" / "out", {}).start()


def test_only_the_main_process_writes(tmp_path):
    run_of("sft", tmp_path, {}, main_process=False).complete()
    assert not (tmp_path / "run.json").exists()


def test_a_change_in_the_middle_of_a_large_file_is_refused(tmp_path):
    data = tmp_path / "rows.jsonl"
    data.write_bytes(bytes(20 << 20))
    run_of("sft", tmp_path / "out", {"seed": 1}, [data]).complete()
    with data.open("r+b") as file:
        file.seek(10 << 20)
        file.write(b"1")
    with pytest.raises(UserError, match="the content of .*rows.jsonl"):
        run_of("sft", tmp_path / "out", {"seed": 1}, [data])


def test_the_commit_of_a_model_on_the_hub_is_recorded(tmp_path, monkeypatch):
    """That of the copy on this machine: a run does not go on with a model that was updated in between."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    reference = tmp_path / "models--some--model" / "refs" / "main"
    reference.parent.mkdir(parents=True)
    given = {"model_name_or_path": "some/model"}
    for commit in ("abc", "abc"):
        reference.write_text(commit)
        run_of("sft", tmp_path / "out", given).complete()
    assert read_run(tmp_path / "out")["hub_commit"] == "abc"
    reference.write_text("def")
    with pytest.raises(UserError, match="the commit of some/model on the Hub: abc -> def"):
        run_of("sft", tmp_path / "out", given)
