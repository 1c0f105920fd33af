"""
What stands in for `glow-trl run` in the runs of a study: `-m helpers.study_run RECIPE --output_dir ...` leaves the
same files in the same frame within a second, and goes on where it was killed. MADE_UP_FAILURE names the arm and seed
of one that fails, `glow-7`, or `data-7`.
"""

import argparse
import json
import os
import random
import sys
import time
from pathlib import Path

from glow_trl.errors import ServiceError
from glow_trl.recipes.recipe import Recipe
from glow_trl.stages.command import guarded
from glow_trl.stages.config import Settings
from glow_trl.stages.files import write_json
from glow_trl.stages.frame import stage_run


PIECES = 8
QUESTIONS = 12
SAMPLES = 2
BENCHMARKS = {"in_domain": "in", "all_words": "out"}


def rows_of(benchmark: str, arm: str, seed: int) -> list[dict]:
    """The judged completions of a run: its arm, its seed and the question decide how many are right."""
    rng = random.Random(f"{benchmark} {arm} {seed}")
    share = {"glow": 0.7, "positive": 0.5}.get(arm, 0.4) + 0.05 * (seed % 3)
    rows = []
    for index in range(QUESTIONS):
        for sample in range(SAMPLES):
            verdict = {"correct": rng.random() < share * (index + 6) / 12, "reason": None}
            row = {"problem": f"{benchmark} {index}", "answer": "1", "index": index, "sample": sample}
            rows.append(row | {"n_tokens": 5 + index, "finish_reason": "stop", "verdict": verdict})
    return rows


def settings_of(arms) -> dict:
    """What the stages of arms were told."""
    return {arm: {"sft": {"learning_rate": 0.001, "max_steps": 10, "arm": arm}, "sft_eval": {}} for arm in arms}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("recipe")
    parser.add_argument("--output_dir", type=Path)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--arms", nargs="+")
    parser.add_argument("--only_data")
    parser.add_argument("--data_from", type=Path)
    args = parser.parse_args()
    recipe = Recipe(args.recipe)
    told = Settings("run", (), {"seed": args.seed}, {}, {"seed": args.seed}, {})
    with stage_run(told, args.output_dir, reopens=True) as run:
        arms = {arm: recipe.arms[arm] for arm in args.arms}
        run.record |= {"recipe": recipe.name, "arms": arms, "overrides": {}, "stage_settings": settings_of(arms)}
        run.start()
        run.is_new = False
        folder = args.output_dir / ("prepare" if args.only_data else args.arms[0])
        folder.mkdir(exist_ok=True)
        for piece in range(PIECES):
            if (folder / f"piece-{piece}").exists():
                continue
            time.sleep(0.05)
            name = "data" if args.only_data else args.arms[0]
            if piece == PIECES // 2 and os.environ.get("MADE_UP_FAILURE") == f"{name}-{args.seed}":
                raise ServiceError("the server of the judge is gone")
            with (folder / f"piece-{piece}").open("a") as file:
                file.write(f"{piece}\n")
        if not args.only_data:
            assert (args.data_from / "prepare" / f"piece-{PIECES - 1}").is_file()
            evaluate(folder, args.arms[0], args.seed)
        run.complete()


def evaluate(folder: Path, arm: str, seed: int, stage: str = "sft") -> None:
    """What training and evaluation leave."""
    for name in (stage, f"{stage}_eval"):
        (folder / name).mkdir(exist_ok=True)
    write_json(folder / stage / "run.json", {"stage": stage, "status": "complete", "seconds": 1.0})
    losses = [3.0 - step * (0.5 + 0.01 * (seed % 3)) for step in range(5)]
    log = "".join(json.dumps({"step": step, "loss": loss}) + "\n" for step, loss in enumerate(losses, start=1))
    (folder / stage / "log.jsonl").write_text(log)
    for name in BENCHMARKS:
        lines = "".join(json.dumps(row) + "\n" for row in rows_of(name, arm, seed))
        (folder / f"{stage}_eval" / f"generations_{name}.jsonl").write_text(lines)
    benchmarks = {name: {"domain": domain, "n": QUESTIONS, "pass@1": 0.5} for name, domain in BENCHMARKS.items()}
    write_json(folder / f"{stage}_eval" / "results.json", {"benchmarks": benchmarks, "sampling": {}, "seconds": 1.0})
    write_json(folder / f"{stage}_eval" / "run.json", {"stage": "eval", "status": "complete", "seconds": 1.0})


if __name__ == "__main__":
    sys.exit(guarded(main))
