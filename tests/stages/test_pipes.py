"""A reader that goes away, `| head -1`: the command ends without a word, with the exit code that shells know it by."""

import os
import signal
import subprocess
import sys

import pytest

from helpers.bad_inputs import PREDICTIONS, lines
from helpers.launching import environment


CLOSED = 128 + signal.SIGPIPE


def run_without_reader(*argv: str, cwd=None) -> subprocess.CompletedProcess:
    """The command with an output that nobody reads any more."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        command = [sys.executable, "-m", "glow_trl.cli", *argv]
        return subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, env=environment(), cwd=cwd)
    finally:
        os.close(writer)


@pytest.mark.parametrize("argv", [("--help",), ("--version",), ("label", "--help"), ("verify",)], ids=" ".join)
def test_a_closed_pipe_ends_a_command_quietly(argv, tmp_path):
    if argv == ("verify",):
        (tmp_path / "p.jsonl").write_text(lines(PREDICTIONS))
        argv = ("verify", "p.jsonl", "--output", "out.jsonl")
    run = run_without_reader(*argv, cwd=tmp_path)
    assert run.stderr == ""
    # The parser takes its help as printed
    assert run.returncode == CLOSED or (run.returncode == 0 and "label" in argv)
    if argv[0] == "verify":
        assert len((tmp_path / "out.jsonl").read_text().splitlines()) == len(PREDICTIONS), "its work is done"


def test_what_is_read_in_part_is_no_error():
    """As in a shell: `head` takes a line and goes."""
    command = f"{sys.executable} -m glow_trl.cli label --help | head -1; echo ${{PIPESTATUS[0]}}"
    run = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=environment())
    assert "Traceback" not in run.stderr and "ignored" not in run.stderr, run.stderr
    assert run.stdout.splitlines()[-1] in ("0", str(CLOSED))
