"""`verify`, `verify_batch` and the pool behind them."""

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from numbers import Number

from ..data.columns import is_missing
from ..errors import UserError
from .equality.numeric import start_counting
from .kinds.kind import Options, Undecided
from .kinds.registry import KINDS
from .restated import REJECT, check_mode, without_copies
from .verdict import BAD_GOLD, MATCH, Verdict
from .workers.supervisor import WAIT_TIMEOUT, Outcome, Workers, available_cores


DEFAULT_TIMEOUT = 5.0
MAX_CACHED_LENGTH = 2000
_COMPARE = "glow_trl.verifiers.equality.algebra:answers_equal"


class _Cache:
    """The latest results of computer algebra, least recently used first.

    Each step is atomic; a lock might be held by another thread when a process forks, and the child never get it.
    """

    def __init__(self, size: int):
        self._size = size
        self._results: OrderedDict[tuple[str, str], bool] = OrderedDict()

    def get(self, request: tuple[str, str]) -> bool | None:
        with contextlib.suppress(KeyError):
            self._results.move_to_end(request)
        return self._results.get(request)

    def put(self, request: tuple[str, str], equal: bool) -> None:
        if self._size <= 0 or len(request[0]) + len(request[1]) > MAX_CACHED_LENGTH:
            return
        self._results[request] = equal
        if len(self._results) > self._size:
            with contextlib.suppress(KeyError):
                self._results.popitem(last=False)


class VerifierPool:
    """Judges completions; what needs computer algebra runs in worker processes that can be killed.

    Most pairs are settled by exact arithmetic in the calling process. Workers start with the first pair that is not,
    and end with the pool, with the process, or with whatever kills the process. A pool may be used from any thread,
    inside event loops, and in forked or spawned children (each process has workers of its own).

    Args:
        workers (`int`, *optional*):
            Number of worker processes; by default 2, or 1 on a single core.
        timeout (`float`, *optional*, defaults to 5.0):
            Limit in seconds for one comparison, from when a worker takes it; time spent waiting for a processor that
            others use does not count. A worker that exceeds it is killed and replaced, and its own case gets
            `reason="timeout"`.
        memory_mb (`int`, *optional*, defaults to 64):
            By how many MiB one worker may grow over its size at start; a case that needs more gets `reason="error"`.
        cache_size (`int`, *optional*, defaults to 16384):
            Number of compared pairs to remember; 0 for none.
        wait_timeout (`float`, *optional*, defaults to 120.0):
            How many seconds a comparison may wait for a worker, where others keep all of them busy or none can be
            started, and for a processor; then it gets `reason="error"`.

    Example:
    ```python
    >>> with VerifierPool(workers=4, timeout=2.0) as pool:
    ...     pool.verify(r"The answer is $\\frac{\\sqrt{12}}{2}$.", r"\\sqrt{3}").correct
    True
    ```
    """

    def __init__(
        self,
        workers: int | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        memory_mb: int = 64,
        cache_size: int = 16384,
        wait_timeout: float = WAIT_TIMEOUT,
    ):
        if workers is None:
            workers = min(2, available_cores())
        if workers < 1 or memory_mb < 1:
            raise UserError(
                f"a verifier pool needs workers and memory_mb of at least 1, not {workers} and {memory_mb}"
            )
        self.timeout = _checked_timeout(timeout)
        self._settings = (workers, timeout, memory_mb, cache_size, wait_timeout)
        self._workers = Workers(_COMPARE, workers, memory_mb, _checked_timeout(wait_timeout, "wait_timeout"))
        self._cache = _Cache(cache_size)

    def __reduce__(self):
        return VerifierPool, self._settings

    def __enter__(self) -> "VerifierPool":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """End the worker processes. The pool stays usable: it starts new ones on need."""
        self._workers.close()

    def verify(
        self,
        prediction: str,
        gold: object,
        kind: str = "math",
        timeout: float | None = None,
        choices: Sequence[str] | None = None,
        tolerance: float | None = None,
        require_boxed: bool = False,
        problem: str | None = None,
        restated: str = REJECT,
    ) -> Verdict:
        """Judge one completion; see [`verify`]."""
        check_mode(restated)
        options = Options.of(choices, tolerance, require_boxed)
        verdict = self.settle([judge_quickly(prediction, gold, kind, options)], timeout)[0]
        return without_copies(verdict, gold, problem, restated)

    def verify_batch(
        self,
        predictions: Sequence[str],
        golds: Sequence[object],
        kinds: str | Sequence[str | None] | None = None,
        timeout: float | None = None,
        choices: Sequence[Sequence[str] | None] | None = None,
        tolerances: float | Sequence[float | None] | None = None,
        require_boxed: bool = False,
        problems: Sequence[str | None] | None = None,
        restated: str = REJECT,
    ) -> list[Verdict]:
        """Judge many completions, spread over the workers; see [`verify_batch`]."""
        check_mode(restated)
        count = len(predictions)
        columns: dict[str, Sequence] = {
            "golds": golds,
            "kinds": [kinds] * count if kinds is None or isinstance(kinds, str) else kinds,
            "choices": [None] * count if choices is None else choices,
            "tolerances": list(tolerances) if isinstance(tolerances, Iterable) else [tolerances] * count,
            "problems": [None] * count if problems is None else problems,
        }
        for name, column in columns.items():
            if len(column) != count:
                raise UserError(f"verify_batch got {count} predictions but {len(column)} {name}")
        asked = columns.pop("problems")
        quick = [
            judge_quickly(prediction, gold, kind, Options.of(row_choices, tolerance, require_boxed))
            for prediction, gold, kind, row_choices, tolerance in zip(predictions, *columns.values(), strict=True)
        ]
        return [
            without_copies(verdict, gold, problem, restated)
            for verdict, gold, problem in zip(self.settle(quick, timeout), golds, asked, strict=True)
        ]

    def settle(self, results: Sequence[Verdict | Undecided], timeout: float | None = None) -> list[Verdict]:
        """Verdicts for what [`judge_quickly`] found, here or in another process: computer algebra decides the rest."""
        timeout = self.timeout if timeout is None else _checked_timeout(timeout)
        outcomes: dict[tuple[str, str], Outcome] = {}
        for request in dict.fromkeys(result.request for result in results if isinstance(result, Undecided)):
            outcomes[request] = Outcome(self._cache.get(request))
        asked = [request for request, outcome in outcomes.items() if outcome.result is None]
        if asked:
            for request, outcome in zip(asked, self._workers.run(asked, timeout), strict=True):
                if outcome.failure is None:
                    self._cache.put(request, outcome.result)
                outcomes[request] = outcome
        return [
            _decided(result, outcomes[result.request]) if isinstance(result, Undecided) else result
            for result in results
        ]


def _checked_timeout(timeout: float, name: str = "timeout") -> float:
    if not isinstance(timeout, Number) or not timeout > 0:
        raise UserError(f"the verifier's {name} is a number of seconds above 0, not {timeout!r}")
    return min(float(timeout), threading.TIMEOUT_MAX)


def judge_quickly(prediction: str, gold: object, kind: str | None, options: Options) -> Verdict | Undecided:
    """Judge one completion as far as that needs no computer algebra: exact arithmetic settles most.

    What is missing, as NaN in the column of a data frame, is none: no gold answer, and the kind `"math"`.

    What it leaves [`Undecided`] is for [`VerifierPool.settle`]; that can be pickled, as verdicts can.
    """
    kind = "math" if is_missing(kind) or not kind else kind
    judge = KINDS.find(kind)
    if is_missing(gold) or not isinstance(gold, str | bool | Number):
        return Verdict(None, None, BAD_GOLD, kind)
    start_counting()
    return judge("" if is_missing(prediction) else str(prediction), str(gold), options)


def _decided(undecided: Undecided, outcome: Outcome) -> Verdict:
    if outcome.failure is not None:
        return replace(undecided.verdict, reason=outcome.failure)
    return replace(undecided.verdict, correct=True, reason=MATCH) if outcome.result else undecided.verdict


@lru_cache(maxsize=1)
def default_pool() -> VerifierPool:
    """The pool that [`verify`], [`verify_batch`] and the rewards share, made on first need."""
    return VerifierPool()


def verify(
    prediction: str,
    gold: object,
    kind: str = "math",
    timeout: float = DEFAULT_TIMEOUT,
    choices: Sequence[str] | None = None,
    tolerance: float | None = None,
    require_boxed: bool = False,
    problem: str | None = None,
    restated: str = REJECT,
) -> Verdict:
    """Judge one completion against a gold answer.

    Args:
        prediction (`str`):
            The whole completion; its final answer is found here.
        gold (`str` or number):
            The gold answer.
        kind (`str`, *optional*, defaults to `"math"`):
            `"math"`, `"choice"`, `"text"`, `"number"`, or a kind added by [`register_kind`] or [`load_kind`].
        timeout (`float`, *optional*, defaults to 5.0):
            Limit in seconds for the comparison; waiting for a worker or a processor does not count.
        choices (`Sequence[str]`, *optional*):
            For `choice`: the options, so that an answer may be given as an option's text.
        tolerance (`float`, *optional*):
            For `number`: the largest accepted difference, relative to the gold number.
        require_boxed (`bool`, *optional*, defaults to `False`):
            Whether only an answer in `\\boxed{}` counts.
        problem (`str`, *optional*):
            The question. With it, an answer that only restates what was given is not right.
        restated (`str`, *optional*, defaults to `"reject"`):
            How strict that is: `"accept"` (copies count), `"reject"`, or `"strict"` (what is lightly edited or
            evaluated is a copy too), see [`~glow_trl.verifiers.restated.restates`].

    Returns:
        [`Verdict`]: whether it is right, what was extracted by which rule, and the reason.

    Raises:
        UserError: the kind is unknown.

    Example:
    ```python
    >>> from glow_trl.verifiers import verify

    >>> verify(r"So x = \\boxed{\\frac{1}{2}}.", "0.5")
    Verdict(correct=True, extracted='\\\\frac{1}{2}', reason='match', kind='math', rule='boxed')
    ```
    """
    return default_pool().verify(prediction, gold, kind, timeout, choices, tolerance, require_boxed, problem, restated)


def verify_batch(
    predictions: Sequence[str],
    golds: Sequence[object],
    kinds: str | Sequence[str | None] | None = None,
    timeout: float = DEFAULT_TIMEOUT,
    choices: Sequence[Sequence[str] | None] | None = None,
    tolerances: float | Sequence[float | None] | None = None,
    require_boxed: bool = False,
    problems: Sequence[str | None] | None = None,
    restated: str = REJECT,
) -> list[Verdict]:
    """Judge many completions at once, spread over the worker processes.

    Args:
        predictions (`Sequence[str]`):
            The completions.
        golds (`Sequence`):
            Their gold answers.
        kinds (`str` or `Sequence`, *optional*):
            One kind for all, or one per row; `None` means `"math"`.
        timeout (`float`, *optional*, defaults to 5.0):
            Limit in seconds for each comparison; waiting for a worker or a processor does not count.
        choices, tolerances (`Sequence`, *optional*):
            Per row, or `None`; `tolerances` may also be one number for all.
        require_boxed (`bool`, *optional*, defaults to `False`):
            Whether only answers in `\\boxed{}` count.
        problems (`Sequence[str]`, *optional*):
            The questions: with them, answers that only restate what was given are not right.
        restated (`str`, *optional*, defaults to `"reject"`):
            `"accept"`, `"reject"` or `"strict"`, as of [`verify`].

    Returns:
        `list[Verdict]`: in the order of the predictions.
    """
    return default_pool().verify_batch(
        predictions, golds, kinds, timeout, choices, tolerances, require_boxed, problems, restated
    )
