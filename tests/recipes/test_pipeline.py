"""The whole run: from a recipe to a report, however often it is killed on the way."""

import dataclasses
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
import yaml
from safetensors.torch import load_file

from glow_trl.data import read_jsonl
from glow_trl.errors import UserError
from glow_trl.recipes.pipeline import Pipeline
from glow_trl.recipes.recipe import DEFAULT_ARMS, Recipe
from glow_trl.recipes.run import main
from glow_trl.report.svg import Chart
from glow_trl.stages.recipe_file import rebase
from glow_trl.stages.record import read_run
from glow_trl.weighting.product import SHIPPED
from helpers.launching import environment, on_cpu
from helpers.processes import LIMIT, kill_when, wait_until
from helpers.small_recipe import small_quickstart


ROOT = Path(__file__).resolve().parents[2]
DATA = ("prepare/data/trajectories.jsonl", "prepare/data/questions.jsonl", "label/trajectories.jsonl")
TIMED = re.compile("time|per_second|flos")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    """The quickstart with everything made small."""
    return small_quickstart(tmp_path_factory.mktemp("recipes") / "quickstart")


def command(recipe, output_dir, *argv):
    return [sys.executable, "-m", "glow_trl", "run", str(recipe), "--output_dir", str(output_dir), *argv]


def start(recipe, output_dir, *argv):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    options = {"text": True, "cwd": ROOT, "env": environment(), "start_new_session": True}
    return subprocess.Popen(command(recipe, output_dir, *argv), **pipes, **options)


def states(folder):
    """What a run has made, in the order in which it was made: data, logs and weights; and what was measured."""
    made = {name: (folder / name).read_text().splitlines() for name in DATA}
    for path in ("prepare/model", "glow/sft", "glow/grpo"):
        if (folder / path / "log.jsonl").exists():
            rows = [row for _, row in read_jsonl(folder / path / "log.jsonl")]
            made[f"{path}/log.jsonl"] = [{k: v for k, v in row.items() if not TIMED.search(k)} for row in rows]
        weights = load_file(folder / path / "model.safetensors")
        made[f"{path}/model.safetensors"] = [(name, weights[name].tolist()) for name in sorted(weights)]
    arms = json.loads((folder / "summary.json").read_text())["arms"]
    rows = {(arm, stage): arms[arm][stage]["benchmarks"] for arm in arms for stage in arms[arm]}
    for benchmarks in rows.values():
        for row in benchmarks.values():
            row["source"].pop("path")  # it lies in the run's folder
    return made, rows


@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again_ends_like_one_that_was_not(recipe, tmp_path):
    process = start(recipe, tmp_path / "undisturbed")
    output, errors = process.communicate()
    assert process.returncode == 0, errors[-3000:]
    assert "GRPO" in output and "report.html" in output
    assert (tmp_path / "undisturbed" / "report.html").stat().st_size > 10_000

    rng = random.Random(0)
    for landmark in ("glow/sft/run.json", "glow/sft_eval", "glow/grpo/checkpoint-1"):
        kill_when((tmp_path / "killed" / landmark).exists, command(recipe, tmp_path / "killed"), rng.uniform(0, 0.5))
    process = start(recipe, tmp_path / "killed")
    _, errors = process.communicate()
    assert process.returncode == 0, errors[-3000:]

    expected, found = states(tmp_path / "undisturbed"), states(tmp_path / "killed")
    assert expected[0].keys() == found[0].keys()
    for name, parts in expected[0].items():
        different = [pair for pair in zip(parts, found[0][name], strict=True) if pair[0] != pair[1]]
        # The first thing that differs says where to look
        assert not different, f"{name}: {len(different)} of {len(parts)}; the first: {str(different[0])[:3000]}"
    assert expected[1] == found[1]

    # Complete: nothing is done again
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "killed").glob("*/*/model.safetensors")}
    process = start(recipe, tmp_path / "killed")
    _, errors = process.communicate()
    assert process.returncode == 0, errors[-3000:]
    assert before == {path: path.stat().st_mtime_ns for path in before}


OWN_WEIGHTING = """
def patient(samples, patience=3.0, min_weight=0.2, max_weight=1.0):
    return (1 - samples.loss / patience).clamp(min_weight, max_weight)
"""


@pytest.mark.slow
def test_every_weighting_is_an_arm_and_one_of_the_users_own_too(recipe, tmp_path, monkeypatch):
    """Those that read log-probabilities have them measured first, once; started again, nothing is done twice."""
    shutil.copytree(recipe, tmp_path / "weightings")
    for stage in ("grpo", "eval"):
        (tmp_path / "weightings" / f"{stage}.yaml").unlink()
    settings = yaml.safe_load((recipe / "recipe.yaml").read_text())
    settings["arms"]["mine"] = {"weighting": "own_weightings.patient"}
    monkeypatch.setattr(Chart, "_render", lambda chart: "<svg></svg>")
    settings = rebase(settings, "outputs/quickstart", "outputs/weightings")
    (tmp_path / "weightings" / "recipe.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    for stage in ("label", "loss", "sft"):
        path = tmp_path / "weightings" / f"{stage}.yaml"
        path.write_text(
            yaml.safe_dump(rebase(yaml.safe_load(path.read_text()), "outputs/quickstart", "outputs/weightings"))
        )
    (tmp_path / "own_weightings.py").write_text(OWN_WEIGHTING)
    monkeypatch.chdir(tmp_path)
    arms = [arm for arm, changes in settings["arms"].items() if changes.get("weighting", "glow") != "uniform"]
    named = {name for arm in arms for name in np.atleast_1d(settings["arms"][arm].get("weighting", "glow"))}
    assert named == {*SHIPPED, "own_weightings.patient"} - {"uniform"}

    out = tmp_path / "out"
    argv = ["weightings", "--output_dir", str(out), "--sft.max_steps", "6", "--sft.save_steps", "6", "--arms"]
    assert main([*argv, "mine"]) == 0
    assert not (out / "loss").exists()
    argv += arms
    assert main(argv) == 0
    measured = read_run(out / "loss")
    assert measured["status"] == "complete" and measured["config"]["model_name_or_path"] == str(
        out / "prepare" / "model"
    )
    sft = {arm: stages["sft"] for arm, stages in json.loads((out / "summary.json").read_text())["arms"].items()}
    assert {*sft} == {*arms}
    for arm, stage in sft.items():
        assert stage["status"] == "complete" and (arm == "constant" or stage["weights"]), arm
    assert sft["mine"]["weights"][-1]["weight"] > 0.2 and sft["unlikelihood"]["weights"][-1]["weight_negative"] < 0
    reads = read_run(out / "iw_sft" / "sft")["config"]["dataset_name"]
    assert reads == [str(out / "loss" / "trajectories.jsonl")]
    page = (out / "report.html").read_text()
    assert "own_<wbr>weightings.<wbr>patient" in page and "patience 3, min_weight 0.2" in page

    before = {
        path: path.stat().st_mtime_ns for path in out.rglob("*") if path.name != "report.html" and path.is_file()
    }
    assert main(argv) == 0
    done = {path for path, time in before.items() if path.stat().st_mtime_ns != time}
    assert {path.name for path in done} <= {"run.json", "summary.json", "config.yaml"}


@pytest.mark.slow
def test_compare_trains_every_arm_and_reports_all(recipe, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    out = tmp_path / "out"
    assert main([str(recipe), "--output_dir", str(out), "--compare", "--sft.logging_steps", "1"]) == 0
    kept = (out / "glow" / "sft" / "config.yaml").read_text()
    with pytest.raises(UserError, match="learning_rate"):
        main([str(recipe), "--output_dir", str(out), "--sft.learning_rate", "0.1"])
    assert (out / "glow" / "sft" / "config.yaml").read_text() == kept
    assert "negative" in capsys.readouterr().out
    summary = json.loads((out / "summary.json").read_text())
    assert json.loads((out / "run.json").read_text())["arms"] == DEFAULT_ARMS
    assert summary["recipe"] == "quickstart" and list(summary["arms"]) == list(DEFAULT_ARMS)
    names = {benchmark["name"] for benchmark in yaml.safe_load((recipe / "eval.yaml").read_text())["benchmarks"]}
    for stages in summary["arms"].values():
        assert set(stages) == {"sft", "grpo"}
        for stage in stages.values():
            assert stage["seconds"] > 0 and set(stage["benchmarks"]) == names
            for row in stage["benchmarks"].values():
                assert row["domain"] in ("in", "out") and row["n"] == 8 and 0 <= row["pass@1"] <= 1
    text = (out / "report.html").read_text()
    assert all(arm in text for arm in DEFAULT_ARMS) and "http://" not in text.replace("http://www.w3.org", "")


@pytest.mark.slow
def test_an_arm_that_fails_leaves_the_others_to_go_on(recipe, tmp_path, capsys, caplog, monkeypatch):
    """Whether its training collapses or refuses what it gave another arm; it is named, and tried again."""
    folder = tmp_path / "quickstart"
    shutil.copytree(recipe, folder)
    settings = yaml.safe_load((folder / "recipe.yaml").read_text())
    del settings["compare"]
    settings["arms"] = {
        "collapses": {"learning_rate": 1e30, "max_grad_norm": 0.0, "stages": ["sft"]},
        "glow": {"stages": ["sft"]},
        "refused": {"eos_token": "<nowhere>", "stages": ["sft"]},
        "last": {"weighting": "uniform", "stages": ["sft"]},
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    (folder / "eval.yaml").unlink()
    monkeypatch.setattr(Chart, "_render", lambda chart: "<svg></svg>")
    out = tmp_path / "out"
    argv = [str(folder), "--output_dir", str(out), "--arms", "collapses", "glow", "refused", "last"]
    done = {}
    for _ in range(2):
        caplog.clear()
        assert main(argv) == 1
        said = capsys.readouterr().err
        assert "error: 2 of 4 arms failed: collapses (sft: the " in said and "refused (sft: " in said
        assert "<nowhere>" in said and ": collapses: sft" not in said and "] collapses: sft" in said
        assert [record.getMessage().partition(":")[0] for record in caplog.records if record.levelname == "ERROR"] == [
            "collapses",
            "refused",
        ]
        summary = json.loads((out / "summary.json").read_text())
        assert {arm: stages["sft"]["status"] for arm, stages in summary["arms"].items()} == {
            "collapses": "collapsed",
            "glow": "complete",
            "last": "complete",
        }
        assert [(item["stage"], item["mark"]) for item in summary["troubles"]] == [
            ("collapses / sft", "collapsed"),
            ("refused", "failed"),
        ]
        weights = {arm: (out / arm / "sft" / "model.safetensors").stat().st_mtime_ns for arm in ("glow", "last")}
        assert weights == (done or weights)
        done = weights

    # What the first arm is refused is wrong for all
    with pytest.raises(UserError, match="nowhere"):
        main([str(folder), "--output_dir", str(tmp_path / "other"), "--arms", "glow", "--sft.eos_token", "<nowhere>"])


@pytest.mark.slow
def test_one_seed_decides_data_model_and_samples(recipe, tmp_path, monkeypatch):
    """The same one gives the same run to the bit, another one another."""
    monkeypatch.chdir(ROOT)
    few = ["--sft.max_steps", "3", "--grpo.max_steps", "1", "--eval.only", "[in_domain]"]
    for name, seed in (("seven", "7"), ("seven_again", "7"), ("eight", "8")):
        assert main([str(recipe), "--output_dir", str(tmp_path / name), "--seed", seed, *few]) == 0
        record = json.loads((tmp_path / name / "run.json").read_text())
        seeds = [json.loads(path.read_text())["seed"] for path in (tmp_path / name / "glow").glob("*/run.json")]
        assert [record["seed"], *seeds] == [int(seed)] * 5
    made = ["prepare/data/trajectories.jsonl", "prepare/data/test_in_domain.jsonl", "prepare/model/model.safetensors"]
    made += [f"glow/{stage}/model.safetensors" for stage in ("sft", "grpo")]
    made += [f"glow/{stage}_eval/generations_in_domain.jsonl" for stage in ("sft", "grpo")]
    for file in made:
        seven, again, eight = ((tmp_path / name / file).read_bytes() for name in ("seven", "seven_again", "eight"))
        assert seven == again and seven != eight, file

    # Data that one run makes for others
    argv = [str(recipe), "--seed", "7", "--output_dir"]
    data, taker = str(tmp_path / "data"), str(tmp_path / "taker")
    assert main([*argv, data, "--only_data", "true"]) == 0
    assert main([*argv, taker, "--data_from", data, *few]) == 0
    assert not (tmp_path / "data" / "glow").exists()
    assert {path.name for path in (tmp_path / "taker").iterdir()} == {
        "glow",
        "run.json",
        "summary.json",
        "report.html",
    }
    for file in made:
        place = "taker" if file.startswith("glow") else "data"
        assert (tmp_path / place / file).read_bytes() == (tmp_path / "seven" / file).read_bytes(), file
    with pytest.raises(UserError, match="was made with seed 7, not 8"):
        main([str(recipe), "--seed", "8", "--output_dir", str(tmp_path / "x"), "--data_from", data])
    with pytest.raises(UserError, match="holds no run that is complete"):
        main([*argv, str(tmp_path / "x"), "--data_from", str(tmp_path)])


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--sft.learning_rte", "1"], "did you mean learning_rate"),
        (["--stf.learning_rate", "1"], "the recipe has no stage 'stf'; did you mean sft"),
        (["--learning_rate", "1"], "a stage's setting is given as --sft.learning_rate VALUE"),
        (["--sed", "1"], "unknown option --sed; did you mean --seed"),
        (["--sft.learning_rate"], "needs a value"),
        (["--sft.columns", "{a"], "not valid YAML"),
        (["--accelerate_config", "zero5"], "there is no file zero5; did you mean zero"),
        (["--overwrite", "--output_dir", str(ROOT / "tests")], "nothing was deleted"),
        (["--arms", "glow", "negatives"], "has no arm 'negatives'; did you mean negative"),
        (["--seed", "one"], "seed"),
        # What only a stage's own checks can find, of the last stage as of the first
        (["--sft.learning_rate", "fast"], "sft.yaml .*learning_rate"),
        (["--grpo.num_generations", "7"], "grpo.yaml .*divisible"),
        (["--grpo.reward_funcs", "[acuracy_reward]"], "did you mean accuracy_reward"),
        (["--eval.only", "[in_domian]"], "there is no benchmark 'in_domian'; did you mean in_domain"),
    ],
)
def test_what_is_wrong_is_named_before_anything_is_done(recipe, tmp_path, argv, message):
    out = tmp_path / "out"
    with pytest.raises(UserError, match=message) as error:
        main([str(recipe), "--output_dir", str(out), *argv])
    assert "\n" not in str(error.value)
    assert not out.exists() and (ROOT / "tests" / "conftest.py").is_file()


def test_overwrite_deletes_what_the_run_made_once_all_is_checked(recipe, tmp_path, monkeypatch, caplog):
    out = tmp_path / "out"
    made = ("prepare/data/questions.jsonl", "label/trajectories.jsonl", "glow/sft/checkpoint-2/optimizer.pt")
    made += ("glow/sft/model.safetensors", "glow/grpo_eval/work/b.samples.jsonl", "mine/sft/ledger/epoch-001.npy")
    made += ("glow/ready/ready.json", "glow/ready/questions/asked_mine.jsonl", "glow/ready/starts/a/results.json")
    own = ("glow/merged/kept", "glow/sft/notes.md", "kept/sft/run.json")
    for file in (*made, *own):
        (out / file).parent.mkdir(parents=True, exist_ok=True)
        (out / file).touch()
    (out / "run.json").write_text(json.dumps({"stage": "run", "arms": {"glow": {}, "mine": {}}}))
    monkeypatch.setattr(Pipeline, "run", lambda self, record: record.start())
    argv = [str(recipe), "--output_dir", str(out), "--overwrite"]
    before = sorted(out.rglob("*"))
    with pytest.raises(UserError, match="divisible"):
        main([*argv, "--grpo.num_generations", "7"])
    assert sorted(out.rglob("*")) == before
    with pytest.raises(FileNotFoundError, match=r"summary\.json"):
        main(argv)
    assert sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()) == [*own, "run.json"]
    assert f"kept what no stage writes: {out}/glow/sft/notes.md" in caplog.text
    assert sorted(path.name for path in out.iterdir()) == ["glow", "kept", "run.json"]


@pytest.mark.parametrize("link", ["glow", "glow/sft"])
def test_overwrite_follows_no_link(recipe, tmp_path, link):
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    (elsewhere / "sft").mkdir(parents=True)
    for file in (elsewhere / "model.safetensors", elsewhere / "sft" / "model.safetensors"):
        file.touch()
    (out / link).parent.mkdir(parents=True)
    (out / link).symlink_to(elsewhere)
    (out / "run.json").write_text(json.dumps({"stage": "run", "arms": {"glow": {}, "../elsewhere": {}}}))
    with pytest.raises(UserError, match="is a symbolic link.*nothing was deleted"):
        main([str(recipe), "--output_dir", str(out), "--overwrite"])
    assert len(list(elsewhere.rglob("*.safetensors"))) == 2 and (out / "run.json").exists()


def test_overwrite_leaves_the_current_folder_and_home_alone(recipe, tmp_path, monkeypatch):
    (tmp_path / "run.json").write_text(json.dumps({"stage": "run", "arms": {}}))
    (tmp_path / "summary.json").touch()
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(UserError, match="nothing was deleted"):
        main([str(recipe), "--output_dir", str(tmp_path), "--overwrite"])
    monkeypatch.setenv("HOME", "/")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="nothing was deleted"):
        main([str(recipe), "--output_dir", ".", "--overwrite"])
    assert (tmp_path / "summary.json").exists()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--sft.dataset_name", "nowhere/rows.jsonl"], "sft.yaml .*there is no such file"),
        (["--model_name_or_path", "./nowhere"], "there is no folder nowhere"),
        (["--model_name_or_path", "/nowhere/model"], "there is no folder /nowhere/model"),
    ],
)
def test_overwrite_deletes_nothing_for_inputs_that_are_not_there(recipe, tmp_path, argv, message):
    out = tmp_path / "out"
    (out / "label").mkdir(parents=True)
    (out / "label" / "trajectories.jsonl").touch()
    (out / "run.json").write_text(json.dumps({"stage": "run", "arms": {}}))
    before = sorted(out.rglob("*"))
    with pytest.raises(UserError, match=message):
        main([str(recipe), "--output_dir", str(out), "--overwrite", *argv])
    assert sorted(out.rglob("*")) == before


def test_a_first_run_that_fails_leaves_its_folder_to_another(recipe, tmp_path, monkeypatch):
    """Also what it has prepared, which follows from the seed."""

    def fail(self, step):
        raise UserError("the first stage does not like it")

    monkeypatch.setattr(Pipeline, "_run_stage", fail)
    for seed in ("5", "6"):
        with pytest.raises(UserError, match="does not like it"):
            main([str(recipe), "--output_dir", str(tmp_path / "out"), "--seed", seed])
        assert not list(tmp_path.glob("out/**/run.json"))


def test_a_run_does_not_go_on_with_another_seed(recipe, tmp_path, monkeypatch):
    """Whoever said it: the recipe has 0. What else may change is said to the stages."""

    def interrupt(self, record):
        raise KeyboardInterrupt

    monkeypatch.setattr(Pipeline, "run", interrupt)
    argv = [str(recipe), "--output_dir", str(tmp_path / "out")]
    for more in ([], ["--seed", "0"], ["--compare", "--grpo.max_steps", "9"]):
        with pytest.raises(KeyboardInterrupt):
            main([*argv, *more])
    before = (tmp_path / "out" / "run.json").read_text()
    assert json.loads(before)["seed"] == 0 and json.loads(before)["arms"] == DEFAULT_ARMS
    with pytest.raises(UserError, match="differs in seed: 0 -> 8"):
        main([*argv, "--seed", "8"])
    assert (tmp_path / "out" / "run.json").read_text() == before


def test_the_environment_of_the_built_model_is_for_it_alone(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(Pipeline, "check", lambda self: 1 / 0)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    for model, expected in ((["--model_name_or_path", "some/model"], None), ([], "1")):
        with pytest.raises(ZeroDivisionError):
            main([str(recipe), "--output_dir", str(tmp_path / "out"), *model])
        assert os.environ.pop("OMP_NUM_THREADS", None) == expected


def test_a_launched_stage_is_checked_for_the_processes_that_it_will_have(recipe, tmp_path):
    config = tmp_path / "two.yaml"
    config.write_text("num_processes: 2\n")
    options = {"grpo": {"per_device_train_batch_size": 4, "num_generations": 8, "steps_per_generation": 1}}
    one = Pipeline(Recipe(recipe), tmp_path / "out", ["glow"], None, options)
    with pytest.raises(UserError, match="divisible"):
        one.check()
    dataclasses.replace(one, accelerate_config=config).check()


def test_deepspeed_is_asked_for_before_anything_is_done(recipe, tmp_path, monkeypatch):
    """Where it is not installed; here that is pretended."""
    monkeypatch.setattr("glow_trl.recipes.run.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'glow-trl\[deepspeed\]'"):
        main([str(recipe), "--output_dir", str(tmp_path / "out"), "--accelerate_config", "zero3"])
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "num_processes", "number"),
    [("cpu", 1, signal.SIGTERM), ("ddp", 2, signal.SIGKILL), ("ddp", 2, signal.SIGINT)],
)
def test_launched_stages_are_the_runs_own(recipe, tmp_path, name, num_processes, number):
    """
    What is wrong with a stage is said as without a launcher. The stage ends with a run that is killed; one that is
    ended in good order says so once.
    """
    launched = ["--accelerate_config", str(on_cpu(name, tmp_path, num_processes))]
    if number != signal.SIGINT:
        process = start(recipe, tmp_path / "wrong", *launched, "--sft.dataset_name", "nowhere.jsonl")
        _, errors = process.communicate()
        assert process.returncode == 2 and "Traceback" not in errors
        assert "glow-trl: error: " in errors and "nowhere.jsonl" in errors

    process = start(recipe, tmp_path / "killed", *launched, "--sft.max_steps", "1000000")
    wait_until((tmp_path / "killed" / "glow" / "sft" / "checkpoint-2").exists, process)
    family = psutil.Process(process.pid).children(recursive=True)
    assert len(family) > num_processes
    # Ctrl-C is for all the processes in the foreground
    (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
    _, errors = process.communicate()
    if number == signal.SIGKILL:
        assert process.returncode == -number
    else:
        assert process.returncode == 128 + number and "Traceback" not in errors
        assert errors.splitlines().count("glow-trl: interrupted; the same command continues where it stopped") == 1
        assert json.loads((tmp_path / "killed" / "glow" / "sft" / "run.json").read_text())["seconds"] > 0
    _, alive = psutil.wait_procs(family, timeout=LIMIT)
    assert not alive
