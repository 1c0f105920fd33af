"""Which start RL should have: measures against independent computation, the ranking, the command from end to end."""

import io
import json
import math
import os
import random
import shutil
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from glow_trl.analysis.readiness.measures import Start, measures_of
from glow_trl.analysis.readiness.ranking import advice, readiness
from glow_trl.analysis.ready import ready_table
from glow_trl.data import read_jsonl, write_jsonl
from glow_trl.data.handover import write_handover
from glow_trl.errors import UserError
from glow_trl.generation.loading import load_tokenizer
from glow_trl.report import write_report


def start(name, correct, drawn=8, **others) -> Start:
    correct = np.array(correct)
    count = np.full(correct.size, drawn)
    given = {"samples": count, "tokens": 10 * count, "truncated": 0 * count, "no_answer": 0 * count} | others
    return Start(name, count, correct, **given)


def of_samples(rng, name, questions=30, drawn=6, skill=2.0):
    """A start, and for each of its questions what its samples are, to compute everything from once more."""
    samples = []
    for _ in range(questions):
        rate = rng.betavariate(skill, 2)
        samples.append(
            [
                {"right": rng.random() < rate, "tokens": rng.randint(5, 90), "cut": rng.random() < 0.2}
                for _ in range(drawn)
            ]
        )
    sums = {key: np.array([sum(one[key] for one in own) for own in samples]) for key in ("right", "tokens", "cut")}
    entropies = np.array([rng.random() for _ in samples]), np.array([rng.randint(1, 9) for _ in samples])
    losses = {"negative": (np.array([2.0, 0.0, 9.0]), np.array([1.0, 0.0, 3.0]))}
    others = {"tokens": sums["tokens"], "truncated": sums["cut"], "entropies": entropies, "losses": losses}
    return start(name, sums["right"], drawn, **others), samples, entropies


def share_of_subsets(samples, size, test):
    """Mean over questions of the share of all subsets of so many samples for which a test holds."""
    shares = []
    for own in samples:
        subsets = list(combinations([one["right"] for one in own], size))
        shares.append(sum(map(test, subsets)) / len(subsets))
    return sum(shares) / len(shares)


def test_every_measure_is_what_counting_samples_gives():
    rng = random.Random(5)
    made = [of_samples(rng, name, skill=skill) for name, skill in (("a", 1.0), ("b", 3.0))]
    base, base_samples, _ = of_samples(rng, "base", skill=1.5)
    found = readiness([one for one, *_ in made], base, group_size=4)
    assert found["k_values"] == [1, 2, 4] and found["coverage_k"] == 4 and found["informative_by"] == "groups"
    lengths = []
    for one, samples, (entropies, tokens) in made:
        row = found["starts"][one.name]
        for k in found["k_values"]:
            assert row[f"pass@{k}"] == pytest.approx(share_of_subsets(samples, k, any))
        mixed = share_of_subsets(samples, 4, lambda group: any(group) and not all(group))
        assert row["informative_groups"] == pytest.approx(mixed)
        every = [one for own in samples for one in own]
        lengths.append(sum(one["tokens"] for one in every) / len(every))
        assert row["response_length"] == pytest.approx(lengths[-1])
        assert row["truncated"] == pytest.approx(sum(one["cut"] for one in every) / len(every))
        assert row["no_answer"] == 0
        assert row["entropy"] == pytest.approx(sum(entropies) / sum(tokens))
        assert row["loss_negative"] == pytest.approx(11 / 4)
        lost = gained = reached = 0.0
        for before, after in zip(base_samples, samples, strict=True):
            rates = [sum(one["right"] for one in own) / 6 for own in (before, after)]
            f = [1 - (1 - rate) ** 4 for rate in rates]
            if 0.05 < f[0] < 0.95:
                reached += 1
                lost += max(0, f[0] - f[1])
                gained += max(0, f[1] - f[0])
        assert found["reached_by_base"] == reached
        assert row["coverage_ratio"] == pytest.approx(lost / gained)
    # At the budget that both have, each has as many attempts as its length allows
    budget = 6 * min(lengths)
    assert found["budget"] == pytest.approx(budget)
    for (one, samples, _), length in zip(made, lengths, strict=True):
        attempts = budget / length
        below = math.floor(attempts + 1e-9)
        curve = [share_of_subsets(samples, k, any) for k in (below, min(below + 1, 6))]
        expected = curve[0] + (attempts - below) * (curve[1] - curve[0])
        assert found["starts"][one.name]["pass@budget"] == pytest.approx(expected)


def test_a_measure_stands_on_the_questions_that_count_for_all_starts():
    one, two = start("a", [4, 4, 0, 8]), start("b", [8, 8, 8, 8])
    fewer = two.judged.copy()
    fewer[3] = 3
    two = Start("b", fewer, np.minimum(two.correct, fewer), *(4 * [two.samples]))
    found = readiness([one, two])["starts"]
    assert found["a"]["pass@8"] == pytest.approx(2 / 3)  # of the first three questions
    assert found["a"]["pass@2"] == pytest.approx(np.mean([1 - 4 * 3 / 56, 1 - 4 * 3 / 56, 0, 1]))


def test_pass_at_2_ranks_and_what_speaks_for_the_first_is_said():
    starts = [start("solved", [8, 8, 8, 7] * 5), start("learns", [4, 3, 2, 5] * 5), start("dead", [0, 0, 0, 1] * 5)]
    found = readiness(starts)
    assert found["rank_keys"] == ["pass@2"]
    assert found["ranking"] == ["solved", "learns", "dead"] and found["pick"] == "solved"
    assert found["confidence"] == 1.0
    assert found["evidence"]["informative_groups"]["verdict"] == "against"
    assert found["evidence"]["pass@1"]["verdict"] == "for"
    said = advice(found)
    assert said.startswith("Start RL from solved: 25.0 % (95 %: ") and said.endswith(".")
    assert "clearly for it: pass@1 (100 %)" in said and "clearly against it: informative groups of 8 (0 %)" in said
    by_groups = readiness(starts, by="informative_groups")
    assert by_groups["ranking"] == ["learns", "solved", "dead"] and by_groups["confidence"] == 1.0
    level = readiness([start("never", [0] * 9), start("always", [8] * 9)])
    assert [level["starts"][name]["p_star_verdict"] for name in level["ranking"]] == ["above", "open"]


def test_starts_that_are_equal_share_the_first_place():
    same = [start(name, [4, 2, 0, 8] * 6) for name in "ab"]
    found = readiness(same)
    assert found["confidence"] == 0.5
    assert {item.get("verdict") for item in found["evidence"].values()} == {"open", None}
    assert found["evidence"]["pass@1"]["better"] == 0.5


def test_how_sure_the_first_place_is_by_an_independent_bootstrap():
    rng = random.Random(2)
    made = [of_samples(rng, name, questions=25, skill=skill)[0] for name, skill in (("a", 1.2), ("b", 1.0))]
    found = readiness(made, group_size=4)
    measures = {measure.name: measure for measure in measures_of(made, group_size=4)[0]}
    first, second = (measures["pass@2"].parts[name][0] for name in found["ranking"])
    wins = 0.0
    for _ in range(4000):
        drawn = [rng.randrange(25) for _ in range(25)]
        difference = sum(first[index] - second[index] for index in drawn)
        wins += 1.0 if difference > 1e-12 else 0.5 if abs(difference) <= 1e-12 else 0.0
    assert found["confidence"] == pytest.approx(wins / 4000, abs=0.03)
    assert found["evidence"]["pass@2"]["better"] == pytest.approx(wins / 4000, abs=0.03)


def test_a_start_that_cannot_be_handed_over_is_measured_and_not_ranked():
    bad = start("bad", [4] * 8, problems=("other template",))
    found = readiness([bad, start("good", [1] * 8)])
    assert found["ranking"] == ["good"] and found["starts"]["bad"]["pass@1"] == 0.5
    assert "runner_up" not in found and "no other start" in advice(found)
    none = readiness([bad])
    assert none["ranking"] == [] and advice(none) == "No start can be handed over to stage 2."


def test_any_measure_ranks_by_its_name():
    cut = np.array([3, 0, 1, 2])
    starts = [start("long", [4] * 4, truncated=2 * cut), start("short", [1] * 4, truncated=cut)]
    assert readiness(starts, by="truncated")["ranking"] == ["short", "long"]
    assert readiness(starts, by="pass@1")["ranking"] == ["long", "short"]
    with pytest.raises(UserError, match="no measure 'pass@3' to rank by"):
        readiness(starts, by="pass@3")
    with pytest.raises(UserError, match="no measure 'response_length'"):
        readiness(starts, by="response_length")  # neither long nor short is better


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("seed", range(40))
def test_whatever_the_counts_are_the_figures_are_numbers(seed):
    """Few questions and samples, none judged, none right, none with tokens: nothing is divided by zero."""
    rng = np.random.default_rng(seed)
    questions = rng.integers(1, 6)

    def one(name):
        samples = rng.integers(1, 6, questions)
        judged = rng.binomial(samples, 0.6) if seed % 3 == 0 else samples
        entropies = (
            (rng.random(questions), rng.integers(0, 3, questions).astype(float)) if rng.random() < 0.5 else None
        )
        tokens = samples * rng.integers(0, 9, questions) * (seed % 5 > 0)
        correct = rng.binomial(judged, 0.4 * (seed % 2))
        return Start(name, judged, correct, samples, tokens, rng.binomial(samples, 0.3), 0 * samples, entropies)

    starts = [one(f"start {number}") for number in range(rng.integers(1, 5))]
    found = readiness(starts, one("base") if seed % 4 else None, group_size=int(rng.integers(2, 9)), resamples=50)
    json.dumps(found, allow_nan=False)
    assert sorted(found["ranking"]) == [one.name for one in starts] and advice(found).endswith(".")


def test_one_sample_of_a_question_says_nothing_of_groups():
    found = readiness([start("a", [1, 0, 1], drawn=1), start("b", [0, 0, 1], drawn=1)])
    assert found["informative_by"] is None and "informative_groups" not in found["measures"]
    assert found["rank_keys"] == ["pass@1"] and found["ranking"] == ["a", "b"]


def test_the_table_has_every_start_in_order():
    starts = [start("first", [4] * 8), start("bad", [4] * 8, problems=("other template",)), start("last", [1] * 8)]
    stream = io.StringIO()
    results = readiness(starts, start("base", [2] * 8)) | {"refused": {"left out": ["no model"]}}
    Console(file=stream, width=200).print(ready_table(results))
    lines = [line.split() for line in stream.getvalue().splitlines()]
    rows = {row[0]: row[1:] for row in lines if row and row[0] in ("first", "last", "bad")}
    assert list(rows) == ["first", "last", "bad"] and rows["bad"][0] == "–"
    ends = "–".join(f"{100 * end:.1f}" for end in results["starts"]["first"]["informative_groups_ci"])
    assert rows["first"][:4] == ["1", "100.0", ends, "50.0"] and rows["first"][-1] == "fits"
    assert rows["bad"][-1] == "refused" and ["left", "out", "–", "refused"] in lines


# The command on saved generations


SAMPLING = {"temperature": 1.0, "top_p": 1.0, "max_new_tokens": 64}


def write_evaluation(folder: Path, correct: dict[str, list[bool]], gold: str = "7", **sampling) -> str:
    """What `eval` leaves of questions named by their texts."""
    folder.mkdir(parents=True)
    rows = [
        {
            **{"problem": problem, "answer": gold, "kind": "math", "index": index, "sample": sample},
            **{
                "n_tokens": 10 + sample,
                "finish_reason": "length" if sample == 0 else "stop",
                "completion": "It is so.",
            },
            "verdict": {"correct": right, "reason": "match" if right else "mismatch"},
        }
        for index, (problem, outcomes) in enumerate(correct.items())
        for sample, right in enumerate(outcomes)
    ]
    write_jsonl(folder / "generations_b.jsonl", rows)
    results = {"model_name_or_path": str(folder / "gone"), "sampling": SAMPLING | sampling, "benchmarks": {"b": {}}}
    (folder / "results.json").write_text(json.dumps(results))
    return str(folder)


def outcomes(seed: int, questions: int = 24, drawn: int = 4) -> dict[str, list[bool]]:
    rng = random.Random(seed)
    return {f"q{number}": [rng.random() < 0.4 for _ in range(drawn)] for number in range(questions)}


def ready(glow_trl, *argv) -> tuple[int, str]:
    return glow_trl("ready", *argv)


def test_saved_generations_are_ranked_and_what_is_written_says_all(glow_trl, tmp_path):
    known = {name: outcomes(seed) for seed, name in enumerate("ab")}
    known["b"] = dict(reversed(known["b"].items())) | {"extra": [True] * 4}
    folders = [write_evaluation(tmp_path / name, correct) for name, correct in known.items()]
    argv = ["--generations", *folders, "--output_dir", tmp_path / "out", "--group_size", 4]
    code, said = ready(glow_trl, *argv)
    assert code == 0, said
    found = json.loads((tmp_path / "out" / "ready.json").read_text())
    assert found["advice"].startswith(f"Start RL from {found['pick']}: ")
    assert found["left_out"] == 1 and found["questions"] == 18 and found["held_out"]["questions"] == 6
    rows = [row for _, row in read_jsonl(tmp_path / "out" / "questions.jsonl")]
    assert len(rows) == 24 and sum(row["held_out"] for row in rows) == 6
    for name, folder in zip("ab", folders, strict=True):
        for row in rows:
            assert row["judged_correct"][folder] == [4, sum(known[name][row["problem"]])]
        for part, held_out in ((found, False), (found["held_out"], True)):
            chosen = [known[name][row["problem"]] for row in rows if row["held_out"] == held_out]
            entry = part["starts"][folder]
            assert entry["pass@1"] == pytest.approx(np.mean([sum(own) / 4 for own in chosen]))
            assert entry["informative_groups"] == pytest.approx(np.mean([0 < sum(own) < 4 for own in chosen]))
            assert entry["truncated"] == 0.25 and entry["unchecked"]
    # Nothing is done again, and another measure ranks the same counts
    before = (tmp_path / "out" / "ready.json").stat().st_mtime_ns
    assert ready(glow_trl, *argv)[0] == 0
    assert (tmp_path / "out" / "ready.json").stat().st_mtime_ns == before
    assert ready(glow_trl, *argv, "--rank_by", "pass@1")[0] == 0
    again = json.loads((tmp_path / "out" / "ready.json").read_text())
    assert again["rank_by"] == "pass@1" and again["starts"] == found["starts"]


def test_the_held_out_questions_do_not_depend_on_the_starts(glow_trl, tmp_path):
    held_out = []
    for name, seeds in (("one", (1, 2)), ("two", (2, 3))):
        folders = [write_evaluation(tmp_path / name / str(seed), outcomes(seed)) for seed in seeds]
        assert ready(glow_trl, "--generations", *folders, "--output_dir", tmp_path / name / "out")[0] == 0
        rows = (row for _, row in read_jsonl(tmp_path / name / "out" / "questions.jsonl"))
        held_out.append({row["problem"] for row in rows if row["held_out"]})
    assert held_out[0] == held_out[1] and len(held_out[0]) == 6


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"temperature": 0.6}, "temperature is 1.0 in the one and 0.6"),
        ({"gold": "8"}, "the gold answer to 'q0' is '7' in"),
    ],
)
def test_what_differs_by_more_than_the_model_is_refused(glow_trl, tmp_path, changes, says):
    folders = [write_evaluation(tmp_path / "a", outcomes(1)), write_evaluation(tmp_path / "b", outcomes(2), **changes)]
    code, said = ready(glow_trl, "--generations", *folders, "--output_dir", tmp_path / "out")
    assert code == 2 and says in said
    assert not (tmp_path / "out").exists()


def test_questions_in_common_there_must_be(glow_trl, tmp_path):
    folders = [write_evaluation(tmp_path / name, {f"{name}{number}": [True] for number in range(4)}) for name in "ab"]
    code, said = ready(glow_trl, "--generations", *folders, "--output_dir", tmp_path / "out")
    assert code == 2 and "no question is common to all" in said


def test_what_collect_left_is_judged(glow_trl, tmp_path):
    """The same completions as `eval` has, without verdicts, give the same figures; those with labels keep them."""
    texts = [["\\boxed{7}", "\\boxed{14/2}", "\\boxed{8}", "no idea"], ["7", "\\boxed{1}", "\\boxed{2}", "\\boxed{3}"]]
    right = [2, 1]
    rows = [
        {"problem": f"3+{index + 4}-{index}=?", "answer": "7", "completion": text, "index": index, "sample": sample}
        | {"n_tokens": 5, "finish_reason": "stop"}
        for index, own in enumerate(texts * 4)
        for sample, text in enumerate(own)
    ]
    collected, labelled = tmp_path / "collected", tmp_path / "labelled"
    for folder in (collected, labelled):
        folder.mkdir()
    write_jsonl(collected / "trajectories-00000-of-00001.jsonl", rows)
    write_jsonl(labelled / "trajectories.jsonl", [row | {"is_correct": row["sample"] == 3} for row in rows])
    argv = ["--generations", collected, labelled, "--held_out", 0, "--group_size", 2, "--output_dir", tmp_path / "out"]
    code, said = ready(glow_trl, *argv)
    assert code == 0, said
    found = json.loads((tmp_path / "out" / "ready.json").read_text())["starts"]
    assert found[str(collected)]["pass@1"] == pytest.approx(sum(right) / 8)
    assert found[str(collected)]["no_answer"] == pytest.approx(1 / 8)
    assert found[str(labelled)]["pass@1"] == pytest.approx(0.25)
    (collected / "run.json").write_text(json.dumps({"stage": "collect", "status": "running", "config": {}}))
    code, said = ready(glow_trl, *argv[:-1], tmp_path / "other")
    assert code == 2 and "the collection is not complete" in said


def test_only_some_benchmarks_of_an_evaluation(glow_trl, tmp_path):
    folder = Path(write_evaluation(tmp_path / "a", outcomes(1)))
    results = json.loads((folder / "results.json").read_text())
    (folder / "results.json").write_text(json.dumps(results | {"benchmarks": {"b": {}, "other": {}}}))
    write_jsonl(folder / "generations_other.jsonl", [row for _, row in read_jsonl(folder / "generations_b.jsonl")][:8])
    for only, count in (["b"], 24), (["other"], 2), ([], 26):
        argv = ["--generations", folder, "--held_out", 0, "--output_dir", tmp_path / "out"]
        assert ready(glow_trl, *argv, *(["--only", *only] if only else []))[0] == 0
        assert json.loads((tmp_path / "out" / "ready.json").read_text())["questions"] == count
    code, said = ready(glow_trl, *argv, "--only", "othr")
    assert code == 2 and "has no benchmark 'othr'; did you mean other" in said


# The command on checkpoints


@pytest.fixture(scope="module")
def questions(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("questions") / "questions.jsonl"
    rows = [{"problem": f"{a}+{a}=", "answer": str(2 * a)} for a in range(1, 9)]
    write_jsonl(path, [*rows, rows[0]])  # one of them twice, as in a file of trajectories
    return path


def test_checkpoints_are_sampled_as_grpo_would_and_go_on(glow_trl, tiny_model, questions, trajectories, tmp_path):
    (tmp_path / "grpo.yaml").write_text(
        f"dataset_name: {questions}\nnum_generations: 3\nmax_completion_length: 6\ntemperature: 0.9\nmax_steps: 1\n"
    )
    other = tmp_path / "copy"
    other.symlink_to(tiny_model)
    out = tmp_path / "out"
    argv = [tiny_model, other, "--base", tiny_model, "--grpo", tmp_path / "grpo.yaml", "--output_dir", out]
    argv += ["--num_samples", 3, "--num_questions", 6, "--trajectories", trajectories, "--held_out", 0]
    code, said = ready(glow_trl, *argv)
    assert code == 0, said
    found = json.loads((out / "ready.json").read_text())
    assert found["group_size"] == 3 and found["questions"] == 6 and found["informative_by"] == "groups"
    assert found["sampling"]["temperature"] == 0.9 and found["sampling"]["max_new_tokens"] == 6
    # The same weights and seed: nothing tells them apart, and nothing was gained or lost against the base
    one, two = found["starts"].values()
    assert {key: value for key, value in one.items() if key != "unchecked"}.items() <= two.items()
    assert one["coverage_ratio"] is None and one["entropy"] > 0
    assert found["confidence"] == 0.5
    assert one["problems"] == [] and "could not be checked" in one["unchecked"][0]
    # As `eval` and `loss` have it
    folder = next((out / "starts").iterdir())
    row = json.loads((folder / "results.json").read_text())["benchmarks"]["asked_questions"]
    for name in ("pass@1", "pass@2", "truncated", "no_answer", "response_length", "entropy"):
        assert one[name] == pytest.approx(row[name]), name
    losses = json.loads((next((out / "losses").iterdir()) / "results.json").read_text())["groups"]
    assert one["loss_all"] == pytest.approx(losses["all"]["all"]["loss"])
    for label in ("positive", "negative"):
        assert one[f"loss_{label}"] == pytest.approx(losses["is_correct"][label]["loss"])
        assert one[f"loss_{label}_ci"] == pytest.approx(losses["is_correct"][label]["loss_ci"])
    # What was sampled is kept by a run that goes on
    drawn = {path: os.stat(path).st_mtime_ns for path in out.rglob("generations_*.jsonl")}
    assert ready(glow_trl, *argv, "--rank_by", "entropy")[0] == 0
    assert drawn == {path: os.stat(path).st_mtime_ns for path in out.rglob("generations_*.jsonl")}


def test_a_checkpoint_that_stage_2_would_refuse_is_left_out(glow_trl, tiny_model, questions, tmp_path):
    bad = shutil.copytree(tiny_model, tmp_path / "bad")
    (bad / "handover.json").write_text(
        json.dumps({"chat_template": "other", "end_token": "?", "end_token_share": 1.0})
    )
    argv = ["--questions", questions, "--num_samples", 2, "--max_new_tokens", 4, "--num_questions", 4]
    code, said = ready(glow_trl, bad, tiny_model, *argv, "--output_dir", tmp_path / "out")
    assert code == 0, said
    found = json.loads((tmp_path / "out" / "ready.json").read_text())
    assert found["ranking"] == [tiny_model] and "the chat template is not that" in found["refused"][str(bad)][0]
    assert f"{bad} is left out" in said
    code, said = ready(glow_trl, bad, *argv, "--output_dir", tmp_path / "none")
    assert code == 2 and "no checkpoint can be handed over" in said


def test_the_prompts_of_stage_2_are_those_of_its_file(glow_trl, tiny_model, questions, tmp_path):
    """What grpo.yaml leaves out is not asked in training either, whatever the checkpoint was trained with."""
    taught = shutil.copytree(tiny_model, tmp_path / "taught")
    write_handover(taught, load_tokenizer(tiny_model), "Be brief.", None, 1.0)
    (tmp_path / "grpo.yaml").write_text(f"dataset_name: {questions}\nmax_completion_length: 2\n")
    argv = [taught, "--grpo", tmp_path / "grpo.yaml", "--num_samples", 2, "--output_dir", tmp_path / "out"]
    code, said = ready(glow_trl, *argv)
    assert code == 2 and "system_prompt is None, stage 1 trained with 'Be brief.'" in said
    assert ready(glow_trl, *argv, "--system_prompt", "Be brief.")[0] == 0


def test_the_report_has_a_section_for_what_lies_in_the_run(glow_trl, tmp_path):
    run = tmp_path / "run"
    folders = [write_evaluation(run / "saved" / name, outcomes(seed)) for seed, name in enumerate(("one", "<two>"))]
    (run / "run.json").write_text(json.dumps({"stage": "run", "status": "complete"}))
    argv = ["--generations", *folders, "--output_dir", run / "ready"]
    assert ready(glow_trl, *argv)[0] == 0
    found = json.loads((run / "ready" / "ready.json").read_text())
    write_report(run)
    page = (run / "report.html").read_text()
    section = page.partition('<section id="ready">')[2].partition("</section>")[0]
    assert '<a href="#ready">' in page and "Start RL from" in section and "The order is by pass@2" in section
    assert "saved/&lt;two&gt;" in section and str(tmp_path) not in section
    for entry in found["starts"].values():
        assert f"{100 * entry['informative_groups']:.1f}" in section


# Intervals


@pytest.mark.slow
@pytest.mark.parametrize("drawn", [16, 4])
def test_intervals_hold_the_truth_as_often_as_they_say(drawn):
    """Of questions with rates of a beta distribution, whether a group's samples are all drawn or fewer."""
    rng = np.random.default_rng(11)
    runs, questions, group = 600, 100, 8
    rates = rng.beta(0.7, 1.6, 1_000_000)
    truth = {
        "pass@1": rates.mean(),
        "pass@4": (1 - (1 - rates) ** 4).mean(),
        "informative_groups": (1 - rates**group - (1 - rates) ** group).mean(),
    }
    held = dict.fromkeys(truth, 0)
    for _ in range(runs):
        one = start("a", rng.binomial(drawn, rng.beta(0.7, 1.6, questions)), drawn)
        found = {measure.name: measure.estimate("a") for measure in measures_of([one], group_size=group)[0]}
        for name, value in truth.items():
            held[name] += found[name].low <= value <= found[name].high
    # Twice the error of the simulation is 1.8 points
    assert all(0.93 - 0.018 <= count / runs <= 0.97 + 0.018 for count in held.values()), held
