"""A worker process and the process that forks it, as the caller sees them; `worker.py` is their own side."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from ...errors import UserError
from .worker import FAILED, PID, REAP, SPAWN, receive_exactly, receive_message, send_message


# How long a message may take that the other side has begun to take or to send
_STALL = 60.0
_BOOTSTRAP = (
    "import json, sys; sys.path.extend(p for p in json.loads(sys.argv.pop()) if p not in sys.path); "
    "from glow_trl.verifiers.workers.worker import main; main()"
)


@dataclass(eq=False, slots=True, weakref_slot=True)
class Worker:
    """A worker process: asked for, then forked (`process`, known once it has said so), then given a request."""

    connection: socket.socket
    starter: "Starter"
    process: psutil.Process | None = None
    index: int = -1
    taken: float = 0.0
    deadline: float = 0.0
    used_before: float = 0.0

    def send(self, message: Any) -> None:
        """Send one message; an `OSError` says that it has not got it."""
        with self._no_longer_than(_STALL):
            send_message(self.connection, message)

    def receive(self) -> Any:
        """Take one message; an `EOFError` or `OSError` says that there is none."""
        with self._no_longer_than(_STALL):
            return receive_message(self.connection)

    def greet(self) -> None:
        """Take its first word, its process id; an `EOFError` or `OSError` says that there is no such process."""
        with self._no_longer_than(_STALL):
            (pid,) = PID.unpack(receive_exactly(self.connection, PID.size))
        try:
            self.process = psutil.Process(pid)
        except psutil.NoSuchProcess as error:
            raise EOFError("the worker has ended") from error

    @contextlib.contextmanager
    def _no_longer_than(self, seconds: float) -> Iterator[None]:
        self.connection.settimeout(seconds)
        try:
            yield
        finally:
            self.connection.settimeout(None)

    def processor_seconds(self) -> float:
        """Seconds of the processor that it has had."""
        try:
            times = self.process.cpu_times() if self.process is not None else None
        except psutil.Error:
            times = None
        except OSError:  # no descriptor is left to find that out with: by the clock
            return self.used_before + time.monotonic() - self.taken
        return self.used_before if times is None else times.user + times.system

    def has_died(self) -> bool:
        """Whether an idle worker is gone: its side of the connection is closed."""
        try:
            return self.connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True

    def resume(self) -> None:
        """Let it go on if a signal has stopped it."""
        if self.process is not None:
            _resume(self.process)

    def end(self) -> None:
        """End it at once. One that is not forked yet ends by itself, as its connection is closed."""
        self.connection.close()
        if self.process is not None:
            try:
                self.process.kill()  # nothing if the process id is another's by now
            except psutil.Error:
                pass
            except OSError:  # no descriptor is left to find that out with
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.process.pid, signal.SIGKILL)
        self.starter.say(REAP)


class Starter:
    """
    The process that forks the workers. Nothing here waits for it: it may be starting, busy, stopped or dead.

    Raises `OSError` where the machine cannot start a process now, `UserError` where it never can.
    """

    def __init__(self, function: str, memory_bytes: int):
        package_root = str(Path(__file__).resolve().parents[3])
        paths = [package_root, *(path for path in sys.path if path)]
        self._control, theirs = socket.socketpair()
        self._control.setblocking(False)
        with theirs:
            try:
                self._popen = subprocess.Popen(
                    [
                        *(sys.executable, "-P", "-c", _BOOTSTRAP),
                        *(str(theirs.fileno()), str(os.getpid()), str(memory_bytes), function, json.dumps(paths)),
                    ],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    # Computer algebra goes through sets: the order, and with it the result, must not be by chance
                    env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"},
                )
            except OSError as error:
                self._control.close()
                if isinstance(error, FileNotFoundError | PermissionError | NotADirectoryError):
                    raise UserError(
                        f"the verifier's worker processes cannot be started ({sys.executable}: {error})"
                    ) from error
                raise
        self._process = psutil.Process(self._popen.pid)

    @property
    def is_alive(self) -> bool:
        """Whether the process has not ended."""
        return self._popen.poll() is None

    def spawn(self) -> Worker:
        """Ask for a worker. A `ConnectionError` says that the starter is gone, another `OSError` that none can be."""
        mine, theirs = socket.socketpair()
        with theirs:
            try:
                socket.send_fds(self._control, [SPAWN], [theirs.fileno()])
            except OSError:
                mine.close()
                raise
        return Worker(mine, self)

    def say(self, word: bytes) -> None:
        """Tell it something that it may well miss."""
        with contextlib.suppress(OSError):
            self._control.send(word)

    def resume(self) -> None:
        """Let it go on if a signal has stopped it."""
        _resume(self._process)

    def check(self) -> None:
        """Raise `UserError` if it has ended by itself, as it would again; what was killed may be started anew."""
        try:
            said = self._control.recv(600, socket.MSG_PEEK)
        except OSError:
            said = b""
        code = self._popen.poll()
        if said.startswith(FAILED):
            reason = said.removeprefix(FAILED).decode(errors="replace")
            raise UserError(f"the verifier's worker processes do not start: {reason}; is math-verify installed?")
        if code is not None and code > 0:
            raise UserError(f"the verifier's worker processes do not start: {sys.executable} ends with code {code}")

    def forget(self) -> None:
        """After a fork, in the child: these processes are the parent's."""
        self._control.close()
        self._popen.returncode = 0

    def stop(self) -> None:
        """End it, and with it its workers."""
        self._control.close()
        with contextlib.suppress(psutil.Error, OSError):
            self._process.send_signal(signal.SIGCONT)
        try:
            self._popen.wait(timeout=5.0)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()


def _resume(process: psutil.Process) -> None:
    with contextlib.suppress(psutil.Error, OSError):
        if process.status() == psutil.STATUS_STOPPED:
            process.send_signal(signal.SIGCONT)
