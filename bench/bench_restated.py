"""How many problems a copy wins: each formula of a question, boxed, judged as the answer to it.

    python bench/bench_restated.py [--data FOLDER] [--problems 2000] [--seed 13] [--no-math-verify]

A problem is won where one of its formulas is accepted that is not written as the gold answer is. One problem in three
is set aside: look at those that are won among the others (`--show`), and at nothing but the count of these.
"""

import argparse
import json
import logging
import os
import random
import re
from pathlib import Path

from rich.console import Console
from rich.table import Table

from glow_trl.verifiers import VerifierPool
from glow_trl.verifiers.equality.latex import normalize
from glow_trl.verifiers.restated import MODES, without_copies


FORMULA = re.compile(r"\$\$(.+?)\$\$|\$(.+?)\$|\\\[(.+?)\\\]|\\\((.+?)\\\)", re.DOTALL)
EQUALS = re.compile(r"=(?![^{}]*\})")  # in no braces


def formulas(row: dict) -> list[str]:
    """The formulas of a question, and the sides of its equations, but for what is the gold answer itself."""
    found = [next(filter(None, match.groups())) for match in FORMULA.finditer(row["problem"])]
    found += [side for formula in found if "=" in formula for side in EQUALS.split(formula) if side.strip()]
    gold = normalize(row["answer"]).replace(" ", "")
    return [formula for formula in dict.fromkeys(found) if normalize(formula).replace(" ", "") != gold]


def math_verify_accepts(copy: str, gold: str) -> bool:
    import math_verify

    return math_verify.verify(math_verify.parse(rf"$\boxed{{{gold}}}$"), math_verify.parse(rf"$\boxed{{{copy}}}$"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = os.environ.get("GLOW_TRL_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data"
    parser.add_argument("--data", type=Path, default=default)
    parser.add_argument("--problems", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=13)
    parser.add_argument("--show", action="store_true", help="what wins in strict mode, of the problems not set aside")
    parser.add_argument("--no-math-verify", action="store_true")
    options = parser.parse_args()
    file = Path(options.data) / "qa_math_train.jsonl"
    if not file.is_file():
        Console().print(f"no real data at {options.data}: nothing measured (--data)")
        return
    rows = [json.loads(line) for line in file.open(encoding="utf-8")]
    rows = random.Random(options.seed).sample(rows, min(options.problems, len(rows)))
    copies = [(number, copy) for number, row in enumerate(rows) for copy in formulas(row)]
    won: dict[str, set[int]] = {}
    with VerifierPool(workers=2) as pool:
        verdicts = pool.verify_batch(
            [rf"\boxed{{{copy}}}" for _, copy in copies], [rows[number]["answer"] for number, _ in copies]
        )
    for mode in MODES:
        right = [
            (number, copy)
            for (number, copy), verdict in zip(copies, verdicts, strict=True)
            if without_copies(verdict, rows[number]["answer"], rows[number]["problem"], mode).correct
        ]
        won[mode] = {number for number, _ in right}
        for number, copy in right if options.show and mode != MODES[0] else ():
            if number % 3:
                print(mode, repr(copy), repr(rows[number]["answer"]), rows[number]["problem"][:160], sep=" | ")
    if not options.no_math_verify:
        logging.getLogger("math_verify").setLevel(logging.CRITICAL)
        won["math-verify"] = {number for number, copy in copies if math_verify_accepts(copy, rows[number]["answer"])}
    aside = set(range(0, len(rows), 3))
    table = Table(
        "judge", "problems won", "of those not set aside", "of those set aside", title=f"{len(rows)} problems"
    )
    for name, numbers in won.items():
        table.add_row(
            name,
            f"{len(numbers)} of {len(rows)}",
            f"{len(numbers - aside)} of {len(rows) - len(aside)}",
            f"{len(numbers & aside)} of {len(aside)}",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
