"""Files and folders that appear under their names only when they are whole, and JSON in them."""

import errno
import json
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from ..errors import UserError
from .secrets import hide, hide_known


_NO_FILES = {
    "FIFO": stat.S_ISFIFO,
    "socket": stat.S_ISSOCK,
    "device": lambda mode: stat.S_ISCHR(mode) or stat.S_ISBLK(mode),
}
_FULL_DISK = (errno.ENOSPC, errno.EDQUOT)
# Less than this is a full disk
_ROOM = 1 << 16


@contextmanager
def write_errors(path: str | os.PathLike) -> Iterator[None]:
    """
    Name `path` in the errors of a block that writes it. They become a `UserError`, but for a full disk, which stays an
    `OSError`: that is not the user's input to mend; the commands say so and keep what is saved.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL_DISK:
            raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
        raise UserError(f"{path}: cannot be written ({error.strerror or error})") from error


def partial_of(path: str | os.PathLike) -> Path:
    """What there is of a file or folder until it is whole."""
    return Path(path).with_name(Path(path).name + ".partial")


@contextmanager
def replacing(path: str | os.PathLike, keep: tuple[type[BaseException], ...] = ()) -> Iterator[Path]:
    """
    A path beside `path`, see [`partial_of`], for a file or a folder that takes the place of `path` when the
    block ends, and is removed when it ends with an error that is not one of `keep`. The folder that `path` is in is
    made if need be. [`atomic_path`] names `path` in the block's errors as well: this is for blocks that do more than
    write.
    """
    path = Path(path)
    partial = partial_of(path)
    with write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        # What a killed process left of a folder; a file is overwritten
        if partial.is_dir():
            shutil.rmtree(partial)
    try:
        yield partial
        with write_errors(path):
            for file in partial.rglob("*") if partial.is_dir() else [partial]:
                if file.is_file():
                    _sync(file)
            os.replace(partial, path)
    except BaseException as error:
        if not isinstance(error, keep):
            _remove(partial)
        raise


@contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """
    A path to write a file or a folder to, which takes the place of `path` when it is whole; see [`replacing`], and
    [`write_errors`] for its errors.
    """
    with write_errors(path), replacing(path) as partial:
        yield partial


@contextmanager
def atomic_file(path: str | os.PathLike, mode: str = "w") -> Iterator[IO[Any]]:
    """
    A file, open in `mode` (`"w"` for text in UTF-8, `"wb"`), that appears under its name when it is whole; see
    [`atomic_path`].
    """
    with atomic_path(path) as partial, partial.open(mode, encoding=None if "b" in mode else "utf-8") as file:
        yield file


def write_json(path: str | os.PathLike, content: Any) -> None:
    """
    Write an object as JSON; the file appears under its name only when it is whole.

    Raises:
        UserError: the file cannot be written.
        OSError: the disk is full.
    """
    with atomic_file(path) as file:
        file.write(json.dumps(hide_known(content), indent=2, ensure_ascii=False) + "\n")


@contextmanager
def open_input(path: str | os.PathLike) -> Iterator[IO[bytes]]:
    """
    A file that a user names, open for reading bytes.

    Raises:
        UserError: it is not there, cannot be read, or is no regular file: what cannot be read twice (a pipe, as by
            `<(...)`) has no fingerprint to know it by when a run goes on, and a device may have no end.
    """
    try:
        mode = os.stat(path).st_mode
        kind = next((name for name, test in _NO_FILES.items() if test(mode)), None)
        if kind is None:
            file = open(path, "rb")
    except (OSError, ValueError) as error:  # a NUL byte
        raise UserError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from error
    if kind is not None:
        raise UserError(f"{path}: a {kind} is no file; inputs are read more than once, so write it to a file first")
    with file:
        yield file


def read_text(path: str | os.PathLike) -> str:
    """The text in a file that a user names, see [`open_input`]; it must be in UTF-8."""
    with open_input(path) as file:
        content = file.read()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not valid UTF-8 (byte {error.start + 1})") from error


def read_json(path: str | os.PathLike) -> dict[str, Any] | None:
    """The object in a JSON file, or `None` if there is no file with one."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def make_writable(folder: Path) -> None:
    """Make a folder if it does not exist; raise a `UserError` if no files can be made in it."""
    if hide(str(folder)) != str(folder):
        raise UserError(f"output_dir {folder}: there is a secret in the name, and everybody can read names")
    probe = folder / f".writable.{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(f"output_dir {folder}: cannot be written to ({error.strerror or error})") from error


def check_room(folder: Path) -> None:
    """Raise an `OSError` if the disk of a folder is full."""
    probe = folder / f".writable.{os.getpid()}"
    try:
        with write_errors(folder):
            probe.write_bytes(bytes(_ROOM))
    finally:
        probe.unlink(missing_ok=True)


def _sync(file: Path) -> None:
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(partial: Path) -> None:
    if partial.is_dir():
        shutil.rmtree(partial, ignore_errors=True)
    # The block's own error is the one to report
    with suppress(OSError):
        partial.unlink(missing_ok=True)
