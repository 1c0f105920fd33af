"""
Completions made to hang, crash or fill the verifier: all are judged, within their limit of computing and in bounded
memory. Time is counted in seconds of the processor, which a busy machine does not make more.
"""

import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import psutil
import pytest

from glow_trl.verifiers import VerifierPool
from glow_trl.verifiers.kinds.kind import Options, Undecided
from glow_trl.verifiers.pool import judge_quickly
from glow_trl.verifiers.restated import STRICT, without_copies
from helpers.hostile import GENERATORS, hostile
from helpers.hostile_reading import hostile_to_reading
from helpers.processes import children, cpu_seconds
from helpers.undecided import EQUAL


GRACE = 0.2
MEMORY = 300e6


class PeakMemory(threading.Thread):
    """
    Samples the resident memory of this process and all its children. One that was just forked has all of this one's
    until it begins another program, and is not counted.
    """

    def __init__(self):
        super().__init__(daemon=True)
        self.start_size = self.size()
        self.peak = 0
        self.done = threading.Event()

    @staticmethod
    def size() -> int:
        process = psutil.Process()
        size, program = process.memory_info().rss, process.cmdline()
        for child in process.children(recursive=True):
            try:
                size += child.memory_info().rss if child.cmdline() != program else 0
            except psutil.Error:
                pass
        return size

    def run(self):
        while not self.done.wait(0.02):
            self.peak = max(self.peak, self.size() - self.start_size)


def judge(completion: str, gold: str, kind: str = "math", problem: str = "") -> str:
    """The reason of the verdict, as far as the calling process judges, with all that is looked up in the question."""
    verdict = judge_quickly(completion, gold, kind, Options())
    if isinstance(verdict, Undecided):
        return "undecided"
    without_copies(replace(verdict, correct=True), gold, problem, STRICT)
    return verdict.reason


@pytest.mark.parametrize("seed", range(3))
def test_what_the_calling_process_reads_is_bounded(seed):
    """No worker, and so no limit, is there: neither exceptions nor hangs, in seconds of the processor."""
    for completion, gold, kind, problem in hostile_to_reading(600, seed):
        before = time.process_time()
        judge(completion, gold, kind, problem)
        assert time.process_time() - before < 1.0, (completion[:300], len(completion), gold[:100], kind)


@pytest.mark.parametrize(
    ("completion", "gold", "kind", "problem"),
    [
        (r"\boxed{\sum_{k=5}^{3} k}", r"\sum_{k=1}^{3} k", "math", ""),
        (r"\boxed{1.2345678 \cdot 10^{999}}", r"\pi", "math", ""),
        (r"\boxed{5}", "9" * 5_000 + " 1/2", "math", ""),
        ("9" * 5_000 + " hundred", "yes", "text", ""),
        (r"\boxed{x + \sum_{k=1}^n k}", "5", "math", r"Find $x + \sum_{k=1}^n k$."),
        ("B " + "\u0301\u0316" * 100_000, "B", "choice", ""),
        (r"\boxed{x for " + "a, " * 90 + "!}", "5", "math", ""),
        (r"\boxed{\sum_{n=1}^{\infty} \lfloor 7 \rfloor, " + "5, " * 60 + "1}", "5", "math", ""),
        # What an untrained model writes: one side of an equation in a list states nothing
        (r"\boxed{ln+=4v=3jw minus +1=4=4=?; fu}", "3", "math", ""),
        ("+=3pq=50w=?; }", "3", "math", ""),
    ],
)
def test_what_once_raised_or_took_long_is_judged(completion, gold, kind, problem):
    before = time.process_time()
    assert judge(completion, gold, kind, problem) != "error"
    assert time.process_time() - before < 1.0


def test_a_list_costs_no_more_than_a_comparison_or_two():
    """Sixty infinite sums, each of which takes nearly all the steps of one comparison."""
    listed = ", ".join(rf"\sum_{{n=1}}^{{\infty}} \frac{{1}}{{n^3+{index}}}" for index in range(50))
    before = time.process_time()
    assert judge(rf"\boxed{{{listed}}}", r"\sum_{n=1}^{\infty} \frac{1}{n^3+n}") in ("undecided", "mismatch")
    assert time.process_time() - before < 1.0


def test_threads_do_not_disturb_each_others_precision():
    """mpmath sets the precision of its context while it adds up a series, and sets it back."""
    pairs = [(r"\boxed{\frac{\pi^2}{6}}", rf"\sum_{{n=1}}^{{\infty}} \frac{{{k}}}{{{k}n^2}}") for k in range(1, 40)]
    pairs += [(rf"\boxed{{\binom{{x+{k}}}{{2}}}}", rf"\frac{{(x+{k})(x+{k - 1})}}{{2}}") for k in range(1, 40)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as threads:
            assert set(threads.map(lambda pair: judge(*pair), pairs)) == {"match"}
    finally:
        sys.setswitchinterval(interval)


@pytest.mark.parametrize("kind", ["choice", "text", "number"])
def test_other_kinds_never_hang(kind):
    others = children()
    with VerifierPool() as pool:
        for completion, gold in hostile(4 * len(GENERATORS), seed=1):
            before = time.process_time() + cpu_seconds(children(but=others))
            pool.verify(completion, "B" if kind == "choice" else gold, kind, timeout=0.5)
            assert time.process_time() + cpu_seconds(children(but=others)) - before < 0.5 + GRACE, completion[:200]


@pytest.mark.slow
def test_hostile_completions_cost_no_more_than_their_limit():
    limit, others = 0.4, children()
    with VerifierPool(workers=2, cache_size=0) as pool:
        watch = PeakMemory()
        watch.start()
        pool.verify(*EQUAL)  # the start of the workers is not a case
        for completion, gold in hostile(30 * len(GENERATORS)):
            before = cpu_seconds(children(but=others))
            verdict = pool.verify(completion, gold, timeout=limit)
            # A worker that was ended in the case before may be counted with this one
            assert cpu_seconds(children(but=others)) - before < 2 * limit + GRACE, (completion[:200], gold)
            assert verdict.correct is False or gold in completion, (completion[:200], gold)
        watch.done.set()
        watch.join()
    assert watch.peak < MEMORY


@pytest.mark.slow
def test_no_leak_over_ten_rounds():
    cases = list(hostile(8 * len(GENERATORS), seed=2))
    process = psutil.Process()
    others = len(process.children(recursive=True))
    sizes, descriptors = [], []
    with VerifierPool(workers=2, cache_size=64) as pool:
        for _ in range(10):
            pool.verify_batch([case[0] for case in cases], [case[1] for case in cases], timeout=0.15)
            sizes.append(process.memory_info().rss)
            descriptors.append(process.num_fds())
            assert len(process.children(recursive=True)) <= others + 3
    assert sizes[-1] - sizes[2] < 10e6, sizes
    assert descriptors[-1] <= descriptors[0] + 2, descriptors
