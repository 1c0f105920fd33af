"""Questions that any small model can be trained on with GRPO, and a reward that varies among its completions."""

import json
import os
import signal
from pathlib import Path

from glow_trl.data import write_jsonl


def write_sums(path: Path) -> Path:
    """The sixteen sums of two numbers below four, as questions."""
    write_jsonl(path, ({"problem": f"{a}+{b}=?", "answer": str(a + b)} for a in range(4) for b in range(4)))
    return path


def letters_reward(completions, prompts, **kwargs) -> list[float]:
    """
    The share of letters: it varies among the completions of any model, so that each step changes the weights. The
    prompts go into the folder that GLOW_TRL_TEST_PROMPTS names, if it does; GLOW_TRL_TEST_KILL may name the process
    and the step, `RANK:STEP`, in which a process kills itself.
    """
    step, rank = kwargs["trainer_state"].global_step, os.environ.get("RANK", "0")
    if os.environ.get("GLOW_TRL_TEST_KILL") == f"{rank}:{step}":
        os.kill(os.getpid(), signal.SIGKILL)
    if folder := os.environ.get("GLOW_TRL_TEST_PROMPTS"):
        with open(Path(folder) / f"prompts-{rank}.jsonl", "a") as file:
            pairs = zip(prompts, completions, strict=True)
            rows = [[step, prompt[-1]["content"], completion[0]["content"]] for prompt, completion in pairs]
            file.write(json.dumps(rows) + "\n")
    return [sum(character.isalpha() for character in completion[0]["content"]) / 8 for completion in completions]


def lucky_letters_reward(completions, prompts, **kwargs) -> list[float | None]:
    """The same for odd sums; the completions of an even one all have the same, or none."""
    rewards = letters_reward(completions, prompts, **kwargs)
    answers = [sum(int(digit) for digit in prompt[-1]["content"] if digit.isdigit()) for prompt in prompts]
    return [reward if answer % 2 else 0.5 if answer else None for reward, answer in zip(rewards, answers, strict=True)]
