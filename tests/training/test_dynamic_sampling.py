"""Dynamic sampling: only groups whose rewards differ are trained on, and what is left out is not counted."""

import copy
import itertools
import math

import numpy as np
import pytest
import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, TrainerCallback
from trl import GRPOTrainer

from glow_trl.errors import UserError
from glow_trl.training.arguments import GRPOArguments
from glow_trl.training.dynamic_sampling import DynamicSamplingGRPOTrainer
from glow_trl.training.sampling import QuestionOrder


GROUP = 4


def questions(*lucks: str) -> Dataset:
    """Questions that are numbered, each with the rewards that its completions get."""
    rows = [
        {"prompt": [{"role": "user", "content": f"{number}=?"}], "luck": luck} for number, luck in enumerate(lucks)
    ]
    return Dataset.from_list(rows)


REWARDS = {
    "mixed": [0.0, 1.0, 0.0, 0.0],
    "even": [1.0, 0.0, 1.0, 0.0],
    "solved": [1.0] * 4,
    "failed": [0.0] * 4,
    "unjudged": [None] * 4,
    "half judged": [None, 1.0, None, 1.0],
    "once judged": [None, None, 1.0, None],
    "judged": [None, 1.0, 0.0, None],
}
INFORMATIVE = {"mixed", "even", "judged"}


def luck_reward(completions, luck, log_extra, log_metric, **kwargs):
    log_extra("luck", luck)
    log_metric("completions", len(completions))
    return [REWARDS[name][index % GROUP] for index, name in enumerate(luck)]


class Recorder(DynamicSamplingGRPOTrainer):
    """Notes which questions are asked and which trained on, by generation batch and micro-batch."""

    def __init__(self, *args, **kwargs):
        self.asked, self.micro_batches = [], []
        super().__init__(*args, **kwargs)

    def _fill_batch(self):
        self.asked.append([])
        return super()._fill_batch()

    def _generate_round(self, numbers):
        self.asked[-1].append(list(numbers))
        return super()._generate_round(numbers)

    def _compute_loss(self, model, inputs):
        self.micro_batches.append({key: value.clone() for key, value in inputs.items()})
        return super()._compute_loss(model, inputs)

    def trained(self):
        """The numbers of the questions of each micro-batch whose completions have a part in the loss."""
        return [
            [
                int(self.processing_class.decode(ids).split("=")[0].split("user")[-1].replace(" ", ""))
                for ids, mask in zip(batch["prompt_ids"], batch["completion_mask"], strict=True)
                if mask.any()
            ]
            for batch in self.micro_batches
        ]


@pytest.fixture
def train(tiny_model, tmp_path):
    """A trainer of a class, trained; two groups of four a step unless settings say otherwise."""
    numbers = itertools.count()

    def run(cls, dataset, resume=None, reward_funcs=luck_reward, begin=True, prepare=None, parts=None, **settings):
        defaults = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "num_generations": GROUP}
        defaults |= {"max_completion_length": 6, "max_steps": 3, "logging_steps": 1, "save_strategy": "no"}
        defaults |= {"use_cpu": True, "bf16": False, "report_to": "none", "disable_tqdm": True, "learning_rate": 1e-3}
        defaults |= {"gradient_checkpointing": False, "output_dir": str(tmp_path / f"run-{next(numbers)}")}
        args = GRPOArguments(**defaults | settings)
        trainer = cls(tiny_model, reward_funcs, args, train_dataset=dataset, **(parts or {}))
        if prepare is not None:
            prepare(trainer)
        if begin:
            trainer.train(resume_from_checkpoint=resume)
        return trainer

    return run


def logs(trainer) -> list[dict]:
    """What was logged besides times and what only ours log."""
    return [
        {
            key: value
            for key, value in entry.items()
            if "time" not in key and "dynamic" not in key and "per_sec" not in key
        }
        for entry in trainer.state.log_history
        if "reward" in entry
    ]


def same_weights(trainer, other) -> bool:
    pairs = zip(trainer.model.parameters(), other.model.parameters(), strict=True)
    return all(torch.equal(mine, theirs) for mine, theirs in pairs)


@pytest.mark.parametrize(
    "settings",
    [
        {"max_steps": 6},
        {"steps_per_generation": 4, "num_iterations": 2, "max_steps": 9, "beta": 0.1, "loss_type": "grpo"},
        {
            "max_steps": 6,
            "shuffle_dataset": False,
            "scale_rewards": "batch",
            "mask_truncated_completions": True,
            "loss_type": "bnpo",
        },
    ],
    ids=["default", "reused", "in order"],
)
def test_without_a_group_to_replace_it_is_the_trainer_of_trl(train, settings):
    """Weights and logs, over more than one epoch, with a question left over in each."""
    dataset = questions(*["mixed", "even", "judged"] * 3)
    expected, trainer = (train(cls, dataset, **settings) for cls in (GRPOTrainer, DynamicSamplingGRPOTrainer))
    assert same_weights(trainer, expected) and logs(trainer) == logs(expected)
    assert trainer.state.log_history[0]["dynamic_sampling/rounds"] == 1
    for column in ("prompt", "completion", "advantages", "extra"):
        assert trainer._logs[column] == expected._logs[column]


def test_only_informative_groups_are_trained_on(train):
    """From further questions in the order of the epochs; none twice in a batch, and each next batch goes on."""
    lucks = ["solved", "mixed", "failed", "even", "unjudged", "half judged", "judged", "once judged", "solved"] * 3
    settings = {"gradient_accumulation_steps": 4, "max_steps": 4, "dynamic_sampling_max_rounds": 20}
    trainer = train(Recorder, questions(*lucks), **settings)
    order = QuestionOrder(trainer._get_train_sampler(), trainer.args.seed)
    for rounds in trainer.asked:
        asked = [number for numbers in rounds for number in numbers]
        assert len(rounds[0]) == 4 and len(set(asked)) == len(asked)
        assert asked == order.take(len(asked), set())
    batches = [trainer.trained()[at : at + 4] for at in range(0, 16, 4)]
    for rounds, batch in zip(trainer.asked, batches, strict=True):
        found = [number for numbers in rounds for number in numbers if lucks[number] in INFORMATIVE]
        trained = [number for part in batch for number in part]
        assert sorted(trained) == sorted(found[:4] * GROUP)
    for entry, rounds in zip(trainer.state.log_history, trainer.asked, strict=False):
        asked = [number for numbers in rounds for number in numbers]
        share = sum(lucks[number] in INFORMATIVE for number in asked) / len(asked)
        rewards = [reward for number in asked for reward in REWARDS[lucks[number]] if reward is not None]
        assert entry["dynamic_sampling/rounds"] == len(rounds)
        assert entry["dynamic_sampling/generated_groups"] == len(asked)
        assert entry["dynamic_sampling/trained_groups"] == 4
        assert entry["dynamic_sampling/informative_share"] == pytest.approx(share)
        assert entry["frac_reward_zero_std"] == pytest.approx(1 - share)
        assert entry["reward"] == pytest.approx(sum(rewards) / len(rewards))
        assert entry["reward_std"] == pytest.approx(torch.tensor(rewards).std().item())
        assert entry["rewards/luck_reward/mean"] == entry["reward"]
    # The table of completions is of what was trained on, column by column
    prompts = [prompt[0]["content"] for prompt in trainer._logs["prompt"]]
    assert list(trainer._logs["extra"]["luck"]) == [lucks[int(prompt.split("=")[0])] for prompt in prompts]


def expected_gradient(trainer, initial, lucks, loss_type: str, beta: float = 0.5) -> dict[str, torch.Tensor]:
    """By hand, from the completions of the only step: at its beginning all importance weights are 1."""
    model, reference = copy.deepcopy(initial), trainer.ref_model
    rows, parts = [], []
    for batch, trained in zip(trainer.micro_batches, trainer.trained(), strict=True):
        kept = batch["completion_mask"].any(1).nonzero().flatten().tolist()
        losses, lengths = [], []
        for at, number in zip(kept, trained, strict=True):
            rewards = torch.tensor([math.nan if reward is None else reward for reward in REWARDS[lucks[number]]])
            scale = rewards[~rewards.isnan()].std() + 1e-4
            advantages = ((rewards - rewards.nanmean()) / scale).nan_to_num(0)
            advantage = batch["advantages"][at]
            assert torch.isclose(advantages, advantage, atol=1e-5).any()
            prompt = batch["prompt_ids"][at][batch["prompt_mask"][at].bool()]
            completion = batch["completion_ids"][at][batch["completion_mask"][at].bool()]
            ids = torch.cat([prompt, completion])[None]

            def log_probs(network, ids=ids, prompt=prompt, completion=completion):
                logits = network(input_ids=ids).logits[0, len(prompt) - 1 : -1]
                return logits.log_softmax(-1).gather(1, completion[:, None])[:, 0]

            own = log_probs(model)
            with torch.no_grad():
                other = log_probs(reference)
            tokens = -advantage * own + beta * ((other - own).exp() - (other - own) - 1)
            losses.append(tokens.sum())
            lengths.append(len(completion))
        rows += zip(losses, lengths, strict=True)
        if losses:
            parts.append(sum(losses) / sum(lengths))
    if loss_type in ("grpo", "sapo"):
        loss = sum(total / length for total, length in rows) / len(rows)
    elif loss_type == "luspo":
        loss = sum(total for total, _ in rows) / len(rows)
    elif loss_type == "dr_grpo":
        loss = sum(total for total, _ in rows) / (len(rows) * trainer.max_completion_length)
    elif loss_type == "bnpo":
        loss = sum(parts) / len(parts)
    else:
        loss = sum(total for total, _ in rows) / sum(length for _, length in rows)
    loss.backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("loss_type", ["grpo", "sapo", "luspo", "dr_grpo", "bnpo", "dapo", "cispo"])
def test_a_short_batch_is_the_mean_over_what_is_trained_on(train, tiny_model, loss_type):
    """Its gradient is that of a mean over the informative groups alone, also of a micro-batch that has none."""
    lucks = ["solved", "mixed", "failed", "unjudged", "even", "solved", "judged", "half judged"]
    initial = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)

    def move_reference(trainer):
        with torch.no_grad():
            for parameter in trainer.ref_model.parameters():
                parameter.add_(0.02 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))

    settings = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 16, "max_steps": 1, "beta": 0.5}
    settings |= {"loss_type": loss_type, "optim": "sgd", "learning_rate": 1.0, "max_grad_norm": 0, "epsilon_high": 5}
    settings |= {"lr_scheduler_type": "constant", "dynamic_sampling_max_rounds": 1, "weight_decay": 0.0}
    # With it the gradient has another term, that of the importance weights
    settings |= {"use_bias_correction_kl": False}
    settings |= {"importance_sampling_level": "sequence" if loss_type == "luspo" else "token"}
    trainer = train(Recorder, questions(*lucks), prepare=move_reference, **settings)
    trained = trainer.trained()
    assert {lucks[number] for part in trained for number in part} == INFORMATIVE
    assert [] in trained and len(trained) == 16
    assert trainer.state.log_history[0]["dynamic_sampling/trained_groups"] == 3
    expected = expected_gradient(trainer, initial, lucks, loss_type)
    before = dict(initial.named_parameters())
    assert max(gradient.abs().max() for gradient in expected.values()) > 1e-3
    for name, parameter in trainer.model.named_parameters():
        torch.testing.assert_close(before[name] - parameter, expected[name], atol=2e-6, rtol=2e-4)


@pytest.mark.parametrize(
    "settings", [{"scale_rewards": "batch"}, {"multi_objective_aggregation": "normalize_then_sum"}]
)
def test_deviations_over_a_short_batch_are_of_what_is_trained_on(train, settings):
    """Solved and failed groups would widen them."""
    lucks = ["solved", "mixed", "failed", "even"]
    limits = {"gradient_accumulation_steps": 4, "max_steps": 1, "dynamic_sampling_max_rounds": 1}
    trainer = train(Recorder, questions(*lucks), **limits, **settings)
    rewards = np.array([REWARDS["mixed"], REWARDS["even"]])
    centered = rewards - rewards.mean(1, keepdims=True)
    if settings.get("scale_rewards") == "batch":
        expected = centered / (rewards.std(ddof=1) + 1e-4)
    else:
        normalized = centered / (rewards.std(1, ddof=1, keepdims=True) + 1e-4)
        expected = (normalized - normalized.mean()) / (normalized.std(ddof=1) + 1e-4)
    found = torch.cat([batch["advantages"][batch["completion_mask"].any(1)] for batch in trainer.micro_batches])
    assert np.sort(found.numpy()) == pytest.approx(np.sort(expected.ravel()), rel=1e-5)
    masked = torch.cat([batch["advantages"][~batch["completion_mask"].any(1)] for batch in trainer.micro_batches])
    assert masked.tolist() == [0.0] * 8


def test_a_batch_without_an_informative_group_changes_nothing(train, tiny_model):
    """Below the cap or above: all completions are masked, and the loss is a number."""
    settings = {"optim": "sgd", "beta": 0.3, "max_steps": 2, "dynamic_sampling_max_rounds": 3}
    trainer = train(Recorder, questions(*["solved", "failed"] * 8), **settings)
    initial = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    pairs = zip(trainer.model.parameters(), initial.parameters(), strict=True)
    assert all(torch.equal(mine, theirs) for mine, theirs in pairs)
    assert [len(rounds) for rounds in trainer.asked] == [3, 3] and not any(trainer.trained())
    assert trainer.state.log_history[0]["loss"] == 0


def test_further_questions_end_where_all_have_been_asked(train):
    trainer = train(Recorder, questions("solved", "failed", "even"), max_steps=2, dynamic_sampling_max_rounds=50)
    for rounds in trainer.asked:
        asked = [number for numbers in rounds for number in numbers]
        assert len(asked) == len(set(asked)) and len(rounds) <= 3
    assert trainer.state.log_history[0]["dynamic_sampling/trained_groups"] <= 1


@pytest.mark.parametrize(
    ("settings", "weights"),
    [({}, [1, 1]), ({}, [1, 0]), ({}, [1, -1]), ({"multi_objective_aggregation": "normalize_then_sum"}, [1, 2])],
)
def test_which_groups_are_informative(train, settings, weights):
    """As the advantages of TRL's trainer say, and not where only one completion was judged."""

    def second(completions, **kwargs):
        return [0.0] * len(completions)

    dataset = questions(*["mixed"] * 4)
    trainer = train(
        DynamicSamplingGRPOTrainer,
        dataset,
        reward_funcs=[luck_reward, second],
        begin=False,
        reward_weights=weights,
        **settings,
    )
    nan = math.nan
    groups = {
        ((0, 0), (0, 0), (0, 0), (0, 0)): [False] * 4,
        ((0.1, 1), (0.1, 1), (0.1, 1), (0.1, 1)): [False] * 4,
        ((0, 0), (0, 1), (0, 0), (0, 0)): [True, False, True, True],
        ((1, 0), (0, 1), (1, 0), (0, 1)): [False, True, True, True],
        ((0, 1), (1, 2), (2, 3), (0, 1)): [True, True, False, True],
        ((nan, nan), (0, 0), (0, 0), (nan, nan)): [False] * 4,
        ((nan, nan), (1, 0), (1, 0), (1, 0)): [False] * 4,
        ((nan, nan), (nan, nan), (1, 0), (nan, nan)): [False] * 4,
        ((nan, nan), (nan, nan), (nan, nan), (nan, nan)): [False] * 4,
        ((nan, nan), (nan, nan), (1, 0), (0, 0)): [True] * 4,
    }
    column = {(1, 1): 0, (1, 0): 1, (1, -1): 2, (1, 2): 3}[tuple(weights)]
    rewards = torch.tensor([row for group in groups for row in group], dtype=torch.float32)
    assert trainer._are_informative(rewards).tolist() == [known[column] for known in groups.values()]


class Stop(TrainerCallback):
    """Ends a training after a step, with a checkpoint of it, as a kill would."""

    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        control.should_training_stop = control.should_save = state.global_step == self.step


def test_resumed_between_two_generations(train, tmp_path):
    """
    An adapter, in the middle of what is trained on twice: position, running share and completions come from the
    checkpoint.
    """
    lucks = ["solved", "mixed", "failed", "even", "unjudged", "half judged", "judged", "once judged", "solved"] * 2
    settings = {"num_iterations": 2, "steps_per_generation": 4, "max_steps": 8, "dynamic_sampling_max_rounds": 3}

    def run(**options):
        parts = {"peft_config": LoraConfig(task_type="CAUSAL_LM"), "callbacks": options.pop("callbacks", None)}
        return train(Recorder, questions(*lucks), parts=parts, **options, **settings)

    straight = run()
    run(callbacks=[Stop(3)], output_dir=str(tmp_path / "killed"))
    checkpoint = tmp_path / "killed" / "checkpoint-3"
    assert (checkpoint / "generations_0.pt").exists()
    resumed = run(resume=str(checkpoint))
    assert same_weights(resumed, straight) and logs(resumed) == logs(straight)
    assert resumed.asked == straight.asked[1:]


class Unsupported(DynamicSamplingGRPOTrainer):
    """With whatever its arguments say a trainer has."""

    def __init__(self, **parts):
        defaults = {"train_dataset": questions("mixed"), "tools": [], "environments": None, "rollout_func": None}
        vars(self).update(defaults | parts)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"tools": [print]}, "tools or environments"),
        ({"environments": []}, "tools or environments"),
        ({"rollout_func": print}, "a rollout_func"),
        ({"train_dataset": questions("mixed").rename_column("luck", "images")}, "images"),
    ],
)
def test_parts_that_it_does_not_go_with(parts, message):
    Unsupported()._check_supported()
    with pytest.raises(UserError, match=f"dynamic_sampling does not go with {message}"):
        Unsupported(**parts)._check_supported()


def test_streamed_data_and_no_round_are_refused(train, tmp_path):
    with pytest.raises(UserError, match="a streamed data set"):
        train(DynamicSamplingGRPOTrainer, questions(*["mixed"] * 4).to_iterable_dataset(), begin=False)
    with pytest.raises(ValueError, match="dynamic_sampling_max_rounds must be at least 1, got 0"):
        GRPOArguments(str(tmp_path), use_cpu=True, bf16=False, dynamic_sampling_max_rounds=0)
