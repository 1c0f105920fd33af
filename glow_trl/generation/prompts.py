"""Conversations as prompts."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeGuard

from ..errors import UserError
from .base import Prompt


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def is_conversation(prompt: Prompt) -> TypeGuard[Sequence[Mapping[str, str]]]:
    """Whether a prompt is a list of messages."""
    return not isinstance(prompt, str) and len(prompt) > 0 and isinstance(prompt[0], Mapping)


def render_conversation(
    messages: Sequence[Mapping[str, str]],
    tokenizer: "PreTrainedTokenizerBase",
    chat_template_kwargs: Mapping[str, Any] | None = None,
) -> list[int]:
    """
    Token ids of a conversation that the model is to continue.

    Args:
        messages (`list[dict]`): with `role` and `content`.
        tokenizer (`PreTrainedTokenizerBase`): the model's, with its chat template.
        chat_template_kwargs (`dict`, *optional*): variables of the template, `{"enable_thinking": True}` for example.

    Raises:
        UserError: the tokenizer has no chat template, or the template refuses the conversation.
    """
    if tokenizer.chat_template is None:
        raise UserError(
            f"{tokenizer.name_or_path}: the tokenizer has no chat template; save one with it, or ask without one "
            "(prompt_format: raw)"
        )
    from jinja2 import TemplateError

    try:
        return tokenizer.apply_chat_template(
            [dict(message) for message in messages],
            add_generation_prompt=True,
            return_dict=False,
            **(chat_template_kwargs or {}),
        )
    except TemplateError as error:
        raise UserError(f"{tokenizer.name_or_path}: the chat template refuses the conversation ({error})") from error
