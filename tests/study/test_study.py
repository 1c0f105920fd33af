"""Studies: what is declared, run, killed and run again, and what the page says of it."""

import contextlib
import importlib.metadata
import json
import os
import random
import re
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy import stats

from glow_trl.errors import UserError
from glow_trl.recipes.run import _parse_overrides, _take_overrides
from glow_trl.report.other_seeds import differences, flattened
from glow_trl.report.svg import Chart
from glow_trl.study.file import read_study
from glow_trl.study.grid import Cell, make_grid
from glow_trl.study.launch import _share
from glow_trl.study.study import main
from helpers.launching import ROOT, environment
from helpers.made_up_study import assemble, make_study
from helpers.processes import Worker
from helpers.study_run import PIECES, rows_of
from helpers.study_worker import stand_in


STUDY = {
    "recipe": "quickstart",
    "arms": ["glow", "positive"],
    "seeds": [7, 8, 9],
    "control": "positive",
    "measures": {
        "in_domain": {"stage": "sft", "benchmarks": "in_domain"},
        "both": {"stage": "sft", "benchmarks": ["in_domain", "all_words"], "metric": "pass@2"},
        "length": {"stage": "sft", "benchmarks": "in_domain", "metric": "response_length"},
        "descent": {"stage": "sft", "curve": "loss", "take": "drop"},
    },
    "primary": ["in_domain", "both"],
    "claims": [
        {"name": "Better in domain", "measure": "in_domain", "arm": "glow", "versus": "positive", "margin": 0.01},
        {"name": "Longer", "measure": "length", "arm": "glow", "versus": "positive", "margin": 0.5},
        {"name": "A loss that falls", "measure": "descent", "arm": "glow", "threshold": 0.5},
    ],
}


def write(path: Path, **changes) -> Path:
    study = {key: value for key, value in {**STUDY, **changes}.items() if value is not None}
    path.write_text(yaml.safe_dump(study, sort_keys=False))
    return path


@contextlib.contextmanager
def standing_in():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Cell, "command", stand_in())
        patch.setattr(Chart, "_render", lambda chart: "<svg></svg>")
        for name, value in environment().items():
            patch.setenv(name, value)
        yield patch


@pytest.fixture
def made_up():
    """Runs that are made up, in this process and in those that it starts; no chart is drawn."""
    with standing_in() as patch:
        yield patch


def runs(folder: Path) -> dict[str, str]:
    """The state of each run of an arm, by its name."""
    found = {}
    for path in sorted(folder.glob("runs/*/*/*/run.json")):
        if path.parent.name != "prepare":
            found[path.parent.relative_to(folder / "runs").as_posix()] = json.loads(path.read_text())["status"]
    return found


def page(folder: Path) -> tuple[str, dict]:
    """The page and the results, without when the study was declared."""
    results = json.loads((folder / "study.json").read_text())
    text = (folder / "study.html").read_text()
    assert results["declared"]["time"] in text
    return text.replace(results["declared"].pop("time"), ""), results


def pieces(folder: Path) -> set[str]:
    """How often each part of each run was done."""
    return {path.read_text() for path in folder.glob("runs/*/*/*/*/piece-*")}


@pytest.mark.slow
def test_a_study_that_is_killed_five_times_has_the_same_page(tmp_path):
    """Two runs at a time; whatever ends the study, its runs end with it, and nothing is done twice."""
    study = write(tmp_path / "study.yaml")
    worker = Worker("helpers.study_worker", errors=tmp_path / "worker.log")
    try:

        def run(place: str, **job) -> tuple[dict, Path]:
            folder = tmp_path / place / "st"
            argv = ["study", str(study), "--output_dir", str(folder), "--jobs", "2"]
            return worker(argv=argv, log=str(tmp_path / "said.txt"), **job), folder

        answer, undisturbed = run("undisturbed")
        assert answer["code"] == 0, (tmp_path / "said.txt").read_text()
        rng = random.Random(0)
        kills, midway = 0, 0
        for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL, signal.SIGINT, signal.SIGKILL):
            for _ in range(5):
                kill = {"signal": number, "delay": rng.uniform(0.05, 0.15 * answer["seconds"])}
                killed, folder = run("killed", kill=kill)
                assert killed["strays"] == []
                if killed["killed"]:
                    break
            kills += killed["killed"]
            midway += list(runs(folder).values()).count("complete") < 6
        assert kills == 5 and midway
        assert run("killed")[0]["code"] == 0, (tmp_path / "said.txt").read_text()
        assert page(folder) == page(undisturbed)
        assert len(runs(folder)) == 6 and len(list(folder.glob("runs/*/*/*/*/piece-*"))) == 9 * PIECES
        assert pieces(folder) == {f"{piece}\n" for piece in range(PIECES)}

        # Complete: nothing is run again
        before = {path: path.stat().st_mtime_ns for path in folder.glob("runs/**/*") if path.is_file()}
        assert run("killed")[0]["code"] == 0
        assert before == {path: path.stat().st_mtime_ns for path in folder.glob("runs/**/*") if path.is_file()}
    finally:
        worker.close()


def test_a_run_that_fails_is_named_and_the_others_are_reported(tmp_path, made_up, capfd):
    """With its log and its last line of error; the next start tries it again, and only it."""
    study, out = write(tmp_path / "study.yaml"), tmp_path / "out"
    made_up.setenv("MADE_UP_FAILURE", "glow-8")
    argv = [str(study), "--output_dir", str(out), "--jobs", "3"]
    assert main(argv) == 1
    error = "the server of the judge is gone"
    said = capfd.readouterr().err
    assert f"1 of 6 runs are not complete: quickstart/seed-8/glow ({error})" in said
    text, results = page(out)
    (failed,) = results["runs"]["failed"]
    assert failed == {"name": "quickstart/seed-8/glow", "error": error, "log": "logs/quickstart/seed-8/glow.log"}
    assert f"quickstart/seed-8/glow: {error} (logs/quickstart/seed-8/glow.log)" in text and "5 of 6 runs" in text
    assert (out / failed["log"]).read_text().endswith(f"glow-trl: error: {error}\n")
    states = runs(out)
    assert states.pop("quickstart/seed-8/glow") == "running" and set(states.values()) == {"complete"}
    measure = results["settings"][0]["measures"]["in_domain"]
    assert measure["arms"]["glow"]["lacking"] == [8] and measure["arms"]["positive"]["seeds"] == [7, 8, 9]
    assert measure["comparisons"]["glow"]["seeds"] == [7, 9]

    made_up.delenv("MADE_UP_FAILURE")
    assert main(argv) == 0
    assert re.findall(r"\[\d/\d\] \S+", capfd.readouterr().err) == ["[1/1] quickstart/seed-8/glow"]
    text, results = page(out)
    assert "6 of 6 runs are complete" in text and results["runs"]["failed"] == []
    assert {item["claim"]["name"]: item["verdict"] for item in results["claims"]} == {
        "Better in domain": "undecided",
        "Longer": "did not hold",  # made of the same length, so a difference of 0.5 is ruled out
        "A loss that falls": "held",
    }


def test_data_that_fail_fail_for_all_arms_of_the_seed(tmp_path, made_up):
    made_up.setenv("MADE_UP_FAILURE", "data-7")
    out = tmp_path / "out"
    study = write(tmp_path / "study.yaml", seeds=[7])
    assert main([str(study), "--output_dir", str(out)]) == 1
    failed = page(out)[1]["runs"]["failed"]
    assert [item["name"].rpartition("/")[2] for item in failed] == ["prepare", "glow", "positive"]
    assert failed[1]["error"] == "it needs quickstart/seed-7/prepare" and failed[1]["log"] is None


def test_a_run_that_says_nothing_of_its_end_is_named_with_its_last_line_but_for_progress_bars(tmp_path, made_up):
    study, out = write(tmp_path / "study.yaml", seeds=[7]), tmp_path / "out"
    log = out / "logs" / "quickstart" / "seed-7" / "prepare.log"
    log.parent.mkdir(parents=True)
    log.write_text("[1/2] built model\n\r  0%|          | 0/50 [00:00<?, ?it/s]\r 24%|##4       | 12/50 [00:30<01:36]")
    assert main([str(study), "--output_dir", str(out), "--assemble", "true"]) == 1
    assert page(out)[1]["runs"]["failed"][0]["error"] == "[1/2] built model"


def test_of_many_runs_that_lack_the_page_names_all_and_the_last_line_ten(tmp_path, made_up, capsys):
    study, out = write(tmp_path / "study.yaml", seeds=[1, 2, 3, 4, 5, 6]), tmp_path / "out"
    log = out / "logs" / "quickstart" / "seed-6" / "prepare.log"
    log.parent.mkdir(parents=True)
    log.write_text("glow-trl: error: out of memory\n")
    assert main([str(study), "--output_dir", str(out), "--assemble", "true"]) == 1
    said = capsys.readouterr().err
    text, results = page(out)
    failed = [item["name"] for item in results["runs"]["failed"]]
    assert len(failed) == 18 and all(f"{name}: " in text for name in failed)
    assert "12 of 12 runs are not complete: " in said and f"and 8 more, which {out / 'study.html'} names" in said
    assert failed[5] == "quickstart/seed-6/prepare" and f"not complete: {failed[5]} (out of memory); " in said
    assert [name for name in failed if f"{name} (" in said] == failed[:10]


@pytest.fixture(scope="module")
def complete(tmp_path_factory):
    """A complete study."""
    folder = tmp_path_factory.mktemp("complete")
    study = write(folder / "study.yaml")
    with standing_in():
        assert main([str(study), "--output_dir", str(folder / "out"), "--jobs", "4"]) == 0
    return folder


def test_the_figures_are_those_of_the_runs(complete):
    """Means, pass@2 over both benchmarks, and differences by question: recomputed from what the runs were made of."""
    measures = page(complete / "out")[1]["settings"][0]["measures"]

    def right(benchmark: str, arm: str, seed: int) -> np.ndarray:
        rows = rows_of(benchmark, arm, seed)
        return np.array([row["verdict"]["correct"] for row in rows], dtype=float).reshape(-1, 2)

    arms = {
        arm: np.array([right("in_domain", arm, seed).mean(axis=1) for seed in (7, 8, 9)])
        for arm in ("glow", "positive")
    }
    for arm, values in arms.items():
        found = measures["in_domain"]["arms"][arm]
        assert found["mean"] == pytest.approx(values.mean()) and found["questions"] == 12
        assert list(found["by_seed"].values()) == pytest.approx(values.mean(axis=1))
        both = [
            [right(name, arm, seed).max(axis=1).mean() for name in ("in_domain", "all_words")] for seed in (7, 8, 9)
        ]
        assert measures["both"]["arms"][arm]["mean"] == pytest.approx(np.mean(both))
        assert found["ci"][0] < found["mean"] < found["ci"][1]
    change = arms["glow"] - arms["positive"]
    found = measures["in_domain"]["comparisons"]["glow"]
    assert found["mean"] == pytest.approx(change.mean())
    assert found["seed_variance"] == pytest.approx(change.mean(axis=1).var(ddof=1) / 3)
    assert found["corrected"] >= found["p"]
    assert measures["descent"]["arms"]["glow"]["by_seed"] == pytest.approx({"7": 2.04, "8": 2.08, "9": 2.0})
    assert measures["length"]["comparisons"]["glow"]["mean"] == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"control": "all", "claims": None}, "control: there is no 'all'"),
        ({"arms": ["glow", "positive", "glow"]}, "arms: glow is there twice"),
        ({"arms": ["positive", "glo"], "claims": None}, "has no arm 'glo'; did you mean glow"),
        ({"seeds": [1, 2, 1]}, "seeds: 1 is there twice"),
        ({"seeds": [-1]}, "seeds: -1 is no seed"),
        ({"seeds": ["a"]}, "seeds must be a list of whole numbers"),
        ({"seeds": None}, "seeds is missing"),
        ({"recipe": "quickstrat"}, "no such recipe folder"),
        ({"primary": ["in_domian"]}, "primary: there is no 'in_domian'; did you mean in_domain"),
        ({"alpha": 2}, "alpha is 2"),
        ({"correction": "bonferroni"}, "correction"),
        ({"armz": ["glow"]}, "unknown key 'armz'; did you mean arms"),
        ({"measures": {"in_domain": {"stage": "sftt"}, "both": {"stage": "sft"}}}, "measures: in_domain: stage"),
        ({"measures": {"in_domain": {"stage": "sft", "metric": "pas@1"}}}, "metric: there is no metric 'pas@1'"),
        ({"measures": {"in_domain": {"stage": "sft", "benchmarks": "in_domian"}}}, "did you mean in_domain"),
        ({"measures": {"in_domain": {"file": "a.json"}}}, "file and key go together"),
        ({"measures": {"in_domain": {"stage": "grpo", "curve": "loss_positive"}}}, "is recorded by sft alone"),
        ({"measures": {"in_domain": ["sft"]}}, "measures: in_domain must be a mapping"),
        ({"claims": [{"name": "x", "measure": "in_domain", "arm": "glow"}]}, "claims, entry 1: give either versus"),
        ({"claims": [{"name": "x", "measure": "m", "arm": "glow", "threshold": 1}]}, "claims, entry 1: measure"),
        ({"claims": [{"name": "x", "measure": "both", "arm": "all", "threshold": 1}]}, "arm: there is no 'all'"),
        ({"claims": [{"name": "x", "measure": "both", "arm": "glow", "versus": "glow"}]}, "compared with itself"),
        ({"claims": [{"measure": "both", "arm": "glow", "threshold": 1}]}, "claims, entry 1: name is missing"),
        ({"claims": [*STUDY["claims"], STUDY["claims"][0]]}, "entry 4: name: 'Better in domain' is there twice"),
        ({"overrides": {"sft": {"learning_rte": 1}}}, "did you mean learning_rate"),
        ({"overrides": {"stf": {"learning_rate": 1}}}, "has no stage 'stf'; did you mean sft"),
        ({"overrides": {"sft": {"learning_rate": "fast"}}}, "learning_rate"),
        ({"overrides": {"sft": {"hub_token": "hf_secretsecretsecret"}}}, "can hold no secret"),
        ({"arms": ["glow", "positive", "dft"], "claims": [
            {"name": "x", "measure": "in_domain", "arm": "dft", "threshold": 1}
        ], "measures": {"in_domain": {"stage": "grpo"}, "both": {"stage": "sft"}}}, "the arm 'dft' of .* has no grpo"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_before_anything_is_run(tmp_path, changes, message):
    """In one line with the file and the key."""
    study = write(tmp_path / "study.yaml", **{"claims": None, **changes} if "measures" in changes else changes)
    if "measures" in changes and "primary" not in changes:
        study = write(study, **{"claims": None, **changes}, primary=["in_domain"])
    with pytest.raises(UserError, match=re.escape(message) if "*" not in message else message) as error:
        main([str(study), "--output_dir", str(tmp_path / "out")])
    assert "\n" not in str(error.value) and str(error.value).startswith(str(study))
    assert not (tmp_path / "out").exists()


def test_what_was_declared_is_kept_and_every_change_of_it_is_said(complete, made_up):
    """The digest is that of the file at the first start."""
    study, out = complete / "study.yaml", complete / "out"
    before = json.loads((out / "study.json").read_text())["declared"]
    original = study.read_bytes()
    assert subprocess.run(["sha256sum", out / "declared.yaml"], capture_output=True, text=True).stdout.startswith(
        before["sha256"]
    )
    claims = [{**STUDY["claims"][0], "margin": 0.0}, *STUDY["claims"][2:]]
    try:
        write(study, seeds=[7, 8], claims=claims, primary=["in_domain"])
        assert main([str(study), "--output_dir", str(out), "--assemble", "true"]) == 0
        text, results = page(out)
        assert results["declared"]["sha256"] == before["sha256"] in text
        assert results["declared"]["changes"] == [
            "seeds: 7, 8, 9 → 7, 8",
            "primary: in_domain, both → in_domain",
            "claim 'Better in domain': margin: 0.01 → 0.0",
            "claim 'Longer' was taken away",
        ]
        assert "changed after the first run</b> seeds: 7, 8, 9 → 7, 8" in text
        study.write_bytes(original + b"# a comment\n")
        assert main([str(study), "--output_dir", str(out), "--assemble", "true"]) == 0
        assert page(out)[1]["declared"]["changes"] == ["the file's text, such as a comment, and nothing that it says"]
    finally:
        study.write_bytes(original)
        assert main([str(study), "--output_dir", str(out), "--assemble", "true"]) == 0
    assert json.loads((out / "study.json").read_text())["declared"] == before


def test_slurm_runs_the_same(complete, tmp_path, made_up):
    """Its script is submitted as it stands, with a stand-in for `sbatch` that does every task of an array."""
    out = tmp_path / "st"
    study = complete / "study.yaml"
    assert main([str(study), "--output_dir", str(out), "--slurm", "true"]) == 0
    assert not (out / "runs").exists()
    for name in ("submit.sh", "task.sbatch"):
        subprocess.run(["bash", "-n", out / "slurm" / name], check=True)
    sbatch = tmp_path / "bin" / "sbatch"
    sbatch.parent.mkdir()
    sbatch.write_text(
        "#!/bin/bash\n"
        f'echo "$*" >> {tmp_path}/submitted\n'
        "tasks=0; after=\n"
        "while [[ $1 == --* ]]; do case $1 in\n"
        "  --array) tasks=$(seq ${2%-*} ${2#*-}); shift 2;; --parsable) shift;; *) shift 2;; esac; done\n"
        'for task in $tasks; do SLURM_ARRAY_TASK_ID=$task bash "$@" || true; done\n'
        "echo '41;cluster'\n"
    )
    sbatch.chmod(0o755)
    path = {**os.environ, "PATH": f"{sbatch.parent}:{os.environ['PATH']}"}
    subprocess.run(["bash", out / "slurm" / "submit.sh", "--gpus", "1"], check=True, env=path, cwd=tmp_path)
    submitted = (tmp_path / "submitted").read_text().splitlines()
    assert "--array 0-2" in submitted[0] and "--array 0-5 --dependency afterany:41 --gpus 1" in submitted[1]
    assert submitted[2] == "--job-name study-page --dependency afterany:41 task.sbatch page.txt"
    text, results = page(out)
    assert results == page(complete / "out")[1] and "6 of 6 runs are complete" in text


def test_a_dry_run_lists_runs_and_costs_and_writes_nothing(complete, tmp_path, monkeypatch, capsys):
    """Costs are those of the study's own runs; where there are none it says that they are not known."""
    monkeypatch.chdir(tmp_path)
    study = write(tmp_path / "larger.yaml", seeds=[7, 8, 9, 10])
    assert main([str(study), "--output_dir", str(tmp_path / "out"), "--dry_run", "true"]) == 0
    said = capsys.readouterr().out
    assert said.count("to do") == 12 and "Of 12 runs it is not known how long they take" in said
    assert [path.name for path in tmp_path.iterdir()] == ["larger.yaml"]
    before = {path: path.stat().st_mtime_ns for path in complete.rglob("*")}
    assert main([str(study), "--output_dir", str(complete / "out"), "--dry_run", "true", "--jobs", "2"]) == 0
    said = capsys.readouterr().out
    assert said.count("complete") == 9 and said.count("to do") == 3
    assert re.search(r"seed-10/glow +to do +runs of this study", said) and "To do: " in said
    assert before == {path: path.stat().st_mtime_ns for path in complete.rglob("*")}


@pytest.mark.parametrize(("name", "runs"), [("quickstart", 20), ("miniature", 78)])
def test_an_example_is_a_study(name, runs, tmp_path, monkeypatch, capsys):
    """Of the shipped recipe: its arms, benchmarks and stages are there."""
    monkeypatch.chdir(tmp_path)
    study = ROOT / "examples" / f"{name}_study.yaml"
    assert main([str(study), "--dry_run", "true"]) == 0
    assert capsys.readouterr().out.count("to do") == runs and list(tmp_path.iterdir()) == []


def test_every_benchmark_is_told_after_every_stage_with_what_one_more_run_would_show(tmp_path):
    """Recomputed from what the runs were made of, the range by scipy."""
    folder = make_study(tmp_path / "study")
    text, results = page(folder)
    found = results["settings"][0]["benchmarks"]
    assert [(entry["stage"], entry["name"], entry["domain"]) for entry in found] == [
        *(("sft", "in_domain", "in"), ("sft", "all_words", "out")),
        *(("grpo", "in_domain", "in"), ("grpo", "all_words", "out")),
    ]
    for entry in found:
        for arm, row in entry["arms"].items():
            seeds = [seed + 100 * (entry["stage"] == "grpo") for seed in (7, 8, 9, 10)]
            values = [
                np.mean([item["verdict"]["correct"] for item in rows_of(entry["name"], arm, seed)]) for seed in seeds
            ]
            assert list(row["by_seed"].values()) == pytest.approx(values)
            scaled = np.arcsin(np.sqrt(values))
            ends = stats.t.interval(0.95, 3, scaled.mean(), scaled.std(ddof=1) * np.sqrt(1 + 1 / 4))
            assert row["one_more_run"] == pytest.approx(np.sin(np.clip(ends, 0, np.pi / 2)) ** 2)
            assert f"[{100 * row['one_more_run'][0]:.1f} to" in text
    versions = results["made"]["versions"]
    assert versions["trl"] == [importlib.metadata.version("trl")] and f"trl {versions['trl'][0]}" in text


def test_runs_of_an_arm_that_were_not_told_the_same_are_named(tmp_path):
    """The recipe was changed while the study ran."""
    folder = make_study(tmp_path / "study")
    settings = json.loads((folder / "study.json").read_text())["settings"][0]["stage_settings"]
    told = yaml.safe_load((ROOT / "recipes" / "quickstart" / "sft.yaml").read_text())
    assert settings["common"]["sft.max_steps"] == told["max_steps"] and settings["mixed"] == {}
    assert settings["arms"]["glow"] == {}
    assert settings["arms"]["all"] == {"sft.trajectories": "all", "sft.weighting": "uniform"}
    path = folder / "runs" / "quickstart" / "seed-8" / "glow" / "run.json"
    record = json.loads(path.read_text())
    record["stage_settings"]["glow"]["sft"]["max_steps"] = 20
    path.write_text(json.dumps(record))
    assemble(folder.with_suffix(".yaml"), folder)
    text, results = page(folder)
    assert results["settings"][0]["stage_settings"]["mixed"] == {"glow": ["sft.max_steps"]}
    assert "the runs of glow differ in sft.max_steps" in text


def test_what_all_arms_with_a_stage_were_told_is_said_once(tmp_path):
    """An arm without the stage does not make it the arms' own, and is not taken for one that has it."""
    folder = make_study(tmp_path / "study", arms=["glow", "positive", "dft"], seeds=[7, 8])
    (setting,) = json.loads((folder / "study.json").read_text())["settings"]
    told = setting["stage_settings"]
    assert told["common"]["grpo.max_steps"] > 0 and "grpo.max_steps" not in told["arms"]["glow"]
    assert told["arms"]["dft"]["grpo.max_steps"] is None and told["arms"]["dft"]["sft.loss_reduction"] == "token"
    for arm in ("glow", "positive", "dft"):
        path = folder / "runs" / "quickstart" / "seed-7" / arm / "run.json"
        ours = flattened(json.loads(path.read_text())["stage_settings"][arm])
        assert differences(ours, setting, arm) == {}
        assert differences(ours | {"grpo.max_steps": 1}, setting, arm).keys() == {"grpo.max_steps"}


def test_one_seed_decides_nothing(complete, tmp_path, made_up):
    study = write(tmp_path / "study.yaml", seeds=[7])
    assert main([str(study), "--output_dir", str(complete / "out"), "--assemble", "true"]) == 0
    text, results = page(complete / "out")
    assert "One seed: how much another would differ cannot be estimated" in text
    assert {item["verdict"] for item in results["claims"]} == {"undecided"}
    assert results["settings"][0]["measures"]["in_domain"]["comparisons"]["glow"]["p"] is None
    assert main([str(complete / "study.yaml"), "--output_dir", str(complete / "out"), "--assemble", "true"]) == 0


def test_overrides_reach_the_runs_as_they_are(tmp_path):
    """Numbers that YAML writes otherwise than JSON, texts that look like numbers, lists and mappings."""
    values = {"learning_rate": 1e-05, "max_steps": -1, "columns": {"a": "b: c"}, "run_name": "12", "seed": None}
    study = read_study(write(tmp_path / "study.yaml", overrides={"sft": values, "eval": {"only": ["in_domain"]}}))
    cell = next(iter(make_grid(study, tmp_path)[0].runs.values()))
    argv, overrides = _take_overrides(cell.command[4:])
    assert _parse_overrides(overrides, cell.recipe) == study.overrides
    assert not any("sft" in word for word in argv)


def test_cores_and_gpus_are_shared_out():
    assert [_share(range(8), number, 3) for number in range(3)] == [(0, 1), (2, 3), (4, 5)]
    assert [_share("ab", number, 3) for number in range(3)] == [("a",), ("b",), ("a",)]
    assert _share((), 0, 2) == ()
