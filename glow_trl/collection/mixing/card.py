"""The data card of a mixture: as JSON for programs, as Markdown for people."""

import importlib.metadata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ...stages.files import atomic_file, write_json
from ...stages.fingerprint import fingerprint
from ...stages.record import jsonable
from ...stages.secrets import without_secrets
from .config import MixConfig
from .facts import Facts
from .lengths import length_plot, length_statistics
from .prompts import PromptSet
from .selection import TRAIN, VALIDATION, Selection


PLOT = "lengths.svg"
_RATE_EDGES = (0.0, 0.25, 0.5, 0.75, 1.0)


def make_card(
    config: MixConfig,
    facts: Facts,
    selection: Selection,
    side: np.ndarray,
    *,
    rejects: Mapping[str, int],
    benchmarks: Sequence[dict[str, Any]],
    left_out: Sequence[str],
    renamed: int,
    prompts: PromptSet | None,
    ledger_samples: int | None,
) -> dict[str, Any]:
    """
    Everything that the card says. `side` is where each row went, see
    [`~glow_trl.collection.mixing.selection.split`]; `rejects` maps reasons to numbers of unusable rows; `benchmarks`
    has `name`, `path`, `questions` and `note` of those that were looked for; `renamed` ids had to be made unique;
    `ledger_samples` stand among the rows.
    """
    read = len(facts) + sum(rejects.values())
    kept = side > 0
    lengths, unit = facts.lengths()
    rows_by_file = np.bincount(facts.file, minlength=len(facts.files))
    hit_questions = facts.contaminated()
    return {
        "version": importlib.metadata.version("glow-trl"),
        "settings": jsonable(asdict(config)),
        "inputs": [
            {"file": name, "usable_rows": int(rows), "fingerprint": fingerprint(name)}
            for name, rows in zip(facts.files, rows_by_file, strict=True)
        ],
        "rows": {"read": read, "rejected": sum(rejects.values()), "usable": len(facts), "kept": int(kept.sum())},
        "rejects": dict(Counter(rejects).most_common()),
        "filters": _steps(read, [("cannot be used", sum(rejects.values())), *selection.waterfall], "rows"),
        "splits": {
            name: _split(facts, side == number) for name, number in (("train", TRAIN), ("validation", VALIDATION))
        },
        "sources": _by_name(facts, facts.source, facts.sources, kept),
        "models": _by_name(facts, facts.model, facts.models, kept),
        "lengths": length_statistics(lengths[kept], facts.positive[kept], unit),
        "pass_rates": _pass_rates(*facts.pass_rates()),
        "contamination": {
            "benchmarks": [dict(item) | _contamination(facts, item["name"], hit_questions) for item in benchmarks],
            "questions": int(hit_questions.sum()),
            "rows": int(hit_questions[facts.question].sum()),
            "not_compared_with": list(left_out),
        },
        "duplicates": {
            "exact": sum(similarity == 1.0 for _, similarity in selection.duplicates.values()),
            "near": sum(similarity < 1.0 for _, similarity in selection.duplicates.values()),
        },
        "questions_with_contradictory_answers": int(facts.contradictory.sum()),
        "renamed_sample_ids": renamed,
        "prompts": None
        if prompts is None
        else {
            "questions": len(prompts),
            "filters": _steps(facts.num_questions, prompts.waterfall, "questions"),
            "ledger_samples": ledger_samples,
        },
    }


def _steps(start: int, waterfall: Iterable[tuple[str, int]], what: str) -> list[dict[str, Any]]:
    steps, left = [{"filter": f"all {what}", "removed": 0, "left": start}], start
    for name, removed in waterfall:
        left -= removed
        steps.append({"filter": name, "removed": removed, "left": left})
    return steps


def _split(facts: Facts, mask: np.ndarray) -> dict[str, int | None]:
    positive = int(facts.positive[mask].sum())
    tokens = facts.tokens[mask]
    return {
        "rows": int(mask.sum()),
        "questions": len(np.unique(facts.question[mask])),
        "positive": positive,
        "negative": int(mask.sum()) - positive,
        "tokens": int(tokens.sum()) if len(tokens) and (tokens >= 0).all() else None,
    }


def _by_name(facts: Facts, numbers: np.ndarray, names: Sequence[str], kept: np.ndarray) -> dict[str, dict[str, int]]:
    table: dict[str, dict[str, int]] = {}
    for number in np.argsort([-count for count in np.bincount(numbers, minlength=len(names))], kind="stable"):
        mine = numbers == number
        table[names[number]] = {
            "positive": int((mine & facts.positive).sum()),
            "negative": int((mine & ~facts.positive).sum()),
            "kept_positive": int((mine & facts.positive & kept).sum()),
            "kept_negative": int((mine & ~facts.positive & kept).sum()),
        }
    return table


def _pass_rates(count: np.ndarray, positive: np.ndarray) -> dict[str, int]:
    rate = positive / np.maximum(count, 1)
    table = {"0": int((rate == 0).sum())}
    for low, high in zip(_RATE_EDGES, _RATE_EDGES[1:], strict=False):
        inside = (rate > low) & ((rate <= high) if high < 1 else (rate < 1))
        table[f"{low:g} to {high:g}"] = int(inside.sum())
    return table | {"1": int((rate == 1).sum())}


def _contamination(facts: Facts, name: str, hit_questions: np.ndarray) -> dict[str, int]:
    hits = {question: hit for question, found in facts.hits.items() for hit in found if hit.question.benchmark == name}
    mine = np.zeros(len(hit_questions), dtype=bool)
    mine[list(hits)] = True
    return {
        "questions_hit": len({hit.question.index for hit in hits.values()}),
        "training_questions": len(hits),
        "rows": int(mine[facts.question].sum()),
    }


def write_card(card: Mapping[str, Any], output_dir: Path) -> None:
    """Write `card.json`, `card.md` and the picture that it shows."""
    card = without_secrets(card)
    write_json(output_dir / "card.json", card)
    for name, text in ((PLOT, length_plot(card["lengths"])), ("card.md", render_card(card))):
        with atomic_file(output_dir / name) as file:
            file.write(text)


def render_card(card: Mapping[str, Any]) -> str:
    """The card as Markdown."""
    rows, settings = card["rows"], card["settings"]
    balance = f", balanced {settings['balance']}" if settings["mixture"] == "balanced" else ""
    parts = [
        "# Data card",
        f"Made by `glow-trl mix` {card['version']}: mixture `{settings['mixture']}`{balance}, seed "
        f"{settings['seed']}. {rows['kept']:,} of {rows['read']:,} rows are kept.",
        _table(
            ["split", "rows", "questions", "positive", "negative", "tokens"],
            [[name, *split.values()] for name, split in card["splits"].items()],
        ),
        "No question has rows in both splits.",
        "## What each filter removed",
        _table(["filter", "removed", "left"], [step.values() for step in card["filters"]]),
    ]
    if card["rejects"]:
        parts += ["Rows that cannot be used (`rejects.jsonl`):", _table(["reason", "rows"], card["rejects"].items())]
    names = ["positive", "negative", "kept positive", "kept negative"]
    for title, key in (("source", "sources"), ("model", "models")):
        body = [[name, *counts.values()] for name, counts in card[key].items()]
        parts += [f"## By {title}", _table([title, *names], body)]
    lengths = card["lengths"]
    columns = ("mean", "min", "median", "p95", "max", "total")
    parts += [
        "## Lengths",
        f"![Lengths of the kept completions in {lengths['unit']}, by label]({PLOT})",
        _table(
            [lengths["unit"], *columns],
            [[label, *(lengths[label][name] for name in columns)] for label in ("positive", "negative")],
        ),
        "## Pass rates",
        "Share of positive rows among all usable rows of a question.",
        _table(["pass rate", "questions"], card["pass_rates"].items()),
        "## Contamination",
        *_contamination_text(card),
    ]
    if card["prompts"] is not None:
        parts += [
            "## Questions for stage 2",
            f"`prompts.jsonl`: {card['prompts']['questions']:,} questions, order `{settings['prompt_order']}`.",
            _table(["filter", "removed", "left"], [step.values() for step in card["prompts"]["filters"]]),
        ]
    parts += [
        "## Inputs",
        _table(["file", "usable rows", "fingerprint"], [item.values() for item in card["inputs"]]),
        f"{card['renamed_sample_ids']:,} sample ids had to be made unique. "
        f"{card['questions_with_contradictory_answers']:,} questions have different gold answers in different rows.",
        "## Settings",
        _table(["setting", "value"], [[key, f"`{value}`"] for key, value in settings.items() if value is not None]),
    ]
    return "\n\n".join(parts) + "\n"


def _contamination_text(card: Mapping[str, Any]) -> list[str]:
    contamination, settings = card["contamination"], card["settings"]
    if not contamination["benchmarks"]:
        return ["The training questions were not compared with any benchmark."]
    columns = ["name", "questions", "questions_hit", "training_questions", "rows", "note"]
    heads = ["benchmark", "questions", "found", "training questions", "rows", "note"]
    text = [
        f"{contamination['rows']:,} rows of {contamination['questions']:,} training questions contain a benchmark "
        f"question (`contamination.jsonl`): the whole of it, or {settings['contamination_overlap']:.0%} of its own "
        f"{settings['contamination_ngram']}-grams of words.",
        _table(
            heads,
            [
                [item[name] or 0 if name != "note" else item[name] for name in columns]
                for item in contamination["benchmarks"]
            ],
        ),
    ]
    if contamination["not_compared_with"]:
        text.append(f"Not compared with: {', '.join(contamination['not_compared_with'])} (no data on this machine).")
    return text


def _table(heads: Sequence[str], rows: Iterable[Iterable[Any]]) -> str:
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    return "\n".join([*lines, *("| " + " | ".join(map(_cell, row)) + " |" for row in rows)])


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value).replace("|", "\\|").replace("\n", " ")
    return f"{value:,}"
