"""Judging trajectories: saved answers first, new ones as needed, invalid ones again."""

import hashlib
import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...data.append_log import AppendLog
from ...errors import UserError
from .answers import REFUSED, Found, InvalidAnswer, parse_answer
from .judges import Answer, Judge


@dataclass
class Judgement:
    """One judgement of a trajectory, after all its attempts: the patterns (`None` if no attempt gave a valid answer),
    why attempts failed, in order, and the last answer as it came."""

    found: list[Found] | None
    invalid: list[str] = field(default_factory=list)
    text: str = ""


class Annotator:
    """
    Judges trajectories, each several times, and keeps every answer in a file as it comes.

    The answers of a judge are kept under what they follow from: its taxonomy, prompt, model and settings name the
    file, the trajectory's text its entries. What is there is not asked again, in whichever run. Trajectories with the
    same question and text share their judgements. An invalid answer is asked for again `max_retries` times; for
    `require_quotes` see [`parse_answer`].
    """

    def __init__(
        self,
        judge: Judge,
        cache_dir: Path,
        num_judgements: int = 1,
        max_retries: int = 2,
        require_quotes: bool = False,
    ):
        self.judge = judge
        self.num_judgements = num_judgements
        self.max_retries = max_retries if judge.repeats else 0
        self.require_quotes = require_quotes
        self.show_answer = bool(judge.identity.get("show_answer"))
        content = {"taxonomy": judge.taxonomy.digest, **judge.identity}
        self.digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
        self.cache_file = cache_dir / f"answers-{self.digest}.jsonl"

    def annotate(self, rows: Sequence[Mapping[str, Any]]) -> tuple[list[list[Judgement]], dict[str, Any], int]:
        """
        Judge trajectories with `problem` and `completion`: for each row its `num_judgements` judgements; the counts,
        among them the `trajectories` that differ; and how many answers were asked for (not saved already).
        """
        keys = [trajectory_key(row, self.show_answer) for row in rows]
        unique = dict(zip(keys, rows, strict=True))
        distinct = list(unique.values())
        order = {key: position for position, key in enumerate(unique)}
        results = [[Judgement(None) for _ in range(self.num_judgements)] for _ in distinct]
        asked = 0
        with AppendLog(self.cache_file) as log:
            saved = {
                (order[row["key"]], row["judgement"], row["attempt"]): Answer(row["text"], row["finish_reason"])
                for _, row in log.rows()
                if row["key"] in order and row["judgement"] < self.num_judgements
            }
            names = list(order)
            for attempt in range(self.max_retries + 1):
                wanted = {
                    (index, number)
                    for index, judgements in enumerate(results)
                    for number, judgement in enumerate(judgements)
                    if judgement.found is None and REFUSED not in judgement.invalid
                }
                known = {pair: saved[*pair, attempt] for pair in wanted if (*pair, attempt) in saved}
                for pair, answer in known.items():
                    self._take(results, distinct, pair, answer)
                for index, number, answer in self._ask(distinct, attempt, wanted, wanted - known.keys()):
                    row = {"key": names[index], "judgement": number, "attempt": attempt}
                    log.append(row | {"text": answer.text, "finish_reason": answer.finish_reason})
                    self._take(results, distinct, (index, number), answer)
                    asked += 1
        judgements = [judgement for items in results for judgement in items]
        valid = sum(judgement.found is not None for judgement in judgements)
        counts = {
            "trajectories": len(distinct),
            "judgements": len(judgements),
            "valid": valid,
            "invalid": len(judgements) - valid,
            "attempts": valid + sum(len(judgement.invalid) for judgement in judgements),
            "reasons": dict(Counter(reason for item in judgements for reason in item.invalid).most_common()),
        }
        return [results[order[key]] for key in keys], counts, asked

    def _take(
        self,
        results: list[list[Judgement]],
        rows: Sequence[Mapping[str, Any]],
        pair: tuple[int, int],
        answer: Answer,
    ) -> None:
        index, number = pair
        judgement = results[index][number]
        judgement.text = answer.text
        try:
            judgement.found = parse_answer(
                answer.text,
                self.judge.taxonomy,
                rows[index]["completion"],
                answer.finish_reason,
                self.require_quotes,
            )
        except InvalidAnswer as error:
            judgement.invalid.append(error.reason)

    def _ask(
        self,
        rows: Sequence[Mapping[str, Any]],
        attempt: int,
        wanted: set[tuple[int, int]],
        missing: set[tuple[int, int]],
    ) -> Iterator[tuple[int, int, Answer]]:
        """Answers for the `missing` of the `wanted` pairs of this attempt.

        The judge is given the trajectories of all wanted ones, whether saved or not: what it draws then does not
        depend on when an earlier run was stopped.
        """
        from rich.console import Console
        from rich.progress import track

        if not missing:
            return
        chosen = sorted({index for index, _ in wanted})
        place = {index: position for position, index in enumerate(chosen)}
        open_pairs = {(place[index], number) for index, number in missing}
        answers = self.judge.answers(
            [rows[index] for index in chosen], self.num_judgements, attempt, _AllBut(frozenset(open_pairs))
        )
        bar = {
            "description": "judge" if attempt == 0 else f"judge again ({attempt})",
            "total": len(missing),
            "console": Console(stderr=True),
            "disable": not sys.stderr.isatty(),
        }
        for position, number, answer in track(answers, **bar):
            if (position, number) not in open_pairs:
                raise UserError(f"the judge gave an answer ({position}, {number}) that it was not asked for")
            open_pairs.discard((position, number))
            yield chosen[position], number, answer
        if open_pairs:
            raise UserError(f"the judge left {len(open_pairs)} of {len(missing)} judgements without an answer")


class _AllBut:
    """All pairs but some."""

    def __init__(self, missing: frozenset[tuple[int, int]]):
        self._missing = missing

    def __contains__(self, pair: object) -> bool:
        return pair not in self._missing


def trajectory_key(row: Mapping[str, Any], show_answer: bool = False) -> str:
    """A digest of what a judge gets to see of a trajectory."""
    content = [
        row["problem"],
        row.get("choices") or None,
        row["completion"],
        row.get("answer") if show_answer else None,
    ]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:24]


def majority(judgements: Sequence[Judgement]) -> frozenset[str] | None:
    """The patterns that more than half of the valid judgements found; `None` if no judgement is valid."""
    valid = [judgement.found for judgement in judgements if judgement.found is not None]
    if not valid:
        return None
    votes = Counter(item.id for found in valid for item in found)
    return frozenset(pattern for pattern, count in votes.items() if 2 * count > len(valid))
