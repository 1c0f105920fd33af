"""GRPO with vLLM in the same process: TRL's own transfer of weights keeps what samples equal to what is trained."""

import functools
import os

from datasets import Dataset
from transformers import TrainerCallback

from .inputs import even_reward, small_model
from .rows import CheckRun


STEPS, STALE_STEPS = 6, 3
# Mean difference of log-probabilities: rounding in bfloat16, and in float32 on CPU
ROUNDING_BF16, ROUNDING = 0.05, 1e-4
# With the weights of some steps before it must be so many times as large
CONTRAST = 5


class BecomesStale(TrainerCallback):
    """From a step on, vLLM gets no more weights: the difference must show it."""

    def __init__(self, generation):
        self.generation = generation

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == STEPS:
            self.generation.sync_weights = lambda: None


def check(run: CheckRun) -> None:
    if not run.gpu:
        stand_in_for_transfer(run)
    from trl import GRPOConfig

    from glow_trl.training.grpo_trainer import ResumableGRPOTrainer

    found: list[tuple[float, float]] = []
    with run.row("synchronized") as row:
        args = GRPOConfig(
            output_dir=str(run.folder / "out"),
            max_steps=STEPS + STALE_STEPS,
            per_device_train_batch_size=32 if run.gpu else 8,
            num_generations=8 if run.gpu else 4,
            max_completion_length=32 if run.gpu else 8,
            # So large that each step changes what is sampled
            learning_rate=3e-3,
            lr_scheduler_type="constant",
            use_vllm=True,
            vllm_mode="colocate",
            vllm_max_model_length=128,
            vllm_gpu_memory_utilization=0.3,
            use_cpu=not run.gpu,
            bf16=run.gpu,
            gradient_checkpointing=run.gpu,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        prompts = [[{"role": "user", "content": f"{a}+{b}=?"}] for a in range(16) for b in range(16)]
        trainer = ResumableGRPOTrainer(
            model=small_model(run.folder / "model"),
            args=args,
            reward_funcs=even_reward,
            train_dataset=Dataset.from_dict({"prompt": prompts}),
        )
        trainer.add_callback(BecomesStale(trainer.vllm_generation))
        trainer.train()
        entries = [entry for entry in trainer.state.log_history if "sampling/sampling_logp_difference/mean" in entry]
        name = "sampling/sampling_logp_difference"
        found = [(entry[f"{name}/mean"], entry[f"{name}/max"]) for entry in entries]
        print("mean and largest difference by step:", *found, sep="\n  ", flush=True)
        row["mean difference"] = max(mean for mean, _ in found[:STEPS])
        row["largest"] = max(most for _, most in found[:STEPS])
        row["steps"] = STEPS
        row["s a step"] = entries[-1].get("step_time", 0.0)
        row.require(len(found) == STEPS + STALE_STEPS, f"{len(found)} steps were logged")
        row.require(all(entry["grad_norm"] > 1e-3 for entry in entries), "a step changed nothing")
        limit = ROUNDING_BF16 if run.gpu else ROUNDING
        row.require(row["mean difference"] <= limit, f"vLLM does not sample from what is trained: more than {limit}")
    with run.row("stale is seen") as row:
        row.require(len(found) == STEPS + STALE_STEPS, "the training did not get so far")
        row["mean difference"] = max(mean for mean, _ in found[STEPS:])
        synchronized = max(mean for mean, _ in found[:STEPS])
        row.require(
            row["mean difference"] >= CONTRAST * synchronized,
            "weights that do not reach vLLM make too little difference for the row above to mean something",
        )


def stand_in_for_transfer(run: CheckRun) -> None:
    """On CPU vLLM has no loader for TRL's transfer; see tests/helpers/grpo_vllm_worker.py."""
    from trl.generation import vllm_generation

    from helpers.grpo_vllm_worker import reload_weights

    os.environ |= {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_KVCACHE_SPACE": "1"}
    vllm_generation.LLM = functools.partial(vllm_generation.LLM, enforce_eager=True, dtype="float32")
    transfer = functools.partialmethod(reload_weights, False, run.folder / "weights")
    vllm_generation.VLLMGeneration.sync_weights = transfer
