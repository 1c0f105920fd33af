"""Two evaluations compared: what is paired, what is refused, and the numbers of known runs."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from glow_trl.errors import UserError
from glow_trl.evaluation import compare_runs, grouped_mean
from glow_trl.evaluation.metrics import benchmark_metrics, domain_averages, entropy_summary, subject_metrics


SAMPLING = {"num_samples": 2, "temperature": 0.6, "top_p": 0.95, "max_new_tokens": 64, "seed": 1}


def rows_of(scores: dict[str, list[bool]], length: int = 10) -> list[dict]:
    """Generation rows of questions named by their text."""
    return [
        {
            **{"problem": problem, "answer": "1", "index": index, "sample": sample, "n_tokens": length + sample},
            **{"finish_reason": "stop", "kind": "math"},
            "verdict": {"correct": right, "reason": "match" if right else "mismatch", "extracted": "1"},
        }
        for index, (problem, outcomes) in enumerate(scores.items())
        for sample, right in enumerate(outcomes)
    ]


def write_run(folder: Path, benchmarks: dict[str, list[dict]], groups=None, entropies=None, **sampling) -> str:
    folder.mkdir()
    groups = groups or {}
    results = {
        "sampling": SAMPLING | sampling,
        "benchmarks": {
            name: {"domain": "in" if groups.get(name, "math") == "math" else "out", "group": groups.get(name, "math")}
            for name in benchmarks
        },
    }
    (folder / "results.json").write_text(json.dumps(results))
    for name, rows in benchmarks.items():
        (folder / f"generations_{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name, rows in (entropies or {}).items():
        (folder / f"entropy_{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(folder)


def test_known_runs_are_paired_by_question_whatever_their_order(tmp_path):
    one = {f"q{number}": [number % 3 == 0] * 2 for number in range(20)}
    two = {f"q{number}": [number % 3 == 0 or number < 12] * 2 for number in reversed(range(2, 22))}
    entropies = [
        [{"index": number, "sample": 0, "n_tokens": 4, "entropy": value * (1 + number % 2)} for number in range(20)]
        for value in (1.0, 1.5)
    ]
    first = write_run(tmp_path / "a", {"x": rows_of(one)}, entropies={"x": entropies[0]})
    second = write_run(tmp_path / "b", {"x": rows_of(two, length=20)}, entropies={"x": entropies[1]}, seed=9)
    found = compare_runs(first, second)
    entry = found["benchmarks"]["x"]
    assert (entry["n"], entry["only_first"], entry["only_second"]) == (18, 2, 2)
    common = [f"q{number}" for number in range(2, 20)]
    before, after = (sum(run[name][0] for name in common) / 18 for run in (one, two))
    accuracy = entry["pass@1"]
    assert (accuracy["first"], accuracy["second"]) == pytest.approx((before, after))
    changed = sum(one[name] != two[name] for name in common)  # all of them for the better
    assert accuracy["p_value"] == accuracy["p_adjusted"] == pytest.approx(2 / 2**changed)
    assert 0 < accuracy["ci"][0] < accuracy["difference"] < accuracy["ci"][1]
    assert entry["response_length"]["difference"] == pytest.approx(10)
    # Question number i of the first run has index i, of the second 21 - i
    assert entry["entropy"]["n"] == 18
    sums = [
        sum(value * (1 + index % 2) for index in indices)
        for value, indices in ((1.0, range(2, 20)), (1.5, range(2, 20)))
    ]
    assert entry["entropy"]["relative_change"] == pytest.approx(sums[1] / sums[0] - 1)
    assert entry["entropy"]["ci"][0] < 0.5 < entry["entropy"]["ci"][1]


def test_a_run_compared_with_itself_does_not_differ(tmp_path):
    run = write_run(tmp_path / "a", {"x": rows_of({f"q{number}": [True, number % 2 == 0] for number in range(9)})})
    entry = compare_runs(run, run)["benchmarks"]["x"]
    for name in ("pass@1", "pass@2", "response_length", "truncated", "no_answer"):
        assert entry[name]["difference"] == 0 and entry[name]["p_value"] == 1
    assert entry["entropy"] is None


def test_domains_are_means_over_their_benchmarks_and_others_are_named(tmp_path):
    right = {f"q{number}": [True] for number in range(8)}
    wrong = {name: [False] for name in right}
    groups = {"x": "math", "y": "math", "z": "general"}
    first = write_run(tmp_path / "a", {"x": rows_of(right), "y": rows_of(wrong), "z": rows_of(wrong)}, groups)
    second = write_run(tmp_path / "b", {"x": rows_of(right), "y": rows_of(right), "w": rows_of(right)}, groups)
    found = compare_runs(first, second)
    assert found["left_out"] == ["w", "z"]
    assert found["domains"]["math"]["benchmarks"] == ["x", "y"]
    assert found["domains"]["math"]["pass@1"]["difference"] == pytest.approx(0.5)
    assert found["domains"]["in"] == found["domains"]["math"]
    p_values = [found["benchmarks"][name]["pass@1"] for name in ("x", "y")]
    assert [entry["p_value"] for entry in p_values] == [1.0, 2 / 2**8]
    assert [entry["p_adjusted"] for entry in p_values] == [1.0, 4 / 2**8]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"temperature": 1.0}, "temperature is 0.6 in the one and 1.0"),
        ({"max_new_tokens": 32}, "max_new_tokens is 64"),
        ({"benchmarks": {"y": rows_of({"q": [True]})}}, "no benchmark in common"),
        ({"benchmarks": {"x": rows_of({"other": [True]})}}, "no question in common"),
        (
            {"benchmarks": {"x": [{**row, "answer": "2"} for row in rows_of({"q": [True]})]}},
            "gold answer to 'q' is '1'",
        ),
    ],
)
def test_runs_that_cannot_be_compared_are_refused(tmp_path, change, message):
    benchmarks = change.pop("benchmarks", {"x": rows_of({"q": [True]})})
    first = write_run(tmp_path / "a", {"x": rows_of({"q": [True]})})
    second = write_run(tmp_path / "b", benchmarks, **change)
    with pytest.raises(UserError, match=message):
        compare_runs(first, second)
    with pytest.raises(UserError, match="no finished evaluation"):
        compare_runs(first, tmp_path / "nowhere")


def test_the_command_prints_a_table_and_writes_everything(tmp_path):
    first = write_run(tmp_path / "a", {"x": rows_of({f"q{number}": [number < 3] for number in range(9)})})
    second = write_run(tmp_path / "b", {"x": rows_of({f"q{number}": [number < 6] for number in range(9)})})
    command = [sys.executable, "-m", "glow_trl", "compare", first]
    done = subprocess.run(
        [*command, second, "--output", str(tmp_path / "c.json")],
        capture_output=True,
        text=True,
        env={"COLUMNS": "200", "PATH": ""},
    )
    assert done.returncode == 0, done.stderr
    assert "x (in)" in done.stdout and "+33.3" in done.stdout
    assert json.loads((tmp_path / "c.json").read_text()) == compare_runs(first, second)
    wrong = subprocess.run([*command, str(tmp_path / "no")], capture_output=True, text=True)
    assert wrong.returncode == 2 and wrong.stderr.count("\n") == 1 and "no finished evaluation" in wrong.stderr


def test_metrics_of_known_rows():
    """Lengths of correct and incorrect completions, medians and shares, each with an interval around it."""
    rows = rows_of({f"q{number}": [number % 4 == 0, False] for number in range(40)})
    for row in rows:
        row["n_tokens"] = 30 if row["verdict"]["correct"] else 10 + row["index"]
        row["finish_reason"] = "length" if row["index"] < 10 else "stop"
    metrics = benchmark_metrics(rows, [1, 2])
    lengths = [row["n_tokens"] for row in rows]
    assert metrics["response_length"] == pytest.approx(sum(lengths) / 80)
    assert metrics["response_length_correct"] == metrics["response_length_correct_median"] == 30
    assert metrics["response_length_median"] == sorted(lengths)[39] / 2 + sorted(lengths)[40] / 2
    assert metrics["truncated"] == pytest.approx(0.25) and metrics["no_answer"] == 0
    expected = grouped_mean(
        [row["finish_reason"] == "length" for row in rows], [row["index"] for row in rows], bounds=(0, 1)
    )
    assert metrics["truncated_ci"] == [expected.low, expected.high]
    for name in ("pass@1", "pass@2", "response_length", "response_length_median", "response_length_incorrect"):
        low, high = metrics[f"{name}_ci"]
        assert low < metrics[name] < high


def test_median_intervals_hold_the_truth():
    import numpy as np

    from glow_trl.statistics.estimates import grouped_median

    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(60), 4)
    held = 0
    for _ in range(800):
        values = np.exp(np.repeat(rng.normal(0, 1, 60), 4) + rng.normal(0, 0.5, 240))
        estimate = grouped_median(values, groups.tolist())
        held += estimate.low <= 1 <= estimate.high
    assert 0.93 <= held / 800 <= 0.975


def test_subjects_groups_and_domains():
    rows = rows_of({f"q{number}": [number < 6, number < 6] for number in range(12)})
    for row in rows:
        row["subject"] = "abc"[row["index"] % 3]
    found = subject_metrics(rows, {"early": ["a", "b"], "none": ["z"]})
    assert found["subjects"]["a"]["n"] == 4 and found["subjects"]["a"]["pass@1"] == 0.5
    assert list(found["subject_groups"]) == ["early"] and found["subject_groups"]["early"]["n"] == 8
    benchmarks = {
        name: {"domain": domain, "group": group, **benchmark_metrics(rows_of({"q": [right], "r": [right]}), [1])}
        for name, domain, group, right in (
            ("x", "in", "math", True),
            ("y", "out", "general", False),
            ("z", "out", "other", True),
        )
    }
    averages = domain_averages(benchmarks)
    assert averages["out"]["pass@1"] == 0.5 and averages["out"]["benchmarks"] == ["y", "z"]
    assert averages["math"]["pass@1"] == 1.0 and averages["math"]["pass@1_ci"] == pytest.approx(
        benchmarks["x"]["pass@1_ci"]
    )
    assert averages["out"]["n"] == 4 and averages["out"]["response_length"] == 10


def test_entropy_is_weighted_by_token_and_its_interval_by_question():
    rows = [
        {"index": number // 2, "sample": number % 2, "n_tokens": 1 + number, "entropy": 1.0 + number % 3}
        for number in range(20)
    ]
    found = entropy_summary(rows, 64)
    tokens = sum(row["n_tokens"] for row in rows)
    assert found["entropy"] == pytest.approx(sum(row["entropy"] * row["n_tokens"] for row in rows) / tokens)
    assert found["entropy_protocol"]["questions"] == 10 and found["entropy_protocol"]["tokens"] == tokens
    values = [row["entropy"] for row in rows for _ in range(row["n_tokens"])]
    owners = [row["index"] for row in rows for _ in range(row["n_tokens"])]
    expected = grouped_mean(values, owners)
    assert found["entropy_ci"] == pytest.approx([expected.low, expected.high])
    assert entropy_summary([], 64) == {} and not math.isnan(found["entropy"])


def test_the_command_prints_whole_names_and_numbers_into_a_pipe_of_any_encoding(tmp_path):
    """Every line within 80 columns, where a pipe gets no more and the encoding has neither dashes nor rules."""
    names = [f"more_distractors_of_kind_{number}" for number in range(3)]
    folders = []
    for folder, share in (("a", 3), ("b", 2)):
        rows = rows_of({f"q{number}": [number % share == 0] * 2 for number in range(1200)}, length=1000)
        entropies = [
            {"index": number, "sample": 0, "n_tokens": 4, "entropy": share + number % 2} for number in range(40)
        ]
        folders.append(
            write_run(tmp_path / folder, dict.fromkeys(names, rows), entropies=dict.fromkeys(names, entropies))
        )
    terminal = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "LC_ALL": "C", "TERM": "dumb"}
    output = tmp_path / "found.json"
    result = subprocess.run(
        [sys.executable, "-m", "glow_trl", "compare", *folders, "--output", str(output)],
        capture_output=True,
        env={key: value for key, value in os.environ.items() if key != "COLUMNS"} | terminal,
    )
    assert result.returncode == 0, result.stderr
    lines = result.stdout.decode("ascii").splitlines()
    assert max(map(len, lines[:-1])) <= 80 and lines[-1] == f"results: {output}"
    found = json.loads(output.read_text())["benchmarks"]
    words = [word for line in lines for word in line.split()]
    for name in names:
        accuracy, entropy = found[name]["pass@1"], found[name]["entropy"]
        assert f"{name} (in)" in "\n".join(lines)
        assert {"1,200", "33.3", "50.0", f"{100 * accuracy['difference']:+.1f}"} <= set(words)
        ends = [f"{100 * end:+.1f}" for end in (*accuracy["ci"], *entropy["ci"])]
        text = "\n".join(lines)
        assert f"{ends[0]} to {ends[1]}" in text and f"{ends[2]} to {ends[3]}" in text
