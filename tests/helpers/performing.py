"""
The process that does what documents say, see `documents.perform`: steps as JSON on standard input. A command of the
package, a script, and `accelerate launch` of one process run in this process, which has imported everything.
"""

import contextlib
import io
import json
import os
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path


ROOT = Path(__file__).resolve().parents[2]
# What needs no more than a shell
_SHELL = ("cat", "cp", "echo", "mkdir", "sbatch")


def main() -> None:
    """Do the steps; the first that fails ends the process with its place."""
    for step in json.load(sys.stdin):
        try:
            if step["file"]:
                path = Path(step["file"])
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(step["text"], encoding="utf-8")
            elif step["language"] == "python":
                run_python(step["text"])
            else:
                code = run_line(step["text"])
                assert not code, f"exit code {code}"
        except BaseException:
            print(f"{step['place']} failed:\n{step['text']}", file=sys.stderr)
            raise


def run_python(text: str) -> None:
    """Run a block; what it prints must be what it says: `print(...)`, and the output as a comment below."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(compile(text, "block", "exec"), {"__name__": "__main__"})
    for expected in re.findall(r"^print\(.*\n# (.+)$", text, re.MULTILINE):
        assert expected in output.getvalue().splitlines(), f"expected {expected}, printed {output.getvalue()}"


def run_line(line: str) -> int | None:
    """Run a command line; returns its exit code."""
    from accelerate.commands.launch import launch_command_parser

    from glow_trl.cli import main as glow_trl
    from glow_trl.stages.command import run_command

    words = shlex.split(line)
    if line == "make demo":
        plan = subprocess.run(
            ["make", "--no-print-directory", "--dry-run", "demo"], cwd=ROOT, capture_output=True, text=True, check=True
        )
        words = shlex.split(plan.stdout.splitlines()[-1])
        assert words[0].endswith("bin/glow-trl")
    if words[0] in ("glow-trl", ".venv/bin/glow-trl"):
        return glow_trl(words[1:])
    if words[0] == "python" and not words[1].startswith("-"):
        return run_script(words[1], words[1:])
    if words[:2] == ["accelerate", "launch"]:
        arguments = launch_command_parser().parse_args(words[2:])
        assert arguments.module and Path(arguments.config_file).is_file()
        if arguments.num_processes in (None, 1):
            return run_command(arguments.training_script.removeprefix("glow_trl."), arguments.training_script_args)
        line = shlex.join([sys.executable, "-m", "accelerate.commands.accelerate_cli", *words[1:]])
    elif words[0] not in _SHELL:
        raise ValueError("nothing here knows how to run this line")
    return subprocess.run(["bash", "-ec", line]).returncode


def run_script(path: str, argv: list[str]) -> int | None:
    """Run a script as `python PATH ...` does."""
    kept, sys.argv = sys.argv, argv
    sys.path.insert(0, os.path.dirname(os.path.abspath(path)))
    try:
        runpy.run_path(path, run_name="__main__")
    except SystemExit as end:
        return end.code if isinstance(end.code, int | None) else 1
    finally:
        sys.argv = kept
        sys.path.pop(0)
    return 0


if __name__ == "__main__":
    main()
