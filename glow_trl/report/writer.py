"""Writing `summary.json` and `report.html`."""

import os
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..stages.record import write_json
from .run_data import read_run_folder
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
    summary = summarize(data)
    write_json(folder / "summary.json", summary)
    path = folder / REPORT_FILE
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_text(render_page(data, summary), encoding="utf-8")
        os.replace(partial, path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error})") from error
    return summary
