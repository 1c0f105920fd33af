"""What the repository says of studies is what follows from the studies that are kept in it."""

import importlib.util
import json
import re
import shutil

import pytest

from glow_trl.report.other_seeds import STUDY_FILE
from helpers.launching import ROOT
from helpers.made_up_study import STUDY, make_study


SPEC = importlib.util.spec_from_file_location("make_evidence", ROOT / "docs" / "evidence" / "make_evidence.py")
evidence = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(evidence)


def test_what_is_said_follows_from_the_studies_that_are_kept():
    """After any change of a study, a template or a chart: python docs/evidence/make_evidence.py"""
    assert evidence.outdated(ROOT) == []
    assert evidence.without_limits(ROOT) == []


def test_studies_that_are_kept_are_small_and_name_no_place():
    for path in ROOT.glob(f"recipes/*/{STUDY_FILE}"):
        assert path.stat().st_size < 150_000
        assert "/tmp" not in path.read_text() and str(ROOT) not in path.read_text()


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return make_study(tmp_path_factory.mktemp("study") / "one")


@pytest.fixture
def repository(tmp_path):
    """What a repository without any study has."""
    root = tmp_path / "repository"
    for name in ("quickstart", "other"):
        shutil.copytree(
            ROOT / "recipes" / "quickstart", root / "recipes" / name, ignore=shutil.ignore_patterns("*.json")
        )
    (root / "docs" / "evidence").mkdir(parents=True)
    (root / "README.md").write_text("# Name\n\n" + "".join(evidence.README_MARKS) + "## More\n")
    return root


def written(root, *folders) -> tuple[str, str]:
    """README and page of a repository, once it keeps studies."""
    for folder in folders or [None]:
        evidence.main([] if folder is None else [str(folder)], root)
    page = root / "docs" / "evidence" / "quickstart.md"
    return (root / "README.md").read_text(), page.read_text() if page.is_file() else ""


def test_how_long_a_study_took_is_said_where_it_has_run_its_runs(study, tmp_path):
    folder = shutil.copytree(study, tmp_path / "study")
    record = json.loads((folder / "run.json").read_text())
    for seconds, elapsed in ((59.0, None), (400.4, 400), (None, None)):
        (folder / "run.json").write_text(json.dumps(record | {"seconds": seconds}))
        assert evidence.cost(folder) == {"runs": 12, "seconds": 720, "elapsed": elapsed}
    (folder / "run.json").write_text(json.dumps(record | {"seconds": 400.4}))
    (folder / "slurm").mkdir()
    assert evidence.cost(folder)["elapsed"] is None


def test_without_a_study_nothing_is_said(repository):
    before = (repository / "README.md").read_text()
    assert evidence.outdated(repository) == []
    assert written(repository) == (before, "")


def test_one_study_is_told_in_readme_and_page(repository, study, capsys):
    """Verdicts, means and differences, their intervals, seeds, and where it comes from."""
    readme, page = written(repository, study)
    results = json.loads((study / "study.json").read_text())
    section = readme.partition(evidence.README_MARKS[0])[2].partition(evidence.README_MARKS[1])[0]
    assert section.startswith("## Evidence\n") and readme.endswith("## More\n")
    said = " ".join(section.split())
    claims = {item["claim"]["name"]: item for item in results["claims"]}
    assert [item["verdict"] for item in claims.values()] == ["held", "did not hold", "held"]
    assert re.search(r"- \*\*Held\*\*: Better after SFT \(after\\_sft, glow − positive: .*; A loss that falls", said)
    assert "- **Did not hold**: Longer (length, glow − positive: " in said and "- **Undecided**: none." in said
    assert "4 seeds (7, 8, 9, 10)" in said and "](docs/evidence/quickstart.md)" in said
    # All arms are claimed something of, or the control
    arms = ["glow", "positive"]
    assert "](docs/evidence/quickstart-summary.svg)" in said and evidence.claimed_arms(results) == arms
    found = claims["Better after SFT"]["figure"]
    ends = " to ".join(f"{100 * end:+.1f}".replace("-", "−") for end in found["ci"])
    assert (
        f"{100 * found['mean']:+.1f} points ({ends})" in said and f"{100 * found['mean']:+.1f} points ({ends})" in page
    )
    for name in ("after_sft", "after_rl"):
        row = results["settings"][0]["measures"][name]["arms"]["glow"]
        text = "| `glow` | {:.1f} % ({:.1f} to {:.1f}) |".format(*(100 * value for value in (row["mean"], *row["ci"])))
        assert text in page
    for text in (
        results["declared"]["sha256"],
        "Nothing of it was changed",
        "12 of 12 runs",
        "trl 1.16",
        "12 min 00 s",
    ):
        assert text in page
    entry = results["settings"][0]["benchmarks"][3]["arms"]["all"]["one_more_run"]
    assert "[{:.1f} to {:.1f}]".format(*(100 * end for end in entry)) in page
    for row in re.findall(r"^\|.*", page, re.M):
        assert row.count(" | ") >= 4 and row.endswith(" |")
    for target in re.findall(r"\]\(([^)]+)\)", page):
        if "study.md" not in target:
            assert (repository / "docs" / "evidence" / target).exists(), target
    (curve, _) = json.loads((repository / "recipes" / "quickstart" / STUDY_FILE).read_text())["settings"][0]["curves"]
    epochs = curve["arms"]["glow"]["x"]
    assert curve["name"] == "loss_positive" and len(epochs) == 20 and (epochs[0], epochs[-1]) == (1, 30)
    # Written in seconds of runs of a minute, which it cannot have run
    assert "the study took" not in page
    # A page says nothing of its limits by itself
    assert "can and cannot say" in capsys.readouterr().err
    assert evidence.outdated(repository) == [] and evidence.without_limits(repository) != []


def test_a_recipe_that_is_no_longer_the_one_studied_is_named(repository, study):
    """A study says nothing of settings that came after it, and is not to look as if it did."""
    assert "has changed since" not in "".join(written(repository, study))
    folder = repository / "recipes" / "quickstart"
    for name, old, new in (
        ("sft.yaml", "max_steps: 1130", "max_steps: 1131"),
        ("recipe.yaml", "  all: {", "  every: {"),
        ("recipe.yaml", "compare: [glow, positive, negative, all]", ""),
        ("recipe.yaml", "max_habit_rate: 0.45", "max_habit_rate: 0.5"),
    ):
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new))
    assert evidence.outdated(repository) == ["README.md", "docs/evidence/quickstart.md"]
    readme, page = written(repository)
    assert "**the recipe has changed since**" in " ".join(readme.split())
    assert re.findall(r"\*\*The recipe has changed since\*\*: (.*)", page) == [
        "it has no arm all",
        r"data.max\_habit\_rate was 0.45, is 0.5",
        r"sft.max\_steps was 1130, is 1131",
    ]
    # What decides no result may change
    before = (folder / "sft.yaml").read_text()
    (folder / "sft.yaml").write_text(before + "\nlogging_steps: 7\n" if "logging_steps" not in before else before)
    assert evidence.outdated(repository) == []


def test_what_is_written_by_hand_stays_and_anything_else_must_follow_from_the_study(repository, study):
    written(repository, study)
    folder = repository / "docs" / "evidence"
    page = folder / "quickstart.md"
    page.write_text(page.read_text() + "\nOne model of 146,000 parameters.\n")
    readme = repository / "README.md"
    readme.write_text(readme.read_text().replace("# Name", "# Another name"))
    assert evidence.outdated(repository) == evidence.without_limits(repository) == []
    made = {
        path: path.read_bytes()
        for path in (readme, page, *(folder / f"quickstart{end}.svg" for end in ("", "-curves", "-summary")))
    }
    written(repository)
    assert {path: path.read_bytes() for path in made} == made
    # Any digit that is another makes the file that it stands in outdated
    for path, content in made.items():
        start = content.index(b" seeds (") if path.suffix == ".md" else content.index(b"path")
        place = next(place for place in range(start, len(content)) if content[place : place + 1] in b"12345678")
        path.write_bytes(content[:place] + b"9" + content[place + 1 :])
    assert evidence.outdated(repository) == [path.relative_to(repository).as_posix() for path in made]
    for path, content in made.items():
        path.write_bytes(content)
    # Another mean in the study makes all of them so but the curves, which it is not in
    kept = repository / "recipes" / "quickstart" / STUDY_FILE
    study_file = json.loads(kept.read_text())
    study_file["settings"][0]["measures"]["after_sft"]["arms"]["glow"]["mean"] += 0.01
    study_file["claims"][0]["figure"]["mean"] += 0.01
    kept.write_text(json.dumps(study_file))
    assert evidence.outdated(repository) == [
        "README.md",
        "docs/evidence/quickstart.md",
        "docs/evidence/quickstart.svg",
        "docs/evidence/quickstart-summary.svg",
    ]
    kept.unlink()
    assert evidence.outdated(repository) == ["README.md", "docs/evidence/quickstart.md"]


def test_several_studies_and_what_is_not_as_it_should_be(repository, study, tmp_path, monkeypatch):
    """A study that lacks runs, was changed, and decides nothing says so first, in README and page."""
    claims = [{"name": "Better | after *RL*", "measure": "after_rl", "arm": "all", "versus": "glow"}]
    second = make_study(tmp_path / "two", seeds=[7, 8], claims=claims)
    results = json.loads((second / "study.json").read_text())
    results["claims"][0]["verdict"] = "undecided"
    results["settings"][0]["recipe"] = "other"
    results["runs"] |= {"complete": 3, "failed": [{"name": "other/seed-8/all", "error": "it collapsed", "log": None}]}
    results["declared"]["changes"] = ["seeds: 7, 8, 9 → 7, 8"]
    results["settings"][0]["stage_settings"]["mixed"] = {"all": ["sft.max_steps"]}
    (second / "study.json").write_text(json.dumps(results))
    readme, _ = written(repository, study, second)
    assert readme.index("**[other](") < readme.index("**[quickstart](")
    other = " ".join(readme.partition("**[other](")[2].partition("![")[0].split())
    assert (
        "**3 of 6 runs complete**, **changed after the first run**, **with runs that were not told the same**" in other
    )
    assert "**Held**: none" in other and r"- **Undecided**: Better \| after \*RL\* (after\_rl, all − glow: " in other
    page = (repository / "docs" / "evidence" / "other.md").read_text()
    assert "- **Not complete**: other/seed-8/all: it collapsed" in page
    assert r"- **Mixed**: quickstart: the runs of all differ in sft.max\_steps" in page
    assert (
        "- **Changed after the first run**: seeds: 7, 8, 9 → 7, 8" in page and "Nothing of it was changed" not in page
    )
    assert "| **undecided** |" in page and "1 undecided" in page
    assert evidence.outdated(repository) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (None, "there is no study.json"),
        (lambda results: results.pop("made"), "is of an older version"),
        (lambda results: results["settings"][0].pop("benchmarks"), "is of an older version"),
        (
            lambda results: results["settings"].append({"recipe": "b", "benchmarks": []}),
            "several recipes, b, quickstart",
        ),
        (lambda results: results["settings"][0].update(recipe="nowhere"), "the recipe nowhere, which is not in"),
    ],
)
def test_what_cannot_be_kept_is_refused(repository, study, tmp_path, change, message):
    if change is not None:
        results = json.loads((study / "study.json").read_text())
        change(results)
        (tmp_path / "study.json").write_text(json.dumps(results))
    with pytest.raises(SystemExit, match=message):
        evidence.main([str(tmp_path)], repository)
    assert list(repository.glob(f"recipes/*/{STUDY_FILE}")) == []


def test_many_arms_are_rows_of_a_table_of_means(repository, tmp_path):
    """Their intervals would be too wide for a page."""
    arms = ["glow", "positive", "negative", "all", "constant"]
    folder = make_study(tmp_path / "many", seeds=[7, 8], arms=arms)
    _, text = written(repository, folder)
    (setting,) = json.loads((folder / "study.json").read_text())["settings"]
    table = text.partition("### Every test set")[2].partition("## Losses")[0]
    heads = re.findall(r"^\| after (SFT|GRPO) \| (.*) \|$", table, re.M)
    assert [stage for stage, _ in heads] == ["SFT", "GRPO"]
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", table, re.M)
    assert [arm for arm, _ in rows] == 2 * arms
    for place, (arm, cells) in enumerate(rows):
        stage, names = heads[place // len(arms)]
        found = {item["name"]: item["arms"][arm] for item in setting["benchmarks"] if item["stage"] == stage.lower()}
        assert [name.replace("\\", "") for name in names.split(" | ")] == list(found)
        assert cells.split(" | ") == [f"{100 * item['mean']:.1f}" if item else "–" for item in found.values()]


def test_a_study_that_is_declared_in_the_repository_is_named_by_its_file(repository, study):
    (repository / "examples").mkdir()
    shutil.copy(study.with_suffix(".yaml"), repository / "examples" / "made_up.yaml")
    assert "the file [examples/made_up.yaml](../../examples/made_up.yaml)" in written(repository, study)[1]
    assert STUDY["description"] in (repository / "README.md").read_text()
