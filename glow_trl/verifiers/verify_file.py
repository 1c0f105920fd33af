"""`glow-trl verify`: judge the rows of a JSONL file, streaming."""

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from numbers import Number
from pathlib import Path
from typing import TextIO

from ..data.jsonl import MalformedLine, read_jsonl
from ..errors import UserError
from ..stages.files import partial_of, replacing, writing
from .kinds.registry import KINDS
from .pool import DEFAULT_TIMEOUT, VerifierPool
from .verdict import BAD_GOLD, MATCH, REASONS, Verdict


CHUNK = 256
PREDICTION = ("prediction", "completion")
GOLD = ("gold", "answer")
BAD_INPUT = 2
_EPILOG = (
    "Rows have `prediction` (or `completion`) and `gold` (or `answer`), and may have `kind`, `choices`, `tolerance`. "
    "The output has the same rows in the same order, plus `correct`, `extracted` and `reason`. "
    "Exit code 2 if a line was malformed."
)


def make_parser() -> argparse.ArgumentParser:
    """The options of `glow-trl verify`."""
    parser = argparse.ArgumentParser(
        prog="glow-trl verify", description="Judge the predictions in a JSONL file.", epilog=_EPILOG
    )
    parser.add_argument("file", metavar="FILE", help="JSONL file to judge")
    parser.add_argument("--output", required=True, metavar="OUT", help="JSONL file to write")
    parser.add_argument(
        "--kind", default="math", help="for rows that have no kind of their own (default: %(default)s)"
    )
    parser.add_argument(
        "--timeout", type=float, default=DEFAULT_TIMEOUT, help="seconds for one comparison (default: %(default)s)"
    )
    parser.add_argument("--workers", type=int, help="worker processes for computer algebra (default: 2)")
    parser.add_argument("--require-boxed", action="store_true", help="only accept answers in \\boxed{}")
    parser.add_argument(
        "--keep-going", action="store_true", help="judge the other rows when a line is malformed, and say which were"
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run `glow-trl verify`.

    Returns:
        `int`: 0, or 2 if lines were malformed and left out (`--keep-going`).

    Raises:
        UserError: a file cannot be read or written, an option is wrong, or, without `--keep-going`, a line is
            malformed. The rows before that line are judged all the same, and stay in `OUT.partial`.
    """
    options = make_parser().parse_args(argv)
    KINDS.find(options.kind)
    source, target = Path(options.file), Path(options.output)
    if target.exists() and source.exists() and os.path.samefile(source, target):
        raise UserError(f"{target}: the output would overwrite the input; give --output another name")
    skipped: list[MalformedLine] = []

    def skip(problem: MalformedLine) -> None:
        skipped.append(problem)
        print(f"skipped: {problem}", file=sys.stderr)

    rows = _usable_rows(source, options.kind, skip if options.keep_going else None)
    counts: Counter[tuple[str, str]] = Counter()
    with (
        VerifierPool(workers=options.workers, timeout=options.timeout) as pool,
        _replacing(target) as output,
        _progress(source) as advance,
    ):
        for chunk in _chunks(rows):
            verdicts = _judge(chunk, pool, options)
            for row, verdict in zip(chunk, verdicts, strict=True):
                judged = {**row, "correct": verdict.correct, "extracted": verdict.extracted, "reason": verdict.reason}
                output.write(json.dumps(judged) + "\n")
                counts[verdict.kind, verdict.reason] += 1
            advance(len(chunk))
    _show_summary(counts, len(skipped))
    return BAD_INPUT if skipped else 0


def _first_of(row: dict, *names: str) -> object:
    return next((row[name] for name in names if row.get(name) is not None), None)


def _problem(row: dict, kind: str) -> str | None:
    """What is wrong with a row, or `None`."""
    if not isinstance(_first_of(row, *PREDICTION), str):
        return "expected a text under `prediction` (or `completion`)"
    if not any(name in row for name in GOLD):
        return "expected a `gold` (or `answer`)"
    try:
        KINDS.find(row.get("kind") or kind)
    except UserError as error:
        return str(error)
    choices, tolerance = row.get("choices"), row.get("tolerance")
    if choices is not None and not isinstance(choices, list):
        return "expected a list under `choices`"
    if tolerance is not None and (isinstance(tolerance, bool) or not isinstance(tolerance, Number) or tolerance < 0):
        return "expected a number of 0 or more under `tolerance`"
    return None


def _usable_rows(source: Path, kind: str, skip: Callable[[MalformedLine], None] | None) -> Iterator[dict]:
    for number, row in read_jsonl(source, on_malformed=skip):
        problem = _problem(row, kind)
        if problem is None:
            yield row
        elif skip is None:
            raise MalformedLine(source, number, problem)
        else:
            skip(MalformedLine(source, number, problem))


def _chunks(rows: Iterator[dict]) -> Iterator[list[dict]]:
    """Rows in chunks; those before a malformed line come out before the error does."""
    chunk: list[dict] = []
    try:
        for row in rows:
            chunk.append(row)
            if len(chunk) == CHUNK:
                yield chunk
                chunk = []
    except MalformedLine:
        if chunk:
            yield chunk
        raise
    if chunk:
        yield chunk


def _judge(chunk: list[dict], pool: VerifierPool, options: argparse.Namespace) -> list[Verdict]:
    return pool.verify_batch(
        [_first_of(row, *PREDICTION) for row in chunk],
        [_first_of(row, *GOLD) for row in chunk],
        [row.get("kind") or options.kind for row in chunk],
        choices=[row.get("choices") for row in chunk],
        tolerances=[row.get("tolerance") for row in chunk],
        require_boxed=options.require_boxed,
    )


@contextmanager
def _replacing(target: Path) -> Iterator[TextIO]:
    """A file that takes its name only when it is whole; before a malformed line, what there is of it stays beside."""
    try:
        with writing(target), replacing(target, keep=(MalformedLine,)) as partial:
            with partial.open("w", encoding="utf-8") as file:
                yield file
    except MalformedLine as problem:
        raise UserError(
            f"{problem}; the rows before it are judged, in {partial_of(target)}; --keep-going skips such lines"
        ) from problem


@contextmanager
def _progress(source: Path) -> Iterator[Callable[[int], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("verify", total=_count_lines(source) if console.is_terminal else None)
        yield lambda count: progress.advance(task, count)


def _count_lines(source: Path) -> int | None:
    if not source.is_file():
        return None
    with source.open("rb") as file:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b""))


def _show_summary(counts: Counter, skipped: int) -> None:
    from rich.console import Console
    from rich.table import Table

    reasons = [reason for reason in REASONS if any(counts[kind, reason] for kind, _ in counts)]
    table = Table("kind", "rows", "accuracy", *reasons)
    for kind in sorted({kind for kind, _ in counts}):
        numbers = [counts[kind, reason] for reason in reasons]
        usable = sum(numbers) - counts[kind, BAD_GOLD]
        accuracy = f"{100 * counts[kind, MATCH] / usable:.2f} %" if usable else "-"
        table.add_row(kind, str(sum(numbers)), accuracy, *map(str, numbers))
    console = Console()
    if counts:
        console.print(table)
    left_out = f", {skipped} malformed lines left out" if skipped else ""
    console.print(f"{sum(counts.values())} rows judged{left_out}")
