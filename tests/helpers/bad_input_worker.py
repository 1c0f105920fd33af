"""
Runs commands of the package, each in a process forked from one that has imported everything: as a user's process, but
for the seconds of its imports. A job's answer is the exit code and what stood on stdout and stderr.
"""

import contextlib
import json
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path


def run(
    argv: list[str], cwd: str, env: dict[str, str] | None = None, limit: float = 120.0, largest: int | None = None
) -> dict:
    """
    The command line `glow-trl ARGV` in the folder `cwd`; killed after `limit` seconds, with the code -9. No file may
    become larger than `largest` bytes: writing beyond fails, as on a full disk.
    """
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, name) for name in ("stdout", "stderr")]
        pid = os.fork()
        if pid == 0:
            if largest is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
            _child(argv, cwd, env or {}, paths)
        deadline = time.monotonic() + limit
        while (ended := os.waitpid(pid, os.WNOHANG)) == (0, 0):
            if time.monotonic() > deadline:
                os.killpg(pid, signal.SIGKILL)
            time.sleep(0.005)
        code = os.waitstatus_to_exitcode(ended[1])
        out, err = (path.read_text(errors="replace") if path.exists() else "" for path in paths)
    return {"code": code, "out": out, "err": err}


def _child(argv: list[str], cwd: str, env: dict[str, str], paths: list[Path]) -> None:
    code = 70
    try:
        os.setpgid(0, 0)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        for descriptor, path in zip((1, 2), paths, strict=True):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
        os.environ.update(env)
        os.chdir(cwd)
        sys.argv = ["glow-trl", *argv]
        from glow_trl.cli import main

        code = main(argv)
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def main() -> None:
    import importlib

    from glow_trl.stages.config import command_types
    from glow_trl.stages.registry import COMMANDS

    for name in COMMANDS:
        command_types(name)
    for name in ("datasets", "peft", "pyarrow.parquet", "rich.console", "glow_trl.training.grpo_trainer"):
        importlib.import_module(name)
    for line in sys.stdin:
        print("answer " + json.dumps(run(**json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
