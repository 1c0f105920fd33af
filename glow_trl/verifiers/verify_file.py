"""`glow-trl verify`: judge the rows of a JSONL file, streaming."""

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from ..data.columns import without_gaps
from ..data.jsonl import MalformedLine, read_jsonl
from ..errors import UserError
from ..stages.command import run_command
from ..stages.config import parse_command, setting
from ..stages.console import FiguresTable, progress, say_results, visible
from ..stages.files import partial_of, replacing, write_errors
from ..stages.frame import writing
from .kinds.registry import load_kind
from .pool import DEFAULT_TIMEOUT, VerifierPool
from .rows import find_judging_fault
from .verdict import BAD_GOLD, MATCH, REASONS, Verdict


CHUNK = 256
PREDICTION = ("prediction", "completion")
GOLD = ("gold", "answer")
PROBLEM = ("problem", "question")
BAD_INPUT = 2


@dataclass
class VerifyConfig:
    r"""
    A JSONL file to judge. Rows have `prediction` (or `completion`) and `gold` (or `answer`), and may have `kind`,
    `choices`, `tolerance`, and `problem` (or `question`). The output has the same rows in the same order, plus
    `correct`, `extracted` and `reason`.

    Parameters:
        file (`str`):
            JSONL file to judge; also the first argument of the command.
        output (`str`):
            JSONL file to write.
        kind (`str`, *optional*, defaults to `"math"`):
            Verifier of the rows that have no kind of their own; `my_module:my_function` for one of yours.
        kinds (`list[str]`, *optional*):
            Verifiers of your own that rows name as their `kind`, likewise.
        restated (`str`, *optional*, defaults to `"reject"`):
            What an answer is worth that only restates the `problem` of its row: `"reject"`, it is wrong;
            `"strict"`, so for one that is lightly edited; `"accept"`, it counts.
        timeout (`float`, *optional*, defaults to `5.0`):
            Limit of one comparison, in seconds of the processor.
        workers (`int`, *optional*, defaults to `2`):
            Worker processes for computer algebra.
        require_boxed (`bool`, *optional*, defaults to `False`):
            Whether only answers in `\\boxed{}` are accepted.
        keep_going (`bool`, *optional*, defaults to `False`):
            Whether the other rows are judged when a line is malformed. The command says which were, with exit code 2.
    """

    file: str = setting("", "JSONL file to judge.", positional=True, required=True)
    output: str = setting("", "JSONL file to write.", required=True)
    kind: str = setting("math", "Verifier of the rows that have no kind of their own.")
    kinds: list[str] = setting([], "Verifiers of your own that rows name: my_module:my_function.")
    restated: str = setting(
        "reject",
        "Answers that only restate the question: accept, reject or strict.",
        choices=["accept", "reject", "strict"],
    )
    timeout: float = setting(DEFAULT_TIMEOUT, "Limit of one comparison, in seconds of the processor.")
    workers: int | None = setting(None, "Worker processes for computer algebra (default: 2).")
    require_boxed: bool = setting(False, "Whether only boxed answers are accepted.")
    keep_going: bool = setting(False, "Whether the other rows are judged when a line is malformed.")

    def __post_init__(self):
        if not self.file or not self.output:
            raise UserError("name the file to judge and the one to write: glow-trl verify FILE --output OUT")


def main(argv: list[str] | None = None) -> int:
    """Run `glow-trl verify` with the arguments `argv`; returns 2 if lines were malformed and left out, else 0."""
    options: VerifyConfig = parse_command("verify", sys.argv[1:] if argv is None else argv).config
    for kind in (options.kind, *options.kinds):
        load_kind(kind)
    source, target = Path(options.file), Path(options.output)
    skipped: list[MalformedLine] = []

    def skip(problem: MalformedLine) -> None:
        skipped.append(problem)
        print(visible(f"skipped: {problem}"), file=sys.stderr)

    rows = _usable_rows(source, options.kind, skip if options.keep_going else None)
    counts: Counter[tuple[str, str]] = Counter()
    with (
        writing(target, [source]),
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
        if not counts and not skipped:
            raise UserError(f"{source}: the file is empty")
    _show_summary(counts, len(skipped))
    say_results(target)
    return BAD_INPUT if skipped else 0


def _first_of(row: dict, *names: str) -> Any:
    return next((row[name] for name in names if row.get(name) is not None), None)


def _problem(row: dict, kind: str) -> str | None:
    """What is wrong with a row, or `None`."""
    if not isinstance(_first_of(row, *PREDICTION), str):
        return "expected a text under `prediction` (or `completion`)"
    if not any(name in row for name in GOLD):
        return "expected a `gold` (or `answer`)"
    fault = find_judging_fault(row, kind)
    return None if fault is None else str(fault)


def _usable_rows(source: Path, kind: str, skip: Callable[[MalformedLine], None] | None) -> Iterator[dict]:
    for number, given in read_jsonl(source, on_malformed=skip):
        row = without_gaps(given)
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


def _judge(chunk: list[dict], pool: VerifierPool, options: VerifyConfig) -> list[Verdict]:
    return pool.verify_batch(
        [_first_of(row, *PREDICTION) for row in chunk],
        [_first_of(row, *GOLD) for row in chunk],
        [row.get("kind") or options.kind for row in chunk],
        choices=[row.get("choices") for row in chunk],
        tolerances=[row.get("tolerance") for row in chunk],
        problems=[_first_of(row, *PROBLEM) for row in chunk],
        restated=options.restated,
        require_boxed=options.require_boxed,
    )


@contextmanager
def _replacing(target: Path) -> Iterator[TextIO]:
    """A file that takes its name only when it is whole; before a malformed line, what there is of it stays beside."""
    try:
        with write_errors(target), replacing(target, keep=(MalformedLine,)) as partial:
            with partial.open("w", encoding="utf-8") as file:
                yield file
    except MalformedLine as problem:
        raise UserError(
            f"{problem}; the rows before it are judged, in {partial_of(target)}; --keep-going skips such lines"
        ) from problem


@contextmanager
def _progress(source: Path) -> Iterator[Callable[[int], None]]:
    with progress() as bars:
        task = bars.add_task("verify", total=_count_lines(source) if sys.stderr.isatty() else None)
        yield lambda count: bars.advance(task, count)


def _count_lines(source: Path) -> int | None:
    if not source.is_file():
        return None
    with source.open("rb") as file:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b""))


def _show_summary(counts: Counter, skipped: int) -> None:
    from rich.console import Console

    reasons = [reason for reason in REASONS if any(counts[kind, reason] for kind, _ in counts)]
    table = FiguresTable("kind", numbers=("rows", "accuracy", *reasons))
    for kind in sorted({kind for kind, _ in counts}):
        numbers = [counts[kind, reason] for reason in reasons]
        usable = sum(numbers) - counts[kind, BAD_GOLD]
        accuracy = f"{100 * counts[kind, MATCH] / usable:.2f} %" if usable else "-"
        table.add(kind, str(sum(numbers)), accuracy, *map(str, numbers))
    console = Console()
    if counts:
        console.print(table)
    left_out = f", {skipped} malformed lines left out" if skipped else ""
    console.print(f"{sum(counts.values())} rows judged{left_out}")


if __name__ == "__main__":
    sys.exit(run_command("verify"))
