"""The guard stops a run that collapsed, and no other."""

import collections
import math
import random

import pytest
from transformers import TrainerControl, TrainerState

from glow_trl.errors import TrainingCollapsed
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


def stops_by_definition(logs, patience, share):
    """The first step at which a run stops, by the docstring of the guard word for word, and at which it warns."""
    warns = None

    def crossed(name, condition):
        known = [entry[name] for entry in seen if entry.get(name) is not None]
        return len(known) >= patience and all(condition(value) for value in known[-patience:])

    for step in range(1, len(logs) + 1):
        seen = logs[:step]
        judged = [entry["reward"] is not None and not math.isnan(entry["reward"]) for entry in seen]
        rewards = [entry["reward"] for entry, known in zip(seen, judged, strict=True) if known]
        if rewards and math.inf in map(abs, rewards):
            return step, warns
        if step >= patience and not any(judged[-patience:]):
            return step, warns
        if crossed("completions/clipped_ratio", lambda value: value >= 1) or crossed("kl", lambda value: value > 10):
            return step, warns
        if len(rewards) >= patience:
            deviations = [entry.get("reward_std") for entry, known in zip(seen, judged, strict=True) if known]
            if not any(rewards) and not any(deviations):
                return step, warns
            windows = [rewards[:length] for length in range(1, patience + 1)]
            windows += [rewards[start : start + patience] for start in range(len(rewards) - patience + 1)]
            reference = max(sum(window) / len(window) for window in windows)
            if reference > 0 and all(reward < share * reference for reward in rewards[-patience:]):
                return step, warns
        if crossed("frac_reward_zero_std", lambda value: value == 1) or crossed("grad_norm", lambda value: value == 0):
            warns = warns or step
    return None, warns


def made_up_run(rng):
    """Logs of a run that changes its ways a few times, by chance."""
    logs = []
    for _ in range(rng.randint(1, 4)):
        level, noise = rng.choice([0.0, 0.0, 0.05, 0.1, 0.5, 1.0, -0.5]), rng.choice([0.0, 0.02, 0.3])
        lacking, clipped, same, kl = (rng.choice([0.0, 0.0, 0.1, 0.95]) for _ in range(4))
        for _ in range(rng.randint(1, 14)):
            reward = level + noise * rng.gauss(0, 1)
            if rng.random() < lacking:
                reward = rng.choice([None, math.nan])
            elif rng.random() < 0.003:
                reward = rng.choice([math.inf, -math.inf])
            entry = {"reward": reward, "reward_std": rng.choice([0.0, None, noise])}
            entry["completions/clipped_ratio"] = 1.0 if rng.random() < clipped else rng.choice([0.4, None])
            entry["frac_reward_zero_std"] = 1.0 if rng.random() < same else 0.5
            entry["kl"] = rng.choice([11.0, None]) if rng.random() < kl else 0.1
            entry["grad_norm"] = rng.choice([0.0, 0.0, 0.3])
            logs.append(entry)
    return logs


def test_it_stops_and_warns_where_its_definition_says():
    rng = random.Random(12)
    outcomes = collections.Counter()
    for _ in range(3000):
        logs, patience, share = made_up_run(rng), rng.randint(1, 6), rng.choice([0.1, 0.2, 0.5])
        guard = CollapseGuard(GuardConfig(guard_patience=patience, guard_min_reward_share=share))
        stopped = warned = None
        # A run that is killed and resumed at a random step knows what was before
        resumed_at = rng.choice([None, rng.randrange(len(logs))])
        for step, entry in enumerate(logs, start=1):
            if step - 1 == resumed_at and stopped is None:
                said = guard.warnings
                history = [{**earlier, "step": number} for number, earlier in enumerate(logs[: step - 1], start=1)]
                guard = CollapseGuard(guard.config)
                guard.on_train_begin(None, TrainerState(log_history=history), TrainerControl())
                guard.warnings = list(said)
            control = TrainerControl()
            guard.on_log(None, TrainerState(global_step=step), control, logs=dict(entry))
            warned = warned or (step if guard.warnings else None)
            if control.should_training_stop:
                stopped = step
                break
        expected, warns = stops_by_definition(logs, patience, share)
        assert stopped == expected, (logs, patience, share)
        assert warned == warns or (warns is None and warned == stopped), (logs, patience, share)
        outcomes[guard.reason and guard.reason.split(":")[0].split(" is ")[0], bool(warns)] += 1
    kinds = {reason for reason, _ in outcomes}
    # All there is was seen
    assert {None, "no completion has earned a reward", "every completion", "the KL divergence blew up"} <= kinds
    assert "the reward" in kinds and any("could be judged" in (reason or "") for reason in kinds)
    assert min(outcomes[None, False], outcomes[None, True]) > 50


def test_a_run_that_has_solved_its_questions_is_warned_of_once(caplog):
    rewards = [min(1.0, 0.3 * step) for step in range(1, 30)]
    logs = [{"reward": reward, "frac_reward_zero_std": float(reward == 1), "grad_norm": 0.0} for reward in rewards]
    assert watch(logs)[0] is None
    said = [record.getMessage() for record in caplog.records if "nothing is learned" in record.getMessage()]
    assert len(said) == 1


@pytest.mark.parametrize("key", ["frac_reward_zero_std", "grad_norm"])
def test_either_sign_of_nothing_learned_warns(key, caplog):
    watch([{"reward": 0.4, "frac_reward_zero_std": 0.5, "grad_norm": 0.1, key: float(key != "grad_norm")}] * 3)
    assert f"({key}" in caplog.text and "the mean reward is 0.4" in caplog.text


def test_the_collapse_is_raised_at_the_end_of_the_training():
    guard = CollapseGuard(GuardConfig(guard_patience=1))
    guard.on_log(None, TrainerState(global_step=1), TrainerControl(), logs={"reward": 0.0})
    with pytest.raises(TrainingCollapsed, match="the training collapsed: no completion has earned a reward"):
        guard.on_train_end(None, TrainerState(), TrainerControl())
