"""The command `glow-trl`. Knows the commands by name only; what a command needs is imported when it runs."""

import sys
from collections.abc import Sequence

from .stages.command import fail, guarded, run_command
from .stages.processes import leave
from .stages.registry import COMMANDS


def _help() -> str:
    lines = [f"  {name:8} {command.summary}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "usage: glow-trl COMMAND ...",
            "",
            "SFT-to-RL recipes on TRL that learn to reason from correct and incorrect",
            "trajectories.",
            "",
            "commands:",
            *lines,
            "",
            "  glow-trl run recipes/quickstart                   a whole run, on any machine",
            "  glow-trl COMMAND --config FILE [--key value ...]  one command",
            "  glow-trl COMMAND --help                           the settings of a command",
        ]
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `glow-trl`; returns the exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if not argv or argv[0] in ("-h", "--help"):
        return guarded(lambda: print(_help())) or (0 if argv else 2)
    name, *rest = argv
    if name in ("-V", "--version"):
        from .version import __version__

        return guarded(lambda: print(f"glow-trl {__version__}"))
    if name not in COMMANDS:
        from .stages.config import nearest

        close = nearest(name, set(COMMANDS)) or f"; there are {', '.join(COMMANDS)}"
        return fail(f"unknown command {name!r}{close}", 2)
    return run_command(name, rest)


if __name__ == "__main__":
    leave(main())
