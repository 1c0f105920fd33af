"""Completions saved as they come, so that a run that was killed loses none of those that were written."""

import json
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from ..errors import UserError
from ..generation import Generation


class SampleStore:
    """An append-only JSONL file with one line per question: all its completions.

    A last line that was cut off by a kill is dropped on opening.

    Args:
        path (`Path`): the file; it is made if it does not exist.
    """

    def __init__(self, path: Path):
        self.path = path
        self.samples: dict[int, list[Generation]] = {}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file: BinaryIO = path.open("a+b")
            self._file.seek(0)
            whole = 0
            for line in self._file:
                if not line.endswith(b"\n"):
                    break
                row = json.loads(line)
                self.samples[row["index"]] = [
                    Generation(item["text"], item["token_ids"], len(item["token_ids"]), item["finish_reason"])
                    for item in row["samples"]
                ]
                whole += len(line)
            self._file.truncate(whole)
        except OSError as error:
            raise UserError(f"{path}: cannot be written ({error.strerror or error})") from error

    def append(self, index: int, generations: list[Generation]) -> None:
        """Save the completions of one question."""
        items = [
            {"text": item.text, "token_ids": item.token_ids, "finish_reason": item.finish_reason}
            for item in generations
        ]
        line = json.dumps({"index": index, "samples": items}, ensure_ascii=False) + "\n"
        try:
            self._file.write(line.encode())
            self._file.flush()
        except OSError as error:
            raise UserError(f"{self.path}: cannot be written ({error.strerror or error})") from error
        self.samples[index] = generations

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> "SampleStore":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
