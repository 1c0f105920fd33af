"""Every recipe that is shipped resolves, and its configuration objects can be built."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from glow_trl.cli import main
from glow_trl.errors import UserError
from glow_trl.recipes.deciding import deciding_settings
from glow_trl.recipes.pipeline import Pipeline
from glow_trl.recipes.recipe import DEFAULT_ARMS, Recipe, build, known_settings
from glow_trl.recipes.run import RunConfig
from glow_trl.stages.config import build_settings, command_types, parse_command
from glow_trl.stages.recipe_file import resolve_stage_file
from glow_trl.stages.registry import DATA_STAGES


ROOT = Path(__file__).resolve().parents[2]
RECIPES = sorted(path.parent for path in ROOT.glob("recipes/*/sft.yaml"))
# These machines have no GPU, which a recipe for one asks for
ON_CPU = {"sft": {"use_cpu": True}, "grpo": {"use_cpu": True}}


def parse(stage, settings):
    settings = settings | ON_CPU.get(stage, {})
    return build_settings(command_types(stage), settings, stage, "test").configs


def make_recipe(folder, recipe="", **stages):
    """A recipe's folder with the texts of its files."""
    folder.mkdir(parents=True)
    (folder / "recipe.yaml").write_text(recipe)
    for stage, text in ({"sft": "dataset_name: x.jsonl\n"} | stages).items():
        (folder / f"{stage}.yaml").write_text(text)
    return folder


def pipeline(folder, arms=None, **options):
    recipe = Recipe(folder)
    overrides = options.pop("overrides", {})
    overrides = {stage: ON_CPU.get(stage, {}) | overrides.get(stage, {}) for stage in recipe.stages}
    return Pipeline(recipe, folder.parent / "out", arms or list(recipe.arms), None, overrides, **options)


def steps_of(folder, **options):
    return {step.title: step.settings for step in pipeline(folder, **options).steps()}


def test_the_recipes_that_are_promised_are_there():
    names = {path.name for path in RECIPES}
    assert {
        "quickstart",
        "miniature",
        "gsm8k",
        "smollm2-135m",
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
    *data_stages, _, _, _ = recipe.stages
    read_by_arms = [stage for stage in data_stages if stage == "loss"]
    assert recipe.stages == [*data_stages, "sft", "grpo", "eval"] and {*data_stages} <= {*DATA_STAGES}
    for built_model in {False, recipe.file.built_model is not None}:
        for stage in recipe.stages:
            objects = parse(stage, recipe.settings(stage, tmp_path / "out", built_model))
            if stage == "eval":
                assert objects[0].resolve()
    # As they stand, files of one recipe follow one another: what a stage writes is what the next one reads
    *data, sft, grpo, evaluation = (
        resolve_stage_file(recipe.path(stage), known_settings(stage)) for stage in recipe.stages
    )
    for stage in read_by_arms:
        # Measures what stage 1 is trained on, for the arms that say so
        measured = data.pop(data_stages.index(stage))
        data_stages.remove(stage)
        assert measured["dataset_name"] == sft["dataset_name"]
        assert measured["model_name_or_path"] == sft["model_name_or_path"]
        readers = {settings.get("dataset_name") for settings in recipe.arms.values()} - {None}
        assert readers == {f"{measured['output_dir']}/trajectories.jsonl"}
    for number, stage in enumerate(data_stages):
        read = {"collect": "trajectories-*.jsonl", "label": "trajectories.jsonl", "mix": "train.jsonl"}[stage]
        following = [*data, sft][number + 1]
        assert following["dataset_name"] == f"{data[number]['output_dir']}/{read}"
    assert grpo["model_name_or_path"] == sft["output_dir"] and evaluation["model_name_or_path"] == grpo["output_dir"]
    assert all(f"outputs/{folder.name}/" in settings["output_dir"] for settings in (*data, sft, grpo, evaluation))
    for key in ("system_prompt", "prompt_template", "seed"):
        assert grpo.get(key) == sft.get(key) == evaluation.get(key)
        # Said once
        for stage in recipe.stages:
            path = recipe.path(stage)
            assert not path.is_file() or key not in (yaml.safe_load(path.read_text()) or {}), path


@pytest.mark.parametrize("folder", RECIPES, ids=lambda path: path.name)
def test_every_arm_of_a_run_builds_its_configurations(folder, tmp_path):
    run = Pipeline(Recipe(folder), tmp_path / "out", list(DEFAULT_ARMS), None, ON_CPU)
    run.check()
    steps = run.steps()
    data = [stage for stage in run.recipe.stages if stage in DATA_STAGES and stage != "loss"]
    before = ["sft"] * (run.recipe.file.built_model_training is not None) + data
    assert [step.stage for step in steps] == before + ["sft", "eval", "grpo", "eval"] * len(DEFAULT_ARMS)
    assert len({step.settings["output_dir"] for step in steps}) == len(steps)
    for step in steps:
        assert step.settings["output_dir"].startswith(str(tmp_path / "out")), step.title
        if step.stage == "sft" and step.title != "built model":
            expected = {"trajectories": "all", "weighting": "glow"} | DEFAULT_ARMS[step.title.split(":")[0]]
            config, args, _ = parse("sft", step.settings)
            assert (config.trajectories, args.weighting) == (expected["trajectories"], expected["weighting"])
        if step.stage == "grpo":
            assert step.settings["model_name_or_path"].endswith("/sft")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("folder", RECIPES, ids=lambda path: path.name)
def test_a_stage_by_hand_has_the_settings_of_the_run(folder, monkeypatch):
    """But for the folder of the run, here the one that the files name, and the built model, which only a run has."""
    monkeypatch.chdir(ROOT)
    recipe = Recipe(folder)
    recipe.file.built_model = None
    steps = Pipeline(recipe, Path("outputs") / folder.name, [next(iter(recipe.arms))], None, ON_CPU).steps()
    for step in steps:
        if step.title.endswith("after sft"):
            continue
        on_cpu = ["--use_cpu", "true"] if step.stage in ON_CPU else []
        by_hand = parse_command(step.stage, ["--config", f"recipes/{folder.name}/{step.stage}.yaml", *on_cpu])
        in_the_run = build_settings(command_types(step.stage), step.settings, step.stage, "test")
        assert by_hand.given == in_the_run.given
        assert {key for key in by_hand.given if by_hand.resolved[key] != in_the_run.resolved[key]} == set()


def test_the_small_task_of_the_real_model_builds_on_its_recipe(tmp_path, monkeypatch):
    """recipes/smollm2-135m/sums: the same stages, on CPU, with the model's own words for all that the stages ask."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / "sums").mkdir(parents=True)
    for name in ("train", "test"):
        (tmp_path / "data" / "sums" / f"{name}.jsonl").write_text('{"problem": "1 + 1 =", "answer": "2"}\n')
    recipe = Recipe(ROOT / "recipes" / "smollm2-135m" / "sums")
    run = Pipeline(recipe, tmp_path / "out", ["glow"], None, {})
    run.check()
    steps = {step.title: step.settings for step in run.steps()}
    assert list(steps)[:4] == ["collect", "label", "mix", "glow: sft"] and len(steps) == 7
    assert steps["glow: sft"]["dataset_name"] == str(tmp_path / "out" / "mix" / "train.jsonl")
    for stage, settings in steps.items():
        assert stage in ("label", "mix") or settings["dtype"] == "float32"
        assert not {"prompt_template", "system_prompt"} & settings.keys()


def test_the_paper_s_recipes_have_its_published_settings():
    for name in ("qwen2.5-3b-math", "qwen2.5-7b-math", "qwen2.5-7b-mmlu", "llama3.1-8b-math"):
        sft = resolve_stage_file(ROOT / "recipes" / name / "sft.yaml")
        assert (sft["learning_rate"], sft["lr_scheduler_type"], sft["warmup_steps"]) == (1e-5, "cosine", 0.1)
        assert (sft["num_train_epochs"], sft["max_length"], sft["bf16"]) == (20, 32000, True)
        assert sft["glow_alpha"] in (1, 2) and 5 <= sft["glow_beta"] <= 30
        evaluation = resolve_stage_file(ROOT / "recipes" / name / "eval.yaml")
        assert (evaluation["temperature"], evaluation["top_p"], evaluation["max_new_tokens"]) == (0.6, 0.95, 32768)


def test_the_launch_line_of_each_recipe_is_in_the_readme():
    text = (ROOT / "recipes" / "README.md").read_text()
    for path in RECIPES:
        assert f"recipes/{path.name}" in text
        if path.name not in ("quickstart", "miniature"):
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
        ("recipe.yaml", "arms: {beta: {glow_betta: 1}}", "'glow_betta' for arms, beta, sft; did you mean glow_beta?"),
        ("recipe.yaml", "arms: {slow: {grpo: {bta: 1}}}", "'bta' for arms, slow, grpo; did you mean beta?"),
        ("recipe.yaml", "arms: {beta: 5}", "arms: beta must be a mapping, found int"),
        ("recipe.yaml", "arms: {label: {}}", "arms: 'label' cannot be the name of an arm"),
        ("recipe.yaml", "arms: {../up: {}}", "arms: '../up' cannot be the name of an arm"),
        ("recipe.yaml", "arms: {5: {}}", "arms: 5 cannot be the name of an arm"),
        ("recipe.yaml", "built_model_settings: {sft: {lr: 1}}", "unknown key 'lr' for built_model_settings"),
        ("recipe.yaml", "built_model_training: {lr: 1}", "unknown key 'lr' for built_model_training"),
        ("recipe.yaml", "built_model: 3", "built_model must be a mapping"),
        ("recipe.yaml", "miniature: 3", "miniature must be a mapping"),
        ("recipe.yaml", "seed: one", "seed must be a number, found str"),
        ("recipe.yaml", "base: ../quikstart", "base: there is no recipe '../quikstart'"),
        ("recipe.yaml", "base: ../mine", "base: '../mine' builds on this recipe"),
        ("grpo.yaml", "reward_func: [a]", "did you mean reward_funcs?"),
    ],
)
def test_what_is_wrong_in_a_recipe_is_named(tmp_path, file, content, message):
    folder = make_recipe(tmp_path / "mine", grpo="dataset_name: x.jsonl\n")
    (folder / file).write_text(content)
    with pytest.raises(UserError) as error:
        Recipe(folder).check_keys()
    assert message in str(error.value) and file in str(error.value) and "\n" not in str(error.value)


def test_a_folder_that_is_no_recipe_is_told_the_nearest():
    with pytest.raises(UserError, match="no such recipe folder; did you mean quickstart"):
        Recipe(ROOT / "recipes" / "quikstart")


def test_a_shipped_recipe_is_found_by_its_name_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("quickstart", "recipes/quickstart"):
        assert Recipe(name).folder.samefile(ROOT / "recipes" / "quickstart")
    stages = ["collect", "label", "mix", "sft", "grpo", "eval"]
    assert Recipe(make_recipe(tmp_path / "mine", "base: gsm8k")).stages == stages


def test_an_installation_brings_all_recipes():
    files = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["data-files"]
    listed = {path for patterns in files.values() for pattern in patterns for path in ROOT.glob(pattern)}
    brought = ("recipes/*/**/*.yaml", "recipes/*/**/*.py", "recipes/*/study.json", "accelerate_configs/*.yaml")
    assert listed == {path for pattern in brought for path in ROOT.glob(pattern)}
    for target, patterns in files.items():
        assert {target} == {f"share/glow_trl/{os.path.dirname(pattern)}" for pattern in patterns}


def test_paths_follow_the_output_folder():
    settings = Recipe(ROOT / "recipes" / "quickstart").settings("grpo", Path("/elsewhere/run"), True)
    assert settings["model_name_or_path"] == "/elsewhere/run/glow/sft"
    assert settings["dataset_name"] == "/elsewhere/run/prepare/data/questions.jsonl"


def test_a_recipe_says_what_differs_from_its_base(tmp_path):
    """Mappings are merged, values and lists replaced, `null` takes away, and paths follow the recipe's name."""
    sft = (
        "dataset_name: outputs/first/label/trajectories.jsonl\nlearning_rate: 1e-5\nlimit: 5\ncolumns: {a: b, c: d}\n"
    )
    first = "seed: 3\narms: {one: {glow_beta: 1, max_steps: 2}, two: {}}\n"
    make_recipe(tmp_path / "first", first, sft=sft, grpo="dataset_name: x.jsonl\noutput_dir: outputs/first\n")
    second = "base: first\nprompt_template: '{problem}!'\narms: {two: null, one: {glow_beta: 7}, three: {}}\n"
    make_recipe(tmp_path / "second", second, sft="learning_rate: 2e-5\nlimit: null\n")
    make_recipe(tmp_path / "third", "base: ../second\nseed: 4\n", sft="columns: {c: e}\n")
    third = Recipe(tmp_path / "third")
    assert third.stages == ["sft", "grpo"] and third.file.seed == 4
    assert third.arms == {"one": {"glow_beta": 7, "max_steps": 2}, "three": {}}
    expected = {"dataset_name": "outputs/third/label/trajectories.jsonl", "learning_rate": "2e-5"}
    expected |= {"columns": {"a": "b", "c": "e"}, "prompt_template": "{problem}!", "seed": 4}
    assert resolve_stage_file(third.path("sft"), known_settings("sft")) == expected
    assert resolve_stage_file(third.path("grpo"))["output_dir"] == "outputs/third"
    # A file that only a base has runs by hand too
    given = parse_command("grpo", ["--config", str(third.path("grpo")), "--use_cpu", "true"]).given
    assert given["seed"] == 4 and given["prompt_template"] == "{problem}!"


def test_the_example_of_the_readme_is_a_recipe(tmp_path):
    (example,) = re.findall(r"^```yaml\n(base: .*?)^```", (ROOT / "recipes" / "README.md").read_text(), re.M | re.S)
    run = pipeline(make_recipe(tmp_path / "mine", example, sft="use_cpu: true\n"))
    run.check()
    assert run.arms == ["beta5", "beta30", "positives", "careful", "from_base", "best_epoch"] and run.run_seed == 1


def test_bases_that_build_on_each_other_are_refused(tmp_path):
    for name, base in (("a", "b"), ("b", "c"), ("c", "b")):
        make_recipe(tmp_path / name, f"base: {base}\n")
    with pytest.raises(UserError, match="builds on this recipe"):
        Recipe(tmp_path / "a")


def test_seeds_come_from_the_nearest_that_says_one(tmp_path):
    texts = {"sft": "dataset_name: x\nseed: 5\n", "grpo": "dataset_name: x\n", "eval": "benchmarks: [gsm8k]\n"}
    folder = make_recipe(tmp_path / "mine", "seed: 4\narms: {a: {}, b: {seed: 6}}\n", **texts)

    def seeds(**options):
        return [settings["seed"] for settings in steps_of(folder, **options).values()]

    # recipe.yaml < a stage's file < --seed < an arm < --STAGE.seed
    assert seeds() == [5, 4, 4, 4] + [6, 4, 4, 4]
    assert seeds(seed=7) == [7, 7, 7, 7] + [6, 7, 7, 7]
    assert seeds(seed=7, overrides={"sft": {"seed": 8}}) == [8, 7, 7, 7] + [8, 7, 7, 7]


def test_an_arm_changes_what_it_says_and_no_more(tmp_path):
    arms = "arms: {beta5: {glow_beta: 5}, gentle: {learning_rate: 1e-6, grpo: {beta: 0.1}}}\n"
    folder = make_recipe(tmp_path / "mine", arms, grpo="dataset_name: x\n", sft="dataset_name: x\nglow_beta: 9\n")
    steps = steps_of(folder)
    assert list(steps) == ["beta5: sft", "beta5: grpo", "gentle: sft", "gentle: grpo"]
    assert [steps[f"{arm}: sft"]["glow_beta"] for arm in ("beta5", "gentle")] == [5, 9]
    assert "beta" not in steps["beta5: grpo"] and steps["gentle: grpo"]["beta"] == 0.1
    assert "learning_rate" not in steps["gentle: grpo"] and "learning_rate" not in steps["beta5: sft"]
    assert steps_of(folder, overrides={"sft": {"glow_beta": 2}})["beta5: sft"]["glow_beta"] == 2


def test_how_long_to_train_is_what_was_said_nearest(tmp_path):
    """File < built model < arm < --STAGE.KEY, whether in epochs or in steps: otherwise steps would always win."""
    lengths = ("num_train_epochs", "max_steps")

    def said(folder, **options):
        return {
            title: {key: value for key, value in settings.items() if key in lengths}
            for title, settings in steps_of(folder, **options).items()
        }

    arms = "arms: {a: {}, b: {num_train_epochs: 4}}\n"
    folder = make_recipe(tmp_path / "mine", arms, sft="dataset_name: x\nmax_steps: 9\n")
    assert said(folder) == {"a: sft": {"max_steps": 9}, "b: sft": {"num_train_epochs": 4}}
    for override in ({"num_train_epochs": 2}, {"max_steps": 5}):
        assert set(map(str, said(folder, overrides={"sft": override}).values())) == {str(override)}
    built = "built_model: {}\nbuilt_model_settings: {sft: {num_train_epochs: 3}}\n"
    folder = make_recipe(tmp_path / "built", built + arms, sft="dataset_name: x\nmax_steps: 9\n")
    assert said(folder) == {"a: sft": {"num_train_epochs": 3}, "b: sft": {"num_train_epochs": 4}}
    (tmp_path / "mine" / "recipe.yaml").write_text("base: built\narms: {b: {max_steps: 1}}\n")
    (tmp_path / "mine" / "sft.yaml").write_text("num_train_epochs: 6\nmax_steps: null\n")
    assert resolve_stage_file(tmp_path / "mine" / "sft.yaml")["num_train_epochs"] == 6
    assert "max_steps" not in resolve_stage_file(tmp_path / "mine" / "sft.yaml")
    assert said(tmp_path / "mine", arms=["b"]) == {"b: sft": {"max_steps": 1}}
    with pytest.raises(UserError, match="both say how long to train"):
        pipeline(folder, overrides={"sft": {"num_train_epochs": 3, "max_steps": 9}}).check()


def test_arms_are_added_to_a_run_and_stay_what_they_are(tmp_path):
    folder = make_recipe(tmp_path / "mine", "arms: {a: {}, b: {glow_beta: 1}, c: {glow_beta: 2}}\n")
    earlier = pipeline(folder, ["c"]).facts({})
    assert list(pipeline(folder, ["a", "b"]).facts(earlier)["arms"].items()) == [
        ("c", {"glow_beta": 2}),
        ("a", {}),
        ("b", {"glow_beta": 1}),
    ]
    (folder / "recipe.yaml").write_text("arms: {c: {glow_beta: 3}}\n")
    with pytest.raises(UserError, match="arm 'c' is {'glow_beta': 2}, and {'glow_beta': 3} in"):
        pipeline(folder, ["c"]).facts(earlier)


def test_what_the_stages_are_told_is_recorded_without_place_and_seed(tmp_path, monkeypatch):
    """The same for another folder, seed, and source of the data; another where anything decides the results."""
    monkeypatch.chdir(ROOT)

    def told(arms=("glow",), **options) -> dict:
        recipe = Recipe("quickstart")
        parts = {"output_dir": tmp_path / "a", "model_name_or_path": None, "overrides": {}} | options
        return deciding_settings(Pipeline(recipe, arms=list(arms), **parts))

    plain = told()["glow"]
    assert plain["sft"]["learning_rate"] == 5e-3 and plain["data"]["train_questions"] == 3000
    assert list(plain) == ["data", "model", "label", "sft", "sft_eval", "grpo", "grpo_eval"]
    assert not any(name in stage for stage in plain.values() for name in ("seed", "output_dir", "save_steps", "env"))
    elsewhere = told(("positive", "glow"), output_dir=Path("x/y"), seed=7, data_dir=tmp_path / "data")
    assert elsewhere["glow"] == plain != elsewhere["positive"]
    assert told(overrides={"sft": {"save_steps": 7, "logging_steps": 3}})["glow"] == plain
    assert told(overrides={"sft": {"max_steps": 7}})["glow"]["sft"] == plain["sft"] | {"max_steps": 7}
    assert told(model_name_or_path="x/y")["glow"]["sft"]["model_name_or_path"] == "x/y"
    config = tmp_path / "two.yaml"
    config.write_text("num_processes: 2\n")
    assert told(accelerate_config=config)["glow"]["grpo"] == plain["grpo"] | {"num_processes": 2}
    # Of the arms that were run before
    recipe = Recipe("quickstart")
    facts = Pipeline(recipe, tmp_path, ["positive"], None, {}).facts({"stage_settings": {"glow": plain}})
    assert list(facts["stage_settings"]) == ["glow", "positive"] and facts["stage_settings"]["glow"] == plain


def test_stage_two_must_ask_as_stage_one_taught(tmp_path):
    texts = {"sft": "dataset_name: x\nsystem_prompt: A\n", "grpo": "dataset_name: x\nsystem_prompt: B\n"}
    with pytest.raises(UserError, match="system_prompt is 'B' .* stage 1 has 'A'"):
        pipeline(make_recipe(tmp_path / "files", **texts)).check()
    arms = "system_prompt: A\narms: {a: {}, b: {system_prompt: C}}\n"
    with pytest.raises(UserError, match="system_prompt is 'A' for the arm 'b', stage 1 has 'C'"):
        pipeline(make_recipe(tmp_path / "arms", arms, grpo="dataset_name: x\n")).check()


def test_a_prompt_is_said_once(tmp_path):
    """The teacher alone may be asked otherwise; an evaluation asks as its arm was taught."""
    texts = {"collect": "system_prompt: T\n", "grpo": "dataset_name: x\n", "eval": "benchmarks: [gsm8k]\n"}
    folder = make_recipe(tmp_path / "mine", "system_prompt: A\narms: {a: {}}\n", **texts)
    assert [settings["system_prompt"] for settings in steps_of(folder).values()] == ["T", "A", "A", "A", "A"]
    taught = {"sft": {"system_prompt": "C"}, "grpo": {"system_prompt": "C"}}
    assert [s["system_prompt"] for s in steps_of(folder, overrides=taught).values()] == ["T", "C", "C", "C", "C"]
    (folder / "eval.yaml").write_text("benchmarks: [gsm8k]\nsystem_prompt: B\n")
    with pytest.raises(UserError, match="eval.yaml: system_prompt is 'B', and 'A' in recipe.yaml beside it"):
        parse_command("eval", ["--config", str(folder / "eval.yaml")])


def test_the_environment_is_that_of_the_recipe_by_hand_too(tmp_path, monkeypatch):
    """Where it is not set already; what a stage's file says, as with TRL, in any case."""
    for name, value in {"GLOW_TEST_A": "old", "GLOW_TEST_B": "", "GLOW_TEST_C": "old"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("GLOW_TEST_B")
    label = "dataset_name: x\noutput_dir: y\nenv: {GLOW_TEST_C: new}\n"
    folder = make_recipe(tmp_path / "mine", "env: {GLOW_TEST_A: new, GLOW_TEST_B: 1}\n", label=label)
    parse_command("label", ["--config", str(folder / "label.yaml")])
    assert [os.environ.get(f"GLOW_TEST_{letter}") for letter in "ABC"] == ["old", "1", "new"]


def test_build_names_the_nearest_key():
    from glow_trl.recipes.built_model import BuiltModelConfig

    with pytest.raises(UserError, match="unknown key 'hiden_size'; did you mean hidden_size"):
        build(BuiltModelConfig, {"hiden_size": 3}, "recipe.yaml")


@pytest.mark.parametrize("command", ["label", "run"])
def test_data_that_are_not_there_are_said_where_to_get(command, tmp_path, monkeypatch, capsys):
    """The variable that names their folder, what it is, and where they come from; nothing is left behind."""
    monkeypatch.chdir(tmp_path)
    label = "dataset_name: ${GLOW_TRL_DATA:-../shared/data}/rows.jsonl\noutput_dir: outputs/mine/label\n"
    recipe = make_recipe(tmp_path / "mine", "data: they are made of the files of that site\n", label=label)
    argv = [str(recipe)] if command == "run" else ["--config", str(recipe / f"{command}.yaml")]
    for folder in (None, "/no/such/folder"):
        monkeypatch.delenv("GLOW_TRL_DATA", raising=False)
        if folder is not None:
            monkeypatch.setenv("GLOW_TRL_DATA", folder)
        assert main([command, *argv, *(["--sft.use_cpu", "true"] if command == "run" else [])]) == 2
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert f"{folder or '../shared/data'}/rows.jsonl: there is no such file" in error
        assert f"the environment variable GLOW_TRL_DATA is {folder or 'not set'}: set it to the folder" in error
        assert error.endswith("; they are made of the files of that site")
    assert list(tmp_path.iterdir()) == [recipe]


@pytest.mark.parametrize("command", ["collect", "run"])
def test_questions_that_the_hub_does_not_give_are_said_where_to_put(command, tmp_path, monkeypatch, capsys):
    """The gsm8k recipe on a machine without network and without copies, a run with the built model and a stage by
    hand: one line, and nothing is left behind that would stand in the way of the next start."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GLOW_TRL_DATA", str(tmp_path / "nothing"))
    recipe = ROOT / "recipes" / "gsm8k"
    argv = [str(recipe)] if command == "run" else ["--config", str(recipe / f"{command}.yaml")]
    argv += ["--engine", "server", "--engine_options", "{base_url: http://localhost:1}"] if command != "run" else []
    assert main([command, *argv]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "openai/gsm8k: neither a local file nor a data set that the Hub gives us" in error
    assert "or from copies in the folder that GLOW_TRL_DATA names" in error and "recipes/README.md" in error
    assert not list(tmp_path.glob("outputs/gsm8k/prepare/*/*"))


@pytest.mark.slow
def test_an_installed_package_runs_a_shipped_recipe_from_any_folder(tmp_path):
    """As `pip install .` leaves it, in an environment of its own without this source tree."""
    tree, environment, elsewhere = tmp_path / "tree", tmp_path / "environment", tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in ("glow_trl", "recipes", "accelerate_configs"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    python = environment / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path, tree], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    subprocess.run([*pip, "--python", python, "install", "--no-deps", "--no-index", wheel], check=True)
    # What it depends on is there already
    libraries = os.pathsep.join(path for path in sys.path if path.endswith("site-packages"))
    result = subprocess.run(
        [environment / "bin" / "glow-trl", "run", "quickstart", "--arms", "glwo"],
        cwd=elsewhere,
        env={**os.environ, "PYTHONPATH": libraries},
        capture_output=True,
        text=True,
    )
    shipped = environment / "share" / "glow_trl" / "recipes" / "quickstart"
    assert result.returncode == 2, result.stderr
    assert f"--arms: {shipped} has no arm 'glwo'; did you mean glow?" in result.stderr


def test_a_recipe_says_which_arms_are_compared(tmp_path):
    """Arms beyond them are trained by their names alone."""
    recipe = Recipe("recipes/quickstart")
    assert RunConfig("quickstart", compare=True).chosen_arms(recipe) == list(DEFAULT_ARMS)
    assert RunConfig("quickstart", compare=True, arms=["dft"]).chosen_arms(recipe) == [*DEFAULT_ARMS, "dft"]
    assert RunConfig("quickstart").chosen_arms(recipe) == ["glow"]
    (tmp_path / "sft.yaml").write_text("learning_rate: 1.0e-3\n")
    for wrong, message in (("[glwo]", "did you mean glow"), ("[[1]]", "no arm"), ("glow", "must be a list")):
        (tmp_path / "recipe.yaml").write_text(f"compare: {wrong}\n")
        with pytest.raises(UserError, match=message):
            Recipe(tmp_path)


def test_the_loss_of_the_initial_model_is_measured_for_the_arms_that_read_it(tmp_path):
    def steps(arms, model=None):
        found = Pipeline(Recipe("recipes/quickstart"), tmp_path / "out", arms, model, {}).steps()
        return {step.title: step.settings for step in found}

    assert "loss" not in steps(["glow", "pear"])
    found = steps(["glow", "iw_sft"])
    assert list(found)[:2] == ["label", "loss"]
    assert found["loss"]["model_name_or_path"] == str(tmp_path / "out" / "prepare" / "model")
    written = str(tmp_path / "out" / "loss" / "trajectories.jsonl")
    assert found["iw_sft: sft"]["dataset_name"] == written != found["glow: sft"]["dataset_name"]
    # What stage 1 begins with, whoever has said so
    assert steps(["iw_sft"], "some/model")["loss"]["model_name_or_path"] == "some/model"


BASE_ARMS = """
arms:
  glow: {grpo: {beta: 0.01}}
  base: {stages: [grpo], grpo: {max_steps: 7}}
  other: {stages: [grpo], grpo: {model_name_or_path: some/model}}
  no_rl: {stages: [sft]}
"""


def test_an_arm_without_sft_is_rl_from_the_model_that_sft_begins_with(tmp_path):
    grpo = "dataset_name: x.jsonl\nmodel_name_or_path: outputs/mine/glow/sft\n"
    sft = "dataset_name: x.jsonl\nmodel_name_or_path: the/base\n"
    folder = make_recipe(tmp_path / "mine", BASE_ARMS, sft=sft, grpo=grpo, eval="benchmarks: []\n")
    recipe = Recipe(folder)
    recipe.check_keys()
    found = steps_of(folder)
    assert [title for title in found if title.startswith("base")] == ["base: grpo", "base: evaluation after grpo"]
    assert [title for title in found if title.startswith("no_rl")] == ["no_rl: sft", "no_rl: evaluation after sft"]
    base = found["base: grpo"]
    assert base["model_name_or_path"] == found["glow: sft"]["model_name_or_path"] == "the/base"
    assert base["output_dir"].endswith("out/base/grpo") and base["max_steps"] == 7
    assert found["base: evaluation after grpo"]["model_name_or_path"] == base["output_dir"]
    assert found["other: grpo"]["model_name_or_path"] == "some/model"
    # Whoever has said what SFT begins with
    named = steps_of(folder, overrides={"sft": {"model_name_or_path": "mine", "model_revision": "two"}})
    assert (named["base: grpo"]["model_name_or_path"], named["base: grpo"]["model_revision"]) == ("mine", "two")
    named = Pipeline(recipe, tmp_path / "out", ["base"], "given", {}).steps()
    assert [step.settings["model_name_or_path"] for step in named if step.stage == "grpo"] == ["given"]


@pytest.mark.parametrize(
    ("arm", "message"),
    [
        ("{stages: []}", "arms: mine: stages must list training stages: sft, grpo"),
        ("{stages: grpo}", "arms: mine: stages must list"),
        ("{stages: [gpro]}", "unknown stage 'gpro'; did you mean grpo"),
        ("{stages: [grpo], glow_beta: 5}", "glow_beta: a setting of sft, which stages leaves out"),
        ("{stages: [sft], grpo: {beta: 0.1}}", "beta: a setting of grpo, which stages leaves out"),
    ],
)
def test_stages_of_an_arm_that_cannot_be(arm, message, tmp_path):
    folder = make_recipe(tmp_path / "mine", f"arms: {{mine: {arm}}}\n", grpo="beta: 0.0\n")
    with pytest.raises(UserError, match=message):
        Recipe(folder)
    (folder / "grpo.yaml").unlink()
    (folder / "recipe.yaml").write_text("arms: {mine: {stages: [grpo]}}\n")
    with pytest.raises(UserError, match="stages: the recipe has no grpo.yaml"):
        Recipe(folder)
