"""The audit of a reward: `glow-trl audit RUN_OR_FILE --output_dir DIR [--key value ...]`."""

import hashlib
import heapq
import itertools
import logging
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..collection.labelling.judging import Judgement, Question, judge_in_order
from ..data import MalformedLine, NoUsableRows, RejectsFile, read_jsonl, write_jsonl
from ..errors import UserError
from ..stages.command import run_command
from ..stages.config import parse_command
from ..stages.console import FiguresTable, say_results
from ..stages.dotted import own_code
from ..stages.files import atomic_file, write_json
from ..stages.frame import stage_run
from ..statistics.numbers import interval, percent
from ..verifiers import Verdict
from ..verifiers.kinds import math as math_kind
from ..verifiers.kinds import number as number_kind
from ..verifiers.kinds.kind import Options
from ..verifiers.restated import without_copies
from ..verifiers.workers.supervisor import available_cores
from .auditing.config import AuditConfig
from .auditing.other_judges import ask_model, final_text, math_verify_all
from .auditing.page import render_page
from .auditing.rates import Stratum, error_rates
from .auditing.rollouts import read_rollouts, rollout_files, row_key


logger = logging.getLogger(__name__)

LABELS_FILE = "to_label.jsonl"
RESULTS_FILE = "results.json"
_NUMERIC = (math_kind.KIND, number_kind.KIND)
_LONGEST_SHOWN = 1000


def audit(config: AuditConfig, output_dir: Path) -> dict[str, Any]:
    """Judge the rows, draw the sample, estimate what there are labels for, and write it all; returns the results."""
    with RejectsFile(output_dir / "rejects.jsonl") as rejects:
        rows = read_rollouts(rollout_files(config.source), config.columns or {}, config.limit, rejects, config.kind)
        if not rows:
            raise NoUsableRows(f"{config.source}: no row can be audited; see {output_dir / 'rejects.jsonl'}")
    workers = config.workers or available_cores()
    judgements = _our_judgements(rows, config, workers)
    verdicts = [judgement.verdict for judgement in judgements]
    others = _math_verify(rows, config, workers)
    cells: dict[str, list[int]] = {}
    for index, (verdict, other) in enumerate(zip(verdicts, others, strict=True)):
        cells.setdefault(_cell(verdict, other), []).append(index)
    labels_file = output_dir / LABELS_FILE
    hand = _read_labels(labels_file)
    keys = [row_key(row) for row in rows]
    sample = _sample(cells, verdicts, keys, config.per_cell, config.seed)
    model: dict[int, bool | None] = {}
    if config.model_name_or_path:
        answers, _ = ask_model(config, [rows[index] for index in sample], output_dir)
        model = dict(zip(sample, answers, strict=True))
    labels = {index: hand[keys[index]]["label"] for index in sample if keys[index] in hand}
    cells_of = {index: name for name, members in cells.items() for index in members}
    results = {
        "source": config.source,
        "rows": len(rows),
        "rejected": rejects.count,
        "judged": dict(Counter(verdict.reason for verdict in verdicts).most_common()),
        "cells": {name: len(cells[name]) for name in sorted(cells)},
        "agreement": _agreement(cells, verdicts, others, model),
        "given": _compare_given(rows, verdicts),
        "sample": len({keys[index] for index in sample}),
        "labelled": len({keys[index] for index in sample} & hand.keys()),
        "labelled_elsewhere": len(hand.keys() - {keys[index] for index in sample}),
        "unlabelled_cells": sorted({cells_of[index] for index in sample} - {cells_of[index] for index in labels}),
        "by_hand": error_rates(_strata(cells, verdicts, labels), config.seed),
        "by_model": error_rates(_strata(cells, verdicts, model), config.seed),
        "by_agreement": _bounds(cells),
    }
    shown = [
        _shown(rows[index], verdicts[index], others[index], model.get(index), labels.get(index))
        for name, members in sorted(cells.items(), key=_by_interest)
        for index in members
        if _differ(verdicts[index].correct, others[index], model.get(index), labels.get(index))
    ]
    write_jsonl(output_dir / "disagreements.jsonl", shown)
    write_jsonl(output_dir / "relabelled.jsonl", map(_relabelled, rows, judgements))
    to_label = {
        keys[index]: {"id": keys[index], "label": labels.get(index), "cell": cells_of[index]}
        | _shown(rows[index], verdicts[index], others[index], model.get(index), None)
        for index in sample
    }
    # No label is lost, also of a row that another seed or verdict has taken out of the sample
    write_jsonl(labels_file, [*to_label.values(), *(row for key, row in hand.items() if key not in to_label)])
    # JSON can spell lone surrogates, a page cannot
    with atomic_file(output_dir / "audit.html", "wb") as file:
        file.write(render_page(results, shown).encode("utf-8", "replace"))
    write_json(output_dir / RESULTS_FILE, results)
    return results


def _our_judgements(rows: Sequence[dict[str, Any]], config: AuditConfig, workers: int) -> list[Judgement]:
    """Our judgement of each row; what is alike is judged once."""
    asked: dict[tuple, int] = {}
    numbers = []
    for row in rows:
        options = Options.of(row.get("choices"), row.get("tolerance"))
        question = Question(row["answer"], row.get("kind") or config.kind, options)
        numbers.append(asked.setdefault((row["completion"], question), len(asked)))
    stream = ((number, completion, question) for (completion, question), number in asked.items())
    found = [judgement for _, judgement in judge_in_order(stream, workers, config.timeout)]
    return [
        replace(
            found[number],
            verdict=without_copies(found[number].verdict, row["answer"], row["problem"], config.restated),
        )
        for number, row in zip(numbers, rows, strict=True)
    ]


def _math_verify(rows: Sequence[dict[str, Any]], config: AuditConfig, workers: int) -> list[bool | None]:
    """What math-verify says about each row; nothing about choices and texts, for which it is not made."""
    pairs = [
        (final_text(row["completion"]), str(row["answer"])) if (row.get("kind") or config.kind) in _NUMERIC else None
        for row in rows
    ]
    verdicts = math_verify_all((pair for pair in pairs if pair is not None), workers)
    return [None if pair is None else verdicts[pair] for pair in pairs]


def _word(verdict: bool | None) -> str:
    return {True: "right", False: "wrong", None: "nothing"}[verdict]


def _cell(verdict: Verdict, other: bool | None) -> str:
    """What the judges say, together: a stratum of the sample. What earns nothing is wrong, whatever the reason."""
    return f"ours {_word(verdict.correct)}, math-verify {_word(other)}"


def _by_interest(cell: tuple[str, Any]) -> tuple[bool, str]:
    """Those cells first in which the judges differ."""
    return cell[0] not in (_NAMES[True, False], _NAMES[False, True]), cell[0]


def _differ(*said: bool | None) -> bool:
    return len({*said} - {None}) > 1


_NAMES = {(a, b): f"ours {_word(a)}, math-verify {_word(b)}" for a in (True, False) for b in (True, False)}


def _sample(
    cells: dict[str, list[int]], verdicts: Sequence[Verdict], keys: Sequence[str], per_cell: int, seed: int
) -> list[int]:
    """
    Rows drawn from each cell of which there is something to say, those first on which the judges differ: in an order
    that is random, but each row's own, so that few others are drawn where a few rows come, go, or change their cell.
    Rows that are alike are drawn one by one, too: together they would be no sample of the rows.
    """
    drawn = []
    for _, members in sorted(cells.items(), key=_by_interest):
        if verdicts[members[0]].correct is None:
            continue
        alike: Counter[str] = Counter()
        ranks = []
        for index in members:
            alike[keys[index]] += 1
            name = f"{seed}/{keys[index]}/{alike[keys[index]]}"
            ranks.append((hashlib.blake2b(name.encode(), digest_size=8).digest(), index))
        drawn += [index for _, index in heapq.nsmallest(per_cell, ranks)]
    return drawn


def _strata(
    cells: dict[str, list[int]], verdicts: Sequence[Verdict], labels: Mapping[int, bool | None]
) -> list[Stratum]:
    """The cells but those without a usable gold answer, of which there is nothing to say."""
    strata = []
    for members in cells.values():
        accepts = verdicts[members[0]].correct
        if accepts is not None:
            known = [label for index in members if (label := labels.get(index)) is not None]
            strata.append(Stratum(accepts, len(members), known))
    return strata


def _bounds(cells: dict[str, list[int]]) -> dict[str, Any]:
    """What the rates are at most, if both judges are right where they agree."""
    size = {key: len(cells.get(name, ())) for key, name in _NAMES.items()}
    missed, accepted = size[False, True], size[True, False]
    right, wrong = size[True, True] + missed, size[False, False] + accepted
    return {
        "false_negative_rate_at_most": missed / right if right else None,
        "false_positive_rate_at_most": accepted / wrong if wrong else None,
    }


def _agreement(
    cells: dict[str, list[int]],
    verdicts: Sequence[Verdict],
    others: Sequence[bool | None],
    model: Mapping[int, bool | None],
) -> dict[str, float]:
    """The share of rows on which two judges agree, of those that both judge; a model's, by the sample of each cell."""
    sums: dict[str, tuple[float, int]] = {}
    for members in cells.values():
        ours, other = verdicts[members[0]].correct, others[members[0]]
        said = [answer for index in members if (answer := model.get(index)) is not None]
        pairs = {
            "ours, math-verify": ([other], ours),
            "ours, model": (said, ours),
            "math-verify, model": (said, other),
        }
        for name, (answers, verdict) in pairs.items():
            if verdict is not None and answers and answers[0] is not None:
                agreeing, size = sums.get(name, (0.0, 0))
                share = sum(answer == verdict for answer in answers) / len(answers)
                sums[name] = agreeing + share * len(members), size + len(members)
    return {name: agreeing / size for name, (agreeing, size) in sums.items()}


def _compare_given(rows: Sequence[dict[str, Any]], verdicts: Sequence[Verdict]) -> dict[str, int] | None:
    """How the labels that the rows came with differ from ours."""
    pairs = [
        (row["given"], verdict.correct)
        for row, verdict in zip(rows, verdicts, strict=True)
        if row["given"] is not None and verdict.correct is not None
    ]
    if not pairs:
        return None
    changes = Counter(pairs)
    return {
        "compared": len(pairs),
        "now_right": changes[False, True],
        "now_wrong": changes[True, False],
    }


def _shown(
    row: dict[str, Any], verdict: Verdict, other: bool | None, model: bool | None, label: bool | None
) -> dict[str, Any]:
    """A row for people to read."""
    shown = {
        "problem": row["problem"],
        "answer": row["answer"],
        "extracted": verdict.extracted,
        "ours": verdict.correct,
        "reason": verdict.reason,
        "math_verify": other,
        "completion": row["completion"][-_LONGEST_SHOWN:],
    }
    return shown | {name: value for name, value in (("model", model), ("hand", label)) if value is not None}


def _relabelled(row: dict[str, Any], judgement: Judgement) -> dict[str, Any]:
    verdict = judgement.verdict
    kept = {name: value for name, value in row.items() if name not in ("given", "verdict")}
    if row["given"] is not None:
        kept["is_correct_given"] = row["given"]
    correct = verdict.correct if judgement.is_judged else None
    return kept | {"is_correct": correct, "extracted": verdict.extracted, "reason": verdict.reason}


def _read_labels(path: Path) -> dict[str, dict[str, Any]]:
    """The rows of the sample of an earlier call that a person has labelled, by their keys."""
    if not path.exists():
        return {}
    labels: dict[str, dict[str, Any]] = {}
    try:
        for number, row in read_jsonl(path):
            label = row.get("label")
            if label is None:
                continue
            if not isinstance(label, bool):
                raise UserError(f"{path}, line {number}: `label` is {label!r:.40}; put true, false or null there")
            key = row.get("id")
            if not isinstance(key, str):
                raise UserError(f"{path}, line {number}: it has no `id`; leave there what was written")
            if labels.setdefault(key, row)["label"] is not label:
                raise UserError(
                    f"{path}, line {number}: the row {key} has another `label` further up; keep one of them"
                )
    except MalformedLine as error:
        raise UserError(f"{error}; correct the line, or delete the file to draw the sample again") from error
    return labels


def main(argv: Sequence[str] | None = None) -> None:
    """Run `glow-trl audit` with the arguments `argv`, by default those of the command line."""
    settings = parse_command("audit", sys.argv[1:] if argv is None else argv)
    config: AuditConfig = settings.config
    folder = config.checkpoint_folder() if config.model_name_or_path else None
    code = own_code([config.kind, *config.kinds, config.engine], "kind, kinds, engine")
    inputs = [*rollout_files(config.source), folder, *code]
    # Labels may have come since, so that everything is done again
    with stage_run(settings, config.output_dir, inputs, recomputes=True) as run:
        run.start()
        results = audit(config, run.output_dir)
        run.complete(rows=results["rows"], labelled=results["labelled"])
    from rich.console import Console

    Console().print(results_table(results))
    logger.warning("audit: %s", summary(results))
    say_results(run.output_dir)


def summary(results: dict[str, Any]) -> str:
    """One line about what was found."""
    text = f"{results['rows']:,} rows"
    text += "".join(
        f"; agreement of {pair.replace(', ', ' and ')}: {value:.2%}" for pair, value in results["agreement"].items()
    )
    if results["given"]:
        given = results["given"]
        text += f"; of {given['compared']:,} labels {given['now_right']:,} became right, {given['now_wrong']:,} wrong"
    if results["by_hand"] is None and results["labelled"]:
        cells = "; ".join(results["unlabelled_cells"])
        text += f"; for rates label some rows of these cells of {LABELS_FILE}, too: {cells}"
    elif results["by_hand"] is None:
        text += f"; label the {results['sample']} rows of {LABELS_FILE} and run it again for rates"
    return text


def results_table(results: dict[str, Any]) -> FiguresTable:
    """The estimates, as a table for the terminal."""
    table = FiguresTable("labels", numbers=("false negatives, %", "95 %", "false positives, %", "95 %"))
    for name, title in (("by_hand", "by hand"), ("by_model", "by the model")):
        if (rates := results[name]) is not None:
            cells = itertools.chain.from_iterable(
                (percent(rates[rate]), interval(rates[f"{rate}_ci"]))
                for rate in ("false_negative_rate", "false_positive_rate")
            )
            table.add(f"{title} ({rates['labels']})", *cells)
    bounds = results["by_agreement"]
    most = [percent(bounds[f"{rate}_at_most"]) for rate in ("false_negative_rate", "false_positive_rate")]
    table.add("at most, if agreement is right", most[0], "", most[1], "")
    return table


if __name__ == "__main__":
    sys.exit(run_command("audit"))
