"""What a page shows belongs to the run by the fingerprints of what it was made from, or is marked."""

import json
import shutil
from pathlib import Path

import pytest
from test_report import Page

from glow_trl.recipes.pipeline import Pipeline
from glow_trl.recipes.run import main as run_main
from glow_trl.report import write_report
from glow_trl.report.losses import loss_sections
from glow_trl.report.run_data import read_run_folder
from glow_trl.stages.fingerprint import fingerprint
from helpers.made_up_run import (
    edit_json,
    make_run_folder,
    stage_run,
    write_heldout,
    write_json,
    write_model,
    write_rows,
)


def shown(folder: Path) -> str:
    """The words of the page of a run."""
    write_report(folder)
    return " ".join("".join(Page((folder / "report.html").read_text()).text).split())


def troubles(folder: Path) -> dict[str, str]:
    """What the summary says is amiss, by stage."""
    write_report(folder)
    return {item["stage"]: item["mark"] for item in json.loads((folder / "summary.json").read_text())["troubles"]}


@pytest.fixture
def run(tmp_path, undrawn) -> Path:
    return make_run_folder(tmp_path / "run", arms=("glow", "all"), steps=4)


def test_results_of_the_run_as_it_is_are_not_marked_wherever_it_lies(run, tmp_path):
    assert troubles(run) == {} and "stale" not in shown(run).replace("stale <value>", "")
    moved = tmp_path / "elsewhere" / "other-name"
    shutil.copytree(run, moved)
    assert troubles(moved) == {}


def test_analyses_of_a_run_that_was_overwritten_are_marked(run):
    """`--overwrite` deletes the run and no analysis of the user's; what the next run is not made of is stale."""
    kept = {name: run.parent / name for name in ("annotation", "heldout_loss")}
    for name, place in kept.items():
        shutil.copytree(run / name, place)
    shutil.rmtree(run)
    make_run_folder(run, arms=("glow", "all"), steps=4, seed=1)
    for name, place in kept.items():
        shutil.rmtree(run / name)
        shutil.copytree(place, run / name)
    assert troubles(run) == {"annotation": "stale", "heldout_loss": "stale"}
    text = shown(run)
    head, patterns = text[: text.index("Accuracy before")], text[text.index("Patterns in the trajectories") :]
    assert "stale annotation; heldout_loss" in head
    assert "stale label/trajectories.jsonl has changed since" in patterns[:300]
    losses = text[text.index("Loss on trajectories") :]
    assert "label/trajectories.jsonl has changed since; glow/sft has changed since" in losses[:1200]


def test_overwriting_by_the_command_leaves_the_users_analysis_and_the_page_marks_it(tmp_path, undrawn, monkeypatch):
    """With the training left out, which takes minutes."""
    steps = Pipeline.steps
    monkeypatch.setattr(Pipeline, "steps", lambda run: [step for step in steps(run) if step.stage == "label"])
    recipe = tmp_path / "recipe"
    write_rows(tmp_path / "data.jsonl", [{"problem": "1+1", "completion": "2", "answer": "2", "is_correct": True}])
    recipe.mkdir()
    (recipe / "recipe.yaml").write_text("seed: 1\narms:\n  glow: {}\n")
    (recipe / "sft.yaml").write_text("model_name_or_path: none\ndataset_name: ${run}/label/trajectories.jsonl\n")
    (recipe / "label.yaml").write_text(f"dataset_name: {tmp_path / 'data.jsonl'}\n")
    out = tmp_path / "out"
    command = [str(recipe), "--output_dir", str(out)]
    assert run_main(command) == 0
    label = out / "label" / "trajectories.jsonl"
    write_heldout(out / "loss_of_label", {str(label): fingerprint(label)})
    assert troubles(out) == {}
    rows = [{"problem": "2+2", "completion": "4", "answer": "4", "is_correct": True}]
    write_rows(tmp_path / "data.jsonl", rows)
    assert run_main([*command, "--overwrite"]) == 0
    assert troubles(out) == {"loss_of_label": "stale"}


def test_a_stage_that_was_trained_anew_makes_what_was_made_of_it_stale(run):
    """The evaluation and GRPO of the model that is gone, the evaluation of that, and a loss; not the other arm."""
    write_model(run / "glow" / "sft", "another")
    expected = {"glow / sft evaluation", "glow / grpo", "glow / grpo evaluation", "heldout_loss"}
    assert troubles(run) == dict.fromkeys(expected, "stale")
    text = shown(run)
    assert "glow / grpo evaluationcomplete stale" in text and "glow/grpo is stale itself" in text
    # Beside what it is about too
    for section, stage in (
        ("Accuracy before and after GRPO", "glow / sft evaluation: glow/sft has changed since"),
        ("All measures", "glow / sft evaluation: glow/sft has changed since"),
        ("GRPO", "glow / grpo: glow/sft has changed since"),
    ):
        assert f"{section} stale {stage}" in text


@pytest.mark.parametrize("gone", ["label/trajectories.jsonl", "glow/sft"])
def test_what_is_gone_from_the_run_makes_its_analyses_stale(run, gone):
    path = run / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert troubles(run)["heldout_loss"] == "stale"
    assert f"{gone} is gone" in shown(run)


def test_questions_of_a_benchmark_that_changed_make_the_evaluation_stale(run, tmp_path):
    questions = tmp_path / "questions.jsonl"
    write_rows(questions, [{"problem": "p", "answer": "1"}])
    facts = {"in-domain": {"version": 1, "path": str(questions), "data": fingerprint(questions)}}
    for arm in ("glow", "all"):
        path = run / arm / "sft_eval" / "run.json"
        write_json(path, json.loads(path.read_text()) | {"depends_on": {"benchmarks": facts}})
    assert troubles(run) == {}
    write_rows(questions, [{"problem": "p", "answer": "2"}])
    assert troubles(run) == {"glow / sft evaluation": "stale", "all / sft evaluation": "stale"}


def test_weights_that_were_deleted_to_save_space_change_no_result(run):
    """As long as the stage that made them is the one that the evaluation was of."""
    (run / "all" / "grpo" / "model.safetensors").unlink()
    for stage, times in (("grpo", {"finished": "2026-01-01T01:00:00"}), ("grpo_eval", {"started": "2026-01-01T02"})):
        path = run / "all" / stage / "run.json"
        write_json(path, json.loads(path.read_text()) | times)
    assert troubles(run) == {}
    path = run / "all" / "grpo" / "run.json"
    write_json(path, json.loads(path.read_text()) | {"finished": "2026-01-01T03:00:00"})
    assert troubles(run) == {"all / grpo evaluation": "stale"}


def test_an_analysis_of_other_things_is_not_taken_for_the_runs(run):
    write_heldout(run / "loss_of_another", {"elsewhere/data.jsonl": "0" * 16, "elsewhere/model": "1" * 16})
    assert troubles(run) == {"loss_of_another": "not of this run"}
    assert "no stage of the run made or read the same inputs" in shown(run)
    # A file that a stage of the run has read is the run's, wherever it lies
    digest = json.loads((run / "glow" / "sft" / "run.json").read_text())["data"].popitem()[1]
    write_heldout(run / "loss_of_another", {"elsewhere/data.jsonl": digest, "elsewhere/model": "1" * 16})
    assert troubles(run) == {}


def test_unfinished_and_collapsed_stages_are_said_first(run):
    reason = "the reward is gone: 0.01 on average <b>"
    for arm, facts in (("glow", {"collapsed": reason}), ("all", {})):
        path = run / arm / "grpo" / "run.json"
        write_json(path, json.loads(path.read_text()) | {"status": "running"} | facts)
    path = run / "run.json"
    write_json(path, json.loads(path.read_text()) | {"status": "running"})
    assert troubles(run) == {"glow / grpo": "collapsed", "all / grpo": "unfinished"}
    text = shown(run)
    head = text[: text.index("Better after GRPO")]
    assert (
        f"collapsed glow / grpo: {reason}" in head
        and "unfinished all / grpo: it was interrupted, or is still running" in head
    )
    facts = text[text.rindex("Run facts") :]
    assert f"glow / grpocollapsed {reason}" in facts and "all / grpounfinished" in facts
    assert "statuscollapsed" in facts


def test_a_run_between_two_stages_is_unfinished(run):
    path = run / "run.json"
    write_json(path, json.loads(path.read_text()) | {"status": "running"})
    assert troubles(run) == {"run": "unfinished"}


@pytest.fixture
def measured(tmp_path):
    """A model trained on positives of one file, and a function that measures its loss on rows of another."""
    folder = tmp_path / "run"

    def trajectories(questions) -> list[dict]:
        return [{"problem": f"q{n}", "completion": "c", "answer": "1", "is_correct": n % 2 == 0} for n in questions]

    write_rows(tmp_path / "train.jsonl", trajectories(range(10)))
    train = {str(tmp_path / "train.jsonl"): fingerprint(tmp_path / "train.jsonl")}
    config = {"trajectories": "positive", "dataset_name": list(train)}
    write_json(folder / "mine" / "sft" / "run.json", stage_run("sft", 1.0, **config) | {"data": train})
    sft = write_model(folder / "mine" / "sft", "")
    write_rows(tmp_path / "asked.jsonl", trajectories([20, 21]))
    asked = {str(tmp_path / "asked.jsonl"): fingerprint(tmp_path / "asked.jsonl")}
    write_json(folder / "mine" / "grpo" / "run.json", stage_run("grpo", 1.0) | {"data": asked | sft})
    models = {"sft": sft, "grpo": write_model(folder / "mine" / "grpo", "")}

    def measure(stage: str, questions=None) -> tuple[str, str]:
        data = tmp_path / "train.jsonl"
        if questions is not None:
            data = tmp_path / "other.jsonl"
            write_rows(data, trajectories(questions))
        write_heldout(folder / "loss", {str(data): fingerprint(data)} | models[stage])
        (found,) = loss_sections(read_run_folder(folder))
        return found["kind"], found["relation"]

    return measure


def test_a_loss_is_called_what_it_is_by_the_files_and_the_questions(measured):
    same = ("training data", "The model was trained on this very file, on its positive trajectories only.")
    assert measured("sft") == measured("grpo") == same
    assert measured("sft", range(10, 14)) == ("held-out", "The model was trained on none of these 4 questions.")
    # 1 and 3 are in the file, but only positives were trained on
    assert measured("sft", range(5)) == ("overlap", "The model was trained on 3 of these 5 questions.")
    # GRPO has asked more
    assert measured("sft", [20, 30]) == ("held-out", "The model was trained on none of these 2 questions.")
    assert measured("grpo", [20, 30]) == ("overlap", "The model was trained on 1 of these 2 questions.")


def test_no_loss_is_called_held_out_where_that_is_not_known(measured, tmp_path):
    record = tmp_path / "run" / "mine" / "grpo" / "run.json"
    edit_json(record, config={"dataset_name": [str(tmp_path / "asked.jsonl"), "some/questions"]})
    assert measured("grpo", [30])[0] == "relation unknown"
    edit_json(record, config={})
    (tmp_path / "asked.jsonl").unlink()
    assert measured("grpo", [30])[0] == "another file"
    write_model(tmp_path / "run" / "mine" / "sft", "trained anew")
    assert measured("sft", [30])[0] == "relation unknown"
    # Neither is it of what GRPO went on from, and the questions of GRPO alone do not tell
    assert measured("grpo", [30])[0] == "relation unknown"


def test_the_page_of_a_loss_on_the_training_file_does_not_say_held_out(run):
    text = shown(run)
    assert "training data heldout_loss: glow/sft on label/trajectories.jsonl" in text
    assert "held-out" not in text.lower()
