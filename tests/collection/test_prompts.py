"""The questions for stage 2: those worth asking, in the order asked for, readable by stage 2."""

import json
import random
from collections import defaultdict

import numpy as np
import pytest

from glow_trl.cli import main as cli
from glow_trl.collection.mix import MixConfig
from glow_trl.data import read_jsonl, write_jsonl
from glow_trl.errors import UserError


def read(path):
    return [row for _, row in read_jsonl(path)]


def sums(count=60):
    """Questions with 1 to 4 rows, solved never, sometimes or always; every third with options."""
    rng = random.Random(2)
    rows = []
    for number in range(count):
        labels = [rng.random() < rng.choice([0.0, 0.5, 1.0]) for _ in range(rng.randrange(1, 5))]
        for sample, label in enumerate(labels):
            answer = number + 1 if label else number + 2 + sample
            row = {
                "problem": f"{number}+1=?",
                "completion": f"{number}+1={answer}; \\boxed{{{answer}}}",
                "answer": str(number + 1),
                "is_correct": label,
                "source": "sums",
            }
            if number % 3 == 0:
                row |= {"choices": [str(number + 1), "x"], "answer": "A", "kind": "choice"}
            rows.append(row)
    return rows


def rates(rows):
    labels = defaultdict(list)
    for row in rows:
        labels[row["problem"]].append(row["is_correct"])
    return {problem: (len(each), sum(each)) for problem, each in labels.items()}


def mix(tmp_path, name="out", **settings):
    settings = {"dataset_name": str(tmp_path / "rows.jsonl"), "output_dir": str(tmp_path / name)} | settings
    (tmp_path / "mix.yaml").write_text(json.dumps(settings))
    assert cli(["mix", "--config", str(tmp_path / "mix.yaml")]) == 0
    return tmp_path / name


def test_questions_that_are_always_or_never_solved_are_left_out(tmp_path):
    rows = sums()
    write_jsonl(tmp_path / "rows.jsonl", rows)
    expected = {problem: rate for problem, rate in rates(rows).items() if 0 < rate[1] < rate[0]}
    prompts = read(mix(tmp_path, validation_split=0) / "prompts.jsonl")
    assert {row["problem"]: (row["n"], row["n_correct"]) for row in prompts} == expected and len(prompts) > 10
    assert all(row["pass_rate"] == row["n_correct"] / row["n"] for row in prompts)
    assert all(("choices" in row) == (row.get("kind") == "choice") for row in prompts)

    everything = mix(tmp_path, "all", validation_split=0, prompts_never_solved="keep", prompts_always_solved="keep")
    assert len(read(everything / "prompts.jsonl")) == 60
    bounded = mix(tmp_path, "bounded", validation_split=0, max_pass_rate=0.5)
    assert {row["problem"] for row in read(bounded / "prompts.jsonl")} == {
        problem for problem, (n, right) in expected.items() if right / n <= 0.5
    }
    without = mix(tmp_path, "without", prompts=False)
    assert not (without / "prompts.jsonl").exists()


def test_questions_whose_rows_give_different_answers_are_left_out(tmp_path):
    rows = [row for row in sums() if "choices" not in row]
    mixed = next(problem for problem, (n, right) in rates(rows).items() if 0 < right < n)
    next(row for row in rows if row["problem"] == mixed)["answer"] = "0"
    write_jsonl(tmp_path / "rows.jsonl", rows)
    out = mix(tmp_path, validation_split=0)
    assert mixed not in {row["problem"] for row in read(out / "prompts.jsonl")}
    assert json.loads((out / "card.json").read_text())["questions_with_contradictory_answers"] == 1


def test_order_by_pass_rate_and_a_random_one_that_is_not_that_of_the_file(tmp_path):
    rows = sums()
    write_jsonl(tmp_path / "rows.jsonl", rows)
    random_order = [row["problem"] for row in read(mix(tmp_path) / "prompts.jsonl")]
    assert random_order != sorted(random_order, key=lambda problem: int(problem.split("+")[0]))
    easy = [row["pass_rate"] for row in read(mix(tmp_path, "easy", prompt_order="easy_first") / "prompts.jsonl")]
    hard = [row["pass_rate"] for row in read(mix(tmp_path, "hard", prompt_order="hard_first") / "prompts.jsonl")]
    assert easy == sorted(easy, reverse=True) and hard == sorted(hard) and len(set(hard)) > 1


@pytest.mark.slow
def test_a_real_stage_1_orders_the_questions_and_a_real_stage_2_reads_them_in_order(tmp_path, tiny_model):
    """mix -> sft -> mix by the ledger -> grpo's data set, against the mean losses computed from its files here."""
    rows = sums()
    write_jsonl(tmp_path / "rows.jsonl", rows)
    first = mix(tmp_path)
    cpu = "--use_cpu true --bf16 false --gradient_checkpointing false --disable_tqdm true --save_strategy no"
    options = ["--dataset_name", str(first / "train.jsonl"), "--output_dir", str(tmp_path / "sft")]
    options += ["--model_name_or_path", tiny_model, "--num_train_epochs", "2", "--learning_rate", "5e-3"]
    assert cli(["sft", *options, *cpu.split()]) == 0

    ledger = tmp_path / "sft" / "ledger"
    losses = [np.load(ledger / f"epoch-00{epoch}.npy") for epoch in (1, 2)]
    problem_of = {row["sample_id"]: row["problem"] for row in read(first / "train.jsonl")}
    by_problem = defaultdict(list)
    for number, sample in enumerate(read(ledger / "samples.jsonl")):
        by_problem[problem_of[sample["sample_id"]]].append(number)
    loss = {problem: float(np.mean(losses[1][each])) for problem, each in by_problem.items()}
    gain = {problem: float(np.mean(losses[0][each] - losses[1][each])) for problem, each in by_problem.items()}

    settings = {"ledger": str(ledger), "prompt_order": "hard_first"}
    second = mix(tmp_path, "second", **settings)
    prompts = read(second / "prompts.jsonl")
    assert {row["problem"] for row in prompts} == {row["problem"] for row in read(first / "prompts.jsonl")}
    assert [row["problem"] for row in prompts] == sorted(
        (row["problem"] for row in prompts), key=lambda problem: -loss[problem]
    )
    assert all(row["sft_loss"] == pytest.approx(loss[row["problem"]], rel=1e-5) for row in prompts)
    by_gain = read(mix(tmp_path, "gain", ledger_measure="gain", **settings) / "prompts.jsonl")
    assert [row["problem"] for row in by_gain] == sorted(
        (row["problem"] for row in by_gain), key=lambda problem: gain[problem]
    )

    from glow_trl.grpo import GRPOStageConfig

    dataset = GRPOStageConfig([str(second / "prompts.jsonl")]).questions()
    asked = [row[0]["content"].partition("\nA. ")[0] for row in dataset["prompt"]]
    assert asked == [row["problem"] for row in prompts]
    assert dataset["answer"][:] == [row["answer"] for row in prompts] and len(dataset) == len(prompts)


def test_a_folder_that_is_no_ledger_of_these_rows_is_refused(tmp_path):
    write_jsonl(tmp_path / "rows.jsonl", sums())
    folder = tmp_path / "ledger"
    write_jsonl(folder / "samples.jsonl", [{"sample_id": "other"}])

    def failure():
        from glow_trl.collection.mixing.run import mix as run

        settings = {"output_dir": str(tmp_path / "out"), "ledger": str(folder), "prompt_order": "hard_first"}
        with pytest.raises(UserError) as error:
            run(MixConfig([str(tmp_path / "rows.jsonl")], **settings), tmp_path / "out")
        return str(error.value)

    assert "name the folder `ledger`" in failure()
    np.save(folder / "epoch-001.npy", np.zeros(1, dtype=np.float32))
    assert "none of the 1 samples" in failure()
    np.save(folder / "epoch-001.npy", np.zeros(3, dtype=np.float32))
    assert "not a row in samples.jsonl for each" in failure()
