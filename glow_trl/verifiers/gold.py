"""The pre-flight over gold answers: each of them, phrased as a model would, must satisfy its own verifier."""

import logging
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from ..data.columns import without_gaps
from ..errors import UserError
from .kinds.registry import KINDS
from .pool import DEFAULT_TIMEOUT, VerifierPool, default_pool
from .rows import find_judging_fault


if TYPE_CHECKING:
    import pyarrow


logger = logging.getLogger(__name__)

CHUNK = 512
_SHOWN = 3
# Right by this kind whatever a row says besides, and most gold answers are one
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,14})")
_MATH = KINDS.find("math")


@dataclass(frozen=True, slots=True)
class GoldFailure:
    """One unusable row: its number from 0, its gold answer and kind, and why its verifier turned the answer down.

    `name` is what messages call it: its `sample_id`, if it has one.
    """

    index: int
    answer: object
    kind: str
    reason: str
    name: str


@dataclass(frozen=True, slots=True)
class GoldReport:
    """What [`check_gold`] found.

    Attributes:
        checked (`int`): number of rows.
        failures (`tuple[GoldFailure, ...]`): the rows whose gold answer its own verifier does not accept.
    """

    checked: int
    failures: tuple[GoldFailure, ...]

    @property
    def usable(self) -> int:
        """Number of rows whose gold answer is accepted."""
        return self.checked - len(self.failures)

    @property
    def ok(self) -> bool:
        """Whether all are."""
        return not self.failures

    def summary(self) -> str:
        """One line for people: counts, reasons, and the first few failures."""
        if self.ok:
            return f"all {self.checked} gold answers are accepted by their own verifiers"
        counts = Counter(failure.reason for failure in self.failures)
        reasons = ", ".join(f"{count} {reason}" for reason, count in counts.most_common())
        shown = "; ".join(
            f"{failure.name}: {str(failure.answer)[:60]!r} ({failure.kind}, {failure.reason})"
            for failure in self.failures[:_SHOWN]
        )
        more = " ..." if len(self.failures) > _SHOWN else ""
        return f"{len(self.failures)} of {self.checked} gold answers are unusable ({reasons}): {shown}{more}"


def phrase(answer: object, kind: str) -> str:
    """A completion that gives `answer` the way a model would."""
    text = str(answer).strip()
    if kind in ("math", "number"):
        return text if "boxed" in text else rf"The answer is \boxed{{{text}}}."
    return f"So the answer is {text}"


def check_gold(
    rows: Iterable[dict],
    kind: str = "math",
    timeout: float = DEFAULT_TIMEOUT,
    pool: VerifierPool | None = None,
) -> GoldReport:
    """Check that every gold answer is accepted by its own verifier.

    Args:
        rows (`Iterable[dict]`):
            With `answer` (or `gold`), and, each optional, `kind`, `choices`, `tolerance`. Read once, and not kept.
        kind (`str`, *optional*, defaults to `"math"`):
            For rows without a kind of their own.
        timeout (`float`, *optional*, defaults to 5.0):
            Limit in seconds for each comparison; waiting for a worker or a processor does not count.
        pool ([`VerifierPool`], *optional*):
            The pool to use instead of the process's own.

    Returns:
        [`GoldReport`]: counts and the list of failures.
    """
    pool = pool or default_pool()
    failures: list[GoldFailure] = []
    checked = 0
    rows = iter(rows)
    while chunk := [without_gaps(row) for row in islice(rows, CHUNK)]:
        reasons = {index: str(fault) for index, row in enumerate(chunk) if (fault := find_judging_fault(row, kind))}
        golds = [row["answer"] if row.get("answer") is not None else row.get("gold") for row in chunk]
        kinds = [row.get("kind") or kind for row in chunk]
        asked = [
            index
            for index, gold in enumerate(golds)
            if index not in reasons
            and not (_INTEGER.fullmatch(str(gold)) and kinds[index] == "math" and KINDS.find("math") is _MATH)
        ]
        verdicts = pool.verify_batch(
            ["" if golds[index] is None else phrase(golds[index], kinds[index]) for index in asked],
            [golds[index] for index in asked],
            [kinds[index] for index in asked],
            timeout=timeout,
            choices=[chunk[index].get("choices") for index in asked],
            tolerances=[chunk[index].get("tolerance") for index in asked],
        )
        reasons |= {
            index: verdict.reason
            for index, verdict in zip(asked, verdicts, strict=True)
            if verdict.correct is not True
        }
        for index in sorted(reasons):
            name = chunk[index].get("sample_id") or f"row {checked + index}"
            failures.append(GoldFailure(checked + index, golds[index], str(kinds[index]), reasons[index], str(name)))
        checked += len(chunk)
    return GoldReport(checked, tuple(failures))


def surely_accepted(rows: "pyarrow.Table") -> np.ndarray:
    """
    Which rows, given as the columns of [`~glow_trl.data.columnar.parse_lines`], have a gold answer that [`check_gold`]
    accepts, as far as that can be told at a glance; of shape `(rows,)`, bool.
    """
    import pyarrow.compute as compute

    known = np.full(len(rows), KINDS.find("math") is _MATH)
    for name in rows.column_names:
        if name == "answer":
            column = compute.match_substring_regex(rows[name], f"^(?:{_INTEGER.pattern})$")
        elif name == "kind" and rows[name].type == "string":
            column = compute.or_kleene(compute.is_null(rows[name]), compute.equal(rows[name], "math"))
        elif name in ("kind", "gold", "choices", "tolerance"):
            column = compute.is_null(rows[name])
        else:
            continue
        known &= compute.fill_null(column, False).to_numpy()
    return known


def usable_positions(report: GoldReport, on_bad_gold: str = "error", where: str = "") -> list[int]:
    """
    The positions of the rows whose gold answer its own verifier accepts; `where` begins the messages.

    Raises:
        UserError: one is not accepted and `on_bad_gold` is `"error"`, or none is.
    """
    if report.ok:
        return list(range(report.checked))
    if on_bad_gold == "error" or not report.usable:
        raise UserError(
            f"{where}{report.summary()}. Correct them or their `kind`, or set on_bad_gold: drop to leave them out"
        )
    logger.warning("%s%s; they are left out", where, report.summary())
    bad = {failure.index for failure in report.failures}
    return [index for index in range(report.checked) if index not in bad]
