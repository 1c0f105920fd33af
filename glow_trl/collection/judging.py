"""Judging trajectories in several processes."""

import itertools
import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ..verifiers import Verdict, VerifierPool
from ..verifiers.gold import phrase
from ..verifiers.kinds import Options, Undecided
from ..verifiers.pool import judge_quickly
from ..verifiers.verdict import TIMEOUT


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


_Quick = tuple[Verdict | Undecided, Verdict | Undecided]


@lru_cache(_REMEMBERED_GOLDS)
def _check_gold(question: Question) -> Verdict | Undecided:
    """What its own verifier says about a gold answer that is phrased as a model would."""
    return judge_quickly(phrase(question.answer, question.kind), question.answer, question.kind, question.options)


class ParallelJudge:
    """
    Judges a stream of rows in several processes, in order. What is in memory does not grow with the stream.

    Args:
        workers (`int`): number of processes; with one, this process judges.
        timeout (`float`): wall-clock limit of one comparison, in seconds.
    """

    def __init__(self, workers: int, timeout: float):
        self._workers = workers
        self._timeout = timeout

    def __call__(self, rows: Iterable[tuple[Any, str, Question]]) -> Iterator[tuple[Any, Judgement]]:
        """
        Judge rows.

        Args:
            rows (`Iterable`): triples of anything, a completion, and its question.

        Yields:
            `tuple`: the anything, and the [`Judgement`], in the order of the rows.
        """
        chunks = _chunks(rows)
        with VerifierPool(workers=min(2, self._workers), timeout=self._timeout) as pool:
            for chunk, quick in self._judge_quickly(chunks):
                verdicts = _settle(pool, [verdict for verdict, _ in quick])
                golds = _settle(pool, [gold for _, gold in quick])
                for (row, _, _), verdict, gold in zip(chunk, verdicts, golds, strict=True):
                    yield row, Judgement(verdict, gold.correct is True)

    def _judge_quickly(self, chunks: Iterator[list]) -> Iterator[tuple[list, list[_Quick]]]:
        judged = 0
        for chunk in chunks:
            yield chunk, _judge(_without_rows(chunk))
            judged += len(chunk)
            if self._workers > 1 and judged >= _FIRST:
                break
        first = next(chunks, None)
        if first is None:
            return
        # Started afresh: a fork would take along whatever threads there are
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(self._workers, context, _end_with_parent) as executor:
            waiting: deque = deque()
            try:
                for chunk in itertools.chain([first], chunks):
                    waiting.append((chunk, executor.submit(_judge, _without_rows(chunk))))
                    if len(waiting) >= 2 * self._workers:
                        chunk, future = waiting.popleft()
                        yield chunk, future.result()
                while waiting:
                    chunk, future = waiting.popleft()
                    yield chunk, future.result()
            finally:
                executor.shutdown(cancel_futures=True)


def _settle(pool: VerifierPool, results: list[Verdict | Undecided]) -> list[Verdict]:
    """Verdicts; what ran out of time is tried once more: it may have waited for a process to start."""
    verdicts = pool.settle(results)
    late = [position for position, verdict in enumerate(verdicts) if verdict.reason == TIMEOUT]
    if late:
        for position, verdict in zip(late, pool.settle([results[position] for position in late]), strict=True):
            verdicts[position] = verdict
    return verdicts


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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


def _end_with_parent() -> None:
    """A parent that is killed cannot end its children."""

    def wait() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
