"""Which checkpoint RL should start from: `glow-trl ready CHECKPOINT ... --output_dir DIR [--key value ...]`."""

import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from ..benchmarks import BenchmarkConfig, load_questions
from ..data import read_jsonl, write_jsonl
from ..data.config import RowsConfig
from ..data.handover import check_handover, read_handover
from ..data.loss_history import LABEL_COLUMN
from ..errors import UserError
from ..evaluation.entropy import checkpoint_folders
from ..evaluation.paired import Evaluation, read_evaluation
from ..generation.loading import check_exists, load_tokenizer, local_folder
from ..generation.model_files import check_model_files
from ..generation.registry import ENGINES
from ..stages.command import run_command
from ..stages.config import Settings, parse_command
from ..stages.console import FiguresTable, say_results
from ..stages.dotted import own_code
from ..stages.files import read_json, write_json
from ..stages.frame import stage_run
from ..statistics.numbers import interval, number, percent
from .loss import LOSSES_FILE, run_loss
from .loss_config import LossConfig
from .readiness.chosen import QUESTIONS_FILE, READY_FILE
from .readiness.config import ReadyConfig
from .readiness.generations import (
    CommonQuestions,
    check_generations,
    generation_files,
    has_generations,
    read_generations,
)
from .readiness.measures import BUDGET, COVERAGE, ENTROPY, INFORMATIVE, Start
from .readiness.ranking import COMPOSITE, advice, readiness


logger = logging.getLogger(__name__)

# What the order rests on
BASIS = (
    "The order is by {}, what one half of the starts of a benchmark on the quickstart's task chose; docs/ready.md has "
    "the evidence and its limits."
)


def measure_starts(config: ReadyConfig, output_dir: Path, console: Console | None = None) -> dict[str, Any]:
    """
    Sample what is not sampled yet, measure every start, rank them and write `ready.json` and `questions.jsonl`.

    Returns:
        `dict`: the content of `ready.json`: what [`~glow_trl.analysis.readiness.ranking.readiness`] says of the
        questions that rank; `held_out`, the same for the others; `sources`, by start its `checkpoint` and the folder
        of its `generations`; `base`, `sampling`, `left_out` (questions that not all starts have), `advice` and
        `basis`.
    """
    if config.trajectories:
        # Before anything is sampled
        RowsConfig(dataset_name=list(config.trajectories)).load(["problem", "completion"])
    problems = {name: _handover(name, config) for name in config.checkpoints}
    refused = {name: found for name, (found, _) in problems.items() if found}
    evaluations, base = _evaluations(config, refused, output_dir, console)
    common = CommonQuestions([*evaluations.values(), *([base] if base is not None else [])])
    checkpoints = {name: evaluation.results.get("model_name_or_path") for name, evaluation in evaluations.items()}
    losses = _losses(config, checkpoints, output_dir)
    starts = []
    for position, (name, checkpoint) in enumerate(checkpoints.items()):
        found, unchecked = problems[name] if name in problems else _handover(checkpoint, config)
        others = {"losses": losses.get(name, {}), "problems": tuple(found), "unchecked": tuple(unchecked)}
        starts.append(common.start(position, name, **others))
    base_start = common.start(len(starts), str(config.base)) if base is not None else None
    held_out = common.held_out(config.held_out, config.seed)
    if held_out.all() or len(common.keys) < 4:
        held_out[:] = False
    results = _readiness(config, starts, base_start, ~held_out)
    confirmed = _readiness(config, starts, base_start, held_out) if held_out.any() else None
    results |= {
        "held_out": confirmed,
        "left_out": common.left_out,
        "refused": refused,
        "sources": {
            name: {"checkpoint": checkpoints[name], "generations": str(evaluation.folder)}
            for name, evaluation in evaluations.items()
        },
        "base": config.base,
        "sampling": next(iter(evaluations.values())).results.get("sampling"),
        "trajectories": config.trajectories,
        "advice": advice(results, confirmed),
        "basis": BASIS.format(*results["rank_keys"]) if config.rank_by == COMPOSITE and results["rank_keys"] else None,
    }
    _warn_of_sampling(config, results["sampling"] or {})
    if results["informative_by"] == "beta":
        logger.warning(
            "fewer samples of a question than a group of %d has: the share of informative groups supposes that rates "
            "follow a beta distribution; draw more (num_samples) to be without that",
            config.group_size,
        )
    write_jsonl(output_dir / QUESTIONS_FILE, common.rows(starts, held_out))
    write_json(output_dir / READY_FILE, results)
    return results


def _evaluations(
    config: ReadyConfig, refused: Mapping[str, Sequence[str]], output_dir: Path, console: Console | None
) -> tuple[dict[str, Evaluation], Evaluation | None]:
    """The samples of each start that stage 2 would take, and of the base model: drawn here, or saved."""
    for name, found in refused.items():
        logger.warning("%s is left out: %s", name, found[0])
    if config.base in refused:
        raise UserError(f"base: {refused[config.base][0]}")
    folders = checkpoint_folders([name for name in config.samples if name not in refused], output_dir / "starts")
    if folders:
        from ..evaluation.runner import evaluate

        entries = _write_questions(config, output_dir / "questions")
        for name, folder in folders.items():
            evaluate(config.evaluation(name, entries, folder), console=console)

    def read(name: str) -> Evaluation:
        if name in folders:
            return read_evaluation(folders[name])
        return read_generations(Path(name), config.restated, config.only)

    starts = [*(name for name in config.checkpoints if name not in refused), *config.generations]
    if not starts:
        raise UserError(f"no checkpoint can be handed over to stage 2: {next(iter(refused.values()))[0]}")
    return {name: read(name) for name in starts}, read(config.base) if config.base else None


def _readiness(config: ReadyConfig, starts: Sequence[Start], base: Start | None, chosen: np.ndarray) -> dict[str, Any]:
    return readiness(
        [start.of(chosen) for start in starts],
        None if base is None else base.of(chosen),
        group_size=config.group_size,
        by=config.rank_by,
        budget=config.budget,
        coverage_k=config.coverage_k,
        seed=config.seed,
    )


def _write_questions(config: ReadyConfig, folder: Path) -> list[dict[str, Any]]:
    """The questions that are asked, a file for each source, as entries of `benchmarks`."""
    loaded: list[tuple[str, Any, list[dict[str, Any]]]] = []
    for name, source in config.question_sources().items():
        if isinstance(source, RowsConfig):
            rows = list(source.load(["problem", "answer"]).distinct_questions())
        else:
            rows = load_questions(source)
        loaded.append((name, source, rows))
    places = [(owner, index) for owner, (_, _, rows) in enumerate(loaded) for index in range(len(rows))]
    drawn = np.random.default_rng(config.seed).permutation(len(places))[: config.num_questions]
    chosen = [places[index] for index in sorted(drawn)]
    entries = []
    for position, (name, source, rows) in enumerate(loaded):
        asked = [rows[index] for owner, index in chosen if owner == position]
        if not asked:
            continue
        file = folder / f"asked_{name}.jsonl"
        folder.mkdir(parents=True, exist_ok=True)
        write_jsonl(file, ({key: value for key, value in row.items() if value is not None} for row in asked))
        entry: dict[str, Any] = {"name": f"asked_{name}", "path": str(file.resolve()), "domain": "in"}
        if isinstance(source, BenchmarkConfig):
            kept = ("version", "system_prompt", "prompt_template", "default_system_prompt", "default_prompt_template")
            entry |= {key: getattr(source, key) for key in kept if getattr(source, key) is not None}
        entries.append(entry)
    return entries


def _handover(checkpoint: str | None, config: ReadyConfig) -> tuple[list[str], list[str]]:
    """Why a checkpoint cannot be handed over to stage 2, and what could not be checked."""
    if config.engine not in ENGINES or config.evaluation("", []).is_remote:
        return [], ["the engine has the model, so that its hand-over is not checked"]
    try:
        folder = local_folder(checkpoint or "")
    except UserError:
        folder = None
    if folder is None and checkpoint not in config.checkpoints:
        return [], [f"{checkpoint or 'the model'} is not here, so that its hand-over is not checked"]
    trained = {} if config.grpo else read_handover(checkpoint) or {}
    prompts = [
        getattr(config, name) if getattr(config, name) is not None else trained.get(name)
        for name in ("system_prompt", "prompt_template")
    ]
    tokenizer = load_tokenizer(checkpoint, config.trust_remote_code)
    try:
        return [], check_handover(checkpoint, tokenizer, *prompts)
    except UserError as error:
        return [str(error)], []


def _losses(
    config: ReadyConfig, checkpoints: Mapping[str, str | None], output_dir: Path
) -> dict[str, dict[str, tuple[np.ndarray, np.ndarray]]]:
    """By start and label, the sums of the losses of each question's trajectories and the numbers of these."""
    if not config.trajectories:
        return {}
    found = {}
    here = {name: model for name, model in checkpoints.items() if model and (name == model or Path(model).is_dir())}
    for name in checkpoints.keys() - here.keys():
        logger.warning("%s: its checkpoint is not here, so that its loss is not measured", name)
    for name, folder in checkpoint_folders(list(here), output_dir / "losses").items():
        given = {
            "model_name_or_path": here[name],
            "dataset_name": list(config.trajectories),
            "output_dir": str(folder),
            **{key: getattr(config, key) for key in ("dtype", "trust_remote_code", "batch_size", "batch_tokens")},
        }
        loss = LossConfig(**given)
        run_loss(Settings.of("loss", (loss,), given))
        problems = loss.load(["problem", "completion"]).problems
        rows = [row for _, row in read_jsonl(folder / LOSSES_FILE)]
        found[name] = _by_problem(rows, problems)
    return found


def _by_problem(rows: Sequence[Mapping[str, Any]], problems: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    known = np.array([row["loss"] is not None for row in rows])
    losses = np.array([row["loss"] or 0.0 for row in rows])
    labels = [row.get(LABEL_COLUMN) for row in rows]
    size = int(problems.max()) + 1
    found = {}
    for name, label in (("all", ...), ("positive", True), ("negative", False)):
        mask = known & np.array([label is ... or own is label for own in labels])
        if mask.any():
            sums = np.bincount(problems[mask], weights=losses[mask], minlength=size)
            found[name] = sums, np.bincount(problems[mask], minlength=size).astype(float)
    return found


def _warn_of_sampling(config: ReadyConfig, sampling: Mapping[str, Any]) -> None:
    for name in ("temperature", "top_p"):
        if name in sampling and sampling[name] != getattr(config, name):
            logger.warning(
                "the generations were drawn at %s %s, and stage 2 draws at %s: its groups will be others",
                *(name, sampling[name], getattr(config, name)),
            )


def main(argv: Sequence[str] | None = None) -> None:
    """Run `glow-trl ready` with the arguments `argv`, by default those of the command line."""
    settings = parse_command("ready", sys.argv[1:] if argv is None else argv)
    config: ReadyConfig = settings.config
    config.check_complete()
    in_process = config.engine in ENGINES and not config.evaluation("", []).is_remote
    sampled = config.samples if in_process else []
    for model in sampled:
        check_model_files(model)
    for folder in config.generations:
        check_generations(Path(folder))
    saved = [*config.generations, *([config.base] if config.base and has_generations(Path(config.base)) else [])]
    data = [*config.trajectories, *config.question_files()]
    inputs = [
        *filter(None, map(local_folder, sampled)),
        *(path for folder in saved for path in generation_files(Path(folder))),
        *([config.grpo] if isinstance(config.grpo, str) else []),
        *data,
        *own_code([config.engine], "engine"),
    ]
    with stage_run(settings, config.output_dir, inputs) as run:
        results = read_json(run.output_dir / READY_FILE) if run.is_complete else None
        if results is None:
            for model in sampled:
                check_exists(model)
            run.start()
            results = measure_starts(config, run.output_dir, Console(stderr=True))
            run.complete()
    console = Console()
    console.print(ready_table(results))
    console.print(results["advice"], markup=False, highlight=False)
    say_results(run.output_dir)


def ready_table(results: Mapping[str, Any]) -> FiguresTable:
    """The starts in their order, for the terminal."""
    titles = {name: measure["title"] for name, measure in results["measures"].items()}
    last = results["k_values"][-1] if results["k_values"] else 1
    shares = [name for name in (*dict.fromkeys(("pass@1", f"pass@{last}")), BUDGET) if name in titles]
    numbers = [COVERAGE, ENTROPY, *(name for name in titles if name.startswith("loss_"))]
    numbers = [name for name in numbers if name in titles]
    informative = [titles[INFORMATIVE], "95 %"] if INFORMATIVE in titles else []
    headings = [*informative, *(titles[name] for name in shares), "p*", *(titles[name] for name in numbers)]
    caption = f"p*({results['group_size']}) = {percent(results['p_star'])} %; shares in percent, entropies and losses "
    caption += f"in nats per token; {results['questions']:,} questions"
    headings = ["place", *headings, "cut off", "no answer", "hand-over"]
    table = FiguresTable("start", numbers=headings, caption=caption)
    places = {name: place for place, name in enumerate(results["ranking"], start=1)}
    for name in [*places, *(name for name in results["starts"] if name not in places)]:
        row = results["starts"][name]
        cells = [str(places.get(name, "–"))]
        cells += [percent(row[INFORMATIVE]), interval(row[f"{INFORMATIVE}_ci"])] if informative else []
        cells += [percent(row.get(key)) for key in shares]
        cells += [row.get("p_star_verdict", ""), *(number(row.get(key), 3) for key in numbers)]
        cells += [percent(row["truncated"]), percent(row["no_answer"])]
        table.add(name, *cells, "refused" if row["problems"] else "unchecked" if row["unchecked"] else "fits")
    for name in results["refused"]:
        if name not in results["starts"]:
            table.add(name, "–", *[""] * (len(headings) - 2), "refused")
    return table


if __name__ == "__main__":
    sys.exit(run_command("ready"))
