"""TRL's GRPO trainer, made resumable. A module of its own, since TRL loads vLLM with it where that is installed."""

from trl import GRPOTrainer

from .resume import ResumableTrainer


class ResumableGRPOTrainer(ResumableTrainer, GRPOTrainer):
    """[`~trl.GRPOTrainer`] as it is, made resumable."""
