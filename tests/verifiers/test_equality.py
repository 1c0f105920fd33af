"""Answers that are equal, and answers that are nearly so: both sides of the judge, with `math` and either as gold."""

import pytest

from glow_trl.verifiers import verify, verify_batch


EQUAL = [
    ("0.5", r"\frac12"),
    ("1/2", r"\frac{1}{2}"),
    (r"50\%", r"\frac12"),
    ("1,000", "1000"),
    ("1{,}000", "1000"),
    (r"1\,000", "1000"),
    ("1 000 000", "1000000"),
    (r"3\frac12", "3.5"),
    ("3 1/2", "7/2"),
    ("1e3", "1000"),
    (r"1 \times 10^{3}", "1000"),
    ("2,1", "1,2"),
    (r"\{2,1\}", r"\{1,2\}"),
    (r"\{1,2\}", "1,2"),
    ("x=1,x=2", "1,2"),
    (r"x=1\text{ or }x=2", "1,2"),
    (r"\pm 2", "2,-2"),
    ("(1, 2)", "(1,2)"),
    (r"\left(1,2\right)", "(1,2)"),
    (r"[0,\infty)", r"x\ge 0"),
    (r"x \geq 0", r"[0,\infty)"),
    (r"5\text{ cm}", "5"),
    ("5 cm", r"5\text{ cm}"),
    (r"\$5", "5"),
    ("5 dollars", r"\$5"),
    (r"90^\circ", "90"),
    ("90 degrees", r"90^\circ"),
    (r"2\sqrt{3}", r"\sqrt{12}"),
    (r"\frac{\sqrt{2}}{2}", r"\frac{1}{\sqrt{2}}"),
    ("x(x+1)", "x^2+x"),
    ("(x+1)(x-1)", "x^2-1"),
    (r"\frac{x^2-1}{x-1}", "x+1"),
    ("y=2x+1", "y = 1 + 2x"),
    ("2x+1", "y=2x+1"),
    ("2x+4y=6", "x+2y=3"),
    ("x=5", "5"),
    ("5", "x=5"),
    ("f(x)=x^2", "x^2"),
    (r"-\frac{1}{2}", r"\frac{-1}{2}"),
    (r"\frac{1}{-2}", "-0.5"),
    (r"\tfrac{3}{4}", "0.75"),
    (".75", "0.75"),
    ("+5", "5"),
    ("5.0", "5"),
    ("5.", "5"),
    ("05", "5"),
    ("1+2i", "2i+1"),
    (r"\begin{bmatrix}1&2\\3&4\end{bmatrix}", r"\begin{pmatrix}1&2\\3&4\end{pmatrix}"),
    (r"\sin^2 x+\cos^2 x", "1"),
    (r"e^{2\ln 3}", "9"),
    (r"\log_2 8", "3"),
    (r"\ln e", "1"),
    ("2^{10}", "1024"),
    ("5!", "120"),
    (r"\binom{5}{2}", "10"),
    (r"\sqrt[3]{8}", "2"),
    ("8^{1/3}", "2"),
    (r"0.\overline{3}", r"\frac13"),
    ("|{-5}|", "5"),
    ("3:4", r"\frac34"),
    (r"\text{Yes}", "yes"),
    ("(C)", "C"),
    (r"\text{(C)}", "C"),
    (r"\emptyset", r"\{\}"),
    (r"1 \text{ million}", "1000000"),
    ("2.5 million", "2500000"),
    (r"\frac{3\pi}{2}", r"1.5\pi"),
    ("a^2b", "ba^2"),
    (r"12\text{ square units}", "12"),
    ("12 square inches", "12"),
    ("x^{10}", r"x^5 \cdot x^5"),
    ("½", "0.5"),
    ("√2", r"\sqrt2"),
    ("2π", r"2\pi"),
    ("−5", "-5"),
    ("5²", "25"),
    ("x²", "x^2"),
    ("∞", r"\infty"),
    ("1/3", "0.333333"),
    ("3.14159265", r"\pi"),
    (r"\dfrac{9}{7}", "9/7"),
    (r"2 \cdot 3", "6"),
    ("2*3", "6"),
    (r"(-\infty,2)\cup(2,\infty)", r"x\neq 2"),
    (r"\mathbb{R}\setminus\{2\}", r"(-\infty,2)\cup(2,\infty)"),
    ("12:30", "12:30"),
    ("12:30 pm", "12:30"),
    ("10110_2", "10110"),
    (r"\frac{1}{2},\frac{1}{3}", r"\frac13, \frac12"),
    ("(1,2),(3,4)", "(3,4),(1,2)"),
    (r"\langle 1,2\rangle", "(1,2)"),
    (r"7\text{ and }8", "7,8"),
    ("7 and 8", "8,7"),
    (r"1,2,\text{ and }3", "1,2,3"),
    (r"x \in [1,2]", "[1,2]"),
    (r"1\le x\le 2", "[1,2]"),
    ("1 < x < 2", "(1,2)"),
    (r"k \neq 1", r"k\ne 1"),
    (r"\frac{a+b}{2}", r"\frac12(a+b)"),
    (r"\frac{1}{2}a+\frac12 b", r"\frac{a+b}{2}"),
    (r"4.5 \times 10^{-3}", "0.0045"),
    (r"25\%", "25"),
    ("25 percent", r"25\%"),
    ("$25", "25"),
    (r"6\text{ }\text{cm}", "6"),
    ("-3i", "-3i"),
    (r"9\pi\text{ cm}^2", r"9\pi"),
    (r"50^{\circ}", "50"),
    (r"\frac{25}{4}\text{ feet}", "6.25"),
    (r"24 \mathrm{~km} / \mathrm{h}", "24"),
    (r"7\,\mathrm{m}/\mathrm{s}^2", r"7 \text{ m/s}^2"),
]

DIFFERENT = [
    ("-5", "5"),
    ("50", "5"),
    ("0.5", "5"),
    ("5.1", "5"),
    ("(1,2)", "(2,1)"),
    ("[0,1]", "(0,1)"),
    ("[0,1)", "[0,1]"),
    (r"\{1,2\}", r"\{1,2,3\}"),
    ("1,2", "1,2,3"),
    (r"\frac{1}{2}", r"\frac{2}{1}"),
    ("x+1", "x-1"),
    ("x^2", "x^3"),
    (r"\sqrt{2}", r"\sqrt{3}"),
    (r"2\sqrt{3}", r"3\sqrt{2}"),
    (r"\pi", r"2\pi"),
    ("1:2", "2:1"),
    ("1000", "1,001"),
    (r"5\%", r"50\%"),
    ("x<5", "x>5"),
    (r"x\le 5", "x<5"),
    ("(1,234)", "1234"),
    ("1234", "(1,234)"),
    ("1,234", "1.234"),
    (r"3\frac12", r"\frac32"),
    ("3 1/2", "31/2"),
    ("0.33", "1/3"),
    ("0.333", "1/3"),
    ("3.14", r"\pi"),
    (r"15\text{ cm}", r"15\text{ cm}^2"),
    (r"5 \text{ m}", r"5\text{ km}"),
    ("x=5", "y=5"),
    ("2x=6", "6"),
    ("i", "1"),
    ("1+i", "1-i"),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix}2\\1\end{pmatrix}"),
    (r"\begin{pmatrix}1&2\end{pmatrix}", r"\begin{pmatrix}1\\2\end{pmatrix}"),
    ("10^5", "10^6"),
    ("1e5", "1e6"),
    ("2^{10}", "2^{11}"),
    (r"\infty", r"-\infty"),
    ("1 000", "1 001"),
    ("12", "1 2"),
    ("1/2/3", "3/2"),
    (r"(0,1)\cup(2,3)", r"(0,1)\cup(2,3]"),
    ("y=2x+1", "y=2x-1"),
    ("x^2+y^2=4", "x^2+y^2=2"),
    ("a", "b"),
    (r"\text{Monday}", r"\text{Sunday}"),
    ("1.0001", "1"),
    ("0.0000001", "0.0000002"),
    ("10000000", "10000001"),
    ("123456789012345678901", "123456789012345678902"),
    ("4/6", "2/4"),
]

# What is not decided by mathematics: see docs/verifiers.md.
ACCEPTED_FROM_MODELS_ONLY = [
    ("3,5", "3.5"),
    ("2 \\text{ or } 2", "2"),
    ("x + y = 12", "12"),
]


@pytest.mark.parametrize("first, second", EQUAL)
def test_equal_forms_are_accepted(first, second):
    answers = [rf"\boxed{{{first}}}", rf"\boxed{{{second}}}", first, rf"So the answer is $${first}$$"]
    golds = [second, first, second, second]
    assert [verdict.correct for verdict in verify_batch(answers, golds)] == [True] * 4


@pytest.mark.parametrize("first, second", DIFFERENT)
def test_near_misses_are_rejected(first, second):
    answers = [rf"\boxed{{{first}}}", rf"\boxed{{{second}}}", first, f"The answer is ${first}$."]
    golds = [second, first, second, second]
    assert [verdict.correct for verdict in verify_batch(answers, golds)] == [False] * 4


@pytest.mark.parametrize("prediction, gold", ACCEPTED_FROM_MODELS_ONLY)
def test_generous_readings_hold_for_predictions_only(prediction, gold):
    assert verify(rf"\boxed{{{prediction}}}", gold).correct is True
    assert verify(rf"\boxed{{{gold}}}", prediction).correct is (prediction == "2 \\text{ or } 2")


def test_equations_over_complex_numbers_are_compared():
    gold = r"x^2=-2\sqrt{a}"
    for factors, right in ((r"(x-i\sqrt{2\sqrt a})(x+i\sqrt{2\sqrt a})", True), (r"(x-i\sqrt a)(x+i\sqrt a)", False)):
        assert verify(rf"\boxed{{{factors}=0}}", gold).correct is right
