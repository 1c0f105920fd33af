"""`glow-trl study`: a grid of runs, and what they say together."""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError
from ..stages.command import fail, run_command
from ..stages.config import naming, parse_command, setting
from ..stages.console import FiguresTable, say_results, visible
from ..stages.files import atomic_file
from ..stages.frame import stage_run
from ..statistics.numbers import duration
from .declared import declare
from .file import read_study
from .grid import Setting, check_grid, estimated_seconds, make_grid
from .launch import run_cells, slurm_files


# In the last line on the terminal
_MOST_NAMED = 10


@dataclass
class StudyConfig:
    r"""
    Which study to run, and how.

    Parameters:
        study (`str`):
            The study's file, see [`~glow_trl.study.file.StudyFile`].
        output_dir (`str`, *optional*):
            Folder of the study; by default `outputs/NAME` for `NAME.yaml`, and `outputs/FOLDER-study` for
            `FOLDER/study.yaml`.
        jobs (`int`, *optional*, defaults to 1):
            How many runs there are at a time. This machine's cores and GPUs are shared out to them.
        dry_run (`bool`, *optional*, defaults to `False`):
            Whether to list the runs and what they are likely to take, and to write nothing.
        slurm (`bool`, *optional*, defaults to `False`):
            Whether to write the files with which Slurm does the runs, and to run nothing.
        assemble (`bool`, *optional*, defaults to `False`):
            Whether to write the page of what there is, and to run nothing.
    """

    study: str = setting("", "The study's file.", positional=True, changeable=True, required=True)
    output_dir: str | None = setting(None, "Folder of the study (default: outputs/NAME).")
    jobs: int = setting(1, "How many runs there are at a time.", changeable=True)
    dry_run: bool = setting(False, "List the runs and their likely cost; write nothing.", changeable=True)
    slurm: bool = setting(False, "Write the files for Slurm; run nothing.", changeable=True)
    assemble: bool = setting(False, "Write the page of what there is; run nothing.", changeable=True)

    def __post_init__(self):
        if not self.study:
            raise UserError("which study? `glow-trl study study.yaml`, for example")
        if self.jobs < 1:
            raise UserError(f"jobs is {self.jobs}: it must be at least 1")
        if self.dry_run + self.slurm + self.assemble > 1:
            raise UserError("dry_run, slurm and assemble each do something else: give one of them")

    @property
    def folder(self) -> Path:
        path = Path(self.study)
        name = path.stem if path.stem != "study" else f"{path.absolute().parent.name}-study"
        return Path(self.output_dir or Path("outputs") / name)


def main(argv: Sequence[str] | None = None) -> int:
    """Run `glow-trl study` with the arguments `argv`, by default those of the command line; returns the exit code."""
    settings = parse_command("study", sys.argv[1:] if argv is None else argv)
    config: StudyConfig = settings.config
    path, folder = Path(config.study), config.folder
    study = read_study(path)
    with naming(path):
        grid = make_grid(study, folder)
        # What is assembled was checked when it was run
        if not config.assemble:
            check_grid(study, grid)
    if config.dry_run:
        _say_plan(grid, folder, config.jobs)
        return 0
    with stage_run(settings, folder, reopens=True) as run:
        declared = declare(path, folder)
        run.start()
        run.is_new = False
        if config.slurm:
            for name, content in slurm_files(grid, folder, path).items():
                with atomic_file(folder / "slurm" / name) as file:
                    file.write(content)
            print(visible(f"submit it: bash {shlex.quote(str(folder / 'slurm' / 'submit.sh'))} [options of sbatch]"))
            return 0
        if not config.assemble:
            run_cells(grid, config.jobs)
        from .page import write_page

        results = write_page(study, grid, declared, folder)
        runs = results["runs"]
        if runs["complete"] == runs["total"]:
            run.complete()
    for claim in results["claims"]:
        print(visible(f"{claim['verdict']}: {claim['claim']['name']}"))
    say_results(folder / "study.html", folder / "study.json")
    if not runs["failed"]:
        return 0
    # What was run and failed before what was not run
    failed = sorted(runs["failed"], key=lambda item: item["log"] is None)
    names = [f"{item['name']} ({item['error']})" for item in failed]
    if len(names) > _MOST_NAMED:
        names[_MOST_NAMED:] = [f"and {len(names) - _MOST_NAMED} more, which {folder / 'study.html'} names"]
    lacking = runs["total"] - runs["complete"]
    return fail(f"{lacking} of {runs['total']} runs are not complete: {'; '.join(names)}", 1)


def _say_plan(grid: list[Setting], folder: Path, jobs: int) -> None:
    from rich.console import Console

    seconds = estimated_seconds(grid)
    table = FiguresTable("run", "state", "estimate from", numbers=("time",), title=f"{len(seconds)} runs")
    left, unknown = 0.0, 0
    for setting_ in grid:
        for cell in (*setting_.data.values(), *setting_.runs.values()):
            value, why = seconds[cell.name]
            if not cell.is_complete:
                left, unknown = left + (value or 0), unknown + (value is None)
            table.add(cell.name, "complete" if cell.is_complete else "to do", why, duration(value))
    Console().print(table)
    if left:
        share = f" with {jobs} at a time, if they take no longer than one alone" if jobs > 1 else ""
        print(f"To do: {duration(left)} of runs, {duration(left / jobs)}{share}.")
    if unknown:
        print(
            f"Of {unknown} runs it is not known how long they take: none like them is complete in {folder}, nor a run "
            "of the recipe in outputs/. Run one seed first."
        )


if __name__ == "__main__":
    sys.exit(run_command("study"))
