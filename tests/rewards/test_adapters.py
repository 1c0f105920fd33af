"""The judgement in the signatures of other trainers, and called by these themselves."""

import inspect
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from glow_trl.rewards import accuracy_reward
from glow_trl.rewards.adapters import compute_score, correct_answer, grade


ROOT = Path(__file__).parents[2]
ELSEWHERE = Path(os.environ.get("GLOW_TRL_ELSEWHERE") or Path(sys.prefix) / "elsewhere")
PROBLEM = "Compute $7^2 + 24^2$."
# (completion, gold answer, what else the row says, reward)
ROWS = [
    (r"It is \boxed{625}.", "625", {}, 1.0),
    (r"\boxed{624}", "625", {}, 0.0),
    (r"\boxed{7^2 + 24^2}", "625", {"problem": PROBLEM}, 0.0),
    (r"\boxed{7^2 + 24^2}", "625", {"question": PROBLEM}, 0.0),
    (r"\boxed{7^2 + 24^2}", "625", {}, 1.0),
    ("The answer is (B)", "B", {"kind": "choice", "choices": ["1", "2"]}, 1.0),
    ("3.1", "3", {"kind": "number", "tolerance": 0.1}, 1.0),
    ("5", "", {}, 0.0),
]


@pytest.mark.parametrize(("completion", "gold", "row", "reward"), ROWS)
def test_one_judgement_in_all_signatures(completion, gold, row, reward):
    columns = {name: [value] for name, value in row.items() if name != "question"}
    if "question" in row:
        columns["problem"] = [row["question"]]
    assert (accuracy_reward([completion], [gold], **columns)[0] or 0.0) == reward
    assert compute_score("math", completion, gold, row) == reward
    assert correct_answer(completion, gold, info=row) == reward
    messages = [{"role": "assistant", "content": completion}]
    assert correct_answer(messages, gold, prompt=[{"role": "user", "content": "?"}], info=row) == reward


def test_a_plain_grade():
    assert grade(r"\boxed{\frac12}", "0.5") is True and grade("0.4", "0.5") is False and grade("5", "") is None
    assert grade(r"\boxed{7^2+24^2}", "625", problem=PROBLEM) is False
    assert grade("3.1", "3", "number", tolerance=0.1) is True


def test_settings_of_the_trainer_reach_the_judgement():
    edited = r"\boxed{24^2 + 7^2}"
    assert compute_score("m", edited, "625", {"problem": PROBLEM}) == 1.0
    assert compute_score("m", edited, "625", {"problem": PROBLEM}, restated="strict") == 0.0
    assert compute_score("m", "(B)", "B", None, kind="choice") == 1.0
    assert correct_answer(edited, "625", prompt=PROBLEM, restated="strict") == 0.0


def test_messages_may_be_models():
    prompt = [SimpleNamespace(role="user", content=PROBLEM)]
    assert (
        correct_answer([SimpleNamespace(role="assistant", content=r"\boxed{7^2+24^2}")], "625", prompt=prompt) == 0.0
    )
    assert correct_answer([SimpleNamespace(role="assistant", content=r"\boxed{625}")], "625", prompt=prompt) == 1.0


def test_importing_it_loads_no_torch():
    code = (
        "import json, sys; from glow_trl.rewards.adapters import grade; grade('5', '5'); "
        "print(json.dumps(sorted({'torch', 'trl', 'transformers', 'sympy', 'datasets'} & set(sys.modules))))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(result.stdout) == []


def in_another_trainer(code: str) -> list:
    """What `code` prints as JSON, in a process that can import the trainers that `make test` installs."""
    if not ELSEWHERE.is_dir():
        pytest.skip(f"the other trainers are not installed in {ELSEWHERE}; `make test` does it")
    path = os.pathsep.join([str(ROOT), str(ELSEWHERE)])
    environment = {**os.environ, "PYTHONPATH": path, "GLOW_TRL_PROBLEM": PROBLEM}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert run.returncode == 0, run.stderr[-3000:]
    return json.loads(run.stdout.splitlines()[-1])


def test_verl_finds_and_calls_it():
    """verl 0.9.1 itself: its loader of reward functions, with the settings of docs/use-elsewhere.md."""
    code = r"""
import json, os
from omegaconf import OmegaConf
from verl.trainer.ppo.reward import get_custom_reward_fn

function = {"path": "pkg://glow_trl.rewards.adapters", "name": "compute_score"}
function["reward_kwargs"] = {"restated": "strict"}
score = get_custom_reward_fn(OmegaConf.create({"reward": {"custom_reward_function": function}}))
row = {"data_source": "math", "ground_truth": "625", "extra_info": {"problem": os.environ["GLOW_TRL_PROBLEM"]}}
print(json.dumps([score(solution_str=text, **row) for text in (r"\boxed{625}", r"\boxed{24^2+7^2}", "624")]))
"""
    assert in_another_trainer(code) == [1.0, 0.0, 0.0]


def test_a_rubric_of_verifiers_scores_with_it():
    """verifiers 0.1.14 itself, the rubric of docs/use-elsewhere.md."""
    code = r"""
import asyncio, json, os
import verifiers as vf
from glow_trl.rewards.adapters import correct_answer

rubric = vf.Rubric(funcs=[correct_answer], weights=[1.0])
rewards = []
for text in (r"\boxed{625}", r"\boxed{7^2+24^2}", "624"):
    state = vf.State(
        prompt=[{"role": "user", "content": os.environ["GLOW_TRL_PROBLEM"]}],
        completion=[{"role": "assistant", "content": text}],
        answer="625", info={}, trajectory=[], timing={"total_ms": 0.0, "scoring_ms": 0.0}, task="",
    )
    asyncio.run(rubric.score_rollout(state))
    rewards.append(state["reward"])
print(json.dumps(rewards))
"""
    assert in_another_trainer(code) == [1.0, 0.0, 0.0]


def test_the_signature_is_that_by_which_verl_calls_it():
    """Held to what verl 0.9.1's source does (reward_loop/reward_manager/naive.py): keywords only, and more of them
    where there is a reward model; its workers need a GPU's stack and are not run here."""
    first = list(inspect.signature(compute_score).parameters)[:4]
    assert first == ["data_source", "solution_str", "ground_truth", "extra_info"]
    score = compute_score(
        data_source="math",
        solution_str=r"\boxed{625}",
        ground_truth="625",
        extra_info={"num_turns": None, "rollout_reward_scores": {}},
        reward_router_address="localhost:1",
        reward_model_tokenizer=None,
    )
    assert type(score) is float and score == 1.0


def test_the_signature_is_that_by_which_a_rubric_calls_it():
    """Held to what the source of verifiers does (rubrics/rubric.py): a function without plural parameters and
    without a list for its result is one for single rollouts; with `**kwargs` it is given all there is."""
    parameters = inspect.signature(correct_answer).parameters
    assert not {"states", "prompts", "completions", "answers", "tasks", "infos"} & set(parameters)
    assert inspect.signature(correct_answer).return_annotation is float
    everything = {"state": {}, "task": None, "parser": object(), "info": {}, "answer": "625"}
    assert correct_answer(prompt=PROBLEM, completion=r"\boxed{625}", **everything) == 1.0
