"""Which function judges which kind."""

from collections.abc import Callable
from functools import wraps

from ...errors import UserError
from ...stages.config import nearest
from ...stages.dotted import is_dotted, load_dotted
from ..verdict import ERROR, MATCH, MISMATCH, Verdict
from . import choice, math, number, text
from .kind import Finder, Judge, Options, Undecided


class Registry:
    """The known kinds by name."""

    def __init__(self):
        self._judges: dict[str, Judge] = {}
        self._finders: dict[str, Finder] = {}

    def add(self, name: str, judge: Judge, finder: Finder | None = None) -> None:
        """
        Make `judge` responsible for rows of kind `name`, and `finder` for where their answers stand; earlier ones are
        replaced.
        """
        self._judges[name] = judge
        self._finders[name] = finder or _nowhere

    def names(self) -> list[str]:
        """All known kinds."""
        return sorted(self._judges)

    def find(self, name: str) -> Judge:
        """The judge for `name`; where there is none, the `UserError` names the nearest known kind."""
        judge = self._judges.get(name) if isinstance(name, str) else None
        if judge is None:
            hint = nearest(str(name), self._judges.keys()) or f"; there are {', '.join(self.names())}"
            if is_dotted(str(name)):
                # A row is data: were what it names imported, `os:popen` would be a kind, too
                hint = "; of such, only those that the settings name (`kinds`) are imported"
            raise UserError(f"unknown kind of verifier {name!r}{hint}")
        return judge

    def finder(self, name: str) -> Finder:
        """What finds the answers of kind `name`; errors as of [`find`]."""
        self.find(name)
        return self._finders[name]


def _nowhere(prediction: str, gold: str, options: Options) -> None:
    """A kind that only judges does not say where the answer stands."""


def _unbroken(kind: str, judge: Judge) -> Judge:
    """A judge of ours that never raises: an answer that it stumbles over is `error`, and ends no batch or run."""

    @wraps(judge)
    def judged(prediction: str, gold: str, options: Options) -> Verdict | Undecided:
        try:
            return judge(prediction, gold, options)
        except (ArithmeticError, LookupError, RecursionError, TypeError, ValueError):
            return Verdict(False, None, ERROR, kind)

    return judged


def _unbroken_finder(finder: Finder) -> Finder:
    """A finder of ours that never raises: a text that it stumbles over has no answer."""

    @wraps(finder)
    def found(prediction: str, gold: str, options: Options) -> tuple[int, int] | None:
        try:
            return finder(prediction, gold, options)
        except (ArithmeticError, LookupError, RecursionError, TypeError, ValueError):
            return None

    return found


KINDS = Registry()
for module in (choice, math, number, text):
    KINDS.add(module.KIND, _unbroken(module.KIND, module.judge), _unbroken_finder(module.find_answer))


def register_kind(name: str, function: Callable[[str, str, Options], Verdict | bool]) -> None:
    """Add a kind of verifier, or replace one, for this process.

    Stages take a kind of your own without this: settings name its function by a dotted path, `my_module:my_function`
    (see [`load_kind`]), and every process that judges imports it.

    Args:
        name (`str`):
            The kind, as it stands in the rows.
        function (`Callable`):
            Called as `function(prediction, gold, options)` with the whole completion, the gold answer as text and the
            row's [`Options`]; returns a [`Verdict`], or just whether the completion is right. It must be quick, and
            must not hang: no limit of time applies to it. `"So the answer is GOLD"` must be right by it: so is the
            gold answer of each row checked.

    Example:
    ```python
    >>> register_kind("ends_alike", lambda prediction, gold, options: prediction.endswith(gold))
    >>> verify("So the answer is abba", "abba", kind="ends_alike").correct
    True
    ```
    """

    def judge(prediction: str, gold: str, options: Options) -> Verdict | Undecided:
        result = function(prediction, gold, options)
        if isinstance(result, Verdict | Undecided):
            return result
        return Verdict(bool(result), None, MATCH if result else MISMATCH, name)

    KINDS.add(name, judge)


def load_kind(name: str) -> None:
    """Make a kind known that settings name: nothing to do for a known one; the function at a dotted path is imported.

    It is registered under its path, which is what rows of its kind say.

    Args:
        name (`str`): a known kind, or `package.module:function` for one of your own, as [`register_kind`] takes it.

    Raises:
        UserError: there is no such kind, or it cannot be imported.
    """
    if name in KINDS.names() or not is_dotted(str(name)):
        KINDS.find(name)
        return
    function = load_dotted(name, "kind of verifier")
    if not callable(function):
        raise UserError(f"kind of verifier {name!r}: expected a function, found {type(function).__name__}")
    register_kind(name, function)
