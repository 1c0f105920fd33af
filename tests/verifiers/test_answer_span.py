"""Where the final answer of a completion stands: the answer that a verdict reports, in the completion as it is."""

import json
import random
import re

import pytest

from glow_trl.errors import UserError
from glow_trl.verifiers import KINDS, answer_span, register_kind
from glow_trl.verifiers.extraction.piece import Piece
from glow_trl.verifiers.kinds.kind import Options, Undecided
from glow_trl.verifiers.pool import judge_quickly
from helpers.hostile import hostile


@pytest.mark.parametrize(
    "marked",
    [
        r"So x = \boxed{<|\frac{1}{2}|>}.",
        r"\boxed{\text{The answer is } <|12|>}",
        r"\boxed{3} is wrong. \boxed{ <|4|> }",
        r"We get $\boxed{<|1}$ and $\boxed{2|>}$.",
        r"First \boxed{7}, I mean \boxed <|8|>.",
        "The answer is 4 of 5.\n\nThe answer is <|42|>.",
        "So the answer is **<|42|>**.",
        "The answer is <|$42$ dollars|>.",
        "#### <|1,234|>",
        "7 of the 17 are left, so she has <|7|>.",
        "He has 17 + 7 = <|24|> apples.",
        "It is **5**.\n\nIn the end **<|6|>** remain.",
        "The answer is <|negative 5|>.",
        "The answer is <|3 and 5|>.",
        "<|42|>",
        "  <|42|>\n",
        "= <|42|>",
        "<|3\n4\n5|>",
        "The answer is 9.<think>No: \\boxed{1}</think>\n\nIt is <|2|>.",
        "<|im_start|>assistant\nThe answer is <|7|>.<|im_end|>\nThe answer is 8.",
        "The answer is 1. <answer> <|2|> </answer> So 3.",
        "~~The answer is 5.~~ The answer is <|6|>. ~~The answer is 5.~~",
        "```text\nThe answer is <|6|>.\n```",
        '{"reasoning": "12 or 13", "answer": "<|13|>"}',
        '{"answer": <|[1, 2]|>}',
        '{"answer": "<|\\\\frac{1}{2}|>"}',
        "a" * 5000 + "     \n\n\n\n  the    answer      is   <|12|>.",
        "答案是 <|42|>。",
        "Die Antwort lautet <|½|>.",
    ],
)
def test_math(marked):
    """The number of the answer itself, whatever the extraction cuts, leaves out or rewrites before it is found."""
    check(marked, "math")


@pytest.mark.parametrize(
    "marked, choices",
    [
        ("The answer is (<|B|>).", None),
        ("The answer is (<|B|>) because A is too small.", None),
        ("The answer is (<|B|>) Rome.", None),
        ("The answer is (<|B) rome|>.", ["Paris", "Rome"]),
        ("The answer is <|Rome|>.", ["Paris", "Rome"]),
        ("<|B|>", None),
        ("The answer is (<|A) or (C|>).", None),
        (r"\boxed{\text{<|C|>}}", None),
        ("Thus I choose <|Ｃ|>", None),
        ("正确答案\u200b是 <|Ｂ|>", None),
        ("Not A. Hence (<|D|>) is the correct answer, whatever one says of it. " + "It fits well. " * 20, None),
    ],
)
def test_choice(marked, choices):
    """The letter, with the text of its option where that is known; forms of letters are found where they stand."""
    check(marked, "choice", choices)


@pytest.mark.parametrize(
    "marked",
    ["So the answer is **<|Marie Curie|>**.", "Long ago.\n\n<|Marie Curie|>", r"\boxed{<|no|>}", "<|yes|>"],
)
def test_text(marked):
    check(marked, "text")


@pytest.mark.parametrize("marked", ["The answer is <|12.5|>%.", "So 3 x 4 = <|12|>"])
def test_number(marked):
    check(marked.replace("|>%", "%|>"), "number")


def check(marked, kind, choices=None):
    text, start = marked, marked.rindex("<|", 0, marked.rindex("|>"))
    if "<|im_" in marked:
        start = marked.index("<|7")
    text = marked[:start] + marked[start + 2 :]
    end = text.index("|>", start)
    text = text[:end] + text[end + 2 :]
    assert answer_span(text, kind, choices=choices) == (start, end)


@pytest.mark.parametrize(
    "text, kind",
    [
        ("", "math"),
        ("<think>The answer is 42.", "math"),
        (r"So \boxed{}", "math"),
        ("I am sorry, this has no solution that one could find.", "math"),
        ("I cannot say.", "number"),
        ("None of them fits.", "choice"),
    ],
)
def test_no_answer(text, kind):
    assert answer_span(text, kind) is None


def test_words_are_a_mathematical_answer_where_one_is_wanted():
    assert answer_span("isosceles triangle", "math", gold=r"\text{scalene triangle}") == (0, 18)
    assert answer_span("isosceles triangle", "math", gold="5") is None


def test_only_a_box_counts_with_require_boxed():
    assert answer_span("The answer is 42.", require_boxed=True) is None


def test_kinds_of_ones_own_do_not_tell(monkeypatch):
    monkeypatch.setattr(KINDS, "_judges", dict(KINDS._judges))
    register_kind("own", lambda prediction, gold, options: prediction == gold)
    assert answer_span("The answer is 42.", "own") is None


def test_unknown_kind():
    with pytest.raises(UserError, match="unknown kind of verifier 'mth'; did you mean math"):
        answer_span("42", "mth")


NAMES = {"traj_bbh_davinci002": "text", "traj_mmlupro_4models": "choice"}


@pytest.mark.parametrize("kind", ["math", "number", "choice", "text"])
def test_it_is_what_the_verdict_reports(shared_data, kind):
    """
    On real trajectories and on attacks, for every kind: there is a span where there is an answer, and what stands
    there is what was extracted, but for what a list of answers has between them.
    """
    rows = []
    for path in sorted([*shared_data.glob("traj_*.jsonl"), *shared_data.glob("verifier_*.jsonl")]):
        found = [json.loads(line) for line in path.open(encoding="utf-8")]
        rows += [(row.get("completion", row.get("prediction")), row.get("gold") or "1") for row in found[::11]]
    compared = other = 0
    for completion, gold in rows:
        if completion is None:
            continue
        verdict = judge_quickly(completion, gold, kind, Options())
        verdict = verdict.verdict if isinstance(verdict, Undecided) else verdict
        if verdict.correct is not False:  # what is right may be read in another way once it is known what was wanted
            continue
        span = answer_span(completion, kind, gold)
        if not (verdict.extracted or "").strip() or verdict.reason == "no_answer":
            assert span is None, (completion, verdict)
            continue
        assert span is not None, (completion, verdict)
        compared += 1
        said = completion[slice(*span)]
        if kind == "choice":
            assert set(re.findall("[A-Z]", said.upper())) & set(verdict.extracted), (said, verdict)
        elif said != verdict.extracted:
            other += 1
            parts = verdict.extracted.removeprefix("-").split(", ")
            assert all(part.strip() in said for part in parts) or plain(said) == plain(verdict.extracted), (
                said,
                verdict,
            )
    assert compared > 50
    assert other <= compared / 50


def plain(text):
    return re.sub(r"\W", "", text)


def test_hostile_texts():
    """Nothing breaks, and what is found lies within the text."""
    for text, _ in hostile(60, seed=5):
        for kind in ("math", "number", "choice", "text"):
            span = answer_span(text, kind)
            assert span is None or 0 <= span[0] < span[1] <= len(text)


def test_pieces_know_where_they_come_from():
    """
    After any cuts and replacements: a character that was left as it is comes from one that equals it, and one of a
    replacement from all that was replaced.
    """
    rng = random.Random(0)
    patterns = [(re.compile("b+"), "<>"), (re.compile("[cd]{2}"), ""), (re.compile(r"\s+"), lambda match: " ")]
    for _ in range(300):
        text = "".join(rng.choice("abcd  ") for _ in range(rng.randint(0, 30)))
        piece = Piece(text)
        for _ in range(rng.randint(1, 4)):
            step = rng.randrange(3)
            if step == 0:
                piece = piece[rng.randint(0, 4) : rng.randint(5, 40)]
            elif step == 1:
                piece = piece.strip()
            else:
                piece = piece.sub(*rng.choice(patterns))
        for index, character in enumerate(piece.text):
            start, end = piece.origin(index, index + 1)
            replaced = text[start:end]
            if character in "<>":
                assert set(replaced) == {"b"}
            elif character == " ":
                assert replaced.isspace()
            else:
                assert replaced == character
        starts = [piece.origin(index, index + 1)[0] for index in range(len(piece.text))]
        assert starts == sorted(starts)
