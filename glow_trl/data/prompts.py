"""How a question becomes a prompt: the same for SFT, GRPO and evaluation."""

import string
from collections.abc import Sequence

from ..errors import UserError


_PLACEHOLDER = "{problem}"


def build_prompt(
    problem: str,
    system_prompt: str | None = None,
    prompt_template: str | None = None,
    choices: Sequence[str] | None = None,
) -> list[dict[str, str]]:
    """
    The chat messages that ask a question.

    Args:
        problem (`str`): the question.
        system_prompt (`str`, *optional*): content of the system turn; none is written without it, and the chat
            template may then add its own.
        prompt_template (`str`, *optional*): text with `{problem}` where the question goes. Braces otherwise stand
            for themselves, as LaTeX needs them.
        choices (`list[str]`, *optional*): options of a multiple-choice question, listed under it as "A. ...".

    Returns:
        `list[dict[str, str]]`: messages with `role` and `content`.

    Raises:
        UserError: the template lacks `{problem}`, or there are more options than letters.
    """
    if choices:
        if len(choices) > len(string.ascii_uppercase):
            raise UserError(
                f"a question has {len(choices)} choices; there are letters for {len(string.ascii_uppercase)}"
            )
        options = [f"{letter}. {choice}" for letter, choice in zip(string.ascii_uppercase, choices, strict=False)]
        problem = "\n".join([problem, *options])
    if prompt_template is not None:
        if _PLACEHOLDER not in prompt_template:
            raise UserError(
                f"prompt_template must contain {_PLACEHOLDER}, where the question goes: {prompt_template!r}"
            )
        problem = prompt_template.replace(_PLACEHOLDER, problem)
    messages = [{"role": "user", "content": problem}]
    if system_prompt:
        messages.insert(0, {"role": "system", "content": system_prompt})
    return messages
