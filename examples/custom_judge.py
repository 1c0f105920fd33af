"""
A judge of patterns for `glow-trl annotate`: one that needs no model, and looks for equations that do not hold.

    glow-trl annotate --config examples/custom_judge.yaml
"""

import json
import re
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any

from glow_trl.analysis.patterns.judges import Answer, Judge


SUM = re.compile(r"(\d+)\s*([+*-])\s*(\d+)\s*=\s*(-?\d+)")


class SumJudge(Judge):
    """Names `wrong_sum` where an equation of two numbers does not hold."""

    # A second judgement of a trajectory would be the first
    repeats = False

    def answers(
        self,
        trajectories: Sequence[Mapping[str, Any]],
        count: int,
        attempt: int,
        done: Container[tuple[int, int]],
    ) -> Iterator[tuple[int, int, Answer]]:
        for index, row in enumerate(trajectories):
            if (index, 0) not in done:
                wrong = next(filter(is_wrong, SUM.finditer(row["completion"])), None)
                found = [] if wrong is None else [{"id": "wrong_sum", "quote": wrong[0]}]
                yield index, 0, Answer(json.dumps({"patterns": found}))


def is_wrong(equation: re.Match) -> bool:
    left, operator, right, result = equation.groups()
    values = {"+": int(left) + int(right), "-": int(left) - int(right), "*": int(left) * int(right)}
    return values[operator] != int(result)
