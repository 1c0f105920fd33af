"""Completions saved as they come, so that a run that was killed loses none of those that were written."""

import json
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from ..errors import UserError
from ..generation import Generation


class SampleStore:
    """An append-only JSONL file with one line per completion.

    A last line that was cut off by a kill is dropped on opening.

    Args:
        path (`Path`): the file; it is made if it does not exist.

    Attributes:
        samples (`dict[tuple[int, int], Generation]`): what is saved, by the numbers of question and sample.

    Raises:
        UserError: the file cannot be opened, or a line in it is not one that was written here.
    """

    def __init__(self, path: Path):
        self.path = path
        self.samples: dict[tuple[int, int], Generation] = {}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file: BinaryIO = path.open("a+b")
            self._file.seek(0)
            whole = 0
            for number, line in enumerate(self._file, start=1):
                if not line.endswith(b"\n"):
                    break
                self._read(line, number)
                whole += len(line)
            self._file.truncate(whole)
        except OSError as error:
            raise UserError(f"{path}: cannot be written ({error.strerror or error})") from error

    def _read(self, line: bytes, number: int) -> None:
        try:
            row: dict[str, Any] = json.loads(line)
            key = (row["index"], row["sample"])
            generation = Generation(row["text"], row["token_ids"], row["n_tokens"], row["finish_reason"])
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{self.path}, line {number}: not a saved completion; delete the line, and it is drawn again"
            ) from error
        self.samples[key] = generation

    def append(self, index: int, sample: int, generation: Generation) -> None:
        """Save one completion.

        Raises:
            OSError: the disk is full, or went away.
        """
        row = {
            "index": index,
            "sample": sample,
            "text": generation.text,
            "token_ids": generation.token_ids,
            "n_tokens": generation.n_tokens,
            "finish_reason": generation.finish_reason,
        }
        self._file.write((json.dumps(row, ensure_ascii=False) + "\n").encode(errors="replace"))
        self._file.flush()
        self.samples[index, sample] = generation

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> "SampleStore":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
