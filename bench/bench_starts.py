"""
Which measure of `glow-trl ready` predicts what RL makes of a start.

```shell
python bench/bench_starts.py --output_dir outputs/starts             # 24 starts: 20 minutes of one core
python bench/bench_starts.py --output_dir outputs/starts --jobs 4
python bench/bench_starts.py --output_dir outputs/longer --seeds 1 2 3 4 5 6 --grpo.max_steps 200 --sft.max_steps 940
```

Starts are arms x epochs x seeds of a recipe. For each seed: data and stage 1 of all arms with `save_strategy: epoch`,
`glow-trl ready` on the checkpoints nearest to the given shares of stage 1, the same GRPO from each of them (same seed,
steps and questions), and `glow-trl eval` of what comes out. Stopped and started again it goes on. `--STAGE.KEY VALUE`
sets something of `sft`, `ready`, `grpo` or `eval`.

The outcomes are accuracy in domain, the mean accuracy out of domain, and the mean reward over the steps of GRPO.
`starts_evidence.py` beside this file says how they are compared with the measures.
"""

import argparse
import hashlib
import json
import multiprocessing
import os
import re
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from starts_evidence import Starts, conclusions, read_results, tables, write_results

from glow_trl.errors import UserError
from glow_trl.version import __version__


SETTINGS: dict[str, dict[str, Any]] = {
    "sft": {"save_strategy": "epoch", "save_total_limit": "null", "max_steps": 564},
    "ready": {"num_questions": 100, "num_samples": 16, "held_out": 0},
    "grpo": {"max_steps": 40, "per_device_train_batch_size": 128},
    "eval": {"entropy": False, "num_samples": 2},
}


def command(name: str, *argv: object) -> None:
    """A command of the package, in this process, so that its imports are paid once."""
    from glow_trl.cli import main

    started = time.perf_counter()
    if code := main([name, *map(str, argv)]):
        raise SystemExit(f"glow-trl {name} ended with {code}: {' '.join(map(str, argv))}")
    print(f"{name}: {time.perf_counter() - started:.1f} s", file=sys.stderr, flush=True)


def options_of(settings: Mapping[str, Any], prefix: str = "") -> list[str]:
    return [str(part) for key, value in settings.items() for part in (f"--{prefix}{key}", value)]


def sft_recipe(recipe: Path, arms: Sequence[str], folder: Path) -> Path:
    """The recipe without all that follows stage 1."""
    target = folder / recipe.resolve().name
    target.mkdir(parents=True, exist_ok=True)
    content = yaml.safe_load((recipe / "recipe.yaml").read_text())
    content["arms"] = {
        arm: {key: value for key, value in content["arms"][arm].items() if key not in ("stages", "grpo")}
        for arm in arms
    }
    content.pop("compare", None)
    (target / "recipe.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    for name in ("label.yaml", "loss.yaml", "sft.yaml"):
        if (recipe / name).is_file():
            (target / name).write_text((recipe / name).read_text())
    return target


def held_out_trajectories(recipe: Path, seed: int, run: Path, folder: Path) -> Path:
    """Labelled trajectories of the same teacher on questions that no start was trained on."""
    from glow_trl.data import read_jsonl, write_jsonl
    from glow_trl.quickstart import QuickstartConfig, write_data

    labelled = folder / "label" / "trajectories.jsonl"
    if not labelled.is_file():
        own = yaml.safe_load((recipe / "recipe.yaml").read_text()).get("quickstart") or {}
        sizes = {"train_questions": 200, "rl_questions": 1, "test_questions": 1}
        write_data(QuickstartConfig(**{**own, **sizes, "seed": 1_000_000 + seed}), folder / "data")
        known = {row["problem"] for _, row in read_jsonl(run / "label" / "trajectories.jsonl")}
        rows = [row for _, row in read_jsonl(folder / "data" / "trajectories.jsonl") if row["problem"] not in known]
        write_jsonl(folder / "unlabelled.jsonl", rows)
        command("label", "--dataset_name", folder / "unlabelled.jsonl", "--output_dir", labelled.parent)
    return labelled


def chosen_checkpoints(folder: Path, shares: Sequence[float]) -> list[Path]:
    """The checkpoints of a stage 1 that are nearest to some shares of its steps."""
    steps = sorted(int(path.name.split("-")[1]) for path in folder.glob("checkpoint-*"))
    nearest = [min(steps, key=lambda step: (abs(step - share * steps[-1]), step)) for share in shares]
    if len(set(nearest)) < len(nearest):
        raise UserError(f"{folder}: too few checkpoints ({steps}) for the shares {shares}; give fewer --epochs")
    return [folder / f"checkpoint-{step}" for step in nearest]


def make_starts(options: argparse.Namespace, seed: int) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """All starts of a seed, with their measures and outcomes; and the better side of each measure."""
    from glow_trl.recipes.recipe import Recipe, write_settings

    settings, folder = options.settings, options.output_dir / f"seed-{seed}"
    run = folder / "run"
    trained = sft_recipe(options.recipe, options.arms, folder / "recipe")
    sft = options_of(settings["sft"], "sft.")
    command("run", trained, "--seed", seed, "--output_dir", run, "--arms", *options.arms, *sft)
    recipe = Recipe(options.recipe)
    for stage in ("grpo", "eval"):
        write_settings(folder / f"{stage}.yaml", {**recipe.settings(stage, run, built_model=True), "seed": seed})
    starts = [path for arm in options.arms for path in chosen_checkpoints(run / arm / "sft", options.epochs)]
    trajectories = held_out_trajectories(options.recipe, seed, run, folder / "held_out")
    given = ["--grpo", folder / "grpo.yaml", "--trajectories", trajectories, "--seed", seed]
    given += ["--base", run / "prepare" / "model"]
    command("ready", *starts, *given, "--output_dir", folder / "ready", *options_of(settings["ready"]))
    ready = json.loads((folder / "ready" / "ready.json").read_text())
    rows = []
    for start in starts:
        arm, step = start.parents[1].name, int(start.name.split("-")[1])
        trained_on, evaluated = folder / "outcomes" / f"{arm}-{step}", folder / "outcomes" / f"{arm}-{step}_eval"
        files = ["--model_name_or_path", start, "--output_dir", trained_on]
        command("grpo", "--config", folder / "grpo.yaml", *files, *options_of(settings["grpo"]))
        files = ["--model_name_or_path", trained_on, "--output_dir", evaluated]
        command("eval", "--config", folder / "eval.yaml", *files, *options_of(settings["eval"]))
        found = {name: ready["starts"][str(start)].get(name) for name in ready["measures"]}
        row = {"seed": seed, "arm": arm, "step": step, "measures": found}
        rows.append({**row, "outcome": outcome(trained_on, evaluated)})
    return rows, {name: measure["better"] for name, measure in ready["measures"].items()}


def outcome(trained: Path, evaluated: Path) -> dict[str, float]:
    results = json.loads((evaluated / "results.json").read_text())
    rates = [(entry["domain"], entry["pass@1"]) for entry in results["benchmarks"].values()]
    log = [json.loads(line) for line in (trained / "log.jsonl").read_text().splitlines()]
    return {
        "in_domain": float(np.mean([rate for domain, rate in rates if domain == "in"])),
        "out_of_domain": float(np.mean([rate for domain, rate in rates if domain != "in"])),
        "learning_curve": float(np.mean([entry["reward"] for entry in log if "reward" in entry])),
    }


def one_seed(options: argparse.Namespace, seed: int) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """As a task of its own, whose messages go to a file."""
    options.output_dir.mkdir(parents=True, exist_ok=True)
    with (options.output_dir / f"seed-{seed}.log").open("a") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        return make_starts(options, seed)


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_dir", type=Path, required=True)
    parser.add_argument("--recipe", type=Path, default=Path(__file__).resolve().parents[1] / "recipes" / "quickstart")
    parser.add_argument("--seeds", type=int, nargs="+", default=[11, 12, 13, 14])
    parser.add_argument("--arms", nargs="+", default=["glow", "positive", "negative"])
    parser.add_argument("--epochs", type=float, nargs="+", default=[0.5, 1.0], help="as shares of stage 1")
    parser.add_argument("--jobs", type=int, default=1, help="seeds at a time")
    options, rest = parser.parse_known_args(argv)
    options.settings = {stage: dict(settings) for stage, settings in SETTINGS.items()}
    for option, value in zip(rest[::2], rest[1::2], strict=False):
        found = re.fullmatch(r"--(sft|ready|grpo|eval)\.(\w+)", option)
        if not found:
            parser.error(f"unknown option {option}")
        options.settings[found[1]][found[2]] = value
    if len(rest) % 2:
        parser.error(f"{rest[-1]} needs a value")
    return options


def main() -> None:
    options = parse()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    files = sorted(options.recipe.glob("*.yaml"))
    facts = {
        "command": "python bench/bench_starts.py",
        "version": __version__,
        "recipe": options.recipe.resolve().name,
        "recipe_digest": hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:12],
        "arms": options.arms,
        "epochs": options.epochs,
        "settings": options.settings,
    }
    with ProcessPoolExecutor(options.jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        tasks = [pool.submit(one_seed, options, seed) for seed in options.seeds]
        try:
            made = [task.result() for task in tasks]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    file = options.output_dir / "starts.json"
    write_results(file, facts, Starts([row for rows, _ in made for row in rows], made[0][1]), made[0][1])
    text = tables(conclusions(read_results(file)))
    (options.output_dir / "tables.md").write_text(text)
    print(text, end="")


if __name__ == "__main__":
    main()
