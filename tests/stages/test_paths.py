"""`~` and variables in every setting that is a path, and in no other."""

import dataclasses
import json

import pytest

from glow_trl.errors import UserError
from glow_trl.recipes.run import main as run
from glow_trl.stages.config import command_types, parse_command
from glow_trl.stages.paths import PATHS, expand_setting
from glow_trl.stages.registry import COMMANDS
from glow_trl.stages.yaml_file import read_yaml


def test_every_setting_that_is_named_as_a_path_is_one():
    for command in COMMANDS:
        names = {item.name for cls in command_types(command) for item in dataclasses.fields(cls)}
        ends = ("_dir", "_path", "_file", "output")
        assert {name for name in names if name.endswith(ends)} <= PATHS, command


@pytest.mark.parametrize("how", ["~/out", "${HERE}/out", "$HERE/out", "${NOT_SET:-~}/out"])
@pytest.mark.parametrize("where", ["argv", "equals", "file"])
def test_an_output_folder(glow_trl, trajectories, tmp_path, monkeypatch, how, where):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HERE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "label.yaml").write_text(f'output_dir: "{how}"\n' if where == "file" else "{}")
    argv = {"argv": ["--output_dir", how], "equals": [f"--output_dir={how}"], "file": []}[where]
    code, said = glow_trl("label", "--dataset_name", trajectories, "--config", "label.yaml", *argv)
    assert code == 0, said
    assert json.loads((tmp_path / "out" / "run.json").read_text())["status"] == "complete"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["label.yaml", "out"]


def test_an_output_file_an_export_and_a_run(glow_trl, trajectories, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HERE", str(tmp_path))
    assert glow_trl("verify", trajectories, "--output", "${HERE}/judged.jsonl")[0] == 0
    assert (tmp_path / "judged.jsonl").exists()
    argv = ["--run_dir", "~/run", "--export", "$HERE/table.parquet", "--data", "~/a.jsonl", "${HERE}/b.jsonl"]
    config = parse_command("dynamics", argv).config
    assert (config.run_dir, config.export) == (f"{tmp_path}/run", f"{tmp_path}/table.parquet")
    assert config.data == [f"{tmp_path}/a.jsonl", f"{tmp_path}/b.jsonl"]
    with pytest.raises(UserError, match=f"--overwrite: {tmp_path} is no folder of a run's own"):
        run(["quickstart", "--output_dir", "~", "--overwrite"])


@pytest.mark.parametrize("setting", sorted(PATHS & {"output_dir", "dataset_name", "model_name_or_path"}))
def test_a_variable_that_is_not_set_is_an_error_that_names_the_setting(glow_trl, trajectories, tmp_path, setting):
    given = {"dataset_name": trajectories, "output_dir": str(tmp_path / "out"), "model_name_or_path": "x"}
    given[setting] = "${NOT_SET_AT_ALL}/x"
    code, said = glow_trl("loss", *(part for key, value in given.items() for part in (f"--{key}", value)))
    assert (
        code == 2 and f"{setting}: ${{NOT_SET_AT_ALL}}/x: the environment variable NOT_SET_AT_ALL is not set" in said
    )
    assert not (tmp_path / "out").exists()


def test_texts_keep_their_dollars(tmp_path):
    assert expand_setting("prompt_template", "~ $HOME {problem}") == "~ $HOME {problem}"
    (tmp_path / "a.yaml").write_text("system_prompt: It costs $HOME\n")
    assert read_yaml(tmp_path / "a.yaml") == {"system_prompt": "It costs $HOME"}
