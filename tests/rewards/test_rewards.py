"""The rewards in TRL's signature: forms of completions, columns, logging, pickling."""

import functools
import pickle

import pytest

from glow_trl.errors import UserError
from glow_trl.rewards import accuracy_reward, answer_format_reward
from glow_trl.verifiers import VerifierPool
from helpers.undecided import HANGING


def chat(text, **extra):
    return [{"role": "assistant", "content": text, **extra}]


def test_plain_and_conversational_completions():
    texts, golds = ["The answer is 42.", r"\boxed{\frac12}", "no idea"], ["42", "0.5", "3"]
    assert accuracy_reward(texts, golds) == [1.0, 1.0, 0.0]
    assert accuracy_reward([chat(text) for text in texts], golds) == [1.0, 1.0, 0.0]


def test_other_shapes_of_messages():
    parts = [
        {"role": "assistant", "content": [{"type": "text", "text": "The answer is "}, {"type": "text", "text": "42"}]}
    ]
    turns = [
        {"role": "assistant", "content": "5?"},
        {"role": "user", "content": "42!"},
        {"role": "assistant", "content": "42"},
    ]
    thought = chat("", reasoning_content="it is 42")
    assert accuracy_reward([parts, turns, thought, chat(None), []], ["42"] * 5) == [1.0, 1.0, 0.0, 0.0, 0.0]


def test_columns_may_be_absent_or_hold_none():
    rewards = accuracy_reward(
        ["B", "Paris", "3.1", "yes", "5"],
        answer=["B", "B", "3", "Yes", "6"],
        kind=["choice", "choice", "number", "text", None],
        choices=[None, ["London", "Paris"], None, None, None],
        tolerance=[None, None, 0.1, None, None],
        prompts=["?"] * 5,
        completion_ids=[[1]] * 5,
        trainer_state=None,
    )
    assert rewards == [1.0, 1.0, 1.0, 1.0, 0.0]


def test_unusable_gold_skips_the_sample():
    assert accuracy_reward(["5", "5"], ["5", ""]) == [1.0, None]


def test_column_names_of_trl_and_of_the_trajectories():
    assert accuracy_reward(["5"], solution=["5"]) == [1.0]
    assert accuracy_reward(["5"], gold=["6"]) == [0.0]
    with pytest.raises(UserError, match="column `answer`"):
        accuracy_reward(["5"])


def test_logging():
    columns, metrics = {}, {}
    rewards = accuracy_reward(
        ["The answer is 5", "I do not know", "5 or 6", "x"],
        ["5", "5", "5", ""],
        log_extra=columns.__setitem__,
        log_metric=metrics.__setitem__,
    )
    assert rewards == [1.0, 0.0, 0.0, None]
    assert columns["accuracy/extracted"][:2] == ["5", ""]
    assert columns["accuracy/kind"] == ["math"] * 4
    assert columns["accuracy/reason"] == ["match", "no_answer", "hedged", "bad_gold"]
    assert metrics["accuracy/hedged"] == metrics["accuracy/bad_gold"] == 0.25 and metrics["accuracy/timeout"] == 0.0
    assert all(len(column) == 4 for column in columns.values())


def test_rewards_of_each_domain_and_source_are_logged_exactly():
    """TRL averages over all values that were logged under a name, so every reward is one."""
    logged = []
    rewards = accuracy_reward(
        ["5", "6", "5", "5", "5"],
        ["5", "5", "5", "5", ""],
        domain=["sums", "sums", "words", None, "sums"],
        source=["a", "b", "a", "x" * 100, "a"],
        log_metric=lambda name, value: logged.append((name, value)),
    )
    assert rewards == [1.0, 0.0, 1.0, 1.0, None]
    grouped = [entry for entry in logged if entry[0].startswith(("accuracy/domain/", "accuracy/source/"))]
    assert sorted(grouped) == [
        ("accuracy/domain/sums", 0.0),
        ("accuracy/domain/sums", 1.0),
        ("accuracy/domain/words", 1.0),
        ("accuracy/source/a", 1.0),
        ("accuracy/source/a", 1.0),
        ("accuracy/source/b", 0.0),
    ]


def test_answer_format():
    metrics = {}
    completions = [
        *(
            r"So \boxed{5}.",
            "So 5.",
            r"\boxed{5",
            r"\boxed{}",
            r"<think>\boxed{5}</think>so 5",
            r"<think>x</think>\boxed{5}",
        ),
        *(r"\boxed{5} and again \boxed{5}", r"\boxed{5} or \boxed{6}", ""),
    ]
    expected = [1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0]
    assert answer_format_reward(completions, log_metric=metrics.__setitem__) == expected
    assert answer_format_reward([chat(text) for text in completions]) == expected
    assert metrics["answer_format/boxed"] == pytest.approx(3 / 9)


@pytest.mark.parametrize("reward", [accuracy_reward, answer_format_reward])
def test_rewards_are_picklable_and_named(reward):
    assert pickle.loads(pickle.dumps(reward)) is reward
    assert accuracy_reward.__name__ != answer_format_reward.__name__


@pytest.mark.parametrize(("unjudged", "reward"), [("none", None), ("zero", 0.0)])
def test_what_could_not_be_judged_is_not_wrong(unjudged, reward, monkeypatch, caplog):
    """A comparison that runs out of time for real; unusable gold answers have no reward either way."""
    with VerifierPool(workers=1, timeout=0.5) as pool:
        monkeypatch.setattr("glow_trl.rewards.accuracy.verify_batch", pool.verify_batch)
        metrics = {}
        texts, golds = [HANGING[0], "5", "6", "7"], [HANGING[1], "5", "5", ""]
        judge = functools.partial(accuracy_reward, unjudged=unjudged)
        assert judge(texts, golds, log_metric=metrics.__setitem__) == [reward, 1.0, 0.0, None]
        assert metrics["accuracy/timeout"] == metrics["accuracy/bad_gold"] == 0.25
        (record,) = caplog.records
        assert "1 of 4" in record.getMessage() and f"unjudged: {unjudged}" in record.getMessage()
        assert judge(texts[1:3], golds[1:3]) == [1.0, 0.0] and len(caplog.records) == 1


def test_option_for_what_could_not_be_judged_is_named():
    with pytest.raises(UserError, match="unjudged is none or zero"):
        accuracy_reward(["5"], ["5"], unjudged="half")
