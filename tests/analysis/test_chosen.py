"""What was measured of the start that stage 2 has, and when its groups would teach too little."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from glow_trl.analysis.readiness.chosen import chosen_start, read_pick, too_few_informative
from glow_trl.analysis.readiness.config import MEASURES, is_measure
from glow_trl.analysis.readiness.measures import Start, measures_of
from glow_trl.analysis.readiness.ranking import COMPOSITE, readiness
from glow_trl.data import write_jsonl
from glow_trl.errors import UserError
from glow_trl.grpo import GRPOStageConfig, check_start


DRAWN = 16


def informative(counts: list[int], size: int) -> float:
    """Share of all groups of so many of the samples that have right and wrong ones."""
    groups = math.comb(DRAWN, size)
    shares = [1 - (math.comb(right, size) + math.comb(DRAWN - right, size)) / groups for right in counts]
    return sum(shares) / len(shares)


def write_ready(folder: Path, correct: dict[str, list[int]], by: str = COMPOSITE, group_size: int = 4) -> Path:
    """What `ready` leaves of the starts; one more question, which is held out, is always solved."""
    none = np.zeros(len(next(iter(correct.values()))))
    starts = [
        Start(name, none + DRAWN, np.array(counts), none + DRAWN, none + 99, none, none)
        for name, counts in correct.items()
    ]
    folder.mkdir(parents=True)
    results = readiness(starts, group_size=group_size, by=by) | {"refused": {}, "advice": "None fits."}
    (folder / "ready.json").write_text(json.dumps(results))
    rows = [
        {
            "problem": f"q{index}",
            "held_out": False,
            "judged_correct": {name: [DRAWN, own[index]] for name, own in correct.items()},
        }
        for index in range(len(none))
    ]
    held_out = {"problem": "other", "held_out": True, "judged_correct": dict.fromkeys(correct, [DRAWN, DRAWN])}
    write_jsonl(folder / "questions.jsonl", [*rows, held_out])
    return folder


HARD = {"first": [0] * 55 + [1, 2, 0, 1, 0], "second": [0] * 50 + [3, 2, 8, 1, 16] * 2}


def test_what_is_known_of_a_start_is_what_counting_gives(tmp_path):
    folder = write_ready(tmp_path / "ready", HARD)
    facts = chosen_start(folder, "first", 4)
    written = json.loads((folder / "ready.json").read_text())["starts"]["first"]
    for key in ("informative_groups", "informative_groups_ci"):
        assert facts[key] == written[key]
    assert facts["informative_groups"] == pytest.approx(informative(HARD["first"], 4))
    assert facts["place"] == 2 and facts["ranked"] == 2 and facts["rank_by"] == COMPOSITE
    assert facts["larger_groups"]["8"] == {
        "share": pytest.approx(informative(HARD["first"], 8)),
        "supposes_beta": False,
    }
    assert facts["larger_groups"]["16"]["share"] == pytest.approx(3 / 60)
    assert (facts["never_solved"], facts["always_solved"]) == (57 / 60, 0.0)
    assert facts["questions"] == 60 and facts["samples"] == DRAWN
    assert facts["better_start"] == {
        "checkpoint": "second",
        "share": pytest.approx(informative(HARD["second"], 4)),
    }
    # Groups larger than what was drawn of a question, and another size than that of the measurement
    other = chosen_start(folder, "second", 8)
    assert other["informative_groups"] == pytest.approx(informative(HARD["second"], 8))
    assert other["larger_groups"]["32"]["supposes_beta"] and 0 < other["larger_groups"]["32"]["share"] <= 1
    assert "better_start" not in other and other["place"] == 1


def test_a_checkpoint_is_known_by_its_folder_whatever_it_is_called(tmp_path, monkeypatch):
    checkpoint = tmp_path / "sft" / "checkpoint-3"
    checkpoint.mkdir(parents=True)
    folder = write_ready(tmp_path / "ready", {str(checkpoint): [1, 2, 3]})
    monkeypatch.chdir(tmp_path / "sft")
    assert chosen_start(folder, "checkpoint-3", 4)["place"] == 1
    with pytest.raises(UserError, match="has not measured checkpoint-4, which stage 2 starts from; it has "):
        chosen_start(folder, "checkpoint-4", 4)
    with pytest.raises(UserError, match=r"readiness: .*sft has no ready\.json"):
        chosen_start(tmp_path / "sft", "checkpoint-3", 4)


def test_too_few_informative_groups_say_what_would_help(tmp_path):
    facts = chosen_start(write_ready(tmp_path / "ready", HARD), "first", 4)
    said = too_few_informative(facts, 0.2)
    share, larger = facts["informative_groups"], facts["larger_groups"]
    assert said.startswith("too few groups would be informative: of the groups of 4 of first ")
    assert f" {100 * share:.1f} % (95 %: " in said and "below min_informative_share: 0.2. What would help: " in said
    assert (
        f"num_generations: 8 ({100 * larger['8']['share']:.1f} %) or 16 ({100 * larger['16']['share']:.1f} %)" in said
    )
    assert "easier questions (of these 95.0 % were solved in none of 16 samples, 0.0 % in all)" in said
    assert f"another start, second ({100 * facts['better_start']['share']:.1f} %)" in said and "\n" not in said


def test_questions_that_are_all_solved_should_be_harder(tmp_path):
    """Larger groups that change nothing are not named, and the other epochs are where none was measured."""
    facts = chosen_start(write_ready(tmp_path / "ready", {"only": [DRAWN] * 60}), "only", 4)
    said = too_few_informative(facts, 0.1)
    assert "harder questions (of these 0.0 % were solved in none of 16 samples, 100.0 % in all)" in said
    assert "num_generations" not in said and "another epoch (select_start: ready measures them all)" in said


@pytest.mark.parametrize(("questions", "refused"), [(8, False), (400, True)])
def test_by_chance_alone_a_share_is_not_too_small(tmp_path, questions, refused):
    """The upper end of the interval decides, not the share: of few questions it is far above."""
    facts = chosen_start(write_ready(tmp_path / "ready", {"only": [0] * questions}), "only", 4)
    assert facts["informative_groups"] == 0
    assert (too_few_informative(facts, 0.05) is not None) == refused
    assert too_few_informative(facts, None) is None and too_few_informative(facts, 0.0) is None


def test_stage_2_warns_or_refuses(tmp_path, caplog):
    folder = str(write_ready(tmp_path / "ready", HARD))
    given = {"dataset_name": ["x.jsonl"], "readiness": folder, "min_informative_share": 0.2}
    assert check_start(GRPOStageConfig(**given), "first", 4)["place"] == 2
    assert "too few groups would be informative" in caplog.text
    caplog.clear()
    with pytest.raises(UserError, match="another start, second .*With on_few_informative: warn it is trained all the"):
        check_start(GRPOStageConfig(**given, on_few_informative="error"), "first", 4)
    assert check_start(GRPOStageConfig(**given | {"min_informative_share": None}), "first", 4)["place"] == 2
    assert check_start(GRPOStageConfig(dataset_name=["x.jsonl"]), "first", 4) is None
    assert caplog.text == ""


def test_a_pick_needs_something_to_be_picked_by(tmp_path):
    folder = write_ready(tmp_path / "ready", HARD)
    assert read_pick(folder) == "second"
    results = json.loads((folder / "ready.json").read_text())
    for changes, says in (
        ({"ranking": []}, "None fits"),
        ({"rank_keys": []}, "composite is not known of any start"),
        ({"starts": {"second": {"informative_groups": None}}}, "composite is not known of any start"),
    ):
        (folder / "ready.json").write_text(json.dumps(results | changes))
        with pytest.raises(UserError, match=says):
            read_pick(folder)


def test_the_measures_that_rank_are_those_that_are_measured_with_their_better_side():
    none = np.zeros(4)
    losses = dict.fromkeys(("all", "positive", "negative"), (none + 1, none + 2))
    start = Start(
        "a", none + 8, none + 4, none + 8, none + 9, none, none, entropies=(none + 1, none + 2), losses=losses
    )
    found = {measure.name: measure.better for measure in measures_of([start], start)[0]}
    ranking = {name: better for name, better in found.items() if better is not None}
    assert {
        name: better for name, better in ranking.items() if not name.startswith("pass@") or name in MEASURES
    } == MEASURES
    assert all(is_measure(name) == (better is not None) for name, better in found.items())
    assert not any(map(is_measure, ("pass@0", "pass@3", "pass@", "pass@08", "composite", "pass@8 ")))
