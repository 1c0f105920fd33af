"""Worker processes with hard limits on time and memory, usable from any thread of any kind of process."""

import contextlib
import json
import math
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections import Counter, deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from ...errors import UserError
from .worker import PID, READY, REAP, SPAWN, receive_exactly, receive_message, send_message


START_TIMEOUT = 120.0
LEAST_SHARE = 0.25
# On a machine that is busy a worker has its time of the processor later, but not after this many times the limit
MOST_WAITING = 10
MAX_RETRIES = 2
_BOOTSTRAP = (
    "import json, sys; sys.path.extend(p for p in json.loads(sys.argv.pop()) if p not in sys.path); "
    "from glow_trl.verifiers.workers.worker import main; main()"
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one request: its `result`, or the `failure` that kept it from having one."""

    result: Any
    failure: str | None = None  # "timeout" | "error"


@dataclass(eq=False, slots=True)
class _Worker:
    pid: int
    connection: socket.socket
    starter: "_Starter"
    index: int = -1
    deadline: float = 0.0
    allowed: float = 0.0
    used_before: float = 0.0

    def lacks(self) -> float:
        """Seconds of the processor that its request has not had yet of those that it is allowed."""
        lacking = self.allowed - (_processor_seconds(self.pid) - self.used_before)
        return lacking if lacking > 0.1 * self.allowed else 0.0

    def has_died(self) -> bool:
        """Whether an idle worker is gone: its side of the connection is closed."""
        try:
            return self.connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True


class _Starter:
    """The process that forks the workers; see `worker.py`."""

    def __init__(self, function: str, memory_bytes: int):
        package_root = str(Path(__file__).resolve().parents[3])
        paths = [package_root, *(path for path in sys.path if path)]
        self._lock = threading.Lock()
        self._control, theirs = socket.socketpair()
        with theirs:
            try:
                self.process = subprocess.Popen(
                    [
                        *(sys.executable, "-P", "-c", _BOOTSTRAP),
                        *(str(theirs.fileno()), str(os.getpid()), str(memory_bytes), function, json.dumps(paths)),
                    ],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env={**os.environ, "OMP_NUM_THREADS": "1"},
                )
            except OSError as error:
                self._control.close()
                raise UserError(
                    f"the verifier's worker processes cannot be started ({sys.executable}: {error})"
                ) from error
        self._control.settimeout(START_TIMEOUT)
        try:
            greeting = self._control.recv(600)
        except TimeoutError:
            greeting = b""
        if greeting != READY:
            self.stop()
            raise UserError(
                "the verifier's worker processes do not start"
                + (f": {greeting[1:].decode(errors='replace')}" if greeting else f" ({sys.executable})")
                + "; is math-verify installed?"
            )

    def spawn(self) -> _Worker:
        mine, theirs = socket.socketpair()
        with theirs, self._lock:
            socket.send_fds(self._control, [SPAWN], [theirs.fileno()])
            (pid,) = PID.unpack(receive_exactly(self._control, PID.size))
        return _Worker(pid, mine, self)

    def kill(self, worker: _Worker) -> None:
        """End a worker at once. Its process id is its own until the starter, its parent, is told to reap it."""
        worker.connection.close()
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker.pid, signal.SIGKILL)
        with self._lock:
            self._control.sendall(REAP + PID.pack(worker.pid))

    def forget(self) -> None:
        """After a fork, in the child: these processes are the parent's."""
        self._control.close()
        self.process.returncode = 0

    def stop(self) -> None:
        self._control.close()
        try:
            self.process.wait(timeout=5.0)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class _State:
    """What a fork invalidates and `close` gives back; apart from [`Workers`] so that a finalizer can hold it."""

    def __init__(self):
        self.begin()

    def begin(self) -> None:
        self.owner = os.getpid()
        self.condition = threading.Condition()
        self.starter: _Starter | None = None
        self.idle: list[_Worker] = []
        self.busy: set[_Worker] = set()
        self.waiting = 0  # threads that have no worker yet

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


def _processor_seconds(pid: int) -> float:
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.Error:
        return 0.0
    return times.user + times.system


def _forget_after_fork(state: weakref.ref) -> None:
    if (alive := state()) is not None:
        alive.forget()


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
    """

    def __init__(self, function: str, count: int, memory_mb: int = 0):
        self.function = function
        self.count = count
        self.memory_bytes = memory_mb * 2**20
        self._state = _State()
        self._finalizer = weakref.finalize(self, self._state.stop)
        reference = weakref.ref(self._state)
        os.register_at_fork(after_in_child=lambda: _forget_after_fork(reference))

    def close(self) -> None:
        """End all processes. A later request starts new ones."""
        self._state.stop()

    def run(self, requests: list[tuple], timeout: float = math.inf) -> list[Outcome]:
        """
        Call the function with each tuple of arguments; a call of more than `timeout` seconds is killed. One that had
        to wait for a processor, which others use, has the seconds that it lacks.
        """
        outcomes: dict[int, Outcome] = {}
        waiting = deque(range(len(requests)))
        deadlines: dict[int, float] = {}
        last: dict[int, float] = {}
        deaths: Counter[int] = Counter()
        mine: set[_Worker] = set()
        selector = selectors.DefaultSelector()
        try:
            while waiting or mine:
                while waiting:
                    before = time.monotonic()
                    worker = self._acquire(block=not mine)
                    if worker is None:
                        break
                    mine.add(worker)
                    worker.index = waiting.popleft()
                    # Starting the first worker is part of the limit, but must not eat it up.
                    now = time.monotonic()
                    allowed = max(timeout - (now - before), LEAST_SHARE * timeout)
                    worker.deadline = deadlines.setdefault(worker.index, now + allowed)
                    worker.allowed, worker.used_before = allowed, _processor_seconds(worker.pid)
                    last.setdefault(worker.index, now + MOST_WAITING * timeout)
                    selector.register(worker.connection, selectors.EVENT_READ, worker)
                    try:
                        send_message(worker.connection, requests[worker.index])
                    except OSError:
                        pass  # it has died; reading from it says so below
                pause = max(0.0, min(worker.deadline for worker in mine) - time.monotonic())
                ready = {key.data for key, _ in selector.select(None if pause == math.inf else pause)}
                now = time.monotonic()
                for worker in [worker for worker in mine if worker in ready or worker.deadline <= now]:
                    if worker not in ready and now < last[worker.index] and (lacking := worker.lacks()):
                        worker.deadline = deadlines[worker.index] = min(now + lacking, last[worker.index])
                        continue
                    selector.unregister(worker.connection)
                    mine.discard(worker)
                    if worker not in ready:
                        outcomes[worker.index] = Outcome(None, "timeout")
                        self._discard(worker)
                        continue
                    try:
                        reply = receive_message(worker.connection)
                    except (EOFError, OSError):
                        self._discard(worker)
                        # It may have been killed from outside: try again, in the time that is left.
                        deaths[worker.index] += 1
                        if deaths[worker.index] <= MAX_RETRIES:
                            waiting.appendleft(worker.index)
                        else:
                            outcomes[worker.index] = Outcome(None, "error")
                        continue
                    outcomes[worker.index] = Outcome(reply.get("result"), "error" if "error" in reply else None)
                    if reply["last"]:
                        self._discard(worker)
                    else:
                        self._release(worker)
        finally:
            selector.close()
            for worker in mine:
                self._discard(worker)
        return [outcomes[index] for index in range(len(requests))]

    def _acquire(self, block: bool) -> _Worker | None:
        state = self._state
        with state.condition:
            if not block and state.waiting:
                return None
            while not state.idle and len(state.busy) >= self.count:
                if not block:
                    return None
                state.waiting += 1
                try:
                    state.condition.wait()
                finally:
                    state.waiting -= 1
            worker = None
            while worker is None and state.idle:
                worker = state.idle.pop()
                if worker.has_died():
                    with contextlib.suppress(OSError):  # the starter may be gone as well
                        worker.starter.kill(worker)
                    worker = None
            worker = worker or self._spawn()
            state.busy.add(worker)
            return worker

    def _spawn(self) -> _Worker:
        state = self._state
        if state.starter is not None:
            try:
                return state.starter.spawn()
            except (OSError, EOFError):  # killed from outside
                state.starter.stop()
        state.starter = _Starter(self.function, self.memory_bytes)
        # The starter warms up behind its first workers; a spare one bridges that time if a case has to be killed.
        state.idle.append(state.starter.spawn())
        return state.starter.spawn()

    def _release(self, worker: _Worker) -> None:
        state = self._state
        with state.condition:
            state.busy.discard(worker)
            if worker.starter is state.starter:
                state.idle.append(worker)
            else:  # closed in the meantime
                worker.connection.close()
            state.condition.notify()

    def _discard(self, worker: _Worker) -> None:
        state = self._state
        try:
            worker.starter.kill(worker)
            starter_lost = False
        except (OSError, EOFError):
            starter_lost = True  # and with it all its workers
        with state.condition:
            state.busy.discard(worker)
            if starter_lost:
                state.idle = [other for other in state.idle if other.starter is not worker.starter]
            state.condition.notify()
