"""Worker processes with hard limits on time and memory, usable from any thread of any kind of process."""

import logging
import math
import os
import selectors
import threading
import time
import weakref
from collections import Counter, deque
from dataclasses import dataclass
from typing import Any

from .starter import Starter, Worker


logger = logging.getLogger(__name__)

# How long a call may be without a worker, and a worker without a processor
WAIT_TIMEOUT = 120.0
MAX_RETRIES = 2
# How often processes are looked at that say nothing
_BEAT = 0.1
# As exactly as the processor's time is counted
_TICK = 0.03


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one request: its `result`, or the `failure` that kept it from having one."""

    result: Any
    failure: str | None = None  # "timeout" | "error"


# Held while a process is given its end of a connection: a fork in between would copy that end, and keep it open
_GIVING = threading.RLock()


class _State:
    """What a fork invalidates and `close` gives back; apart from [`Workers`] so that a finalizer can hold it."""

    def __init__(self):
        self.begin()
        _STATES.add(self)

    def begin(self) -> None:
        self.owner = os.getpid()
        self.condition = threading.Condition()
        self.starter: Starter | None = None
        self.idle: list[Worker] = []
        # What an interrupted call has lost is not busy any more
        self.busy: weakref.WeakSet[Worker] = weakref.WeakSet()
        self.queue: deque[object] = deque()  # those that ask for a worker, in their order

    def stop(self) -> None:
        if self.owner != os.getpid():
            return
        with self.condition:
            starter, self.starter = self.starter, None
            idle, self.idle = self.idle, []
        for worker in idle:
            worker.connection.close()
        if starter is not None:
            starter.stop()

    def forget(self) -> None:
        for worker in (*self.idle, *self.busy):
            worker.connection.close()
        if self.starter is not None:
            self.starter.forget()
        self.begin()


_STATES: weakref.WeakSet[_State] = weakref.WeakSet()


def _forget_after_fork() -> None:
    _GIVING.release()
    for state in list(_STATES):
        state.forget()


os.register_at_fork(before=_GIVING.acquire, after_in_parent=_GIVING.release, after_in_child=_forget_after_fork)


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Workers:
    """A few processes that call one function; each request has its own hard time limit.

    Nothing is started before the first request. Requests may come from several threads at once, which share the
    workers fairly. In a forked child the object starts processes of its own.

    Args:
        function (`str`):
            What to call, as `package.module:function`. Where its module has a generator `warm_up`, it is run through
            beside the first requests, and later workers find done what that did.
        count (`int`), memory_mb (`int`, *optional*):
            How many workers to use at most, and by how much one may grow; by default there is no limit.
        wait_timeout (`float`, *optional*):
            How many seconds a call may be without a worker, and a worker without a processor.
    """

    def __init__(self, function: str, count: int, memory_mb: int = 0, wait_timeout: float = WAIT_TIMEOUT):
        self.function = function
        self.count = count
        self.memory_bytes = memory_mb * 2**20
        self.wait_timeout = wait_timeout
        self._state = _State()
        self._finalizer = weakref.finalize(self, self._state.stop)

    def close(self) -> None:
        """End all processes. A later request starts new ones."""
        self._state.stop()

    def run(self, requests: list[tuple], timeout: float = math.inf) -> list[Outcome]:
        """
        Call the function with each tuple of arguments. A call that computes for more than `timeout` seconds of the
        processor is killed: a `"timeout"`. What waits too long for a worker or a processor is an `"error"`.
        """
        return _Call(self, requests, timeout).run()

    def acquire(self, until: float | None) -> Worker | None:
        """A worker, which may still be about to start: at once if there is one, or before the time `until`."""
        state = self._state
        with state.condition:
            if until is None and state.queue:
                return None
            ticket = object()
            state.queue.append(ticket)
            try:
                while True:
                    self._bury()
                    full = len(state.busy) >= self.count
                    if not full and state.queue[0] is ticket:
                        worker = state.idle.pop() if state.idle else self._spawn()
                        if worker is not None:
                            state.busy.add(worker)
                            return worker
                    if until is None or (left := until - time.monotonic()) <= 0:
                        return None
                    state.condition.wait(min(left, 1.0 if full else _BEAT))
            finally:
                state.queue.remove(ticket)
                state.condition.notify_all()

    def release(self, worker: Worker) -> None:
        """Give back a worker that has done its request."""
        state = self._state
        with state.condition:
            state.busy.discard(worker)
            if worker.starter is state.starter:
                state.idle.append(worker)
            else:  # closed in the meantime
                worker.connection.close()
            state.condition.notify_all()

    def discard(self, worker: Worker) -> None:
        """End a worker."""
        worker.end()
        with self._state.condition:
            self._state.busy.discard(worker)
            self._state.condition.notify_all()

    def _bury(self) -> None:
        """End what is left of idle workers that have died, or whose starter has."""
        state = self._state
        alive = state.starter is not None and state.starter.is_alive
        for worker in [worker for worker in state.idle if not alive or worker.has_died()]:
            state.idle.remove(worker)
            worker.end()

    def _spawn(self) -> Worker | None:
        """A new worker; none where the machine cannot start a process now."""
        with _GIVING:
            return self._spawn_now()

    def _spawn_now(self) -> Worker | None:
        state = self._state
        if state.starter is not None and state.starter.is_alive:
            try:
                return state.starter.spawn()
            except ConnectionError:  # it ends right now
                pass
            except OSError:
                return None
        if state.starter is not None:
            state.starter.stop()
            state.starter = None
        try:
            state.starter = Starter(self.function, self.memory_bytes)
            worker = state.starter.spawn()
            # The starter warms up behind its first workers; a spare one bridges that time if a case has to be killed.
            state.idle.append(state.starter.spawn())
        except OSError:
            return None
        return worker


class _Call:
    """One call of [`Workers.run`]: its requests, and the workers that it has at the moment."""

    def __init__(self, workers: Workers, requests: list[tuple], timeout: float):
        self._workers = workers
        self._requests = requests
        self._outcomes: dict[int, Outcome] = {}
        self._waiting = deque(range(len(requests)))
        self._left = [timeout] * len(requests)
        self._deaths: Counter[int] = Counter()
        self._mine: set[Worker] = set()
        self._selector = selectors.PollSelector()  # it takes no descriptor
        # When a worker last computed for this call, and when to look at those that say nothing
        self._at_work = time.monotonic()
        self._beat = 0.0

    def run(self) -> list[Outcome]:
        try:
            while self._waiting or self._mine:
                if not self._mine and not self._waits_too_long():
                    self._engage(self._at_work + self._workers.wait_timeout)
                self._engage(None)
                if self._waits_too_long():
                    left = len(self._requests) - len(self._outcomes)
                    waited = f"{self._workers.wait_timeout:g} seconds"
                    logger.warning("%d comparisons are not judged: no worker process was free for %s", left, waited)
                    break
                self._listen()
        finally:
            self._selector.close()
            for worker in self._mine:
                self._workers.discard(worker)
        return [self._outcomes.get(index) or Outcome(None, "error") for index in range(len(self._requests))]

    def _waits_too_long(self) -> bool:
        if any(worker.process is not None for worker in self._mine):
            return False
        return time.monotonic() - self._at_work >= self._workers.wait_timeout

    def _engage(self, until: float | None) -> None:
        """Get the workers that can be had: one, before the time `until`, or all that are free."""
        while self._waiting:
            worker = self._workers.acquire(until)
            if worker is None:
                return
            self._mine.add(worker)
            worker.index = self._waiting.popleft()
            self._selector.register(worker.connection, selectors.EVENT_READ, worker)
            if worker.process is not None:
                self._give(worker)
            if until is not None:
                return

    def _give(self, worker: Worker) -> None:
        """Let a worker begin: its time counts from here."""
        worker.resume()
        worker.taken = time.monotonic()
        worker.deadline = worker.taken + self._left[worker.index]
        worker.used_before = worker.processor_seconds()
        try:
            worker.send(self._requests[worker.index])
        except OSError:
            pass  # it has died; reading from it says so

    def _listen(self) -> None:
        now = time.monotonic()
        deadlines = [worker.deadline for worker in self._mine if worker.process is not None]
        ready = {key.data for key, _ in self._selector.select(max(0.0, min([now + _BEAT, *deadlines]) - now))}
        now = time.monotonic()
        if deadlines:
            self._at_work = now
        beat = now >= self._beat
        if beat:
            self._beat = now + _BEAT
        for worker in list(self._mine):
            if worker in ready:
                self._hear(worker)
            elif worker.process is None:
                if beat:
                    worker.starter.resume()
            else:
                if beat:
                    worker.resume()
                if now >= worker.deadline:
                    self._stop_late(worker, now)

    def _hear(self, worker: Worker) -> None:
        try:
            if worker.process is None:
                worker.greet()
                self._give(worker)
                return
            reply = worker.receive()
        except (EOFError, OSError):
            self._try_again(worker)
            return
        self._leave(worker)
        self._outcomes[worker.index] = Outcome(reply.get("result"), "error" if "error" in reply else None)
        if reply["last"]:
            self._workers.discard(worker)
        else:
            self._workers.release(worker)

    def _stop_late(self, worker: Worker, now: float) -> None:
        """End a worker whose time is over, unless it had to wait for a processor: then it has what it lacks."""
        index = worker.index
        lacking = self._left[index] - (worker.processor_seconds() - worker.used_before)
        last = worker.taken + self._left[index] + self._workers.wait_timeout
        if lacking > _TICK and now < last:
            worker.deadline = min(now + lacking, last)
            return
        self._leave(worker)
        self._workers.discard(worker)
        # Only what had its whole time has shown that it needs more
        self._outcomes[index] = Outcome(None, "error" if lacking > _TICK or self._deaths[index] else "timeout")

    def _try_again(self, worker: Worker) -> None:
        """A worker is gone, and has not been ended here: another does its request, in the time that is left."""
        self._leave(worker)
        self._workers.discard(worker)
        index = worker.index
        if worker.process is None:
            worker.starter.check()
            if worker.starter.is_alive:
                time.sleep(_BEAT)  # the machine has no more processes
        else:
            self._deaths[index] += 1
            self._left[index] -= time.monotonic() - worker.taken
        if self._deaths[index] > MAX_RETRIES or self._left[index] <= 0:
            self._outcomes[index] = Outcome(None, "error")
        else:
            self._waiting.appendleft(index)

    def _leave(self, worker: Worker) -> None:
        self._selector.unregister(worker.connection)
        self._mine.discard(worker)
