"""Worker processes: hard limits, replacement, no leftovers, whatever the calling process looks like."""

import asyncio
import contextlib
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from glow_trl.errors import UserError
from glow_trl.rewards import accuracy_reward
from glow_trl.verifiers import VerifierPool, verify
from glow_trl.verifiers.kinds.kind import Options, Undecided
from glow_trl.verifiers.pool import judge_quickly
from glow_trl.verifiers.workers.supervisor import Outcome, Workers, available_cores
from helpers import processes, undecided
from helpers.processes import LIMIT, wait_until
from helpers.undecided import DIFFERENT, EQUAL, HANGING, HANGING_TOO


ROOT = Path(__file__).resolve().parents[2]


_others: set[psutil.Process] = set()


@pytest.fixture
def pool():
    with VerifierPool(workers=2, cache_size=0, timeout=60) as pool:
        yield pool


@pytest.fixture(scope="module", autouse=True)
def others():
    """What other tests have started, such as a server, and still need."""
    _others.update(processes.children())


def children(process: psutil.Process | None = None) -> list[psutil.Process]:
    return processes.children(process, _others)


def gone(family: list[psutil.Process], within: float = 120.0) -> bool:
    """Whether all of them end (or are zombies that only wait for a foreign parent) in time."""
    end = time.monotonic() + within
    while time.monotonic() < end:
        if not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in family if psutil.pid_exists(p.pid)):
            return True
        time.sleep(0.05)
    return False


def run_script(body: str, timeout: float = LIMIT) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(body)], cwd=ROOT, capture_output=True, text=True, timeout=timeout
    )


def is_running(pid: int) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


@pytest.mark.parametrize("pair", [EQUAL, DIFFERENT, HANGING, HANGING_TOO, undecided.equal(2), undecided.equal(5)])
def test_the_pairs_of_these_tests_need_workers(pair):
    assert isinstance(judge_quickly(*pair, "math", Options()), Undecided)


def test_algebra_is_used_and_right(pool):
    assert pool.verify(*EQUAL).correct is True
    assert pool.verify(*DIFFERENT).correct is False


def test_hanging_case_times_out_and_others_do_not(pool):
    pool.verify(*EQUAL)
    pairs = [HANGING, EQUAL, (r"\boxed{5}", "5"), HANGING_TOO, DIFFERENT]
    verdicts = pool.verify_batch(*zip(*pairs, strict=True), timeout=4.0)
    assert [verdict.reason for verdict in verdicts] == ["timeout", "match", "match", "timeout", "mismatch"]
    assert verdicts[0].correct is False and not verdicts[0].judged and verdicts[4].judged


def test_a_case_computes_no_longer_than_its_limit(pool):
    """Counted in seconds of the processor, which a busy machine does not make more."""
    pool.verify(*EQUAL)
    before = processes.cpu_seconds(children())
    for _ in range(6):
        assert pool.verify(*HANGING, timeout=0.5).reason == "timeout"
    assert processes.cpu_seconds(children()) - before < 6 * (0.5 + 0.2)


def test_killed_worker_is_replaced(pool):
    pool.verify(*EQUAL)
    starter = children()[0]
    for worker in starter.children():
        worker.kill()
    assert pool.verify(*EQUAL).correct is True


def test_killed_starter_is_replaced(pool):
    pool.verify(*EQUAL)
    for process in children():
        process.kill()
    assert pool.verify(*EQUAL).correct is True


def kill_new_children(seen: set[int], count: int, done: threading.Event) -> None:
    """Kill the first processes that appear, as soon as they do."""
    while count and not done.wait(0.005):
        for process in psutil.Process().children():
            if process.pid not in seen:
                seen.add(process.pid)
                process.kill()
                count -= 1


def test_starter_killed_as_it_starts_costs_nothing(pool):
    """Several times: at once, before it has imported anything."""
    seen = {process.pid for process in psutil.Process().children()}
    before, done = len(seen), threading.Event()
    killer = threading.Thread(target=kill_new_children, args=(seen, 3, done))
    killer.start()
    verdicts = pool.verify_batch(*zip(EQUAL, DIFFERENT, strict=True))
    done.set()
    killer.join()
    assert len(seen) == before + 3
    assert [verdict.reason for verdict in verdicts] == ["match", "mismatch"]


def test_what_is_stopped_goes_on(pool):
    """Starter and workers, while they are idle and while they start: a `SIGSTOP` would block them for good."""
    pool.verify(*EQUAL)
    starter = children()[0]
    for process in (starter, *starter.children()):
        process.suspend()
    assert pool.verify(*EQUAL).correct is True
    starter.suspend()
    assert pool.verify(*HANGING, timeout=0.5).reason == "timeout"  # its worker is replaced
    assert [pool.verify(*EQUAL).correct for _ in range(3)] == [True] * 3
    starter.suspend()
    pool.close()
    assert gone([starter])


def test_what_cannot_be_imported_is_said():
    with pytest.raises(UserError, match="No module named 'helpers.nowhere'"):
        Workers("helpers.nowhere:function", 1).run([()])


@contextlib.contextmanager
def workers_for(function: str, **options) -> Iterator[Workers]:
    workers = Workers(f"helpers.worker_functions:{function}", 1, **options)
    try:
        yield workers
    finally:
        workers.close()


def test_waiting_for_a_worker_is_no_part_of_the_limit():
    """Each has 0.8 seconds to compute for 0.4, one after the other."""
    with workers_for("compute") as workers, ThreadPoolExecutor(6) as threads:
        outcomes = list(threads.map(lambda _: workers.run([(0.4,)], timeout=0.8), range(6)))
    assert outcomes == [[Outcome(0.4)]] * 6


def test_those_who_wait_are_served_in_their_order():
    """No thread that asks again at once gets the worker before those that have been waiting for it."""
    with workers_for("compute") as workers, ThreadPoolExecutor(4) as threads:
        done = [0] * 4

        def ask(number: int) -> list[int]:
            for _ in range(20):
                assert workers.run([(0.01,)], timeout=60) == [Outcome(0.01)]
                done[number] += 1
            return list(done)

        workers.run([(0,)])
        first = min(threads.map(ask, range(4)), key=sum)
        assert min(first) >= 20 - 4, first


def test_what_waits_too_long_is_an_error_and_no_timeout(caplog):
    with workers_for("compute") as workers, ThreadPoolExecutor(1) as thread:
        workers.run([(0,)])
        workers.wait_timeout = 0.3
        other = thread.submit(workers.run, [(2.0,)])
        wait_until(lambda: workers._state.busy)
        assert workers.run([(0,), (0,)], timeout=5) == [Outcome(None, "error")] * 2
        assert "2 comparisons are not judged" in caplog.text
        assert other.result() == [Outcome(2.0)]
        workers.wait_timeout = 60.0
        assert workers.run([(0,)], timeout=5) == [Outcome(0)]


def test_a_worker_without_a_processor_is_no_timeout():
    """Others use the processors: it computes for as long as it is allowed to, later."""
    code = f"import time\nwhile time.monotonic() < {time.monotonic() + LIMIT}: pass"
    others = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2 * available_cores())]
    try:
        with workers_for("compute") as workers:
            outcomes = workers.run([(0.5,), (0.5,), (30.0,)], timeout=0.7)
        assert outcomes == [Outcome(0.5), Outcome(0.5), Outcome(None, "timeout")]
    finally:
        for other in others:
            other.kill()
            other.wait()


@pytest.mark.parametrize("free", [0, 2])
def test_a_machine_without_free_descriptors_is_an_error_until_it_has_some(free):
    """Before the first worker, and where the workers that there are can be used, but not be replaced."""
    result = run_script(
        rf"""
        import os, resource
        from glow_trl.verifiers import VerifierPool
        pool = VerifierPool(wait_timeout=0.3)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        def judge(pool, limit, pair, **options):
            if limit is None:
                limit = len(os.listdir("/proc/self/fd")) - 1 + {free}
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
            try:
                print(pool.verify(*pair, **options).reason)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        equal, hanging = {EQUAL}, {HANGING}
        judge(pool, None, equal)
        pool = VerifierPool(workers=1, cache_size=0, wait_timeout={LIMIT})
        judge(pool, soft, equal)
        judge(pool, None, equal)
        judge(pool, None, hanging, timeout=0.3)
        judge(pool, soft, equal)
        """
    )
    reasons = result.stdout.split()
    assert reasons[:3] + reasons[4:] == ["error", "match", "match", "match"], result.stdout + result.stderr
    assert reasons[3] in ("timeout", "error")
    assert "no worker process" in result.stderr and "Traceback" not in result.stderr


def test_memory_does_not_depend_on_the_cases_before():
    with workers_for("fill", memory_mb=64) as workers:
        outcomes = workers.run([(24, True), (48, False), (80, False)])
    assert [outcome.failure for outcome in outcomes] == [None, None, "error"]


def test_no_zombies_whoever_ended_them(pool):
    """Workers and starters, killed while they are idle, at work, or after; also those that nobody asks for again."""
    pool.verify(*EQUAL)
    for number in range(8):
        (starter,) = children()[:1]
        for process in [starter] if number % 4 == 3 else starter.children():
            process.kill()
        assert pool.verify(*EQUAL).correct is True
    assert not pool.verify(*HANGING, timeout=0.2).judged
    for process in children()[0].children():
        process.kill()
    wait_until(lambda: all(is_running(process.pid) or not psutil.pid_exists(process.pid) for process in children()))


def test_out_of_memory_is_an_error_of_its_own_case(pool):
    pool.verify(*EQUAL)
    before = psutil.Process().memory_info().rss
    # No quick way knows f; the power takes 190 MB
    verdicts = pool.verify_batch([r"\boxed{67^{25^{6}} f(x)}", EQUAL[0]], ["5 f(x)", EQUAL[1]], timeout=3)
    assert verdicts[0].reason in ("error", "timeout") and verdicts[0].correct is False
    assert verdicts[1].reason == "match"
    assert psutil.Process().memory_info().rss - before < 50e6


def test_close_ends_all_processes_and_pool_stays_usable():
    pool = VerifierPool(workers=2)
    assert pool.verify(*EQUAL).correct is True
    started = children()
    assert started
    pool.close()
    assert gone(started)
    assert pool.verify(*DIFFERENT).correct is False
    pool.close()


def test_easy_cases_start_nothing():
    before = len(children())
    with VerifierPool() as pool:
        assert pool.verify(r"\boxed{\frac{3+2\sqrt{3}}{3}}", r"1+\frac{2\sqrt3}{3}").correct is True
        assert len(children()) == before


def test_import_is_light_and_starts_nothing():
    result = run_script(
        """
        import sys, time
        import glow_trl.verifiers, glow_trl.rewards
        heavy = {"torch", "transformers", "trl", "datasets", "sympy", "math_verify"} & set(sys.modules)
        import os
        with open(f"/proc/{os.getpid()}/task/{os.getpid()}/children") as file:
            children = file.read().split()
        assert not heavy and not children, (heavy, children)
        """
    )
    assert result.returncode == 0, result.stderr


def test_many_threads(pool):
    pairs = [undecided.equal(number) for number in range(2, 14)]
    with ThreadPoolExecutor(6) as threads:
        verdicts = list(threads.map(lambda pair: pool.verify(*pair), pairs))
    assert all(verdict.correct for verdict in verdicts)


def test_off_the_main_thread_with_a_hanging_case():
    result = []
    thread = threading.Thread(target=lambda: result.append(verify(*HANGING, timeout=0.5)), daemon=True)
    thread.start()
    thread.join(20)
    assert result[0].reason == "timeout"


def test_inside_an_event_loop():
    async def judge():
        loop = asyncio.get_running_loop()
        direct = accuracy_reward([EQUAL[0]], [EQUAL[1]])
        threaded = await loop.run_in_executor(None, accuracy_reward, [DIFFERENT[0]], [DIFFERENT[1]])
        return direct, threaded

    assert asyncio.run(judge()) == ([1.0], [0.0])


def _judge_in_child(reward, queue):
    queue.put(reward([EQUAL[0], r"\boxed{5}"], [EQUAL[1], "6"]))


@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
@pytest.mark.parametrize("daemon", [True, False])
def test_pickled_reward_in_a_child(method, daemon):
    assert verify(*EQUAL).correct is True  # this process has workers of its own already
    starter = psutil.Process().children()[0]
    context = multiprocessing.get_context(method)
    queue = context.SimpleQueue()
    reward = pickle.loads(pickle.dumps(accuracy_reward))
    child = context.Process(target=_judge_in_child, args=(reward, queue), daemon=daemon)
    child.start()
    assert queue.get() == [1.0, 0.0]
    child.join(LIMIT)
    assert child.exitcode == 0
    assert starter.is_running()
    assert verify(*DIFFERENT).correct is False


def test_pool_is_picklable():
    with pickle.loads(pickle.dumps(VerifierPool(workers=1, timeout=60.0))) as pool:
        assert pool.timeout == 60.0
        assert pool.verify(*EQUAL).correct is True


def test_unguarded_main_script(tmp_path):
    script = tmp_path / "train.py"
    script.write_text(
        "from pathlib import Path\n"
        "from glow_trl.verifiers import verify\n"
        "Path('runs.txt').open('a').write('x')\n"
        rf"print(verify(r'{EQUAL[0]}', r'{EQUAL[1]}').correct)"
    )
    # A module of the user's that has the name of one of the standard library's must not get in the way either.
    (tmp_path / "selectors.py").write_text("raise RuntimeError('imported')")
    (tmp_path / "random.py").write_text("")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1"}
    result = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert result.stdout.strip() == "True", result.stderr
    assert (tmp_path / "runs.txt").read_text() == "x"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_is_left_when_the_parent_is_killed(number):
    parent = subprocess.Popen(
        [
            *(sys.executable, "-c"),
            "import threading\nfrom glow_trl.verifiers import verify\n"
            f"verify(r'{EQUAL[0]}', r'{EQUAL[1]}')\n"
            f"hanging = dict(target=verify, args=(r'{HANGING[0]}', '{HANGING[1]}'), kwargs=dict(timeout=60))\n"
            "threading.Thread(**hanging, daemon=True).start()\n"
            "import time; time.sleep(1); print('ready', flush=True); time.sleep(60)",
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert parent.stdout.readline() == b"ready\n"
    family = children(psutil.Process(parent.pid))
    assert len(family) >= 2
    parent.send_signal(number)
    parent.wait()
    parent.stdout.close()
    assert gone(family)


def test_nothing_is_left_when_the_parent_is_killed_but_its_forked_child_lives():
    """The child inherits the parent's side of the control socket, so its end of file never comes."""
    result = run_script(
        rf"""
        import os, signal, time
        from glow_trl.verifiers import verify
        import psutil
        verify(r'{EQUAL[0]}', r'{EQUAL[1]}')
        family = [p.pid for p in psutil.Process().children(recursive=True)]
        child = os.fork()
        if child == 0:
            for stream in (0, 1, 2):
                os.close(stream)
            time.sleep(3600)
            os._exit(0)
        print(child, *family, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    child, *family = [int(pid) for pid in result.stdout.split()]
    try:
        assert family
        wait_until(lambda: not any(is_running(pid) for pid in family))
        assert is_running(child)
    finally:
        os.kill(child, signal.SIGKILL)


def test_interrupted_batch_leaves_the_pool_usable(pool):
    pool.verify(*EQUAL)

    def interrupt(*_):
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.5)
        with pytest.raises(KeyboardInterrupt):
            pool.verify_batch(*zip(HANGING, HANGING_TOO, strict=True), timeout=30)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert pool.verify(*EQUAL).correct is True


def test_interruptions_at_any_moment_lose_no_worker(pool):
    """Also those between two steps: a worker that none gives back must not stay busy for good."""
    pool.verify(*EQUAL)

    def interrupt(*_):
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGALRM, interrupt)
    try:
        for number in range(60):
            with contextlib.suppress(KeyboardInterrupt):
                try:
                    signal.setitimer(signal.ITIMER_REAL, 0.0005 * (1 + number))
                    pool.verify(*EQUAL)
                finally:
                    signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        signal.signal(signal.SIGALRM, previous)
    assert pool.verify(*EQUAL).correct is True
    assert not pool._workers._state.busy and not pool._workers._state.queue


def test_a_fork_while_a_worker_starts_copies_no_end_of_its_connection():
    """Where a forked child had one, the end of the worker would not show."""
    result = run_script(
        rf"""
        import os, signal, socket, threading, time
        import psutil
        from glow_trl.verifiers import VerifierPool
        asked, children, send_fds = threading.Event(), [], socket.send_fds
        def fork():
            asked.wait()
            child = os.fork()
            if child == 0:
                for stream in (0, 1, 2):
                    os.close(stream)
                time.sleep({LIMIT})
                os._exit(0)
            children.append(child)
        def send(*arguments):
            asked.set()
            time.sleep(0.3)  # time for a fork
            return send_fds(*arguments)
        socket.send_fds = send
        forking = threading.Thread(target=fork)
        forking.start()
        pool = VerifierPool(workers=1, wait_timeout=60)
        judging = threading.Thread(target=lambda: print(pool.verify(*{HANGING}, timeout=30).reason))
        judging.start()
        forking.join()
        state = pool._workers._state
        for _ in range(3):  # each of its tries
            while not (processes := [worker.process for worker in list(state.busy) if worker.process is not None]):
                time.sleep(0.01)
            for process in processes:
                process.kill()
            while any(worker.process in processes for worker in list(state.busy)):
                time.sleep(0.01)
        judging.join()
        os.kill(children[0], signal.SIGKILL)
        """
    )
    assert result.stdout.split() == ["error"], result.stdout + result.stderr


def test_pools_that_nobody_closes_leave_nothing():
    before, descriptors = children(), psutil.Process().num_fds()
    for _ in range(2):
        assert VerifierPool(workers=1).verify(*EQUAL).correct is True
    wait_until(lambda: children() == before)
    assert psutil.Process().num_fds() == descriptors


@pytest.mark.parametrize(
    "settings", [{"workers": 0}, {"memory_mb": 0}, {"timeout": 0}, {"timeout": "soon"}, {"wait_timeout": 0}]
)
def test_bad_settings_are_named(settings):
    with pytest.raises(UserError):
        VerifierPool(**settings)
