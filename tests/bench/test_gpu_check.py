"""The runner of `make gpu-check`: whatever becomes of a check, no other row is lost, and nothing is left running."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from helpers.launching import ROOT, environment
from helpers.processes import LIMIT, wait_until


sys.path.insert(0, str(ROOT / "bench"))

import gpu_check
from gpu_check import CHECKS, Check, run_all


DEVICE = {"gpu": True, "name": "A GPU", "cuda": "13.0", "memory_gib": 80.0}


def broken(name: str, *rows: str, seconds: float = 60, **options) -> Check:
    return Check(name, f"helpers.broken_gpu_checks:{name}", rows, seconds, **options)


BROKEN = [
    broken("misses", "missed", "raised", "skipped"),
    broken("hangs", "first", "second", seconds=6),
    broken("is_killed", "first", "second", "third"),
    broken("crashes", "first", "second"),
    broken("prints_garbage", "first", "second", "third"),
    broken("says_nothing", "first"),
    broken("dies_after_its_rows", "first"),
    broken("no_such_check", "first"),
    broken("passes", "other", needs="no_such_package"),
    broken("passes", "first", "second"),
]


@pytest.fixture(scope="module")
def ran(tmp_path_factory) -> Path:
    """The output folder after all of them."""
    output = tmp_path_factory.mktemp("gpu_check")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLOW_TRL_TEST_TABLE", str(output / "gpu_check.json"))
        run_all(BROKEN, DEVICE, output, budget=600, model=None)
    return output


def rows(output: Path) -> dict[tuple[str, str], dict]:
    found = json.loads((output / "gpu_check.json").read_text())["results"]
    assert len({(row["check"], row["row"]) for row in found}) == len(found)
    return {(row["check"], row["row"]): row for row in found}


EXPECTED = {
    ("misses", "missed"): ("fail", "1.5 | of the time"),
    ("misses", "raised"): ("fail", "ValueError: the cause"),
    ("misses", "skipped"): ("skipped", "there is no such thing here"),
    ("hangs", "first"): ("pass", ""),
    ("hangs", "second"): ("fail", "was still running after 6 s"),
    ("is_killed", "first"): ("pass", ""),
    ("is_killed", "second"): ("fail", "was ended by SIGSEGV"),
    ("is_killed", "third"): ("fail", "was ended by SIGSEGV"),
    ("crashes", "first"): ("pass", ""),
    ("crashes", "second"): ("fail", "ended with exit code 1: RuntimeError: the end of it"),
    ("prints_garbage", "first"): ("pass", ""),
    ("prints_garbage", "second"): ("fail", "the check ended without a word about it"),
    ("prints_garbage", "third"): ("fail", "the check ended without a word about it"),
    ("says_nothing", "first"): ("fail", "the check ended without a word about it"),
    ("dies_after_its_rows", "first"): ("pass", ""),
    ("dies_after_its_rows", "its end"): ("fail", "ended with exit code 1: could not leave"),
    ("no_such_check", "first"): ("fail", "no attribute 'no_such_check'"),
    ("passes", "other"): ("skipped", "no_such_package is not installed"),
    ("passes", "first"): ("pass", ""),
    ("passes", "second"): ("pass", ""),
}


def test_no_row_is_lost(ran):
    found = rows(ran)
    assert found.keys() == EXPECTED.keys()
    for key, (result, why) in EXPECTED.items():
        assert found[key]["result"] == result and why in found[key]["why"], (key, found[key])
    assert found["misses", "missed"]["figures"] == {"ratio": 1.5}
    assert found["passes", "first"]["figures"] == {"ms": 1234.5, "loss": "nan", "where": "here"}


def test_tables_are_written_after_each_check(ran):
    """The last check has seen the rows of all before it."""
    assert rows(ran)["passes", "second"]["figures"]["rows so far"] == len(EXPECTED) - 2


def test_nothing_is_left_running(ran):
    """Neither what has left the process group, nor what has lost its parent as well."""
    pids = [int(pid) for pid in (ran / "pids").read_text().split()]
    assert len(pids) == 2 and not any(map(psutil.pid_exists, pids))


def test_markdown_has_the_same_rows(ran):
    head, *lines = (ran / "gpu_check.md").read_text().splitlines()
    assert head.startswith("A GPU, 80.0 GiB; CUDA 13.0; Python 3") and "7 passed, 11 failed, 2 skipped." in head
    cells = [line.replace("\\|", "/").strip("|").split(" | ") for line in lines[3:]]
    assert [(check.strip(), row) for check, row, *_ in cells] == list(EXPECTED)
    assert all(len(row) == 5 for row in cells)
    assert "1.5 / of the time. ratio: 1.5" in cells[0][3] and "ms: 1,234" in (ran / "gpu_check.md").read_text()
    assert (ran / "logs" / "crashes.log").read_text().rstrip().endswith("RuntimeError: the end of it")


def test_the_budget_cuts_off_and_leaves_out(tmp_path, monkeypatch):
    """What it cuts off has not failed; what has no time left does not begin."""
    monkeypatch.setenv("GLOW_TRL_TEST_TABLE", str(tmp_path / "gpu_check.json"))
    monkeypatch.setattr(gpu_check, "WORTH_A_START", 0.1)
    results = run_all([broken("hangs", "first", "second"), broken("passes", "first")], DEVICE, tmp_path, 6, None)
    assert [(result.result, result.why) for result in results] == [
        ("pass", ""),
        ("skipped", "the budget of 6 s ended while it ran"),
        ("skipped", "the budget of 6 s is spent"),
    ]


def test_every_check_is_there():
    """Each entry of the table names a function of a module; docs/gpu.md has its rows and its limit."""
    page = (ROOT / "docs" / "gpu.md").read_text()
    for check in CHECKS:
        assert f"| `{check.name}` | {check.seconds:.0f} | " in page and all(f"`{row}`" in page for row in check.rows)
        module, _, function = check.function.partition(":")
        path = ROOT / "bench" / Path(*module.split(".")).with_suffix(".py")
        assert f"def {function}(run: CheckRun)" in path.read_text() and check.rows and check.seconds <= 240
    assert len({check.name for check in CHECKS}) == len(CHECKS)


@pytest.mark.parametrize("name", ["GLOW / SFT time", "GLOW / SFT memory"])
def test_bars_of_a_step(name):
    """Time and memory are held to their bars, where they were measured on a GPU."""
    from gpu_checks.rows import Missed, Row
    from gpu_checks.step import judge

    figures = {"GLOW / SFT time": 1.01, "GLOW / SFT memory": 1.001}
    judge(Row(figures))
    with pytest.raises(Missed, match=r"1\.200 of"):
        judge(Row({**figures, name: 1.2}))
    judge(Row({"GLOW / SFT time": 1.2}))


def test_the_model_is_a_folder_or_in_the_local_cache(tmp_path, monkeypatch):
    assert gpu_check.find_model(str(tmp_path)) == str(tmp_path.resolve())
    monkeypatch.setenv("GLOW_TRL_GPU_CHECK_MODEL", str(tmp_path))
    assert gpu_check.find_model(None) == str(tmp_path.resolve())
    for name in ("nobody/no-such-model", "./nowhere/at/all"):
        with pytest.raises(SystemExit, match="no folder, and not whole in the local cache of the Hub"):
            gpu_check.find_model(name)


@pytest.mark.slow
def test_the_command(tmp_path):
    """A real check in its small form, from the command line; the exit code is 0 as nothing failed."""
    command = [sys.executable, str(ROOT / "bench" / "gpu_check.py"), "--only", "waits", "--cpu", "--output", "out"]
    run = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-3000:] + run.stdout[-3000:]
    found = rows(tmp_path / "out")
    assert list(found) == [("waits", "padded"), ("waits", "padding_free")]
    for row in found.values():
        figures = row["figures"]
        assert row["result"] == "pass" and 0 < figures["GLOW waits a step"] <= figures["SFT waits a step"]
    assert "2 passed, 0 failed, 0 skipped" in run.stdout


def test_ended_from_outside(tmp_path):
    """SIGTERM, as when a machine is taken back: the check that runs ends too, with all that it has started."""
    code = "import gpu_check, sys; from test_gpu_check import DEVICE, broken; gpu_check.find_device = lambda: DEVICE; "
    code += "gpu_check.CHECKS = [broken('hangs', 'first')]; sys.exit(gpu_check.main(['--output', 'out']))"
    variables = environment(GLOW_TRL_TEST_TABLE=str(tmp_path / "gpu_check.json"))
    variables["PYTHONPATH"] += f":{ROOT / 'bench'}:{Path(__file__).parent}"
    process = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, env=variables)
    wait_until((tmp_path / "pids").exists, process)
    process.terminate()
    assert process.wait(LIMIT) == 128 + signal.SIGTERM
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert len(pids) == 2 and not any(map(psutil.pid_exists, pids))


def test_exit_code_of_a_failure(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_check, "CHECKS", [broken("says_nothing", "first")])
    monkeypatch.setattr(gpu_check, "find_device", lambda: DEVICE)
    assert gpu_check.main(["--output", str(tmp_path)]) == 1
