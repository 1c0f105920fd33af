"""Ctrl-C and SIGTERM end a command in good order, wherever they find it."""

import os
import signal
import subprocess
import sys
import textwrap
import time
import weakref

import pytest

from glow_trl.stages.command import guarded
from glow_trl.stages.interruption import Interruption
from helpers.launching import ROOT, environment


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_command_with_one_line_and_its_code(capsys, number, code):
    ended = []

    def main():
        try:
            signal.raise_signal(number)
        finally:
            ended.append(True)

    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    assert guarded(main, "interrupted; go on") == code
    assert capsys.readouterr().err == "glow-trl: interrupted; go on\n" and ended == [True]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers


def test_an_error_that_an_interruption_became_is_an_interruption(capsys):
    """As an import that is interrupted in its C part may end."""

    def main():
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt:
            raise ImportError("a module failed to import") from None

    assert guarded(main) == 143
    assert "failed to import" not in capsys.readouterr().err


@pytest.mark.parametrize("ctrl_c", [signal.default_int_handler, signal.SIG_IGN], ids=["default", "ignored"])
def test_an_interruption_in_a_finalizer_is_not_lost(ctrl_c, capsys):
    """Python cannot raise there, and only says so. Nor is it lost where Ctrl-C is ignored, as in the background."""

    class Thing:
        pass

    def main():
        thing = Thing()
        reference = weakref.ref(thing, lambda _: signal.raise_signal(signal.SIGTERM))
        del thing
        assert reference() is None
        while True:
            time.sleep(0.01)

    kept = signal.signal(signal.SIGINT, ctrl_c)
    try:
        assert guarded(main) == 143
    finally:
        signal.signal(signal.SIGINT, kept)
    assert "Exception ignored" not in capsys.readouterr().err


def test_what_ends_after_an_interruption_in_a_finalizer_is_not_interrupted_again():
    class Thing:
        pass

    def main():
        thing = Thing()
        reference = weakref.ref(thing, lambda _: signal.raise_signal(signal.SIGTERM))
        del thing
        return 0 if reference() is None else 1

    assert guarded(main) == 0
    time.sleep(0.2)


def test_a_second_sigterm_does_not_disturb_the_end_but_a_second_ctrl_c_does():
    done = []

    def main():
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGTERM)
            done.append("in good order")
            signal.raise_signal(signal.SIGINT)
            done.append("never")

    assert guarded(main) == 143 and done == ["in good order"]


def test_what_ignores_ctrl_c_goes_on_ignoring_it():
    """Jobs in the background of a script."""
    kept = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Interruption():
            os.kill(os.getpid(), signal.SIGINT)
        assert guarded(lambda: os.kill(os.getpid(), signal.SIGINT)) == 0
    finally:
        signal.signal(signal.SIGINT, kept)


def test_a_command_that_is_not_in_the_main_thread_is_left_alone():
    code = """
    import threading
    from glow_trl.stages.command import guarded
    codes = []
    thread = threading.Thread(target=lambda: codes.append(guarded(lambda: 7)))
    thread.start()
    thread.join()
    assert codes == [7]
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], cwd=ROOT, env=environment(), check=True)


def test_an_interruption_of_code_in_a_string_has_its_code_too(tmp_path):
    """As dataclasses are made when they are imported: Python remembers it, and ends by SIGINT later."""
    (tmp_path / "interrupted.py").write_text(
        "import sys\nfrom glow_trl.stages.command import guarded\n"
        "sys.exit(guarded(lambda: exec('import os, signal; os.kill(os.getpid(), signal.SIGTERM)')))\n"
    )
    run = subprocess.run([sys.executable, "-m", "interrupted"], cwd=tmp_path, env=environment(), capture_output=True)
    assert run.returncode == 143 and run.stderr == b"glow-trl: interrupted\n", run.stderr
