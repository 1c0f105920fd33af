"""From rows as their publishers shaped them to questions with `problem`, `answer` and, if they have any, `choices`."""

import random
import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..data.columns import check_pattern, cut
from ..errors import UserError
from ..stages.config import nearest


FORMAT_KEYS = ("columns", "patterns", "choice_pattern", "choice_columns", "choice_text", "choice_id")

_BRACKETED = re.compile(r"\s*\(([A-Z])\)\s*")


@dataclass(frozen=True)
class RowFormat:
    """How rows are shaped; the arguments are those of [`BenchmarkConfig`] with the same names."""

    columns: Mapping[str, str | Sequence[str]] = field(default_factory=dict)
    patterns: Mapping[str, str] = field(default_factory=dict)
    choice_pattern: str | None = None
    choice_columns: Sequence[str] | None = None
    choice_text: str | None = None
    choice_id: str | None = None

    @property
    def needed(self) -> set[str]:
        """Columns that a row must have."""
        renamed = {name for names in self.columns.values() for name in _as_list(names)}
        standard = {"problem", *([] if self.choice_columns else ["answer"])} - set(self.columns)
        return renamed | standard | set(self.choice_columns or ())

    def fits(self, row: Mapping[str, Any]) -> bool:
        """Whether a row has all the columns."""
        return self.needed <= row.keys()

    def convert(self, row: Mapping[str, Any], where: str) -> dict[str, Any]:
        """The question in a row; it is an error if a column is missing, a pattern does not match, or the options are
        malformed."""
        missing = sorted(self.needed - row.keys())
        if missing:
            raise UserError(f"{where}: no column {missing[0]!r}{nearest(missing[0], set(row))}; correct `columns`")
        used = {name for names in self.columns.values() for name in _as_list(names)} | set(self.choice_columns or ())
        question = {key: value for key, value in row.items() if key not in used}
        for wanted, names in self.columns.items():
            question[wanted] = row[names] if isinstance(names, str) else " ".join(_text(row[name]) for name in names)
        if self.choice_columns:
            question["choices"] = [row[name] for name in self.choice_columns]
            question.setdefault("answer", "A")
        answer = question.get("answer")
        if isinstance(answer, list):
            answer = ", ".join(map(_text, answer))
        for name, pattern in self.patterns.items():
            value = answer if name == "answer" else question.get(name)
            if not isinstance(value, str):
                raise UserError(f"{where}: patterns: column {name!r} is not a text")
            part = cut(value, pattern)
            if part is None:
                raise UserError(f"{where}: the pattern {pattern!r} matches nothing in {name!r}: {value[-60:]!r}")
            if name == "answer":
                answer = part
            else:
                question[name] = part
        if self.choice_pattern is not None and isinstance(question["problem"], str):
            found = list(re.finditer(self.choice_pattern, question["problem"]))
            if len(found) > 1:
                question["choices"] = [match.group(1) for match in found]
                question["problem"] = question["problem"][: found[0].start()].rstrip()
        if question.get("choices") is None:
            question.pop("choices", None)
        else:
            question["choices"], answer = self._options(question["choices"], answer, where)
        question["answer"] = str(answer) if isinstance(answer, int | float) else answer
        return question

    def _options(self, choices: Any, answer: Any, where: str) -> tuple[list[str], Any]:
        """Texts of the options, and the letter of the right one."""
        items = _objects(choices) if self.choice_text is not None else choices
        if not isinstance(items, list) or len(items) < 2 or len(items) > len(string.ascii_uppercase):
            raise UserError(f"{where}: choices must be a list of 2 to 26 options, found {str(choices)[:60]!r}")
        if self.choice_text is not None:
            try:
                texts = [item[self.choice_text] for item in items]
                names = None if self.choice_id is None else [_text(item[self.choice_id]) for item in items]
            except (KeyError, TypeError) as error:
                raise UserError(
                    f"{where}: choices: an option lacks {error}; correct choice_text, choice_id"
                ) from error
            if names is not None:
                if names.count(_text(answer)) != 1:
                    raise UserError(f"{where}: the answer {answer!r} is not one of the options {', '.join(names)}")
                answer = string.ascii_uppercase[names.index(_text(answer))]
        else:
            texts = items
        if type(answer) is int and 0 <= answer < len(texts):
            answer = string.ascii_uppercase[answer]
        elif isinstance(answer, str) and (letter := _BRACKETED.fullmatch(answer)):
            answer = letter.group(1)
        return [_text(text) for text in texts], answer


def check_format(values: Mapping[str, Any], where: str) -> None:
    """Check the types of a format's values, and that its patterns are regular expressions."""
    columns = values.get("columns") or {}
    if not isinstance(columns, Mapping) or not all(
        isinstance(name, str) or isinstance(name, list) and name and all(isinstance(part, str) for part in name)
        for name in columns.values()
    ):
        raise UserError(f"{where}: columns must be a mapping such as {{answer: gold}}")
    names = values.get("choice_columns")
    if names is not None and not (
        isinstance(names, list) and len(names) > 1 and all(isinstance(name, str) for name in names)
    ):
        raise UserError(f"{where}: choice_columns must be a list of at least two columns, found {names!r}")
    for key in ("choice_text", "choice_id"):
        if values.get(key) is not None and not isinstance(values[key], str):
            raise UserError(f"{where}: {key} must be a text, found {values[key]!r}")
    patterns = values.get("patterns") or {}
    if not isinstance(patterns, Mapping):
        raise UserError(f"{where}: patterns must be a mapping such as {{answer: '#### (.+)'}}")
    if values.get("choice_pattern") is not None:
        if check_pattern(values["choice_pattern"], f"{where}: choice_pattern").groups != 1:
            raise UserError(f"{where}: choice_pattern must have one group, the option's text")
    for name, pattern in patterns.items():
        check_pattern(pattern, f"{where}: patterns: {name}")


def shuffled(question: Mapping[str, Any], seed: int, where: str) -> dict[str, Any]:
    """The question with its options in an order that follows from the seed and its text."""
    choices = question["choices"]
    letter = str(question["answer"]).strip()
    if len(letter) != 1 or letter not in string.ascii_uppercase[: len(choices)]:
        raise UserError(f"{where}: shuffle_choices needs the letter of an option as the answer, found {letter!r}")
    order = list(range(len(choices)))
    random.Random(f"{seed}/{question['problem']}").shuffle(order)
    answer = order.index(string.ascii_uppercase.index(letter))
    return {**question, "choices": [choices[index] for index in order], "answer": string.ascii_uppercase[answer]}


def _objects(choices: Any) -> Any:
    """A list of objects; `datasets` may give an object of lists instead."""
    if isinstance(choices, Mapping) and all(isinstance(values, list) for values in choices.values()):
        return [dict(zip(choices, values, strict=False)) for values in zip(*choices.values(), strict=False)]
    return choices


def _as_list(names: str | Sequence[str]) -> Sequence[str]:
    return [names] if isinstance(names, str) else names


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()
