"""Reward functions in TRL's signature, over the project's verifiers.

For the form of the thinking part and for length, use TRL's own: `trl.rewards.think_format_reward`,
`trl.rewards.get_soft_overlong_punishment`.
"""

from .accuracy import accuracy_reward
from .answer_format import answer_format_reward


__all__ = ["accuracy_reward", "answer_format_reward"]
