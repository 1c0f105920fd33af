"""Good inputs for every command, and a process that runs commands on bad ones."""

from pathlib import Path

import pytest

from helpers.bad_inputs import GOOD, Case, command_line, placed, snapshot, write_good_inputs
from helpers.processes import Worker


# What a refused command may leave: the list of the rows that it could not use, what is judged before a bad line
_ALLOWED = {"rejects.jsonl", "out.jsonl.partial"}


class Bench:
    """Runs cases, each in a folder of its own, on good inputs that all share."""

    def __init__(self, folder: Path, model: str):
        self.folder, self.good = folder, folder / "good"
        self.good.mkdir()
        write_good_inputs(self.good, model)
        self.worker = Worker("helpers.bad_input_worker", errors=folder / "worker.log")
        self._count = 0
        options = {"use_peft": True, "lora_target_modules": "all-linear", "output_dir": "{good}/adapter"}
        self.succeed("sft", **options)
        checkpoints = {"max_steps": 2, "save_strategy": "steps", "save_steps": 1}
        self.succeed("sft", **checkpoints, output_dir="{good}/checkpoints")
        for name in ("eval_a", "eval_b"):
            self.succeed("eval", output_dir=f"{{good}}/{name}")

    def new_folder(self) -> Path:
        self._count += 1
        return self.folder / f"case{self._count:03d}"

    def succeed(self, command: str, here: Path | None = None, **options) -> None:
        """Run a command with its good settings, and these; it must end well."""
        argv = command_line({**GOOD[command], **options})
        argv = [command, *(placed(part, here or self.folder, self.good) for part in argv)]
        answer = self.worker(argv=argv, cwd=str(self.folder))
        assert answer["code"] == 0, answer

    def refuse(self, case: Case) -> Path:
        """
        Run a case: it is refused in one line that says what is wrong, nothing that was there is changed, and nothing
        is left that would stand in the way of the corrected command. Returns the case's folder.
        """
        here = self.new_folder()
        argv = case.prepare(here, self.good)
        before = snapshot(self.good, here)
        answer = self.worker(argv=argv, cwd=str(here), env=dict(case.env))
        check(answer["code"], answer["err"], case)
        check_folders(before, snapshot(self.good, here), here, here / "out" if case.begun else None)
        return here

    def close(self) -> None:
        self.worker.close()


def check(code: int, err: str, case: Case) -> None:
    """A command's exit code and what it said, as they have to be."""
    assert "Traceback" not in err, err[-3000:]
    assert code == case.code, (code, err[-3000:])
    said = [line for line in err.splitlines() if line.strip()]
    assert [line.startswith("glow-trl: error: ") for line in said].count(True) == 1, err[-3000:]
    assert (len(said) == 1 or case.begun) and said[-1].startswith("glow-trl: error: "), err[-3000:]
    assert case.says in said[-1], said[-1]


def check_folders(before: dict[str, str], after: dict[str, str], here: Path, writes: Path | None = None) -> None:
    """Nothing is changed or gone, and nothing new but what is allowed, such as in the folder `writes`."""
    changed = {path for path, digest in before.items() if after.get(path) != digest}
    assert not changed
    new = {Path(path) for path in after.keys() - before.keys()}
    left = {path for path in new if path.name not in _ALLOWED and not path.is_dir()}
    assert not {
        path for path in left if writes is None or not path.is_relative_to(writes) or path == writes / "run.json"
    }


@pytest.fixture(scope="session")
def bench(tmp_path_factory, tiny_model):
    made = Bench(tmp_path_factory.mktemp("bad_inputs"), tiny_model)
    yield made
    made.close()
