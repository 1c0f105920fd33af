"""The run beside the study of its recipe: what stands there, and when nothing does."""

import json
import re
import shutil

import pytest

from glow_trl.cli import main as cli
from glow_trl.report import write_report
from glow_trl.report.other_seeds import STUDY_FILE, beside_study, find_study
from glow_trl.report.run_data import read_run_folder
from helpers.made_up_run import BENCHMARKS, edit_json, make_run_folder, write_json


TOLD = {"sft": {"max_steps": 1130, "learning_rate": 0.005}, "grpo": {"max_steps": 100}}
NAMES = list(BENCHMARKS)


def entry(mean: float, half: float | None, seeds=(101, 102, 103)) -> dict:
    """What a study says of an arm on a benchmark; without `half` one seed tells nothing of another."""
    wide = None if half is None else [mean - half, mean + half]
    return {"mean": mean, "ci": [mean - 0.01, mean + 0.01], "one_more_run": wide, "seeds": list(seeds), "questions": 9}


def study_of(arms=("glow",), told=None, **ranges) -> dict:
    """A study that is kept: the same on each benchmark after each stage, but for what is said of `sft` or `grpo`."""
    benchmarks = [
        {
            "stage": stage,
            "name": name,
            "domain": BENCHMARKS[name][0],
            "arms": dict.fromkeys(arms, ranges.get(stage) or entry(0.5, 0.6)),
        }
        for stage in ("sft", "grpo")
        for name in NAMES
    ]
    flat = {f"{stage}.{key}": value for stage, settings in (told or TOLD).items() for key, value in settings.items()}
    settings = {"common": flat, "arms": {arm: {} for arm in arms}, "mixed": {}}
    return {
        "format": 1,
        "name": "three_seeds",
        "recipe": "quickstart",
        "study": {"seeds": [101, 102, 103], "arms": list(arms), "alpha": 0.05},
        "settings": [{"name": "quickstart", "benchmarks": benchmarks, "stage_settings": settings}],
    }


@pytest.fixture(scope="module")
def made_up(tmp_path_factory):
    return make_run_folder(tmp_path_factory.mktemp("made-up") / "run", arms=("glow", "positive"), steps=20)


@pytest.fixture
def run(made_up, tmp_path, undrawn, monkeypatch):
    """A run of two arms that was started from a recipe of its own; no recipe that ships has a study."""
    monkeypatch.setattr("glow_trl.report.other_seeds.shipped", lambda: tmp_path)
    folder = shutil.copytree(made_up, tmp_path / "run")
    (tmp_path / "recipe").mkdir()
    edit_json(
        folder / "run.json",
        config={"recipe": str(tmp_path / "recipe")},
        stage_settings={"glow": TOLD, "positive": TOLD},
        seed=7,
    )
    return folder


def page_beside(run, study) -> tuple[str, dict | None]:
    """The section of the page, and what it is made of."""
    write_json(run.parent / "recipe" / STUDY_FILE, study)
    write_report(run)
    text = (run / "report.html").read_text()
    section = re.search(r'<section id="seeds">.*?</section>', text, re.DOTALL)
    assert ('href="#seeds"' in text) == (section is not None)
    plain = re.sub(r"<svg.*?</svg>|<[^>]+>", " ", section[0], flags=re.DOTALL) if section else ""
    return " ".join(plain.split()), beside_study(read_run_folder(run))


def accuracy(run, stage: str, name: str) -> float:
    results = json.loads((run / "glow" / f"{stage}_eval" / "results.json").read_text())
    return results["benchmarks"][name]["pass@1"]


def test_every_figure_stands_beside_its_mean_and_what_is_expected_of_one_run(run):
    text, found = page_beside(run, study_of())
    (item,) = found["arms"]
    assert item["figures"] == 2 * len(NAMES) and item["outside"] == 0 and item["seeds"] == 3
    assert "seeds 101, 102, 103" in text and "All 6 figures lie in the range" in text
    assert "of a typical run 0.3 of 6 lie outside on average" in text and "one of the study’s" not in text
    for stage in ("sft", "grpo"):
        for name in NAMES:
            assert f"{100 * accuracy(run, stage, name):.1f} 50.0 49.0 to 51.0 -10.0 to 110.0" in text


def test_a_figure_outside_is_said_to_be_so(run):
    """On either side; those of the other stage are not."""
    least = min(accuracy(run, "grpo", name) for name in NAMES)
    most = max(accuracy(run, "grpo", name) for name in NAMES)
    text, found = page_beside(run, study_of(grpo=entry((least + most) / 2, (most - least) / 2 - 0.001)))
    verdicts = {row["name"]: row["cells"]["grpo"]["verdict"] for row in found["arms"][0]["rows"]}
    assert sorted(verdicts.values()) == sorted(["above", "below", *[""] * (len(NAMES) - 2)])
    assert accuracy(run, "grpo", next(name for name in NAMES if verdicts[name] == "above")) == most
    assert "2 of 6 figures lie outside the range" in text
    assert f"{100 * most:.1f} above" in text and f"{100 * least:.1f} below" in text


def test_a_study_with_other_settings_says_nothing_but_that(run):
    told = {"sft": TOLD["sft"] | {"max_steps": 50, "weight_decay": 0.1}, "grpo": TOLD["grpo"]}
    text, found = page_beside(run, study_of(told=told))
    assert "The study had other settings, so it says nothing of whether this run is typical" in text
    assert "sft. max_ steps 50 (here 1130)" in text and "sft. weight_ decay 0.1 (here not set)" in text
    assert "rows" not in found["arms"][0] and "lie in the range" not in text
    many = {"sft": {f"setting{number}": number for number in range(20)}, "grpo": {}}
    assert page_beside(run, study_of(told=many))[0].count("(here") == 8
    # What the run says of itself counts, arm by arm
    edit_json(run / "run.json", stage_settings={"glow": told, "positive": TOLD})
    text, found = page_beside(run, study_of(("glow", "positive"), told=told))
    assert "rows" in found["arms"][0] and "differences" in found["arms"][1]


def test_of_several_models_the_one_that_was_run_counts(run):
    study, other = study_of(grpo=entry(0.25, None)), study_of(told={"sft": {"model_name_or_path": "b"}, "grpo": {}})
    study["settings"].insert(0, other["settings"][0])
    text, found = page_beside(run, study)
    assert found["arms"][0]["figures"] == len(NAMES) and "25.0" in text


@pytest.mark.parametrize(
    "content",
    [
        None,
        {"format": 2},
        "[]",
        "{",
        lambda study: study["settings"][0]["stage_settings"].update(arms={"dft": {}}),
    ],
)
def test_without_a_study_of_the_arm_nothing_is_shown(run, content):
    study = study_of()
    if callable(content):
        content(study)
        content = study
    file = run.parent / "recipe" / STUDY_FILE
    if isinstance(content, str):
        file.write_text(content)
        write_report(run)
        assert 'id="seeds"' not in (run / "report.html").read_text()
    elif content is None:
        write_report(run)
        assert 'id="seeds"' not in (run / "report.html").read_text()
    else:
        assert page_beside(run, content) == ("", None)


def test_a_run_that_did_not_record_its_settings_or_has_no_figures_shows_none(run):
    edit_json(run / "run.json", stage_settings=None)
    assert page_beside(run, study_of()) == ("", None)
    edit_json(run / "run.json", stage_settings={"glow": TOLD})
    for stage in ("sft", "grpo"):
        (run / "glow" / f"{stage}_eval" / "results.json").unlink()
    text, found = page_beside(run, study_of())
    assert found["arms"][0]["figures"] == 0 and "nothing can be expected" in text


def test_a_seed_of_the_study_is_told(run):
    edit_json(run / "run.json", seed=102)
    assert "Seed 102 is one of the study’s" in page_beside(run, study_of())[0]


def test_the_study_that_is_shipped_is_found_by_the_recipes_name(run, monkeypatch):
    """Where the recipe's folder is another now, or has no study."""
    monkeypatch.setattr("glow_trl.report.other_seeds.shipped", lambda: run.parent / "shipped")
    data = read_run_folder(run)
    assert find_study(data) is None
    write_json(run.parent / "shipped" / "recipes" / data.recipe / STUDY_FILE, study_of())
    assert find_study(data)["name"] == "three_seeds"


def test_the_command_writes_it(run, capsys):
    write_json(run.parent / "recipe" / STUDY_FILE, study_of())
    assert cli(["report", str(run)]) == 0
    assert 'id="seeds"' in (run / "report.html").read_text()
