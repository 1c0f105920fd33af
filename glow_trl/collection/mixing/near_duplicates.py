"""
Completions that nearly repeat another one.

Similarity is the Jaccard index of the sets of character windows, estimated from samples of their hashes: all hashes
below a bound, as in Broder's modulo sketches ("On the resemblance and containment of documents", 1997). The bound is
2^32 for a text of up to 256 windows, whose similarity is then exact, and halves each time the length doubles.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from .text import mixed, window_hashes


WINDOW = 20
SKETCH_SIZE = 128


class Sketches:
    """
    Samples of the hashed character windows of texts, gathered batch by batch. About 128 to 256 numbers of 4 bytes are
    kept of each text.
    """

    def __init__(self):
        self._values: list[np.ndarray] = []
        self._sizes: list[np.ndarray] = []
        self._lower: list[np.ndarray] = []
        self._levels: list[np.ndarray] = []

    def add(self, texts: Sequence[str]) -> None:
        """Sketch texts. Case and spacing do not count."""
        encoded = [" ".join(text.casefold().split()).encode("utf-8", "replace") for text in texts]
        # A text shorter than one window is filled up to one
        encoded = [data.ljust(WINDOW, b"\0") for data in encoded]
        lengths = np.array([len(data) for data in encoded])
        hashes = window_hashes(np.frombuffer(b"".join(encoded), dtype=np.uint8), WINDOW)
        row = np.repeat(np.arange(len(texts)), lengths)[: len(hashes)]
        windows = lengths - WINDOW + 1
        inside = np.arange(len(hashes)) - (np.cumsum(lengths) - lengths)[row] < windows[row]
        values = (mixed(hashes, 0) >> np.uint64(32))[inside]
        row = row[inside]
        levels = np.maximum(np.floor(np.log2(windows / SKETCH_SIZE)), 0).astype(np.int8)
        bound = np.uint64(1 << 32) >> levels.astype(np.uint64)
        below = values < bound[row]
        kept = np.sort((row[below].astype(np.uint64) << np.uint64(32)) | values[below])
        kept = kept[np.r_[True, np.diff(kept) != 0]]
        row, values = (kept >> np.uint64(32)).astype(np.int64), (kept & np.uint64(0xFFFFFFFF)).astype(np.uint32)
        self._values.append(values)
        self._sizes.append(np.bincount(row, minlength=len(texts)))
        # How many lie below the next lower bound, for the comparison with a longer text
        self._lower.append(np.bincount(row[values < bound[row] // np.uint64(2)], minlength=len(texts)))
        self._levels.append(levels)

    def duplicates(
        self, group: np.ndarray, priority: np.ndarray, eligible: np.ndarray, threshold: float
    ) -> Iterator[tuple[int, int, float]]:
        """
        Find texts that nearly repeat another of their group: the number of a text, that of the kept one that it
        repeats, and their similarity. Of similar texts the one with the lowest `priority` is kept; only `eligible`
        ones are looked at. The arrays have shape `(n,)`.
        """
        if not self._values:
            return
        values, sizes, lower, levels = map(np.concatenate, (self._values, self._sizes, self._lower, self._levels))
        starts = np.cumsum(sizes) - sizes
        rows = np.flatnonzero(eligible)
        rows = rows[np.lexsort((priority[rows], group[rows]))]
        cuts = np.flatnonzero(np.diff(group[rows])) + 1
        for members in np.split(rows, cuts):
            if len(members) > 1:
                yield from _compare(members, values, starts, sizes, lower, levels, threshold)


def _compare(members, values, starts, sizes, lower, levels, threshold) -> Iterator[tuple[int, int, float]]:
    """Compare each text of a group with those before it that are kept."""
    slices = [values[starts[row] : starts[row] + sizes[row]] for row in members]
    universe, codes = np.unique(np.concatenate(slices), return_inverse=True)
    size, below, level = sizes[members], lower[members], levels[members]
    begins = np.cumsum(size) - size
    mark = np.zeros(len(universe), dtype=bool)
    kept = np.ones(len(members), dtype=bool)
    for i in range(1, len(members)):
        mine = codes[begins[i] : begins[i] + size[i]]
        mark[mine] = True
        shared = np.add.reduceat(mark[codes[: begins[i]]], begins[:i], dtype=np.int64)
        mark[mine] = False
        higher = level[:i] > level[i]
        lesser = level[:i] < level[i]
        union = np.where(lesser, below[:i], size[:i]) + np.where(higher, below[i], size[i]) - shared
        close = kept[:i] & (np.abs(level[:i] - level[i]) <= 1)
        similarity = np.where(close, shared / np.maximum(union, 1), 0.0)
        best = int(np.argmax(similarity))
        if similarity[best] >= threshold:
            kept[i] = False
            yield int(members[i]), int(members[best]), float(similarity[best])
