"""Trajectories as the token ids that a checkpoint was, or would have been, trained on."""

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from datasets import Dataset, Features, List, Value

from ..data import build_prompt
from ..data.handover import other_prompts, read_handover, stage_folder
from ..data.table import Rows, RowTable
from ..errors import UserError
from ..generation.loading import local_folder
from ..stages.record import RUN_FILE, read_run
from .loss_config import LossConfig


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainedAs:
    """How a checkpoint's training samples were made: their prompts, the tokens that sequences are cut after (`None`
    for no cut), and whether the loss leaves the prompt out."""

    system_prompt: str | None
    prompt_template: str | None
    max_length: int | None
    completion_only: bool

    @classmethod
    def of(cls, config: LossConfig) -> "TrainedAs":
        """What `config` says, and what it leaves open as it is recorded beside the checkpoint."""
        local = local_folder(config.model_name_or_path)
        folder = None if local is None else stage_folder(local)
        handover = (read_handover(folder) if folder is not None else None) or {}
        run = (read_run(folder) if folder is not None else None) or {}
        trained = (run.get("config") or {}) if run.get("stage") == "sft" else {"max_length": None}
        if config.max_length is None and "max_length" not in trained:
            raise UserError(f"{folder / RUN_FILE} is of an older version and does not say max_length: set max_length")
        max_length = trained["max_length"] if config.max_length is None else config.max_length or None

        def prompt(name: str) -> str | None:
            given = getattr(config, name)
            return (handover.get(name) if given is None else given) or None

        system_prompt, prompt_template = prompt("system_prompt"), prompt("prompt_template")
        for other in other_prompts(handover or None, system_prompt, prompt_template):
            logger.warning("%s: %s", config.model_name_or_path, other)
        return cls(
            system_prompt=system_prompt,
            prompt_template=prompt_template,
            max_length=max_length,
            completion_only=trained.get("completion_only_loss") is not False,
        )


def tokenize(rows: RowTable, tokenizer: "PreTrainedTokenizerBase", trained: TrainedAs) -> Dataset:
    """
    Token ids of each trajectory's `prompt` and `targets`, as [`~trl.SFTTrainer`] makes them of a conversational
    prompt-completion sample: the targets begin where prompt and whole part, and the whole is cut at its end, which may
    leave no targets.
    """
    if tokenizer.chat_template is None:
        raise UserError("the tokenizer has no chat template; save the one that was used in training with it")
    ids = List(Value("int32"))
    return rows.map(_to_ids, Features({"prompt": ids, "targets": ids}), tokenizer=tokenizer, trained=trained)


def _to_ids(rows: Rows, tokenizer: "PreTrainedTokenizerBase", trained: TrainedAs) -> dict[str, list[list[int]]]:
    prompts = [
        build_prompt(row["problem"], trained.system_prompt, trained.prompt_template, row.get("choices") or None)
        for row in rows
    ]
    wholes = [
        [*prompt, {"role": "assistant", "content": row["completion"]}]
        for prompt, row in zip(prompts, rows, strict=True)
    ]
    prompt_ids = tokenizer.apply_chat_template(prompts, add_generation_prompt=True, return_dict=False)
    whole_ids = tokenizer.apply_chat_template(wholes, return_dict=False)
    samples: dict[str, list[list[int]]] = {"prompt": [], "targets": []}
    for prompt, whole in zip(prompt_ids, whole_ids, strict=True):
        length = 0
        if trained.completion_only:
            while length < min(len(prompt), len(whole)) and prompt[length] == whole[length]:
                length += 1
        whole = whole[: trained.max_length]
        samples["prompt"].append(whole[:length])
        samples["targets"].append(whole[length:])
    return samples
