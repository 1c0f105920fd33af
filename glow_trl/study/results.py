"""From the runs of a study to its results: means over seeds, comparisons with the control, curves, claims."""

import math
from typing import Any

import numpy as np

from ..report.other_seeds import flattened
from ..stages.record import jsonable, read_run
from ..stages.registry import TRAINING_STAGES
from ..statistics.pairing import holm
from ..statistics.seeds import SeedMean, decide, mean_over_seeds, one_more_run, paired_over_seeds
from .file import LOSSES, Claim, Measure, StudyFile
from .grid import Cell, Setting, unfinished
from .launch import last_error
from .measures import Observed, RunResults, parts


# Shown of every study, where a run has them
_CURVES = (*(("sft", name) for name in LOSSES), ("grpo", "reward"), ("grpo", "entropy"))
_MOST_POINTS = 200

Observations = dict[str, dict[int, Observed]]


def study_results(study: StudyFile, grid: list[Setting]) -> dict[str, Any]:
    """
    All results of a study, as far as its runs have come.

    Returns:
        `dict`: `runs` (`complete`, `total`, and the `failed` ones with `name`, `error` and `log`); for each of the
        `settings` its `name`, `measures` (by name, with `arms` and `comparisons`) and `curves`; `claims`, each with
        the `verdict` and the figures behind it; and the number of `tests` that were corrected for, of the primary
        measures and of others.
    """
    settings, observed = [], []
    for setting in grid:
        runs = {place: RunResults(cell.folder, place[0]) for place, cell in setting.runs.items()}
        seen = {name: _observations(study, runs, measure) for name, measure in study.measures.items()}
        measures = {name: _measure(study, name, seen[name]) for name in study.measures}
        settings.append(
            {
                "name": setting.name,
                "recipe": next(iter(setting.runs.values())).recipe.name,
                "measures": measures,
                "benchmarks": _benchmarks(study, runs),
                "stage_settings": _stage_settings(study, setting),
                "curves": _curves(study, runs),
            }
        )
        observed.append(seen)
    tests = {"primary": _correct(study, settings, True), "others": _correct(study, settings, False)}
    return {
        "runs": _runs(grid),
        "settings": settings,
        "claims": _claims(study, grid, observed),
        "tests": tests,
        "made": _made(grid),
    }


def _made(grid: list[Setting]) -> dict[str, Any]:
    """The versions, revisions and machines of the runs, each once; their cores are those that a run could use."""
    records = [read_run(cell.folder) or {} for setting in grid for cell in setting.runs.values()]
    versions: dict[str, set[str]] = {}
    for record in records:
        for package, version in (record.get("versions") or {}).items():
            versions.setdefault(package, set()).add(str(version))
    machines = [
        {key: value for key, value in record["machine"].items() if key != "cores"}
        for record in records
        if record.get("machine")
    ]
    return {
        "versions": {package: sorted(found) for package, found in versions.items()},
        "git": sorted({str(record["git"]) for record in records if record.get("git")}),
        "machines": [machine for place, machine in enumerate(machines) if machine not in machines[:place]],
    }


def _stage_settings(study: StudyFile, setting: Setting) -> dict[str, Any]:
    """What decided the runs' results: what is `common` to all arms that have the stage, and for each of the `arms`
    what it has besides, `None` where it lacks the stage; and by arm what is `mixed`, in which its runs differ."""
    arms: dict[str, dict[str, Any]] = {}
    mixed: dict[str, list[str]] = {}
    for arm in study.arms:
        records = [read_run(cell.folder) or {} for (name, _), cell in setting.runs.items() if name == arm]
        told = [flattened(item) for record in records if (item := (record.get("stage_settings") or {}).get(arm))]
        if told:
            arms[arm] = told[0]
            names = dict.fromkeys(name for item in told for name in item)
            if others := [name for name in names if any(item.get(name) != told[0].get(name) for item in told)]:
                mixed[arm] = others
    common: dict[str, Any] = {}
    own: dict[str, dict[str, Any]] = {arm: {} for arm in arms}
    for name in dict.fromkeys(name for told in arms.values() for name in told):
        stage = f"{name.partition('.')[0]}."
        having = [arm for arm, told in arms.items() if any(other.startswith(stage) for other in told)]
        values = [arms[arm].get(name) for arm in having]
        if all(value == values[0] for value in values):
            common[name] = values[0]
            for arm in arms.keys() - set(having):
                own[arm][name] = None
        else:
            for arm in having:
                if name in arms[arm]:
                    own[arm][name] = arms[arm][name]
    return {"common": common, "arms": own, "mixed": mixed}


def _benchmarks(study: StudyFile, runs: dict[tuple[str, int], RunResults]) -> list[dict[str, Any]]:
    """Accuracy on each benchmark after each stage: for each arm what [`_arm`] says."""
    found = []
    for stage in TRAINING_STAGES:
        domains: dict[str, str] = {}
        for run in runs.values():
            domains = run.benchmarks(stage) | domains
        for name, domain in domains.items():
            measure = Measure(stage=stage, benchmarks=[name])
            seen = _observations(study, runs, measure)
            arms = {arm: _arm(study, measure, by_seed) for arm, by_seed in seen.items()}
            found.append({"stage": stage, "name": name, "domain": domain, "arms": arms})
    return found


def _runs(grid: list[Setting]) -> dict[str, Any]:
    cells = [cell for setting in grid for cell in setting.runs.values()]
    return {
        "complete": sum(cell.is_complete for cell in cells),
        "total": len(cells),
        "failed": [
            {
                "name": cell.name,
                "error": _reason(cell),
                "log": cell.log.relative_to(cell.output_dir).as_posix() if cell.log.is_file() else None,
            }
            for cell in unfinished(grid)
        ],
    }


def _reason(cell: Cell) -> str:
    if cell.data is not None and not cell.data.is_complete:
        return f"it needs {cell.data.name}"
    failed = (read_run(cell.folder) or {}).get("failed") or {}
    return "; ".join(map(str, failed.values())) or last_error(cell)


def _observations(study: StudyFile, runs: dict[tuple[str, int], RunResults], measure: Measure) -> Observations:
    found: Observations = {arm: {} for arm in study.arms}
    for (arm, seed), run in runs.items():
        if (value := run.observe(measure)) is not None:
            found[arm][seed] = value
    return found


def _measure(study: StudyFile, name: str, seen: Observations) -> dict[str, Any]:
    measure = study.measures[name]
    arms, comparisons = {}, {}
    for arm, by_seed in seen.items():
        arms[arm] = _arm(study, measure, by_seed)
        if arm != study.control:
            found = _difference(measure, seen[study.control], by_seed)
            comparisons[arm] = None if found is None else _comparison(study, *found)
    return {
        "description": measure.describe(),
        "definition": {key: value for key, value in jsonable(vars(measure)).items() if value is not None},
        "primary": name in study.primary,
        "is_share": measure.bounds is not None,
        "of_questions": measure.is_evaluation,
        "arms": arms,
        "comparisons": comparisons,
    }


def _arm(study: StudyFile, measure: Measure, by_seed: dict[int, Observed]) -> dict[str, Any] | None:
    found = parts(list(by_seed.values()))
    if found is None:
        return None
    single = {seed: parts([value]) for seed, value in by_seed.items()}
    values = {str(seed): mean_over_seeds(one[0]).mean for seed, one in single.items() if one is not None}
    mean = mean_over_seeds(found[0], measure.bounds)
    asked = [sum(map(len, seen.values())) for seen in by_seed.values()]
    low, high = one_more_run(list(values.values()), 1 - study.alpha, measure.bounds, min(asked))
    return _entry(study, mean, list(by_seed)) | {
        "one_more_run": [low, high] if len(values) > 1 else None,
        "by_seed": values,
        "lacking": [seed for seed in study.seeds if seed not in by_seed],
    }


def _difference(
    measure: Measure, first: dict[int, Observed], second: dict[int, Observed]
) -> tuple[SeedMean, list[int]] | None:
    """`second - first`, and the seeds that both have."""
    both = [seed for seed in first if seed in second]
    found = parts([first[seed] for seed in both], [second[seed] for seed in both])
    return None if found is None else (paired_over_seeds(*found, measure.bounds), both)


def _comparison(study: StudyFile, found: SeedMean, seeds: list[int]) -> dict[str, Any]:
    return _entry(study, found, seeds) | {"p": found.p_value() if found.seeds > 1 else None, "corrected": None}


def _entry(study: StudyFile, found: SeedMean, seeds: list[int]) -> dict[str, Any]:
    low, high = found.interval(1 - study.alpha)
    is_known = math.isfinite(low) and math.isfinite(high)
    return {
        "mean": found.mean,
        "ci": [low, high] if is_known else None,
        "seeds": seeds,
        "questions": found.questions,
        "seed_variance": found.seed_variance if found.seeds > 1 else None,
        "question_variance": found.question_variance,
    }


def _correct(study: StudyFile, settings: list[dict[str, Any]], primary: bool) -> int:
    """Correct the comparisons of the primary measures, or of all others, for their number; returns that."""
    family = [
        item
        for setting in settings
        for measure in setting["measures"].values()
        for item in measure["comparisons"].values()
        if item is not None and item["p"] is not None and measure["primary"] == primary
    ]
    values = [item["p"] for item in family]
    for item, p in zip(family, holm(values) if study.correction == "holm" else values, strict=True):
        item["corrected"] = p
    return len(family)


def _claims(study: StudyFile, grid: list[Setting], observed: list[dict[str, Observations]]) -> list[dict[str, Any]]:
    rows, levels = [], []
    for claim in study.claims:
        for setting, seen in zip(grid, observed, strict=True):
            found = _claimed(study, claim, seen[claim.measure])
            row: dict[str, Any] = {"setting": setting.name, "claim": jsonable(vars(claim)), "verdict": "undecided"}
            measure = study.measures[claim.measure]
            row |= {"is_share": measure.bounds is not None, "of_questions": measure.is_evaluation}
            if found is None:
                rows.append(row | {"why": "no seed has what it takes", "figure": None})
                levels.append((1.0, 1.0, "undecided"))
                continue
            mean, seeds = found
            threshold = claim.threshold if claim.threshold is not None else 0.0
            levels.append(decide(mean, claim.sign, threshold, claim.margin))
            rows.append(row | {"why": "" if mean.seeds > 1 else "one seed", "figure": _entry(study, mean, seeds)})
    smallest = [level for level, _, _ in levels]
    corrected = holm(smallest) if study.correction == "holm" else smallest
    for row, (level, refuted, verdict), p in zip(rows, levels, corrected, strict=True):
        row["corrected"] = p
        if p < study.alpha:
            # There may be a difference that is too small to matter
            row["verdict"] = "did not hold" if refuted * p / level < study.alpha else verdict
    return rows


def _claimed(study: StudyFile, claim: Claim, seen: Observations) -> tuple[SeedMean, list[int]] | None:
    measure = study.measures[claim.measure]
    if claim.versus is not None:
        return _difference(measure, seen[claim.versus], seen[claim.arm])
    found = parts(list(seen[claim.arm].values()))
    return None if found is None else (mean_over_seeds(found[0]), list(seen[claim.arm]))


def _curves(study: StudyFile, runs: dict[tuple[str, int], RunResults]) -> list[dict[str, Any]]:
    """The curves that any run has: for each arm the mean over seeds, and the lowest and highest of them."""
    asked = [(str(item.stage), item.curve) for item in study.measures.values() if item.curve is not None]
    found = []
    for stage, name in dict.fromkeys([*_CURVES, *asked]):
        arms = {}
        for arm in study.arms:
            read = [run.curve(stage, name) for place, run in runs.items() if place[0] == arm]
            curves = [dict(zip(*map(np.ndarray.tolist, curve), strict=True)) for curve in read if len(curve[0])]
            # What all seeds have
            steps = sorted(set.intersection(*map(set, curves))) if curves else []
            steps = steps[:: math.ceil(len(steps) / _MOST_POINTS)] if steps else []
            if steps:
                values = np.array([[curve[step] for step in steps] for curve in curves])
                arms[arm] = {
                    "x": steps,
                    "mean": values.mean(axis=0).tolist(),
                    "low": values.min(axis=0).tolist(),
                    "high": values.max(axis=0).tolist(),
                    "seeds": len(curves),
                }
        if arms:
            found.append({"stage": stage, "name": name, "arms": arms})
    return found
