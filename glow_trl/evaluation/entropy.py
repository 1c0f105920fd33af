"""Policy entropy of checkpoints side by side: `glow-trl entropy CHECKPOINT [CHECKPOINT ...] --benchmarks gsm8k`."""

import dataclasses
import re
import sys
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from ..errors import UserError
from ..generation.loading import check_exists
from ..generation.model_files import check_model_files
from ..generation.registry import ENGINES
from ..stages.command import run_command
from ..stages.config import parse_command, setting
from ..stages.console import FiguresTable, say_results
from ..stages.files import write_json
from ..stages.frame import stage_run
from ..statistics.numbers import number, points, span
from .config import EvalConfig
from .paired import Evaluation, entropy_change


_NOT_IN_NAMES = re.compile(r"[^\w.-]+")


@dataclass
class EntropyConfig:
    r"""
    Policy entropy of checkpoints, each compared with the first: the mean over tokens of samples at temperature 1, over
    the whole vocabulary, in nats.

    Parameters:
        models (`list[str]`):
            Folders of checkpoints or model ids; also the first arguments of the command.
        benchmarks (`list[str]`):
            Shipped benchmarks by name, or YAML files.
        output_dir (`str`):
            Where samples and entropies go, in a folder for each checkpoint. Started again, the measurement continues
            there.
        entropy_questions (`int`, *optional*, defaults to `200`):
            Questions of each benchmark.
        max_new_tokens, seed, engine, system_prompt, prompt_template, dtype:
            As in [`EvalConfig`].
    """

    models: list[str] = setting([], "Folders of checkpoints or model ids.", positional=True, required=True)
    benchmarks: list[str] = setting([], "Shipped benchmarks by name, or YAML files.", required=True)
    output_dir: str | None = setting(None, "Where samples and entropies go.", required=True)
    entropy_questions: int = setting(200, "Questions of each benchmark.")
    max_new_tokens: int = setting(4096, "Completions are cut after this many tokens.")
    seed: int = setting(42, "Seed of the samples.")
    engine: str = setting("transformers", "transformers or vllm, which draw the samples.")
    system_prompt: str | None = setting(None, "System turn (default: as trained).")
    prompt_template: str | None = setting(None, "User turn with {problem} in it (default: as trained).")
    dtype: str = setting("auto", "auto, float32, bfloat16 or float16.")

    def __post_init__(self):
        if not self.models:
            raise UserError("name at least one checkpoint: glow-trl entropy CHECKPOINT ... --benchmarks gsm8k")
        if len(set(self.models)) < len(self.models):
            raise UserError("a checkpoint is named twice")
        if not self.benchmarks:
            raise UserError("benchmarks is required: shipped ones by name, or YAML files")
        if not self.output_dir:
            raise UserError("output_dir is required: where samples and entropies go")


def checkpoint_folders(models: Sequence[str], output_dir: str | Path) -> dict[str, Path]:
    """A folder of its own for each checkpoint, by a name that tells which."""
    folders: dict[str, Path] = {}
    for model in models:
        name = _NOT_IN_NAMES.sub("_", str(model).strip("/."))[-100:]
        while Path(output_dir, name) in folders.values():
            name += "_"
        folders[str(model)] = Path(output_dir, name)
    return folders


def compare_entropy(
    models: Sequence[str], output_dir: str | Path, console: Any = None, **settings: Any
) -> dict[str, Any]:
    """Measure the policy entropy of several checkpoints on the same questions.

    For each question one completion is drawn at temperature 1 from the whole vocabulary; its entropy is the mean over
    its tokens of the entropy of the distribution that each was drawn from, from one forward pass.

    Args:
        models (`Sequence[str]`):
            Folders of checkpoints or model ids; the others are compared with the first.
        output_dir (`str` or `Path`):
            Where completions and their entropies go, in one folder for each checkpoint. Started again, the measurement
            continues there.
        console (`rich.console.Console`, *optional*):
            Where progress bars are drawn.
        **settings:
            Arguments of [`EvalConfig`], such as `benchmarks`, `entropy_questions` (200), `max_new_tokens`, `seed`,
            `engine` and the prompts.

    Returns:
        `dict`: `{NAME: {"models": {MODEL: {"entropy", "entropy_ci", "entropy_protocol"}}, "changes": {MODEL: {
        "relative_change", "ci"}}}}` by benchmark. The 95 % intervals treat the tokens of a question as dependent, and
        that of a change pairs the questions.

    Raises:
        UserError: bad input or configuration, or an engine that has no model in this process.
    """
    from .runner import evaluate

    folders = checkpoint_folders(models, output_dir)
    found: dict[str, dict[str, Any]] = {}
    sums: dict[str, list[dict[Hashable, tuple[float, int]]]] = {}
    for model, folder in folders.items():
        config = EvalConfig(model_name_or_path=model, output_dir=str(folder), entropy=True, **settings)
        results = evaluate(config, console=console, only_entropy=True)
        for name, row in results["benchmarks"].items():
            found.setdefault(name, {"models": {}, "changes": {}})["models"][model] = row
            sums.setdefault(name, []).append(Evaluation(folder, results).entropies(name))
    for name, (first, *others) in sums.items():
        for model, second in zip(list(folders)[1:], others, strict=True):
            # One configuration chose the questions of all
            change = entropy_change([(first[index], second[index]) for index in first if index in second])
            if change is not None and "relative_change" in change:
                found[name]["changes"][model] = {key: change[key] for key in ("relative_change", "ci")}
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """Run `glow-trl entropy` with the arguments `argv`, by default those of the command line."""
    settings = parse_command("entropy", sys.argv[1:] if argv is None else argv)
    config: EntropyConfig = settings.config
    options = {item.name: getattr(config, item.name) for item in dataclasses.fields(config)}
    models, output_dir = options.pop("models"), options.pop("output_dir")
    for model in models if config.engine in ENGINES else ():
        check_model_files(model)
    with stage_run(settings, output_dir, recomputes=True) as run:
        for model in models if config.engine in ENGINES else ():
            check_exists(model)
        run.start()
        found = compare_entropy(models, output_dir, Console(stderr=True), **options)
        write_json(run.output_dir / "entropy.json", found)
        run.complete()
    Console().print(entropy_table(found))
    say_results(run.output_dir / "entropy.json")


def entropy_table(found: dict[str, dict[str, Any]]) -> FiguresTable:
    """A table of what [`compare_entropy`] found, for the terminal."""
    table = FiguresTable(
        "benchmark",
        "checkpoint",
        numbers=("questions", "tokens", "entropy", "95 %", "change, %", "95 % of it"),
        caption="nats per token, temperature 1, whole vocabulary",
    )
    for name, entry in found.items():
        for model, row in entry["models"].items():
            ends, protocol = row.get("entropy_ci"), row["entropy_protocol"]
            cells = [name, model, f"{protocol['questions']:,}", f"{protocol['tokens']:,}", number(row["entropy"], 3)]
            cells.append("" if ends is None else f"{ends[0]:.3f}–{ends[1]:.3f}")
            change = entry["changes"].get(model)
            if change is not None:
                cells.append(points(change["relative_change"]))
                cells += [span(*change["ci"])] if change["ci"] else []
            table.add(*cells)
    return table


if __name__ == "__main__":
    sys.exit(run_command("entropy"))
