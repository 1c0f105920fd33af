"""Completions worth reading: what the stages made of the same question."""

from typing import Any

from .run_data import STAGES, ArmData, RunData, rows_of
from .scores import ScoreBook


_PER_BENCHMARK = 2


def evaluation_examples(data: RunData, book: ScoreBook) -> list[dict[str, Any]]:
    """Questions of every benchmark with the main arm's first completion after each stage.

    Questions that the stages answered differently come first: mended by GRPO, then broken by it, then wrong twice.
    """
    arm = data.main_arm
    if arm is None:
        return []
    examples = []
    for benchmark, domain in data.benchmarks.items():
        answered = _by_question(arm, benchmark, book)
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


def _by_question(arm: ArmData, benchmark: str, book: ScoreBook) -> dict[int, dict[str, dict[str, Any]]]:
    """
    First completions by the question's place in the last evaluation. Of two evaluations only the questions that both
    have; where they cannot be compared, those of the last.
    """
    stages = {}
    for stage in STAGES:
        if stage in arm.stages:
            file = arm.stages[stage].evaluation_folder / f"generations_{benchmark}.jsonl"
            rows = {row["index"]: row for row in rows_of(file) if row.get("sample") == 0 and "index" in row}
            if rows:
                stages[stage] = rows
    if len(stages) == len(STAGES):
        pairs = book.pairs(benchmark, *((arm.name, stage) for stage in STAGES))
        indices = [tuple(question.index for question in pair) for pair in pairs]
        if indices:
            return {
                pair[-1]: {stage: stages[stage][index] for stage, index in zip(STAGES, pair, strict=True)}
                for pair in indices
                if all(index in stages[stage] for stage, index in zip(STAGES, pair, strict=True))
            }
    last = next((stage for stage in reversed(STAGES) if stage in stages), None)
    return {} if last is None else {index: {last: row} for index, row in stages[last].items()}


def _interest(stages: dict[str, dict[str, Any]]) -> int:
    verdicts = tuple(bool(row["verdict"]["correct"]) for row in stages.values())
    order = {(False, True): 0, (True, False): 1, (False, False): 2, (False,): 0, (True,): 1}
    return order.get(verdicts, 3)
