"""The report of a run: `glow-trl report RUN_FOLDER`."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from ..errors import UserError
from ..stages.command import run_command
from ..stages.config import parse_command
from ..stages.console import say_results
from ..stages.frame import writing
from .terminal import print_summary
from .writer import REPORT_FILE, write_report


@dataclass
class ReportConfig:
    r"""
    Which run to report on.

    Parameters:
        run_dir (`str`):
            The run's folder; also the first argument of the command.
    """

    run_dir: str | None = field(
        default=None,
        metadata={"help": "The run's folder.", "aliases": ["--output_dir"], "positional": True, "required": True},
    )

    def __post_init__(self):
        if not self.run_dir:
            raise UserError("name the run's folder: glow-trl report outputs/quickstart")
        if not Path(self.run_dir).is_dir():
            raise UserError(f"{self.run_dir}: no such run folder")


def main(argv: Sequence[str] | None = None) -> None:
    """Run `glow-trl report` with the arguments `argv`, by default those of the command line."""
    config: ReportConfig = parse_command("report", sys.argv[1:] if argv is None else argv).config
    with writing(Path(config.run_dir) / REPORT_FILE) as path:
        summary = write_report(path.parent)
    print_summary(summary, Console())
    say_results(path)


if __name__ == "__main__":
    sys.exit(run_command("report"))
