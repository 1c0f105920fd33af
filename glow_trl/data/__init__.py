"""Rows and prompts: reading files and the Hub, naming columns, asking questions. Loads neither torch nor datasets."""

from .jsonl import JsonlWriter, MalformedLine, read_jsonl, write_jsonl
from .load import Place, iter_placed_rows, load_rows
from .prompts import build_prompt
from .rejects import NoUsableRows, Reject, RejectsFile


__all__ = [
    "JsonlWriter",
    "MalformedLine",
    "NoUsableRows",
    "Place",
    "Reject",
    "RejectsFile",
    "build_prompt",
    "iter_placed_rows",
    "load_rows",
    "read_jsonl",
    "write_jsonl",
]
