"""Taxonomies, shipped and edited, and the form that a judge's answer must have."""

import json

import pytest
import yaml

from glow_trl.analysis.patterns import InvalidAnswer, load_taxonomy, parse_answer
from glow_trl.errors import UserError
from glow_trl.quickstart.teacher import PATTERNS


MINE = {
    "name": "mine",
    "groups": [
        {
            "name": "Sums",
            "patterns": [
                {"id": "slip", "name": "Slip", "definition": "A sum is wrong.", "example": "2 + 2 = 5"},
                {"id": "stale", "name": "Stale", "definition": "An old value is used.", "example": "3, then 2"},
            ],
        },
        {"name": "Other", "patterns": [{"id": "g.1", "name": "Guess", "definition": "No reason.", "example": "42"}]},
    ],
}


@pytest.fixture
def taxonomy(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(MINE))
    return load_taxonomy(str(path))


def test_the_shipped_taxonomy_has_22_patterns_and_says_whose_they_are():
    taxonomy = load_taxonomy("reasoning")
    assert len(taxonomy.patterns) == len({pattern.id for pattern in taxonomy.patterns}) == 22
    assert len(taxonomy.groups) == 7
    assert "own making" in taxonomy.description and "not known" in taxonomy.description
    assert len({pattern.definition for pattern in taxonomy.patterns}) == 22
    for pattern in taxonomy.patterns:
        assert pattern.id in taxonomy.text() and pattern.definition in taxonomy.text()


def test_the_quickstarts_taxonomy_has_the_teachers_mistakes():
    assert set(load_taxonomy("quickstart").ids) == set(PATTERNS)


def test_an_edit_changes_the_digest(taxonomy, tmp_path):
    content = json.loads(json.dumps(MINE))
    content["groups"][0]["patterns"][0]["definition"] = "A sum is quite wrong."
    (tmp_path / "edited.yaml").write_text(yaml.safe_dump(content))
    assert load_taxonomy(str(tmp_path / "edited.yaml")).digest != taxonomy.digest
    assert taxonomy.groups == ["Sums", "Other"] and taxonomy["g.1"].name == "Guess"


def _without(*path):
    content = json.loads(json.dumps(MINE))
    target = content
    for key in path[:-1]:
        target = target[key]
    del target[path[-1]]
    return content


def _with(value, *path):
    content = json.loads(json.dumps(MINE))
    target = content
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = value
    return content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (_without("groups"), "`groups` is missing"),
        (_with([], "groups"), "`groups`"),
        (_with("x", "groups", 0), "group 1: expected a mapping"),
        (_without("groups", 1, "name"), "group 2: `name` is missing"),
        (_without("groups", 0, "patterns", 1, "example"), "group 1, pattern 2: `example` is missing"),
        (_with("x", "groups", 0, "patterns", 1, "exmaple"), "unknown key 'exmaple'; did you mean example"),
        (_with("slip", "groups", 1, "patterns", 0, "id"), "two patterns have the id 'slip'"),
        (_with("a b", "groups", 1, "patterns", 0, "id"), "the id 'a b'"),
        (_with(7, "groups", 1, "patterns", 0, "name"), "`name` must be text, found 7"),
    ],
)
def test_mistakes_in_a_taxonomy_are_named_with_their_place(tmp_path, content, message):
    path = tmp_path / "bad.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(UserError, match=message) as error:
        load_taxonomy(str(path))
    assert str(path) in str(error.value)


def test_an_unknown_name_is_named_with_the_nearest():
    with pytest.raises(UserError, match="did you mean reasoning"):
        load_taxonomy("reasonning")
    with pytest.raises(UserError, match="cannot be read"):
        load_taxonomy("none.yaml")


TEXT = 'g = 2 + 2\n  = 5, so 42. <b>{"patterns": []}</b>'


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ('{"patterns": []}', []),
        ('{"patterns": [{"id": "slip", "quote": "2 + 2 = 5"}]}', [("slip", True)]),
        ('{"patterns": [{"id": "slip", "quote": "2 + 3"}]}', [("slip", False)]),
        ('Sure.\n```json\n{"patterns": [{"id": "g.1", "quote": "so 42"}]}\n```', [("g.1", True)]),
        ('<think>{"patterns": [{"id": "nope"}]} hm</think>{"patterns": []}', []),
        ('For example {"patterns": []}. Now: {"patterns": [{"id": "stale", "quote": "so 42"}]}', [("stale", True)]),
        (
            '{"patterns": [{"id": "g.1", "quote": "so 42"}, {"id": "slip", "quote": "= 5"}, '
            '{"id": "g.1", "quote": "never"}]}',
            [("slip", True), ("g.1", True)],
        ),
        ('{not json} {"x": {"patterns": 3}} {"patterns": []}', []),
    ],
)
def test_answers_that_are_accepted(taxonomy, answer, found):
    assert [(item.id, item.in_text) for item in parse_answer(answer, taxonomy, TEXT)] == found


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("", "no_json"),
        ("The solution is fine.", "no_json"),
        ('{"patterns": [{"id": "slip", "quote": "2', "no_json"),
        ('{"pattern": []}', "no_json"),
        ('[{"id": "slip", "quote": "= 5"}]', "no_json"),
        ('{"patterns": "slip"}', "wrong_form"),
        ('{"patterns": ["slip"]}', "wrong_form"),
        ('{"patterns": [], "score": 3}', "wrong_form"),
        ('{"patterns": [{"id": "slip"}]}', "wrong_form"),
        ('{"patterns": [{"id": ["slip"], "quote": "= 5"}]}', "wrong_form"),
        ('{"patterns": [{"id": "Slip", "quote": "= 5"}]}', "unknown_pattern"),
        ('{"patterns": [{"id": "slip", "quote": "= 5"}, {"id": "arithmetic", "quote": "= 5"}]}', "unknown_pattern"),
        ('{"patterns": [{"id": "slip", "quote": " "}]}', "no_quote"),
        ('{"patterns": [{"id": "slip", "quote": null}]}', "no_quote"),
        ('{"patterns": []}<think>wait</think>', "no_json"),
        ("{" * 5000, "no_json"),
    ],
)
def test_answers_that_are_rejected(taxonomy, answer, reason):
    with pytest.raises(InvalidAnswer) as error:
        parse_answer(answer, taxonomy, TEXT)
    assert error.value.reason == reason


def test_cut_off_answers_and_required_quotes(taxonomy):
    with pytest.raises(InvalidAnswer) as error:
        parse_answer('{"patterns": [', taxonomy, TEXT, finish_reason="length")
    assert error.value.reason == "cut_off"
    with pytest.raises(InvalidAnswer) as error:
        parse_answer('{"patterns": [{"id": "slip", "quote": "2 + 3"}]}', taxonomy, TEXT, require_quotes=True)
    assert error.value.reason == "quote_not_found"
