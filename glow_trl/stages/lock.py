"""One process at a time in a folder."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from ..errors import UserError


@contextlib.contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """
    Hold a folder for this process. Whatever ends the process frees it.

    Raises:
        UserError: another process holds it.
    """
    import fcntl

    descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise UserError(
            f"{folder}: another process is writing there; wait for it, or choose another output_dir"
        ) from error
    try:
        yield
    finally:
        os.close(descriptor)
