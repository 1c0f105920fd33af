"""The blocks of the documents, and a way to do in a folder what they say, word for word."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path


ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(
    str(path.relative_to(ROOT))
    for pattern in ("*.md", "docs/*.md", "examples/*.md", "recipes/README.md")
    for path in ROOT.glob(pattern)
)
# Lines that are not run where they stand, and why
ELSEWHERE = {
    "source .venv/bin/activate": "a shell's own",
    "pip install ": "installs this package",
    "make setup": "installs this package",
    "make test": "runs this test",
    "make lint": "the gate runs it",
    "make bench": "measures speed; tests/bench/test_bench_smoke.py starts each",
    "make gpu-check": "tests/bench/test_gpu_check.py",
    "python bench/gpu_check.py": "tests/bench/test_gpu_check.py",
    "pre-commit ": "runs what make lint runs, on what is committed",
    "glow-trl study examples/quickstart_study.yaml": "tests/study/test_study.py",
    "python docs/evidence/make_evidence.py": "tests/docs/test_evidence.py",
    "bash outputs/quickstart_study/slurm/submit.sh": "tests/study/test_study.py",
    "VLLM_SERVER_DEV_MODE=1 vllm serve": "tests/training/test_grpo_vllm.py",
}
# Other trainers, which are no dependencies of the tests
ELSEWHERE |= dict.fromkeys(("trl grpo --reward_funcs", "python -m verl."), "tests/rewards/test_adapters.py")
_FENCE = re.compile(r"^(\s*)```(\w*)$")
_FILE = re.compile(r"`([\w./-]+\.\w+)`:$")


@dataclass(frozen=True)
class Block:
    """
    A fenced block of a document.

    Args:
        place (`str`): document and line, for messages.
        language (`str`): what stands behind the fence.
        text (`str`): the content.
        file (`str`, *optional*): the file that it is the content of, where the line before names one: "`name`:".
    """

    place: str
    language: str
    text: str
    file: str | None = None


def blocks(document: str) -> list[Block]:
    """The blocks of a document, in order; in shell blocks without comments, continued lines as one."""
    found: list[Block] = []
    opened: tuple[int, str] | None = None
    content: list[str] = []
    said = ""
    for number, line in enumerate((ROOT / document).read_text(encoding="utf-8").splitlines(), start=1):
        fence = _FENCE.match(line)
        if fence and fence[1]:
            raise ValueError(f"{document}:{number}: a block is indented, so nothing would run it")
        if fence and opened is None:
            opened, content = (number, fence[2]), []
        elif fence:
            file = _FILE.search(said)
            text = "\n".join(content) + "\n"
            found.append(Block(f"{document}:{opened[0]}", opened[1], text, file and file[1]))
            opened, said = None, ""
        elif opened is not None:
            content.append(line)
        elif line.strip():
            said = line.strip()
    return found


def shell_lines(block: Block) -> list[str]:
    """The command lines of a shell block that are to be run."""
    text = re.sub(r"\s*\\\n\s*", " ", block.text)
    lines = [line.partition("  #")[0].strip() for line in text.splitlines()]
    return [line for line in lines if line and not line.startswith(tuple(ELSEWHERE))]


def perform(
    found: Iterable[Block], folder: Path, change: Callable[[str], str] = str, package: Path = ROOT, **variables: str
) -> str:
    """
    Do in a folder what blocks say, in order: files are written, command lines and Python run. All of it in one process
    of its own, so that imports are paid for once and nothing is left in this one.

    Args:
        found (`list[Block]`): the blocks. Without a file, all but shell and Python is passed over.
        folder (`Path`): the current folder of what is run.
        change (`Callable`, *optional*): what to make of a command line before it is run.
        package (`Path`, *optional*): folder that `glow_trl` is in.
        **variables: environment variables.

    Returns:
        `str`: what was printed.
    """
    steps = []
    for block in found:
        if block.language == "shell":
            steps += [asdict(replace(block, text=change(line), file=None)) for line in shell_lines(block)]
        elif block.language == "python" or block.file is not None:
            steps.append(asdict(block))
    path = os.pathsep.join([str(package), str(ROOT / "tests")])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path, **variables}
    run = subprocess.run(
        [sys.executable, "-m", "helpers.performing"],
        input=json.dumps(steps),
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, f"{run.stdout[-2000:]}\n{run.stderr[-4000:]}"
    return run.stdout
