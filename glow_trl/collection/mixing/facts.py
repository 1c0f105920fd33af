"""What is kept in memory of every row while the rows themselves stay in their files."""

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from ...data import Place
from .decontamination import ContaminationIndex, Hit
from .near_duplicates import Sketches
from .text import digest, question_key


_BATCH = 512
_QUESTIONS = 4096

_COLUMNS = ("question", "positive", "tokens", "characters", "truncated", "source", "model", "file", "line")

TRUNCATED = "length"


@dataclass
class Facts:
    """
    Facts about `n` rows and their `q` questions.

    Attributes:
        question (`np.ndarray` of shape `(n,)`, int64): number of each row's question, counted from 0.
        positive (`np.ndarray` of shape `(n,)`, bool): its label.
        completion (`np.ndarray` of shape `(n,)`, uint64): digest of its question and completion.
        tokens (`np.ndarray` of shape `(n,)`, int64): tokens of its completion; -1 where unknown.
        characters (`np.ndarray` of shape `(n,)`, int64): characters of its completion.
        truncated (`np.ndarray` of shape `(n,)`, bool): whether its completion was cut off.
        source, model, file (`np.ndarray` of shape `(n,)`, int64): numbers of names in the lists below.
        sources, models, files (`list[str]`): names.
        line (`np.ndarray` of shape `(n,)`, int64): number of its line or row in the file.
        sample_ids (`list[str]`): its `sample_id` as it stands there.
        problem (`np.ndarray` of shape `(q,)`, uint64): digest of each question without its options.
        question_digest (`np.ndarray` of shape `(q,)`, uint64): digest of each question with its options.
        contradictory (`np.ndarray` of shape `(q,)`, bool): whether its rows give different gold answers.
        finish_known (`int`): number of rows that say why their completion ended.
        hits (`dict[int, list[Hit]]`): number of a question to the benchmark questions that it contains.
        sketches ([`Sketches`], *optional*): of the completions.
    """

    question: np.ndarray
    positive: np.ndarray
    completion: np.ndarray
    tokens: np.ndarray
    characters: np.ndarray
    truncated: np.ndarray
    source: np.ndarray
    model: np.ndarray
    file: np.ndarray
    line: np.ndarray
    sources: list[str]
    models: list[str]
    files: list[str]
    sample_ids: list[str]
    problem: np.ndarray
    question_digest: np.ndarray
    contradictory: np.ndarray
    finish_known: int = 0
    hits: dict[int, list[Hit]] = field(default_factory=dict)
    sketches: Sketches | None = None

    def __len__(self) -> int:
        return len(self.question)

    @property
    def num_questions(self) -> int:
        """Number of questions."""
        return len(self.problem)

    def pass_rates(self) -> tuple[np.ndarray, np.ndarray]:
        """Number of rows and of positive rows of each question, both of shape `(q,)`."""
        count = np.bincount(self.question, minlength=self.num_questions)
        return count, np.bincount(self.question[self.positive], minlength=self.num_questions)

    def contaminated(self) -> np.ndarray:
        """Whether each question contains one of a benchmark, of shape `(q,)`."""
        hit = np.zeros(self.num_questions, dtype=bool)
        hit[list(self.hits)] = True
        return hit

    def lengths(self) -> tuple[np.ndarray, str]:
        """Lengths of the completions and their unit: tokens where all are known, characters otherwise."""
        return (self.tokens, "tokens") if (self.tokens >= 0).all() else (self.characters, "characters")


def question_of(row: dict[str, Any]) -> tuple[int, int]:
    """Digests of a row's question, without and with its options."""
    return _question(row["problem"], tuple(map(str, row.get("choices") or ())))


# The rows of a question often follow each other
@lru_cache(maxsize=256)
def _question(problem: str, choices: tuple[str, ...]) -> tuple[int, int]:
    key = question_key(problem)
    return digest(key), digest(key, *map(question_key, choices))


def completion_digest(row: dict[str, Any], question_digest: int) -> int:
    """A digest of a row's question and completion: what its random choices depend on."""
    return digest(question_digest, row["completion"].strip())


class FactsBuilder:
    """
    Gathers [`Facts`] row by row: benchmarks are looked for with an `index`, completions are sketched for their
    similarity with `sketches`, and `count_tokens` counts in place of the rows' own `n_tokens`.
    """

    def __init__(
        self,
        index: ContaminationIndex | None = None,
        sketches: bool = False,
        count_tokens: Callable[[Sequence[str]], Sequence[int]] | None = None,
    ):
        self._index = index
        self._sketches = Sketches() if sketches else None
        self._count_tokens = count_tokens
        self._columns = {name: array("q") for name in _COLUMNS}
        self._completion = array("Q")
        self._names: dict[str, dict[str, int]] = {"source": {}, "model": {}, "file": {}}
        self._sample_ids: list[str] = []
        self._questions: dict[int, int] = {}
        self._problem = array("Q")
        self._answer: list[int] = []
        self._contradictory: set[int] = set()
        self._finish_known = 0
        self._hits: dict[int, list[Hit]] = {}
        self._new_questions: list[tuple[int, str, Sequence[str] | None]] = []
        self._new_completions: list[str] = []

    def add(self, place: Place, row: dict[str, Any]) -> None:
        """Take in a row with `problem`, `completion`, `answer` and `is_correct`."""
        problem, whole = question_of(row)
        question = self._questions.setdefault(whole, len(self._questions))
        answer = digest(str(row["answer"]).strip())
        if question == len(self._problem):
            self._problem.append(problem)
            self._answer.append(answer)
            if self._index is not None:
                self._new_questions.append((question, row["problem"], row.get("choices")))
                if len(self._new_questions) == _QUESTIONS:
                    self._look_for_benchmarks()
        elif self._answer[question] != answer:
            self._contradictory.add(question)
        tokens = row.get("n_tokens")
        values = {
            "question": question,
            "positive": row["is_correct"],
            "tokens": -1 if tokens is None or tokens != tokens else int(tokens),
            "characters": len(row["completion"]),
            "truncated": row.get("finish_reason") == TRUNCATED,
            "source": self._number("source", row.get("source") or place.file.rpartition("/")[2]),
            "model": self._number("model", row.get("model") or "unknown"),
            "file": self._number("file", place.file),
            "line": place.number,
        }
        for name, value in values.items():
            self._columns[name].append(value)
        self._completion.append(completion_digest(row, whole))
        self._finish_known += row.get("finish_reason") is not None
        self._sample_ids.append(row["sample_id"])
        if self._sketches is not None or self._count_tokens is not None:
            self._new_completions.append(row["completion"])
            if len(self._new_completions) == _BATCH:
                self._look_at_completions()

    def finish(self) -> Facts:
        """The facts about all rows."""
        self._look_for_benchmarks()
        self._look_at_completions()
        columns = {name: np.asarray(values, dtype=np.int64) for name, values in self._columns.items()}
        for name in ("positive", "truncated"):
            columns[name] = columns[name].astype(bool)
        contradictory = np.zeros(len(self._problem), dtype=bool)
        contradictory[list(self._contradictory)] = True
        return Facts(
            **columns,
            completion=np.array(self._completion, dtype=np.uint64),
            sources=list(self._names["source"]),
            models=list(self._names["model"]),
            files=list(self._names["file"]),
            sample_ids=self._sample_ids,
            problem=np.array(self._problem, dtype=np.uint64),
            question_digest=np.fromiter(self._questions, dtype=np.uint64, count=len(self._questions)),
            contradictory=contradictory,
            finish_known=self._finish_known,
            hits=self._hits,
            sketches=self._sketches,
        )

    def _number(self, column: str, name: object) -> int:
        names = self._names[column]
        # JSON can spell lone surrogates, the card cannot
        return names.setdefault(str(name).encode("utf-8", "replace").decode("utf-8"), len(names))

    def _look_for_benchmarks(self) -> None:
        if not self._new_questions:
            return
        found = self._index.find([(problem, choices) for _, problem, choices in self._new_questions])
        for (question, _, _), hits in zip(self._new_questions, found, strict=True):
            if hits:
                self._hits[question] = hits
        self._new_questions.clear()

    def _look_at_completions(self) -> None:
        texts = self._new_completions
        if not texts:
            return
        if self._sketches is not None:
            self._sketches.add(texts)
        if self._count_tokens is not None:
            self._columns["tokens"][-len(texts) :] = array("q", self._count_tokens(texts))
        texts.clear()
