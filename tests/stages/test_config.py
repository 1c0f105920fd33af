"""Configurations: whoever types something wrong is told what, where, and what was probably meant."""

from dataclasses import dataclass

import pytest

from glow_trl.data.config import RowsConfig
from glow_trl.errors import UserError
from glow_trl.stages.config import parse_settings, setting


@dataclass
class Example:
    learning_rate: float = 1.0
    packing: bool = False
    columns: dict[str, str] | str | None = None
    names: list[str] = setting([], "Names.", mappings=True)
    folders: list[str] = setting([], "Folders.", positional=True)

    def __post_init__(self):
        if self.learning_rate > 9:
            raise ValueError("learning_rate\nmust not be above 9")


def parse(*argv):
    return parse_settings([Example], argv, "example")


def test_file_then_command_line(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("learning_rate: 1e-3\nnames: [a, b]\n")
    settings = parse("--config", str(path), "--packing", "true")
    config = settings.config
    assert (config.learning_rate, config.names, config.packing) == (1e-3, ["a", "b"], True)
    assert settings.given == {"learning_rate": 1e-3, "names": ["a", "b"], "packing": True}
    assert settings.resolved == settings.given | {"columns": None, "folders": []}
    assert parse(f"--config={path}", "--learning_rate=2").config.learning_rate == 2.0


def test_lists_and_mappings_are_yaml_on_the_command_line_too():
    config = parse("--names", "[{base: gsm8k, name: g}, b]", "--columns={answer: gold}").config
    assert config.names == [{"base": "gsm8k", "name": "g"}, "b"] and config.columns == {"answer": "gold"}
    assert parse("--names", "a", "b").config.names == ["a", "b"]
    with pytest.raises(UserError, match="--names: not valid YAML"):
        parse("--names", "[a")


def test_a_mapping_may_be_a_text_in_yaml_wherever_it_stands(tmp_path):
    for text in ("{answer: gold}", "answer: gold", '{"answer": "gold"}'):
        assert RowsConfig(dataset_name=["a.jsonl"], columns=text).columns == {"answer": "gold"}
        config = parse_settings([RowsConfig], ["--dataset_name", "a.jsonl", "--columns", text], "example").config
        assert config.columns == {"answer": "gold"}
    for text, message in (("{answer", "columns: not valid YAML"), ("gold", "columns: expected a mapping, found str")):
        with pytest.raises(UserError, match=message):
            parse_settings([RowsConfig], ["--dataset_name", "a.jsonl", "--columns", text], "example")


@pytest.mark.parametrize(
    "argv",
    [
        ["a", "b", "--packing"],
        ["--packing", "a", "b"],
        ["--packing", "true", "a", "b"],
        ["a", "--packing", "b"],
        ["--packing", "a", "--learning_rate", "1", "b", "--columns", "{x: y}"],
        ["--names", "[n, m]", "a", "--packing=false", "b", "--packing"],
        ["--learning_rate=1", "a", "b"],
        ["--packing", "yes", "--folders", "a", "b"],
    ],
)
def test_a_value_without_a_name_may_stand_anywhere(argv):
    assert parse(*argv).config.folders == ["a", "b"]


def test_first_values_need_no_name():
    assert parse("a", "b", "--packing").config.folders == ["a", "b"]
    assert parse("--packing", "true", "--folders", "a").config.folders == ["a"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("learning_rte: 1", "unknown key 'learning_rte' for example; did you mean learning_rate?"),
        ("learning_rate: fast", "learning_rate"),
        ("learning_rate: 10", "learning_rate must not be above 9"),
        ("- 1", "expected a mapping"),
        ("a: [1", "line 1: not valid YAML"),
        ("a: 1\n\tb: 2", "line 2: not valid YAML"),
        ("1: 2", "expected names as keys"),
    ],
)
def test_a_bad_file_is_an_error_that_names_it(tmp_path, content, message):
    path = tmp_path / "c.yaml"
    path.write_text(content)
    with pytest.raises(UserError) as error:
        parse("--config", str(path))
    assert message in str(error.value) and "c.yaml" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (
            ["--learning_rte", "1"],
            "unknown option --learning_rte; did you mean --learning_rate?",
        ),
        (["--learn", "1"], "unknown option --learn"),
        (["--learning_rate", "x"], "invalid float value"),
        (["--config"], "needs the path"),
        (["--config", "none.yaml"], "none.yaml: cannot be read"),
        (["--names", "a", "--learning_rate", "1", "-x"], "unknown option -x"),
    ],
)
def test_a_bad_command_line_is_an_error(argv, message):
    with pytest.raises(UserError, match=message):
        parse(*argv)


@dataclass
class Training:
    num_train_epochs: float = 3.0
    max_steps: int = -1


@pytest.mark.parametrize(
    ("content", "argv", "epochs", "steps", "said"),
    [
        ("max_steps: 9", ["--num_train_epochs", "2"], 2, -1, "--num_train_epochs takes the place of max_steps: 9 in"),
        ("max_steps: 9", ["--num-train-epochs=2"], 2, -1, "takes the place of max_steps: 9 in"),
        ("num_train_epochs: 4", ["--max_steps", "5"], 3, 5, "takes the place of num_train_epochs: 4"),
        ("num_train_epochs: 4", ["--num_train_epochs", "5"], 5, -1, ""),
        ("max_steps: 9", ["--max_steps", "-1", "--num_train_epochs", "2"], 2, -1, ""),
        ("max_steps: 9\nnum_train_epochs: 4", ["--num_train_epochs", "2"], 2, -1, "max_steps: 9"),
        ("max_steps: 9\nnum_train_epochs: 4", ["--max_steps", "-1"], 4, -1, ""),
        ("max_steps: 9", [], 3, 9, ""),
        ("max_steps: -1\nnum_train_epochs: 4", [], 4, -1, ""),
    ],
)
def test_how_long_to_train_is_what_was_said_last(tmp_path, caplog, content, argv, epochs, steps, said):
    """TRL lets `max_steps` win, so that `--num_train_epochs 2` did nothing against a recipe's `max_steps`."""
    path = tmp_path / "sft.yaml"
    path.write_text(content)
    settings = parse_settings([Training], ["--config", str(path), *argv], "example")
    assert (settings.config.num_train_epochs, settings.config.max_steps) == (epochs, steps)
    assert said in caplog.text and bool(said) == bool(caplog.text)
    assert "max_steps" in settings.given or steps == -1


@pytest.mark.parametrize(
    ("content", "argv"),
    [("{max_steps: 9, num_train_epochs: 4}", []), ("{}", ["--max_steps", "9", "--num_train_epochs", "4"])],
)
def test_how_long_to_train_is_said_in_one_way(tmp_path, content, argv):
    path = tmp_path / "sft.yaml"
    path.write_text(content)
    with pytest.raises(UserError, match="sft.yaml: num_train_epochs and max_steps both say how long to train"):
        parse_settings([Training], ["--config", str(path), *argv], "example")
