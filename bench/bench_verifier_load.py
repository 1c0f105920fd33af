"""
Whether verdicts hold when the machine is busy, and the verifier when completions are hostile. Exits with 1 if not.

    python bench/bench_verifier_load.py                                            # a few minutes
    python bench/bench_verifier_load.py --cases 5000 --runs 3 --hostile 10000      # the whole

Verdicts: the same cases, a part of which needs computer algebra, are judged one by one in 1 and in 8 threads, `--runs`
times each, with twice as many processes as cores that compute nothing. Hostile: completions made to hang, crash or
fill the verifier are judged off the main thread, one by one; no call may compute for longer than its limit and half a
second, and no memory, descriptor or process may be left. What a call takes on the clock is shown, too: that is the
same on a machine that does nothing else.
"""

import argparse
import collections
import json
import multiprocessing
import os
import random
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path


sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import psutil
from rich.console import Console
from rich.table import Table

from glow_trl.verifiers import VerifierPool
from glow_trl.verifiers.workers.supervisor import available_cores
from helpers.hostile import hostile
from helpers.processes import children, cpu_seconds
from helpers.undecided import EQUAL


GRACE = 0.5
TRAJECTORIES = ("traj_gsm8k_openai", "traj_gsm8k_zeroeval_5models", "traj_math100_qwen_n8", "traj_math50_nemo_n3")
# Pairs that computer algebra takes 0.01 to 2 seconds for, equal and not, and one that it cannot do
ALGEBRA = (
    (r"\int_0^{{{n}}} x^2 dx", r"\int_0^{{{n}}} ({n}-x)^2 dx"),
    (r"\int_0^{{{n}}} x^2 dx", r"\int_0^{{{n}}} (1-x)^2 dx"),
    (r"({n}^2-2\cdot{n}+2)e^{{{n}}}-2", r"\int_0^{{{n}}} x^2 e^x dx"),
    (r"({n}^2-2\cdot{n}+2)e^{{{n}}}-3", r"\int_0^{{{n}}} x^2 e^x dx"),
    (r"\lim_{{x \to 0}} \frac{{\sin {n}x}}{{x}}", r"\lim_{{x \to 0}} {n}\cos x"),
    (r"{n}^2-xy", r"\begin{{vmatrix}} {n} & x \\ y & {n} \end{{vmatrix}}"),
    (r"\sin({n}^{{10^{{12}}}})", "5"),
)


def burn() -> None:
    while True:
        pass


def cases(data: Path, count: int) -> list[tuple[str, str]]:
    """Completions and gold answers: of ten, nine from trajectories, and one that needs computer algebra."""
    rows = [
        (row["completion"], row["gold"])
        for name in TRAJECTORIES
        for row in map(json.loads, (data / f"{name}.jsonl").open(encoding="utf-8"))
    ]
    generator = random.Random(0)
    algebra = []
    for number in range(count // 10):
        # What it cannot do costs the whole limit each time
        prediction, gold = ALGEBRA[-1] if number % 100 == 99 else ALGEBRA[number % (len(ALGEBRA) - 1)]
        algebra.append((rf"\boxed{{{prediction.format(n=2 + number)}}}", gold.format(n=2 + number)))
    chosen = algebra + generator.choices(rows, k=count - len(algebra))
    generator.shuffle(chosen)
    return chosen


def judge(pairs: list[tuple[str, str]], threads: int) -> list[tuple]:
    with VerifierPool(workers=2, cache_size=0) as pool, ThreadPoolExecutor(threads) as executor:
        verdicts = executor.map(lambda pair: pool.verify(*pair), pairs)
        return [(verdict.correct, verdict.reason) for verdict in verdicts]


def check_verdicts(pairs: list[tuple[str, str]], runs: int, table: Table) -> bool:
    burners = [multiprocessing.Process(target=burn, daemon=True) for _ in range(2 * available_cores())]
    first: list[tuple] = []
    same = True
    for burner in burners:
        burner.start()
    try:
        for threads in [1, 8] * runs:
            start = time.perf_counter()
            verdicts = judge(pairs, threads)
            first = first or verdicts
            differ = sum(one != other for one, other in zip(first, verdicts, strict=True))
            same = same and not differ
            reasons = collections.Counter(reason for _, reason in verdicts)
            unjudged = reasons["timeout"], reasons["error"]
            seconds = time.perf_counter() - start
            row = f"{len(pairs)} cases, {threads} threads", f"{seconds:.0f} s", f"{differ} differ", f"{unjudged}"
            table.add_row(*row)
            print(*row, sep="  ", file=sys.stderr, flush=True)  # the whole takes long
    finally:
        for burner in burners:
            burner.terminate()
            burner.join()
    return same


def held() -> dict[str, int]:
    """What this process and those that it has started hold."""
    process = psutil.Process()
    family = process.children(recursive=True)
    return {
        "memory": process.memory_info().rss >> 20,
        "descriptors": process.num_fds(),
        "threads": process.num_threads(),
        "processes": len(family),
        "zombies": sum(child.status() == psutil.STATUS_ZOMBIE for child in family),
    }


def computed() -> float:
    """Seconds of the processor that this process and those that it has started have had."""
    return time.process_time() + cpu_seconds(children())


def check_hostile(count: int, limit: float, table: Table) -> bool:
    late: list[float] = []
    clock: list[float] = []
    longest = 0.0
    after: list[dict[str, int]] = []

    def work() -> None:
        nonlocal longest
        with VerifierPool(workers=2) as pool:
            # The start of the workers, which goes on behind the first cases, is none of them
            pool.verify(*EQUAL)
            used = 0.0
            while computed() - used > 0.05:
                used = computed()
                time.sleep(1.0)
            for number, (completion, gold) in enumerate(hostile(count)):
                start, used = time.perf_counter(), computed()
                pool.verify(completion, gold, timeout=limit)
                clock.append(time.perf_counter() - start)
                seconds = computed() - used
                longest = max(longest, seconds)
                if seconds > limit + GRACE:
                    late.append(seconds)
                    print(f"{seconds:.2f} s for {completion[:100]!r} against {gold!r}", file=sys.stderr)
                if number % max(1, count // 10) == 0:
                    after.append(held())
                    print(f"{number} hostile, longest {longest:.2f} s", file=sys.stderr, flush=True)

    before = held()
    start = time.perf_counter()
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    seconds, end = time.perf_counter() - start, held()
    # The thread that was waited for may be counted for a moment more
    while end["threads"] > before["threads"] and time.perf_counter() - start < seconds + 5:
        time.sleep(0.05)
        end = held()
    table.add_row(f"{count} hostile", f"{seconds:.0f} s", f"{len(late)} late", f"longest {longest:.2f} s")
    late_on_clock = sum(taken > limit + GRACE for taken in clock)
    table.add_row("  on the clock", "", f"{late_on_clock} late", f"longest {max(clock):.2f} s")
    for what in before:
        middle = [step[what] for step in after]
        table.add_row(f"  {what}", f"{before[what]} before", f"{min(middle)} to {max(middle)}", f"{end[what]} after")
    kept = {what: end[what] - before[what] for what in before}
    # The first tenth fills caches of a fixed size
    grown = after[-1]["memory"] - after[len(after) // 5]["memory"]
    return not late and grown < 50 and not any(kept[what] > 0 for what in kept if what != "memory")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = os.environ.get("GLOW_TRL_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data"
    parser.add_argument("--data", type=Path, default=default, help="folder with traj_*.jsonl")
    parser.add_argument("--cases", type=int, default=500)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--hostile", type=int, default=500)
    parser.add_argument("--limit", type=float, default=1.0, help="of a hostile case, in seconds")
    options = parser.parse_args()
    table = Table("", "time", "", "(timeouts, errors)")
    held_up = [
        not options.cases or check_verdicts(cases(Path(options.data), options.cases), options.runs, table),
        not options.hostile or check_hostile(options.hostile, options.limit, table),
    ]
    Console().print(table)
    return 0 if all(held_up) else 1


if __name__ == "__main__":
    sys.exit(main())
