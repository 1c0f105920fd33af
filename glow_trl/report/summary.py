"""The numbers of a run: `summary.json`."""

from typing import Any

from ..evaluation.metrics import points_by_k
from .run_data import RunData


def summarize(data: RunData) -> dict[str, Any]:
    """All measured results of a run.

    Returns:
        `dict`: `{"recipe", "arms": {ARM: {"sft" or "grpo": {"seconds", "evaluation_seconds", "status",
        "benchmarks": {NAME: {"domain", "n", "pass@1", ...}}}}}}`. Only what was run is there.
    """
    arms: dict[str, dict[str, Any]] = {}
    for name, arm in data.arms.items():
        arms[name] = {}
        for stage_name, stage in arm.stages.items():
            arms[name][stage_name] = {
                "seconds": stage.run.get("seconds"),
                "evaluation_seconds": (stage.results or {}).get("seconds"),
                "status": stage.run.get("status", "missing"),
                "benchmarks": (stage.results or {}).get("benchmarks", {}),
            }
    return {"recipe": data.recipe, "arms": arms}


def k_values(summary: dict[str, Any]) -> list[int]:
    """Every k above 1 whose pass@k was measured, in ascending order."""
    contents = [content for stages in summary["arms"].values() for content in stages.values()]
    return sorted(
        {k for content in contents for row in content["benchmarks"].values() for k in points_by_k(row)} - {1}
    )
