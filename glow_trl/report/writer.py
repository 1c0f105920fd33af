"""Writing `summary.json` and `report.html`."""

import os
from pathlib import Path
from typing import Any

from ..stages.files import atomic_file, write_json
from ..stages.secrets import hide_known
from .run_data import read_run_folder
from .scores import ScoreBook
from .summary import summarize


REPORT_FILE = "report.html"


def write_report(run_dir: str | os.PathLike) -> dict[str, Any]:
    """Read a run folder and write `summary.json` and `report.html` into it.

    Whatever the run has not done yet is left out, with a sentence in its place.

    Args:
        run_dir (`str` or `os.PathLike`): the run's folder.

    Returns:
        `dict`: the content of `summary.json`.

    Raises:
        UserError: there is no such run, or the folder cannot be written to.
    """
    from .page import render_page

    folder = Path(run_dir)
    data = read_run_folder(folder)
    book = ScoreBook(data)
    summary = summarize(data, book)
    write_json(folder / "summary.json", summary)
    page = render_page(data, summary, book)
    with atomic_file(folder / REPORT_FILE) as file:
        file.write(hide_known(page))
    return summary
