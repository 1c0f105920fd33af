"""The kinds of verifiers, and how new ones are added."""

import difflib
from collections.abc import Callable
from dataclasses import dataclass

from ...errors import UserError
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


@dataclass(frozen=True, slots=True)
class Undecided:
    """Exact arithmetic does not settle it: `verdict` holds if the answers in `request` turn out to be different."""

    verdict: Verdict
    request: tuple[str, str]


Judge = Callable[[str, str, Options], Verdict | Undecided]


class Registry:
    """The known kinds by name."""

    def __init__(self):
        self._judges: dict[str, Judge] = {}

    def add(self, name: str, judge: Judge) -> None:
        """Make `judge` responsible for rows of kind `name`; an earlier one is replaced."""
        self._judges[name] = judge

    def names(self) -> list[str]:
        """All known kinds."""
        return sorted(self._judges)

    def find(self, name: str) -> Judge:
        """The judge for `name`.

        Raises:
            UserError: there is none; the message names the nearest known kind.
        """
        judge = self._judges.get(name) if isinstance(name, str) else None
        if judge is None:
            close = difflib.get_close_matches(str(name), self._judges, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known kinds: {', '.join(self.names())}"
            raise UserError(f"unknown kind of verifier {name!r}: {hint}")
        return judge
