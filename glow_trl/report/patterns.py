"""What the annotation stages of a run found, as the report shows it."""

from typing import Any

from ..statistics.numbers import number, percent
from .run_data import RunData, rows_of
from .scores import stars


_EXAMPLES = 3


def pattern_sections(data: RunData) -> list[dict[str, Any]]:
    """
    One entry for each annotation in the run's folder.

    Returns:
        `list[dict]`: `name` of its folder, `results` as in its `results.json`, the `labels` that were counted,
        `groups` of `rows` (each with `pattern`, `shares` by label, `difference` and `mark`), `sentences` about how it
        was made, the [`Standing`] of its inputs, and some annotated `examples`.
    """
    sections = []
    for name, _, results in data.stage_results("annotate"):
        counts = results.get("counts") or {}
        labels = [label for label in ("positive", "negative") if label in counts] or list(counts)[:1]
        taxonomy = results.get("taxonomy") or {}
        groups: dict[str, list[dict[str, Any]]] = {}
        for pattern in taxonomy.get("patterns") or []:
            difference = (results.get("differences") or {}).get(pattern["id"])
            groups.setdefault(pattern["group"], []).append(
                {
                    "pattern": pattern,
                    "shares": {label: counts[label]["patterns"].get(pattern["id"]) for label in labels},
                    "difference": difference,
                    "mark": stars((difference or {}).get("p_holm")),
                    "agreement": ((results.get("agreement") or {}).get("patterns") or {}).get(pattern["id"]),
                }
            )
        sections.append(
            {
                "name": name,
                "results": results,
                "labels": labels,
                "groups": groups,
                "sentences": _sentences(results),
                "standing": data.inputs.standing(data.folder / name),
                "examples": _examples(data, name) if labels else [],
            }
        )
    return sections


def _sentences(results: dict[str, Any]) -> list[str]:
    """Who judged how much, how often the answers were unusable, and how far the judgements can be trusted."""
    judge, judged = results.get("judge") or {}, results.get("judgements") or {}
    name = str(judge.get("judge", "an unnamed judge")).rpartition(":")[2]
    model = f" (model {judge['model']}, engine {judge.get('engine')})" if judge.get("model") else ""
    sentences = [
        f"{results.get('annotated', 0):,} trajectories annotated by {name}{model}; {judged.get('valid', 0):,} of "
        f"{judged.get('judgements', 0):,} judgements valid."
    ]
    if results.get("unannotated"):
        reasons = ", ".join(f"{reason}: {count:,}" for reason, count in (judged.get("reasons") or {}).items())
        sentences.append(
            f"{results['unannotated']:,} trajectories have no valid judgement and are left out ({reasons})."
        )
    if judged.get("quotes_in_text") is not None:
        sentences.append(f"{percent(judged['quotes_in_text'])} % of the quotes stand in the trajectory word for word.")
    agreement = results.get("agreement") or {}
    if agreement.get("same_set") is not None:
        overall = agreement.get("overall") or {}
        sentences.append(
            f"Repeated judgements name the same patterns in {percent(agreement['same_set'])} % of the pairs; over all "
            f"decisions Krippendorff’s alpha is {number(overall.get('krippendorff_alpha'), 3) or 'not defined'}."
        )
    truth = results.get("truth") or {}
    if truth.get("exact") is not None:
        sentences.append(
            f"Against the known truth: {percent(truth['exact'])} % of the trajectories have exactly the true "
            f"patterns, precision {number(truth.get('precision'), 3)}, recall {number(truth.get('recall'), 3)}."
        )
    return sentences


def _examples(data: RunData, folder: str) -> list[dict[str, Any]]:
    """Trajectories with patterns that the ones before do not show, with the quotes."""
    chosen, seen = [], set()
    for row in rows_of(data.folder / folder / "annotations.jsonl"):
        new = set(row.get("patterns") or []) - seen
        if not new:
            continue
        quotes = {
            found["id"]: found["quote"]
            for judgement in row["judgements"]
            for found in judgement.get("patterns") or []
            if found["id"] in row["patterns"]
        }
        chosen.append({**row, "quotes": quotes})
        seen |= new
        if len(chosen) == _EXAMPLES:
            break
    return chosen
