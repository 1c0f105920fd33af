"""
How a command ends: 0 when done, 2 for bad input, 1 for what else can be said in one line, 130 for Ctrl-C and 143 for
SIGTERM.
"""

import codecs
import errno
import gc
import importlib
import io
import logging
import os
import select
import signal
import sys
from collections.abc import Callable, Sequence

from ..errors import MissingDataError, ServiceError, TrainingCollapsed, UserError
from .console import visible
from .interruption import Interruption
from .noise import drop_noise
from .processes import LAUNCHER, end_with_launcher, is_main_process
from .registry import COMMANDS
from .secrets import remember_environment
from .terminal import SafeFormatter, safe_terminal


_PLAIN = str.maketrans("–−·…×≤≥", "--..x<>")
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)
# Of a path that the user has given
_NAMED_ERRORS = (errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EACCES, errno.EPERM)
_PIPE_CLOSED = 128 + signal.SIGPIPE


def run_command(name: str, argv: Sequence[str] | None = None) -> int:
    """
    Run a command of [`~glow_trl.stages.registry.COMMANDS`].

    Args:
        name (`str`): its name.
        argv (`list[str]`, *optional*): its arguments; by default the command line's.

    Returns:
        `int`: the exit code, see [`guarded`].
    """
    command = COMMANDS[name]
    arguments = list(sys.argv[1:] if argv is None else argv)
    last = "continues where it stopped" if command.continues else "starts over"

    def run() -> int | None:
        if asked := {"-h", "--help", "--help-all"}.intersection(arguments):
            from .help import command_help

            print(command_help(name, everything="--help-all" in asked).rstrip("\n"))
            return None
        from .config import read_config
        from .recipe_file import read_recipe_file

        # Before torch is imported, which looks at some environment variables then only
        _, path, _ = read_config(arguments, f"glow-trl {name}")
        try:
            return importlib.import_module(command.module).main(arguments)
        except MissingDataError as error:
            source = "" if path is None else read_recipe_file(path.parent).data
            raise UserError(f"{error}; {source}" if source else error) from error

    return guarded(run, f"interrupted; the same command {last}")


def guarded(main: Callable[[], int | None], interrupted: str = "interrupted") -> int:
    """
    Run something and turn its errors into one line and an exit code: 0 when done (or what `main` returns), 2 for bad
    input or configuration, 1 for anything else that has a message of its own, 130 when the user interrupts it and 143
    when it is terminated, of both of which `interrupted` is said, 141 without a word when nobody reads the output any
    more (`| head`), as a shell has it of a program that the signal for this ends. Other errors are raised.
    """
    _write_in_any_encoding()
    remember_environment()
    with safe_terminal():
        return _ended(main, interrupted)


def _ended(main: Callable[[], int | None], interrupted: str) -> int:
    handler = logging.StreamHandler()
    handler.setFormatter(SafeFormatter("%(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    drop_noise()
    end_with_launcher()
    interruption = Interruption()
    try:
        with interruption:
            code = main() or 0
            sys.stdout.flush()
            return code
    except (KeyboardInterrupt, SystemExit, Exception) as error:
        # What is interrupted may end in another error, such as an import that fails
        if interruption.number is None and not isinstance(error, KeyboardInterrupt):
            return _end_failed(error)
    # For all processes of a run the one that started them says so, or the first
    if LAUNCHER not in os.environ and is_main_process():
        print(f"glow-trl: {interrupted}", file=sys.stderr, flush=True)
    # Files that were about to be opened are closed and removed when what holds them goes
    gc.collect()
    # What interrupts code in a string, as that of dataclasses is, lets Python end by SIGINT whatever the exit code,
    # until it runs another such code
    eval("0")
    return 128 + (interruption.number or signal.SIGINT)


def _end_failed(error: Exception | SystemExit) -> int:
    if isinstance(error, UserError):
        return fail(error, 2)
    if isinstance(error, TrainingCollapsed | ServiceError):
        # All processes of a run raise that it collapsed
        return fail(error, 1) if isinstance(error, ServiceError) or is_main_process() else 1
    if isinstance(error, BrokenPipeError | SystemExit) and _nobody_reads():
        return _PIPE_CLOSED
    if isinstance(error, SystemExit) and isinstance(error.__context__, BrokenPipeError):  # rich
        return _PIPE_CLOSED
    full = _disk_error(error)
    if full is not None:
        return fail(f"cannot write: {full}; make room and run the same command again, what is saved is kept", 1)
    if isinstance(error, OSError) and error.errno in _NAMED_ERRORS and error.filename is not None:
        return fail(f"{error.filename!s:.300}: {os.strerror(error.errno)}", 2)
    raise error


def _write_in_any_encoding() -> None:
    """Let the terminal show the nearest there is of a character that its encoding does not have."""

    def plain(error: UnicodeError) -> tuple[str, int]:
        if not isinstance(error, UnicodeEncodeError):
            raise error
        text = error.object[error.start : error.end].translate(_PLAIN)
        return "".join(char if char.isascii() else "?" for char in text), error.end

    codecs.register_error("glow_trl.plain", plain)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="glow_trl.plain")


def fail(message: object, code: int) -> int:
    """Print why a command ends, in one line, and return its exit code."""
    text = visible(" ".join(str(message).split()))
    print(f"glow-trl: error: {text}", file=sys.stderr, flush=True)
    return code


def _nobody_reads() -> bool:
    """Whether the reader of the output has gone; what is still to be written goes nowhere then."""
    try:
        descriptor = sys.stdout.fileno()
    except (OSError, ValueError):  # what stands in for it has none
        return False
    poll = select.poll()
    poll.register(descriptor, 0)
    if not any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0)):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
    return True


def _disk_error(error: BaseException | None) -> str | None:
    """What kept a file from being written, if that is behind an error. Libraries wrap it in errors of their own."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
            return os.strerror(error.errno) + (f" ({error.filename})" if error.filename else "")
        if os.strerror(errno.ENOSPC) in str(error):
            return os.strerror(errno.ENOSPC)
        # torch.save says no more of a file that it cannot write to its end
        if isinstance(error, RuntimeError) and "inline_container" in str(error):
            return f"{os.strerror(errno.ENOSPC)}, or the like, while a checkpoint was saved"
        error = error.__cause__ or error.__context__
    return None
