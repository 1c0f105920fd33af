"""What is judged at once, without computer algebra, and that the shortcuts to it lose nothing."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glow_trl.verifiers.equality.comparison import equal_texts
from glow_trl.verifiers.extraction.statements import _STATEMENT, _statements
from glow_trl.verifiers.kinds import math
from glow_trl.verifiers.kinds.kind import Options
from glow_trl.verifiers.kinds.wording import has_other_words, normalize_text
from glow_trl.verifiers.pool import judge_quickly
from glow_trl.verifiers.verdict import Verdict


CALM = settings(max_examples=300, deadline=None, derandomize=True)

AT_ONCE = [
    (r"(-\infty,0)\cup(0,\infty)", "7", False),
    (r"\sqrt{2}+1", r"(0,1)\cup[2,3)", False),
    (r"1, 2", r"(0,1)\cup(2,3)", False),
    (r"(1,2,3)", r"(0,1)\cup(2,3)", False),
    (r"[0,1]\cup\{1\}", "[0,1]", True),
    (r"(0,1)\cupdot[2,3)", r"(0,1)\cup[2,3)", True),
    (r"(0,1)\sqcup[2,3)", r"(0,1)\cup[2,3]", False),
    (r"(0,1)\cup(3,2)", r"(0,1)\cup(2,3)", False),
    (r"\frac{7}{0}", "7", False),
    (r"3+\frac{1}{2-2}", "3", False),
    (r"\begin{cases}3\\4\end{cases}", "3", False),
    (r"\text{}", "3", False),
    ("4 9", "13", False),
    (r"\tiny{4} 9", "13", False),
    (r"\frac{8}{2} 9", "13", False),
    ("[4] 9/1", "13", False),
    ("4 1/9", "37/9", True),
    (r"\frac{2014!}{2012!}", "4054182", True),
    (r"\binom{4025}{2012}", r"\binom{4025}{2013}", True),
    (r"\binom{4025}{2012}", r"\binom{4025}{2014}", False),
    (r"\binom{3}{2^{98}}", "0", True),
    (r"\frac{3}{2011!}", "0", False),
    ("(" * 40 + "3", "(1,3)", False),
    ("{" * 30 + "x'" + "}" * 30, "x+1", False),
    ("(" * 40 + "3", "(" * 40 + "3", True),
]


@pytest.mark.parametrize("prediction, gold, expected", AT_ONCE)
def test_what_is_no_number_and_no_answer_is_judged_in_this_process(prediction, gold, expected):
    verdict = judge_quickly(rf"\boxed{{{prediction}}}", gold, "math", Options())
    assert isinstance(verdict, Verdict) and verdict.correct is expected


def texts(*pieces: str):
    return st.lists(st.sampled_from(pieces), max_size=12).map("".join)


@CALM
@given(
    texts(
        "the ",
        "The answer",
        " is ",
        ": ",
        "\n",
        "A",
        ":",
        " A :",
        "**",
        "#### ",
        "ANS",
        " Ans: ",
        "Final",
        "=",
        "5",
        "x ",
    )
    | texts(
        "réponse ",
        "RÉPONSE",
        " est ",
        "答案",
        "是",
        "5 ",
        "\n\n",
        " ",
        "Solution:",
        "result =",
        "İ",
        "Ответ: ",
        "antwort ist ",
    )
)
def test_statements_are_found_where_the_whole_pattern_finds_them(text):
    spans = [match.span() for match in _STATEMENT.finditer(text)]
    assert [match.span() for match in _statements(text)] == spans


WORDS = (
    "the ",
    "a ",
    "and ",
    "twenty",
    "-",
    " one ",
    "third ",
    "percent ",
    "5",
    "don't ",
    "café ",
    "Paris ",
    "new york ",
)


@CALM
@given(texts(*WORDS, r"\textbf{", "}", "about ", "J. K. ", ", ", "(", ")"), texts(*WORDS))
def test_a_text_with_other_words_is_never_the_same(text, expected):
    for gold in (expected, text):
        if has_other_words(text, normalize_text(gold)):
            assert normalize_text(text) != normalize_text(gold)


def test_a_word_that_the_gold_answer_lacks_shows_that_a_text_is_another():
    text = "It is said of Paris, and of twenty-one towns, that the answer there is Lyon. " * 3
    assert has_other_words(text, "lyon")
    assert not has_other_words("the twenty one and third percent", "21 3rd %")


def test_only_a_short_text_is_compared_with_a_number_as_a_whole(monkeypatch):
    compared = []
    monkeypatch.setattr(math, "equal_texts", lambda one, other: compared.append(one) or equal_texts(one, other))
    prose = (
        "We count the hours first, of which there are two, and then the minutes that are left of the last one. " * 2
    )
    for text, gold in (("It takes 1 hour 30 minutes", "12"), (prose + "That makes 90.", "12"), (prose + "1.", "none")):
        math.judge(text, gold, Options())
    assert compared == ["30", "It takes 1 hour 30 minutes", "90", "1.", prose + "1."]
