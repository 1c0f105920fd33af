"""What came out of a run: `summary.json`, `report.html` and a table in the terminal."""

from .terminal import print_summary
from .writer import write_report


__all__ = ["print_summary", "write_report"]
