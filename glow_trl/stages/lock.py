"""One process at a time in a folder, or at a file."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from ..errors import UserError


LOCK_FILE = ".lock"

_held: set[Path] = set()


@contextlib.contextmanager
def exclusive(path: Path, what: str | Path) -> Iterator[None]:
    """
    Hold a lock file, in a folder that exists, for this process, or raise a `UserError` that another one is writing
    `what`. Whatever ends the process frees it; the file is there while it is held.
    """
    refused = UserError(f"{what}: another process is writing there; wait for it, or choose another place to write to")
    path = path.resolve()
    if path in _held:
        raise refused
    descriptor = None
    try:
        while descriptor is None:
            descriptor = _acquire(path, refused)
        _held.add(path)
        yield
    finally:
        if descriptor is not None:
            _held.discard(path)
            path.unlink(missing_ok=True)
            os.close(descriptor)


def _acquire(path: Path, refused: UserError) -> int | None:
    """The lock file, held; `None` if whoever held it has removed it since it was opened."""
    import fcntl

    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        # Not `flock`: a process that was forked from this one would hold it too, and may outlive it
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_file(descriptor, path):
            return descriptor
    except (BlockingIOError, PermissionError):
        os.close(descriptor)
        raise refused from None
    os.close(descriptor)
    return None


def _is_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False
