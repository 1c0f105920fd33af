"""Computer algebra on answers that exact arithmetic does not settle. Runs in worker processes only."""

from .answers import Answer, Relation, Scalar, Several
from .comparison import equal_texts


def warm_up() -> None:
    """Import what takes long, and parse once, so that forked workers need not."""
    from math_verify import parse, verify

    verify(parse(r"$\frac{1}{2}$", parsing_timeout=None), parse("$0.5$", parsing_timeout=None), timeout_seconds=None)


def answers_equal(prediction: str, gold: str) -> bool:
    """Whether two answers are equal, with all means; may take any time and any memory."""
    return bool(equal_texts(prediction, gold, compare))


def compare(prediction: Answer, gold: Answer) -> bool:
    """Whether two answers that the structural comparison left undecided are equal."""
    from math_verify import parse, verify

    one, other = (parse(f"${_latex(answer)}$", parsing_timeout=None) for answer in (prediction, gold))
    if not one or not other:
        return False
    return verify(other, one, timeout_seconds=None, allow_set_relation_comp=True)


def _latex(answer: Answer) -> str:
    if isinstance(answer, Scalar):
        return answer.text
    if isinstance(answer, Relation):
        pairs = zip(answer.sides, (*answer.operators, ""), strict=True)
        return " ".join(part.replace("!=", r"\neq") for pair in pairs for part in pair)
    if isinstance(answer, Several):
        if answer.brackets == "U":
            return r" \cup ".join(_latex(item) for item in answer.items)
        inner = ", ".join(_latex(item) for item in answer.items)
        opening, closing = answer.brackets or "{}"
        return opening.replace("{", r"\{") + inner + closing.replace("}", r"\}")
    return ""
