"""
Finds benchmark questions among training questions.

n-gram matching with a threshold on how much of the question is shared, after the report on Qwen2.5-Math (Yang et al.,
2024, arXiv 2409.12122: 13-grams of normalized text, and a ratio of what is common), with whole-question matching for
what is too short for n-grams, and a rule on numbers: a problem of the same template with other numbers is another one.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .text import HashSet, digest, tokens, window_hashes


# A question this long, without its spaces, that stands whole inside another text does not stand there by chance
_SHORTEST_PART = 30
_ANCHOR = 24
# Words that the stem of a multiple-choice question may consist of without saying what it is about
_STEM_WORDS = frozenset(
    "which what who one of the following a an is are was were be true false correct incorrect right wrong not answer "
    "answers statement statements option options sentence sentences select choose indicate mark point out about in "
    "regarding with to for from on and or that it these those by as best most likely except question".split()
)
_DISTINCTIVE_WORDS = 4
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


class BenchmarkQuestion(NamedTuple):
    """A question of a benchmark: the benchmark's name, the question's number in it from 0, its text, and its options
    if it is a multiple-choice question."""

    benchmark: str
    index: int
    problem: str
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Hit:
    """
    A benchmark question that a training question contains. With `match="question"` all of it stands there: `overlap`
    is 1, and `ngram` its beginning. With `"ngrams"` a part does: `overlap` is the share of the question's own n-grams
    that stand there, and `ngram` the first of them. `ngram` is normalized.
    """

    question: BenchmarkQuestion
    match: str
    overlap: float
    ngram: str


class _Prepared(NamedTuple):
    question: BenchmarkQuestion
    stem: str
    # Texts that are a hit by themselves: the stem, unless it needs its options, and the stem with them
    wholes: tuple[str, ...]
    options: frozenset[str]
    numbers: Counter


class ContaminationIndex:
    """
    The questions of some benchmarks, to be looked for in texts.

    A training question is hit by a benchmark question when, after normalization (case, spacing, punctuation, Unicode
    form), it contains the whole of it; or when it shares at least `min_overlap` of the n-grams that no other question
    of that benchmark has, and every number in it. A multiple-choice question whose stem is shared by several questions
    of the benchmark, or says nothing ("Which of the following is true?"), is hit only together with its options, or by
    a training question without any. One that is shorter than 30 characters without its spaces has to be the training
    question, rather than a part of it.
    """

    def __init__(self, questions: Iterable[BenchmarkQuestion], ngram_size: int = 13, min_overlap: float = 0.8):
        self.ngram_size = ngram_size
        self.min_overlap = min_overlap
        parsed = [(question, words) for question in questions if (words := tokens(question.problem))]
        self._prepared, alone = _prepare(parsed)
        self._by_whole: dict[str, list[int]] = defaultdict(list)
        wholes: list[tuple[int, str]] = []
        for number, item in enumerate(self._prepared):
            for whole in {item.stem, *item.wholes}:
                self._by_whole[whole].append(number)
                if len(whole) >= _SHORTEST_PART:
                    wholes.append((number, whole))
        self._by_anchor: dict[int, set[int]] = defaultdict(set)
        for (number, _), anchor in zip(wholes, _anchors([whole for _, whole in wholes]), strict=True):
            self._by_anchor[anchor].add(number)
        self._anchors = HashSet(self._by_anchor)
        self._index_ngrams([words for _, words in parsed], alone)

    def __len__(self) -> int:
        return len(self._prepared)

    def find(self, texts: Sequence[tuple[str, Sequence[str] | None]]) -> list[list[Hit]]:
        """For each text, a question and its options, the hits: the strongest for each benchmark."""
        words = [tokens(problem) for problem, _ in texts]
        squeezed = ["".join(each) for each in words]
        found: list[dict[str, Hit]] = [{} for _ in texts]
        options = [frozenset(_squeezed(choice) for choice in choices or ()) for _, choices in texts]
        for row, number in self._whole_candidates(squeezed):
            item = self._prepared[number]
            if _stands_in(item, squeezed[row], words[row], options[row]):
                start = " ".join(tokens(item.question.problem)[: self.ngram_size])
                found[row][item.question.benchmark] = Hit(item.question, "question", 1.0, start)
        for row, number, overlap, ngram in self._ngram_matches(words):
            item = self._prepared[number]
            best = found[row].get(item.question.benchmark)
            if best is not None and best.overlap >= overlap:
                continue
            if not item.numbers - _numbers(words[row]):
                found[row][item.question.benchmark] = Hit(item.question, "ngrams", overlap, ngram)
        return [list(hits.values()) for hits in found]

    def _whole_candidates(self, squeezed: list[str]) -> list[tuple[int, int]]:
        """Pairs of a text and a question that is the same or has its anchor in it, which are those to look at."""
        pairs = {(row, number) for row, text in enumerate(squeezed) for number in self._by_whole.get(text, ())}
        encoded = [text.encode() for text in squeezed]
        hashes = window_hashes(np.frombuffer(b"\n".join(encoded), dtype=np.uint8), _ANCHOR)
        positions = self._anchors.positions(hashes)
        ends = np.cumsum([len(data) + 1 for data in encoded])
        for row, key in zip(np.searchsorted(ends, positions, side="right"), hashes[positions], strict=True):
            pairs.update((int(row), number) for number in self._by_anchor[int(key)])
        return sorted(pairs)

    def _index_ngrams(self, words: list[list[str]], alone: np.ndarray) -> None:
        """Find each question's n-grams that no other question of its benchmark has."""
        vocabulary = {word for each in words if len(each) >= self.ngram_size for word in each}
        self._vocabulary = {word: digest(word) | 1 for word in vocabulary}
        hashes, question, position = self._hash_ngrams(words)
        names = {item.question.benchmark: number for number, item in enumerate(self._prepared)}
        benchmark = np.array([names[item.question.benchmark] for item in self._prepared], dtype=np.int64)
        stems: dict[str, int] = {}
        stem = np.array([stems.setdefault(item.stem, len(stems)) for item in self._prepared], dtype=np.int64)
        # Of what occurs several times in one question, the first
        order = np.lexsort((position, question, hashes))
        first = np.ones(len(order), dtype=bool)
        first[1:] = (np.diff(hashes[order]) != 0) | (np.diff(question[order]) != 0)
        order = order[first]
        order = order[np.lexsort((stem[question[order]], hashes[order], benchmark[question[order]]))]
        hashes, question, position = hashes[order], question[order], position[order]
        own = np.zeros(len(order), dtype=bool)
        if len(order):
            starts = np.flatnonzero(np.r_[True, (np.diff(hashes) != 0) | (np.diff(benchmark[question]) != 0)])
            of_question = stem[question]
            one = np.minimum.reduceat(of_question, starts) == np.maximum.reduceat(of_question, starts)
            own = np.repeat(one, np.diff(np.r_[starts, len(order)])) & alone[question]
        order = np.argsort(hashes[own], kind="stable")
        self._ngram_hashes = hashes[own][order]
        self._ngram_question = question[own][order]
        self._ngram_position = position[own][order]
        self._own_ngrams = np.bincount(self._ngram_question, minlength=len(words))
        self._words = words
        self._ngrams = HashSet(self._ngram_hashes)

    def _hash_ngrams(self, words: list[list[str]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Hash, text and position in it of every n-gram; a word that no benchmark has counts as 0."""
        size, number = self.ngram_size, self._vocabulary.get
        ids = np.array([number(word, 0) for each in words for word in each], dtype=np.uint64)
        lengths = np.array([len(each) for each in words], dtype=np.int64)
        hashes = window_hashes(ids, size)
        row = np.repeat(np.arange(len(words)), lengths)[: len(hashes)]
        position = np.arange(len(hashes)) - (np.cumsum(lengths) - lengths)[row]
        inside = position + size <= lengths[row]
        return hashes[inside], row[inside], position[inside]

    def _ngram_matches(self, words: list[list[str]]) -> Iterator[tuple[int, int, float, str]]:
        """Pairs of a text and a question that share enough n-grams, with the share and the first of them."""
        hashes, row, _ = self._hash_ngrams(words)
        positions = self._ngrams.positions(hashes)
        hashes, row = hashes[positions], row[positions]
        left = np.searchsorted(self._ngram_hashes, hashes, side="left")
        count = np.searchsorted(self._ngram_hashes, hashes, side="right") - left
        entry = np.repeat(left - (np.cumsum(count) - count), count) + np.arange(count.sum())
        # An entry is one n-gram of one question: counted once for each text
        pairs = np.unique(np.stack([np.repeat(row, count), entry]), axis=1) if len(entry) else np.empty((2, 0), int)
        row, question = pairs[0], self._ngram_question[pairs[1]]
        key = row * len(self._words) + question
        order = np.lexsort((self._ngram_position[pairs[1]], key))
        keys, start, shared = np.unique(key[order], return_index=True, return_counts=True)
        overlap = shared / self._own_ngrams[question[order][start]]
        for each in np.flatnonzero(overlap >= self.min_overlap):
            row, number = divmod(int(keys[each]), len(self._words))
            position = self._ngram_position[pairs[1][order[start[each]]]]
            ngram = " ".join(self._words[number][position : position + self.ngram_size])
            yield row, number, float(overlap[each]), ngram


def _prepare(parsed: list[tuple[BenchmarkQuestion, list[str]]]) -> tuple[list[_Prepared], np.ndarray]:
    """The questions, and which of them can be told by their stem alone."""
    options = [[_squeezed(choice) for choice in question.choices] for question, _ in parsed]
    with_options: dict[tuple[str, str], set[frozenset[str]]] = defaultdict(set)
    for (question, words), choices in zip(parsed, options, strict=True):
        with_options[question.benchmark, "".join(words)].add(frozenset(choices))
    prepared, alone = [], np.ones(len(parsed), dtype=bool)
    for number, ((question, words), choices) in enumerate(zip(parsed, options, strict=True)):
        stem = "".join(words)
        wholes = [stem]
        if choices:
            about = sum(word not in _STEM_WORDS for word in words)
            alone[number] = len(with_options[question.benchmark, stem]) == 1 and about >= _DISTINCTIVE_WORDS
            lettered = [part for pair in zip(_LETTERS, choices, strict=False) for part in pair]
            wholes = [*([stem] if alone[number] else []), "".join([stem, *choices]), "".join([stem, *lettered])]
        prepared.append(_Prepared(question, stem, tuple(wholes), frozenset(choices), _numbers(words)))
    return prepared, alone


def _anchors(texts: list[str]) -> list[int]:
    """For each text the hash of one of its windows: of every eighth, the one that the fewest of the texts have."""
    hashes, text = [], []
    for number, each in enumerate(texts):
        mine = window_hashes(np.frombuffer(each.encode(), dtype=np.uint8), _ANCHOR)[::8]
        hashes.append(mine)
        text.append(np.full(len(mine), number))
    if not hashes:
        return []
    hashes, text = np.concatenate(hashes), np.concatenate(text)
    _, inverse, count = np.unique(hashes, return_inverse=True, return_counts=True)
    order = np.lexsort((np.arange(len(text)), count[inverse], text))
    first = order[np.r_[True, np.diff(text[order]) != 0]]
    return [int(value) for value in hashes[first]]


def _stands_in(item: _Prepared, text: str, words: list[str], options: frozenset[str]) -> bool:
    """Whether a benchmark question stands in a text with these words and options."""
    wholes = item.wholes
    if (item.options and item.options <= options) or (text == item.stem and not (item.options and options)):
        wholes += (item.stem,)
    for whole in wholes:
        if len(whole) >= _SHORTEST_PART and _contains(text, whole):
            return True
        # In so short a text 1, 2 is not to be taken for 12
        if text == whole and (whole != item.stem or item.numbers == _numbers(words)):
            return True
    return False


def _squeezed(text: object) -> str:
    return "".join(tokens(str(text)))


def _numbers(words: Iterable[str]) -> Counter:
    return Counter(word for word in words if word.isdigit())


def _contains(text: str, part: str) -> bool:
    """Whether `part` stands in `text`, without a number cut in two at its ends."""
    start = text.find(part)
    while start >= 0:
        end = start + len(part)
        cut_before = start > 0 and text[start - 1].isdigit() and part[0].isdigit()
        cut_behind = end < len(text) and text[end].isdigit() and part[-1].isdigit()
        if not (cut_before or cut_behind):
            return True
        start = text.find(part, start + 1)
    return False
