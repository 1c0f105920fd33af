"""Kind `choice`: the letter of a multiple-choice question, or the text of one of its options."""

import re
import unicodedata
from dataclasses import dataclass

from ..equality.latex import unwrap
from ..extraction.assertion import held_back, taken_back
from ..extraction.boxes import boxed_answer, ending_piece, final_piece
from ..extraction.piece import Piece
from ..extraction.statements import consecutive, replacements, said_at, stated_answers
from ..verdict import BAD_GOLD, HEDGED, MATCH, MISMATCH, NO_ANSWER, Verdict
from .kind import Options
from .wording import normalize_text


KIND = "choice"
MAX_STATEMENT = 500
MAX_BESIDE = 100
LETTERS = "ABCDEFGHIJ"

_LEADING = re.compile(
    r"^\W*(?:(?i:for sure|definitely|clearly|probably|most likely|likely|surely|certainly|indeed|also|therefore|thus|"
    r"simply|so|hence)\W+)?(?:I(?:['’]m|\s+am)\s+(?i:\w+)(?:\s+that)?\s+)?"
    r"(?:(?:I|i)(?:\s+(?:would|will))?\s+(?i:think|believe|guess|say|choose|pick|select|go with)"
    r"(?:\s+that)?\s+)?(?i:(?:it(?:['’]s| is| must be)\s+)?(?:the\s+)?(?:(?:option|choice|letter|answer)\s+)?)"
    r"[\[({*\s]*(?:\\text\w*\s*\{\s*)?\(?([A-Z])(?![a-zA-Z'’])(?:[\])}*]|(?![\w]))?"
)
_ONE_LETTER = re.compile(r"\W*(?:(?:option|choice|letter|answer)\s+)?\W*([a-z])\W*", re.ASCII)
_PREDICATED = re.compile(
    r"(?:\b(?:is|are|be|was|choose|chose|pick|select|go\s+with)|:)\s*(?:\*\*)?(?:(?:option|choice|answer)\s+)?"
    r"(?:\(([A-Z])\)|([B-HJ-Z])(?![\w'’])|(A)(?=[.,;!?)]|$))"
    r"|\(([A-Z])\)\s+(?:is|are)\b"
)
_IN_RUN = re.compile(r"\(([A-Z])\)")
_RUN = re.compile(r"\([A-Z]\)(?:\s*(?:,|and|or|&|/|,\s*and|,\s*or)\s*\([A-Z]\))+")
_UNSURE = re.compile(r"\b(?:could|might|may|maybe|perhaps|possibly|possible|either)\b", re.I)
_NO_OPTION_FITS = re.compile(
    r"\bclosest\b|\bnot\s+(?:listed|among|in\s+the|provided|given)\b|\bincorrect\b|\bnone\s+of\b", re.I
)
_NO_AS_OPTION = re.compile(
    r"\s+(?:No|None|Neither|False)\b(?:\s[a-z]+){0,8}\W*"
)  # "(B) No" is the option that says "No"
_ANOTHER = re.compile(
    r"^[\s.)\]}*?]*(?:[,/&;+|、；，]|\band/or\b|\bor\b|\band\b|,\s*(?:or|and)\b|\(?\s*\b(?:or|and|maybe|perhaps|possibly)\b"
    r"|或者?|还是|和|与|及|\s(?=(?:\(?[A-Z]\)?[\s.]*){1,10}$))[\s,]*(?:maybe|perhaps|possibly|also|option|even|\s)*"
    r"[\[({*\s]*([A-Z])(?![a-zA-Z'’])"
)
_NOT_BUT = re.compile(
    r"^\W*(?:[^.\n]{1,80}\bbut\s+(?=\(?[A-Z]\)?\s+is\s+(?:the\s+)?(?:correct|right|best|answer)\b)"
    r"|(?:it(?:'s| is)\s+)?not\s+\W*[A-Z]\b[^\w\n]*(?:but|rather)\s+(?:rather\s+)?|[A-Z]\b\W*(?:is|was)\s+"
    r"(?:wrong|incorrect|false|ruled\s+out|not\s+(?:right|correct))\W+(?:(?:so|thus|hence|therefore|then|but)\W+)?(?=[A-Z]\b))",
    re.I,
)
# With nothing but these between letters, all of them are given
_ONLY_LETTERS = re.compile(
    r"(?:[\W_]|\b(?i:no|or|and|otherwise|else|then|wait|maybe|perhaps|possibly|probably|actually|also|even|option|choice|answer|"
    r"the|it|is|s|could|be|might|if|vs|versus|plus|sorry|oops|hmm|to|et|y|o|ou|und|oder|или|и)\b|或者?|还是|和|\d{1,3}\s?%"
    r"|(?<![a-zA-Z])[A-Z](?![a-zA-Z]))*+",
)
_LONE_LETTER = re.compile(r"(?<![a-zA-Z'’])[A-Z](?![a-zA-Z'’])")
_INVISIBLE = re.compile("[\u200b-\u200f\u2060\ufeff\u00ad]")
# "A because it is red" names an option, "A red one" does not
_ARTICLE = re.compile(r"(?:A|I)\s+(?!(?:because|since|as|is|and|or|not|but|for|due|given)\b)[a-z]")
_CHOSEN = re.compile(
    r"(?:(?<![不未])(?<!不[能应该可])选[择项]?|正确(?:答案|选项)|答案选?)\s*(?:应?[是为]|：|:)?\s*[（(]?([A-Z])(?![a-zA-Z])"
)
_NEGATED_RUN = re.compile(
    r"(?:(?<!\bif )\bnot|n['’]t|\bnever|\bnor|\bneither|\bexcept|\brather\s+than|\binstead\s+of|不是)\W*"
    r"(?:[a-z]+\W+){0,2}?\(?[A-Z]\b(?:(?:\W|\b(?:or|and|nor)\b)*[A-Z]\b)*"
)
_GOLD_LETTER = re.compile(r"^\W*\(?([A-Za-z])\)?(?:\s*[.):,]|\s+\S|\W*$)")
_IS_CORRECT = re.compile(
    r"\(?\b([A-Z])\)?\s*(?:\([^)]*\)\s*)?(?:is|must be|would be|seems)\s+(?:the\s+)?(?:(?!not\b|never\b)\w+\s+)?"
    r"(?:correct|right|answer|best)\b"
)
# In the sentence of an answer, before its reason
_HEDGING = re.compile(r"\b(?:or|if|unless|otherwise|might|may|possib\w+|perhaps|maybe)\b", re.IGNORECASE)
_REASON = re.compile(r"\b(?:because|since|as|so|therefore|which|where|due|given)\b|[.!?](?=\s)")
_SENTENCE_JOINT = re.compile(r"(?<=[.!?])\s+")
# A letter on its own, and what may stand between it and the text of its option
_NAMED = re.compile(r"(?<![a-zA-Z])([a-zA-Z])(?![a-zA-Z'’])")
_OPTION_JOINT = re.compile(r"[\s.:)\]}*$]*")


class _Compatible(dict):
    """For `str.translate`: the plain form of each character, `B` for a full-width or bold one.

    Normalizing a text as a whole takes quadratic time where many accents follow each other.
    """

    def __missing__(self, code: int) -> str:
        return chr(code) if code < 128 else unicodedata.normalize("NFKC", chr(code))


_COMPATIBLE = _Compatible()


def gold_letter(gold: str, choices: tuple[str, ...] | None) -> str | None:
    """The letter of the gold answer, given as a letter, as `"(C) text"`, or as the text of one of the options."""
    text = unwrap(gold.strip())
    if choices and len(text) > 1 and (by_text := _letter_of_text(text, choices)):
        return by_text
    match = _GOLD_LETTER.match(re.sub(r"\\text\w*\s*\{([^{}]*)\}", r"\1", text))
    if match and (len(text) <= 4 or match.group(1).isupper() and not re.match(r"(?:A|I)\s+[a-z]", text)):
        letter = match.group(1).upper()
    else:
        statements = stated_answers(gold)
        match = _LEADING.match(statements[-1][2]) if statements else None
        letter = match.group(1) if match else None
    count = len(choices) if choices else 26
    return letter if letter and ord(letter) - ord("A") < count else None


def _letter_of_text(text: str, choices: tuple[str, ...]) -> str | None:
    wanted = normalize_text(text)
    found = [index for index, choice in enumerate(choices) if wanted and normalize_text(str(choice)) == wanted]
    return chr(ord("A") + found[0]) if len(found) == 1 else None


def _letters(said: str, letters: str, choices: tuple[str, ...] | None) -> list[str]:
    """The letters that a statement names as the answer: more than one for `(A) or (B)`."""
    said = said[:MAX_STATEMENT]
    said = re.sub(r"\\(?:text|mathrm|mathbf|textbf|boxed)\s*\{([^{}]*)\}", r"\1", said).strip()
    said = _NOT_BUT.sub("", said)
    if (alone := _ONE_LETTER.fullmatch(said)) and alone.group(1).upper() in letters:
        return [alone.group(1).upper()]
    match = _LEADING.match(said)
    if match and match.group(1) in letters and match.group().endswith(")"):
        by_text = _letter_of_text(said[match.end() :].strip(" .:,$"), choices) if choices else None
        if by_text or _NO_AS_OPTION.fullmatch(said, match.end()):
            return list(dict.fromkeys((match.group(1), by_text or match.group(1))))
    if (
        match is None
        or match.group(1) not in letters
        or taken_back(said[match.end() :])
        or _ARTICLE.match(said[match.start(1) :])
    ):
        text = _letter_of_text(said, choices) if choices else None
        if text is None and choices:
            match = re.match(r"(.*?)[.\n]", said)
            text = _letter_of_text(match.group(1), choices) if match else None
        return [text] if text else []
    found = [match.group(1)]
    rest = said[match.end() :]
    while (more := _ANOTHER.match(rest)) is not None and more.group(1) in letters:
        rest = rest[more.end() :]
        if taken_back(rest.lstrip("?")):
            break
        found.append(more.group(1))
    if len(rest) > MAX_BESIDE or not _ONLY_LETTERS.fullmatch(rest):
        rest = _REASON.split(rest[:MAX_BESIDE], maxsplit=1)[0]
    if _ONLY_LETTERS.fullmatch(rest) or _HEDGING.search(rest):
        rest = _NEGATED_RUN.sub("", rest)
        found += [
            other.group()
            for other in _LONE_LETTER.finditer(rest)
            if other.group() in letters
            and not taken_back(rest[other.end() :])
            and not _ARTICLE.match(rest[other.start() :])
        ]
    return list(dict.fromkeys(found))


def _predicated(text: str, letters: str) -> list[str]:
    """The letters that a sentence says something of, with those that are joined to them by "and" or "or"."""
    found: list[str] = []
    for match in _PREDICATED.finditer(text):
        if held_back(text[: match.start()]) or taken_back(text[match.end(match.lastindex or 0) :]):
            continue
        run = next((run for run in _RUN.finditer(text) if run.start() < match.end() <= run.end() + 6), None)
        said = text[match.start(match.lastindex or 0) :]
        named = _IN_RUN.findall(run.group(0)) if run else _letters(said, letters, None) or [said[0]]
        found.extend(letter for letter in named if letter in letters)
    return list(dict.fromkeys(found))


@dataclass(frozen=True, slots=True)
class Choice:
    """The letters that a completion gives as its answer, the rule by which they were found, and the part that says so.

    Attributes:
        letters (`list[str]`): the letters.
        rule (`str` or `None`): how they were found.
        piece (`Piece` or `None`): the text that names them.
    """

    letters: list[str]
    rule: str | None
    piece: Piece | None = None


def extract_choice(completion: str, choices: tuple[str, ...] | None = None, require_boxed: bool = False) -> Choice:
    """The letters that the completion gives as its answer, and the rule by which they were found."""
    letters = "".join(chr(ord("A") + index) for index in range(min(26, len(choices)))) if choices else LETTERS
    piece, prefix = final_piece(completion)
    if not piece.text.isascii():
        piece = piece.translate(_COMPATIBLE).sub(_INVISIBLE, "")
    text = piece.text
    boxed = boxed_answer(text)
    if boxed.rule is not None:
        said = (boxed.answer or "", *boxed.others, *replacements(text[boxed.end :]))
        found = [letter for answer in said for letter in _letters(answer, letters, choices)]
        return Choice(list(dict.fromkeys(found)), prefix + boxed.rule, piece[slice(*boxed.span or (0, 0))])
    if require_boxed or not text:
        return Choice([], prefix.rstrip(":") or None)
    piece = ending_piece(piece)
    text = piece.text
    statements = stated_answers(text)
    for index in range(len(statements) - 1, -1, -1):
        found = _letters(statements[index][2], letters, choices)
        if found:
            for other in consecutive(text, statements[: index + 1]):
                found.extend(letter for letter in _letters(other, letters, choices) if letter not in found)
            return Choice(found, prefix + "answer_is", piece[slice(*said_at(text, *statements[index]))])
    if chosen := [match for match in _CHOSEN.finditer(text) if match.group(1) in letters]:
        found = _letters(text[chosen[-1].start(1) :], letters, choices)
        return Choice(found, prefix + "answer_is", piece[chosen[-1].start(1) :])
    if len(text) <= 200 and (found := _letters(text, letters, choices)):
        return Choice(found, prefix + "leading", piece)
    correct = (match for match in _IS_CORRECT.finditer(text) if match.group(1) in letters)
    if matches := [match for match in correct if not held_back(text[: match.start()])]:
        return Choice([matches[-1].group(1)], prefix + "is_correct", piece[slice(*matches[-1].span(1))])
    line = piece[text.rfind("\n") + 1 :].strip()
    if found := _letters(line.text, letters, choices):
        return Choice(found, prefix + "last_line", line)
    sentence = line[([0] + [match.end() for match in _SENTENCE_JOINT.finditer(line.text)])[-1] :]
    if _NO_OPTION_FITS.search(sentence.text):
        return Choice([], None)
    if found := _letters(sentence.text, letters, choices):
        return Choice(found, prefix + "last_sentence", sentence)
    named = line if _UNSURE.search(sentence.text) else sentence
    found = _predicated(named.text, letters)
    return Choice(found, prefix + "last_sentence", named) if found else Choice([], None)


def find_answer(prediction: str, gold: str, options: Options) -> tuple[int, int] | None:
    """
    Where the final answer stands: the letter, or all of them from the first to the last, with the text of its option
    where that follows; else all that names it.
    """
    choice = extract_choice(prediction, options.choices, options.require_boxed)
    if not choice.letters or choice.piece is None:
        return None
    text = choice.piece.text
    named = [match for match in _NAMED.finditer(text[:MAX_STATEMENT]) if match[1].upper() in choice.letters]
    plain = [match for match in named if match[1].isupper()] or named
    if not plain:
        return choice.piece.origin(0, len(text))
    start, end = plain[0].start(1), plain[-1].end(1)
    if options.choices:
        option = options.choices[ord(plain[-1][1].upper()) - ord("A")].strip()
        between = _OPTION_JOINT.match(text, end).end()  # type: ignore[union-attr]
        if option and text[between : between + len(option)].lower() == option.lower():
            end = between + len(option)
    return choice.piece.origin(start, end)


def judge(prediction: str, gold: str, options: Options) -> Verdict:
    """Judge one choice."""
    expected = gold_letter(gold, options.choices)
    if expected is None:
        return Verdict(None, None, BAD_GOLD, KIND)
    choice = extract_choice(prediction, options.choices, options.require_boxed)
    found, rule = choice.letters, choice.rule
    if not found:
        return Verdict(False, None, NO_ANSWER, KIND, rule)
    extracted = ", ".join(found)
    if len(found) > 1:
        return Verdict(False, extracted, HEDGED, KIND, rule)
    correct = found[0] == expected
    return Verdict(correct, extracted, MATCH if correct else MISMATCH, KIND, rule)
