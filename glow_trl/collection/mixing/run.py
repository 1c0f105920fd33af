"""The two passes of `glow-trl mix`: facts about all rows, then the rows that are kept."""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from ...data import JsonlWriter, NoUsableRows, Place, RejectsFile, write_jsonl
from ...errors import UserError
from ...stages.console import progress
from .benchmarks import load_benchmarks, resolve_benchmarks
from .card import make_card, write_card
from .config import MixConfig
from .decontamination import ContaminationIndex
from .facts import Facts, FactsBuilder
from .lengths import token_counter
from .prompts import PromptSet, read_ledger
from .selection import TRAIN, VALIDATION, Selection, select, split


# Checked in this order, so that rows which lack a label only are known by it
_REQUIRED = ("problem", "completion", "answer", "is_correct")


def mix(config: MixConfig, output_dir: Path) -> dict[str, Any]:
    """
    Mix trajectories, write the training set, see [`MixConfig`], and return the facts for the record of the run.

    The rows are read twice and stay in their files meanwhile: what is in memory of each is some 500 bytes, and 1,000
    more with `near_duplicate_threshold`. A run that was killed starts over.
    """
    benchmarks, left_out = resolve_benchmarks(config.decontaminate)
    questions, sizes = load_benchmarks(benchmarks)
    index = None
    if questions:
        index = ContaminationIndex(questions, config.contamination_ngram, config.contamination_overlap)
    with RejectsFile(output_dir / "rejects.jsonl") as rejects:
        facts = _gather(config, index, rejects)
    _check_tokens(facts, config)
    if config.truncated == "drop" and not facts.finish_known:
        raise UserError(
            "truncated: no row has a finish_reason to tell a truncated completion by; leave `truncated` out"
        )
    sample_ids, renamed = unique_ids(facts)
    ledger = None if config.ledger is None else read_ledger(config.ledger, facts, sample_ids)

    selection = select(facts, config)
    side = split(facts, selection.kept, config.validation_split, config.seed)
    read = len(facts) + rejects.count
    if not (side == TRAIN).any():
        raise UserError(_nothing_left(read, rejects.count, selection, facts))
    prompts = PromptSet(facts, config, ledger) if config.prompts else None
    _write(config, output_dir, facts, selection, side, sample_ids, prompts)
    if prompts is not None:
        write_jsonl(output_dir / "prompts.jsonl", prompts.ordered())
    card = make_card(
        config,
        facts,
        selection,
        side,
        rejects=rejects.counts,
        benchmarks=[
            {"name": item.name, "path": item.path, "questions": sizes[item.name], "note": item.note}
            for item in benchmarks
        ],
        left_out=left_out,
        renamed=renamed,
        prompts=prompts,
        ledger_samples=None if ledger is None else ledger.samples,
    )
    write_card(card, output_dir)
    return {
        "rows": read,
        "rejected": rejects.count,
        "contaminated": dict(selection.waterfall).get("benchmark contamination", 0),
        "duplicates": len(selection.duplicates),
        "train": int((side == TRAIN).sum()),
        "validation": int((side == VALIDATION).sum()),
        "prompts": 0 if prompts is None else len(prompts),
        "decontaminated": bool(benchmarks),
        "benchmarks_left_out": left_out,
    }


def summary(facts: dict[str, Any]) -> str:
    """One line about what was mixed."""
    text = f"{facts['rows']:,} trajectories: {facts['train']:,} to train on, {facts['validation']:,} for validation"
    text += f", {facts['prompts']:,} questions for stage 2; the card says what each filter removed (card.md)"
    if facts["rejected"]:
        text += f"; {facts['rejected']:,} could not be used (see rejects.jsonl)"
    if not facts["decontaminated"]:
        text += "; not compared with any benchmark: set `decontaminate` to those that you evaluate on"
    elif facts["benchmarks_left_out"]:
        text += f"; not compared with {', '.join(facts['benchmarks_left_out'])}, whose data are not on this machine"
    return text


def unique_ids(facts: Facts) -> tuple[list[str], int]:
    """
    The rows' ids, all different, and how many of them differ from those in the data: those that several rows have get
    a digest of question and completion behind them, and a number behind that where these rows repeat each other.
    """
    count = Counter(facts.sample_ids)
    taken = set(facts.sample_ids)
    ids, renamed = [], 0
    for row, sample_id in enumerate(facts.sample_ids):
        if count[sample_id] > 1:
            renamed += 1
            stem = sample_id = f"{sample_id}-{int(facts.completion[row]):016x}"
            repeats = 1
            while sample_id in taken:
                repeats += 1
                sample_id = f"{stem}-{repeats}"
            taken.add(sample_id)
        ids.append(sample_id)
    return ids, renamed


def _gather(config: MixConfig, index: ContaminationIndex | None, rejects: RejectsFile) -> Facts:
    builder = FactsBuilder(
        index,
        sketches=config.near_duplicate_threshold is not None and config.near_duplicate_threshold < 1,
        count_tokens=token_counter(config.model_name_or_path) if config.model_name_or_path else None,
    )
    try:
        with progress() as bars:
            for place, row in bars.track(config.iter_placed(_REQUIRED, rejects), description="mix: reading"):
                builder.add(place, row)
    except NoUsableRows as error:
        unlabelled = sum(count for reason, count in rejects.counts.items() if "'is_correct' is" in reason)
        if unlabelled and unlabelled * 2 > rejects.count:
            raise NoUsableRows(
                f"{unlabelled:,} of {rejects.count:,} rows have no label (`is_correct`): run `glow-trl label` first "
                "and mix the trajectories.jsonl that it writes"
            ) from error
        raise
    return builder.finish()


def _check_tokens(facts: Facts, config: MixConfig) -> None:
    bounded = [name for name in ("min_tokens", "max_tokens") if getattr(config, name) is not None]
    unknown = np.flatnonzero(facts.tokens < 0)
    if bounded and len(unknown):
        place = Place(facts.files[facts.file[unknown[0]]], "line", int(facts.line[unknown[0]]))
        raise UserError(
            f"{bounded[0]}: {len(unknown):,} of {len(facts):,} rows have no n_tokens (the first: {place}); name the "
            "tokenizer to count with as model_name_or_path"
        )


def _nothing_left(read: int, rejected: int, selection: Selection, facts: Facts) -> str:
    steps = [f"{rejected:,} could not be used"] if rejected else []
    steps += [f"{count:,} {name}" for name, count in selection.waterfall if count]
    kept = int(selection.kept.sum())
    if kept:
        steps.append(f"{kept:,} on the side of validation (lower validation_split, or change the seed)")
    text = f"no row is left to train on: of {read:,}, {'; '.join(steps)}"
    names = Counter(hit.question.benchmark for hits in facts.hits.values() for hit in hits)
    if names:
        listed = ", ".join(f"{name} {count:,}" for name, count in names.most_common())
        text += f". Questions that a benchmark has: {listed}"
    return text


def _write(
    config: MixConfig,
    output_dir: Path,
    facts: Facts,
    selection: Selection,
    side: np.ndarray,
    sample_ids: list[str],
    prompts: PromptSet | None,
) -> None:
    """Read the rows again and write those that are kept, and what the two listing filters found."""
    with ExitStack() as stack:
        files = {
            name: stack.enter_context(JsonlWriter(output_dir / f"{name}.jsonl"))
            for name in ("train", "validation", "contamination", "duplicates")
        }
        bars = stack.enter_context(progress())
        for number, place, row in bars.track(_again(config, facts), len(facts), description="mix: writing"):
            question = int(facts.question[number])
            row["sample_id"] = sample_ids[number]
            if side[number]:
                files["train" if side[number] == TRAIN else "validation"].write(row)
            where = {"sample_id": row["sample_id"], "file": place.file, "line": place.number}
            for hit in facts.hits.get(question, ()):
                found = {"match": hit.match, "overlap": round(hit.overlap, 4), "ngram": hit.ngram}
                benchmark = {
                    "benchmark": hit.question.benchmark,
                    "benchmark_question": hit.question.index,
                    "benchmark_problem": hit.question.problem,
                }
                files["contamination"].write(where | {"problem": row["problem"]} | benchmark | found)
            if number in selection.duplicates:
                original, similarity = selection.duplicates[number]
                files["duplicates"].write(
                    where
                    | {"duplicate_of": sample_ids[original], "similarity": round(similarity, 4)}
                    | {"problem": row["problem"], "completion": row["completion"]}
                )
            if prompts is not None:
                prompts.add(question, row)


def _again(config: MixConfig, facts: Facts) -> Iterator[tuple[int, Place, dict[str, Any]]]:
    """The usable rows with their numbers, checked to be those of the first pass."""
    count = 0
    # The rejects were written down in the first pass
    for number, (place, row) in enumerate(config.iter_placed(_REQUIRED, lambda reject: None)):
        known = number < len(facts) and facts.line[number] == place.number
        if not known or facts.characters[number] != len(row["completion"]):
            raise UserError(f"{place}: the data changed while they were read; start again")
        count += 1
        yield number, place, row
    if count != len(facts):
        raise UserError(f"{', '.join(facts.files)}: the data changed while they were read; start again")
