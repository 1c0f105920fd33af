"""Stops GRPO when it collapses, while the checkpoint before is still there."""

import math
from collections import deque
from dataclasses import dataclass

from transformers import TrainerCallback

from ..stages.config import setting


@dataclass
class GuardConfig:
    r"""
    When to stop a run. Each threshold must be crossed at `guard_patience` logs in a row; `None` turns a check off.

    Parameters:
        guard_patience (`int`, *optional*, defaults to `20`):
            Number of logs in a row. What is not a finite number stops the run at once.
        guard_min_reward_share (`float` or `None`, *optional*, defaults to `0.2`):
            Reward gone: the mean reward is below this share of the best mean that the run has had over as many logs.
        guard_max_clipped_ratio (`float` or `None`, *optional*, defaults to `1.0`):
            Completions clipped: at least this share of the completions reached the maximum length.
        guard_max_kl (`float` or `None`, *optional*, defaults to `10.0`):
            KL divergence from the reference model blown up, in nats per token (logged with `beta > 0`).
        guard_max_entropy (`float` or `None`, *optional*, defaults to `6.0`):
            Entropy of the policy blown up, in nats per token.
    """

    guard_patience: int = setting(20, "Number of logs in a row that a threshold is crossed.", changeable=True)
    guard_min_reward_share: float | None = setting(
        0.2, "Stop when the mean reward is below this share of the best one of the run.", changeable=True
    )
    guard_max_clipped_ratio: float | None = setting(
        1.0, "Stop when at least this share of the completions is clipped.", changeable=True
    )
    guard_max_kl: float | None = setting(
        10.0, "Stop when the KL divergence (nats per token) is above this.", changeable=True
    )
    guard_max_entropy: float | None = setting(
        6.0, "Stop when the policy's entropy (nats per token) is above this.", changeable=True
    )

    def __post_init__(self):
        if self.guard_patience < 1:
            raise ValueError(f"guard_patience must be at least 1, got {self.guard_patience}")


class CollapseGuard(TrainerCallback):
    """
    Watches the logs of a [`~trl.GRPOTrainer`] and stops the training, saving a checkpoint, when it collapses. `reason`
    then says why.
    """

    def __init__(self, config: GuardConfig):
        self.config = config
        self.reason: str | None = None
        self._rewards: deque[float] = deque(maxlen=config.guard_patience)
        self._best_reward = -math.inf
        self._streaks: dict[str, int] = {}

    def on_train_begin(self, args, state, control, **kwargs):
        # What a run that is resumed has seen before. A collapse that it was resumed from is one if it goes on
        for logs in state.log_history:
            if "reward" in logs:
                self._look_at(logs, logs.get("step", 0))
                self.reason = None

    def on_log(self, args, state, control, logs=None, **kwargs):
        if not logs or "reward" not in logs or self.reason is not None:
            return
        self._look_at(logs, state.global_step)
        if self.reason is not None:
            control.should_training_stop = True
            control.should_save = True

    def _look_at(self, logs: dict[str, float], step: int) -> None:
        for name in ("loss", "reward", "grad_norm", "kl", "entropy"):
            if name in logs and not math.isfinite(logs[name]):
                self.reason = f"{name} is {logs[name]} at step {step}"
        config = self.config
        self._watch("completions/clipped_ratio", logs, config.guard_max_clipped_ratio, "every completion is clipped")
        self._watch("kl", logs, config.guard_max_kl, "the KL divergence blew up", strictly=True)
        self._watch("entropy", logs, config.guard_max_entropy, "the entropy blew up", strictly=True)
        self._watch_reward(logs["reward"], step)

    def _watch(self, name, logs, threshold, what, strictly=False) -> None:
        if threshold is None or name not in logs:
            return
        crossed = logs[name] > threshold if strictly else logs[name] >= threshold
        self._streaks[name] = self._streaks.get(name, 0) + 1 if crossed else 0
        if self.reason is None and self._streaks[name] >= self.config.guard_patience:
            self.reason = (
                f"{what}: {name} {'above' if strictly else 'at or above'} {threshold} at {self._streaks[name]} "
                f"logs in a row, now {logs[name]:.4g}"
            )

    def _watch_reward(self, reward: float, step: int) -> None:
        share = self.config.guard_min_reward_share
        self._rewards.append(reward)
        if share is None or len(self._rewards) < self.config.guard_patience:
            return
        mean = sum(self._rewards) / len(self._rewards)
        self._best_reward = max(self._best_reward, mean)
        if self.reason is None and self._best_reward > 0 and max(self._rewards) < share * self._best_reward:
            self.reason = (
                f"the reward is gone: {mean:.4g} on average over the last {len(self._rewards)} logs before step "
                f"{step}, the best average of the run was {self._best_reward:.4g}"
            )
