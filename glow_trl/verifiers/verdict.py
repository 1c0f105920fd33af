"""What a verifier says about one completion, and what it was asked."""

from dataclasses import dataclass


# Why a verdict is what it is: "match" alone has `correct=True`, "bad_gold" alone has `correct=None`.
MATCH = "match"
MISMATCH = "mismatch"
NO_ANSWER = "no_answer"
HEDGED = "hedged"
RESTATED = "restated"
TIMEOUT = "timeout"
ERROR = "error"
BAD_GOLD = "bad_gold"

REASONS = (MATCH, MISMATCH, NO_ANSWER, HEDGED, RESTATED, TIMEOUT, ERROR, BAD_GOLD)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The judgement of one completion.

    Attributes:
        correct (`bool` or `None`):
            `True` if the final answer equals the gold answer, `False` if it does not or none could be established,
            `None` only if the gold answer itself is unusable.
        extracted (`str` or `None`):
            The final answer as found in the completion.
        reason (`str`):
            - `"match"`: the answers are equal;
            - `"mismatch"`: they are not;
            - `"no_answer"`: the completion has no final answer (or, with `require_boxed`, no boxed one);
            - `"hedged"`: the completion gives several different final answers;
            - `"restated"`: the answer equals the gold answer, but only restates the question;
            - `"timeout"`, `"error"`: the comparison ran past its time limit, or broke (out of memory, say, or it
              waited too long on a busy machine). The completion has not been shown to be wrong: see
              [`Verdict.judged`];
            - `"bad_gold"`: the gold answer is unusable.
        kind (`str`):
            The kind of verifier that judged.
        rule (`str` or `None`):
            The rule by which the answer was extracted, e.g. `"boxed"` or `"answer_is"`.
    """

    correct: bool | None
    extracted: str | None
    reason: str
    kind: str
    rule: str | None = None

    @property
    def judged(self) -> bool:
        """Whether there is a judgement at all: `False` for timeouts, errors and unusable gold answers."""
        return self.reason not in (TIMEOUT, ERROR, BAD_GOLD)
