"""Residue classes: `x = 2 (mod 5)`, "congruent to 2 or 3 modulo 4", `4k + 2` for integers k."""

import math
import re

from .latex import TEXT


_MODULUS = r"\\?\(?\s*\\?[pb]?mod(?:ulo)?(?![a-z])\s*\{?\s*(\d{1,6})\s*\}?\s*\)?"
_RESIDUES = r"(-?\d{1,9}(?:\s*(?:,|or|and|,\s*or|,\s*and)\s*-?\d{1,9})*)"
_CONGRUENT = re.compile(
    r".{0,40}?(?:(?<![a-zA-Z])(?P<name>[a-zA-Z])\s*)?(?:\\equiv|≡|(?:is |are )?congruent to)\s*"
    rf"{_RESIDUES}[\s,]*{_MODULUS}[\s.]*"
)
_PROGRESSION = re.compile(r"(?:([a-zA-Z])\s*=\s*)?(\d{1,6})\s*([a-zA-Z])\s*(?:([+-])\s*(\d{1,6}))?")
_PLUS_MINUS = re.compile(r"((?:\\equiv|≡)\s*)\\pm\s*(\d+)")
_JOINT = re.compile(r"\s*(?:,?\s*\b(?:or|and)\b|[,;])\s*")
MAX_LENGTH = 200
MAX_MODULUS = 10**6

Classes = tuple[str, int, frozenset[int], bool]


def classes(text: str) -> Classes | None:
    """The name (or ""), the modulus, the residues, and whether a modulus is said; `None` if these are no classes."""
    if len(text) > MAX_LENGTH:
        return None
    text = " ".join(TEXT.sub(r" \1 ", text).replace("$", " ").split())
    text = _PLUS_MINUS.sub(r"\1\2, -\2", text)
    several = [_CONGRUENT.fullmatch(part) for part in _JOINT.split(text)] if text.count("mod") > 1 else []
    if several and None not in several:
        found = [classes(part[0]) for part in several]
        if None in found or len({part[:2] for part in found}) > 1:
            return None
        return found[0][0], found[0][1], frozenset().union(*(part[2] for part in found)), True
    if match := _CONGRUENT.fullmatch(text):
        modulus = int(match[3])
        found = {int(residue) % modulus for residue in re.findall(r"-?\d+", match[2])} if modulus else None
        return None if found is None else (match["name"] or "", modulus, frozenset(found), True)
    parts = [
        _PROGRESSION.fullmatch(part.strip()) for part in re.split(r",?\s*\b(?:or|and)\b\s*|,", text) if part.strip()
    ]
    if not parts or None in parts:
        return None
    names, moduli, letters = ({part[index] for part in parts} - {None} for index in (1, 2, 3))
    if len(names) > 1 or len(moduli) > 1 or len(letters) > 1 or names & letters:
        return None
    modulus = int(moduli.pop())
    if not modulus:
        return None
    residues = {int((part[4] or "") + (part[5] or "0")) % modulus for part in parts}
    return next(iter(names), ""), modulus, frozenset(residues), False


def equal(one: Classes, other: Classes) -> bool:
    """Whether two sets of residue classes are the same; one of them must say its modulus."""
    if not (one[3] or other[3]) or (one[0] and other[0] and one[0] != other[0]):
        return False
    common = math.lcm(one[1], other[1])
    if common > MAX_MODULUS:
        return False
    sets = [{residue for start in side[2] for residue in range(start, common, side[1])} for side in (one, other)]
    return sets[0] == sets[1]
