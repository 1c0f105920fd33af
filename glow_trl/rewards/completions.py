"""What TRL hands to reward functions: prompts and completions in either form."""

from collections.abc import Mapping, Sequence
from typing import Any

from ..data.columns import is_missing


def completion_text(completion: str | Sequence[Mapping[str, Any]] | None) -> str:
    """The text of a completion: a plain string, or the last assistant message of a conversation."""
    if isinstance(completion, str):
        return completion
    if is_missing(completion) or not completion:
        return ""
    messages = [message for message in completion if message.get("role", "assistant") == "assistant"] or completion
    text = _content(messages[-1])
    reasoning = messages[-1].get("reasoning_content")
    return f"<think>{reasoning}</think>{text}" if reasoning else text


def question_text(prompt: str | Sequence[Mapping[str, Any]] | None) -> str:
    """What a prompt asks: a plain string, or what the user says in a conversation."""
    if isinstance(prompt, str):
        return prompt
    if is_missing(prompt) or not prompt:
        return ""
    return "\n\n".join(_content(message) for message in prompt if message.get("role") == "user")


def _content(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, list):  # multimodal: a list of parts
        content = "".join(part.get("text") or "" for part in content if isinstance(part, dict))
    return content or ""
