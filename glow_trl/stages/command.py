"""How a command ends: 0 when done, 2 for bad input, 1 for what else can be said in one line, 130 for Ctrl-C."""

import errno
import importlib
import logging
import os
import sys
from collections.abc import Callable, Sequence

from ..errors import ServiceError, TrainingCollapsed, UserError
from .noise import drop_noise
from .processes import end_with_launcher, is_main_process
from .registry import COMMANDS


_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


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
    which `interrupted` is said. Other errors are raised.
    """
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    drop_noise()
    end_with_launcher()
    try:
        return main() or 0
    except UserError as error:
        return fail(error, 2)
    except TrainingCollapsed as error:
        # All processes of a run raise it
        return fail(error, 1) if is_main_process() else 1
    except ServiceError as error:
        return fail(error, 1)
    except KeyboardInterrupt:
        return fail(interrupted, 130)
    except Exception as error:
        full = _disk_error(error)
        if full is None:
            raise
        return fail(f"cannot write: {full}; make room and run the same command again, what is saved is kept", 1)


def fail(message: object, code: int) -> int:
    """Print why a command ends, in one line, and return its exit code."""
    text = " ".join(str(message).split())
    print(f"glow-trl: error: {text}" if code != 130 else f"glow-trl: {text}", file=sys.stderr, flush=True)
    return code


def _disk_error(error: BaseException | None) -> str | None:
    """What kept a file from being written, if that is behind an error. Libraries wrap it in errors of their own."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
            return os.strerror(error.errno) + (f" ({error.filename})" if error.filename else "")
        if os.strerror(errno.ENOSPC) in str(error):
            return os.strerror(errno.ENOSPC)
        error = error.__cause__ or error.__context__
    return None
