"""Which function judges which kind."""

from collections.abc import Callable

from ..verdict import MATCH, MISMATCH, Verdict
from . import choice as kind_choice
from . import math as kind_math
from . import number as kind_number
from . import text as kind_text
from .kind import Options, Registry, Undecided


KINDS = Registry()
for module in (kind_choice, kind_math, kind_number, kind_text):
    KINDS.add(module.KIND, module.judge)


def register_kind(name: str, function: Callable[[str, str, Options], Verdict | bool]) -> None:
    """Add a kind of verifier, or replace one, for this process.

    Args:
        name (`str`):
            The kind, as it stands in the rows.
        function (`Callable`):
            Called as `function(prediction, gold, options)` with the whole completion, the gold answer as text and the
            row's [`Options`]; returns a [`Verdict`], or just whether the completion is right. It runs in the calling
            process: it must be quick, and must not hang.

    Example:
    ```python
    >>> register_kind("palindrome", lambda prediction, gold, options: prediction == prediction[::-1])
    >>> verify("abba", "", kind="palindrome").correct
    True
    ```
    """

    def judge(prediction: str, gold: str, options: Options) -> Verdict | Undecided:
        result = function(prediction, gold, options)
        if isinstance(result, Verdict | Undecided):
            return result
        return Verdict(bool(result), None, MATCH if result else MISMATCH, name)

    KINDS.add(name, judge)
