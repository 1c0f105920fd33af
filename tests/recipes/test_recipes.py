"""Every recipe that is shipped resolves, and its configuration objects can be built."""

from pathlib import Path

import pytest
import yaml

from glow_trl.errors import UserError
from glow_trl.recipes.pipeline import Pipeline
from glow_trl.recipes.recipe import ARMS, Recipe, build, write_settings
from glow_trl.stages.config import parse_command
from glow_trl.stages.registry import COMMANDS
from glow_trl.training.handover import read_handover


ROOT = Path(__file__).resolve().parents[2]
RECIPES = sorted(path.parent for path in ROOT.glob("recipes/*/sft.yaml"))


def parse(stage, settings, folder):
    path = folder / f"{stage}.yaml"
    write_settings(path, settings)
    # These machines have no GPU, which a recipe for one asks for
    options = ["--use_cpu", "true"] if stage in ("sft", "grpo") else []
    return parse_command(stage, ["--config", str(path), *options]).configs


def test_the_recipes_that_are_promised_are_there():
    names = {path.name for path in RECIPES}
    assert {
        "quickstart",
        "gsm8k",
        "qwen2.5-3b-math",
        "qwen2.5-7b-math",
        "qwen2.5-7b-mmlu",
        "llama3.1-8b-math",
    } <= names


@pytest.mark.parametrize("folder", RECIPES, ids=lambda path: path.name)
def test_recipe_resolves_and_builds_its_configurations(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    recipe = Recipe(folder)
    recipe.check_keys()
    assert recipe.stages == ["label", "sft", "grpo", "eval"]
    for built_model in {False, recipe.file.built_model is not None}:
        for stage in recipe.stages:
            objects = parse(stage, recipe.settings(stage, tmp_path / "out", built_model), tmp_path)
            assert len(objects) == len(COMMANDS[stage].configs)
            if stage == "eval":
                assert objects[0].resolve()
    # As they stand, files of one recipe follow one another: what a stage writes is what the next one reads
    label, sft, grpo, evaluation = (yaml.safe_load(recipe.path(stage).read_text()) for stage in recipe.stages)
    assert sft["dataset_name"] == f"{label['output_dir']}/trajectories.jsonl"
    assert grpo["model_name_or_path"] == sft["output_dir"] and evaluation["model_name_or_path"] == grpo["output_dir"]
    for key in ("system_prompt", "prompt_template"):
        # What the evaluation does not say it takes from the checkpoint
        assert grpo.get(key) == sft.get(key) == evaluation.get(key, sft.get(key))


@pytest.mark.parametrize("folder", RECIPES, ids=lambda path: path.name)
def test_every_arm_of_a_run_builds_its_configurations(folder, tmp_path):
    from glow_trl.grpo import GRPOStageConfig

    pipeline = Pipeline(Recipe(folder), tmp_path / "out", list(ARMS), None, {})
    steps = pipeline._steps()
    assert [stage for _, stage, _ in steps] == ["label"] + ["sft", "eval", "grpo", "eval"] * len(ARMS)
    assert len({settings["output_dir"] for _, _, settings in steps}) == len(steps)
    for title, stage, settings in steps:
        assert settings["output_dir"].startswith(str(tmp_path / "out")), title
        config = parse(stage, settings, tmp_path)
        if stage == "sft":
            arm = title.split(":")[0]
            expected = {"trajectories": "all", "weighting": "glow"} | ARMS[arm]
            assert (config[0].trajectories, config[1].weighting) == (expected["trajectories"], expected["weighting"])
        if isinstance(config[0], GRPOStageConfig):
            assert settings["model_name_or_path"].endswith("/sft")


def test_the_paper_s_recipes_have_its_published_settings():
    for name in ("qwen2.5-3b-math", "qwen2.5-7b-math", "qwen2.5-7b-mmlu", "llama3.1-8b-math"):
        sft = yaml.safe_load((ROOT / "recipes" / name / "sft.yaml").read_text())
        assert (sft["learning_rate"], sft["lr_scheduler_type"], sft["warmup_steps"]) == (1e-5, "cosine", 0.1)
        assert (sft["num_train_epochs"], sft["max_length"], sft["bf16"]) == (20, 32000, True)
        assert sft["glow_alpha"] in (1, 2) and 5 <= sft["glow_beta"] <= 30
        evaluation = yaml.safe_load((ROOT / "recipes" / name / "eval.yaml").read_text())
        assert (evaluation["temperature"], evaluation["top_p"], evaluation["max_new_tokens"]) == (0.6, 0.95, 32768)


def test_the_launch_line_of_each_recipe_is_in_the_readme():
    text = (ROOT / "recipes" / "README.md").read_text()
    for path in RECIPES:
        assert f"recipes/{path.name}" in text
        if path.name != "quickstart":
            for stage in ("sft", "grpo"):
                assert f"-m glow_trl.{stage} --config recipes/{path.name}/{stage}.yaml" in text
    for path in (ROOT / "accelerate_configs").glob("*.yaml"):
        from accelerate.commands.config.config_args import load_config_from_file

        assert load_config_from_file(str(path)).compute_environment == "LOCAL_MACHINE"


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("sft.yaml", "glow_betta: 3", "unknown key 'glow_betta' for sft; did you mean glow_beta?"),
        ("recipe.yaml", "quickstrat: {}", "unknown key 'quickstrat' for recipe.yaml; did you mean quickstart?"),
        ("recipe.yaml", "arms: {positives: {}}", "arms: unknown name 'positives'; did you mean positive?"),
        ("recipe.yaml", "built_model_settings: {sft: {lr: 1}}", "unknown key 'lr' for built_model_settings"),
        ("recipe.yaml", "built_model: 3", "built_model must be a mapping"),
        ("grpo.yaml", "reward_func: [a]", "did you mean reward_funcs?"),
    ],
)
def test_what_is_wrong_in_a_recipe_is_named(tmp_path, file, content, message):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "sft.yaml").write_text("dataset_name: x.jsonl\n")
    (folder / file).write_text(content)
    with pytest.raises(UserError) as error:
        Recipe(folder).check_keys()
    assert message in str(error.value) and file in str(error.value)


def test_a_folder_that_is_no_recipe_is_told_the_nearest():
    with pytest.raises(UserError, match="no such recipe folder; did you mean quickstart"):
        Recipe(ROOT / "recipes" / "quikstart")


def test_paths_follow_the_output_folder():
    settings = Recipe(ROOT / "recipes" / "quickstart").settings("grpo", Path("/elsewhere/run"), True)
    assert settings["model_name_or_path"] == "/elsewhere/run/glow/sft"
    assert settings["dataset_name"] == "/elsewhere/run/prepare/data/questions.jsonl"


def test_stage_two_must_ask_as_stage_one_taught(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "sft.yaml").write_text("dataset_name: x.jsonl\nsystem_prompt: A\n")
    (folder / "grpo.yaml").write_text("dataset_name: x.jsonl\nsystem_prompt: B\n")
    with pytest.raises(UserError, match="system_prompt is 'B', .* has 'A'"):
        Pipeline(Recipe(folder), tmp_path / "out", ["glow"], None, {}).run()


def test_build_names_the_nearest_key():
    from glow_trl.recipes.built_model import BuiltModelConfig

    with pytest.raises(UserError, match="unknown key 'hiden_size'; did you mean hidden_size"):
        build(BuiltModelConfig, {"hiden_size": 3}, "recipe.yaml")
    assert read_handover("nowhere") is None
