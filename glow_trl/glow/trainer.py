"""GLOW-weighted supervised fine-tuning."""

import copy
from collections.abc import Callable
from pathlib import Path

import torch
from datasets import Dataset
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from trl import SFTTrainer

from ..errors import UserError
from ..training.checkpoints import LEDGER_FILE
from ..training.resume import ResumableTrainer
from ..training.sampling import SeededByEpoch, order_by_epoch
from .answers import NegativeAnswers, limit_negatives
from .checks import reject_unsupported
from .config import GLOWConfig
from .hooks import LedgerCallback, OutputKeeper
from .ledger import LossLedger
from .metrics import WeightMetrics
from .normalization import MeanNormalizer
from .reference import REF_LOG_PROBS, align_log_probs, initial_losses
from .samples import (
    NUM_TARGETS,
    SAMPLE_ID,
    SAMPLE_ROW,
    SampleIdCollator,
    add_sample_ids,
    check_samples_left,
    drop_samples_without_target,
    fingerprint,
    pack_samples,
    sum_by_sample,
    truncate_samples,
)
from .token_weights import TokenWeights
from .weigher import Weigher


STEP_WEIGHTS = "step_weights"
# What batches hold beside the inputs of the model
_ABOUT_SAMPLES = (SAMPLE_ID, SAMPLE_ROW, NUM_TARGETS, STEP_WEIGHTS, REF_LOG_PROBS)


class GLOWTrainer(ResumableTrainer, SFTTrainer):
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
        negative_answers ([`NegativeAnswers`] or `None`):
            How many negative samples `negative_answer` changed, left whole and dropped.

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
        product = args.product()
        train_dataset = self._numbered_dataset = add_sample_ids(train_dataset)
        self._initial_losses: tuple[torch.Tensor, torch.Tensor] | None = None
        is_correct = None
        if "is_correct" in train_dataset.column_names:
            is_correct = torch.tensor([bool(label) for label in train_dataset["is_correct"]])
        num_samples = len(train_dataset)
        self.negative_answers: NegativeAnswers | None = None

        super().__init__(model, args, train_dataset=train_dataset, **kwargs)

        self._numbered_dataset = None
        reject_unsupported(self)
        self._set_signature_columns_if_needed()
        self._signature_columns: list[str] = [*self._signature_columns, SAMPLE_ID, REF_LOG_PROBS]
        self.data_collator: Callable = SampleIdCollator(self.data_collator)
        self.ledger = LossLedger(
            num_samples, self.args.device, fingerprint(self.train_dataset), keep_initial="initial" in product.needs
        )
        self._weigher = Weigher(self, product, is_correct)
        self._weight_metrics = WeightMetrics(product)
        self._normalizer = None
        if not args.is_plain_sft:
            # Keeps `Trainer` from scaling for gradient accumulation: `compute_loss` does, for any model
            self.model_accepts_loss_kwargs = True
            if args.glow_normalization == "mean":
                self._normalizer = MeanNormalizer(self.accelerator)
        self._ledger_callback = LedgerCallback(self, is_correct)
        self.add_callback(self._ledger_callback)

    def _prepare_dataset(self, dataset, processing_class, args, packing, formatting_func, dataset_name):
        if dataset is not self._numbered_dataset:
            check_samples_left(dataset, dataset, args.max_length, f"evaluation set {dataset_name!r}")
            prepared = super()._prepare_dataset(
                dataset, processing_class, args, packing, formatting_func, dataset_name
            )
            check_samples_left(prepared, dataset, args.max_length, f"evaluation set {dataset_name!r}")
            return prepared
        if packing and args.max_length is None:
            raise UserError("packing=True needs max_length, the length of a packed row")
        unpacked_args, as_sft = copy.copy(args), args.is_plain_sft
        limited, aligned = args.negative_answer != "keep", args.reads_log_probs
        if packing and as_sft or limited or aligned:
            # `SFTTrainer` leaves truncation to packing, which keeps rows that are then without a target
            unpacked_args.max_length = None
        prepared = super()._prepare_dataset(
            dataset, processing_class, unpacked_args, False, formatting_func, dataset_name
        )
        if limited or aligned:
            with args.main_process_first(desc="aligning with the texts"):
                prepared = self._align(prepared, getattr(processing_class, "tokenizer", processing_class), args)
                if args.max_length is not None and not (packing and as_sft):
                    prepared = truncate_samples(
                        prepared, args.max_length, args.truncation_mode, num_proc=args.dataset_num_proc
                    )
        if not as_sft or limited:
            prepared = drop_samples_without_target(prepared)
        check_samples_left(prepared, dataset, args.max_length, "training set")
        if args.initial_loss == "log_probs":
            losses = torch.from_numpy(initial_losses(prepared))
            self._initial_losses = torch.tensor(prepared[SAMPLE_ID]), losses
        if packing:
            with args.main_process_first(desc="packing"):
                prepared = pack_samples(
                    prepared, args.max_length, args.packing_strategy, num_proc=args.dataset_num_proc
                )
            if args.shuffle_dataset:
                prepared = prepared.shuffle(seed=args.seed)
        return prepared

    def _align(self, dataset: Dataset, tokenizer, args: GLOWConfig) -> Dataset:
        """Put log-probabilities beside the tokens of a data set, and leave out what is not to be learned."""
        if args.reads_log_probs:
            # Without their ends, which another model's log-probabilities may have been cut off, too
            kept = args.max_length if args.truncation_mode == "keep_start" else None
            dataset = align_log_probs(dataset, tokenizer, kept)
        if args.negative_answer != "keep":
            dataset, self.negative_answers = limit_negatives(
                dataset, args.negative_answer, tokenizer, args.dataset_num_proc
            )
        return dataset

    @property
    def token_weights(self) -> TokenWeights | None:
        """How the weights of this epoch's tokens are distributed; `None` where tokens have no weights of their own."""
        return self._weigher.token_weights

    def get_train_dataloader(self):
        dataloader = super().get_train_dataloader()
        if self.args.train_sampling_strategy == "group_by_length" and not self.args.is_plain_sft:
            seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
            order_by_epoch(dataloader, SeededByEpoch, seed)
        return dataloader

    def _get_num_items_in_batch(self, batch_samples, device):
        self._drop_repeated_samples(batch_samples)
        if self.args.is_plain_sft or not batch_samples:
            return super()._get_num_items_in_batch(batch_samples, device)
        for batch in batch_samples:
            batch[NUM_TARGETS] = self._count_targets(batch)
        if self._weigher.product.of("step") and len(batch_samples) > 1:
            self._weigh_step(batch_samples)
        count = sum(self._share_of_divisor(batch[NUM_TARGETS]).sum() for batch in batch_samples).to(device)
        if self.args.world_size > 1:
            count = self.accelerator.gather(count).sum()
        return count.clamp(min=1)

    def _drop_repeated_samples(self, batch_samples: list[dict[str, torch.Tensor]]) -> None:
        """
        Give id -1 to the samples that the data loader repeats to even out the last batches of the processes, so that
        they count neither in the loss nor in the ledger.
        """
        num_processes = self.accelerator.num_processes
        if num_processes == 1 or not batch_samples or self.args.dataloader_drop_last:
            return
        # Not `gradient_state.remainder`: accelerate does not know it in an epoch that was resumed
        remainder = len(self.train_dataset) % (self._train_batch_size * num_processes)
        if remainder == 0 or not self.accelerator.gradient_state.end_of_dataloader:
            return
        batch = batch_samples[-1]
        rows = remainder - self.accelerator.process_index * self._train_batch_size
        batch[SAMPLE_ID] = batch[SAMPLE_ID].masked_fill(batch[SAMPLE_ROW] >= rows, -1)

    def _count_targets(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Number of target tokens of each sample of a batch, float32; 0 for a repeated one."""
        sample_ids = batch[SAMPLE_ID]
        num_targets = sum_by_sample(batch["labels"][:, 1:] != -100, len(sample_ids), batch.get("seq_idx"))
        return num_targets.mul_(sample_ids >= 0) if self.accelerator.num_processes > 1 else num_targets

    def _share_of_divisor(self, num_targets: torch.Tensor) -> torch.Tensor:
        """What each sample adds to the divisor of the loss: its target tokens, or one if it has any."""
        return num_targets if self.args.loss_reduction == "token" else num_targets.clamp(max=1)

    @torch.no_grad()
    def _weigh_step(self, batch_samples: list[dict[str, torch.Tensor]]) -> None:
        """
        Add to each micro-batch of a step the weights that come of comparing the samples of all of them, by a forward
        pass of each with the random numbers that it will have in the step.
        """
        device, known = self.args.device, []
        with torch.random.fork_rng([] if device.type == "cpu" else [device], device_type=device.type):
            for batch in batch_samples:
                inputs = self._prepare_inputs(dict(batch))
                ids, num_targets = self._samples_of(inputs)
                losses = self._forward_losses(inputs, num_targets)
                known.append((self._weigher.samples(ids, losses, num_targets), ids))
        weights = self._weigher.of_step(*zip(*known, strict=True))
        for batch, of_step in zip(batch_samples, weights, strict=True):
            batch[STEP_WEIGHTS] = of_step

    @torch.no_grad()
    def write_initial_losses(self) -> None:
        """Write the loss of every training sample under the initial model, which is the model now, into the ledger."""
        if self._initial_losses is not None:
            ids, losses = (values.to(self.args.device) for values in self._initial_losses)
            self.ledger.record_initial(ids, losses)
            return
        self.model_wrapped.eval()
        for batch in self.get_test_dataloader(self.train_dataset):
            inputs = self._prepare_inputs(batch)
            ids, num_targets = self._samples_of({**inputs, NUM_TARGETS: self._count_targets(inputs)})
            self.ledger.record_initial(ids, self._forward_losses(inputs, num_targets))
        self.model_wrapped.train()
        self.ledger.sync()

    def _samples_of(self, inputs: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Ids of the samples of a batch, -1 for one without target, and numbers of their targets."""
        num_targets = inputs[NUM_TARGETS]
        return inputs[SAMPLE_ID].where(num_targets > 0, -1), num_targets

    def _forward_losses(self, inputs: dict[str, torch.Tensor], num_targets: torch.Tensor) -> torch.Tensor:
        """Mean token loss of each sample of a batch."""
        inputs = {name: value for name, value in inputs.items() if name not in _ABOUT_SAMPLES}
        with self.compute_loss_context_manager():
            outputs = self.model_wrapped(**inputs, use_cache=False, fused_lm_head=True)
        sums = -sum_by_sample(outputs.log_probs, len(num_targets), inputs.get("seq_idx"))
        return sums / num_targets.clamp(min=1)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        sample_ids = inputs.pop(SAMPLE_ID, None)
        inputs.pop(SAMPLE_ROW, None)
        num_targets = inputs.pop(NUM_TARGETS, None)
        of_step, reference = inputs.pop(STEP_WEIGHTS, None), inputs.pop(REF_LOG_PROBS, None)
        forward, as_sft = OutputKeeper(model), self.args.is_plain_sft
        result = super().compute_loss(forward, inputs, return_outputs, num_items_in_batch)
        if self.model.training:
            if sample_ids is None:
                raise UserError("a training batch has no sample ids: take batches from the trainer's own data loader")
            if num_targets is None:
                num_targets = self._count_targets({**inputs, SAMPLE_ID: sample_ids})
            # Of plain SFT too, for the ledger
            with torch.set_grad_enabled(torch.is_grad_enabled() and not as_sft):
                known = {**inputs, SAMPLE_ID: sample_ids, NUM_TARGETS: num_targets, REF_LOG_PROBS: reference}
                loss = self._weighted_loss(forward.outputs, known, of_step, num_items_in_batch)
        elif not as_sft:
            loss = self._evaluation_loss(forward.outputs, inputs)
        if as_sft:
            return result
        return (loss, result[1]) if return_outputs else loss

    def _weighted_loss(self, outputs, inputs, of_step, num_items_in_batch) -> torch.Tensor:
        ids, num_targets = self._samples_of(inputs)
        visited = num_targets > 0
        seq_idx = inputs.get("seq_idx")
        loss_sums = -sum_by_sample(outputs.log_probs, len(ids), seq_idx)
        losses = loss_sums / num_targets.clamp(min=1)

        current = losses.detach()
        samples = self._weigher.samples(ids, current, num_targets)
        found = self._weigher.weigh(outputs, inputs, samples, ids, of_step)
        self.ledger.record(ids, current, found.mean)
        self._weight_metrics.update(found.mean, samples.gain, current, visited, found.at_bounds, found.usable)

        weights, mean = found.samples, found.mean
        if self._normalizer is not None or self.accelerator.num_processes > 1:
            # Elsewhere a sample is left out only if its loss is 0
            weights, mean = weights * visited, mean * visited
        by_token = self.args.loss_reduction == "token"
        if found.tokens is None:
            loss = weights.dot(loss_sums if by_token else losses)
        else:
            token_losses = found.token_losses(outputs.log_probs)
            if by_token:
                # In the order of `SFTTrainer`
                loss = (token_losses * weights[found.sample]).sum()
            else:
                sums = sum_by_sample(token_losses, len(ids), seq_idx)
                loss = weights.dot(sums / num_targets.clamp(min=1))
        if num_items_in_batch is None:
            num_items_in_batch = self._share_of_divisor(num_targets).sum().clamp(min=1)
        loss = loss / num_items_in_batch
        if self._normalizer is not None:
            loss = loss / self._normalizer.divisor(mean, visited)
        if self.accelerator.num_processes > 1:
            # DDP averages the gradients of the processes, while the divisor counts the samples of all of them
            loss = loss * self.accelerator.num_processes
        if self.aux_loss_enabled:
            loss = loss + self.router_aux_loss_coef * outputs.aux_loss / self.current_gradient_accumulation_steps
        return loss

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
        return loss if self._normalizer is None else self._normalizer.end_micro_batch(loss, model.parameters())

    def _save_checkpoint(self, model, trial):
        self.check_numbers()
        self._ledger_callback.sync()
        if self.args.should_save:
            # Before `trainer_state.json`, with which a checkpoint is complete, and before an older one is removed
            checkpoint = Path(self._get_output_dir(trial)) / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
            (checkpoint / LEDGER_FILE).parent.mkdir(parents=True, exist_ok=True)
            self.ledger.save(checkpoint / LEDGER_FILE, self._weigher.state())
        if self.args.include_num_input_tokens_seen == "no":
            # TRL counts the tokens that it logs, and forgets how many
            self.state.num_input_tokens_seen = self._total_train_tokens
        super()._save_checkpoint(model, trial)
