"""Which checkpoint of stage 1 stage 2 starts from: `select_start` of a recipe and of its arms."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.torch import load_file

from glow_trl.analysis.readiness.measures import Start
from glow_trl.analysis.readiness.ranking import readiness
from glow_trl.data import read_jsonl
from glow_trl.errors import UserError
from glow_trl.recipes.pipeline import Pipeline
from glow_trl.recipes.recipe import Recipe
from glow_trl.recipes.run import main
from glow_trl.report.svg import Chart
from helpers.launching import ROOT
from helpers.small_recipe import small_quickstart


EPOCHS = {"max_steps": None, "num_train_epochs": 3}
ARMS = {
    "glow": {},
    "wide": {"select_start": "pass@4", "grpo": {"num_generations": 4, "temperature": 0.8}},
    "plain": {"select_start": "last"},
    "base": {"stages": ["grpo"]},
    "taught": {"stages": ["sft"]},
}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Path:
    return small_quickstart(
        tmp_path_factory.mktemp("recipes") / "quickstart",
        recipe={"select_start": "ready", "arms": ARMS, "compare": None},
        sft=EPOCHS,
        grpo={"max_steps": 1},
        ready={"num_questions": 10, "num_samples": 8},
    )


@pytest.fixture(scope="module")
def run(recipe, tmp_path_factory) -> Path:
    """A run of two arms that select their starts; one of them was added later. Its charts are not drawn."""
    out = tmp_path_factory.mktemp("selection") / "out"
    argv = [str(recipe), "--output_dir", str(out), "--eval.only", "[in_domain]", "--grpo.top_p", "0.9"]
    argv += ["--eval.limit", "4", "--grpo.min_informative_share", "1", "--arms"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Chart, "_render", lambda chart: "<svg></svg>")
        assert main([*argv, "glow"]) == 0
        assert main([*argv, "wide"]) == 0
    return out


def read(path: Path) -> dict:
    return json.loads(path.read_text())


def counted(folder: Path, name: str, held_out: set[str]) -> Start:
    """The counts of a start by its generations, those of questions that rank."""
    rows = [row for _, row in read_jsonl(next(folder.glob(f"starts/*{name}/generations_*.jsonl")))]
    kept: dict[str, list[dict]] = {}
    for row in rows:
        if row["problem"] not in held_out:
            kept.setdefault(row["problem"], []).append(row)

    def count(of) -> np.ndarray:
        return np.array([sum(map(of, own)) for own in kept.values()])

    return Start(
        name,
        judged=count(lambda row: row["verdict"]["correct"] is not None),
        correct=count(lambda row: row["verdict"]["correct"] is True),
        samples=count(lambda row: 1),
        tokens=count(lambda row: row["n_tokens"]),
        truncated=count(lambda row: row["finish_reason"] == "length"),
        no_answer=count(lambda row: row["verdict"]["reason"] == "no_answer"),
    )


@pytest.mark.slow
@pytest.mark.parametrize(("arm", "by", "group"), [("glow", "composite", 8), ("wide", "pass@4", 4)])
def test_stage_2_starts_from_the_epoch_that_the_measures_rank_first(run, arm, by, group):
    """By the same generations, ranked here; and what was asked is what the arm's own stage 2 asks."""
    names = sorted((path.name for path in (run / arm / "sft").glob("checkpoint-*")), key=len)
    assert names == ["checkpoint-5", "checkpoint-10", "checkpoint-15"]
    measured = read(run / arm / "ready" / "run.json")["config"]
    assert measured["checkpoints"] == [str(run / arm / "sft" / name) for name in names]
    rows = [row for _, row in read_jsonl(run / arm / "ready" / "questions.jsonl")]
    held_out = {row["problem"] for row in rows if row["held_out"]}
    assert len(rows) == 10 and len(held_out) == 2
    found = readiness(
        [counted(run / arm / "ready", name, held_out) for name in names], group_size=group, by=by, seed=0
    )
    pick = str(run / arm / "sft" / found["pick"])
    for stage in ("sft_eval", "grpo"):
        assert read(run / arm / stage / "run.json")["config"]["model_name_or_path"] == pick
    start = read(run / arm / "grpo" / "run.json")["start"]
    assert start["checkpoint"] == pick and start["place"] == 1 and start["ranked"] == 3 and start["rank_by"] == by
    assert start["informative_groups"] == found["starts"][found["pick"]]["informative_groups"]
    assert start == read(run / "summary.json")["arms"][arm]["grpo"]["start"]
    sampling = read(run / arm / "ready" / "ready.json")["sampling"]
    grpo = read(run / arm / "grpo" / "run.json")["config"]
    assert sampling["temperature"] == grpo["temperature"] == (0.8 if arm == "wide" else 1.0)
    assert sampling["top_p"] == grpo["top_p"] == 0.9 and sampling["max_new_tokens"] == grpo["max_completion_length"]
    assert measured["group_size"] == grpo["num_generations"] == group and measured["seed"] == 0
    asked = {row["problem"] for _, row in read_jsonl(run / "prepare" / "data" / "questions.jsonl")}
    assert {row["problem"] for row in rows} <= asked


@pytest.mark.slow
def test_the_last_epoch_is_what_stage_1_results_in(run):
    weights = [load_file(run / "glow" / "sft" / place / "model.safetensors") for place in ("", "checkpoint-15")]
    assert all(weights[0][name].equal(weights[1][name]) for name in weights[0])
    assert read(run / "run.json")["select_start"] == {"glow": "ready", "wide": "pass@4"}


@pytest.mark.slow
def test_the_report_says_what_stage_2_starts_from(run):
    page = (run / "report.html").read_text()
    section = page.partition('<section id="ready">')[2].partition("</section>")[0]
    for arm, selected in (("glow", "ready"), ("wide", "pass@4")):
        assert f"Stage 2 of {arm} starts from " in section and f"as select_start is {selected}, " in section
    assert read(run / "summary.json")["troubles"] == []


@pytest.mark.slow
def test_no_epoch_is_measured_twice_and_another_selection_is_another_run(recipe, run, tmp_path, monkeypatch):
    argv = ["--output_dir", str(run), "--eval.only", "[in_domain]", "--eval.limit", "4", "--grpo.top_p", "0.9"]
    argv += ["--arms", "glow"]
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*.jsonl")}
    monkeypatch.setattr(Chart, "_render", lambda chart: "<svg></svg>")
    assert main([str(recipe), *argv]) == 0
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*.jsonl")} == before
    other = small_quickstart(
        tmp_path / "quickstart",
        recipe={"select_start": "entropy", "arms": ARMS, "compare": None},
        **{"sft": EPOCHS, "grpo": {"max_steps": 1}, "ready": {"num_questions": 10, "num_samples": 8}},
    )
    with pytest.raises(UserError, match="arm 'glow' has select_start: ready, and entropy in"):
        main([str(other), *argv])


@pytest.mark.slow
def test_a_start_with_too_few_informative_groups_is_warned_of_or_refused(recipe, run, tmp_path, capfd):
    """The share is 1 for no start: the same run, begun again where stage 2 is to be done, is refused by setting."""
    start = read(run / "wide" / "grpo" / "run.json")["start"]
    assert start["informative_groups_ci"][1] < 1
    argv = ["grpo", "--config", run / "wide" / "grpo" / "config.yaml", "--output_dir", tmp_path / "out"]
    argv += ["--on_few_informative", "error"]
    from glow_trl.cli import main as cli

    assert cli([str(part) for part in argv]) == 2
    (said,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("glow-trl: error: ")]
    assert "too few groups would be informative: of the groups of 4 of " in said
    assert f"{100 * start['informative_groups']:.1f} % (95 %: " in said and "num_generations: 8 (" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_refused_start_leaves_the_other_arms_to_go_on(tmp_path, capsys, monkeypatch):
    """The first arm is refused, before stage 2 has passed with another one."""
    monkeypatch.setattr(Chart, "_render", lambda chart: "<svg></svg>")
    refused = {"min_informative_share": 1.0, "on_few_informative": "error"}
    folder = small(
        tmp_path,
        recipe={"arms": {"glow": {"grpo": refused}, "other": {}}, "compare": ["glow", "other"]},
        **{"grpo": {"max_steps": 1}, "eval": None, "ready": {"num_questions": 10, "num_samples": 8}},
    )
    out = tmp_path / "out"
    assert main([str(folder), "--output_dir", str(out), "--compare"]) == 1
    said = capsys.readouterr().err
    assert "1 of 2 arms failed: glow (grpo: too few groups would be informative" in said
    arms = read(out / "summary.json")["arms"]
    assert "grpo" not in arms["glow"] and arms["other"]["grpo"]["status"] == "complete"


def small(folder: Path, **changes) -> Path:
    recipe = {"arms": {"glow": {}}, "compare": None} | changes.pop("recipe", {})
    return small_quickstart(folder / "quickstart", recipe=recipe, **{"sft": EPOCHS, **changes})


@pytest.mark.parametrize(
    ("changes", "argv", "says"),
    [
        (
            {"recipe": {"select_start": "best"}},
            [],
            "recipe.yaml: select_start is 'best': it must be last, ready, or a",
        ),
        ({"recipe": {"select_start": "response_length"}}, [], "entropy (the higher the better), coverage_ratio"),
        ({"recipe": {"select_start": "loss_negative"}}, [], "it must be last, ready, or a measure"),
        ({"recipe": {"select_start": "pass@3"}}, [], "pass@1, pass@2, pass@4, ..."),
        ({"recipe": {"select_start": 3}}, [], "select_start must be a text, found int"),
        ({"recipe": {"arms": {"glow": {"select_start": "bst"}}}}, [], "arms: glow: select_start is 'bst'"),
        ({"recipe": {"arms": {"glow": {"select_start": 1}}}}, [], "arms: glow: select_start is 1"),
        (
            {"recipe": {"arms": {"glow": {"select_start": "ready", "stages": ["grpo"]}}}},
            [],
            "arms: glow: select_start is ready, and there is no stage sft here",
        ),
        ({"recipe": {"select_start": "ready"}, "grpo": None}, [], "there is no stage grpo here"),
        ({"recipe": {"select_start": "pass@32"}}, [], "it needs num_samples of at least 32, found 16"),
        ({"recipe": {"select_start": "loss_all"}}, [], "rank_by is loss_all: it needs trajectories"),
        (
            {
                "recipe": {"select_start": "entropy"},
                "ready": {"engine": "server", "engine_options": {"base_url": "x"}},
            },
            [],
            "rank_by is entropy: the engine 'server' gives samples and no distributions",
        ),
        (
            {"recipe": {"select_start": "ready"}, "ready": {"generations": ["x"]}},
            [],
            "ready.yaml: generations: a run selects among the epochs of its own stage 1",
        ),
        ({"recipe": {"select_start": "ready"}, "ready": {"num_qestions": 3}}, [], "did you mean num_questions"),
        ({"ready": {"trajectories": ["none.jsonl"]}}, [], "trajectories: none.jsonl"),
        ({"recipe": {"select_start": "ready"}}, ["--ready.num_questions", "0"], "num_questions is 0"),
        (
            {"recipe": {"select_start": "ready"}},
            ["--sft.save_strategy", "steps"],
            "select_start is ready, so that stage 1 keeps all of its epochs, and --sft.save_strategy is steps",
        ),
        (
            {"recipe": {"arms": {"glow": {"select_start": "ready", "save_total_limit": 1}}}},
            [],
            "arms: glow: save_total_limit is 1: leave one out",
        ),
        (
            {"recipe": {"select_start": "ready"}},
            ["--grpo.model_name_or_path", "other"],
            "model_name_or_path of grpo is other: both say what it starts from",
        ),
        ({}, ["--grpo.min_informative_share", "1.5"], "min_informative_share is 1.5: it must be from 0 to 1"),
        ({}, ["--grpo.on_few_informative", "stop"], "on_few_informative"),
    ],
)
def test_a_mistake_is_named_before_anything_is_done(tmp_path, argv, changes, says):
    out = tmp_path / "out"
    with pytest.raises(UserError) as error:
        main([str(small(tmp_path, **changes)), "--output_dir", str(out), *argv])
    assert says in str(error.value) and "\n" not in str(error.value)
    assert not out.exists()


def steps(recipe: Path, out: Path, **options) -> dict:
    return {
        step.title: step for step in Pipeline(Recipe(recipe), out, options.pop("arms"), None, {}, **options).steps()
    }


def test_what_the_recipe_selects_holds_for_arms_with_both_stages(recipe, tmp_path):
    found = steps(recipe, tmp_path / "out", arms=list(ARMS))
    titles = list(found)
    selecting = ["glow: sft", "glow: ready", "glow: evaluation after sft", "glow: grpo", "glow: evaluation after grpo"]
    assert titles[titles.index(selecting[0]) :][: len(selecting)] == selecting
    assert [title for title in titles if title.endswith(": ready")] == ["glow: ready", "wide: ready", "plain: ready"]
    kept = {arm: found[f"{arm}: sft"].settings for arm in ("glow", "wide", "plain", "taught")}
    assert [settings.get("save_strategy") for settings in kept.values()] == ["epoch", "epoch", None, None]
    assert [settings["save_total_limit"] for settings in kept.values()] == [None, None, 2, 2]
    assert "readiness" not in found["base: grpo"].settings
    # One that keeps the last is measured by itself
    last = kept["plain"]["output_dir"]
    assert found["plain: ready"].settings["checkpoints"] == [last] and found["plain: ready"].late() == {}
    assert found["plain: grpo"].settings["model_name_or_path"] == last and found["plain: grpo"].late() == {}
    assert found["plain: grpo"].settings["readiness"] == found["plain: ready"].settings["output_dir"]
    folders = [step.settings["output_dir"] for step in found.values()]
    assert len({*folders}) == len(folders)


def test_without_a_ready_yaml_arms_that_keep_the_last_are_not_measured(tmp_path):
    arms = {"glow": {"select_start": "ready"}, "plain": {}}
    folder = small(tmp_path, recipe={"arms": arms})
    found = steps(folder, tmp_path / "out", arms=list(arms), seed=7)
    assert [title for title in found if title.endswith(": ready")] == ["glow: ready"]
    assert found["glow: ready"].settings["seed"] == 7 and "readiness" not in found["plain: grpo"].settings
    assert not (folder / "ready.yaml").exists()


def test_coverage_is_lost_or_gained_against_the_model_that_stage_1_begins_with(tmp_path):
    folder = small(tmp_path, recipe={"select_start": "coverage_ratio"})
    found = steps(folder, tmp_path / "out", arms=["glow"])
    assert found["glow: ready"].settings["base"] == found["glow: sft"].settings["model_name_or_path"]


def test_stage_2_s_own_prompts_and_judging_reach_the_measurement(tmp_path):
    """Said for all stages, for the arm, or on the command line."""
    prompts = {"system_prompt": "Be brief.", "prompt_template": "{problem}!"}
    arms = {"glow": {"select_start": "ready", "grpo": {"restated": "strict", "limit": 9}}}
    folder = small(tmp_path, recipe={"arms": arms, **prompts})
    run = Pipeline(Recipe(folder), tmp_path / "out", ["glow"], None, {"grpo": {"on_bad_gold": "drop"}})
    settings = next(step.settings for step in run.steps() if step.stage == "ready")
    assert {key: settings[key] for key in prompts} == prompts
    assert settings["restated"] == "strict" and settings["on_bad_gold"] == "drop" and settings["grpo"]["limit"] == 9
    run.check()


def test_the_epochs_are_sampled_by_the_engine_of_the_evaluations(tmp_path):
    """But for one that a server has, which knows no epochs; ready.yaml has the last word."""
    server = {"engine": "server", "engine_options": {"base_url": "x"}}
    for evaluation, ready, engine in (
        ({"engine": "vllm", "dtype": "float32"}, {}, ("vllm", "float32")),
        ({"engine": "vllm", "dtype": "float32"}, {"engine": "transformers"}, ("transformers", None)),
        (server, {}, (None, None)),
    ):
        folder = small(tmp_path / str(engine), recipe={"select_start": "ready"}, eval=evaluation, ready=ready)
        settings = steps(folder, tmp_path / "out", arms=["glow"])["glow: ready"].settings
        assert (settings.get("engine"), settings.get("dtype")) == engine and "engine_options" not in settings


def test_no_shipped_recipe_selects_its_start():
    """It costs samples, and is for whoever measures that it pays."""
    for path in ROOT.glob("recipes/*/recipe.yaml"):
        said = yaml.safe_load(path.read_text())
        assert "select_start" not in said and not (path.parent / "ready.yaml").exists(), path
