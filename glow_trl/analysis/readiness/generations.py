"""Counts by question from saved generations: of `eval`, judged already, and of `collect`, which are judged here."""

import hashlib
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ...data import read_jsonl
from ...errors import UserError
from ...evaluation.paired import Evaluation, QuestionScore, check_protocol, read_evaluation
from ...stages.files import read_json
from ...stages.record import read_run
from ...stages.yaml_file import nearest
from .measures import Start


_SHARDS = "trajectories-*-of-*.jsonl"
_LABELLED = "trajectories.jsonl"
_SAMPLING = ("temperature", "top_p", "top_k", "min_p", "max_new_tokens", "stop")
_JUDGED_AT_ONCE = 4096
Key = tuple[Hashable, int]


class Collected(Evaluation):
    """
    The samples of a collection, as an [`Evaluation`] of one benchmark.

    Args:
        folder (`Path`): what `glow-trl collect` or `glow-trl label` wrote.
        restated (`str`): what answers are worth that only restate the question.
    """

    def __init__(self, folder: Path, restated: str):
        record = read_run(folder) or {}
        if record.get("stage") == "collect" and record.get("status") != "complete":
            raise UserError(f"{folder}: the collection is not complete; start it again, it goes on where it stopped")
        config = record.get("config") or {}
        sampling = {name: config[name] for name in _SAMPLING if name in config and record["stage"] == "collect"}
        model = config.get("model_name_or_path")
        super().__init__(folder, {"model_name_or_path": model, "sampling": sampling, "benchmarks": {"questions": {}}})
        self._restated = restated

    def questions(self, benchmark: str) -> list[QuestionScore]:
        if benchmark not in self._questions:
            found: dict[Hashable, QuestionScore] = {}
            for row in self._judged():
                options = tuple(row.get("choices") or ())
                text = (row["problem"], tuple(sorted(options)))
                index = row.get("index", text)
                if index not in found:
                    found[index] = QuestionScore(index, None, text, str(row["answer"]))
                found[index].add(row)
            self._questions[benchmark] = list(found.values())
        return self._questions[benchmark]

    def _judged(self) -> Iterator[dict[str, Any]]:
        """The rows with a verdict: as they are labelled, or from the verifiers."""
        from ...verifiers import verify_batch

        rows = list(self._rows())
        asked = [row for row in rows if row.get("is_correct") is None]
        for first in range(0, len(asked), _JUDGED_AT_ONCE):
            part = asked[first : first + _JUDGED_AT_ONCE]
            columns = {name: [row.get(name) for row in part] for name in ("kind", "choices", "tolerance")}
            columns["kind"] = [
                kind or ("choice" if choices else "math")
                for kind, choices in zip(columns["kind"], columns["choices"], strict=True)
            ]
            verdicts = verify_batch(
                [row["completion"] for row in part],
                [row["answer"] for row in part],
                columns["kind"],
                choices=columns["choices"],
                tolerances=columns["tolerance"],
                problems=[row["problem"] for row in part],
                restated=self._restated,
            )
            for row, verdict in zip(part, verdicts, strict=True):
                row["verdict"] = asdict(verdict)
        for row in rows:
            yield {"verdict": {"correct": row.get("is_correct"), "reason": row.get("reason")}} | row

    def _rows(self) -> Iterator[dict[str, Any]]:
        for file in sorted(self.folder.glob(_SHARDS)) or [self.folder / _LABELLED]:
            for line, row in read_jsonl(file):
                for name in ("problem", "completion", "answer"):
                    if not isinstance(row.get(name), str):
                        raise UserError(f"{file}, line {line}: {name} is missing or no text; collect again")
                yield row


def read_generations(folder: Path, restated: str, only: Sequence[str] | None = None) -> Evaluation:
    """
    The generations in a folder of `eval`, `collect` or `label`; of an evaluation `only` some benchmarks. Raises
    `UserError` if there are none.
    """
    check_generations(folder)
    if _is_collected(folder):
        return Collected(folder, restated)
    evaluation = read_evaluation(folder)
    known = evaluation.results["benchmarks"]
    for name in only or ():
        if name not in known:
            close = nearest(name, known) or f"; there are {', '.join(known)}"
            raise UserError(f"only: {folder} has no benchmark {name!r}{close}")
    evaluation.results["benchmarks"] = {name: known[name] for name in only or known}
    return evaluation


def has_generations(folder: Path) -> bool:
    """Whether `eval`, `collect` or `label` wrote generations into a folder."""
    return _is_collected(folder) or isinstance((read_json(folder / "results.json") or {}).get("benchmarks"), dict)


def check_generations(folder: Path) -> None:
    """Raise a `UserError` if there are no generations in a folder."""
    if not has_generations(folder):
        raise UserError(f"{folder}: no generations are there; give a folder that `eval` or `collect` wrote")


def generation_files(folder: Path) -> list[Path]:
    """The files of a folder that its figures follow from."""
    files = [path for name in (_SHARDS, _LABELLED) for path in folder.glob(name)]
    return sorted([*files, *folder.glob("generations_*.jsonl"), *folder.glob("entropy_*.jsonl")])


def _is_collected(folder: Path) -> bool:
    return any(folder.glob(_SHARDS)) or (folder / _LABELLED).is_file()


class CommonQuestions:
    """
    The questions that several evaluations have in common: those with the same text and options, in the order of the
    first, and among equal ones their order.

    Args:
        evaluations (`Sequence[Evaluation]`): at least one.

    Raises:
        UserError: they were drawn in different ways, have no question in common, or one with different gold answers.
    """

    def __init__(self, evaluations: Sequence[Evaluation]):
        first = evaluations[0]
        for other in evaluations[1:]:
            for benchmark in first.results["benchmarks"]:
                check_protocol(benchmark, first, other)
        self._evaluations = evaluations
        self._found = [_by_text(evaluation) for evaluation in evaluations]
        self.keys: list[Key] = [key for key in self._found[0] if all(key in found for found in self._found)]
        self.left_out = len({key for found in self._found for key in found}) - len(self.keys)
        if not self.keys:
            raise UserError(f"{', '.join(str(item.folder) for item in evaluations)}: no question is common to all")
        for key in self.keys:
            for evaluation, found in zip(evaluations, self._found, strict=True):
                ours, theirs = self._found[0][key][1], found[key][1]
                if ours.gold != theirs.gold:
                    raise UserError(
                        f"the gold answer to {ours.text[0][:40]!r} is {ours.gold!r} in {first.folder} and "
                        f"{theirs.gold!r} in {evaluation.folder}; evaluate the older one again, which only judges it "
                        "anew"
                    )

    def start(self, position: int, name: str, **others: Any) -> Start:
        """The counts of one of the evaluations."""
        chosen = [self._found[position][key] for key in self.keys]
        names = ("judged", "correct", "samples", "tokens", "truncated", "no_answer")
        counts = {key: np.array([getattr(score, key) for _, score in chosen]) for key in names}
        evaluation = self._evaluations[position]
        measured = [evaluation.entropies(benchmark).get(score.index, (0.0, 0)) for benchmark, score in chosen]
        sums, tokens = (np.array(part, dtype=float) for part in zip(*measured, strict=True))
        return Start(name, **counts, entropies=(sums, tokens) if tokens.any() else None, **others)

    def held_out(self, share: float, seed: int) -> np.ndarray:
        """Which questions do not rank: by their text and the seed alone."""
        digests = [hashlib.sha256(f"{seed}/{key!r}".encode("utf-8", "replace")).digest() for key in self.keys]
        order = sorted(range(len(digests)), key=digests.__getitem__)
        chosen = np.zeros(len(order), dtype=bool)
        chosen[order[: round(share * len(order))]] = True
        return chosen

    def rows(self, starts: Sequence[Start], held_out: np.ndarray) -> Iterator[dict[str, Any]]:
        """A row for each question: its text, whether it is held out, and of each start what was judged and right."""
        for index, key in enumerate(self.keys):
            score = self._found[0][key][1]
            counts = {start.name: [int(start.judged[index]), int(start.correct[index])] for start in starts}
            yield {"problem": score.text[0], "held_out": bool(held_out[index]), "judged_correct": counts}


def _by_text(evaluation: Evaluation) -> dict[Key, tuple[str, QuestionScore]]:
    found: dict[Key, tuple[str, QuestionScore]] = {}
    seen: dict[Hashable, int] = {}
    for benchmark in evaluation.results["benchmarks"]:
        for score in evaluation.questions(benchmark):
            seen[score.text] = seen.get(score.text, 0) + 1
            found[score.text, seen[score.text]] = benchmark, score
    return found
