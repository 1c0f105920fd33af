"""How often each question was solved."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...data import JsonlWriter, read_jsonl, write_jsonl
from ...data.columns import present


_COLUMNS = ("problem", "answer", "kind", "choices", "source")


class PassRates:
    """
    Counts trajectories by question, and writes the counts at the end of a `with` block that ends well. In memory is a
    digest of each question; its text goes to a file at once.
    """

    def __init__(self, path: Path):
        self._path = path
        self._questions = JsonlWriter(path.with_name(path.name + ".questions"))
        self._positions: dict[bytes, int] = {}
        self._judged: list[int] = []
        self._correct: list[int] = []

    def add(self, row: dict[str, Any], correct: bool) -> None:
        """Count a trajectory."""
        key = json.dumps([row["problem"], row["answer"], row.get("choices")], default=str)
        digest = hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=12).digest()
        position = self._positions.setdefault(digest, len(self._judged))
        if position == len(self._judged):
            self._judged.append(0)
            self._correct.append(0)
            self._questions.write(present(row, _COLUMNS))
        self._judged[position] += 1
        self._correct[position] += correct

    @property
    def facts(self) -> dict[str, Any]:
        """`questions`, those `always_solved` and `never_solved`, and their mean `pass_rate`."""
        pairs = list(zip(self._correct, self._judged, strict=True))
        return {
            "questions": len(pairs),
            "always_solved": sum(correct == judged for correct, judged in pairs),
            "never_solved": sum(correct == 0 for correct, _ in pairs),
            "pass_rate": sum(correct / judged for correct, judged in pairs) / len(pairs) if pairs else None,
        }

    def __enter__(self) -> "PassRates":
        self._questions.__enter__()
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        self._questions.__exit__(kind, error, trace)
        try:
            if error is None:
                write_jsonl(self._path, self._rows())
        finally:
            self._questions.path.unlink(missing_ok=True)

    def _rows(self) -> Iterator[dict[str, Any]]:
        questions = (row for _, row in read_jsonl(self._questions.path))
        for row, judged, correct in zip(questions, self._judged, self._correct, strict=True):
            yield row | {"n": judged, "n_correct": correct, "pass_rate": correct / judged}
