"""One paired comparison: `compare`, the report and an independent computation must say the same of two evaluations."""

import itertools
import json
import random
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from glow_trl.benchmarks import get_benchmark
from glow_trl.errors import UserError
from glow_trl.evaluation import EvalConfig, compare_runs, evaluate
from glow_trl.evaluation.questions import checked_questions
from glow_trl.generation import Engine, Generation
from glow_trl.report.entropy import entropy_section
from glow_trl.report.run_data import read_run_folder
from glow_trl.report.scores import ScoreBook


SIDES = ("sft", "grpo")


class ScriptedEngine(Engine):
    """Right or wrong by lot, one benchmark after another, with a chat template of its own; needs no model."""

    takes_messages = True

    def __init__(self, benchmarks: list[list[dict]], rate: float, seed: int):
        self.benchmarks, self.rate, self.random = iter(benchmarks), rate, random.Random(seed)

    def stream(self, prompts, sampling, skip=()):
        for index, question in enumerate(next(self.benchmarks)):
            golds = [
                question["answer"] if self.random.random() < self.rate else "Z" for _ in range(sampling.num_samples)
            ]
            yield index, [Generation(rf"\boxed{{{gold}}}", [], 3 + index % 5, "stop") for gold in golds]

    def close(self):
        pass


def write_rows(path: Path, rows) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def read_rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def exam(count: int, seed: int) -> list[dict]:
    """Questions with options; many share their text, and of these some their options."""
    rng = random.Random(seed)
    rows = []
    for number in range(count):
        options = ["red", "green", "blue", "black", "white"] if number % 4 else [f"{number} {name}" for name in "pqrs"]
        rows.append({"problem": f"Which one, {number % 7}?", "choices": options, "number": number})
        rows[-1]["answer"] = "ABCD"[rng.randrange(4)]
    return rows


def run_evaluation(folder: Path, benchmarks: list[dict], rate: float, samples: int) -> None:
    """An evaluation with scripted answers, and made-up entropies of most of them."""
    where = {"model_name_or_path": "m", "output_dir": str(folder), "benchmarks": benchmarks}
    config = EvalConfig(**where, num_samples=samples, entropy=False)
    questions = {benchmark.name: checked_questions(benchmark, config)[0] for benchmark in config.resolve()}
    results = evaluate(config, ScriptedEngine(list(questions.values()), rate, samples))
    rng = random.Random(samples)
    for name, its in questions.items():
        rows = [
            {"index": index, "sample": sample, "n_tokens": rng.randrange(1, 30), "entropy": rng.random()}
            for index in range(len(its))
            for sample in range(2)
            if rng.random() < 0.8
        ]
        write_rows(folder / f"entropy_{name}.jsonl", rows)
        results["benchmarks"][name]["entropy"] = 0.5
    (folder / "results.json").write_text(json.dumps(results))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run whose two evaluations shuffle options by other seeds, and leave out other questions."""
    folder = tmp_path_factory.mktemp("run")
    exams = {name: write_rows(folder / f"{name}.jsonl", exam(90, seed)) for seed, name in enumerate(("one", "two"))}
    seen = write_rows(folder / "seen.jsonl", [{"problem": "Which one, 3?"}])
    for side, rate, samples, settings in (
        ("sft", 0.45, 2, {"shuffle_choices": 1, "limit": 80}),
        ("grpo", 0.6, 3, {"shuffle_choices": 2, "exclude": seen}),
    ):
        entries = [{"name": name, "path": path, "kind": "choice", **settings} for name, path in exams.items()]
        run_evaluation(folder / "glow" / f"{side}_eval", entries, rate, samples)
        (folder / "glow" / side).mkdir()
        (folder / "glow" / side / "run.json").write_text(json.dumps({"stage": side}))
    return folder


def interval(values: np.ndarray) -> tuple[float, float]:
    """Wilson's score interval of a mean of shares, for the sample size that explains their variance."""
    n, mean = len(values), values.mean()
    spread, variance = mean * (1 - mean), values.var(ddof=1) / n
    size = n
    if variance > 0 and spread > 0:
        design = n * variance / spread
        size = n / max(design, min(1, design * (1 + 1.5 / (4 * spread * n))))
    z = stats.t.ppf(0.975, n - 1)
    center = (mean + z**2 / (2 * size)) / (1 + z**2 / size)
    half = z / (1 + z**2 / size) * np.sqrt(spread / size + z**2 / (4 * size**2))
    return max(0, center - half), min(1, center + half)


def by_hand(folder: Path, name: str) -> dict:
    """Everything from the files alone; `number` is the row of the exam, which no code under test reads."""
    tables, tokens = [], []
    for side in SIDES:
        scores, numbers = {}, {}
        for row in read_rows(folder / "glow" / f"{side}_eval" / f"generations_{name}.jsonl"):
            scores.setdefault(row["number"], []).append(row["verdict"]["correct"])
            numbers[row["index"]] = row["number"]
        sums = {}
        for row in read_rows(folder / "glow" / f"{side}_eval" / f"entropy_{name}.jsonl"):
            sums.setdefault(numbers[row["index"]], []).append((row["entropy"] * row["n_tokens"], row["n_tokens"]))
        tables.append({number: np.mean(verdicts) for number, verdicts in scores.items()})
        tokens.append({number: np.sum(pairs, axis=0) for number, pairs in sums.items()})
    common = sorted(tables[0].keys() & tables[1].keys())
    first, second = (np.array([table[number] for number in common]) for table in tables)
    change = second.mean() - first.mean()
    (low_1, high_1), (low_2, high_2) = interval(first), interval(second)
    below, above = second.mean() - low_2, first.mean() - low_1
    up, down = high_2 - second.mean(), high_1 - first.mean()
    r = np.corrcoef(first, second)[0, 1]
    low = change - np.sqrt(below**2 - 2 * r * below * down + down**2)
    high = change + np.sqrt(up**2 - 2 * r * up * above + above**2)
    # Every assignment of signs, in sixths: the two drew two and three samples of a question
    ways = {0: 1}
    for step in np.rint((second - first) * 6).astype(int).tolist():
        grown: dict[int, int] = {}
        for (total, count), sign in itertools.product(ways.items(), (1, -1)):
            grown[total + sign * step] = grown.get(total + sign * step, 0) + count
        ways = grown
    reached = sum(count for total, count in ways.items() if abs(total) >= abs(round(change * 6 * len(common))))
    measured = sorted(tokens[0].keys() & tokens[1].keys())
    pairs = [np.array([table[number] for number in measured]) for table in tokens]
    ratios = [pair[:, 0].sum() / pair[:, 1].sum() for pair in pairs]
    influence = [
        (pair[:, 0] / ratio - pair[:, 1]) / pair[:, 1].sum() for pair, ratio in zip(pairs, ratios, strict=True)
    ]
    error = np.sqrt(len(measured) * (influence[1] - influence[0]).var(ddof=1))
    half = stats.t.ppf(0.975, len(measured) - 1) * error
    entropy = np.exp(np.log(ratios[1] / ratios[0]) + np.array([0, -half, half])) - 1
    return {
        "n": len(common),
        "difference": change,
        "ci": [low, high],
        "p_value": reached / sum(ways.values()),
        "entropy": entropy.tolist(),
        "entropy_n": len(measured),
    }


def test_compare_the_report_and_an_independent_computation_agree(folder):
    evaluations = [folder / "glow" / f"{side}_eval" for side in SIDES]
    found = compare_runs(*evaluations)
    data = read_run_folder(folder)
    book, columns = ScoreBook(data), [("glow", side) for side in SIDES]
    section = entropy_section(data, book)
    differences = []
    for name in ("one", "two"):
        entry, expected, reported = found["benchmarks"][name], by_hand(folder, name), book.compare(name, *columns)
        assert entry["n"] == entry["pass@1"]["n"] == reported.questions == expected["n"] == 69
        assert (entry["only_first"], entry["only_second"]) == (11, 8)
        accuracy = entry["pass@1"]
        differences.append(expected["difference"])
        assert accuracy["difference"] == reported.difference == pytest.approx(expected["difference"])
        assert accuracy["ci"] == [reported.low, reported.high] == pytest.approx(expected["ci"])
        assert accuracy["p_value"] == reported.p == pytest.approx(expected["p_value"], rel=1e-9)
        changes = next(row["changes"] for row in section["rows"] if row["name"] == name)
        assert changes == [entry["entropy"]] and entry["entropy"]["n"] == expected["entropy_n"]
        change = [entry["entropy"]["relative_change"], *entry["entropy"]["ci"]]
        assert change == pytest.approx(expected["entropy"])
    mean, reported = found["domains"]["in"]["pass@1"], book.compare_mean(["one", "two"], *columns)
    assert [mean["difference"], mean["ci"], mean["p_value"], mean["n"]] == [
        *(reported.difference, [reported.low, reported.high], reported.p, reported.questions)
    ]
    assert mean["difference"] == pytest.approx(
        np.mean([by_hand(folder, name)["difference"] for name in ("one", "two")])
    )


@pytest.mark.parametrize("known", ["sample_id", "index", "text"])
def test_all_of_bbh_is_compared(tmp_path, known):
    """Its questions repeat their texts; options are shuffled here, and the questions numbered anew where their texts
    must do. Files without `sample_id` are those of other data."""
    benchmark = get_benchmark("bbh")
    if not Path(benchmark.source().path).is_file():
        pytest.skip("the data are not on this machine")
    rng = random.Random(0)
    config = EvalConfig(model_name_or_path="m", output_dir=str(tmp_path))
    for side in SIDES:
        rows = checked_questions(benchmark, config)[0]
        start = 7 if (known, side) == ("text", "grpo") else 0
        for index, row in enumerate(rows, start):
            if row["kind"] == "choice":
                gold = row["choices"]["ABCDEFGHIJKLMNOPQRSTUVWXYZ".index(row["answer"])]
                rng.shuffle(row["choices"])
                if row["choices"].count(gold) == 1:
                    row["answer"] = chr(ord("A") + row["choices"].index(gold))
            row |= {"index": index, "sample": 0, "n_tokens": 1, "finish_reason": "stop"}
            row["verdict"] = {"correct": rng.random() < 0.5, "reason": "match"}
            if known != "sample_id":
                del row["sample_id"]
        evaluation = tmp_path / "glow" / f"{side}_eval"
        write_rows(evaluation / "generations_bbh.jsonl", rows)
        evaluation.joinpath("results.json").write_text(json.dumps({"benchmarks": {"bbh": {"domain": "out"}}}))
        write_rows(tmp_path / "glow" / side / "log.jsonl", [])
    entry = compare_runs(*(tmp_path / "glow" / f"{side}_eval" for side in SIDES))["benchmarks"]["bbh"]
    reported = ScoreBook(read_run_folder(tmp_path)).compare("bbh", ("glow", "sft"), ("glow", "grpo"))
    assert entry["n"] == reported.questions == 2700
    assert reported.p == entry["pass@1"]["p_value"]


def known_run(folder: Path, rows: list[dict], version=None) -> Path:
    """An evaluation of one question after another, each with one right sample."""
    verdict = {"correct": True, "reason": "match", "extracted": "1"}
    rest = {"sample": 0, "n_tokens": 3, "finish_reason": "stop", "verdict": verdict}
    write_rows(folder / "generations_x.jsonl", [{"index": index} | row | rest for index, row in enumerate(rows)])
    results = {"benchmarks": {"x": {"domain": "in"} | ({} if version is None else {"version": version})}}
    (folder / "results.json").write_text(json.dumps(results))
    return folder


def test_shuffled_options_have_the_gold_answer_of_their_text(tmp_path):
    """A letter may differ; another option under it is another gold answer."""
    question = {"problem": "Which?", "kind": "choice", "choices": ["red", "blue", "green"], "answer": "B"}
    first = known_run(tmp_path / "first", [question])
    second = known_run(tmp_path / "second", [question | {"choices": ["blue", "green", "red"], "answer": "A"}])
    assert compare_runs(first, second)["benchmarks"]["x"]["n"] == 1
    wrong = known_run(tmp_path / "wrong", [question | {"choices": ["blue", "green", "red"], "answer": "B"}])
    with pytest.raises(UserError, match="gold answer to 'Which\\?' is 'blue' in .* and 'green' in"):
        compare_runs(first, wrong)


def test_equal_questions_are_told_apart_by_their_place_in_the_benchmark(tmp_path):
    """One of two equal questions, whose gold answer was unusable, is left out of the second evaluation."""
    rows = [{"problem": "Say it", "answer": gold, "sample_id": f"x:{gold}"} for gold in ("1", "2")]
    first = known_run(tmp_path / "first", rows)
    entry = compare_runs(first, known_run(tmp_path / "second", rows[1:]))["benchmarks"]["x"]
    assert (entry["n"], entry["only_first"], entry["only_second"]) == (1, 1, 0)


def test_other_data_are_paired_by_text_whatever_their_ids(tmp_path):
    """Half of a benchmark and all of it share ids; these name other questions."""
    rows = [{"problem": f"{number // 2}?", "answer": "1"} for number in range(12)]
    whole = known_run(tmp_path / "whole", [row | {"sample_id": f"x:{number}"} for number, row in enumerate(rows)])
    half = known_run(tmp_path / "half", [row | {"sample_id": f"x:{number}"} for number, row in enumerate(rows[6:])])
    entry = compare_runs(whole, half)["benchmarks"]["x"]
    assert (entry["n"], entry["only_first"], entry["only_second"]) == (6, 6, 0)


def test_versions_of_a_benchmark_are_not_mixed(tmp_path):
    rows = [{"problem": "1+1", "answer": "2"}]
    old, new, unknown = (known_run(tmp_path / str(version), rows, version) for version in (1, 1.1, None))
    with pytest.raises(UserError, match="the version of benchmark 'x' is 1 in the one and 1.1 in the other") as error:
        compare_runs(old, new)
    assert "\n" not in str(error.value)
    assert compare_runs(old, unknown)["benchmarks"]["x"]["n"] == 1
    assert compare_runs(new, new)["benchmarks"]["x"]["version"] == 1.1
