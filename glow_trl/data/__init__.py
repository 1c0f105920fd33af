"""Reading rows from files and the Hub. Importing this package loads neither torch nor datasets."""

from .jsonl import MalformedLine, read_jsonl, write_jsonl


__all__ = ["MalformedLine", "read_jsonl", "write_jsonl"]
