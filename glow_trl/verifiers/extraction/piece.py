"""A text made of another one by cutting and replacing, that knows where its characters come from."""

import re
from collections.abc import Callable


Origin = Callable[[int], tuple[int, int]]


class Piece:
    """
    A text, and how it was made of another one. Nothing is kept for each character: where one comes from is only found
    out when it is asked.

    Args:
        text (`str`): the text.
        parent (`Piece`, *optional*): what it was made of.
        origin (`int` or `Callable`): where it begins there, or a function from the number of a character to start and
            end of what it was made of.
    """

    __slots__ = ("_origin", "_parent", "text")

    def __init__(self, text: str, parent: "Piece | None" = None, origin: int | Origin = 0):
        self.text = text
        self._parent = parent
        self._origin = origin

    def __getitem__(self, part: slice) -> "Piece":
        start, end, _ = part.indices(len(self.text))
        return Piece(self.text[start:end], self, start)

    def lstrip(self) -> "Piece":
        """As of `str`."""
        text = self.text.lstrip()
        return Piece(text, self, len(self.text) - len(text))

    def strip(self) -> "Piece":
        """As of `str`."""
        text = self.text.strip()
        return self if len(text) == len(self.text) else Piece(text, self, len(self.text) - len(self.text.lstrip()))

    def sub(self, pattern: re.Pattern, replacement: str | Callable[[re.Match], str]) -> "Piece":
        """As `pattern.sub`; all of a match is what each character of its replacement comes from."""
        text = self.text

        def origin(index: int) -> tuple[int, int]:
            shift = 0  # from the new text to the old one
            for match in pattern.finditer(text):
                if index + shift < match.start():
                    break
                made = replacement(match) if callable(replacement) else match.expand(replacement)
                if index + shift < match.start() + len(made):
                    return match.span()
                shift += match.end() - match.start() - len(made)
            return index + shift, index + shift + 1

        return Piece(pattern.sub(replacement, text), self, origin)

    def translate(self, table: dict[int, str]) -> "Piece":
        """As of `str`."""
        text = self.text

        def origin(index: int) -> tuple[int, int]:
            made = 0
            for place, character in enumerate(text):
                made += len(table[ord(character)])
                if index < made:
                    return place, place + 1
            return len(text), len(text)

        return Piece(text.translate(table), self, origin)

    def blank(self, start: int, end: int) -> "Piece":
        """The text with blanks from `start` to `end`."""
        return self._as(self.text[:start] + " " * (end - start) + self.text[end:])

    def read(self, text: str, region: Callable[[], tuple[int, int]]) -> "Piece":
        """A text that is read from a region of this one: from all of it where it does not stand there so."""

        def origin(index: int) -> tuple[int, int]:
            start, end = region()
            return (start + index, start + index + 1) if self.text[start:end] == text else (start, end)

        return Piece(text, self, origin)

    def _as(self, text: str) -> "Piece":
        return Piece(text, self._parent, self._origin)

    def origin(self, start: int, end: int) -> tuple[int, int]:
        """Start and end, in the first text, of what the characters from `start` to `end` come from."""
        piece = self
        while piece._parent is not None and start < end:
            if isinstance(piece._origin, int):
                start, end = start + piece._origin, end + piece._origin
            else:
                start, end = piece._origin(start)[0], piece._origin(end - 1)[1]
            piece = piece._parent
        return start, end
