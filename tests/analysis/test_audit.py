"""`glow-trl audit`: judges side by side, the sample and its labels, the rates, and what is written."""

import json
import random
import re
import typing

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from glow_trl.analysis.auditing.other_judges import _yes_or_no, final_text, math_verify_all
from glow_trl.analysis.auditing.rates import Stratum, error_rates
from glow_trl.data import read_jsonl, write_jsonl
from glow_trl.generation import Engine, EngineConfig, Generation


ROWS = [
    {"problem": "1+1=?", "completion": r"\boxed{2}", "answer": "2", "is_correct": True},
    {"problem": "1+2=?", "completion": r"\boxed{4}", "answer": "3", "is_correct": True},
    {"problem": "Compute $3 + 4$.", "completion": r"\boxed{3 + 4}", "answer": "7", "is_correct": True},
    {"problem": "Half of one?", "completion": r"So \boxed{0.5} it is", "answer": r"\frac12", "is_correct": False},
    {"problem": "Which?", "completion": "The answer is (B)", "answer": "B", "kind": "choice"},
]
COPY = "ours wrong, math-verify right"


def lines(path):
    return [row for _, row in read_jsonl(path)]


@pytest.fixture
def audited(glow_trl, tmp_path):
    source, out = tmp_path / "rows.jsonl", tmp_path / "out"

    def run(rows=ROWS, *options):
        write_jsonl(source, rows)
        code, said = glow_trl("audit", source, "--output_dir", out, "--workers", 1, *options)
        assert code == 0, said
        return out

    return run


def test_judges_side_by_side(audited):
    out = audited()
    results = json.loads((out / "results.json").read_text())
    assert results["cells"] == {
        "ours right, math-verify nothing": 1,
        "ours right, math-verify right": 2,
        "ours wrong, math-verify right": 1,
        "ours wrong, math-verify wrong": 1,
    }
    assert results["agreement"] == {"ours, math-verify": 3 / 4}
    assert results["given"] == {"compared": 4, "now_right": 1, "now_wrong": 2}
    assert results["by_hand"] is None and results["by_agreement"]["false_negative_rate_at_most"] == 1 / 3
    (differing,) = lines(out / "disagreements.jsonl")
    assert differing["reason"] == "restated" and differing["math_verify"] is True
    again = lines(out / "relabelled.jsonl")
    assert [row["is_correct"] for row in again] == [True, False, False, True, True]
    assert [row.get("is_correct_given") for row in again] == [True, True, True, False, None]
    assert [row["problem"] for row in again] == [row["problem"] for row in ROWS]
    page = (out / "audit.html").read_text()
    assert "3 + 4" in page and "<script" not in page and "http" not in page


def test_labels_by_hand_are_read_on_the_next_call_and_never_lost(audited):
    out = audited()
    sample = lines(out / "to_label.jsonl")
    assert len(sample) == len(ROWS) and sample[0]["cell"] == COPY and all(row["label"] is None for row in sample)
    right = {r"\boxed{3 + 4}": False, r"\boxed{4}": False}
    for row in sample:
        row["label"] = right.get(row["completion"], True)
    write_jsonl(out / "to_label.jsonl", sample)
    results = json.loads((audited() / "results.json").read_text())
    assert results["labelled"] == 5
    assert results["by_hand"]["false_negative_rate"] == results["by_hand"]["false_positive_rate"] == 0
    assert results["by_hand"]["accuracy"] == 3 / 5 and results["by_hand"]["accuracy_ci"] == [3 / 5, 3 / 5]
    out = audited(ROWS[:2])
    assert sum(row["label"] is not None for row in lines(out / "to_label.jsonl")) == 5


def test_what_lacks_labels_is_named(audited):
    out = audited()
    sample = lines(out / "to_label.jsonl")
    sample[0]["label"] = False
    write_jsonl(out / "to_label.jsonl", [*sample, {"id": "of another file", "label": True}])
    results = json.loads((audited() / "results.json").read_text())
    assert results["by_hand"] is None and (results["labelled"], results["labelled_elsewhere"]) == (1, 1)
    assert results["unlabelled_cells"] == sorted({row["cell"] for row in sample[1:]}) and len(sample) == 5
    kept = lines(out / "to_label.jsonl")
    assert kept[-1] == {"id": "of another file", "label": True} and len(kept) == 6
    # The row itself has changed: its label is of another answer, and is kept
    changed = [row | {"completion": row["completion"] + "!"} for row in ROWS]
    results = json.loads((audited(changed) / "results.json").read_text())
    assert (results["labelled"], results["labelled_elsewhere"]) == (0, 2)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda rows: rows[1].update(label="yes"), "line 2: `label` is 'yes'"),
        (lambda rows: rows[1].update(label=1), "line 2: `label` is 1"),
        (lambda rows: rows[2].update(label=True, id=None), "line 3: it has no `id`"),
        (lambda rows: rows.extend([rows[0] | {"label": True}, rows[0] | {"label": False}]), "line 7: the row"),
    ],
)
def test_a_label_that_is_none_is_refused(audited, glow_trl, tmp_path, spoil, says):
    out = audited()
    sample = lines(out / "to_label.jsonl")
    spoil(sample)
    write_jsonl(out / "to_label.jsonl", sample)
    before = (out / "to_label.jsonl").read_bytes()
    code, said = glow_trl("audit", tmp_path / "rows.jsonl", "--output_dir", out)
    assert code == 2 and says in said and (out / "to_label.jsonl").read_bytes() == before


def test_rows_that_are_alike_are_one_question_to_a_person_but_no_sample_by_themselves(audited):
    """Of 60 rows 40 are the same: a sample of 20 has others, too, and one label counts for all that are the same."""
    rows = [ROWS[0]] * 40 + [
        {"problem": f"{n}+1=?", "completion": f"\\boxed{{{n}}}", "answer": str(n)} for n in range(20)
    ]
    out = audited(rows, "--per_cell", 20)
    sample = lines(out / "to_label.jsonl")
    assert len({row["id"] for row in sample}) == len(sample) and 3 <= len(sample) <= 17
    for row in sample:
        row["label"] = row["completion"] == ROWS[0]["completion"]
    write_jsonl(out / "to_label.jsonl", sample)
    rates = json.loads((audited(rows, "--per_cell", 20) / "results.json").read_text())["by_hand"]
    assert rates["labels"] == 20 and rates["accuracy"] == (20 - len(sample) + 1) / 20


def test_what_is_written_is_an_input_of_the_other_stages(audited, glow_trl, tmp_path):
    """Rows whose gold answer is unusable have no label, as `label` would reject them."""
    rows = ROWS[:4] + [{"problem": "?", "completion": "5", "answer": gold, "is_correct": True} for gold in (":", "\\")]
    again = audited(rows) / "relabelled.jsonl"
    assert [row["is_correct"] for row in lines(again)] == [True, False, False, True, None, None]
    for stage, rejected in (("label", 2), ("mix", 2)):
        code, said = glow_trl(stage, "--dataset_name", again, "--output_dir", tmp_path / stage)
        assert code == 0 and len(lines(tmp_path / stage / "rejects.jsonl")) == rejected, said
    labelled = {row["problem"]: row["is_correct"] for row in lines(tmp_path / "label" / "trajectories.jsonl")}
    assert labelled == {row["problem"]: row["is_correct"] for row in lines(again)[:4]}


def test_the_page_shows_texts_as_they_are(audited):
    """Markup, characters that no file can hold, and missing parts are no more than text."""
    nasty = "<script>alert(1)</script> & \ud800 \x00 </pre>"
    row = {"problem": f"Compute $1 + 1$. {nasty}", "completion": f"{nasty} \\boxed{{1 + 1}}", "answer": "2"}
    page = (audited([row, {**row, "problem": None}]) / "audit.html").read_text()
    assert "<script" not in page and "&lt;script&gt;alert(1)&lt;/script&gt; &amp; ?" in page
    assert page.count("<article>") == 1 and page.count("</pre>") == 2


def test_rollouts_of_a_run_are_found_and_read(audited, glow_trl, tmp_path):
    """TRL's tables of completions, with the gold answers that the reward logs there, and evaluations' generations."""
    run = tmp_path / "run"
    (run / "grpo" / "completions").mkdir(parents=True)
    (run / "eval").mkdir()
    table = {
        "step": [1, 1],
        "prompt": ["Compute $3 + 4$.", "1+2=?"],
        "completion": [r"\boxed{3 + 4}", r"\boxed{3}"],
        "accuracy_reward": [1.0, 1.0],
        "accuracy/gold": ["7", "3"],
    }
    pq.write_table(pa.table(table), run / "grpo" / "completions" / "completions_00001.parquet")
    verdict = {"correct": False, "reason": "mismatch"}
    generation = {"problem": "1+1=?", "completion": "2", "answer": "2", "kind": "math", "verdict": verdict}
    write_jsonl(run / "eval" / "generations_small.jsonl", [generation])
    code, said = glow_trl("audit", run, "--output_dir", tmp_path / "out", "--workers", 1)
    assert code == 0, said
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["rows"] == 3 and results["given"] == {"compared": 3, "now_right": 1, "now_wrong": 1}
    # What `label` read and what it wrote are the same trajectories
    write_jsonl(run / "collect" / "trajectories-00000-of-00001.jsonl", [generation] * 2)
    write_jsonl(run / "label" / "trajectories.jsonl", [generation | {"is_correct": True}] * 2)
    assert glow_trl("audit", run, "--output_dir", run / "audit", "--workers", 1)[0] == 0
    results = json.loads((run / "audit" / "results.json").read_text())
    assert results["rows"] == 5 and results["given"] == {"compared": 5, "now_right": 1, "now_wrong": 1}
    before = results
    assert glow_trl("audit", run, "--output_dir", run / "audit", "--workers", 1)[0] == 0
    assert json.loads((run / "audit" / "results.json").read_text()) == before
    (tmp_path / "empty").mkdir()
    code, said = glow_trl("audit", tmp_path / "empty", "--output_dir", tmp_path / "out2")
    assert code == 2 and "no rollouts" in said


def test_each_pair_is_judged_once_by_math_verify_and_one_that_hangs_costs_no_other(monkeypatch):
    monkeypatch.setattr("glow_trl.analysis.auditing.other_judges._SECONDS", 2.5)
    pairs = [(r"$\boxed{\frac{1}{2}}$", "0.5"), (r"$\boxed{9^{9^{9^9}}}$", "3"), (r"$\boxed{3}$", "4")]
    verdicts = math_verify_all(pairs * 50, workers=1)
    assert list(verdicts) == pairs or set(verdicts) == set(pairs)
    assert verdicts[pairs[0]] is True and verdicts[pairs[2]] is False and not verdicts[pairs[1]]
    assert final_text("<think>x</think> so \\boxed{3}, I say") == r"$\boxed{3}$"


def test_rates_weigh_labels_by_what_they_stand_for():
    """By hand: of 90 accepted, of which 10 were labelled, and 10 rejected, all labelled."""
    strata = [
        Stratum(True, 80, [True] * 7 + [False]),
        Stratum(True, 10, [True, False]),
        Stratum(False, 10, [True] * 2 + [False] * 8),
    ]
    rates = error_rates(strata)
    right, wrong = 80 * 7 / 8 + 5 + 2, 80 / 8 + 5 + 8
    assert rates["false_negative_rate"] == pytest.approx(2 / right)
    assert rates["false_positive_rate"] == pytest.approx((80 / 8 + 5) / wrong)
    assert rates["accuracy"] == pytest.approx(right / 100)
    assert rates["labels"] == 20
    for name in ("false_negative_rate", "false_positive_rate", "accuracy"):
        low, high = rates[f"{name}_ci"]
        assert 0 <= low < rates[name] < high <= 1
    assert error_rates([*strata, Stratum(True, 3, [])]) is None and error_rates([]) is None
    assert error_rates([*strata, Stratum(True, 0, [])]) == rates


def test_intervals_hold_the_truth_as_often_as_they_say():
    """Populations with known answers, sampled again and again."""
    rng = random.Random(3)
    sizes = {"accepted": (900, 0.97), "doubtful": (60, 0.5), "rejected": (300, 0.08)}
    held = dict.fromkeys(("false_negative_rate", "false_positive_rate", "accuracy"), 0)
    rounds = 200
    for number in range(rounds):
        truth = {name: [rng.random() < share for _ in range(size)] for name, (size, share) in sizes.items()}
        strata = [
            Stratum(name == "accepted", len(labels), rng.sample(labels, min(40, len(labels))))
            for name, labels in truth.items()
        ]
        rates = error_rates(strata, seed=number)
        missed = sum(truth["doubtful"]) + sum(truth["rejected"])
        accepted = 900 - sum(truth["accepted"])
        right = missed + sum(truth["accepted"])
        true = {
            "false_negative_rate": missed / right,
            "false_positive_rate": accepted / (1260 - right),
            "accuracy": right / 1260,
        }
        for name, value in true.items():
            low, high = rates[f"{name}_ci"]
            held[name] += low <= value <= high
    assert all(np.abs(count / rounds - 0.95) < 0.05 for count in held.values()), held


class YesMan(Engine):
    """Says yes where the gold answer is even, in the middle of some talk; nothing of use about choices."""

    takes_messages = True
    asked: typing.ClassVar[list[str]] = []

    def close(self):
        pass

    def stream(self, prompts, sampling, skip=()):
        for index, prompt in enumerate(prompts):
            if index in skip:
                continue
            text = prompt[-1]["content"]
            self.asked.append(text)
            gold = re.search("Right answer: (.*)", text)[1]
            answer = f"<think>no?</think>{'Yes.' if gold in ('2', '4') else 'No.'}" if gold != "B" else "Hm."
            yield index, [Generation(answer, [1], 1, "stop")]


def test_a_model_judges_the_sample_and_its_answers_are_kept(audited, monkeypatch):
    monkeypatch.setattr(EngineConfig, "create_engine", lambda config, **_: YesMan())
    YesMan.asked.clear()
    model = ("--engine", "server", "--engine_options", "{base_url: http://localhost:1/v1}")
    model += ("--model_name_or_path", "some-model")
    out = audited(ROWS[:4], *model)
    results = json.loads((out / "results.json").read_text())
    assert len(YesMan.asked) == 4 and results["by_model"]["labels"] == 4
    assert results["agreement"] == {"ours, math-verify": 3 / 4, "ours, model": 3 / 4, "math-verify, model": 1 / 2}
    assert [row["answer"] for row in lines(out / "disagreements.jsonl")] == ["7", r"\frac12"]
    # Of the right answers 2 and 1/2 the model takes the second for wrong, which ours accepts
    assert results["by_model"]["false_positive_rate"] == 1 / 3
    assert results["by_model"]["false_negative_rate"] == 0
    assert json.loads((audited(ROWS, *model) / "results.json").read_text())["by_model"] is None
    assert len(YesMan.asked) == 5, "a row that was asked about is not asked about again"
    assert "label" in (out / "to_label.jsonl").read_text() and '"model": false' in (out / "to_label.jsonl").read_text()


def test_a_real_model_is_asked_and_what_it_said_is_read_again(audited, tiny_model):
    """One that has learned nothing says neither yes nor no. Each question is asked once, also where rows are alike."""
    model = ("--model_name_or_path", tiny_model, "--max_new_tokens", 4, "--batch_size", 2)
    out = audited([*ROWS, ROWS[0]], *model)
    (answers,) = out.glob("answers-*.jsonl")
    before = answers.read_bytes()
    assert len(lines(answers)) == len(ROWS) and all(set(row) == {"key", "text"} for row in lines(answers))
    results = json.loads((out / "results.json").read_text())
    assert results["by_model"] is None and list(results["agreement"]) == ["ours, math-verify"]
    assert audited([*ROWS, ROWS[0]], *model) and answers.read_bytes() == before


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("Yes.", True),
        ("**no**", False),
        ("<think>yes or no?</think>\nNo", False),
        ("Yes, there is no difference between them.", True),
        ("There is no difference between them: yes", True),
        ("I cannot know", None),
        ("", None),
    ],
)
def test_what_a_model_says_is_read(text, says):
    assert _yes_or_no(text) is says
