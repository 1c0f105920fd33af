"""The hand-over from stage 1 to stage 2: what SFT taught the model to read and write must be what GRPO gives it."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from ..stages.files import read_json, write_json


if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase


HANDOVER_FILE = "handover.json"

_PROBE = "glow-handover-probe"
# Number of targets from the end among which the end token is looked for
_TAIL = 3


def write_handover(
    output_dir: str | Path,
    tokenizer: "PreTrainedTokenizerBase",
    system_prompt: str | None,
    prompt_template: str | None,
    end_token_share: float,
) -> None:
    """
    Record beside a checkpoint how it was trained to be prompted, and the share of the training samples whose last
    target is the end token.
    """
    record = {
        "chat_template": _digest(tokenizer.chat_template),
        "system_prompt": system_prompt or None,
        "prompt_template": prompt_template or None,
        "end_token": tokenizer.eos_token,
        "end_token_share": round(end_token_share, 6),
    }
    write_json(Path(output_dir) / HANDOVER_FILE, record)


def read_handover(model_dir: str | Path) -> dict[str, Any] | None:
    """What [`write_handover`] recorded, or `None` for a checkpoint that has no record."""
    return read_json(Path(model_dir) / HANDOVER_FILE)


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
    problems = []
    path = Path(model_name_or_path)
    if path.is_dir() and not any((path / name).is_file() for name in ("tokenizer.json", "tokenizer_config.json")):
        problems.append(
            f"no tokenizer is saved in {path}: save the tokenizer of stage 1 there (tokenizer.save_pretrained)"
        )
    problems += check_end_token(tokenizer)
    record = read_handover(path)
    if record is not None:
        if record.get("chat_template") != _digest(tokenizer.chat_template):
            problems.append(
                "the chat template is not that of stage 1: use the tokenizer saved with the checkpoint, and no "
                "chat_template_path in stage 2"
            )
        for name, ours in (("system_prompt", system_prompt), ("prompt_template", prompt_template)):
            theirs = record.get(name)
            if theirs != (ours or None):
                problems.append(f"{name} is {ours!r}, stage 1 trained with {theirs!r}: set {name} to the latter")
        if record.get("end_token") != tokenizer.eos_token:
            problems.append(
                f"the end token is {tokenizer.eos_token!r}, stage 1 trained with {record.get('end_token')!r}: use the "
                "tokenizer saved with the checkpoint"
            )
        if record.get("end_token_share", 1.0) < 0.5:
            problems.append(
                f"only {record['end_token_share']:.0%} of the samples of stage 1 ended with the end token, so that "
                "the model did not learn to stop: raise max_length in stage 1"
            )
    if problems:
        raise UserError(f"{model_name_or_path} cannot be handed over to stage 2: " + "; ".join(problems))
    if record is None:
        return [
            f"{model_name_or_path} has no {HANDOVER_FILE}: whether it was trained with this chat template, system "
            "prompt and end token could not be checked"
        ]
    return []


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


def end_token_share(dataset: "Dataset", end_token_id: int) -> float:
    """
    Share of the samples of a tokenized data set, packed (with a column `seq_lengths`) or not, that have the end token
    among their last targets (templates may write a line break behind it). Up to a thousand rows spread over the set
    are looked at.
    """
    rows = dataset.select(range(0, len(dataset), max(1, len(dataset) // 1000))).with_format(None)
    ended = total = 0
    for row in rows:
        start = 0
        for length in row.get("seq_lengths") or [len(row["labels"])]:
            tail = row["labels"][start : start + length][-_TAIL:]
            ended += end_token_id in tail
            total += 1
            start += length
    return ended / total if total else 0.0


def _digest(text: str | None) -> str | None:
    return None if text is None else hashlib.sha256(text.encode()).hexdigest()[:16]
