"""The report stage: `glow-trl report RUN_FOLDER`."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from .terminal import print_summary
from .writer import write_report


def main(argv: Sequence[str] | None = None) -> None:
    """Write the report of a run folder and print its table.

    Args:
        argv (`list[str]`, *optional*): the arguments; by default the command line's.

    Raises:
        UserError: there is no such run, or its folder cannot be written to.
    """
    from rich.console import Console

    parser = argparse.ArgumentParser(
        prog="glow-trl report", description="Write summary.json and report.html of a run's folder."
    )
    parser.add_argument("folder", nargs="?", help="the run's folder")
    parser.add_argument("--run_dir", "--output_dir", dest="run_dir", help="the same as an option")
    parser.add_argument("--config", help="a YAML file with `run_dir`")
    options = parser.parse_args(argv)
    folder = options.folder or options.run_dir or _from_file(options.config)
    if folder is None:
        parser.error("name the run's folder: glow-trl report outputs/quickstart")
    console = Console()
    print_summary(write_report(folder), console)
    console.print(f"report: {Path(folder) / 'report.html'}", highlight=False, soft_wrap=True)


def _from_file(config: str | None) -> str | None:
    if config is None:
        return None
    from ..errors import UserError
    from ..stages.config import nearest, read_yaml

    content = read_yaml(Path(config))
    for key in content:
        if key != "run_dir":
            raise UserError(f"{config}: unknown key {key!r} for the report{nearest(key, ['run_dir'])}")
    if not isinstance(content.get("run_dir"), str):
        raise UserError(f"{config}: run_dir is missing: give the run's folder")
    return content["run_dir"]
