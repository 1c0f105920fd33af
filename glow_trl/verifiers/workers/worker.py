"""The far side of the worker pool: a small process that imports one function once and forks workers from itself.

It never sees the user's `__main__`. It is started as a program of its own by [`supervisor.Workers`], so it does not
matter what the caller has open (CUDA, threads, event loops), and a new worker costs a fork of milliseconds instead of
an import. Every process here ends with its parent: the starter when its control socket closes or its parent changes,
a worker by the kernel's parent-death signal.
"""

import contextlib
import gc
import importlib
import os
import pickle
import resource
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable
from typing import Any

from ...stages.processes import end_with_parent


HEADER = struct.Struct("!I")
PID = struct.Struct("!q")
SPAWN = b"S"
REAP = b"K"
FAILED = b"E"

# A worker that has grown by this share of its memory limit is replaced after its case: computer algebra caches.
RECYCLE_SHARE = 0.5
COLD_LIFE = 3.0
WARM = object()
_MOST_AT_ONCE = 2**20


def send_message(connection: socket.socket, message: Any) -> None:
    """Send one message with its length in front."""
    payload = pickle.dumps(message)
    connection.sendall(HEADER.pack(len(payload)) + payload)


def receive_exactly(connection: socket.socket, size: int) -> bytes:
    """Read `size` bytes; an `EOFError` says that the other side is gone."""
    chunks = bytearray()
    while len(chunks) < size:
        chunk = connection.recv(min(size - len(chunks), _MOST_AT_ONCE))
        if not chunk:
            raise EOFError("the other side closed the connection")
        chunks += chunk
    return bytes(chunks)


def receive_message(connection: socket.socket) -> Any:
    """Read one message written by [`send_message`]."""
    (size,) = HEADER.unpack(receive_exactly(connection, HEADER.size))
    return pickle.loads(receive_exactly(connection, size))


def _resident_bytes() -> int:
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * resource.getpagesize()
    except OSError:
        return 0


def _data_bytes() -> int:
    try:
        with open("/proc/self/status") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmData"))
    except (OSError, StopIteration):
        return 0


def _limit_memory(extra_bytes: int) -> None:
    """Let this process grow by so much from here, whatever it has done before."""
    used = _data_bytes()
    if used and extra_bytes:
        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        limit = used + extra_bytes
        resource.setrlimit(resource.RLIMIT_DATA, (limit if most == resource.RLIM_INFINITY else min(limit, most), most))


def _work(connection: socket.socket, function: Callable, extra_bytes: int, warm: bool) -> None:
    """Answer requests until the other side closes the connection or it is time for a new worker.

    That is when the memory has grown much (where it is limited), and when a worker from before the warm-up can be
    replaced by a quicker one.
    """
    at_start = _resident_bytes()
    started = time.monotonic()
    while True:
        try:
            request = receive_message(connection)
        except EOFError:
            return
        recycle = False
        _limit_memory(extra_bytes)
        try:
            reply = {"result": function(*request)}
        except MemoryError:
            reply, recycle = {"error": "out of memory"}, True
        except RecursionError:
            reply = {"error": "nested too deeply"}
        # The only place that may swallow anything: sympy raises every exception there is on malformed input, and the
        # caller must be told "error" for this case and go on.
        except Exception as error:
            reply = {"error": f"{type(error).__name__}: {error}"[:200]}
        if extra_bytes and _resident_bytes() - at_start > RECYCLE_SHARE * extra_bytes:
            recycle = True
        if not warm and time.monotonic() - started > COLD_LIFE:
            recycle = True
        reply["last"] = recycle
        send_message(connection, reply)
        if recycle:
            return


def _fork_worker(
    control: socket.socket, connection: socket.socket, function: Callable, extra_bytes: int, warm: bool
) -> int:
    starter = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    try:
        control.close()
        end_with_parent(signal.SIGKILL)
        if os.getppid() == starter:
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            connection.sendall(PID.pack(os.getpid()))
            _work(connection, function, extra_bytes, warm)
    finally:
        os._exit(0)


def _reap(children: set[int]) -> None:
    """Take notice of the workers that have ended, whoever ended them, so that they are no zombies."""
    while children:
        pid, _ = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        children.discard(pid)


def serve(control: socket.socket, parent: int, extra_bytes: int, path: str) -> None:
    """Fork workers as the parent asks, and reap them, until it is gone."""
    module_name, _, name = path.partition(":")
    module = importlib.import_module(module_name)
    function = getattr(module, name)
    children: set[int] = set()
    warm = not hasattr(module, "warm_up")
    steps = iter(()) if warm else module.warm_up()
    try:
        while os.getppid() == parent:
            _reap(children)
            if not select.select([control], [], [], 1.0 if warm or not children else 0.02)[0]:
                # The first workers are busy: time to make the next ones quicker, a small step at a time.
                if children and not warm and next(steps, WARM) is WARM:
                    warm = True
                    gc.collect()
                    gc.freeze()
                continue
            command, descriptors, _, _ = socket.recv_fds(control, 1, 1)
            if command == SPAWN and descriptors:
                # Where there can be no process, the end of the connection says so
                with socket.socket(fileno=descriptors[0]) as connection, contextlib.suppress(OSError):
                    children.add(_fork_worker(control, connection, function, extra_bytes, warm))
            elif command != REAP:
                return
            elif children:
                # It may take a moment to end
                select.select([], [], [], 0.001)
    except (EOFError, ConnectionError):
        return
    finally:
        for pid in children:
            os.kill(pid, signal.SIGKILL)
        for pid in children:
            os.waitpid(pid, 0)


def main() -> None:
    """Entry point: descriptor of the control socket, the parent's process id, memory in bytes, the function's path."""
    descriptor, parent, extra_bytes = (int(argument) for argument in sys.argv[1:4])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with socket.socket(fileno=descriptor) as control:
        try:
            serve(control, parent, extra_bytes, sys.argv[4])
        except Exception as error:  # whatever there is about an import
            control.sendall(FAILED + f"{type(error).__name__}: {error}".encode()[:500])
