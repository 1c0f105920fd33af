"""Labels: they agree with those of real data, and no row is lost."""

import json

from glow_trl.data import read_jsonl, write_jsonl


def test_every_row_is_accounted_for(glow_trl, tmp_path):
    rows = [
        {"problem": "1+1?", "completion": "so \\boxed{2}", "gold": "2", "is_correct": True, "extra": [1]},
        {"problem": "1+1?", "completion": "so \\boxed{3}", "gold": "2", "is_correct": True},
        {"problem": "pick", "completion": "The answer is (B).", "gold": "B", "kind": "choice"},
        {"problem": "empty gold", "completion": "\\boxed{3}", "gold": " "},
        {"problem": "says nothing", "completion": "", "gold": "2"},
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
    assert (reject["problem"], reject["reason"]) == ("empty gold", "bad_gold")
    (disagreement,) = [row for _, row in read_jsonl(tmp_path / "out" / "disagreements.jsonl")]
    assert (disagreement["is_correct_given"], disagreement["is_correct"]) == (True, False)
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert (run["rows"], run["positive"], run["negative"], run["rejected"]) == (5, 2, 2, 1)
    assert (run["compared"], run["disagreements"]) == (2, 1)


def test_when_no_row_can_be_judged_it_is_said(glow_trl, tmp_path):
    write_jsonl(tmp_path / "rows.jsonl", [{"problem": "a", "completion": "b", "answer": " "}])
    code, error = glow_trl("label", "--dataset_name", tmp_path / "rows.jsonl", "--output_dir", tmp_path / "out")
    assert code == 2 and "1 of 1 gold answers" in error


def test_labels_agree_with_those_of_real_gsm8k_solutions(glow_trl, shared_data, tmp_path):
    options = ["--dataset_name", shared_data / "traj_gsm8k_openai.jsonl", "--columns", '{"answer": "gold"}']
    assert glow_trl("label", *options, "--output_dir", tmp_path / "out")[0] == 0
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert run["compared"] == 4600 and run["agreement"] >= 0.99
    listed = sum(1 for _ in read_jsonl(tmp_path / "out" / "disagreements.jsonl"))
    assert listed == run["disagreements"]
