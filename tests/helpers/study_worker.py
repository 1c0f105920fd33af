"""What tests of studies start: `helpers.command_worker`, where the runs of studies are `helpers.study_run`."""

import sys

from glow_trl.study.grid import Cell
from helpers import command_worker


def stand_in() -> property:
    """A property in the place of `Cell.command`."""
    real = Cell.command.fget
    return property(lambda cell: [sys.executable, "-m", "helpers.study_run", *real(cell)[4:]])


if __name__ == "__main__":
    Cell.command = stand_in()
    command_worker.main()
