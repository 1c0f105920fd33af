"""What the GLOW trainer does not support, said at its construction."""

from trl import SFTTrainer

from ..errors import UserError


def reject_unsupported(trainer: SFTTrainer) -> None:
    """Raise a `UserError` for an option, or for what the trainer was given, that does not go with GLOW."""
    if trainer._is_vision_dataset:
        raise UserError("GLOWTrainer does not support data sets with images")
    parallelism = trainer.accelerator.parallelism_config
    if parallelism is not None and parallelism.non_data_parallel_size > 1:
        raise UserError(
            "GLOWTrainer does not support sequence, context or tensor parallelism: a sample's loss must be "
            "computed on one process. Use data parallelism (DDP, ZeRO or FSDP)"
        )
    accelerator_config = trainer.args.accelerator_config
    if accelerator_config.split_batches or accelerator_config.dispatch_batches:
        raise UserError("GLOWTrainer needs accelerator_config with split_batches and dispatch_batches off")
    if trainer.args.train_sampling_strategy == "batch_rebalance":
        raise UserError("GLOWTrainer does not support train_sampling_strategy='batch_rebalance'")
    accumulated = trainer.args.gradient_accumulation_steps > 1
    if trainer.args.glow_normalization == "mean" and accumulated and trainer.aux_loss_enabled:
        raise UserError(
            "glow_normalization='mean' with gradient_accumulation_steps > 1 would scale the auxiliary loss of a "
            "mixture of experts as well: set gradient_accumulation_steps to 1, or glow_normalization='none'"
        )
