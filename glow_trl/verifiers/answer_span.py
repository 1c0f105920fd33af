"""Where the final answer of a completion stands."""

from collections.abc import Sequence

from ..data.columns import is_missing
from .equality.numeric import start_counting
from .kinds.kind import Options
from .kinds.registry import KINDS


def answer_span(
    prediction: str,
    kind: str | None = "math",
    gold: object = None,
    choices: Sequence[str] | None = None,
    require_boxed: bool = False,
) -> tuple[int, int] | None:
    """Where the final answer of a completion stands: that which [`verify`] compares, found in the same way.

    It is the answer alone, without what surrounds it: what is inside of a `\\boxed{}`, what follows "the answer is",
    the letter of an option (with the option's text, where `choices` are given and it follows). Of several answers that
    belong together, it goes from the first to the last.

    Args:
        prediction (`str`):
            The whole completion.
        kind (`str`, *optional*, defaults to `"math"`):
            The kind of verifier.
        gold (`str` or number, *optional*):
            The gold answer. It matters little: where it is in words, a mathematical answer may be, too.
        choices (`Sequence[str]`, *optional*):
            For `choice`: the options.
        require_boxed (`bool`, *optional*, defaults to `False`):
            Whether only an answer in `\\boxed{}` counts.

    Returns:
        `tuple[int, int]` or `None`: start and end in characters. `None` where the completion has no final answer, as
        where its thinking does not end, and for kinds added by [`register_kind`], which do not tell.

    Raises:
        UserError: the kind is unknown.

    Example:
    ```python
    >>> from glow_trl.verifiers import answer_span

    >>> text = r"So x = \\boxed{\\frac{1}{2}}."
    >>> start, end = answer_span(text)
    >>> text[start:end]
    '\\\\frac{1}{2}'
    ```
    """
    finder = KINDS.finder("math" if is_missing(kind) or not kind else kind)
    if is_missing(prediction) or not prediction:
        return None
    start_counting()
    return finder(str(prediction), "" if is_missing(gold) else str(gold), Options.of(choices, None, require_boxed))
