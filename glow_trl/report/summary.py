"""The numbers of a run: `summary.json`."""

from typing import Any

from ..evaluation.metrics import points_by_k
from .changes import arm_changes
from .dynamics import weight_facts
from .run_data import RunData
from .scores import ScoreBook
from .troubles import find_troubles


def summarize(data: RunData, book: ScoreBook) -> dict[str, Any]:
    """All measured results of a run.

    Returns:
        `dict`: `{"recipe", "arms": {ARM: {"sft" or "grpo": {"seconds", "evaluation_seconds", "status",
        "benchmarks": {NAME: {"domain", "n", "pass@1", ...}}}}}, "changes": {ARM: [...]}, "troubles": [...]}`. Only
        what was run is there; for the changes see [`arm_changes`], for the troubles [`find_troubles`], for what SFT
        says of weights [`weight_facts`]. GRPO has under `start` what was measured of the checkpoint that it starts
        from, see [`~glow_trl.analysis.readiness.chosen.chosen_start`].
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
            if stage_name == "sft":
                arms[name][stage_name] |= weight_facts(arm)
            elif start := stage.run.get("start"):
                arms[name][stage_name]["start"] = start
    changes = {name: arm_changes(arm, list(data.benchmarks), book) for name, arm in data.arms.items()}
    return {"recipe": data.recipe, "arms": arms, "changes": changes, "troubles": find_troubles(data)}


def k_values(summary: dict[str, Any]) -> list[int]:
    """Every k above 1 whose pass@k was measured, in ascending order."""
    contents = [content for stages in summary["arms"].values() for content in stages.values()]
    return sorted(
        {k for content in contents for row in content["benchmarks"].values() for k in points_by_k(row)} - {1}
    )
