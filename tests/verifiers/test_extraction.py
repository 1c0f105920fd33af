"""Closings that must be read, and hedges that must not win."""

import pytest

from glow_trl.verifiers import verify
from glow_trl.verifiers.extraction.boxes import ending
from glow_trl.verifiers.extraction.final_answer import extract_math


CHOICES = ["London", "Paris", "Rome", "Berlin"]


@pytest.mark.parametrize(
    "completion",
    [
        *(
            "The answer is 42",
            "The answer is: 42.",
            "#### 42",
            "A: 42",
            "**42**",
            "So we get 42.",
            "Final Answer: 42",
            "42.",
        ),
        *(
            "Final answer: $42$",
            "The final answer is $\\boxed{42}$.",
            "Answer: **42**",
            "**Answer:** 42",
            "42\n",
            "= 42",
        ),
        *("**Final Answer**\n\n42", "### Final Answer\n42", "Therefore, x = 42", "Hence there are 42 ways.", "$42$"),
        *("Therefore, the result is **42** apples.", "\\[42\\]", "\\(42\\)", "The answer is $\\$42$.", "answer=42"),
        *("The answer is \\$42.00", "So the total is 40 + 2 = 42.", "It costs $42.", "That is 42 dollars"),
        *(
            "The answer is:\n\n42",
            "The answer is:\n\\[\n42\n\\]",
            "So the answer is\n\n$$42$$",
            "The correct answer is 42.",
        ),
        *("So, the answer should be 42", "Thus the value of x is 42", "<answer>42</answer>", "ANSWER: 42", "Ans: 42"),
        *(
            "<think>hmm 41</think>The answer is 42",
            "<think>a</think>\n\n**42**",
            "Answer: 42 (forty-two)",
            "Result: 42",
        ),
        *(
            "The answer is 42 because 40+2=42",
            "The answer is 42, since 2 * 21 = 42.",
            "so 42 it is",
            "The solution is 42",
        ),
        *("\\boxed{42}", "\\boxed{42\\text{ apples}}", "\\boxed{x=42}", "\\boxed{\\text{42}}", "\\boxed{\\boxed{42}}"),
        *(
            "$\\boxed{42}$ units",
            "\\boxed {42}",
            "\\boxed{ 42 }",
            "\\fbox{42}",
            "Thus, $\\text{Total} = 42$.",
            "\\boxed 42",
        ),
        *("The number of ways is \\(42\\).", "The answer is $42$ for $n = 3$.", "Hence, $x=42$ is the answer."),
        *(
            "La réponse est 42.",
            "答案是42。",
            "因此一共有42颗糖果。",
            "The answer is 42. I hope it is correct.",
            "42 it is, not 41",
        ),
        *("The answer is 42.<|im_end|>\n<|im_start|>user\nWhat is 1+1?", "The answer is 42, not 41."),
        r"First I got \boxed{5}. Wait, that is a mistake, since 21 + 21 = 42. So the answer is \boxed{42}.",
        r"The length is $\boxed{42.0}$, that is \boxed{42}.",
    ],
)
def test_closing_is_read(completion):
    verdict = verify(completion, "42")
    assert verdict.correct is True, verdict


@pytest.mark.parametrize(
    "completion, gold",
    [
        *(
            ("Answer: 5. Alternatively, 7.", "5"),
            ("**5**\n**7**", "7"),
            ("1. 5\n2. 7", "7"),
            ("Perhaps 5. Perhaps 7.", "7"),
            ("Answer: 5\nor 7", "5"),
        ),
        *((r"\boxed{5 \text{ (or maybe 7)}}", "5"), (r"\boxed{5}, or rather 7", "5"), ("I'd say 5. If not, 7.", "7")),
        (r"The answer is \boxed{5} or \boxed{7}", "5"),
        (r"The answer is \boxed{5} or \boxed{7}", "7"),
        (r"\boxed{5} \boxed{7}", "7"),
        (r"\boxed{5}\boxed{7}", "5"),
        ("The answer is 5. The answer is 7.", "5"),
        ("The answer is 5. The answer is 7.", "7"),
        ("The answer is 5 or 7", "5"),
        ("The answer is 5 or 7", "7"),
        ("The answer is either 5 or 6", "6"),
        ("The answer is one of 3, 5, 7", "5"),
        ("The answer could be 5, 6 or 7.", "5"),
        ("The answer is 5, 6, or 7.", "7"),
        ("The answer is 5 or maybe 6", "5"),
        ("Answer: 5\nAnswer: 6", "6"),
        ("Possible answers: 1, 2, 3, 4, 5", "5"),
        ("Maybe 5, maybe 6, maybe 7", "7"),
        ("5 or 6", "6"),
        ("5, 6, 7", "7"),
        ("It is 5 or 6.", "6"),
        ("I think it's 5, but it could also be 6.", "6"),
        (r"\boxed{3, 5, 7}", "5"),
        (r"\boxed{5 \text{ or } 7}", "7"),
        (r"My first guess is \boxed{4}. My second guess is \boxed{5}. My third guess is \boxed{6}.", "6"),
        (r"The answer is \boxed{5}. Alternatively, the answer is \boxed{7}.", "7"),
        ("The answer is 7, not 5", "5"),
        ("The answer is not 5", "5"),
        (r"The answer is \boxed{7}, not 5.", "5"),
        ("The answer is 7 (not 5)", "5"),
        ("It is not 5.", "5"),
        ("<think>The answer is \\boxed{5}</think> I don't know", "5"),
        ("<think>The answer is \\boxed{5}</think>", "5"),
        ("<think>The answer is \\boxed{5}", "5"),
        ("It cannot be determined; the formula is $5$", "5"),
        ("The remainder is between 19 and 35.", "35"),
        (r"The answer is \boxed{}.", "5"),
    ],
)
def test_hedge_does_not_win(completion, gold):
    verdict = verify(completion, gold)
    assert verdict.correct is False, verdict


@pytest.mark.parametrize(
    "completion",
    [
        r"My first attempt gave \boxed{17}. The correct answer is \boxed{42}.",
        r"Initially I had \boxed{17}, but the final result is \boxed{42}.",
        r"It would be wrong to say \boxed{17}; it is \boxed{42}.",
        r"One is tempted to answer \boxed{17}, but the answer is 42.",
        r"It is not $\boxed{17}$ but $\boxed{42}$.",
        r"$\boxed{17}$ was a mistake. $\boxed{42}$",
        r"\boxed{42} instead of \boxed{17}",
        r"不是\boxed{17}，而是\boxed{42}",
        "The answer is 17? No, that is wrong. The answer is 42.",
        "Answer: 17 is incorrect. Answer: 42",
        "Incorrect answer: 17. Correct answer: 42",
    ],
)
def test_what_is_taken_back_does_not_count(completion):
    """A box or statement that the words around it take back leaves the place to the others."""
    assert verify(completion, "42").correct is True
    assert verify(completion, "17").correct is False


@pytest.mark.parametrize(
    "completion",
    [
        r"Surely not \boxed{42}.",
        r"It would be natural to guess \boxed{42}, but the answer is 7.",
        r"\boxed{42} turns out to be wrong.",
        r"\boxed{42}? That is incorrect.",
        r"\boxed{42} is not the right answer",
        r"\boxed{42} (wrong)",
        r"\boxed{42\text{ is wrong}}",
        r"\boxed{42\text{ or 43}}",
        "答案是42或43",
        r"$\boxed{42}$不对",
        r"\boxed{7} rather than \boxed{42}",
        "The answer is 42. That was wrong.",
        "42 is incorrect",
        '{"answer": 7, "answer": 42}',
        '{"answer": 7}\n{"answer": 42}',
        *(r"We discard \boxed{42}.", r"anything but \boxed{42}", r"Never write \boxed{42}", r"~~\boxed{42}~~ 7"),
        *(r"\boxed{42} does not satisfy the equation", r"\boxed{42}, which we reject.", r"\boxed{42} isn't it."),
        *(r"Ce n'est pas \boxed{42}", r"Es ist nicht \boxed{42}", r"No es \boxed{42}", r"\boxed{42} is extraneous."),
        r"\boxed{42} was just my first guess, I now have 7",
        *(
            r"\boxed{42} was a miscalculation.",
            r"\boxed{42} would be too small",
            r"\boxed{42} cannot hold.",
            r"Replace \boxed{42} by 7.",
            r"\boxed{42} is not acceptable",
        ),
        *(r"\boxed{42} should have been 7.", r"\boxed{42}. Could also be 7.", r"\boxed{42}. Sorry, I meant 7."),
        *(
            r"\boxed{42}. Ignore that.",
            r"Ignore \boxed{42}.",
            r"\boxed{42}. I take that back.",
            r"\boxed{42} violates the rules",
        ),
        *(
            r"\boxed{42}, hmm, that can't be right.",
            r"\boxed{42} must be ruled out",
            r"A flawed method gives \boxed{42}.",
        ),
        *(r"\boxed{42}, but no.", r"\boxed{42} doesn't add up", r"x ≠ \boxed{42}", r"答案不可能是\boxed{42}"),
        *(
            r"\boxed{42} seems fine at first but is wrong.",
            r"\boxed{42}: incorrect",
            r"\boxed{42} ✗",
            r"\boxed{42} ist falsch.",
        ),
        *(
            r"It is false that the answer is \boxed{42}.",
            r"答案并非\boxed{42}",
            r"\boxed{42} would be right if 7 were even.",
        ),
        *(
            "42是错误的",
            "<answer>42</answer> or <answer>7</answer>",
            '[{"answer": 7}, {"answer": 42}]',
            "- 7\n- 42",
        ),
    ],
)
@pytest.mark.parametrize("kind", ["math", "text"])
def test_what_is_taken_back_does_not_win(completion, kind):
    assert verify(completion, "42", kind).correct is False


@pytest.mark.parametrize(
    "completion",
    [
        r"\boxed{42}. It is wrong to stop at 7.",
        r"\boxed{42} is correct",
        r"\boxed{42} is not wrong",
        r"\boxed{42} is right, and 41 is wrong",
        *(r"\boxed{42}. No 7 here.", r"\boxed{42}, not 7", r"\boxed{42}, but 7 is prime too, as is 2."),
        *(
            r"We discard 7 and keep \boxed{42}.",
            r"\boxed{42}. Actually, 42.0 exactly.",
            r"\boxed{42} is the answer. Answer: 42",
        ),
        *(
            r"\boxed{42}, which is the final answer; everything else is wrong.",
            *(
                r"\boxed{42} → done",
                r"\boxed{42}. Or 42.0.",
                r"\boxed{42}, as 7 is wrong",
                "The answer is 42, so 7 is wrong.",
            ),
            "The answer is 42 to 1 decimal place.",
            *(
                r"7 violates the rules, so \boxed{42}.",
                r"\boxed{42} fits, while 7 does not.",
                r"Ignoring 7, \boxed{42}",
            ),
            *(r"\boxed{42}. Check: 6 * 7 = 42", r"I made no mistake: \boxed{42}", r"\boxed{42}. Don't take 7."),
            r"Many students get 7. It is \boxed{42}.",
            "The answer is 42, not 7.",
            "The answer is 42. No other number works.",
        ),
        "\\boxed{42}\n\nProblem 2. What is 3 + 4? The answer is 7.",
    ],
)
def test_what_is_not_taken_back_counts(completion):
    assert verify(completion, "42").correct is True


@pytest.mark.parametrize(
    "cue",
    [
        "Update: 7",
        "My bad, it's 7.",
        "No, 7.",
        "No wait, it is 7.",
        "Correction: 7",
        "Actually, it's 7.",
        "Scratch that: 7",
    ],
)
@pytest.mark.parametrize("said", [r"\boxed{42}. ", "The answer is 42. ", "Answer: 42? "])
def test_what_another_answer_takes_the_place_of_does_not_win(said, cue):
    """A second answer behind a box or statement, in its paragraph, is a hedge; the same one again is not."""
    assert verify(said + cue, "42").correct is False
    assert verify(said + cue.replace("7", "42"), "42").correct is True


@pytest.mark.parametrize(
    "completion",
    [
        '{"answer": "42"}',
        '{"steps": [{"value": 7}], "final_answer": 42}',
        'Here it is.\n```json\n{"why": "6 { 7", "answer": 42}\n```',
        r'{"answer": "\boxed{42}"}',
        r'{"answer": "\frac{84}{2}"}',
        r'{"answer": "\\frac{84}{2}"}',
        "```\n42\n```",
        "The answer is:\n```text\n42\n```",
        r"\boxed{\text{The answer is } 42}",
        r"\boxed{\text{So the final answer is: 42}}",
        r"The answer is $\frac{84}{2}$, i.e. 42.",
    ],
)
def test_formats_for_machines_are_read(completion):
    """Fenced and JSON answers, and statements in boxes."""
    assert verify(completion, "42").correct is True
    assert verify(completion, "84").correct is False


@pytest.mark.parametrize(
    "said",
    [
        *(
            "half of 42",
            "twice 42",
            "two thirds of 42",
            "the square root of 42",
            "the reciprocal of 42",
            "negative 42",
        ),
        *(
            "minus 42",
            "at least 42",
            "less than 42",
            "42 to 50",
            "42 plus 1",
            "42 or more",
            "42 and a half",
            "- 42",
            "-42",
        ),
    ],
)
def test_words_that_change_a_value_are_part_of_it(said):
    for completion in (f"The answer is {said}.", said):
        assert verify(completion, "42").correct is False


def test_words_around_a_value_are_passed_on():
    assert extract_math("The answer is half of 42.").answer == "half of 42"
    assert extract_math("The answer is 3 to 5.").answer == "3 to 5"
    assert verify("The answer is negative 42.", "-42").correct is True
    assert verify("The answer is - 42.", "-42").correct is True
    assert verify("The answer is:\n- 42", "42").correct is True
    assert verify("So she needs at least 42 coins.", "42").correct is True
    assert verify("That is 42 more than before.", "42").correct is True


@pytest.mark.parametrize(
    "completion, gold",
    [
        *(("The interval is (3, 4].", "(3,4]"), ("The point is (3, 4).", "(3,4)"), ("So the ratio is 3:4.", "3:4")),
        *(
            ("The area is 9π.", r"9\pi"),
            ("Therefore y = 2x + 1.", "y=2x+1"),
            ("5\n7", "5, 7"),
            ("The set is {1, 2, 3}.", "1,2,3"),
            ("5\n5", "5"),
        ),
        ("Ann: 3, Bob: 15", "3, 15"),
        ("Ann: 3\nBob: 15", "15, 3"),
        (r"3 \text{ cups and } 15 \text{ plates}", "3,15"),
        ("The answer is 3 cups and 15 plates.", "3, 15"),
        ("f(t) = 3t for all real t", "f(t)=3t"),
    ],
)
def test_labels_and_what_is_counted(completion, gold):
    assert verify(completion, gold).correct is True
    assert verify(completion, "15").correct is False


@pytest.mark.parametrize("kind", ["math", "text"])
@pytest.mark.parametrize(
    "gold", [r"\frac{3}{4", r"{", "a}b", "The answer is 7", "7 is wrong", "not 7", "x or y", "Mon, Tue"]
)
def test_an_identical_answer_matches(gold, kind):
    """Whatever the gold answer is, it matches itself, bare and as the only box."""
    for completion in (gold, rf"\boxed{{{gold}}}", rf"$\boxed{{ {gold} }}$.", f"The final answer is {gold}."):
        assert verify(completion, gold, kind).correct is True, completion


@pytest.mark.parametrize(
    "completion",
    [
        "It is wrong that the answer is {",
        r"Not \boxed{{}",
        r"\boxed{7}. The answer is {",
        "<think>{",
    ]
    + ["The answer is 7 or {"],
)
@pytest.mark.parametrize("kind", ["math", "text"])
def test_what_is_said_beside_an_identical_answer_counts(completion, kind):
    assert verify(completion, "{", kind).correct is False


@pytest.mark.parametrize(
    "completion",
    [
        "The answer is B",
        *("选B", "故选：B。", "正确选项是B", "所以应选（B）", "答案选B", "A不对，选B；C也不对。", "Answer: Ⓑ", "Ｂ"),
        *("I think it's B", "I would go with B.", "I believe the answer is B.", "not A but B", "It's not A, but B."),
        *(
            "B because (A) and (C) are wrong",
            "B; A is wrong",
            r"not \boxed{A} but \boxed{B}",
            *(
                '{"answer": "B"}',
                '{"choice": "B"}',
                "【答案】B",
                "Correct answer - B",
                "A is wrong, so B",
                "option b",
                "选项B正确",
                "I'm confident it's B.",
                "C is false; B",
                "The answer is B, although C is close.",
                "B or (B)",
            ),
            *("B. It can't be A or C", "B is right. A or C would be wrong", "B, because A and C are too large"),
            "```\nB\n```",
        ),
    ],
)
def test_more_ways_to_choose(completion):
    assert verify(completion, "B", "choice").correct is True
    assert verify(completion, "A", "choice").correct is False


@pytest.mark.parametrize(
    "completion",
    [
        *("B (or C)", "B; C", "B/C", "B + C", "B and/or C", "B maybe C", "B? or C?", "B C", "B or not B", "not B"),
        *(
            "B或C",
            *(
                "B、C",
                "B还是C",
                "(B)(C)",
                "B. No, C.",
                "B\u200bC",
                "B, otherwise C",
                "B? C?",
                "B → C",
                "B, but C is possible too",
                "B unless C",
                "B if x > 0, C otherwise",
                "B y C",
                "B (60%), C (40%)",
                "Correct: B, C",
                "B plus C",
                "B; if not, C",
                "B was my guess but C is right",
                "B? Not really. C",
                "B选项错误",
                "B is not right",
                "B to D",
            ),
            "选B或C",
            "不选B",
            "答案是B和C",
            "不能选B",
            r"\boxed{B C D}",
            r"\boxed{B;C}",
            r"\boxed{B}或\boxed{C}",
        ),
    ],
)
def test_more_choice_hedges(completion):
    assert verify(completion, "B", "choice").correct is False


@pytest.mark.parametrize(
    "completion",
    [
        *(
            "The answer is B",
            "B",
            "(B)",
            "B.",
            "b)",
            "**B**",
            "Answer: B",
            "The answer is (B).",
            "the correct option is B",
        ),
        *(
            "Option B",
            "\\boxed{B}",
            "\\boxed{\\text{B}}",
            "\\boxed{(B)}",
            "\\boxed{\\textbf{(B)}}",
            "B. Paris",
            "(B) Paris",
        ),
        *(
            "The correct answer is option (B).",
            "So the answer is B: Paris",
            "Therefore, option B is correct.",
            "B: Paris",
        ),
        *(
            "Answer: **B**",
            "**Answer: B**",
            "**B. Paris**",
            "I choose B.",
            "The answer is $\\boxed{B}$",
            "answer is b",
        ),
        *(
            "The best answer is **B) Paris**",
            "<think>A?</think>B",
            "\\boxed{B. Paris}",
            "Final Answer: (B)",
            "Choice B",
        ),
        *(
            "The answer is\n\nB",
            "My answer: B",
            "The right choice is B because A is wrong.",
            "The correct choice is (B)",
        ),
        *("Let's see. A is wrong, C is wrong. So B.", "The answer is option B, Paris.", "So the correct answer is: B"),
        *("B (not A)", "B, not A", "The answer is for sure B, it can't be A or C", "Paris", "The answer is Paris."),
        *(
            "\\boxed{Paris}",
            "**Paris**",
            "The capital is Paris, so the answer is Paris.",
            "Therefore, (B) is the correct answer.",
        ),
    ],
)
def test_choice_is_read(completion):
    assert verify(completion, "B", "choice", choices=CHOICES).correct is True
    assert verify(completion, "Paris", "choice", choices=CHOICES).correct is True
    assert verify(completion, "A", "choice", choices=CHOICES).correct is False


@pytest.mark.parametrize(
    "completion",
    [
        *(
            "A, B, C, D",
            "The answer is A or B",
            "Answer: A. Answer: B",
            "The answer is not B",
            "A (not B)",
            "Either (A) or (B)",
        ),
        *("It could be A. It could be B.", "Answer: C\nAnswer: A\nAnswer: B", "The answer is A, but it might be B"),
        *(
            r"\boxed{A} or \boxed{B}",
            r"\boxed{A, B}",
            r"\boxed{A}\boxed{B}",
            "<think>B</think>",
            "<think>The answer is B",
        ),
        *("I think (A) and (B) are both possible.", "The answer is (A) and (B).", "B is wrong.", "", "I do not know."),
        "Beware of the answer",
    ],
)
def test_choice_hedge_does_not_win(completion):
    assert verify(completion, "B", "choice").correct is False


@pytest.mark.parametrize(
    "completion",
    [
        *(
            "yes or no",
            "The answer is yes. The answer is no.",
            "The answer is no. The answer is yes.",
            "not yes",
            "yes no",
        ),
        *(
            "The answer is not yes",
            "The answer is yes or no",
            "no, not yes",
            "<think>yes</think>",
            "The answer is no, not yes.",
        ),
        *(r"\boxed{yes} \boxed{no}", r"\boxed{no} \boxed{yes}", "", "yes/no"),
    ],
)
def test_text_hedge_does_not_win(completion):
    assert verify(completion, "yes", "text").correct is False


@pytest.mark.parametrize(
    "completion, gold",
    [
        ("So the answer is Yes.", "yes"),
        ("**No**", "no"),
        (r"\boxed{\text{True}}", "True"),
        ("So the answer is ] ] ) >.", "]])>"),
        ("The answer is: apple banana cherry", "apple banana cherry"),
        ("the elephant", "Elephant"),
        ("So the answer is (C).", "(C)"),
        ("The answer is -12.", "-12"),
        ("<think>x</think><answer>Paris</answer>", "paris"),
    ],
)
def test_text_is_read(completion, gold):
    assert verify(completion, gold, "text").correct is True
    assert verify(completion, gold + " and more", "text").correct is False


@pytest.mark.parametrize(
    "completion, rule",
    [
        (r"\boxed{5}", "boxed"),
        (r"<think>a</think>\boxed{5}", "after_think:boxed"),
        ("The answer is 5", "answer_is"),
        ("5", "whole"),
        ("Then we see **5** of them", "bold"),
        ("Then we see 5 of them", "last_value"),
        ("<answer>5</answer>", "answer_tag:whole"),
    ],
)
def test_rule_is_part_of_the_verdict(completion, rule):
    verdict = verify(completion, "5")
    assert (verdict.correct, verdict.rule, verdict.extracted) == (True, rule, "5")


@pytest.mark.parametrize(
    "completion, gold",
    [
        (r"\boxed{\frac{1}{\boxed{42}}}", "42"),
        (r"\boxed{0\fbox{42}}", "42"),
        ("42_7", "42"),
        ("0 = 0", "x=0"),
        (r"\boxed{\{5\} 7}", "12"),
        (r"\boxed{42\mathrm{wrong}}", "42"),
        ("The answer is <del>42</del> 7", "42"),
    ],
)
def test_a_part_of_an_answer_does_not_win(completion, gold):
    assert verify(completion, gold).correct is False


def test_letter_with_another_text_is_a_hedge():
    assert verify(r"\boxed{\text{B) } Rome}", "B", "choice", choices=CHOICES).reason == "hedged"
    assert verify(r"\boxed{\text{B) } Paris}", "B", "choice", choices=CHOICES).correct is True
    assert verify("The best answer is:\n(B) No", "B", "choice").correct is True


def test_require_boxed():
    assert verify("The answer is 5", "5", require_boxed=True).reason == "no_answer"
    assert verify(r"\boxed{5}", "5", require_boxed=True).correct is True
    assert verify("The answer is B", "B", "choice", require_boxed=True).reason == "no_answer"
    assert verify("yes", "yes", "text", require_boxed=True).reason == "no_answer"


def test_long_completions_cost_only_their_ending():
    text = "Let x = 5. " * 100_000 + "\nSo the answer is 42."
    assert extract_math(text).answer == "42"
    assert len(ending(text)) <= 2000


@pytest.mark.parametrize(
    ("completion", "right", "wrong"),
    [
        ("There are 7 faces below and 5 above, so altogether the solid has 12 faces.", "12", "7"),
        ("A pen costs $2.50. Tom buys 4 pens, hence he pays 4 × $2.50 = $10.00.", r"\$10.00", "2.5"),
        ("The train left late, thus it arrived at 4:20 pm.", "4:20 p.m.", "20"),
        ("Die Antwort ist 5 oder 7.", "5, 7", "5"),
        ("We found an angle of 30 degrees, but we could not finish the rest.", None, "30"),
        ("So the answer is **19**! \N{PARTY POPPER}", "19", "9"),
    ],
)
def test_what_a_sentence_concludes(completion, right, wrong):
    assert verify(completion, wrong).correct is False
    assert right is None or verify(completion, right).correct is True
