"""What a kind of verifier is: a function of a completion, a gold answer and the row's options."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ...data.columns import is_missing
from ..verdict import Verdict


@dataclass(frozen=True, slots=True)
class Options:
    """What a row may say about how it wants to be judged.

    Attributes:
        choices (`tuple[str, ...]` or `None`): the options of a multiple-choice question, in order.
        tolerance (`float` or `None`): largest accepted difference, relative to the gold number (see `number.py`).
        require_boxed (`bool`): whether only an answer in `\\boxed{}` counts.
    """

    choices: tuple[str, ...] | None = None
    tolerance: float | None = None
    require_boxed: bool = False

    @classmethod
    def of(cls, choices: Sequence | None, tolerance: float | None, require_boxed: bool = False) -> "Options":
        """Options from the columns of a row; what is missing there (NaN, for one) is none."""
        texts = None if choices is None or is_missing(choices) else tuple(map(str, choices))
        return cls(texts or None, None if is_missing(tolerance) else tolerance, require_boxed)


@dataclass(frozen=True, slots=True)
class Undecided:
    """Exact arithmetic does not settle it: `verdict` holds if the answers in `request` turn out to be different."""

    verdict: Verdict
    request: tuple[str, str]


Judge = Callable[[str, str, Options], Verdict | Undecided]

# Where the final answer stands in a completion, start and end; `None` if it has none. The gold answer may be empty
Finder = Callable[[str, str, Options], tuple[int, int] | None]
