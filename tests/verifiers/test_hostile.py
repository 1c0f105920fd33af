"""
Completions made to hang, crash or fill the verifier: all are judged, within their limit of computing and in bounded
memory. Time is counted in seconds of the processor, which a busy machine does not make more.
"""

import threading
import time

import psutil
import pytest

from glow_trl.verifiers import VerifierPool
from helpers.hostile import GENERATORS, hostile
from helpers.processes import children, cpu_seconds
from helpers.undecided import EQUAL


GRACE = 0.2
MEMORY = 300e6


class PeakMemory(threading.Thread):
    """Samples the resident memory of this process and all its children."""

    def __init__(self):
        super().__init__(daemon=True)
        self.start_size = self.size()
        self.peak = 0
        self.done = threading.Event()

    @staticmethod
    def size() -> int:
        process = psutil.Process()
        size = process.memory_info().rss
        for child in process.children(recursive=True):
            try:
                size += child.memory_info().rss
            except psutil.Error:
                pass
        return size

    def run(self):
        while not self.done.wait(0.02):
            self.peak = max(self.peak, self.size() - self.start_size)


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
