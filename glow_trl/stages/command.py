"""How a command ends: 0 when done, 2 for bad input, 1 for what else can be said in one line, 130 for Ctrl-C."""

import errno
import importlib
import logging
import os
import select
import signal
import sys
from collections.abc import Callable, Sequence

from ..errors import ServiceError, TrainingCollapsed, UserError
from .processes import ENDS_WITH_PARENT, end_with_parent
from .registry import COMMANDS


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
        from .config import read_config

        # Before torch is imported, which looks at some environment variables then only
        read_config(arguments, f"glow-trl {name}")
        return importlib.import_module(command.module).main(arguments)

    return guarded(run, f"interrupted; the same command {last}")


def guarded(main: Callable[[], int | None], interrupted: str = "interrupted") -> int:
    """
    Run something and turn its errors into one line and an exit code: 0 when done (or what `main` returns), 2 for bad
    input or configuration, 1 for anything else that has a message of its own, 130 when the user interrupts it, of
    which `interrupted` is said, 141 without a word when nobody reads the output any more (`| head`), as a shell has it
    of a program that the signal for this ends. Other errors are raised.
    """
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    if ENDS_WITH_PARENT in os.environ:
        end_with_parent()
    try:
        code = main() or 0
        sys.stdout.flush()
        return code
    except UserError as error:
        return fail(error, 2)
    except (TrainingCollapsed, ServiceError) as error:
        return fail(error, 1)
    except KeyboardInterrupt:
        return fail(interrupted, 130)
    except SystemExit as error:  # the parser after --help; rich where nobody reads any more
        if _nobody_reads() or isinstance(error.__context__, BrokenPipeError):
            return _PIPE_CLOSED
        raise
    except Exception as error:
        if isinstance(error, BrokenPipeError) and _nobody_reads():
            return _PIPE_CLOSED
        full = _disk_error(error)
        if full is not None:
            return fail(f"cannot write: {full}; make room and run the same command again, what is saved is kept", 1)
        if isinstance(error, OSError) and error.errno in _NAMED_ERRORS and error.filename is not None:
            return fail(f"{error.filename!s:.300}: {os.strerror(error.errno)}", 2)
        raise


def fail(message: object, code: int) -> int:
    """Print why a command ends, in one line, and return its exit code."""
    text = " ".join(str(message).split())
    print(f"glow-trl: error: {text}" if code != 130 else f"glow-trl: {text}", file=sys.stderr, flush=True)
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
