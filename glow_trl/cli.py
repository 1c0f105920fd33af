"""The command `glow-trl`. Knows the commands by name only; what a command needs is imported when it runs."""

import errno
import importlib
import logging
import os
import sys
from collections.abc import Callable, Sequence

from .errors import ServiceError, TrainingCollapsed, UserError
from .stages.processes import ENDS_WITH_PARENT, end_with_parent


_COMMANDS = {
    "run": ("glow_trl.recipes.pipeline", "all stages of a recipe in order, resuming where it stopped"),
    "collect": ("glow_trl.collection.collect", "trajectories from a teacher: n answers to each question"),
    "label": ("glow_trl.collection.label", "verify trajectories: which are correct, which are not"),
    "mix": ("glow_trl.collection.mix", "mix labelled trajectories into training sets, with a data card"),
    "sft": ("glow_trl.sft", "stage 1: GLOW-weighted supervised fine-tuning"),
    "grpo": ("glow_trl.grpo", "stage 2: GRPO with verifier rewards"),
    "eval": ("glow_trl.evaluation.eval", "evaluate a checkpoint on benchmarks"),
    "merge": ("glow_trl.training.merge", "merge an adapter into its model"),
    "compare": ("glow_trl.evaluation.compare", "compare two evaluations question by question"),
    "entropy": ("glow_trl.evaluation.entropy", "policy entropy of checkpoints, side by side"),
    "report": ("glow_trl.report.report", "summary.json and report.html of a run's folder"),
    "dynamics": ("glow_trl.analysis.dynamics", "what training did to each sample: losses, gains, weights, a data map"),
    "loss": ("glow_trl.analysis.loss", "loss of a checkpoint on held-out trajectories"),
    "annotate": ("glow_trl.analysis.annotate", "which patterns of faulty reasoning trajectories show"),
    "verify": ("glow_trl.verifiers.verify_file", "verify a JSONL file of predictions and gold answers"),
}
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def _help() -> str:
    lines = [f"  {name:8} {summary}" for name, (_, summary) in _COMMANDS.items()]
    return "\n".join(
        [
            "usage: glow-trl COMMAND ...",
            "",
            "SFT-to-RL recipes on TRL that learn to reason from correct and incorrect trajectories.",
            "",
            "commands:",
            *lines,
            "",
            "  glow-trl run recipes/quickstart                    a whole two-stage run, on any machine",
            "  glow-trl sft --config FILE [--key value ...]       one stage; likewise collect, label, grpo, eval",
            "  glow-trl COMMAND --help                            the options of a command",
        ]
    )


def run_stage(main: Callable[[Sequence[str] | None], int | None], argv: Sequence[str] | None = None) -> int:
    """
    Run a command and turn its errors into one line and an exit code.

    Args:
        main (`Callable`): takes the arguments and returns an exit code or `None`.
        argv (`list[str]`, *optional*): the arguments; by default the command line's.

    Returns:
        `int`: 0 when done, 2 for bad input or configuration, 1 for anything else that has a message of its own, 130
        when interrupted. Other errors are raised.
    """
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    if ENDS_WITH_PARENT in os.environ:
        end_with_parent()
    try:
        return main(argv) or 0
    except UserError as error:
        return _fail(error, 2)
    except (TrainingCollapsed, ServiceError) as error:
        return _fail(error, 1)
    except KeyboardInterrupt:
        return _fail("interrupted; the same command continues where it stopped", 130)
    except Exception as error:
        full = _disk_error(error)
        if full is None:
            raise
        return _fail(f"cannot write: {full}; make room and run the same command again, what is saved is kept", 1)


def _disk_error(error: BaseException | None) -> str | None:
    """What kept a file from being written, if that is behind an error. Libraries wrap it in errors of their own."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
            return os.strerror(error.errno) + (f" ({error.filename})" if error.filename else "")
        if os.strerror(errno.ENOSPC) in str(error):
            return os.strerror(errno.ENOSPC)
        error = error.__cause__ or error.__context__
    return None


def _fail(message: object, code: int) -> int:
    text = " ".join(str(message).split())
    print(f"glow-trl: error: {text}" if code != 130 else f"glow-trl: {text}", file=sys.stderr, flush=True)
    return code


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `glow-trl`; returns the exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if not argv or argv[0] in ("-h", "--help"):
        print(_help())
        return 0 if argv else 2
    command, *rest = argv
    if command in ("-V", "--version"):
        from . import __version__

        print(f"glow-trl {__version__}")
        return 0
    if command not in _COMMANDS:
        from .stages.config import nearest

        close = nearest(command, set(_COMMANDS)) or f"; there are {', '.join(_COMMANDS)}"
        return _fail(f"unknown command {command!r}{close}", 2)
    module, _ = _COMMANDS[command]
    return run_stage(lambda arguments: importlib.import_module(module).main(arguments), rest)


if __name__ == "__main__":
    sys.exit(main())
