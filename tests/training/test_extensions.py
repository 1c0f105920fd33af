"""A stage that needs DeepSpeed does not wait for a process that was killed while it built one of its operators."""

import os
import subprocess
import sys
import time

import pytest

from glow_trl.training import extensions
from glow_trl.training.extensions import remove_abandoned_locks


HOLD = (
    "import sys, time; from torch.utils.file_baton import FileBaton; "
    "print(FileBaton(sys.argv[1]).try_acquire(), flush=True); time.sleep(600)"
)


@pytest.fixture
def lock(tmp_path, monkeypatch):
    """Where torch's own code would lock a build, in a cache of its own."""
    from torch.utils.cpp_extension import _get_build_directory

    monkeypatch.delenv("TORCH_EXTENSIONS_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / os.path.relpath(_get_build_directory("cpu_adam", False), tmp_path) / "lock"


def hold(lock):
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(lock)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline().strip() == "True"
    return process


def test_a_lock_is_removed_when_its_holder_was_killed(lock, caplog):
    holder = hold(lock)
    remove_abandoned_locks()
    assert lock.exists()
    holder.kill()
    holder.wait()
    remove_abandoned_locks()
    assert not lock.exists()
    assert str(lock) in caplog.text
    assert not list(lock.parent.iterdir())


def test_processes_that_start_at_once_leave_the_lock_of_the_first_alone(lock):
    holder = hold(lock)
    holder.kill()
    holder.wait()
    code = (
        "import sys; from glow_trl.training.extensions import remove_abandoned_locks; "
        "from torch.utils.file_baton import FileBaton; import time; remove_abandoned_locks(); "
        "baton = FileBaton(sys.argv[1]); got = baton.try_acquire(); time.sleep(3 * got); "
        "baton.release() if got else baton.wait(); print(got)"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", code, str(lock)], stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    held = [process.communicate(timeout=120)[0].strip() for process in started]
    assert all(process.returncode == 0 for process in started)
    assert "True" in held
    assert not lock.exists()


def test_a_folder_that_is_named(lock, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path / "named"))
    named = tmp_path / "named" / "cpu_adam" / "lock"
    named.parent.mkdir(parents=True)
    named.touch()
    remove_abandoned_locks()
    assert not named.exists()


def test_a_lock_that_another_machine_may_hold_is_waited_for(lock, monkeypatch, caplog):
    monkeypatch.setattr(extensions, "_is_of_this_machine", lambda path: False)
    lock.touch()
    os.utime(lock, (time.time(), time.time() - 1.0))
    remove_abandoned_locks(build_seconds=2.0)
    assert not lock.exists()
    assert "another machine" in caplog.text


def test_a_lock_of_another_user_is_left_alone(lock, monkeypatch):
    """Whether its holder still runs cannot be seen."""
    lock.touch()
    monkeypatch.setattr(os, "geteuid", lambda: os.stat(lock).st_uid + 1)
    remove_abandoned_locks()
    assert lock.exists()
