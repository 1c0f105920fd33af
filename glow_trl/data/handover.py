"""
How a checkpoint was trained to be prompted, recorded beside it: what SFT taught a model to read and write must be what
GRPO, evaluation and all else that runs it gives it.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import UserError
from ..stages.files import read_json, write_json


if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase


HANDOVER_FILE = "handover.json"
# In the record of an adapter: the digest of the weights that it was trained on
BASE_WEIGHTS = "base_weights"

_CHECKPOINT = re.compile(r"checkpoint-\d+")
_PROBE = "glow-handover-probe"
# Number of targets from the end among which the end token is looked for
_TAIL = 3


def write_handover(
    output_dir: str | Path,
    tokenizer: "PreTrainedTokenizerBase",
    system_prompt: str | None,
    prompt_template: str | None,
    end_token_share: float,
    base_weights: str | None = None,
) -> None:
    """
    Record beside a checkpoint how it was trained to be prompted, the share of the training samples whose last target
    is the end token, and of an adapter the digest of the weights that it was trained on.
    """
    record = {
        "chat_template": _digest(tokenizer.chat_template),
        "system_prompt": system_prompt or None,
        "prompt_template": prompt_template or None,
        "end_token": tokenizer.eos_token,
        "end_token_share": round(end_token_share, 6),
        "vocabulary": _vocabulary(tokenizer),
    }
    if base_weights is not None:
        record[BASE_WEIGHTS] = base_weights
    write_json(Path(output_dir) / HANDOVER_FILE, record)


def stage_folder(model_dir: str | Path) -> Path:
    """The folder with what a stage recorded of a checkpoint: for `checkpoint-500` the one that it lies in."""
    folder = Path(model_dir).expanduser()
    within = _CHECKPOINT.fullmatch(folder.name) and (folder.parent / HANDOVER_FILE).is_file()
    return folder.parent if within and not (folder / HANDOVER_FILE).is_file() else folder


def read_handover(model_dir: str | Path) -> dict[str, Any] | None:
    """
    What [`write_handover`] recorded of a checkpoint, see [`stage_folder`]; `None` for a model that no stage has made.
    """
    return read_json(stage_folder(model_dir) / HANDOVER_FILE)


def check_trained(model_name_or_path: str, tokenizer: "PreTrainedTokenizerBase", samples: bool = True) -> None:
    """
    Check that a checkpoint is run with the tokenizer that it was trained with, and where it `samples` that it learned
    to stop. A model that no stage has made is taken as it is.

    Raises:
        UserError: something does not fit; says all that does not, and how to mend it.
    """
    record = read_handover(model_name_or_path)
    if record is None:
        return
    problems = _problems(record, tokenizer) + (_unlearned(record) if samples else [])
    if problems:
        raise UserError(
            f"{model_name_or_path} is not as it was trained, by its {HANDOVER_FILE}: " + "; ".join(problems)
        )


def check_handover(
    model_name_or_path: str,
    tokenizer: "PreTrainedTokenizerBase",
    system_prompt: str | None,
    prompt_template: str | None,
) -> list[str]:
    """
    Check that a checkpoint will be prompted in stage 2, with this tokenizer, system turn and template, as it was
    trained to be in stage 1.

    Returns:
        `list[str]`: what could not be checked, because the checkpoint was not made by `glow-trl sft`.

    Raises:
        UserError: something does not fit; says all that does not, and how to mend it.
    """
    record = read_handover(model_name_or_path)
    # What the record says of the end token says more
    problems = check_end_token(tokenizer) if record is None else _problems(record, tokenizer) + _unlearned(record)
    others = other_prompts(record, system_prompt, prompt_template)
    problems += [f"{other}: set it to the latter" for other in others]
    if problems:
        raise UserError(f"{model_name_or_path} cannot be handed over to stage 2: " + "; ".join(problems))
    if record is None:
        return [
            f"{model_name_or_path} has no {HANDOVER_FILE}: whether it was trained with this chat template, system "
            "prompt and end token could not be checked"
        ]
    return []


def other_prompts(
    record: Mapping[str, Any] | None, system_prompt: str | None, prompt_template: str | None
) -> list[str]:
    """How the prompts of a model with this record are not those of its training."""
    asked = {"system_prompt": system_prompt, "prompt_template": prompt_template}
    pairs = {} if record is None else {name: (ours, record.get(name)) for name, ours in asked.items()}
    return [
        f"{name} is {ours!r}, stage 1 trained with {theirs!r}"
        for name, (ours, theirs) in pairs.items()
        if _plain(ours) != _plain(theirs)
    ]


def _plain(prompt: str | None) -> str | None:
    # The bare question, as if nothing was set
    return None if prompt in ("", "{problem}") else prompt


def _problems(record: Mapping[str, Any], tokenizer: "PreTrainedTokenizerBase") -> list[str]:
    """What of a tokenizer is not as it was in training."""
    mend = "use the tokenizer that training saved with the checkpoint"
    problems = []
    if record.get("chat_template") != _digest(tokenizer.chat_template):
        problems.append(
            f"the chat template is not that of stage 1: {mend}, unchanged (chat_template.jinja), and set no "
            "chat_template_path"
        )
    if record.get("end_token") != tokenizer.eos_token:
        problems.append(
            f"the end token is {tokenizer.eos_token!r}, stage 1 trained with {record.get('end_token')!r}: {mend}, "
            "unchanged (eos_token in tokenizer_config.json)"
        )
    # Records of earlier versions have none
    if record.get("vocabulary", vocabulary := _vocabulary(tokenizer)) != vocabulary:
        problems.append(f"the vocabulary is not that of stage 1 (the tokenizer has {len(tokenizer):,} tokens): {mend}")
    return problems or check_end_token(tokenizer)


def _unlearned(record: Mapping[str, Any]) -> list[str]:
    if record.get("end_token_share", 1.0) >= 0.5:
        return []
    return [
        f"only {record['end_token_share']:.0%} of the samples of stage 1 ended with the end token, so that the model "
        "did not learn to stop: raise max_length in stage 1"
    ]


def check_end_token(tokenizer: "PreTrainedTokenizerBase") -> list[str]:
    """What keeps a model from learning to end its turn with this tokenizer; empty when nothing does."""
    if tokenizer.chat_template is None:
        return ["the tokenizer has no chat template: set chat_template_path to a model's name or a Jinja file"]
    if tokenizer.eos_token is None:
        return ["the tokenizer has no end token: set eos_token"]
    messages = [{"role": "user", "content": "?"}, {"role": "assistant", "content": _PROBE}]
    rendered = tokenizer.apply_chat_template(messages, tokenize=False)
    ending = rendered.partition(_PROBE)[2]
    if tokenizer.eos_token not in ending:
        return [
            f"the chat template ends an assistant's turn with {ending.strip()!r} and not with the end token "
            f"{tokenizer.eos_token!r}: set eos_token to the token that ends the turn"
        ]
    return []


def check_vocabulary(tokenizer: "PreTrainedTokenizerBase", embeddings: int) -> list[str]:
    """
    Which tokens a model with so many embeddings cannot read: those of its conversations, and any that were added to
    the tokenizer. Special tokens that no conversation has may lack one, as those for images in text models do.
    """
    ids = {tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id}
    if tokenizer.chat_template is not None:
        messages = [{"role": "user", "content": "?"}, {"role": "assistant", "content": _PROBE}]
        ids |= set(tokenizer.apply_chat_template(messages, return_dict=True)["input_ids"])
    added = tokenizer.added_tokens_decoder.items()
    ids |= {number for number, token in added if not token.special}
    last = max(number for number in ids if number is not None)
    if last < embeddings:
        return []
    return [
        f"the tokenizer has {tokenizer.convert_ids_to_tokens(last)!r} as token {last:,}, and the model embeddings for "
        f"{embeddings:,}: use the model's own tokenizer, or give the model what was added to it "
        "(model.resize_token_embeddings(len(tokenizer)))"
    ]


def end_token_share(dataset: "Dataset", end_token_id: int, counted: np.ndarray | None = None) -> float:
    """
    Share of the samples of a tokenized data set, packed (with a column `seq_lengths`) or not, that have the end token
    among their last targets (templates may write a line break behind it). Up to a thousand rows spread over the set
    are looked at, or all, if these have none of the samples that are `counted` (bool, by `sample_id`; all by default).
    """
    ended = total = 0
    for step in dict.fromkeys((max(1, len(dataset) // 1000), 1)):
        for row in dataset.select(range(0, len(dataset), step)).with_format(None):
            start = 0
            lengths = row.get("seq_lengths") or [len(row["labels"])]
            looked_at = [True] * len(lengths) if counted is None else np.atleast_1d(counted[row["sample_id"]])
            for length, within in zip(lengths, looked_at, strict=True):
                if within:
                    ended += end_token_id in row["labels"][start : start + length][-_TAIL:]
                    total += 1
                start += length
        if total:
            break
    return ended / total if total else 0.0


def _vocabulary(tokenizer: "PreTrainedTokenizerBase") -> str | None:
    return _digest(sorted(tokenizer.get_vocab().items()))


def _digest(template: Any) -> str | None:
    if template is None:
        return None
    # A tokenizer may have several, by name
    text = template if isinstance(template, str) else json.dumps(template, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
