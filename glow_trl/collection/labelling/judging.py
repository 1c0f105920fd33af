"""Judging trajectories in several processes."""

import itertools
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ...verifiers import Verdict, VerifierPool, load_kind
from ...verifiers.gold import phrase
from ...verifiers.kinds.kind import Options, Undecided
from ...verifiers.pool import judge_quickly
from ...verifiers.workers.supervisor import Workers


# Rows that are judged before it pays to start processes for the rest
_FIRST = 1024
_CHUNK = 256
# A chunk of long completions has fewer rows
_CHUNK_CHARACTERS = 4_000_000
_REMEMBERED_GOLDS = 16384


@dataclass(frozen=True, slots=True)
class Question:
    """What a trajectory is judged by."""

    answer: Any
    kind: str
    options: Options


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict, and whether the gold answer satisfies its own verifier."""

    verdict: Verdict
    gold_is_usable: bool

    @property
    def is_judged(self) -> bool:
        """A gold answer that fails its own verifier can still be matched, but what it does not match may be right."""
        return self.verdict.judged and (self.gold_is_usable or self.verdict.correct is True)


_Quick = tuple[Verdict | Undecided, Verdict | Undecided]


@lru_cache(_REMEMBERED_GOLDS)
def _check_gold(question: Question) -> Verdict | Undecided:
    """What its own verifier says about a gold answer that is phrased as a model would."""
    return judge_quickly(phrase(question.answer, question.kind), question.answer, question.kind, question.options)


def judge_in_order(
    rows: Iterable[tuple[Any, str, Question]], workers: int, timeout: float
) -> Iterator[tuple[Any, Judgement]]:
    """
    Judge a stream of rows (anything, a completion, and its question) in several processes, or with one worker in this
    one; `timeout` limits a comparison, in seconds. What is in memory does not grow with the stream.
    """
    with VerifierPool(workers=min(2, workers), timeout=timeout) as pool:
        for chunk, quick in _judge_quickly(_chunks(rows), workers):
            verdicts = pool.settle([verdict for verdict, _ in quick])
            golds = pool.settle([gold for _, gold in quick])
            for (row, _, _), verdict, gold in zip(chunk, verdicts, golds, strict=True):
                yield row, Judgement(verdict, gold.correct is True)


def _judge_quickly(chunks: Iterator[list], count: int) -> Iterator[tuple[list, list[_Quick]]]:
    judged = 0
    for chunk in chunks:
        yield chunk, _judge(_without_rows(chunk))
        judged += len(chunk)
        if count > 1 and judged >= _FIRST:
            break
    first = next(chunks, None)
    if first is None:
        return
    workers = Workers(f"{__name__}:{judge_elsewhere.__name__}", count)
    waiting: deque = deque()
    with ThreadPoolExecutor(count) as threads:
        try:
            for chunk in itertools.chain([first], chunks):
                waiting.append((chunk, threads.submit(_judge_in, workers, _without_rows(chunk))))
                if len(waiting) >= 2 * count:
                    chunk, future = waiting.popleft()
                    yield chunk, future.result()
            for chunk, future in waiting:
                yield chunk, future.result()
        finally:
            threads.shutdown(cancel_futures=True)
            workers.close()


def _judge_in(workers: Workers, rows: list[tuple[str, Question]]) -> list[_Quick]:
    (outcome,) = workers.run([(rows,)])
    # What fails there may do better here, where the caller has registered its kinds, or else says here why it fails
    return _judge(rows) if outcome.failure else outcome.result


def judge_elsewhere(rows: list[tuple[str, Question]]) -> list[_Quick]:
    """Judge rows, in a worker process: the caller has loaded the kinds that its settings name, and these rows have."""
    for kind in {question.kind for _, question in rows}:
        load_kind(kind)
    return _judge(rows)


def _chunks(rows: Iterable[tuple[Any, str, Question]]) -> Iterator[list]:
    chunk: list = []
    size = 0
    for row in rows:
        chunk.append(row)
        size += len(row[1])
        if len(chunk) == _CHUNK or size >= _CHUNK_CHARACTERS:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _without_rows(chunk: list) -> list[tuple[str, Question]]:
    return [(completion, question) for _, completion, question in chunk]


def _judge(rows: list[tuple[str, Question]]) -> list[_Quick]:
    return [
        (judge_quickly(completion, question.answer, question.kind, question.options), _check_gold(question))
        for completion, question in rows
    ]
