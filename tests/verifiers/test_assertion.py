"""An answer counts only where it is asserted: not denied, supposed, asked, refuted, or said by others."""

import pytest

from glow_trl.verifiers import verify


NOT_ASSERTED = {
    "denied": [
        "I refuse to believe that the total equals 42.",
        "Nobody should conclude that it is 42.",
        "It is simply not the case that we get 42.",
        "Neither 7 nor 42 is right.",
        "The incorrect result is 42.",
        "42 has to be ruled out.",
        "It's not as if the answer were 42.",
        "There is no evidence that it is 42.",
        "Do not use this answer: 42",
        "Far from being 42, it is larger.",
        "Discarded solution: 42",
        "Disregard the printed answer: 42",
        "The longest side does not have length 42.",
        "Every number from 7 to 99 works, except 42.",
    ],
    "supposed": [
        "If the balls were labelled, the answer would be 42.",
        "If the die had 8 sides, there would be more, so we would get 42.",
        "Had we allowed repetition, the count would be 42.",
        "Unless I misread it, perhaps the answer is 42.",
        "42 if we count the empty set.",
        "If n is even, the answer is 42; otherwise it is 7.",
        "The value might well be 42.",
        "Suppose that the answer is 42.",
        "In case the coin is fair, the answer is 42.",
        "If instead the order matters, 42.",
        "If we were to count both, we'd have 42.",
    ],
    "said by others": [
        "A careless reader would conclude 42.",
        "My teacher believes that the answer is 42.",
        "Some people insist on 42.",
        "According to a classmate, the answer is 42.",
        "The calculator's answer is 42.",
        "I thought the answer was 42.",
        "42, as my brother says.",
    ],
    "asked": ["Could the answer be 42?", "Is 42 the answer?", "The answer is 42? I don't think so."],
    "refuted": [
        "The answer is 42. Sadly, this result is mistaken.",
        "The answer is 42. But that violates the second condition.",
        "The answer is 42. Hold on, I counted the corners twice.",
        "The answer is 42.\n\nWait, I made an arithmetic mistake.",
        "42 looks plausible but is false.",
        "42 would have been right last year.",
        "42 counts each pair twice.",
        "42, although tempting, is not the answer.",
        "42 was my answer before I read on.",
        "42 is only a lower bound.",
        "The answer is 42. The correct value is one less.",
        "The answer is 42. On closer inspection, this is not quite right.",
        "The answer is 42. But I should have halved it.",
        "The answer is 42. I'm not sure about this.",
        "The answer is 42. Please ignore this answer.",
        "The answer is 42. It ought to be 7.",
        "42, mais c'est faux : il manque un cas.",
    ],
    "in other languages": [
        "Si n était pair, la réponse serait 42.",
        "Mein Lehrer glaubt, die Antwort ist 42.",
        "Quizás la respuesta es 42.",
        "A resposta talvez seja 42.",
        "La risposta 42 è sbagliata.",
        "Возможно, ответ 42.",
        "如果顺序重要，答案是42。",
        "有同学认为答案是42。",
        "答案是42吗？",
    ],
}
ASSERTED = [
    "The number of draws that are not red is 42.",
    "The probability that nobody wins is 42.",
    "I was not wrong: the answer is 42.",
    "Avoiding the usual mistake, we get 42.",
    "Since the root is not an integer, the answer is 42.",
    "A friend of mine says 7, but the answer is 42.",
    "If we double both sides, we get 42.",
    "If it rains he walks 7 miles, so the answer is 42.",
    "The answer would be 42.",
    "I would say that it is 42.",
    "We believe the answer is 42.",
    "Is it 7? No. The answer is 42.",
    "The answer is 42. This is not a prime.",
    "The answer is 42. No other choice is possible.",
    "The answer is 42, because 41 would be wrong.",
    "The answer is 42. Would you like to see another way?",
    "The answer is 42. Wait, let me check: yes, that is correct.",
    "The students wrote 42 letters.",
    "If one costs 6 dollars, then seven would cost 6 * 7 = 42 dollars.",
    "The probability that the guess is wrong is 42.",
    "Combined there would be 30 + 12 = 42 quarts.",
    "Not counting the first one, we get 42.",
    "Adding the forgotten case, we get 42.",
    "The other root is 42.",
    "The answer is 42. Otherwise the sum would be odd.",
    "The answer is 42. I hope I did not make a mistake.",
    "The answer is 42. Don't forget the unit!",
    "The answer is 42. A usual error is to say 84, by counting every pair twice.",
    "Assuming a fair coin, the expected number of tosses is 42.",
    "Provided that the angle is acute, the area is 42.",
    "The answer is 42. We excluded the negative root.",
    "The answer is 42 (we exclude the negative root).",
    "Rejecting the negative root leaves 42.",
    "Wenn man addiert, erhält man 7. Die Antwort ist 42.",
    "不是7，而是42。",
]


@pytest.mark.parametrize("form", ["{}", r"\boxed{{{}}}"])
@pytest.mark.parametrize("completion", [said for group in NOT_ASSERTED.values() for said in group])
def test_what_is_not_asserted_does_not_win(completion, form):
    assert verify(completion.replace("42", form.format("42")), "42").correct is False


@pytest.mark.parametrize("completion", ASSERTED)
def test_what_is_asserted_counts(completion):
    """A negation, an "if" or a doubt that belongs to something else takes nothing back."""
    assert verify(completion.replace("42", r"\boxed{42}"), "42").correct is True


def test_a_box_that_is_taken_back_is_not_the_last_value():
    said = r"\boxed{42}. Hmm, this can't be right, as the product is odd and 42 is even."
    assert verify(said, "42").correct is False
    assert verify(said.replace("even.", "even. So it is 7."), "7").correct is True


@pytest.mark.parametrize(
    "completion", [said for group in NOT_ASSERTED.values() for said in group if "ought" not in said]
)
def test_another_asserted_box_is_the_answer(completion):
    """A box that is not asserted leaves the place to an earlier one in a paragraph of its own."""
    completion = completion.replace("42", r"\boxed{42}").replace("7", "17")
    assert verify(r"The answer is \boxed{17}." + "\n\n" + completion, "17").correct is True


@pytest.mark.parametrize(
    "completion",
    [
        "Were the die fair, (B) would be correct.",
        "A careless student would pick (B).",
        "My friend thinks it is (B).",
        "(B) looks right but is wrong.",
        "If the gas were ideal, the answer would be (B).",
        "The answer is (B). That is wrong.",
    ],
)
def test_a_choice_must_be_asserted_too(completion):
    assert verify(completion, "B", "choice").correct is False
    assert verify(completion + " The correct answer is (C).", "C", "choice").correct is True


def test_eliminated_choices_leave_the_last():
    completion = "A is impossible. B is impossible. C fits all three observations. D is impossible. Therefore C."
    assert verify(completion, "C", "choice").correct is True
    assert verify("A and B are both possible, but A is correct", "A", "choice").correct is True
