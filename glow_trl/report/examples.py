"""Completions worth reading: what the stages made of the same question."""

from typing import Any

from .run_data import STAGES, ArmData, RunData, rows_of


_PER_BENCHMARK = 2


def evaluation_examples(data: RunData) -> list[dict[str, Any]]:
    """Questions of every benchmark with the main arm's first completion after each stage.

    Questions that the stages answered differently come first: mended by GRPO, then broken by it, then wrong twice.
    """
    arm = data.main_arm
    if arm is None:
        return []
    examples = []
    for benchmark, domain in data.benchmarks.items():
        answered = _by_question(arm, benchmark)
        ranked = sorted(answered.items(), key=lambda item: (_interest(item[1]), item[0]))
        chosen: list[int] = []
        for index, stages in ranked:
            kind = _interest(stages)
            if len(chosen) < _PER_BENCHMARK and all(_interest(answered[other]) != kind for other in chosen):
                chosen.append(index)
        for index in chosen:
            stages = answered[index]
            first = next(iter(stages.values()))
            examples.append(
                {
                    "benchmark": benchmark,
                    "domain": domain,
                    "problem": first["problem"],
                    "answer": first["answer"],
                    "attempts": [
                        {"stage": stage, "text": row["completion"], "verdict": row["verdict"], "row": row}
                        for stage, row in stages.items()
                    ],
                }
            )
    return examples


def _by_question(arm: ArmData, benchmark: str) -> dict[int, dict[str, dict[str, Any]]]:
    """First completions by question; only questions that every evaluated stage has."""
    stages = {}
    for stage in STAGES:
        if stage in arm.stages:
            file = arm.stages[stage].evaluation_folder / f"generations_{benchmark}.jsonl"
            rows = {row["index"]: row for row in rows_of(file) if row.get("sample") == 0 and "index" in row}
            if rows:
                stages[stage] = rows
    if not stages:
        return {}
    common = set.intersection(*(set(rows) for rows in stages.values()))
    return {index: {stage: rows[index] for stage, rows in stages.items()} for index in common}


def _interest(stages: dict[str, dict[str, Any]]) -> int:
    verdicts = tuple(bool(row["verdict"]["correct"]) for row in stages.values())
    order = {(False, True): 0, (True, False): 1, (False, False): 2, (False,): 0, (True,): 1}
    return order.get(verdicts, 3)
