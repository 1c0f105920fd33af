"""Labels: they agree with those of real data, and no row is lost."""

import json
import subprocess
import sys

import psutil
import pytest

from glow_trl.data import read_jsonl, write_jsonl
from helpers.processes import LIMIT, wait_until


def test_every_row_is_accounted_for(glow_trl, tmp_path):
    rows = [
        {"problem": "1+1?", "completion": "so \\boxed{2}", "gold": "2", "is_correct": True, "extra": [1]},
        {"problem": "1+1?", "completion": "so \\boxed{3}", "gold": "2", "is_correct": True},
        {"problem": "pick", "completion": "The answer is (B).", "gold": "B", "kind": "choice"},
        {"problem": "no gold to speak of", "completion": "\\boxed{3}", "gold": "none", "kind": "number"},
        {"problem": "says nothing", "completion": "I do not know.", "gold": "2"},
    ]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    options = ["--dataset_name", tmp_path / "rows.jsonl", "--columns", '{"answer": "gold"}']
    code, error = glow_trl("label", *options, "--output_dir", tmp_path / "out")
    assert code == 0 and "2 positive, 2 negative, 1 could not be judged" in error
    labelled = [row for _, row in read_jsonl(tmp_path / "out" / "trajectories.jsonl")]
    assert [(row["is_correct"], row["reason"]) for row in labelled] == [
        (True, "match"),
        (False, "mismatch"),
        (True, "match"),
        (False, "no_answer"),
    ]
    assert labelled[0]["extra"] == [1] and labelled[0]["extracted"] == "2" and labelled[0]["answer"] == "2"
    (reject,) = [row for _, row in read_jsonl(tmp_path / "out" / "rejects.jsonl")]
    assert (reject["row"]["problem"], reject["reason"], reject["line"]) == ("no gold to speak of", "bad_gold", 4)
    (disagreement,) = [row for _, row in read_jsonl(tmp_path / "out" / "disagreements.jsonl")]
    assert (disagreement["is_correct_given"], disagreement["is_correct"]) == (True, False)
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert (run["rows"], run["positive"], run["negative"], run["rejected"]) == (5, 2, 2, 1)
    assert (run["compared"], run["disagreements"]) == (2, 1)


def test_when_no_row_can_be_judged_it_is_said(glow_trl, tmp_path):
    """And the rejects are kept."""
    write_jsonl(tmp_path / "rows.jsonl", [{"problem": "a", "completion": "b", "answer": "none", "kind": "number"}])
    code, error = glow_trl("label", "--dataset_name", tmp_path / "rows.jsonl", "--output_dir", tmp_path / "out")
    assert code == 2 and "none of the 1 trajectories could be judged (1 bad_gold)" in error
    assert len(list(read_jsonl(tmp_path / "out" / "rejects.jsonl"))) == 1
    assert not (tmp_path / "out" / "trajectories.jsonl").exists()


def test_bad_rows_are_counted_named_and_put_aside(glow_trl, tmp_path):
    good = {"problem": "1+1?", "completion": "\\boxed{2}", "answer": "2"}
    lines = [
        json.dumps(good),
        '{"problem": "torn", "comp',
        json.dumps({"problem": "1+1?", "completion": "\\boxed{2}"}),
        json.dumps(good | {"completion": ""}),
        json.dumps(good | {"completion": 7}),
        "[1, 2]",
        json.dumps(good | {"kind": "mathe"}),
        json.dumps(good | {"tolerance": -1}),
        json.dumps(good | {"choices": "A"}),
        json.dumps(good | {"answer": ["2"]}),
        json.dumps(good | {"completion": "\\boxed{3}"}),
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines) + "\n")
    code, said = glow_trl("label", "--dataset_name", tmp_path / "rows.jsonl", "--output_dir", tmp_path / "out")
    assert code == 0 and "1 positive, 1 negative, 9 could not be judged" in said
    rejects = [row for _, row in read_jsonl(tmp_path / "out" / "rejects.jsonl")]
    assert sorted(row["line"] for row in rejects) == list(range(2, 11))
    assert all(
        row["reason"] and row["file"].endswith("rows.jsonl") and ("row" in row or "text" in row) for row in rejects
    )
    assert {row["line"]: row["reason"] for row in rejects}[4] == "column 'completion' is empty"
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert (run["rows"], run["rejected"]) == (11, 9) and sum(run["reject_reasons"].values()) == 9


def test_pass_rates_are_those_of_each_question(glow_trl, tmp_path):
    """Questions of one text with other options or answers are other questions; rejects do not count."""
    rows = [
        {"problem": f"q{number % 5}", "completion": f"\\boxed{{{number % 3}}}", "answer": str(number % 2)}
        for number in range(200)
    ]
    rows += [
        {"problem": "pick", "completion": "(A)", "answer": "A", "kind": "choice", "choices": ["x", y]} for y in "yz"
    ]
    rows.append({"problem": "pick", "completion": "(A)", "answer": "none", "kind": "number"})
    write_jsonl(tmp_path / "rows.jsonl", rows)
    assert glow_trl("label", "--dataset_name", tmp_path / "rows.jsonl", "--output_dir", tmp_path / "out")[0] == 0
    expected = {}
    for row in rows[:200]:
        counts = expected.setdefault((row["problem"], row["answer"]), [0, 0])
        counts[0] += 1
        counts[1] += row["completion"] == f"\\boxed{{{row['answer']}}}"
    found = [row for _, row in read_jsonl(tmp_path / "out" / "pass_rates.jsonl")]
    assert {(row["problem"], row["answer"]): [row["n"], row["n_correct"]] for row in found[:-2]} == expected
    assert all(row["pass_rate"] == row["n_correct"] / row["n"] for row in found)
    assert [row["choices"] for row in found[-2:]] == [["x", "y"], ["x", "z"]]
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert run["questions"] == 12 and run["always_solved"] == 2
    assert run["pass_rate"] == pytest.approx(sum(row["pass_rate"] for row in found) / 12)


def test_several_processes_find_what_one_finds_in_the_same_order(glow_trl, shared_data, tmp_path):
    options = ["--dataset_name", shared_data / "traj_math100_qwen_n8.jsonl", shared_data / "traj_gsm8k_openai.jsonl"]
    options += ["--columns", '{"answer": "gold"}', "--limit", 3000]
    for workers in (1, 3):
        assert glow_trl("label", *options, "--output_dir", tmp_path / str(workers), "--workers", workers)[0] == 0
    for name in ("trajectories.jsonl", "pass_rates.jsonl", "rejects.jsonl", "disagreements.jsonl"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "3" / name).read_bytes()


def test_repeated_ids_become_unique(glow_trl, tmp_path):
    """What trains on the rows refers to them by these ids."""
    row = {"problem": "1+1?", "completion": "\\boxed{2}", "answer": "2", "sample_id": "same"}
    write_jsonl(tmp_path / "rows.jsonl", [row] * 3 + [row | {"sample_id": "other"}])
    assert glow_trl("label", "--dataset_name", tmp_path / "rows.jsonl", "--output_dir", tmp_path / "out")[0] == 0
    ids = [row["sample_id"] for _, row in read_jsonl(tmp_path / "out" / "trajectories.jsonl")]
    assert ids == ["same", "same#2", "same#3", "other"]
    assert json.loads((tmp_path / "out" / "run.json").read_text())["repeated_ids"] == 2


def test_a_kind_of_ones_own_is_judged_whatever_the_number_of_rows(glow_trl, tmp_path):
    """Also beyond the rows after which other processes help: these do not know it."""
    from glow_trl.verifiers import register_kind
    from glow_trl.verifiers.kinds.registry import KINDS

    register_kind("palindrome", lambda prediction, gold, options: prediction == prediction[::-1])
    try:
        rows = [{"problem": "p", "completion": text, "answer": "x"} for text in ("abba", "abca")] * 1500
        write_jsonl(tmp_path / "rows.jsonl", rows)
        options = ["--dataset_name", tmp_path / "rows.jsonl", "--kind", "palindrome", "--workers", 2]
        code, said = glow_trl("label", *options, "--output_dir", tmp_path / "out")
        assert code == 0 and "1,500 positive" in said
    finally:
        KINDS._judges.pop("palindrome")


def test_a_script_of_any_form_may_label(shared_data, tmp_path):
    """One without `if __name__ == "__main__"`, which processes that import their parent's script do not survive."""
    argv = [
        "label",
        "--dataset_name",
        str(shared_data / "traj_gsm8k_openai.jsonl"),
        "--limit",
        "1500",
        "--workers",
        "2",
    ]
    argv += ["--columns", '{"answer": "gold"}', "--output_dir", str(tmp_path / "out")]
    (tmp_path / "script.py").write_text(f"from glow_trl.cli import main\nraise SystemExit(main({argv!r}))\n")
    subprocess.run([sys.executable, str(tmp_path / "script.py")], check=True, capture_output=True)
    assert sum(1 for _ in read_jsonl(tmp_path / "out" / "trajectories.jsonl")) == 1500


@pytest.mark.slow
def test_judges_end_with_a_process_that_is_killed(shared_data, tmp_path):
    """Children do not live on when their parent is killed."""
    command = [sys.executable, "-m", "glow_trl", "label", "--workers", "2", "--columns", '{"answer": "gold"}']
    command += ["--dataset_name", *[str(shared_data / "traj_gsm8k_openai.jsonl")] * 5]
    process = psutil.Popen([*command, "--output_dir", str(tmp_path / "out")])
    try:
        wait_until(lambda: len(process.children(recursive=True)) >= 3, process)
        children = process.children(recursive=True)
    finally:
        process.kill()
    process.wait()
    _, alive = psutil.wait_procs(children, timeout=LIMIT)
    assert not alive


def test_labels_agree_with_those_of_real_gsm8k_solutions(glow_trl, shared_data, tmp_path):
    options = ["--dataset_name", shared_data / "traj_gsm8k_openai.jsonl", "--columns", '{"answer": "gold"}']
    assert glow_trl("label", *options, "--output_dir", tmp_path / "out")[0] == 0
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert run["compared"] == 4600 and run["agreement"] >= 0.99
    listed = sum(1 for _ in read_jsonl(tmp_path / "out" / "disagreements.jsonl"))
    assert listed == run["disagreements"]
