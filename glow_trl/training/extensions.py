"""
The locks under which torch builds DeepSpeed's operators. A process that is killed while it holds one leaves it behind,
and every later process waits for it without an end and without a word.
"""

import contextlib
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from ..errors import UserError
from ..stages.lock import exclusive


logger = logging.getLogger(__name__)

# File systems that only this machine writes to; a lock elsewhere may be held by a process of another one
_OWN_FILE_SYSTEMS = frozenset("bcachefs btrfs ext2 ext3 ext4 f2fs overlay ramfs tmpfs xfs zfs".split())
# Longer than any of the operators takes
_BUILD_SECONDS = 600.0


def remove_abandoned_locks(build_seconds: float = _BUILD_SECONDS) -> None:
    """
    Remove the locks of torch's extensions that no process holds any more. Where another machine may hold one, wait
    until it is gone or nothing was built for `build_seconds`. To be called before DeepSpeed starts, by all processes.
    """
    for lock in _locks():
        said = False
        while _is_abandoned(lock):
            if time.time() - _last_change(lock.parent) > (0.0 if _is_of_this_machine(lock) else build_seconds):
                _remove(lock)
                break
            if not said:
                logger.warning("waiting for %s: another machine may be building there", lock)
                said = True
            time.sleep(1.0)


def _locks() -> Iterator[Path]:
    named = os.environ.get("TORCH_EXTENSIONS_DIR")
    root = Path(named or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "torch_extensions")).expanduser()
    # Torch makes a folder for each of its builds, unless it is told which to use
    yield from root.glob("*/lock" if named else "*/*/lock")


def _is_abandoned(lock: Path) -> bool:
    """
    Whether a lock of this user's is there that nobody on this machine holds: who does has it open, almost until its
    removal. Whether others' processes have a file open cannot be seen.
    """
    before = _identity(lock)
    if before is None or _is_open(lock):
        return False
    time.sleep(0.2)
    return _identity(lock) == before and not _is_open(lock)


def _is_open(lock: Path) -> bool:
    path = str(lock.resolve())
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if any(file.path == path for file in process.open_files()):
                return True
    return False


def _is_of_this_machine(lock: Path) -> bool:
    path = lock.resolve()
    mounts = [part for part in psutil.disk_partitions(all=True) if path.is_relative_to(part.mountpoint)]
    return bool(mounts) and max(mounts, key=lambda part: len(part.mountpoint)).fstype in _OWN_FILE_SYSTEMS


def _last_change(folder: Path) -> float:
    """When anything was last written in a folder, in seconds since the epoch."""
    times = [0.0]
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):
            times.append(path.stat().st_mtime)
    return max(times)


def _identity(path: Path) -> tuple[int, int] | None:
    """Tells a file of this user's from another of its name; `None` where there is none."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return (stat.st_ino, stat.st_mtime_ns) if stat.st_uid == os.geteuid() else None


def _remove(lock: Path) -> None:
    """Remove an abandoned lock, unless another process does so at this moment: it may then be held anew."""
    while True:
        try:
            with exclusive(lock.with_name(".lock.glow_trl"), lock):
                if _is_abandoned(lock):
                    lock.unlink()
                    logger.warning("removed %s: a process was killed while it held it", lock)
                return
        except UserError:
            time.sleep(0.1)
