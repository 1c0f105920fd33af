"""What commands are given when all is well, and what is done to it for a case of a bad input."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from glow_trl.data.handover import write_handover
from glow_trl.generation.loading import load_tokenizer
from helpers.made_up_run import make_run_folder
from helpers.sft_folders import made_up, write_sft_folder


ROWS = [
    {
        "problem": f"{i}+1=?",
        "completion": f"{i}+1={i + i % 2 + 1}; \\boxed{{{i + i % 2 + 1}}}",
        "answer": str(i + 1),
        "is_correct": i % 2 == 0,
        "sample_id": f"r{i}",
        "n_tokens": 9,
    }
    for i in range(8)
]
QUESTIONS = [{"problem": f"{i}+2=?", "answer": str(i + 2), "sample_id": f"q{i}"} for i in range(4)]
PREDICTIONS = [{"prediction": f"so \\boxed{{{i}}}", "gold": str(i)} for i in range(4)]

_MODEL = {"model_name_or_path": "{good}/model"}
_OUT = {"output_dir": "{here}/out"}
_TRAINING = {
    "max_steps": 1,
    "per_device_train_batch_size": 2,
    "use_cpu": True,
    "bf16": False,
    "gradient_checkpointing": False,
    "disable_tqdm": True,
    "report_to": "none",
    "save_strategy": "no",
}
_ENGINE = {"max_new_tokens": 4, "batch_size": 4}

# For each command, settings with which it succeeds; {good} is the folder of good inputs, {here} that of a case
GOOD: dict[str, dict[str, Any]] = {
    "run": {"recipe": "{good}/recipe", **_OUT},
    "collect": {"dataset_name": "{good}/questions.jsonl", **_MODEL, **_OUT, **_ENGINE, "num_samples": 1},
    "label": {"dataset_name": "{good}/rows.jsonl", **_OUT},
    "mix": {"dataset_name": "{good}/rows.jsonl", **_OUT},
    "sft": {"dataset_name": "{good}/rows.jsonl", **_MODEL, **_OUT, **_TRAINING},
    "grpo": {
        "dataset_name": "{good}/questions.jsonl",
        **_MODEL,
        **_OUT,
        **_TRAINING,
        "num_generations": 2,
        "max_completion_length": 4,
        "guard_max_clipped_ratio": 2,
    },
    "eval": {"benchmarks": ["{good}/bench.yaml"], **_MODEL, **_OUT, **_ENGINE},
    "merge": {"adapter": "{good}/adapter", "output": "{here}/out"},
    "compare": {"first": "{good}/eval_a", "second": "{good}/eval_b", "output": "{here}/out.json"},
    "entropy": {"models": ["{good}/model"], "benchmarks": ["{good}/bench.yaml"], **_OUT, "max_new_tokens": 4},
    "ready": {
        **{"checkpoints": ["{good}/model"], "questions": ["{good}/questions.jsonl"], **_OUT, "max_new_tokens": 4},
        **{"num_samples": 2, "num_questions": 4},
    },
    "report": {"run_dir": "{here}/out"},
    "dynamics": {"run_dir": "{good}/sft", **_OUT},
    "loss": {"dataset_name": "{good}/rows.jsonl", **_MODEL, **_OUT},
    "annotate": {"dataset_name": "{good}/rows.jsonl", **_MODEL, **_OUT, "judge": "rule", "taxonomy": "quickstart"},
    "audit": {"source": "{good}/rows.jsonl", **_OUT},
    "verify": {"file": "{good}/predictions.jsonl", "output": "{here}/out.jsonl"},
    "study": {"study": "{good}/study.yaml", **_OUT, "slurm": True},
}
# A command is not complete without these
REQUIRED: dict[str, tuple[str, ...]] = {
    "run": ("recipe",),
    "collect": ("dataset_name", "model_name_or_path", "output_dir"),
    "label": ("dataset_name", "output_dir"),
    "mix": ("dataset_name", "output_dir"),
    "sft": ("dataset_name", "model_name_or_path"),
    "grpo": ("dataset_name", "model_name_or_path"),
    "eval": ("benchmarks", "model_name_or_path", "output_dir"),
    "merge": ("adapter", "output"),
    "compare": ("first", "second"),
    "entropy": ("models", "benchmarks", "output_dir"),
    "ready": ("checkpoints", "questions", "output_dir"),
    "report": ("run_dir",),
    "dynamics": ("run_dir",),
    "loss": ("dataset_name", "model_name_or_path", "output_dir"),
    "annotate": ("dataset_name", "output_dir"),
    "audit": ("source", "output_dir"),
    "verify": ("file", "output"),
    "study": ("study",),
}

#: A file of a case: its content, or what makes it at a path, from the folder of good inputs.
Content = str | bytes | Callable[[Path, Path], None]


@dataclass(frozen=True)
class Case:
    """
    A bad input.

    Args:
        command (`str`): the command.
        name (`str`): what is bad, in words.
        says (`str`): what stands in the one line that refuses it.
        options (`dict`, *optional*): settings in place of the good ones; one that is `None` is left out.
        files (`dict[str, Content]`, *optional*): what lies in the case's folder, `{here}`.
        argv (`tuple[str, ...]`, *optional*): what stands at the end of the command line.
        config (`Content`, *optional*): the file that `--config` names, in which the good settings do not stand.
        code (`int`, *optional*, defaults to 2): the exit code: 1 where a server cannot be reached.
        bare (`bool`, *optional*): whether no good settings are given.
        env (`dict[str, str]`, *optional*): environment variables.
        begun (`bool`, *optional*): whether it is found when the command is at work, has said so, and has written.
    """

    command: str
    name: str
    says: str
    options: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, Content] = field(default_factory=dict)
    argv: tuple[str, ...] = ()
    config: Content | None = None
    code: int = 2
    bare: bool = False
    env: Mapping[str, str] = field(default_factory=dict)
    begun: bool = False

    @property
    def id(self) -> str:
        return f"{self.command}: {self.name}"

    def prepare(self, here: Path, good: Path) -> list[str]:
        """Make the case's files, and return its command line."""
        here.mkdir()
        if self.command == "report":
            shutil.copytree(good / "run", here / "out")
        files = dict(self.files) | ({} if self.config is None else {"config.yaml": self.config})
        for name, content in files.items():
            path = here / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if callable(content):
                content(path, good)
            else:
                path.write_bytes(content if isinstance(content, bytes) else placed(content, here, good).encode())
        settings = {} if self.bare else {**GOOD[self.command], **self.options}
        argv = command_line(settings)
        argv += [] if self.config is None else ["--config", "{here}/config.yaml"]
        return [self.command, *(placed(part, here, good) for part in [*argv, *self.argv])]


def placed(text: str, here: Path, good: Path) -> str:
    """The text with the folders in place of their names."""
    return text.replace("{here}", str(here)).replace("{good}", str(good))


def command_line(settings: Mapping[str, Any]) -> list[str]:
    """Settings as options; those that are `None` are left out."""
    argv: list[str] = []
    for name, value in settings.items():
        if value is not None:
            values = value if isinstance(value, list) else [value]
            argv += [f"--{name}", *(str(item).lower() if isinstance(item, bool) else str(item) for item in values)]
    return argv


def lines(rows: Iterable[Any]) -> str:
    """Rows as JSON lines."""
    return "".join(json.dumps(row) + "\n" for row in rows)


def copy_of(name: str, *changes: Callable[[Path], Any]) -> Callable[[Path, Path], None]:
    """A copy of a good file or folder, changed."""

    def make(path: Path, good: Path) -> None:
        source = good / name
        shutil.copytree(source, path) if source.is_dir() else shutil.copy(source, path)
        for change in changes:
            change(path)

    return make


def truncated(name: str, share: float = 0.5) -> Callable[[Path], None]:
    """Cuts a file of a folder off."""

    def change(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: int(len(content) * share)])

    return change


def without(*names: str) -> Callable[[Path], None]:
    """Takes files out of a folder."""

    def change(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return change


def holding(name: str, content: str | bytes) -> Callable[[Path], None]:
    """Writes a file in a folder."""
    return lambda folder: (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def with_keys(name: str, **values: Any) -> Callable[[Path], None]:
    """Changes keys of a JSON file in a folder."""

    def change(folder: Path) -> None:
        content = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(content | values))

    return change


def write_good_inputs(good: Path, model: str) -> None:
    """All that [`GOOD`] names but what commands make: `adapter`, `checkpoints`, `eval_a` and `eval_b`."""
    import pyarrow
    import pyarrow.parquet

    shutil.copytree(model, good / "model")
    write_handover(good / "model", load_tokenizer(model), None, None, 1.0)
    for name, rows in (("rows", ROWS), ("questions", QUESTIONS), ("predictions", PREDICTIONS)):
        (good / f"{name}.jsonl").write_text(lines(rows))
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), good / "rows.parquet")
    (good / "bench.yaml").write_text(f"name: b\npath: {good}/questions.jsonl\n")
    losses, samples = made_up(samples=40, epochs=3)
    write_sft_folder(good / "sft", np.asarray(losses), samples)
    make_run_folder(good / "run", {"glow": {}}, steps=5)
    (good / "recipe").mkdir()
    (good / "recipe" / "recipe.yaml").write_text("description: a recipe\nseed: 1\n")
    settings = {key: value for key, value in GOOD["sft"].items() if key != "output_dir"}
    text = "".join(f"{key}: {json.dumps(value)}\n" for key, value in settings.items()).replace("{good}", str(good))
    (good / "recipe" / "sft.yaml").write_text(text)
    (good / "study.yaml").write_text(
        f"recipe: {good}/recipe\narms: [glow, positive]\nseeds: [1]\ncontrol: positive\n"
        "measures: {loss: {stage: sft, curve: loss}}\nprimary: [loss]\n"
    )


def snapshot(*folders: Path) -> dict[str, str]:
    """What lies in folders: the digest of each file, and what else there is."""
    found = {}
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            kind = "folder" if path.is_dir() else "file" if path.is_file() else "other"
            digest = hashlib.sha1(path.read_bytes()).hexdigest() if kind == "file" else kind
            found[str(path)] = digest
    return found
