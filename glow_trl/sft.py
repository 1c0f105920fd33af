"""
Stage 1: GLOW-weighted supervised fine-tuning on trajectories.

```shell
accelerate launch --config_file accelerate_configs/single_gpu.yaml -m glow_trl.sft --config recipes/gsm8k/sft.yaml
```
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import PartialState
from datasets import Dataset, Features, Value
from transformers import TrainerCallback
from trl import ModelConfig, get_quantization_config

from .data.config import PromptedRowsConfig
from .data.handover import check_end_token, end_token_share, write_handover
from .data.log_probs import COMPLETION_IDS, LOG_PROBS
from .data.loss_history import HISTORY_DIR, write_epoch, write_samples, write_token_weights, write_weights
from .data.table import MESSAGES, Rows, RowTable
from .errors import UserError
from .generation.loading import loading
from .glow import GLOWConfig, GLOWTrainer, LossLedger
from .glow.reference import UnalignedSample
from .glow.token_weights import TokenWeights
from .stages.command import run_command
from .stages.config import setting
from .stages.console import say_results
from .stages.dotted import own_code
from .stages.processes import leave
from .stages.record import StageRun, jsonable
from .training import loop
from .training.resume import parse_training_stage


@dataclass
class SFTStageConfig(PromptedRowsConfig):
    r"""
    Data of the SFT stage: [`~glow_trl.data.config.PromptedRowsConfig`], and

    Parameters:
        trajectories (`str`, *optional*, defaults to `"all"`):
            Which trajectories to train on: `"all"`, `"positive"` or `"negative"`.
    """

    trajectories: str = setting("all", "Which trajectories to train on.", choices=["all", "positive", "negative"])


def select_trajectories(rows: RowTable, which: str) -> RowTable:
    """The positive, the negative or all trajectories; a `UserError` if a row has no label, or none is left."""
    if which == "all":
        return rows
    if which not in ("positive", "negative"):
        raise UserError(f"trajectories: expected all, positive or negative, got {which!r}")
    labels = rows.labels
    if (labels < 0).any():
        unknown = rows[int((labels < 0).argmax())]
        raise UserError(
            f"trajectories={which!r} needs labels, and {unknown['sample_id']} has no is_correct: run `glow-trl label` "
            "first"
        )
    selected = np.flatnonzero(labels == (which == "positive"))
    if not selected.size:
        raise UserError(f"none of the {len(rows)} trajectories is {which}")
    return rows.select(selected)


def to_dataset(
    rows: RowTable, system_prompt: str | None, prompt_template: str | None, further: Sequence[str] = ()
) -> Dataset:
    """
    Trajectories as a conversational data set with `prompt` and `completion` (lists of messages), `is_correct` if
    every trajectory has a label, and those of the `further` columns that any row has.
    """
    columns: dict[str, Any] = {"prompt": MESSAGES, "completion": MESSAGES}
    if bool((rows.labels >= 0).all()):
        columns["is_correct"] = Value("bool")
    columns |= rows.features(further)
    prompting = {"system_prompt": system_prompt, "prompt_template": prompt_template}
    return rows.map(_to_samples, Features(columns), **prompting)


def _to_samples(rows: Rows, system_prompt: str | None, prompt_template: str | None) -> dict[str, Any]:
    return {"prompt": rows.prompts(system_prompt, prompt_template), "completion": rows.completions()}


class LedgerHistory(TrainerCallback):
    """
    Keeps the losses and weights of every epoch (see [`glow_trl.data.loss_history`]). Add the callback after the
    trainer was made, so that it comes after the trainer's own.
    """

    def __init__(self, ledger: LossLedger, token_weights: TokenWeights | None, folder: Path):
        self.ledger = ledger
        self.token_weights = token_weights
        self.folder = folder

    def on_train_begin(self, args, state, control, **kwargs):
        # Of a run that died at the end of an epoch, behind its checkpoint
        if self.ledger.epoch and state.epoch == self.ledger.epoch:
            self.on_epoch_end(args, state, control)

    def on_epoch_end(self, args, state, control, **kwargs):
        if state.is_world_process_zero:
            write_epoch(self.folder, self.ledger.epoch, self.ledger.current.cpu().numpy())
            write_weights(self.folder, self.ledger.epoch, self.ledger.weight.cpu().numpy())
            if self.token_weights is not None:
                write_token_weights(self.folder, self.ledger.epoch, *self.token_weights.arrays())


def main(argv: Sequence[str] | None = None) -> None:
    """Run `glow-trl sft` with the arguments `argv`, by default those of the command line."""
    settings = parse_training_stage("sft", sys.argv[1:] if argv is None else argv)
    config, args, model_args = settings.configs
    own = own_code([args.weighting] if isinstance(args.weighting, str) else args.weighting, "weighting")
    inputs = [*config.files, *own, loop.model_folder(model_args), args.chat_template_path]
    with loop.training_run(settings, args, inputs) as run:
        if not run.is_complete:
            _train(config, args, model_args, run)
    if run.main_process:
        say_results(run.output_dir)


def _train(config: SFTStageConfig, args: GLOWConfig, model_args: ModelConfig, run: StageRun) -> None:
    loop.check_files(model_args, args)
    # One process of a machine reads the rows, the others find them in the cache
    with PartialState().local_main_process_first():
        rows = select_trajectories(config.load(["problem", "completion"]), config.trajectories)
        # What the verifier takes to find an answer
        further = [] if args.negative_answer == "keep" else ["kind", "answer", "choices"]
        further += [LOG_PROBS, COMPLETION_IDS] if args.reads_log_probs else []
        dataset = to_dataset(rows, config.system_prompt, config.prompt_template, further)
    loop.quiet_libraries(len(rows))
    tokenizer = loop.stage_tokenizer(model_args, args.trust_remote_code)
    if args.eos_token is None and args.chat_template_path is None:
        _refuse(check_end_token(tokenizer))
    args.model_init_kwargs = loop.model_init_kwargs(model_args)
    with loading(f"{model_args.model_name_or_path} cannot be trained so"), _naming_samples(rows):
        trainer = GLOWTrainer(
            model=model_args.model_name_or_path,
            args=args,
            train_dataset=dataset,
            processing_class=tokenizer,
            peft_config=loop.adapter_to_train(model_args),
            quantization_config=get_quantization_config(model_args),
        )
    # The trainer sets end token and chat template as the configuration says
    _refuse(check_end_token(tokenizer))
    # Negatives that are cut on purpose say nothing about max_length
    cut = args.negative_answer == "truncate"
    share = end_token_share(trainer.train_dataset, tokenizer.eos_token_id, rows.labels > 0 if cut else None)
    if share == 0:
        hint = ", and negatives end before their answers: set negative_answer to mask" if cut else ""
        _refuse([f"no sample ends with the end token {tokenizer.eos_token!r} within max_length{hint}"])
    ledger_dir = run.output_dir / HISTORY_DIR
    trainer.add_callback(LedgerHistory(trainer.ledger, trainer.token_weights, ledger_dir))
    if run.main_process:
        write_samples(ledger_dir, rows)
        # Before the training, as it is for the checkpoints within the folder too
        write_handover(
            run.output_dir,
            tokenizer,
            config.system_prompt,
            config.prompt_template,
            share,
            loop.base_weights(trainer),
        )

    loop.train(trainer, run)
    facts: dict[str, Any] = {"weightings": {term.name: jsonable(term.parameters) for term in args.product().terms}}
    if trainer.negative_answers is not None:
        facts["negative_answers"] = asdict(trainer.negative_answers)
    run.complete(samples=len(rows), trained_samples=int((~trainer.ledger.current.isnan()).sum()), **facts)
    loop.leave_process_group()


@contextmanager
def _naming_samples(rows: RowTable) -> Iterator[None]:
    """Name the sample in an error that knows its number only."""
    try:
        yield
    except UnalignedSample as error:
        raise UserError(f"{rows[error.row]['sample_id']}: {error}") from error


def _refuse(problems: list[str]) -> None:
    if problems:
        raise UserError("the model would not learn to stop: " + "; ".join(problems))


if __name__ == "__main__":
    leave(run_command("sft"))
