"""Second opinions on final answers: plain math-verify, and a language model."""

import dataclasses
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from ...data.append_log import AppendLog
from ...generation import EngineConfig
from ...verifiers.extraction.boxes import final_part, last_boxes
from ...verifiers.workers.supervisor import Workers


_CHUNK = 64
_TAIL = 2000
_SECONDS = 5.0
_REMEMBERED = 8192
_READ: dict[tuple, tuple[Any, str]] = {}
_WORD = re.compile(r"[a-z]+")
_PROMPT = """\
Below are a question, its right answer, and the end of a student's solution. Is the student's final answer the same as
the right answer? Judge the final answer alone; another way to write the same value is the same, and an answer that
only repeats the question is not.

Question:
{problem}

Right answer: {answer}

End of the student's solution:
{completion}

Say only "yes" or "no"."""


def final_text(completion: str) -> str:
    """What math-verify is given of a completion: its last box, or else its end."""
    text, _ = final_part(completion)
    boxes = last_boxes(text)
    return rf"$\boxed{{{boxes[-1].content}}}$" if boxes else text[-_TAIL:]


def math_verify_all(pairs: Iterable[tuple[str, str]], workers: int) -> dict[tuple[str, str], bool | None]:
    """
    What math-verify says about pairs of a text (see [`final_text`]) and a gold answer, each judged once, in processes
    that can be killed: `None` where it breaks or takes longer than 5 seconds.
    """
    asked = list(dict.fromkeys(pairs))
    verdicts: dict[tuple[str, str], bool | None] = {}
    pool = Workers(f"{__name__}:{judge_pairs.__name__}", workers)
    try:
        chunks = [asked[start : start + _CHUNK] for start in range(0, len(asked), _CHUNK)]
        alone = []
        for chunk, outcome in zip(chunks, pool.run([(chunk,) for chunk in chunks], 2 * _SECONDS), strict=True):
            if outcome.failure:
                alone += chunk
            else:
                verdicts |= zip(chunk, outcome.result, strict=True)
        for pair, outcome in zip(alone, pool.run([([pair],) for pair in alone], _SECONDS), strict=True):
            verdicts[pair] = None if outcome.failure else outcome.result[0]
    finally:
        pool.close()
    return verdicts


def judge_pairs(pairs: Sequence[tuple[str, str]]) -> list[bool | None]:
    """math-verify's own loop, without its time limit (of signals), in a worker process."""
    import logging

    import math_verify
    from math_verify import parser

    logging.getLogger("math_verify").setLevel(logging.CRITICAL)
    verdicts: list[bool | None] = []
    # What it finds in many texts is the same few answers, each of which it would read and compare anew
    read, parser.extract_match = parser.extract_match, _read_once(parser.extract_match)
    try:
        for text, gold in pairs:
            try:
                verdicts.append(_equal(_gold(gold), tuple(math_verify.parse(text, parsing_timeout=None))))
            # What it raises on malformed input is anything that sympy does
            except Exception:
                verdicts.append(None)
    finally:
        parser.extract_match = read
    return verdicts


def _read_once(extract_match: Callable) -> Callable:
    """math-verify's reading of what its patterns match, remembered."""

    def extract(match: re.Match, target: Any) -> tuple[Any, str]:
        key = match.re, match.groups(), target
        if key not in _READ:
            if len(_READ) >= _REMEMBERED:
                _READ.clear()
            _READ[key] = extract_match(match, target)
        return _READ[key]

    return extract


@lru_cache(_REMEMBERED)
def _gold(gold: str) -> tuple:
    import math_verify

    return tuple(math_verify.parse(gold if "boxed" in gold else rf"$\boxed{{{gold}}}$", parsing_timeout=None))


def _equal(gold: tuple, found: tuple) -> bool:
    try:
        return _compare(gold, found)
    except TypeError:  # matrices that can be changed cannot be remembered
        return _compare.__wrapped__(gold, found)


@lru_cache(_REMEMBERED)
def _compare(gold: tuple, found: tuple) -> bool:
    import math_verify

    return bool(math_verify.verify(list(gold), list(found), timeout_seconds=None))


def ask_model(config: EngineConfig, rows: Sequence[dict[str, Any]], folder: Path) -> tuple[list[bool | None], int]:
    """
    What a model says about each row, `None` where it says neither yes nor no; and how many had to be asked. Answers
    are kept in `folder` as they come, by the model, its sampling and the row.
    """
    from ...generation.prompts import render_conversation

    identity = {**config.model_identity(), "sampling": config.sampling.identity, "prompt": _PROMPT}
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True, default=str).encode()).hexdigest()[:16]
    texts = [
        _PROMPT.replace("{problem}", row["problem"] or "(not known)")
        .replace("{answer}", str(row["answer"]))
        .replace("{completion}", row["completion"][-_TAIL:])
        for row in rows
    ]
    keys = [hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:24] for text in texts]
    questions = dict(zip(keys, texts, strict=True))
    asked = 0
    with AppendLog(folder / f"answers-{digest}.jsonl") as log:
        said = {row["key"]: row["text"] for _, row in log.rows()}
        done = {(index, 0) for index, key in enumerate(questions) if key in said}
        if len(done) < len(questions):
            tokenizer = None if config.is_remote else config.load_tokenizer()
            engine = config.create_engine()
            try:
                messages = [[{"role": "user", "content": text}] for text in questions.values()]
                prompts = messages if tokenizer is None else [render_conversation(m, tokenizer, {}) for m in messages]
                sampling = dataclasses.replace(config.sampling, num_samples=1)
                names = list(questions)
                refused: dict[int, str] = {}
                for index, _, generation in engine.stream_samples(prompts, sampling, done, refused.__setitem__):
                    key = names[index]
                    log.append({"key": key, "text": generation.text})
                    said[key] = generation.text
                    asked += 1
            finally:
                engine.close()
    return [_yes_or_no(said.get(key, "")) for key in keys], asked


def _yes_or_no(text: str) -> bool | None:
    """What is said at once, or else in the end: "Yes, there is no difference", but "There is no difference: yes"."""
    words = _WORD.findall(final_part(text)[0].lower())
    said = [word for word in words if word in ("yes", "no")]
    return None if not said else (said[0] if words[0] == said[0] else said[-1]) == "yes"
