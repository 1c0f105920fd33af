"""Dynamic sampling, as in DAPO: GRPO on groups whose rewards differ, as only these say what is better."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate.logging import get_logger
from accelerate.utils import gather_object
from datasets import IterableDataset
from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState

from ..errors import UserError
from .checkpoints import GENERATIONS_FILE, num_processes_of
from .grpo_trainer import ResumableGRPOTrainer
from .sampling import QuestionOrder


logger = get_logger(__name__)

# Losses that TRL divides by the number of tokens that are trained on; the others count samples
_BY_TOKENS = {"cispo", "dapo", "vespo"}
# A difference that TRL takes for none
_NO_DIFFERENCE = 1e-8


class DynamicSamplingGRPOTrainer(ResumableGRPOTrainer):
    """
    GRPO with dynamic sampling. The only change is in which completions a generation batch has: a group whose rewards
    are all equal gives way to the group of the next question in the epoch's order. A generation batch asks no question
    twice. A completion that could not be judged (`None` of all rewards) does not count: a group is *informative* if
    two of its completions that could be judged have different rewards, as TRL weighs and sums them.

    Questions are taken from the order in which TRL's trainer asks them, so that where all groups are informative the
    training is that of TRL's trainer, to the bit. Otherwise the questions are gone through faster than the epochs that
    are logged, which count steps.

    All rounds are of as many completions on each process. A round asks as many questions as are likely to fill what is
    open, by a running mean of the share of informative groups, and at most a generation batch of them. Groups beyond
    those that are needed are not kept for later, as they would be of an older model then.

    What is open after `args.dynamic_sampling_max_rounds` rounds, or when there is no further question, is not trained
    on: its completions are masked and the loss is the mean over the others of the generation batch, by samples
    (`loss_type` `"grpo"`, `"dr_grpo"`, `"sapo"`, `"luspo"`), by tokens (`"dapo"`, `"cispo"`, `"vespo"`), or by
    micro-batches that have any (`"bnpo"`). The KL divergence has the same mean.

    Logs, besides TRL's: `dynamic_sampling/rounds`, `dynamic_sampling/informative_share` (of the groups that were
    generated), `dynamic_sampling/generated_groups` and `dynamic_sampling/trained_groups`, for each generation batch.
    `reward`, `reward_std`, `rewards/...` and `frac_reward_zero_std` are of all groups that were generated: those that
    are trained on would hide how good the model is.

    A checkpoint has the position in the questions, the running share and, where it lies between two generations
    (`num_iterations` above 1, or `steps_per_generation` above `gradient_accumulation_steps`), the completions that are
    not all trained on yet.

    Raises:
        UserError: a streamed data set, images, tools, an environment or a `rollout_func`.
    """

    beta: float

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._check_supported()
        self._groups = self.args.generation_batch_size // self.num_generations
        self._order = QuestionOrder(self._get_train_sampler(), self.args.seed)
        # Where the generation batch of now begins
        self._begin = 0
        self._informative_share = 1.0
        self._batch: _Batch | None = None
        self.add_callback(_DynamicSamplingState(self))

    def _check_supported(self) -> None:
        reasons = {
            "a streamed data set, which has no further questions to look up": isinstance(
                self.train_dataset, IterableDataset
            ),
            "images": {"image", "images"} & set(self.train_dataset.column_names or ()),
            "tools or environments": self.tools or self.environments is not None,
            "a rollout_func": self.rollout_func is not None,
        }
        for reason, found in reasons.items():
            if found:
                raise UserError(f"dynamic_sampling does not go with {reason}: leave one of them out")

    def get_train_dataloader(self):
        dataloader = super().get_train_dataloader()
        self._questions = dataloader.dataset
        return dataloader

    def _generate_and_score_completions(self, inputs):
        if not self.model.training:
            return super()._generate_and_score_completions(inputs)
        batch = self._batch = self._fill_batch()
        try:
            output = super()._generate_and_score_completions(batch.inputs)
        finally:
            self._batch = None
        self._log_batch(batch)
        if batch.open:
            trained = torch.ones(self._groups, dtype=torch.long, device=output["advantages"].device)
            trained[batch.open] = 0
            trained = trained.repeat_interleave(self.num_generations)[batch.first_row :][: len(batch.inputs)]
            output["completion_mask"] = output["completion_mask"] * trained[:, None]
            output["num_items_in_batch"] = self.accelerator.gather(output["completion_mask"].sum()).sum()
            scale = self._groups / max(1, self._groups - len(batch.open))
            output["loss_scale"] = torch.tensor(scale, device=trained.device)
        return output

    def _generate(self, prompts):
        return super()._generate(prompts) if self._batch is None else self._batch.generated

    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list):
        if self._batch is None:
            return super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        for name, values in self._batch.extra_logs.items():
            self._pending_extra_logs[name].extend(values)
        # As if they could not be judged: not in means and deviations over the batch, and without an advantage
        rewards = self._batch.rewards.clone().view(self._groups, -1)
        rewards[self._batch.open] = torch.nan
        return rewards.view_as(self._batch.rewards)

    def _compute_loss(self, model, inputs):
        scale = inputs.get("loss_scale")
        if scale is None or self.loss_type in _BY_TOKENS:
            return super()._compute_loss(model, inputs)
        if self.loss_type == "bnpo":
            filled = torch.stack([part["completion_mask"].any() for part in self._buffered_inputs])
            filled = self.accelerator.gather(filled)
            scale = filled.numel() / filled.sum().clamp(min=1)
        beta = self.beta
        # All losses are linear in both
        self.beta = beta * scale.item()
        try:
            return super()._compute_loss(model, inputs | {"advantages": inputs["advantages"] * scale})
        finally:
            self.beta = beta

    def _fill_batch(self) -> "_Batch":
        """Generate until each group is informative, the rounds are over or no further question is left."""
        processes = self.accelerator.num_processes
        self._begin = self._order.position
        asked: set[int] = set()
        batch = self._generate_round(self._order.take(self._groups, asked))
        informative = self._are_informative(batch.rewards)
        batch.open = (~informative).nonzero().flatten().tolist()
        batch.all_rewards.append(batch.rewards.clone())
        self._count(batch, informative)
        # So many groups have as many completions on each process
        unit = processes // math.gcd(processes, self.num_generations)
        while batch.open and batch.rounds < self.args.dynamic_sampling_max_rounds:
            likely = math.ceil(len(batch.open) / max(self._informative_share, 1 / self._groups))
            number = min(self._groups, math.ceil(likely / unit) * unit)
            questions = self._order.take(number, asked, multiple_of=unit)
            if not questions:
                break
            further = self._generate_round(questions)
            informative = self._are_informative(further.rewards)
            batch.all_rewards.append(further.rewards)
            self._count(batch, informative)
            self._replace(batch, further, informative.nonzero().flatten().tolist())
        return batch

    def _generate_round(self, questions: list[int]) -> "_Batch":
        """Completions and rewards of some questions; this process has its part of the completions."""
        rows = [question for question in questions for _ in range(self.num_generations)]
        number = len(rows) // self.accelerator.num_processes
        first = self.accelerator.process_index * number
        inputs = [self._questions[row] for row in rows[first : first + number]]
        prompts = [row["prompt"] for row in inputs]
        generated = super()._generate(prompts)
        _, completion_ids, _, completions, *_ = generated
        rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids)
        extra_logs = {name: list(values) for name, values in self._pending_extra_logs.items()}
        self._pending_extra_logs.clear()
        return _Batch(inputs, generated, rewards, extra_logs, first)

    def _are_informative(self, rewards_per_func: torch.Tensor) -> torch.Tensor:
        """For each group, whether its rewards differ among the completions that could be judged."""
        unjudged = rewards_per_func.isnan().all(1)
        if self.multi_objective_aggregation == "normalize_then_sum":
            grouped = rewards_per_func.view(-1, self.num_generations, len(self.reward_funcs))
            deviation = grouped - grouped.nanmean(1, keepdim=True)
            count = (~grouped.isnan()).sum(1, keepdim=True)
            std = ((deviation**2).nansum(1, keepdim=True) / (count - 1).clamp(min=1)).sqrt()
            differ = (_spread(grouped, 1) > _NO_DIFFERENCE).unsqueeze(1)
            rewards_per_func = torch.where(differ, deviation / (std + 1e-4), 0).view_as(rewards_per_func)
        rewards = (rewards_per_func * self.reward_weights.to(rewards_per_func.device)).nansum(1)
        rewards[unjudged] = torch.nan
        return _spread(rewards.view(-1, self.num_generations), 1) > _NO_DIFFERENCE

    def _count(self, batch: "_Batch", informative: torch.Tensor) -> None:
        number, found = informative.numel(), int(informative.sum())
        batch.rounds += 1
        batch.informative += found
        # A mean over about two generation batches, of groups
        self._informative_share += (found / number - self._informative_share) * number / (number + self._groups)

    def _replace(self, batch: "_Batch", further: "_Batch", informative: list[int]) -> None:
        """Put the first informative groups of `further` where `batch` is open; they may be of other processes."""
        size = self.num_generations
        target = {group: batch.open[at] for at, group in enumerate(informative[: len(batch.open)])}
        moved = []
        for index in range(len(further.inputs)):
            group, place = divmod(further.first_row + index, size)
            if group in target:
                moved.append((target[group] * size + place, further.row(index)))
        for place, row in gather_object(moved):
            if 0 <= place - batch.first_row < len(batch.inputs):
                batch.set_row(place - batch.first_row, row)
        for group, slot in target.items():
            batch.rewards[slot * size : (slot + 1) * size] = further.rewards[group * size : (group + 1) * size]
        batch.open = batch.open[len(target) :]

    def _log_batch(self, batch: "_Batch") -> None:
        metrics = self._metrics["train"]
        rewards_per_func = torch.cat(batch.all_rewards)
        generated = len(rewards_per_func) // self.num_generations
        metrics["dynamic_sampling/rounds"].append(batch.rounds)
        metrics["dynamic_sampling/informative_share"].append(batch.informative / generated)
        metrics["dynamic_sampling/generated_groups"].append(generated)
        metrics["dynamic_sampling/trained_groups"].append(self._groups - len(batch.open))
        if batch.rounds == 1 and not batch.open:
            return
        total = (rewards_per_func * self.reward_weights.to(rewards_per_func.device)).nansum(1)
        total[rewards_per_func.isnan().all(1)] = torch.nan
        named = {"reward": (total, "reward", "reward_std")}
        for index, name in enumerate(self.reward_func_names):
            named[name] = rewards_per_func[:, index], f"rewards/{name}/mean", f"rewards/{name}/std"
        for values, mean, std in named.values():
            values = values[~values.isnan()]
            metrics[mean][-1] = values.mean().item()
            metrics[std][-1] = values.std().item() if len(values) > 1 else math.nan
        metrics["frac_reward_zero_std"][-1] = 1 - batch.informative / generated

    def _steps_since_generation(self) -> int:
        """Micro-batches that were trained on since the last generation; 0 where the next one generates."""
        return self._step % (self.args.steps_per_generation * self.num_iterations)

    def _save_rng_state(self, output_dir):
        super()._save_rng_state(output_dir)
        if self._steps_since_generation():
            torch.save(self._buffered_inputs, Path(output_dir, GENERATIONS_FILE.format(self.args.process_index)))

    def _restore(self, state: dict[str, Any], checkpoint: Path) -> None:
        """Go on from what a checkpoint says."""
        self._informative_share = state["informative_share"]
        self._order.position, self._begin, self._step = state["position"], state["begin"], state["step"]
        if self._step and num_processes_of(checkpoint) != self.args.world_size:
            logger.warning(
                f"{checkpoint} lies between two generations of completions, of another number of processes: they are "
                "generated anew"
            )
            self._order.position, self._step = self._begin, 0
        elif self._step:
            file = checkpoint / GENERATIONS_FILE.format(self.args.process_index)
            self._buffered_inputs = torch.load(file, map_location=self.args.device)


@dataclass
class _Batch:
    """
    Completions of some groups on this process, from row `first_row` of all on, and the rewards of all of them.
    `generated` is what TRL's trainer takes them from. `open` has the groups that are not informative.
    """

    inputs: list[dict[str, Any]]
    generated: tuple
    rewards: torch.Tensor
    extra_logs: dict[str, list]
    first_row: int

    def __post_init__(self):
        self.open: list[int] = []
        self.rounds = 0
        self.informative = 0
        self.all_rewards: list[torch.Tensor] = []

    def _lists(self) -> list[list]:
        """What there is one of for each completion, besides columns of the log."""
        return [self.inputs, *(part for part in self.generated if isinstance(part, list) and part)]

    def row(self, index: int) -> tuple[list, dict[str, Any]]:
        whole = {name: values for name, values in self.extra_logs.items() if len(values) == len(self.inputs)}
        return [part[index] for part in self._lists()], {name: values[index] for name, values in whole.items()}

    def set_row(self, index: int, row: tuple[list, dict[str, Any]]) -> None:
        for part, value in zip(self._lists(), row[0], strict=True):
            part[index] = value
        for name in {*self.extra_logs, *row[1]}:
            values = self.extra_logs.setdefault(name, [None] * len(self.inputs))
            if len(values) == len(self.inputs):
                values[index] = row[1].get(name)


class _DynamicSamplingState(TrainerCallback, ExportableState):
    """Keeps the state of a [`DynamicSamplingGRPOTrainer`] in `trainer_state.json`, which makes a checkpoint whole."""

    def __init__(self, trainer: DynamicSamplingGRPOTrainer):
        self.trainer = trainer

    def on_train_begin(self, args, state, control, **kwargs):
        saved = state.stateful_callbacks.setdefault(type(self).__name__, self.state())
        if self.trainer.resumed_from is not None:
            self.trainer._restore(saved["attributes"], Path(self.trainer.resumed_from))

    def state(self) -> dict[str, Any]:
        trainer = self.trainer
        attributes: dict[str, Any] = {"position": trainer._order.position, "begin": trainer._begin}
        attributes |= {"informative_share": trainer._informative_share, "step": trainer._steps_since_generation()}
        return {"args": {}, "attributes": attributes}


def _spread(values: torch.Tensor, dim: int) -> torch.Tensor:
    """The largest difference between values that are numbers; negative where there are none."""
    missing = values.isnan()
    return values.masked_fill(missing, -math.inf).amax(dim) - values.masked_fill(missing, math.inf).amin(dim)
