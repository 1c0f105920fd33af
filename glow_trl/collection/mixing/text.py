"""Texts reduced to what matters when they are compared, and digests of them."""

import hashlib
import re
import unicodedata
from collections.abc import Iterable

import numpy as np


# Words, numbers and operators: punctuation and typesetting marks are left out, a sign that changes a sum is not
_TOKEN = re.compile(r"[^\W\d_]+|\d+|[-+*/=<>^]")
# Soft hyphens, zero-width characters, marks of direction
_INVISIBLE = re.compile("[\u00ad\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff]")
# Code of a drawing, in the data sets that were made from MATH
_DRAWING = re.compile(r"\[asy\].*?\[/asy\]", re.DOTALL | re.IGNORECASE)


def _plain(text: str) -> str:
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
        text = _INVISIBLE.sub("", text).replace("\N{MINUS SIGN}", "-")
        # Upper case takes both Turkish letters to others, case folding does not
        text = text.replace("\N{LATIN SMALL LETTER DOTLESS I}", "i")
        text = text.replace("\N{LATIN CAPITAL LETTER I WITH DOT ABOVE}", "i")
    return text.casefold()


def tokens(text: str) -> list[str]:
    """
    Words, numbers and arithmetic operators of a text, in order, without the code of drawings. Two texts that differ in
    case, spacing, punctuation or Unicode form only have the same ones.
    """
    text = _plain(text)
    if "[asy]" in text:
        text = _DRAWING.sub(" ", text)
    return _TOKEN.findall(text)


def question_key(problem: str) -> str:
    """What two wordings of a question have in common that differ in case, spacing or Unicode form only."""
    return " ".join(_plain(problem).split())


def digest(*parts: str | bytes | int) -> int:
    """64 bits that stand for the parts: the same in every process, on every machine."""
    state = hashlib.blake2b(digest_size=8)
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode("utf-8", "surrogatepass")
        state.update(len(data).to_bytes(8, "little"))
        state.update(data)
    return int.from_bytes(state.digest(), "little")


def mixed(values: np.ndarray, seed: int) -> np.ndarray:
    """
    Digests scattered by a seed (the finalizer of SplitMix64, Steele et al. 2014): a random order that depends on
    nothing but the digests and the seed. Both arrays are uint64, of the same shape.
    """
    with np.errstate(over="ignore"):
        mix = values + np.uint64(digest(seed))
        mix = (mix ^ (mix >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mix = (mix ^ (mix >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mix ^ (mix >> np.uint64(31))


def window_hashes(values: np.ndarray, width: int) -> np.ndarray:
    """
    Polynomial hashes of all windows of a sequence (Karp and Rabin, 1987), by doubling: `log2(width)` passes. A
    sequence of shape `(n,)` has hashes of shape `(max(n - width + 1, 0),)`, uint64.
    """
    if len(values) < width:
        return np.empty(0, dtype=np.uint64)
    count = len(values) - width + 1
    power, span = values.astype(np.uint64) + np.uint64(1), 1
    base = _BASE
    result, done = np.zeros(count, dtype=np.uint64), 0
    with np.errstate(over="ignore"):
        while True:
            if width & span:
                # The window's next `span` elements go behind those that are in the hash already
                result = result * np.uint64(base) + power[done : done + count]
                done += span
            if done == width:
                return result
            power = power[:-span] * np.uint64(base) + power[span:]
            base = base * base % (1 << 64)
            span *= 2


_BASE = 0x9E3779B97F4A7C15


class HashSet:
    """Which of many hashes belong to a small set."""

    def __init__(self, hashes: Iterable[int] | np.ndarray):
        self.values = np.unique(np.fromiter(hashes, dtype=np.uint64))
        bits = max(16, int(len(self.values)).bit_length() + 5)
        self._shift = np.uint64(64 - bits)
        # Most hashes are turned away by one look into a table
        self._table = np.zeros(1 << bits, dtype=bool)
        self._table[self._slots(self.values)] = True

    def _slots(self, hashes: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            return (hashes * np.uint64(_BASE)) >> self._shift

    def positions(self, hashes: np.ndarray) -> np.ndarray:
        """Positions in `hashes` of those that belong to the set."""
        maybe = np.flatnonzero(self._table[self._slots(hashes)])
        if not len(maybe) or not len(self.values):
            return maybe[:0]
        found = np.searchsorted(self.values, hashes[maybe])
        found[found == len(self.values)] = 0
        return maybe[self.values[found] == hashes[maybe]]
