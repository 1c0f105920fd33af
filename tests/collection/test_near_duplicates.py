"""Near-duplicates: the similarity is the Jaccard index of character windows, and repeated texts are found by it."""

import random

import numpy as np
import pytest

from glow_trl.collection.mixing.near_duplicates import WINDOW, Sketches


def jaccard(first, second):
    """Computed from the windows themselves."""

    def windows(text):
        text = " ".join(text.casefold().split()).encode()
        return {text[i : i + WINDOW] for i in range(max(len(text) - WINDOW + 1, 1))}

    first, second = windows(first), windows(second)
    return len(first & second) / len(first | second)


def found(texts, threshold, groups=None, order=None):
    sketches = Sketches()
    for start in range(0, len(texts), 7):
        sketches.add(texts[start : start + 7])
    groups = np.zeros(len(texts), dtype=np.int64) if groups is None else np.array(groups)
    priority = np.arange(len(texts)) if order is None else np.array(order)
    return list(sketches.duplicates(groups, priority, np.ones(len(texts), dtype=bool), threshold))


def words(rng, count):
    return [rng.choice("alpha beta gamma delta sum of so then we get 1 22 333 é".split()) for _ in range(count)]


def edited(rng, text, edits):
    parts = text.split()
    for _ in range(edits):
        parts[rng.randrange(len(parts))] = str(rng.randrange(10**6))
    return " ".join(parts)


def test_similarity_of_short_texts_is_exact():
    rng = random.Random(0)
    for _ in range(100):
        text = " ".join(words(rng, rng.randrange(1, 25)))
        other = edited(rng, text, rng.randrange(3)).upper()
        expected = jaccard(text, other)
        result = found([text, other], 0.5)
        assert bool(result) == (expected >= 0.5)
        if result:
            assert result[0][:2] == (1, 0) and result[0][2] == pytest.approx(expected)


@pytest.mark.parametrize("length", [100, 400, 3000])
def test_similarity_of_long_texts_is_estimated_without_bias(length):
    """The mean error over some pairs is within four standard errors of 0, and no pair is far off."""
    rng = random.Random(length)
    errors = []
    for _ in range(60 if length < 1000 else 15):
        text = " ".join(words(rng, length))
        other = edited(rng, text, max(1, length // 100)) + " " + " ".join(words(rng, rng.randrange(length // 10)))
        ((_, _, estimate),) = found([text, other], 0.5)
        errors.append(estimate - jaccard(text, other))
    assert max(map(abs, errors)) < 0.12
    assert abs(np.mean(errors)) < 4 * np.std(errors) / len(errors) ** 0.5 + 1e-9


def test_the_first_of_its_group_is_kept_and_other_groups_do_not_matter():
    rng = random.Random(1)
    texts = []
    for _ in range(20):
        text = " ".join(words(rng, 120))
        texts += [text, edited(rng, text, 1), text.upper() + " "]
    groups = [i // 3 for i in range(60)]
    result = {row: (kept, similarity) for row, kept, similarity in found(texts, 0.8, groups)}
    assert set(result) == {i for i in range(60) if i % 3}
    assert all(kept == row - row % 3 for row, (kept, _) in result.items())
    assert all(result[i][1] == 1.0 for i in range(2, 60, 3))
    backwards = {row: kept for row, kept, _ in found(texts, 0.8, groups, order=range(60, 0, -1))}
    assert backwards == {i: i - i % 3 + 2 for i in range(60) if i % 3 != 2}
    assert found(texts, 0.8, groups=list(range(60))) == []


def test_texts_shorter_than_a_window_and_empty_ones():
    assert found(["yes", "YES ", "no", ""], 0.9) == [(1, 0, 1.0)]
    assert found([], 0.9) == []
