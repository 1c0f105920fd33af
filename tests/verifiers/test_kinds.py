"""Kinds, options and the shape of verdicts."""

import itertools
import pickle
import random
from dataclasses import FrozenInstanceError

import pytest

from glow_trl.errors import UserError
from glow_trl.verifiers import KINDS, Verdict, check_gold, register_kind, verify, verify_batch
from glow_trl.verifiers.gold import phrase


def test_verdict_is_typed_frozen_and_picklable():
    verdict = verify("The answer is 5", "5")
    assert verdict == Verdict(True, "5", "match", "math", "answer_is")
    assert pickle.loads(pickle.dumps(verdict)) == verdict and verdict.judged
    with pytest.raises(FrozenInstanceError):
        verdict.correct = False


@pytest.mark.parametrize("kind", ["math", "choice", "text", "number"])
@pytest.mark.parametrize("gold", [None, "", "  ", [], {"a": 1}])
def test_unusable_gold(kind, gold):
    verdict = verify("The answer is 5", gold, kind)
    assert (verdict.correct, verdict.reason, verdict.judged) == (None, "bad_gold", False)


@pytest.mark.parametrize("gold, kind", [("hello", "number"), ("K", "choice"), ("none of them", "choice")])
def test_gold_of_the_wrong_kind_is_unusable(gold, kind):
    assert verify("5", gold, kind, choices=["x", "y"]).reason == "bad_gold"


@pytest.mark.parametrize(
    "gold", [42, 42.0, "42", "$42$", r"\boxed{42}", "#### 42", " 42\n", "So 6 * 7 = 42.\n#### 42"]
)
def test_forms_of_gold(gold):
    assert verify(r"\boxed{42}", gold).correct is True
    assert verify(r"\boxed{43}", gold).correct is False


def test_number_within_tolerance():
    assert verify("It is about 3.1", "3.14", "number", tolerance=0.02).correct is True
    assert verify("It is about 3.0", "3.14", "number", tolerance=0.02).correct is False
    assert verify("It is about -3.1", "3.14", "number", tolerance=0.02).correct is False
    assert verify("3.1", "3.14", "number").correct is False
    assert verify("0.01", "0", "number", tolerance=0.1).correct is True
    assert verify(r"\boxed{\sqrt{2}}", "1.414", "number", tolerance=0.001).correct is True
    assert verify("3 or 4", "3", "number", tolerance=0.5).correct is False
    assert verify(r"50\%", "0.5", "number", tolerance=0.01).correct is True
    assert verify("50%", "50", "number").correct is True
    assert verify("50%", "5", "number", tolerance=0.1).correct is False


def test_an_answer_that_a_judge_stumbles_over_is_an_error(monkeypatch):
    """One answer ends no batch and no training."""

    def stumble(prediction, require_boxed=False):
        raise TypeError("no ordering relation is defined for complex numbers")

    monkeypatch.setattr("glow_trl.verifiers.kinds.math.extract_math", stumble)
    verdict = verify(r"\boxed{5}", "5")
    assert (verdict.correct, verdict.reason, verdict.judged) == (False, "error", False)


def test_batch_with_mixed_kinds():
    verdicts = verify_batch(
        ["The answer is 5", "B", "yes", "99.5", "x"],
        ["5", "Paris", "Yes", "100", None],
        [None, "choice", "text", "number", "math"],
        choices=[None, ["London", "Paris"], None, None, None],
        tolerances=[None, None, None, 0.01, None],
    )
    assert [verdict.correct for verdict in verdicts] == [True, True, True, True, None]
    assert [verdict.kind for verdict in verdicts] == ["math", "choice", "text", "number", "math"]


@pytest.mark.parametrize(
    ("prediction", "gold", "correct"),
    [
        (r"It closes with \boxed{} > >}.", "} > >", True),
        (r"$\boxed{> } )}$", "> } )", True),
        (r"\boxed{\} >}", "} >", True),
        (r"<think>hm</think> \boxed{]}} ", "] }", True),
        (r"\boxed{} >}", "} > >", False),
        (r"\boxed{>}", "} >", False),
        (r"\boxed{] >} or \boxed{>}", ">", False),
    ],
)
def test_boxed_brackets_need_not_balance(prediction, gold, correct):
    """As in the answers of BBH's dyck_languages."""
    assert verify(prediction, gold, "text").correct is correct


SAME_TEXT = [
    ("Peru and Chile", "Chile and Peru"),
    ("red, green and blue", "blue, red, and green"),
    ("Long Road Home", "(The) Long Road Home"),
    ("Tower Bridge", "(The Old) Tower Bridge"),
    *(("July 4th, 1776", "4 July 1776"), ("June 5, 1990", "1990"), ("5 May 2001", "May 2001")),
    ("Café Müller", "cafe muller"),
    ("well-known fact", "Well known fact"),
    ("bread, butter and jam", "bread, butter, jam"),
    ("Ｐａｒｉｓ", "Paris"),
    ("E. B. White", "EB White"),
    ("forty-seven", "47"),
    ("the 19th century", "nineteenth century"),
    ("3 1/2", "3½"),
    ("12 km", "12km"),
    ("4 March 1921", "March 4, 1921"),
    ("1921-03-04", "4th of March, 1921"),
    ("4 March 1921", "1921"),
    ("4 March 1921", "in March 1921"),
    ("lynx", "the lynx or bobcat"),
    ("Dr. Ada Byron", "Ada Byron"),
    ("in the garden", "the garden"),
    ("Lisbon", "the city of Lisbon"),
    ("Saturn", "Saturn (planet)"),
    ("Saturn (the planet)", "Saturn"),
    ("Marie Curie", "the Polish physicist Marie Curie"),
    ("six", "six months"),
    ("green apples", "green apple"),
    ("World War 2", "World War II"),
    ("Saint Helena", "St. Helena"),
    ("Robert L. Stevenson", "Robert Stevenson"),
    ("R. L. Stevenson", "Robert Louis Stevenson"),
    ("Jon Phillips", "Jon Philips"),
    ("Curie, Marie", "Marie Curie"),
    ("WHO", "World Health Organization"),
    ("?", "?"),
    *(("36.0", "36"), ("2,500 m", "2.5 km"), ("minister", "ministers"), ("harbour", "harbor"), ("theatre", "theater")),
    *(("Lyon, France", "Lyon"), ("Lyon", "Lyon, France"), ("Lyon, the third city of France", "Lyon")),
    *(("It was Ada Byron in 1843", "Ada Byron"), ("Ada Byron wrote the first program", "Ada Byron")),
    *(("Ada Byron, who wrote it", "Ada Byron"), ('"Emma" by Jane Austen', "Emma")),
    *(("There are 14 lines in a sonnet", "14"), ("14 lines", "14"), ("A sonnet has fourteen lines", "14 lines")),
    *(("It opened on May 6, 1889", "6 May 1889"), ("It opened on May 6, 1889", "1889"), ("1889 to 1914", "1889-1914")),
    *(("eighteen eighty-nine", "1889"), ("the Second World War", "WWII"), ("World War One", "WWI")),
    *(("Thomas Alva Edison", "Thomas Edison"), ("Thomas Edison", "Thomas Alva Edison"), ("Thomas Edison", "Edison")),
    *(("the River Seine", "Seine"), ("Seine River", "River Seine"), ("Mount Etna", "Etna"), ("Acme Inc.", "Acme")),
    *(("University of Bologna", "Bologna University"), ("Charles the Third", "Charles III"), ("US", "United States")),
    *(("World Health Organization (WHO)", "WHO"), ("water (H2O)", "water"), ("Kant: A Life", "A Life")),
    *(
        ("Bede the Venerable", "Bede"),
        ("ada king byron", "Ada Byron"),
        ("Will Blake", "William Blake"),
        ("no", "Usually, no"),
    ),
    *(("turin italy", "Turin"), ("the 5th century BC", "5th century BCE"), ("It was shot in Turin.", "Turin")),
    *(("France's Marie Curie", "Marie Curie"), ("two dozen", "24"), ("three quarters", "3/4"), ("e-mail", "email")),
    *(
        ("salt, oil & vinegar", "oil, vinegar and salt"),
        ("from 1889 to 1914", "1889–1914"),
        ("14 million people", "14 million"),
    ),
    *(
        ("Lorient, France", "France"),
        ("1968", "late 1968"),
        ("Peter I of Russia (Peter the Great)", "Peter the Great"),
    ),
    *(("Albert, Prince of Monaco", "Albert"), ("King Otto II of Germany", "Otto II"), ("knives", "knife")),
    *(("the poet Rumi", "Rumi"), ("Lake Como", "Como Lake"), ("Rachmaninof", "Rachmaninoff")),
]
OTHER_TEXT = [
    *(
        ("Prize in Physics", "Prize"),
        ("Nobel Prize in Physics", "Nobel Prize"),
        ("two thirds", "3/2"),
        ("Spain, France", "France"),
    ),
    *(("by 1990", "1990"), ("Greater Lorient", "Lorient"), ("Byron was long thought to be ill", "Byron")),
    *(("none of them", "none"), ("rice, which is grown in the valley", "valley"), ("Ada, Countess and Byron", "Ada")),
    *(("Lyon, Rome", "Lyon"), ("Spain, France", "Spain"), ("Lyon and Rome", "Lyon"), ("Lyon, Italy", "Lyon, France")),
    *(("It was not Ada Byron", "Ada Byron"), ("It might be Ada Byron", "Ada Byron")),
    *(
        ("Ada Byron was beaten by Mary Smith", "Ada Byron"),
        ("Bank of Japan", "Bank"),
        ("Lakers", "Los Angeles Lakers"),
    ),
    *(("Los Angeles Lakers", "Los Angeles"), ("New England", "England"), ("Baja California", "California")),
    *(("at least 14 lines", "14"), ("Apollo 14", "14"), ("14 million lines", "14"), ("14 of 20 lines", "14")),
    *(("before May 6, 1889", "1889"), ("from 1889 to 1914", "1889"), ("1889 BC", "1889"), ("the 1880s", "1880")),
    *(("John P. Smith", "John Q. Smith"), ("National Rugby League", "National League"), ("Star 2", "Star")),
    *(("36.5", "36"), ("1,500 m", "1,500 km"), ("$5", "5 km"), ("Henry VIII", "Henry VII")),
    *(("Lake Como", "River Como"), ("nitrite", "nitrate"), ("Johnston", "Johnson"), ("Niger", "Nigeria")),
    *(("July 4, 1776", "4 June 1776"), ("July 1776", "July 4, 1776")),
    ("3/4", "34"),
    ("7.5 kg", "75 kg"),
    ("9:15", "915"),
    ("F", "F#"),
    ("C++", "C"),
    ("6^2", "62"),
    ("1,2", "12"),
    ("5%", "5"),
    ("6'2", "62"),
    ("2-3", "23"),
    ("2/11/2020", "21/1/2020"),
    ("vitamin", "vitamin A"),
    ("1921", "4 March 1921"),
    ("5 March 1921", "4 March 1921"),
    ("March 1922", "1921"),
    ("lynx or bobcat", "lynx"),
    ("yes (or no)", "yes"),
    ("Paris (or Rome)", "Paris"),
    ("Paris (Rome)", "Paris"),
    ("King George", "Prince George"),
    ("from Paris", "to Paris"),
    ("state of Georgia", "country of Georgia"),
    ("Saturn (god)", "Saturn (planet)"),
    ("Napoleon", "the war against Napoleon"),
    ("5", "5 squared"),
    ("3", "3 tenths"),
    ("12", "12 and more"),
    ("20", "20 million"),
    ("5 squared", "5"),
    ("World War 1", "World War II"),
    ("George H. Bush", "George W. Bush"),
    ("John Smith", "Jane Smith"),
    ("Charles II", "Charles I"),
    ("4", "Four Weddings"),
    ("B-", "B"),
    ("!p", "p"),
    ("Charles III", "Charles II"),
    ("National League", "National Football League"),
    ("Smith", "John Smith"),
    ("Korea", "North Korea"),
    ("not valid", "valid"),
    ("in", "invalid"),
    ("sodium nitrite", "sodium nitrate"),
    ("IT", "Information Technology"),
    ("Rome", "Rome, Paris"),
    ("apple pear", "apple fig pear"),
    ("Peru and Chile", "Chile and Bolivia"),
    ("Chile", "Chile and Peru"),
    ("guilty", "(not) guilty"),
]


@pytest.mark.parametrize("prediction, gold", SAME_TEXT)
def test_same_short_answer(prediction, gold):
    """Other words for the same short answer, bare, stated and boxed."""
    for completion in (prediction, f"The answer is {prediction}.", rf"\boxed{{{prediction}}}"):
        assert verify(completion, gold, "text").correct is True, completion


@pytest.mark.parametrize("prediction, gold", OTHER_TEXT)
def test_other_short_answer(prediction, gold):
    """What stands between digits, behind a letter or before a name tells answers apart."""
    for completion in (prediction, f"The answer is {prediction}.", rf"\boxed{{{prediction}}}"):
        assert verify(completion, gold, "text").correct is False, completion


@pytest.mark.parametrize(
    "prediction, gold, correct",
    [
        ("Yes, it does.", "yes", True),
        ("No, it does not.", "no", True),
        ("Yes, but not always, so no.", "yes", False),
        ("No, it does not.", "yes", False),
        ("Not lead but tin", "tin", True),
        ("Not lead but tin", "lead", False),
        ("It is tin. Lead melts later.", "lead", False),
    ],
)
def test_answer_in_a_sentence(prediction, gold, correct):
    """A sentence answers with what it says, not with what it denies."""
    assert verify(prediction, gold, "text").correct is correct


def test_empty_batch_and_uneven_batch():
    assert verify_batch([], []) == []
    with pytest.raises(UserError, match="2 predictions but 1 golds"):
        verify_batch(["a", "b"], ["a"])


def test_unknown_kind_names_the_nearest():
    with pytest.raises(UserError, match="did you mean choice"):
        verify("A", "A", "choise")
    with pytest.raises(UserError, match="choice, math, number, text"):
        verify("A", "A", "zzz")


def test_new_kind():
    register_kind("palindrome", lambda prediction, gold, options: prediction == prediction[::-1])
    assert verify("abba", "-", "palindrome") == Verdict(True, None, "match", "palindrome")
    assert verify("abc", "-", "palindrome").correct is False
    assert "palindrome" in KINDS.names()


def test_whole_numbers_need_no_check(monkeypatch):
    """They are right by the kind `math` whatever else the row says; unless it is a kind of the user's own."""
    rng = random.Random(0)
    golds = [0, 7, -7, *(rng.choice((1, -1)) * rng.randrange(10 ** rng.randint(1, 15)) for _ in range(300))]
    for gold, tolerance in itertools.product(golds, (None, 0.1)):
        assert verify(phrase(gold, "math"), str(gold), tolerance=tolerance).correct, gold
    rows = [{"answer": gold} for gold in ("12", 12, "-3")]
    assert check_gold(rows).ok
    monkeypatch.setattr(KINDS, "_judges", dict(KINDS._judges))
    register_kind("math", lambda prediction, gold, options: gold == "12")
    assert [failure.index for failure in check_gold(rows).failures] == [2]


def test_check_gold_counts_and_lists():
    report = check_gold(
        [
            {"answer": r"\frac{1}{2}"},
            {"answer": ""},
            {"gold": "B", "kind": "choice", "choices": ["x", "y"]},
            {"answer": "F", "kind": "choice", "choices": ["x", "y"]},
            {"answer": "valid", "kind": "text"},
            {"answer": None},
            {"answer": 5, "kind": "number", "tolerance": 0.1},
        ]
    )
    assert (report.checked, report.usable, report.ok) == (7, 4, False)
    assert [(failure.index, failure.kind, failure.reason) for failure in report.failures] == [
        (1, "math", "bad_gold"),
        (3, "choice", "bad_gold"),
        (5, "math", "bad_gold"),
    ]
    assert report.summary().startswith("3 of 7 gold answers are unusable (3 bad_gold): row 1")
    assert (
        check_gold(iter([{"answer": "5"}] * 600)).summary()
        == "all 600 gold answers are accepted by their own verifiers"
    )
