"""The GRPO stage: checked before it starts, stopped when it collapses, resumed when it was killed."""

import importlib.metadata
import json
import pickle
import shutil

import pytest

from glow_trl.data import read_jsonl, write_jsonl
from glow_trl.errors import UserError
from glow_trl.grpo import GRPOStageConfig, resolve_reward, with_options
from glow_trl.verifiers import KINDS, Verdict
from helpers.launching import CPU


QUESTIONS = [{"problem": f"{a}+{b}=?", "answer": str(a + b)} for a in range(4) for b in range(4)]


@pytest.fixture
def questions(tmp_path):
    write_jsonl(tmp_path / "questions.jsonl", QUESTIONS)
    return tmp_path / "questions.jsonl"


@pytest.fixture
def grpo(glow_trl, tiny_model, questions, tmp_path):
    def run(*argv, model=tiny_model, output_dir=tmp_path / "out"):
        options = ["--model_name_or_path", model, "--dataset_name", questions, "--output_dir", output_dir]
        options += ["--per_device_train_batch_size", 8, "--num_generations", 4, "--max_completion_length", 8]
        return glow_trl("grpo", *options, *CPU, "--max_steps", 2, "--logging_steps", 1, *argv)

    return run


def test_what_the_stage_leaves(grpo, tmp_path):
    code, error = grpo("--reward_funcs", "accuracy_reward", "answer_format_reward", "--save_steps", 1)
    out = tmp_path / "out"
    assert code == 0 and "could not be checked" in error
    assert (out / "model.safetensors").is_file() and (out / "tokenizer_config.json").is_file()
    log = [row for _, row in read_jsonl(out / "log.jsonl")]
    assert {"reward", "entropy", "rewards/accuracy_reward/mean", "rewards/answer_format_reward/mean"} <= log[0].keys()
    run = json.loads((out / "run.json").read_text())
    assert (run["status"], run["questions"]) == ("complete", 16)
    assert (out / "checkpoint-2").is_dir() and grpo("--save_steps", 1, "--reward_funcs", "accuracy_reward")[0] == 2
    # From where it stopped, as after a kill
    record = json.loads((out / "run.json").read_text()) | {"status": "running"}
    (out / "run.json").write_text(json.dumps(record))
    shutil.rmtree(out / "checkpoint-2")
    code, error = grpo("--reward_funcs", "accuracy_reward", "answer_format_reward", "--save_steps", 1)
    assert code == 0 and "resuming from" in error and "checkpoint-1" in error
    assert (out / "checkpoint-2").is_dir()


def test_a_collapse_stops_the_run_with_a_message_and_a_checkpoint(grpo, tmp_path):
    code, error = grpo("--guard_max_entropy", 1e-4, "--guard_max_clipped_ratio", 2, "--guard_patience", 1)
    assert code == 1 and "the training collapsed: the entropy blew up" in error and "Traceback" not in error
    assert (tmp_path / "out" / "checkpoint-1" / "trainer_state.json").is_file()
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert run["status"] == "collapsed" and "entropy" in run["collapsed"]
    assert not (tmp_path / "out" / "model.safetensors").exists(), "a collapsed model is not handed on"
    # As the message says, with other thresholds it goes on
    code, error = grpo("--guard_max_entropy", 100, "--guard_max_clipped_ratio", 2, "--guard_patience", 5)
    assert code == 0 and "checkpoint-1" in error
    assert json.loads((tmp_path / "out" / "run.json").read_text())["status"] == "complete"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("[None] * len(completions)", "no completion could be judged at 2 logs in a row"),
        ("[float('nan')] * len(completions)", "no completion could be judged at 2 logs in a row"),
        ("[0.0] * len(completions)", "no completion has earned a reward: it was 0 at all 2 logs"),
    ],
    ids=["none", "nan", "zero"],
)
def test_a_run_without_any_reward_stops(grpo, tmp_path, monkeypatch, body, reason):
    """As TRL logs it: for the first two as `None`."""
    name = f"reward_of_length_{len(body)}"
    (tmp_path / f"{name}.py").write_text(f"def reward(completions, **kwargs):\n    return {body}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    patience = ["--guard_patience", 2, "--guard_max_clipped_ratio", 2]
    code, error = grpo("--reward_funcs", f"{name}.reward", "--max_steps", 3, *patience)
    assert code == 1 and reason in error and "Traceback" not in error
    assert json.loads((tmp_path / "out" / "run.json").read_text())["status"] == "collapsed"


def test_a_checkpoint_of_stage_one_is_held_to_its_prompts(grpo, glow_trl, tiny_model, trajectories, tmp_path):
    options = ["--model_name_or_path", tiny_model, "--dataset_name", trajectories, "--output_dir", tmp_path / "sft"]
    code, _ = glow_trl("sft", *options, *CPU, "--num_train_epochs", 2, "--system_prompt", "Add.")
    assert code == 0
    code, error = grpo(model=tmp_path / "sft")
    assert code == 2 and "system_prompt is None, stage 1 trained with 'Add.'" in error
    code, error = grpo("--system_prompt", "Add.", model=tmp_path / "sft")
    assert code == 0 and "could not be checked" not in error


def test_a_gold_answer_that_its_verifier_rejects_stops_the_run(grpo, questions, tmp_path):
    write_jsonl(questions, [*QUESTIONS[:3], {"problem": "?", "answer": " "}])
    code, error = grpo()
    assert code == 2 and "1 of 4 gold answers" in error and "questions:4" in error and "on_bad_gold: drop" in error
    assert not (tmp_path / "out" / "model.safetensors").exists()
    config = GRPOStageConfig([str(questions)], on_bad_gold="drop")
    for _ in range(2):  # the second time from the cache
        assert [row["sample_id"] for row in config.questions()] == ["questions:1", "questions:2", "questions:3"]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (
            ["--reward_funcs", "acuracy_reward"],
            "there is no acuracy_reward in glow_trl.rewards or trl.rewards; did you",
        ),
        (["--reward_funcs", "no_such_module.reward"], "no_such_module cannot be imported"),
        (["--reward_funcs", "json.no_such_reward"], "there is no no_such_reward in json"),
        (["--on_bad_gold", "ignore"], "invalid choice"),
        (["--guard_patience", 0], "guard_patience must be at least 1"),
        (["--num_generations", 3], "num_generations"),
    ],
)
def test_bad_configuration_is_one_line(grpo, argv, message):
    code, error = grpo(*argv)
    assert code == 2 and message in error and "Traceback" not in error


def test_a_missing_extra_is_named(grpo, monkeypatch):
    """That it is missing is pretended."""
    monkeypatch.setattr("glow_trl.grpo.find_spec", lambda name: None)
    code, error = grpo("--use_vllm", "true")
    assert code == 2 and "use_vllm needs `vllm`" in error and "pip install 'glow-trl[vllm]'" in error


def test_deepspeed_that_is_missing_is_named(grpo, tmp_path, monkeypatch):
    """That it is missing is pretended, with the error that transformers then raises."""

    def missing(package):
        if package == "deepspeed":
            raise importlib.metadata.PackageNotFoundError(package)

    monkeypatch.setattr("transformers.integrations.deepspeed.dep_version_check", missing)
    (tmp_path / "zero2.json").write_text('{"zero_optimization": {"stage": 2}, "train_batch_size": "auto"}')
    code, error = grpo("--deepspeed", tmp_path / "zero2.json")
    assert code == 2 and "pip install 'glow-trl[deepspeed]'" in error and "Traceback" not in error


def test_rewards_are_found_by_name_and_by_path():
    import trl.rewards

    from glow_trl.rewards import accuracy_reward

    assert resolve_reward("accuracy_reward") is accuracy_reward
    assert resolve_reward("think_format_reward") is trl.rewards.think_format_reward
    assert resolve_reward("trl.rewards.accuracy_reward") is trl.rewards.accuracy_reward
    with pytest.raises(UserError, match="did you mean"):
        resolve_reward("glow_trl.rewards.accurcy_reward")


def test_options_go_to_the_rewards_that_take_them():
    import trl.rewards

    from glow_trl.rewards import accuracy_reward, answer_format_reward

    reward = pickle.loads(pickle.dumps(with_options(accuracy_reward, unjudged="zero")))
    assert reward.__name__ == "accuracy_reward" and reward.keywords == {"unjudged": "zero"}
    assert reward(["5", "6"], ["5", "5"]) == [1.0, 0.0]
    for other in (answer_format_reward, trl.rewards.accuracy_reward):
        assert with_options(other, unjudged="zero") is other


def test_gold_answers_are_checked_again_by_other_verifiers(questions, monkeypatch):
    """What the cache has of them belongs to the code that checked them."""
    write_jsonl(questions, QUESTIONS)
    config = GRPOStageConfig([str(questions)], on_bad_gold="drop")
    assert len(config.questions()) == len(QUESTIONS)
    monkeypatch.setitem(
        KINDS._judges, "math", lambda prediction, gold, options: Verdict(gold != "3", gold, "", "math")
    )
    assert len(config.questions()) == len(QUESTIONS)
    monkeypatch.setattr("glow_trl.grpo.fingerprint", lambda path: "of another version")
    assert {row["answer"] for row in config.questions()} == {"0", "1", "2", "4", "5", "6"}


def test_a_file_of_trajectories_gives_each_question_once(questions, tmp_path):
    """The last of each, in the place of the first."""
    write_jsonl(questions, [*QUESTIONS, *(row | {"tag": "last"} for row in QUESTIONS[::-1])])
    assert [*GRPOStageConfig(dataset_name=[str(questions)]).questions()] == [
        {
            "prompt": [{"role": "user", "content": row["problem"]}],
            "answer": row["answer"],
            "sample_id": f"questions:{2 * len(QUESTIONS) - index}",
        }
        for index, row in enumerate(QUESTIONS)
    ]
