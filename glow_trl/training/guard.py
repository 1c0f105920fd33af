"""Stops GRPO when it collapses, while the checkpoint before is still there."""

import logging
import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from transformers import TrainerCallback

from ..errors import TrainingCollapsed
from ..stages.config import setting


logger = logging.getLogger(__name__)

_ADVICE = (
    "All checkpoints are kept, and one of this step. Lower the learning rate or raise beta, or change the guard's "
    "thresholds (guard_...) if this is expected: with others the same command goes on"
)


@dataclass
class GuardConfig:
    r"""
    When to stop a run, see [`CollapseGuard`]. Each threshold must be crossed at `guard_patience` logs in a row;
    `None` turns a check off.

    Parameters:
        guard_patience (`int`, *optional*, defaults to `20`):
            Number of logs in a row.
        guard_min_reward_share (`float` or `None`, *optional*, defaults to `0.2`):
            Reward gone: the mean reward is below this share of what the run began with, or of the best mean that it
            has had since over as many logs. `None` also lets a run go on that has never had a reward.
        guard_max_clipped_ratio (`float` or `None`, *optional*, defaults to `1.0`):
            Completions clipped: at least this share of the completions reached the maximum length.
        guard_max_kl (`float` or `None`, *optional*, defaults to `10.0`):
            KL divergence from the reference model blown up, in nats per token (logged with `beta > 0`).
        guard_max_entropy (`float` or `None`, *optional*, defaults to `6.0`):
            Entropy of the policy blown up, in nats per token.
    """

    guard_patience: int = setting(20, "Number of logs in a row that a threshold is crossed.", changeable=True)
    guard_min_reward_share: float | None = setting(
        0.2, "Stop when the reward is below this share of that at the beginning, or the best since.", changeable=True
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
    Watches the logs of a [`~trl.GRPOTrainer`]. At a collapse it stops the training with a checkpoint, `reason` says
    why, and `train` raises `TrainingCollapsed`; `warnings` says what else was seen.

    A log may lack a figure: it is not there or `None`, or the reward is NaN, as where no completion could be judged.
    Below, *in a row* means among the logs that have the figure, and `P` is `guard_patience`. The training stops when

    - `reward`, `kl` or `entropy` is not a finite number;
    - the reward is lacking at `P` logs in a row;
    - the reward was 0 at all logs so far (and `reward_std`, where it is logged), and there are `P` of them;
    - the reward is below `guard_min_reward_share` times its reference at `P` logs in a row. The reference is the
      largest of the means of the first 1, 2, ..., `P` rewards of the run and the means of any `P` rewards in a row. It
      must be positive: where rewards are negative by design, only their being zero from the start is seen;
    - `completions/clipped_ratio` is at least `guard_max_clipped_ratio`, `kl` above `guard_max_kl`, or `entropy` above
      `guard_max_entropy`, at `P` logs in a row.

    It warns, once, when `frac_reward_zero_std` is 1 or `grad_norm` is 0 at `P` logs in a row: nothing is learned, be
    it that all questions are solved. A run that is resumed has seen the logs from before its checkpoint, and stops
    for them only if they go on. What else is not finite stops any training, see
    [`~glow_trl.training.finite.FiniteTrainer`].
    """

    def __init__(self, config: GuardConfig):
        self.config = config
        self._begin()

    def _begin(self) -> None:
        self.reason: str | None = None
        self.warnings: list[str] = []
        self._streaks: dict[str, int] = {}
        self._rewards: deque[float] = deque(maxlen=self.config.guard_patience)
        self._num_rewards = 0
        self._reference = -math.inf

    def on_train_begin(self, args, state, control, **kwargs):
        self._begin()
        for logs in state.log_history:
            if "reward" in logs:
                self._look_at(logs, logs.get("step", 0))
        self.reason, self.warnings = None, []

    def on_log(self, args, state, control, logs=None, **kwargs):
        if not logs or "reward" not in logs or self.reason is not None:
            return
        known = len(self.warnings)
        self._look_at(logs, state.global_step)
        if state.is_world_process_zero:
            for warning in self.warnings[known:]:
                logger.warning("grpo: step %d: %s", state.global_step, warning)
        if self.reason is not None:
            control.should_training_stop = True
            control.should_save = True

    def on_train_end(self, args, state, control, **kwargs):
        if self.reason is not None:
            raise TrainingCollapsed(self.reason, _ADVICE)

    def _look_at(self, logs: Mapping[str, Any], step: int) -> None:
        config = self.config
        reward = logs["reward"]
        reward = None if reward is None or math.isnan(reward) else reward
        for name, value in {"reward": reward, "kl": logs.get("kl"), "entropy": logs.get("entropy")}.items():
            if value is not None and not math.isfinite(value):
                self._stop(f"{name} is {value} at step {step}")
        for name, above, threshold, what in (
            (
                "completions/clipped_ratio",
                "at or above",
                config.guard_max_clipped_ratio,
                "every completion is clipped",
            ),
            ("kl", "above", config.guard_max_kl, "the KL divergence blew up"),
            ("entropy", "above", config.guard_max_entropy, "the entropy blew up"),
        ):
            if threshold is None or (value := logs.get(name)) is None:
                continue
            if length := self._streak(name, value > threshold or (value == threshold and above != "above")):
                self._stop(f"{what}: {name} {above} {threshold} at {length} logs in a row, now {value:.4g}")
        if config.guard_min_reward_share is not None:
            self._look_at_reward(reward, logs.get("reward_std"), config.guard_min_reward_share, step)
        self._look_for_signal(reward, logs)

    def _look_at_reward(self, reward: float | None, deviation: float | None, share: float, step: int) -> None:
        if length := self._streak("no reward", reward is None):
            self._stop(f"no completion could be judged at {length} logs in a row before step {step}")
        if reward is None:
            return
        self._rewards.append(reward)
        self._num_rewards += 1
        mean = sum(self._rewards) / len(self._rewards)
        # Of the first rewards, as long as these are all, and of as many in a row from then on
        self._reference = max(self._reference, mean)
        always_zero = self._streak("zero", reward == 0 and not deviation)
        if always_zero and always_zero == self._num_rewards:
            self._stop(f"no completion has earned a reward: it was 0 at all {always_zero} logs before step {step}")
        full = len(self._rewards) == self.config.guard_patience
        if full and self._reference > 0 and max(self._rewards) < share * self._reference:
            self._stop(
                f"the reward is gone: {mean:.4g} on average over the last {len(self._rewards)} logs before step "
                f"{step}, {self._reference:.4g} at the beginning or at its best"
            )

    def _look_for_signal(self, reward: float | None, logs: Mapping[str, Any]) -> None:
        """Warn, once, where nothing is learned."""
        same, norm = logs.get("frac_reward_zero_std"), logs.get("grad_norm")
        lengths = [0 if same is None else self._streak("same", same >= 1)]
        lengths.append(0 if norm is None else self._streak("no gradient", norm == 0))
        if any(lengths) and not self.warnings:
            what = "each question's completions all had the same reward (frac_reward_zero_std is 1)"
            what = what if lengths[0] else "the gradient was 0 (grad_norm)"
            self.warnings.append(
                f"nothing is learned: {what} at {max(lengths)} logs in a row, and the mean reward is "
                f"{'unknown' if reward is None else format(reward, '.4g')}. The questions are all solved, or too hard"
            )

    def _streak(self, name: str, crossed: bool) -> int:
        """The length of a streak with this log, once it is as long as the patience; else 0."""
        self._streaks[name] = self._streaks.get(name, 0) + 1 if crossed else 0
        return self._streaks[name] if self._streaks[name] >= self.config.guard_patience else 0

    def _stop(self, reason: str) -> None:
        # The first says it
        self.reason = self.reason or reason
