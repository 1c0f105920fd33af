"""Judging trajectories in several processes."""

import contextlib
import itertools
import os
import pickle
import queue
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ...errors import UserError
from ...verifiers import Verdict, VerifierPool
from ...verifiers.gold import phrase
from ...verifiers.kinds.kind import Options, Undecided
from ...verifiers.pool import judge_quickly
from ...verifiers.verdict import TIMEOUT


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
        with contextlib.ExitStack() as stack:
            idle: queue.SimpleQueue[_JudgeProcess] = queue.SimpleQueue()
            for _ in range(self._workers):
                idle.put(stack.enter_context(_JudgeProcess()))
            threads = stack.enter_context(ThreadPoolExecutor(self._workers))
            waiting: deque = deque()
            try:
                for chunk in itertools.chain([first], chunks):
                    waiting.append((chunk, threads.submit(_judge_elsewhere, idle, _without_rows(chunk))))
                    if len(waiting) >= 2 * self._workers:
                        chunk, future = waiting.popleft()
                        yield chunk, future.result()
                while waiting:
                    chunk, future = waiting.popleft()
                    yield chunk, future.result()
            finally:
                threads.shutdown(cancel_futures=True)


class _JudgeProcess:
    """
    A program of its own that judges what it is sent. It never sees the caller's `__main__`, does not mind threads, and
    ends when its input does: with the caller, whatever ends that.
    """

    def __enter__(self) -> "_JudgeProcess":
        root = str(Path(__file__).resolve().parents[3])
        paths = os.pathsep.join([root, *(path for path in sys.path if path)])
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", "from glow_trl.collection.labelling.judging import serve; serve()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        )
        return self

    def judge(self, rows: list[tuple[str, Question]]) -> list[_Quick] | None:
        try:
            pickle.dump(rows, self._process.stdin)
            self._process.stdin.flush()
            return pickle.load(self._process.stdout)
        except (EOFError, BrokenPipeError) as error:
            raise RuntimeError(f"a process that judges has ended with code {self._process.wait()}") from error

    def __exit__(self, *_) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()


def serve() -> None:
    """Judge what comes through standard input, until it ends; for [`_JudgeProcess`]."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the caller says when to end
    channel, sys.stdout = sys.stdout.buffer, sys.stderr
    while True:
        try:
            rows = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            judged = _judge(rows)
        except UserError:  # a kind that was registered in the caller's process
            judged = None
        try:
            pickle.dump(judged, channel)
            channel.flush()
        except BrokenPipeError:
            os._exit(1)


def _judge_elsewhere(idle: "queue.SimpleQueue[_JudgeProcess]", rows: list[tuple[str, Question]]) -> list[_Quick]:
    process = idle.get()
    try:
        judged = process.judge(rows)
    finally:
        idle.put(process)
    return _judge(rows) if judged is None else judged


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
