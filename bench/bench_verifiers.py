"""Throughput of the verifiers against math-verify's own loop, on the core cases, in one run.

    python bench/bench_verifiers.py [--data FOLDER] [--rounds 3] [--cases FILE ...]

Both judge the same pairs; nothing is cached between rounds, and both have done their imports. math-verify has no
kinds: every case is judged as its README does, `verify(parse(gold), parse(prediction))`. The first table also tells
how often each of them is wrong.
"""

import argparse
import json
import logging
import os
import statistics
import sys
import time
from pathlib import Path


sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from rich.console import Console
from rich.table import Table

from glow_trl.verifiers import VerifierPool
from helpers.undecided import EQUAL


KIND_OF_CASE = {"equiv": "math", "verify": "math", "mcq": "choice", "text": "text"}
TRAJECTORIES = {
    "traj_gsm8k_openai": "math",
    "traj_gsm8k_zeroeval_5models": "math",
    "traj_math100_qwen_n8": "math",
    "traj_math50_nemo_n3": "math",
    "traj_mmlupro_4models": "choice",
    "traj_bbh_davinci002": "text",
}


def load(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.open(encoding="utf-8")]


def forget_what_was_parsed() -> None:
    """Empty the in-process caches, so that a round does not live off the one before."""
    from glow_trl.verifiers.equality import answers, expression, numeric, residues, units
    from glow_trl.verifiers.kinds import wording

    readings = (answers.parse, expression.read, units.measure, wording.normalize_text)
    values = (numeric.agree, numeric.constant, numeric.proportional, numeric.is_constant)
    images = (residues._images, residues._integer_root, residues._random_element, residues._factorial)
    for function in (*readings, *values, *images):
        function.cache_clear()


def time_ours(rows: list[dict], kinds: list[str], gold: str, text: str, rounds: int) -> tuple[float, list[bool]]:
    with VerifierPool(workers=2, cache_size=0) as pool:
        pool.verify(*EQUAL)  # start the workers
        time.sleep(2)
        seconds = []
        for _ in range(rounds):
            forget_what_was_parsed()
            start = time.perf_counter()
            verdicts = pool.verify_batch([row[text] for row in rows], [row[gold] for row in rows], kinds)
            seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), [verdict.correct is True for verdict in verdicts]


def time_math_verify(rows: list[dict]) -> tuple[float, list[bool]]:
    import math_verify

    logging.getLogger("math_verify").setLevel(logging.ERROR)
    math_verify.verify(math_verify.parse(r"$\frac{1}{2}$"), math_verify.parse("$0.5$"))
    start = time.perf_counter()
    right = [math_verify.verify(math_verify.parse(row["gold"]), math_verify.parse(row["prediction"])) for row in rows]
    return time.perf_counter() - start, right


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = os.environ.get("GLOW_TRL_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data"
    parser.add_argument("--data", type=Path, default=default, help="folder with verifier_cases.jsonl and traj_*.jsonl")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cases", type=Path, nargs="+", help="files of cases in place of the core cases of --data")
    options = parser.parse_args()

    if options.cases:
        rows = [row for file in options.cases for row in load(file)]
    else:
        rows = [row for row in load(options.data / "verifier_cases.jsonl") if row["tier"] == "core"]
    kinds = [KIND_OF_CASE.get(row["kind"], row["kind"]) for row in rows]
    ours, ours_right = time_ours(rows, kinds, "gold", "prediction", options.rounds)
    theirs, theirs_right = time_math_verify(rows)

    table = Table(
        "core cases", "seconds", "pairs/s", "false positives", "false negatives", title=f"{len(rows)} pairs, 2 workers"
    )
    for name, seconds, right in (("glow_trl", ours, ours_right), ("math-verify", theirs, theirs_right)):
        wrong = [row["expected"] for row, verdict in zip(rows, right, strict=True) if verdict != row["expected"]]
        table.add_row(
            name, f"{seconds:.2f}", f"{len(rows) / seconds:.0f}", str(wrong.count(False)), str(wrong.count(True))
        )
    table.add_section()
    table.add_row("ratio", f"{theirs / ours:.1f} x")
    console = Console()
    console.print(table)

    table = Table("trajectories", "rows", "rows/s", "agreement with is_correct")
    for name, kind in () if options.cases else TRAJECTORIES.items():
        rows = load(options.data / f"{name}.jsonl")
        seconds, right = time_ours(rows, [kind] * len(rows), "gold", "completion", 1)
        agreed = sum(verdict == row["is_correct"] for row, verdict in zip(rows, right, strict=True))
        table.add_row(name, str(len(rows)), f"{len(rows) / seconds:.0f}", f"{100 * agreed / len(rows):.2f} %")
    if not options.cases:
        console.print(table)


if __name__ == "__main__":
    main()
