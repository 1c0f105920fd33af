"""How ready for RL the starts are that `glow-trl ready` measured in the run's folder."""

from collections.abc import Iterable
from typing import Any

from ..analysis.readiness.chosen import READY_FILE
from ..analysis.readiness.measures import BUDGET, COVERAGE, ENTROPY, INFORMATIVE, LOSS
from ..statistics.numbers import interval, percent
from .inputs import short_path
from .run_data import RunData


def ready_sections(data: RunData) -> list[dict[str, Any]]:
    """
    What was measured in the run's folder: `name` of the folder, `results` as in its `ready.json`, `columns` of its
    table (`name`, `title` and whether it is a `share`), `rows` with `name`, `place` and figures in the order of the
    ranking, the `advice` with names in short, a sentence for each arm whose stage 2 starts from one of them
    (`chosen`), and the [`Standing`] of its inputs.
    """
    sections = []
    for name, _, results in data.stage_results("ready", READY_FILE):
        short = _short_names([*results["starts"], *results["refused"]])
        advice = results["advice"]
        for long in sorted(short, key=len, reverse=True):
            advice = advice.replace(long, short[long])
        places = {start: place for place, start in enumerate(results["ranking"], start=1)}
        ordered = [*places, *(start for start in results["starts"] if start not in places)]
        sections.append(
            {
                "name": name,
                "results": results,
                "columns": _columns(results),
                "rows": [
                    {"name": short[start], "place": places.get(start), "figures": results["starts"][start]}
                    for start in ordered
                ],
                "refused": [(short[start], problems) for start, problems in results["refused"].items()],
                "advice": advice,
                "chosen": _chosen(data, name, results),
                "standing": data.inputs.standing(data.folder / name),
            }
        )
    return sections


def _chosen(data: RunData, name: str, results: dict[str, Any]) -> list[str]:
    """For each arm whose stage 2 starts from what was measured here: from which, and why."""
    sentences = []
    for arm, found in data.arms.items():
        start = found.stages["grpo"].run.get("start") if "grpo" in found.stages else None
        if not start or short_path(start["readiness"]) != short_path(data.folder / name):
            continue
        text = f"Stage 2 of {arm} starts from {short_path(start['checkpoint'])}"
        selected = (data.run.get("select_start") or {}).get(arm, "last")
        text += f", as select_start is {selected}, and the evaluation after SFT is of the same"
        if start["place"] is not None and start["ranked"] > 1:
            by = results["measures"].get(start["rank_by"], {}).get("title", start["rank_by"])
            text += f": place {start['place']} of {start['ranked']} by {by}"
        if start[INFORMATIVE] is not None:
            ends = start[f"{INFORMATIVE}_ci"]
            text += f"; {percent(start[INFORMATIVE])} %" + (f" (95 %: {interval(ends)})" if ends else "")
            text += f" of its groups of {start['group_size']} are expected to be informative"
        sentences.append(text + ".")
    return sentences


def _columns(results: dict[str, Any]) -> list[dict[str, Any]]:
    ks = results["k_values"]
    shares = [INFORMATIVE, *dict.fromkeys(f"pass@{k}" for k in (*ks[:1], *ks[-1:])), BUDGET]
    losses = [name for name in results["measures"] if name.startswith(f"{LOSS}_")]
    names = [*shares, COVERAGE, ENTROPY, *losses, "truncated", "no_answer"]
    shares += ["truncated", "no_answer"]
    known = results["measures"]
    return [{"name": name, "title": known[name]["title"], "share": name in shares} for name in names if name in known]


def _short_names(names: Iterable[str]) -> dict[str, str]:
    """The ends of paths, where they tell them apart."""
    names = list(names)
    short = {name: short_path(name) for name in names}
    return short if len(set(short.values())) == len(names) else {name: name for name in names}
