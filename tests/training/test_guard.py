"""The guard stops a run that collapsed, and no other."""

import math

import pytest
from transformers import TrainerControl, TrainerState

from glow_trl.training.guard import CollapseGuard, GuardConfig


def watch(logs, **settings):
    """Feed logs to a guard; the step at which it stopped and why, or `(None, None)`."""
    guard = CollapseGuard(GuardConfig(guard_patience=3, **settings))
    for step, entry in enumerate(logs, start=1):
        control = TrainerControl()
        guard.on_log(None, TrainerState(global_step=step), control, logs=entry)
        if control.should_training_stop:
            assert control.should_save, "the state that is kept must be saved"
            return step, guard.reason
    assert guard.reason is None
    return None, None


def series(**columns):
    length = max(len(column) for column in columns.values())
    columns = {"reward": [0.5] * length} | columns
    names = {"clipped": "completions/clipped_ratio"}
    return [{names.get(key, key): column[i] for key, column in columns.items()} for i in range(length)]


def test_a_healthy_run_goes_on():
    rewards = [0.1, 0.3, None, 0.5, 0.9, 0.8, 0.9]
    assert (
        watch(
            series(reward=rewards, clipped=[1, 1, 0.9, 1, 1, 0.2, 1], entropy=[2.0] * 7, kl=[0.1, None] * 3 + [0.1])
        )[0]
        is None
    )


def test_a_reward_that_was_always_small_or_negative_is_not_gone():
    assert watch(series(reward=[0.01] * 20))[0] is None
    assert watch(series(reward=[-0.1] * 5 + [-2.0] * 20))[0] is None


@pytest.mark.parametrize(
    ("columns", "step", "reason"),
    [
        ({"reward": [0.5] * 4 + [0.05] * 5}, 7, "the reward is gone"),
        ({"clipped": [0.5, 1, 1, 1, 1]}, 4, "every completion is clipped"),
        ({"kl": [1, 50, 2, 50, 50, 50]}, 6, "the KL divergence blew up"),
        ({"entropy": [1, 7, 7, 7]}, 4, "the entropy blew up"),
        ({"kl": [0.1, math.inf]}, 2, "kl is inf"),
        ({"reward": [0.1, -math.inf]}, 2, "reward is -inf"),
        # Always zero, and gone within the first logs
        ({"reward": [0.0] * 5}, 3, "it was 0 at all 3 logs"),
        ({"reward": [0.5, 0.09, 0.0, 0.09, 0.0]}, 4, "the reward is gone"),
        ({"reward": [0.5, None, math.nan, None, 0.5]}, 4, "no completion could be judged at 3 logs in a row"),
    ],
)
def test_what_stops_a_run(columns, step, reason):
    stopped, why = watch(series(**columns))
    assert stopped == step and reason in why


def test_thresholds_can_be_turned_off():
    logs = series(reward=[0.5] * 4 + [0.0] * 6, clipped=[1.0] * 10, kl=[99.0] * 10, entropy=[99.0] * 10)
    off = dict.fromkeys(
        ("guard_min_reward_share", "guard_max_clipped_ratio", "guard_max_kl", "guard_max_entropy"), None
    )
    assert watch(logs, **off)[0] is None


def test_logs_of_the_evaluation_are_not_watched():
    assert watch([{"eval_reward": 0.0, "loss": math.nan}] * 5)[0] is None
