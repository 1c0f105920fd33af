"""Rows and prompts: reading files and the Hub, naming columns, asking questions. Loads neither torch nor datasets."""

from .jsonl import MalformedLine, read_jsonl, write_jsonl
from .load import load_rows
from .prompts import build_prompt


__all__ = ["MalformedLine", "build_prompt", "load_rows", "read_jsonl", "write_jsonl"]
