"""Completions made to hang, crash or fill whatever reads them. Seeded; used by tests and benchmarks."""

import random
import string
from collections.abc import Iterator


def _tower(r: random.Random) -> str:
    height = r.randint(2, 12)
    return r"\boxed{" + "^{".join(str(r.randint(2, 99)) for _ in range(height)) + "}" * (height - 1) + "}"


def _factorial(r: random.Random) -> str:
    return rf"\boxed{{({r.randint(10**3, 10**12)}!)" + "!" * r.randint(0, 4) + "}"


def _integral(r: random.Random) -> str:
    inner = r.choice(
        [r"x^x", r"e^{-x^2}\sin(x^3)", r"\frac{\ln(1+x^x)}{\sqrt{x^7+1}}", r"\sin(\sin(\sin(x)))", r"x^{x^{x}}"]
    )
    return rf"\boxed{{\int_0^{{{r.randint(1, 99)}}} {inner} \, dx}}"


def _sum(r: random.Random) -> str:
    operator = r.choice([r"\sum", r"\prod"])
    return rf"\boxed{{{operator}_{{n=1}}^{{{10 ** r.randint(4, 12)}}} \frac{{n!}}{{n^{{n}}+{r.randint(1, 9)}}}}}"


def _digits(r: random.Random) -> str:
    return r"The answer is \boxed{" + "".join(r.choices(string.digits, k=r.choice([5_000, 50_000, 200_000]))) + "}"


def _bare_digits(r: random.Random) -> str:
    separator = r.choice(["", ",", " ", ".", "/", "e", "-"])
    return separator.join("".join(r.choices(string.digits, k=3)) for _ in range(r.choice([300, 3_000, 50_000])))


def _brackets(r: random.Random) -> str:
    opening = r.choice(["(", "[", "{", r"\{", r"\left(", "((", "[("])
    count = r.choice([200, 5_000, 200_000 // len(opening)])
    closing = r.choice(["", "".join({"(": ")", "[": "]", "{": "}"}.get(c, "") for c in reversed(opening)) * count])
    return r.choice([r"\boxed{", "", "The answer is "]) + opening * count + "1" + closing


def _nested(r: random.Random) -> str:
    depth = r.choice([20, 100, 1_000, 20_000])
    return r.choice(
        [
            r"\boxed{" + r"\frac{1}{1+" * depth + "x" + "}" * depth + "}",
            r"\boxed{" + r"\sqrt{" * depth + "2" + "}" * depth + "}",
            r"\boxed{" * depth + "5" + "}" * depth,
            r"\boxed{" + "-" * depth + "5}",
            r"\boxed{" + r"\text{" * depth + "5" + "}" * depth + "}",
            r"\boxed{" + "x^{" * depth + "2" + "}" * depth + "}",
            r"\boxed{" + r"\sin(" * depth + "x" + ")" * depth + "}",
        ]
    )


def _control(r: random.Random) -> str:
    alphabet = [
        chr(code) for code in (*range(32), 0x7F, 0x85, 0x2028, 0x2029, 0x200B, 0xFEFF, 0x202E, 0xFFFD, 0x10FFFF)
    ]
    return r"\boxed{" + "".join(r.choices([*alphabet, "5", "\ud800"], k=r.randint(1, 2_000))) + "}"


def _broken(r: random.Random) -> str:
    pieces = [
        r"\frac",
        "{",
        "}",
        "1",
        "^",
        "_",
        "&",
        r"\\",
        r"\begin{pmatrix}",
        r"\end{array}",
        "$",
        r"\left",
        r"\boxed{",
        "%",
        "#",
        r"\sqrt[",
        "]",
        "x",
        "+",
        "=",
        "|",
        r"\[",
        r"\)",
    ]
    return "".join(r.choices(pieces, k=r.randint(1, 400)))


def _repeats(r: random.Random) -> str:
    piece = r.choice(
        [
            *(
                "a",
                " ",
                "1,",
                "1 ",
                "the answer is ",
                "answer: ",
                "not ",
                "**",
                "$",
                "$ ",
                r"\(",
                r"\[ ",
                "= ",
                "-",
                "\\",
                "x=1,",
                "or ",
            ),
            *(
                "1 and ",
                "A or B, ",
                "(A) ",
                "the the ",
                "####",
                "\n",
                "<think>",
                "</think>",
                "<answer>",
                "<|im_end|>",
                "is ",
                "1/",
                "x_",
            ),
            *(
                r"\boxed{",
                r"\boxed{1}",
                r"\boxed{1} or ",
                r"\text{",
                r"\frac",
                "^",
                "_",
                "!",
                ".",
                "...",
                "é",
                "数",
                "m",
                "cm ",
                "e1",
                "b c ",
            ),
        ]
    )
    return r.choice(["", "The answer is "]) + piece * r.choice([50, 1_000, 20_000]) + r.choice(["", "!", "5", "\n5"])


def _bytes(r: random.Random) -> str:
    return r.randbytes(r.choice([10, 500, 5_000])).decode(r.choice(["latin-1", "utf-8"]), errors="replace")


def _algebra(r: random.Random) -> str:
    return r.choice(
        [
            rf"\boxed{{(x+y+z+{r.randint(1, 9)})^{{{r.randint(50, 4000)}}}}}",
            rf"\boxed{{\sin({r.randint(10, 99)}^{{{r.randint(10**4, 10**9)}}})}}",
            rf"\boxed{{\binom{{{10 ** r.randint(6, 15)}}}{{{10 ** r.randint(4, 9)}}}}}",
            rf"\boxed{{\lim_{{x \to 0}} \frac{{\sin^{{{r.randint(20, 99)}}}(x)}}{{x^{{{r.randint(20, 99)}}}}}}}",
            rf"\boxed{{x^{{{r.randint(5, 99)}}} - x^{{3}} + {r.randint(2, 9)} < 0}}",
            rf"\boxed{{\sqrt[{r.randint(2, 9)}]{{{r.randint(10**200, 10**300)}}}}}",
            rf"\boxed{{10^{{-{10 ** r.randint(3, 12)}}}}}",
            r"\boxed{" + "+".join(rf"\sqrt{{x_{{{i}}}+{i}}}" for i in range(r.randint(10, 120))) + "}",
        ]
    )


GENERATORS = (
    *(
        _tower,
        _factorial,
        _integral,
        _sum,
        _digits,
        _bare_digits,
        _brackets,
        _nested,
        _control,
        _broken,
        _repeats,
        _bytes,
    ),
    _algebra,
)
GOLDS = (
    "5",
    r"\frac{1}{2}",
    "x^2+1",
    "(1,2)",
    r"\sqrt{2}",
    "1,2,3",
    r"\text{yes}",
    "[0,1)",
    "2x+3y=6",
    r"\sin x",
    "10^{10}",
)


def hostile(count: int, seed: int = 0) -> Iterator[tuple[str, str]]:
    """`count` pairs of a hostile completion and a harmless gold answer."""
    r = random.Random(seed)
    for index in range(count):
        yield GENERATORS[index % len(GENERATORS)](r), r.choice(GOLDS)
