"""GLOW-weighted supervised fine-tuning."""

from pathlib import Path

import torch
from datasets import Dataset
from transformers import TrainerCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from trl import SFTTrainer, pack_dataset

from ..errors import UserError
from ..weighting import glow_weights
from .config import GLOWConfig
from .ledger import LossLedger
from .metrics import WeightMetrics, epoch_metrics
from .samples import (
    SAMPLE_ID,
    SAMPLE_ROW,
    SampleIdCollator,
    add_sample_ids,
    fingerprint,
    ids_to_token_lists,
    sum_by_sample,
    token_lists_to_ids,
)


LEDGER_FILE = "ledger.safetensors"


class GLOWTrainer(SFTTrainer):
    r"""
    Trainer for GLOW (Tian et al., [arXiv:2601.04992](https://huggingface.co/papers/2601.04992)), supervised
    fine-tuning on correct and incorrect reasoning trajectories.

    The only change from [`~trl.SFTTrainer`] is the loss: the mean over the samples of an optimizer step, on all
    processes, of each sample's mean token loss times a weight that grows as the sample's loss stops falling from one
    epoch to the next (see [`~glow_trl.weighting.glow_weights`]). It takes the same arguments and the same data sets,
    packed or not.

    Args:
        model, args, train_dataset, ...:
            As in [`~trl.SFTTrainer`], with `args` a [`GLOWConfig`]. A column `is_correct` (`bool`) of the training
            set, if there is one, splits the logged losses and gains into those of positive and negative samples.

    Attributes:
        ledger ([`LossLedger`]):
            Loss of every training sample in this epoch and the previous one, indexed by the sample's position in
            `train_dataset` as it was passed.

    Raises:
        UserError: the training set is empty or streamed, has images, or loses all its samples to truncation; or an
            option does not go with GLOW, such as sequence parallelism.

    Example:

    ```python
    from datasets import load_dataset
    from glow_trl import GLOWConfig, GLOWTrainer

    trainer = GLOWTrainer(
        model="Qwen/Qwen2.5-0.5B",
        args=GLOWConfig(output_dir="Qwen2.5-0.5B-GLOW", num_train_epochs=5, glow_alpha=2.0, glow_beta=10.0),
        train_dataset=load_dataset("json", data_files="trajectories.jsonl", split="train"),
    )
    trainer.train()
    ```
    """

    _tag_names = ["trl", "sft", "glow"]
    _name = "GLOW"

    def __init__(self, model, args: GLOWConfig | None = None, *, train_dataset: Dataset | None = None, **kwargs):
        if args is None:
            raise UserError("args is required: pass a GLOWConfig")
        if not isinstance(args, GLOWConfig):
            raise UserError(f"args must be a GLOWConfig, got {type(args).__name__}")
        if train_dataset is None:
            raise UserError("train_dataset is required")
        if kwargs.get("compute_loss_func") is not None:
            raise UserError("compute_loss_func would replace the GLOW loss; use trl.SFTTrainer for a loss of your own")
        train_dataset = add_sample_ids(train_dataset)
        is_correct = None
        if "is_correct" in train_dataset.column_names:
            is_correct = torch.tensor([bool(label) for label in train_dataset["is_correct"]])
        num_samples = len(train_dataset)

        super().__init__(model, args, train_dataset=train_dataset, **kwargs)

        self._reject_unsupported()
        if len(self.train_dataset) == 0:
            raise UserError(
                f"none of the {num_samples} training samples has a target token left within max_length="
                f"{args.max_length}: raise max_length, or check that the completions are not empty"
            )
        self.data_collator = SampleIdCollator(self.data_collator)
        self.ledger = LossLedger(num_samples, self.args.device, fingerprint(self.train_dataset))
        self._is_correct = is_correct
        self._weight_metrics = WeightMetrics(self.args.device, args.glow_min_weight, args.glow_max_weight)
        self._epoch_metrics: dict[str, float] = {}
        self._ledger_loaded = False
        self._step_weight = self._step_loss = 0.0
        if not args.is_plain_sft:
            # Keeps `Trainer` from scaling for gradient accumulation: `compute_loss` does, for any model
            self.model_accepts_loss_kwargs = True
        self.add_callback(_LedgerCallback(self))

    @property
    def _normalizes_gradients(self) -> bool:
        # The mean weight of an accumulated step is known only after its last backward: the gradients are divided then
        return self.args.glow_normalization == "mean" and self.args.gradient_accumulation_steps > 1

    def _reject_unsupported(self) -> None:
        if self._is_vision_dataset:
            raise UserError("GLOWTrainer does not support data sets with images")
        parallelism = self.accelerator.parallelism_config
        if parallelism is not None and parallelism.non_data_parallel_size > 1:
            raise UserError(
                "GLOWTrainer does not support sequence, context or tensor parallelism: a sample's loss must be "
                "computed on one process. Use data parallelism (DDP, ZeRO or FSDP)"
            )
        accelerator_config = self.args.accelerator_config
        if accelerator_config.split_batches or accelerator_config.dispatch_batches:
            raise UserError("GLOWTrainer needs accelerator_config with split_batches and dispatch_batches off")
        if self.args.train_sampling_strategy == "batch_rebalance":
            raise UserError("GLOWTrainer does not support train_sampling_strategy='batch_rebalance'")
        if self._normalizes_gradients and self.is_deepspeed_enabled:
            raise UserError(
                "glow_normalization='mean' with gradient_accumulation_steps > 1 is not possible under DeepSpeed, "
                "which holds the gradients itself: set gradient_accumulation_steps to 1, or glow_normalization='none'"
            )

    def _prepare_dataset(self, dataset, processing_class, args, packing, formatting_func, dataset_name):
        if dataset_name != "train":
            return super()._prepare_dataset(dataset, processing_class, args, packing, formatting_func, dataset_name)
        dataset = super()._prepare_dataset(dataset, processing_class, args, False, formatting_func, dataset_name)
        if packing and len(dataset) > 0:
            if args.max_length is None:
                raise UserError("packing=True needs max_length, the length of a packed row")
            kwargs = {"num_proc": args.dataset_num_proc, "desc": f"Packing {dataset_name} dataset"}
            with args.main_process_first(desc="packing"):
                dataset = dataset.select_columns(["input_ids", "labels", SAMPLE_ID])
                dataset = ids_to_token_lists(dataset, **kwargs)
                dataset = pack_dataset(dataset, args.max_length, args.packing_strategy, kwargs)
                dataset = token_lists_to_ids(dataset, **kwargs)
            if args.shuffle_dataset:
                dataset = dataset.shuffle(seed=args.seed)
        return dataset

    def _set_signature_columns_if_needed(self):
        super()._set_signature_columns_if_needed()
        if SAMPLE_ID not in self._signature_columns:
            self._signature_columns = [*self._signature_columns, SAMPLE_ID]

    def _get_num_items_in_batch(self, batch_samples, device):
        self._drop_repeated_samples(batch_samples)
        if self.args.is_plain_sft or not batch_samples:
            return super()._get_num_items_in_batch(batch_samples, device)
        count = sum(self._targets(batch, batch[SAMPLE_ID])[1].sum() for batch in batch_samples).to(device)
        if self.args.world_size > 1:
            count = self.accelerator.gather(count).sum()
        return count

    def _drop_repeated_samples(self, batch_samples: list[dict[str, torch.Tensor]]) -> None:
        """
        Give id -1 to the samples that the data loader repeats to even out the last batches of the processes, so that
        they count neither in the loss nor in the ledger.
        """
        state = self.accelerator.gradient_state
        if self.accelerator.num_processes == 1 or not batch_samples:
            return
        if not state.end_of_dataloader or state.remainder <= 0:
            return
        batch = batch_samples[-1]
        rows = state.remainder - self.accelerator.process_index * self._train_batch_size
        batch[SAMPLE_ID] = batch[SAMPLE_ID].masked_fill(batch[SAMPLE_ROW] >= rows, -1)

    def _targets(self, batch: dict[str, torch.Tensor], sample_ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Number of target tokens of each sample, and what the sample adds to the divisor of the loss."""
        num_targets = sum_by_sample(batch["labels"][:, 1:] != -100, len(sample_ids), batch.get("seq_idx"))
        counted = num_targets * (sample_ids >= 0)
        return num_targets, counted if self.args.loss_reduction == "token" else (counted > 0).float()

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        sample_ids = inputs.pop(SAMPLE_ID, None)
        inputs.pop(SAMPLE_ROW, None)
        forward = _OutputKeeper(model)
        result = super().compute_loss(forward, inputs, return_outputs, num_items_in_batch)
        if not self.model.training:
            loss = self._evaluation_loss(forward.outputs, inputs)
        else:
            loss = self._weighted_loss(forward.outputs, inputs, sample_ids, num_items_in_batch)
        if self.args.is_plain_sft:
            return result
        return (loss, result[1]) if return_outputs else loss

    def _weighted_loss(self, outputs, inputs, sample_ids, num_items_in_batch) -> torch.Tensor:
        num_targets, counted = self._targets(inputs, sample_ids)
        loss_sums = sum_by_sample(-outputs.log_probs, len(sample_ids), inputs.get("seq_idx"))
        losses = loss_sums / num_targets.clamp(min=1)

        visited = counted > 0
        ids = sample_ids.masked_fill(~visited, -1)
        gains = self.ledger.previous_loss(ids) - losses.detach()
        weights = self._weights(gains) * visited
        self.ledger.record(ids, losses)
        self._weight_metrics.update(weights, gains, losses.detach(), visited)

        divisor = counted.sum() if num_items_in_batch is None else num_items_in_batch
        divisor = torch.as_tensor(divisor, device=weights.device).clamp(min=1)
        if self.args.glow_normalization == "mean":
            # The mean is over the tokens where the loss is
            weight = (weights * counted).sum() / divisor
            if self._normalizes_gradients:
                self._step_weight = self._step_weight + weight
            else:
                weights = weights / self._over_processes(weight)

        loss = (weights * (loss_sums if self.args.loss_reduction == "token" else losses)).sum() / divisor
        # DDP averages the gradients of the processes, while the divisor counts the samples of all of them
        loss = loss * self.accelerator.num_processes
        if self.aux_loss_enabled:
            loss = loss + self.router_aux_loss_coef * outputs.aux_loss / self.current_gradient_accumulation_steps
        return loss

    def _weights(self, gains: torch.Tensor) -> torch.Tensor:
        args = self.args
        if args.weighting == "uniform" or self.ledger.epoch <= args.glow_warmup_epochs:
            return torch.ones_like(gains)
        if args.weighting == "constant":
            gains = torch.zeros_like(gains)
        return glow_weights(gains, args.glow_alpha, args.glow_beta, args.glow_min_weight, args.glow_max_weight)

    def _over_processes(self, value: torch.Tensor) -> torch.Tensor:
        return self.accelerator.reduce(value, reduction="sum") if self.accelerator.num_processes > 1 else value

    def _evaluation_loss(self, outputs, inputs) -> torch.Tensor:
        """Mean over samples of their mean token loss, unweighted; over tokens with `loss_reduction="token"`."""
        seq_idx = inputs.get("seq_idx")
        num_samples = len(inputs["labels"]) if seq_idx is None else int(seq_idx.max()) + 1
        num_targets = sum_by_sample(outputs.label_mask, num_samples, seq_idx)
        losses = sum_by_sample(-outputs.log_probs, num_samples, seq_idx)
        if self.args.loss_reduction == "token":
            return losses.sum() / num_targets.sum().clamp(min=1)
        return (losses / num_targets.clamp(min=1)).sum() / (num_targets > 0).sum().clamp(min=1)

    def training_step(self, model, inputs, num_items_in_batch=None):
        loss = super().training_step(model, inputs, num_items_in_batch)
        if not self._normalizes_gradients:
            return loss
        self._step_loss = self._step_loss + loss
        if self.accelerator.sync_gradients:
            scale = 1 / self._over_processes(self._step_weight).clamp(min=torch.finfo(torch.float32).tiny).item()
            for parameter in model.parameters():
                if parameter.grad is not None:
                    parameter.grad.mul_(scale)
            # `Trainer` logs the sum of what the micro-batches return, which so becomes the normalized loss
            loss = loss + self._step_loss * (scale - 1)
            self._step_weight = self._step_loss = 0.0
        return loss

    def log(self, logs, start_time=None):
        if self.model.training:
            logs.update(self._weight_metrics.pop())
            logs.update(self._epoch_metrics)
            self._epoch_metrics = {}
        super().log(logs, start_time)

    def _save_checkpoint(self, model, trial):
        self.ledger.sync()
        if self.args.should_save:
            checkpoint = Path(self._get_output_dir(trial)) / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
            checkpoint.mkdir(parents=True, exist_ok=True)
            self.ledger.save(checkpoint / LEDGER_FILE)
        super()._save_checkpoint(model, trial)

    def _load_optimizer_and_scheduler(self, checkpoint):
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None:
            self.ledger.load(Path(checkpoint) / LEDGER_FILE)
            self._ledger_loaded = True


class _OutputKeeper:
    """Stands for the model in `SFTTrainer.compute_loss` and keeps the per-token outputs, which that drops."""

    def __init__(self, model):
        self.model = model
        self.outputs = None

    def __call__(self, **inputs):
        outputs = self.model(**inputs)
        if inputs.get("fused_lm_head"):
            self.outputs = outputs
        return outputs


class _LedgerCallback(TrainerCallback):
    """Tells the ledger where epochs begin and end."""

    def __init__(self, trainer: GLOWTrainer):
        self.trainer = trainer
        self.epoch = None

    def on_train_begin(self, args, state, control, **kwargs):
        if not self.trainer._ledger_loaded:
            self.trainer.ledger.reset()
        self.trainer._ledger_loaded = False
        self.epoch = int(state.epoch or 0)

    def on_epoch_begin(self, args, state, control, **kwargs):
        self.epoch += 1
        self.trainer.ledger.begin_epoch(self.epoch)

    def on_epoch_end(self, args, state, control, **kwargs):
        self.trainer.ledger.sync()
        self.trainer._epoch_metrics = epoch_metrics(self.trainer.ledger, args, self.trainer._is_correct)
