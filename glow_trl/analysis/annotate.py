"""The annotation stage: `glow-trl annotate --config annotate.yaml [--key value ...]`."""

import dataclasses
import logging
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from ..data import write_jsonl
from ..data.loss_history import LABEL_COLUMN
from ..errors import UserError
from ..stages.command import run_command
from ..stages.config import parse_command
from ..stages.console import FiguresTable, say_results
from ..stages.dotted import own_code
from ..stages.files import read_json, write_json
from ..stages.frame import stage_run
from ..statistics.agreement import krippendorff_alpha, percent_agreement
from ..statistics.numbers import interval, number, percent
from .patterns.annotator import Annotator, Judgement, majority
from .patterns.config import AnnotateConfig
from .patterns.counts import ALL, Annotated, count_patterns
from .patterns.judges import create_judge
from .patterns.taxonomy import Taxonomy, load_taxonomy
from .patterns.truth import compare_with_truth, true_patterns


logger = logging.getLogger(__name__)

ANNOTATIONS_FILE = "annotations.jsonl"
RESULTS_FILE = "results.json"
_KEPT_COLUMNS = ("sample_id", LABEL_COLUMN, "source", "model")


def annotate(config: AnnotateConfig, output_dir: Path) -> tuple[dict[str, Any], int]:
    """
    Annotate trajectories, write what comes out into `output_dir` and return the content of `results.json`, and how
    many answers had to be asked for.
    """
    taxonomy = load_taxonomy(config.taxonomy)
    rows = choose(config.load(["problem", "completion"]), config.per_label, config.seed)
    truth = None
    if config.truth_column is not None:
        truth = [true_patterns(row, config.truth_column, taxonomy) for row in rows]
        if all(item is None for item in truth):
            raise UserError(f"truth_column: no trajectory has a column {config.truth_column!r}")
    cache = output_dir / "cache" if config.cache_dir is None else Path(config.cache_dir).expanduser()
    with create_judge(config.judge, taxonomy, dataclasses.asdict(config)) as judge:
        if config.num_judgements > 1 and not judge.repeats:
            raise UserError(
                f"num_judgements is {config.num_judgements}, but this judge gives the same answer each time: set it "
                "to 1"
            )
        annotator = Annotator(judge, cache, config.num_judgements, config.max_retries, config.require_quotes)
        judgements, counts, asked = annotator.annotate(rows)
        identity = judge.identity
    write_jsonl(
        output_dir / ANNOTATIONS_FILE,
        (_annotation(row, items) for row, items in zip(rows, judgements, strict=True)),
    )
    results = summarize(rows, judgements, truth, taxonomy)
    results = {
        "taxonomy": {
            "name": taxonomy.name,
            "description": taxonomy.description,
            "digest": taxonomy.digest,
            "patterns": [dataclasses.asdict(pattern) for pattern in taxonomy.patterns],
        },
        "judge": {key: value for key, value in identity.items() if key != "prompt"},
        "answers": str(annotator.cache_file),
        "judgements": counts | results.pop("quotes"),
        **results,
    }
    write_json(output_dir / RESULTS_FILE, results)
    return results, asked


def choose(rows: list[dict[str, Any]], per_label: int | None, seed: int) -> list[dict[str, Any]]:
    """At most `per_label` rows of each label, drawn at random, in the order of the data."""
    if per_label is None:
        return rows
    kept: set[int] = set()
    for label in (True, False, None):
        positions = [position for position, row in enumerate(rows) if row.get(LABEL_COLUMN) is label]
        drawn = random.Random(f"{seed}/{label}").sample(positions, min(per_label, len(positions)))
        kept.update(drawn)
    return [rows[position] for position in sorted(kept)]


def summarize(
    rows: Sequence[dict[str, Any]],
    judgements: Sequence[Sequence[Judgement]],
    truth: Sequence[frozenset[str] | None] | None,
    taxonomy: Taxonomy,
) -> dict[str, Any]:
    """
    Statistics of the annotations: how many trajectories are `annotated` and `unannotated` (without any valid
    judgement), [`count_patterns`], [`agreement`], `quotes`, and with `truth` [`compare_with_truth`].
    """
    patterns = [majority(items) for items in judgements]
    annotated = [
        Annotated(row["problem"], row.get(LABEL_COLUMN), found)
        for row, found in zip(rows, patterns, strict=True)
        if found is not None
    ]
    quotes = [item for items in judgements for judgement in items for item in judgement.found or []]
    results: dict[str, Any] = {
        "annotated": len(annotated),
        "unannotated": len(rows) - len(annotated),
        "counts": {},
        "differences": None,
        "agreement": agreement(judgements, taxonomy),
        "quotes": {
            "quotes": len(quotes),
            "quotes_in_text": sum(item.in_text for item in quotes) / len(quotes) if quotes else None,
        },
    }
    if annotated:
        results |= count_patterns(annotated, taxonomy)
    if truth is not None:
        pairs = [
            (found, true)
            for found, true in zip(patterns, truth, strict=True)
            if found is not None and true is not None
        ]
        results["truth"] = compare_with_truth([found for found, _ in pairs], [true for _, true in pairs], taxonomy)
    return results


def agreement(judgements: Sequence[Sequence[Judgement]], taxonomy: Taxonomy) -> dict[str, Any] | None:
    """
    Agreement between the judgements of the same trajectory, for each of the `patterns` and `overall` decisions, and
    `same_set`, the share of pairs of judgements that name the same patterns; `None` for single judgements. An invalid
    judgement is a missing one.
    """
    if max(map(len, judgements), default=0) < 2:
        return None
    sets = [
        [None if item.found is None else frozenset(found.id for found in item.found) for item in items]
        for items in judgements
    ]
    rated = {
        pattern: [[None if item is None else pattern in item for item in items] for items in sets]
        for pattern in taxonomy.ids
    }
    pairs = [
        (first, second)
        for items in sets
        for position, first in enumerate(items)
        for second in items[position + 1 :]
        if first is not None and second is not None
    ]
    return {
        "overall": _agreement([ratings for table in rated.values() for ratings in table]),
        "same_set": sum(first == second for first, second in pairs) / len(pairs) if pairs else None,
        "patterns": {pattern: _agreement(table) for pattern, table in rated.items()},
    }


def _agreement(ratings: Sequence[Sequence[bool | None]]) -> dict[str, float | None]:
    return {"percent_agreement": percent_agreement(ratings), "krippendorff_alpha": krippendorff_alpha(ratings)}


def _annotation(row: dict[str, Any], judgements: Sequence[Judgement]) -> dict[str, Any]:
    patterns = majority(judgements)
    return {
        **{key: row[key] for key in _KEPT_COLUMNS if row.get(key) is not None},
        "problem": row["problem"],
        "completion": row["completion"],
        "patterns": None if patterns is None else sorted(patterns),
        "judgements": [
            {
                "patterns": None if item.found is None else [dataclasses.asdict(found) for found in item.found],
                **({"invalid": item.invalid} if item.invalid else {}),
                **({"answer": item.text} if item.found is None else {}),
            }
            for item in judgements
        ],
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Run `glow-trl annotate` with the arguments `argv`, by default those of the command line."""
    settings = parse_command("annotate", sys.argv[1:] if argv is None else argv)
    config: AnnotateConfig = settings.config
    with stage_run(settings, config.output_dir, _inputs(config)) as run:
        results = read_json(run.output_dir / RESULTS_FILE) if run.is_complete else None
        if results is None:
            run.start()
            results, asked = annotate(config, run.output_dir)
            run.complete(asked=asked)
    Console().print(results_table(results))
    logger.warning("annotate: %s", summary(results, run.record.get("asked", 0)))
    say_results(run.output_dir)


def _inputs(config: AnnotateConfig) -> list[Any]:
    """What the annotations follow from; the taxonomy is part of the settings' identity."""
    folder = config.checkpoint_folder() if config.judge == "llm" and config.model_name_or_path else None
    code = own_code([config.judge, config.engine], "judge, engine")
    return [*config.files, folder, config.prompt_file, *code]


def summary(results: dict[str, Any], asked: int) -> str:
    """One line about what was annotated, for which so many answers had to be asked for."""
    counts = results["judgements"]
    text = f"{results['annotated']:,} trajectories annotated, {asked:,} answers asked for"
    if counts["invalid"]:
        text += (
            f"; {counts['invalid']:,} of {counts['judgements']:,} judgements stayed invalid "
            f"({', '.join(f'{reason}: {count}' for reason, count in counts['reasons'].items())})"
        )
    if results["unannotated"]:
        text += f"; {results['unannotated']:,} trajectories have no valid judgement and are left out of the counts"
    if results.get("truth"):
        text += f"; {results['truth']['exact']:.2%} have exactly the true patterns"
    return text


def results_table(results: dict[str, Any]) -> FiguresTable:
    """Shares of the patterns by label, as a table for the terminal."""
    counts, differences = results["counts"], results["differences"]
    labels = [label for label in counts if label != ALL] if differences else list(counts)[:1]
    titles = [f"{label}, %" for label in labels]
    titles += ["diff.", "95 %", "p"] if differences else ["95 %"]
    table = FiguresTable("pattern", numbers=titles)
    for pattern in results["taxonomy"]["patterns"] if labels else []:
        rows = [counts[label]["patterns"][pattern["id"]] for label in labels]
        cells = [pattern["id"], *(percent(row["share"]) for row in rows)]
        if differences:
            row = differences[pattern["id"]]
            cells += [percent(row["difference"]), interval(row["difference_ci"]), number(row["p_holm"], 4)]
        else:
            cells.append(interval(rows[0]["share_ci"]))
        table.add(*cells)
    if labels:
        table.add_section()
        effective = [number(counts[label]["diversity"]["effective_patterns"], 1) for label in labels]
        table.add("effective number", *effective)
    return table


if __name__ == "__main__":
    sys.exit(run_command("annotate"))
