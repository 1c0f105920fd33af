"""What a check finds: rows of the table, each written to a file when it is known, so that a crash loses no other."""

import json
import math
import subprocess
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


PASS, FAIL, SKIPPED = "pass", "fail", "skipped"


class Missed(Exception):
    """A bar was missed; the message says which, and by how much."""


class Skipped(Exception):
    """There is no way to check this here; the message says why."""


class Row(dict):
    """The measured figures of a row by their names."""

    def require(self, holds: bool, otherwise: str) -> None:
        """End the row as failed unless this holds. What it has measured by then is kept."""
        if not holds:
            raise Missed(otherwise)


class CheckRun:
    """
    One run of a check.

    Args:
        gpu (`bool`): whether it is the full form, on a GPU; else the small one, on CPU.
        folder (`Path`): where it may write; removed after it.
        rows_file (`Path`): takes a line of JSON for each row.
        model (`str`, *optional*): folder of a model to take in place of one that is built.
    """

    def __init__(self, gpu: bool, folder: Path, rows_file: Path, model: str | None = None):
        self.gpu = gpu
        self.folder = folder
        self.model = model
        self._rows_file = rows_file

    @contextmanager
    def row(self, name: str) -> Iterator[Row]:
        """A row that passes where the block ends without an exception."""
        figures, result, why, start = Row(), PASS, "", time.monotonic()
        try:
            yield figures
        except Skipped as error:
            result, why = SKIPPED, str(error)
        except Missed as error:
            result, why = FAIL, str(error)
        except Exception as error:
            # The other rows of a check are worth having whatever happens in this one
            traceback.print_exc()
            result, why = FAIL, f"{type(error).__name__}: {last_line(str(error))}"
        # JSON has no number for some
        told = {key: json_number(value) for key, value in figures.items()}
        entry = {"row": name, "result": result, "why": why, "figures": told, "seconds": time.monotonic() - start}
        with self._rows_file.open("a") as file:
            file.write(json.dumps(entry, default=str) + "\n")
        print(f"{name}: {result} {why} {dict(figures)}", flush=True)


def run_through(command: list[str], **options: Any) -> str:
    """What a command says, which goes to the log as it comes; a [`Missed`] with its last error if it fails."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options) as process:
        said = []
        for line in process.stdout or ():
            print(line, end="", flush=True)
            said.append(line)
    if process.returncode:
        errors = [line for line in said if "Error" in line or "error:" in line]
        raise Missed(f"a process ended with exit code {process.returncode}: {last_line(''.join(errors or said))}")
    return "".join(said)


def last_line(text: str, longest: int = 200) -> str:
    """The last line that says something, shortened."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:longest] if lines else ""


def json_number(value: Any) -> Any:
    """A figure as JSON can have it: a string where it has no number for it."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def figures_text(figures: dict[str, Any]) -> str:
    """The figures of a row in one line."""
    return "; ".join(f"{name}: {_number(value)}" for name, value in figures.items())


def _number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return f"{value:,}" if type(value) is int else str(value)
