"""A run folder with the files and shapes of a real one, and numbers that are made up."""

import json
from pathlib import Path

import numpy as np

from glow_trl.data.loss_history import write_token_weights, write_weights
from glow_trl.stages.fingerprint import fingerprint


BENCHMARKS = {
    "in-domain": ("in", 0.55, 0.95),
    "all words": ("out", 0.5, 0.9),
    "longer <chains> & more": ("out", 0.17, 0.24),
}

# The arms of the recipes, by what they change in the SFT stage
ARMS = {
    "glow": {},
    "positive": {"trajectories": "positive", "weighting": "uniform"},
    "negative": {"trajectories": "negative", "weighting": "uniform"},
    "all": {"trajectories": "all", "weighting": "uniform"},
}
# Five others, one of them with a name that no page has place for
FIVE_ARMS = {
    "beta5": {"glow_beta": 5.0},
    "beta30": {"glow_beta": 30.0},
    "positives": {"trajectories": "positive", "weighting": "uniform"},
    "my_arm": {"weighting": "uniform", "num_train_epochs": 7},
    "an.arm_whose-name.goes_on-and.on_" + "withoutanend" * 4: {"glow_warmup_epochs": 2},
}
# One for each shipped weighting, and one of the user's own
WEIGHTED_ARMS = {
    "all": {"weighting": "uniform"},
    "glow": {},
    "tail": {"weighting": "tail_sft", "weighting_kwargs": {"gamma": 0.3, "schedule": "constant"}},
    "pear_token": {"weighting": "pear"},
    "pear_block": {"weighting": "pear", "weighting_kwargs": {"level": "block"}},
    "pear_sequence": {"weighting": "pear", "weighting_kwargs": {"level": "sequence"}},
    "dft": {"weighting": "dft"},
    "info": {"weighting": "info_sft"},
    "iw_token": {"weighting": "iw_sft_token"},
    "iw_sequence": {"weighting": "iw_sft"},
    "unlikelihood": {"weighting": "unlikelihood"},
    "glow_dft": {"weighting": ["glow", "dft"], "weighting_kwargs": {"dft": {}}},
    "mine": {"weighting": "my_weightings.gentle", "weighting_kwargs": {"min_weight": 0.25, "max_weight": 2.0}},
}
SAMPLE_WEIGHTINGS = ("tail_sft", "my_weightings.gentle")


def write_json(path: Path, content) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def write_rows(path: Path, rows) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


MACHINE = {"cpu": "Some CPU", "cores": 16, "memory": 124.8, "gpus": [{"name": "Some GPU", "memory": 80.0}]}


def stage_run(stage: str, seconds: float, **config) -> dict:
    """A record as the stages leave it."""
    return {
        "stage": stage,
        "status": "complete",
        "seconds": seconds,
        "config": config,
        "seed": 42,
        "versions": {"python": "3.11.7", "torch": "2.13.0", "trl": "1.16.0"},
        "machine": MACHINE,
        "git": "708e859d0000000000000000000000000000abcd",
        "data": {"data/train.jsonl": "0123456789abcdef"},
        "started": "2026-01-01T00:00:00+00:00",
    }


def verdict(correct: bool, extracted: str | None) -> dict:
    reason = "match" if correct else ("mismatch" if extracted else "no_answer")
    return {"correct": correct, "extracted": extracted, "reason": reason, "kind": "math", "rule": "boxed"}


def benchmark_row(rng, domain: str, accuracy: float, n: int = 400) -> dict:
    width = 1.96 * (accuracy * (1 - accuracy) / n) ** 0.5
    protocol = {"completions": 8 * n, "tokens": 200 * n, "temperature": 1.0, "top_p": 1.0, "max_new_tokens": 64}
    row = {
        "domain": domain,
        "version": 1,
        "entropy_protocol": protocol,
        "n": n,
        "samples": 8,
        "response_length": 20 + 10 * float(rng.random()),
        "truncated": 0.01,
    }
    for k in (1, 2, 4, 8):
        value = 1 - (1 - accuracy) ** (k**0.5)
        row[f"pass@{k}"] = value
        row[f"pass@{k}_ci"] = [max(0.0, value - width), min(1.0, value + width)]
        if k > 1:
            row[f"majority@{k}"] = min(1.0, accuracy * 1.1)
            row[f"majority@{k}_ci"] = [accuracy, min(1.0, accuracy * 1.2)]
    return row | {"no_answer": 0.02, "unjudged": 0.0, "bad_gold": 0, "entropy": 0.1 + 0.3 * float(rng.random())}


def write_ledger(folder: Path, rng, share_positive: float, samples: int = 600, epochs: int = 6) -> np.ndarray:
    is_correct = rng.random(samples) < share_positive
    write_rows(
        folder / "samples.jsonl",
        [
            {"sample_id": f"train:{i}", "is_correct": bool(label), "source": ["web", "book_<2>"][i % 2]}
            for i, label in enumerate(is_correct)
        ],
    )
    level = np.where(is_correct, 0.35, 0.55) + 0.1 * rng.random(samples)
    losses = np.stack(
        [level * (0.5 + 1.5 * np.exp(-epoch)) + 0.03 * rng.standard_normal(samples) for epoch in range(epochs)]
    ).astype(np.float32)
    losses[:, :5] = np.nan  # cut away by truncation, so never visited
    for epoch, row in enumerate(losses, start=1):
        np.save(folder / f"epoch-{epoch:03d}.npy", row)
    return losses


def write_made_up_weights(folder: Path, rng, losses: np.ndarray, tokens: bool) -> None:
    """Weights of samples between 0 and 2, some of them exactly at either end, and of tokens that rise to their end."""
    for epoch, row in enumerate(losses, start=1):
        weights = np.clip(1 + 0.8 * rng.standard_normal(row.size), 0, 2)
        write_weights(folder, epoch, np.where(np.isnan(row), np.nan, weights))
        if tokens:
            boundaries = np.array([np.nextafter(np.float32(0), np.float32(-1)), 0.0, *np.linspace(0.1, 4, 40)])
            values = 0.3 + 0.2 * np.arange(10)[:, None] + 0.3 * rng.random((3, 10, 500))
            values[2] = np.nan
            counts = [
                [np.bincount(np.searchsorted(boundaries, v[v == v]), minlength=43) for v in label] for label in values
            ]
            write_token_weights(folder, epoch, boundaries, np.array(counts), np.nansum(values, axis=2))


def write_generations(
    folder: Path, rng, accuracies: dict[str, float], questions: int = 40, samples: int = 8
) -> dict[str, float]:
    """Write generations and the entropies of their tokens; returns the accuracy that came out for each benchmark."""
    measured = {}
    for name, accuracy in accuracies.items():
        rows, entropies = [], []
        for index in range(questions):
            for sample in range(samples):
                correct = bool(rng.random() < accuracy)
                extracted = "1" if correct else (None if rng.random() < 0.1 else "2")
                entropies.append(
                    {"index": index, "sample": sample, "n_tokens": 27, "entropy": float(0.4 * rng.random())}
                )
                rows.append(
                    {
                        "problem": f"g=1; h-{index}; i<3 & j>2 \\frac{{1}}{{2}}; h=?",
                        "answer": "1",
                        "kind": "math",
                        "index": index,
                        "benchmark": name,
                        "sample": sample,
                        "completion": f"<think>1-{index}=…</think> \\boxed{{{extracted}}}<script>alert(1)</script>",
                        "n_tokens": 27,
                        "finish_reason": "stop" if extracted else "length",
                        "verdict": verdict(correct, extracted),
                    }
                )
        measured[name] = sum(row["verdict"]["correct"] for row in rows) / len(rows)
        write_rows(folder / f"generations_{name}.jsonl", rows)
        write_rows(folder / f"entropy_{name}.jsonl", entropies)
    return measured


def write_annotation(folder: Path, trajectories: list[dict], data: dict[str, str]) -> None:
    """An annotation by the stage itself, with a judge whose answers are made up."""
    from glow_trl.analysis.annotate import summarize
    from glow_trl.analysis.patterns.annotator import Judgement
    from glow_trl.analysis.patterns.answers import Found
    from glow_trl.analysis.patterns.taxonomy import load_taxonomy

    taxonomy = load_taxonomy("reasoning")
    judgements = [
        [
            Judgement(None if (index + number) % 17 == 0 else [Found(taxonomy.ids[index % 22], "<b>\\boxed", True)])
            for number in range(2)
        ]
        for index in range(len(trajectories))
    ]
    results = summarize(trajectories, judgements, None, taxonomy)
    patterns = [vars(pattern) for pattern in taxonomy.patterns]
    counts = {"judgements": 400, "valid": 376, "invalid": 24, "reasons": {"no_json": 20, "cut_off": 52}}
    write_json(
        folder / "results.json",
        {
            "taxonomy": {"name": "reasoning", "description": taxonomy.description, "patterns": patterns},
            "judge": {"judge": "a:LLMJudge", "model": "some/model", "engine": "vllm"},
            "judgements": counts | results.pop("quotes"),
            **results,
        },
    )
    write_rows(
        folder / "annotations.jsonl",
        [
            {
                **trajectory,
                "patterns": ["unit_error"],
                "judgements": [{"patterns": [{"id": "unit_error", "quote": "<b>h", "in_text": True}]}],
            }
            for trajectory in trajectories[:5]
        ],
    )
    write_json(folder / "run.json", stage_run("annotate", 12.0) | {"data": data})


def write_heldout(folder: Path, data: dict[str, str]) -> None:
    """The loss of a model on trajectories, by their files and the model."""
    row = {"samples": 50, "problems": 20, "tokens": 900, "loss": 0.4321, "loss_ci": [0.4, 0.46], "loss_median": 0.42}
    groups = {"all": {"all": row | {"token_loss": 0.44}}, "is_correct": {"negative": row | {"token_loss": 0.5}}}
    write_json(
        folder / "results.json",
        {
            "model_name_or_path": next((name for name in data if not name.endswith(".jsonl")), "some/model"),
            "data": [name for name in data if name.endswith(".jsonl")],
            "groups": groups,
        },
    )
    write_json(folder / "run.json", stage_run("loss", 2.0) | {"data": data})


def write_trajectories(folder: Path, rng) -> list[dict]:
    """What the label stage leaves in its folder; returns the trajectories."""
    trajectories = [
        {
            "problem": f"g={i}; h+1; h=?",
            "completion": f"h: {i}+1={i + (1 if good else 2)}; \\boxed{{{i + (1 if good else 2)}}}",
            "answer": str(i + 1),
            "is_correct": good,
            "extracted": str(i + (1 if good else 2)),
            "reason": "match" if good else "mismatch",
            "pattern": "none" if good else ["slip by one", "stale <value>"][i % 2],
        }
        for i, good in enumerate((rng.random(200) < 0.5).tolist())
    ]
    write_rows(folder / "trajectories.jsonl", trajectories)
    write_rows(folder / "disagreements.jsonl", [])
    write_json(folder / "run.json", stage_run("label", 3.1))
    return trajectories


def write_model(folder: Path, content: str) -> dict[str, str]:
    """A model that is none; returns its fingerprint by the name that it had where the run was started."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.safetensors").write_text(f"{folder.name} {content}")
    return {f"outputs/{'/'.join(folder.parts[-3:])}": fingerprint(folder)}


def edit_json(path: Path, **changes) -> None:
    """Set keys of an object in a file; those set to `None` go."""
    content = json.loads(path.read_text()) | changes
    write_json(path, {key: value for key, value in content.items() if value is not None})


def make_mixed_run(folder: Path, **options) -> Path:
    """A run of one arm whose accuracy rose, while on one benchmark pass@4 fell from 42 to 28 and entropy by 74 %."""
    make_run_folder(folder, arms=("glow",), **options)
    for stage, figures in (("sft", {"pass@4": 0.42, "entropy": 0.19}), ("grpo", {"pass@4": 0.28, "entropy": 0.05})):
        path = folder / "glow" / f"{stage}_eval" / "results.json"
        benchmarks = json.loads(path.read_text())["benchmarks"]
        benchmarks["longer <chains> & more"] |= figures
        edit_json(path, benchmarks=benchmarks)
    return folder


def make_run_folder(folder: Path, arms: dict | tuple = tuple(ARMS), steps: int = 100, seed: int = 0) -> Path:
    """
    Write a whole run into `folder` and return it.

    Args:
        arms: names, or a mapping from names to the settings of the SFT stage that an arm changes.
    """
    rng = np.random.default_rng(seed)
    changes = arms if isinstance(arms, dict) else {arm: ARMS[arm] for arm in arms}
    trajectories = write_trajectories(folder / "label", rng)
    # The files were named from where the run was started
    source = f"outputs/{folder.name}/label/trajectories.jsonl"
    data = {source: fingerprint(folder / "label" / "trajectories.jsonl")}
    facts = {"parameters": 1_234_567, "trainable_parameters": 1_234_567}
    loss = {}
    first: dict[str, str] = {}
    for place, (arm, changed) in enumerate(changes.items()):
        given = {"learning_rate": 5e-3, "dataset_name": source, "glow_alpha": 2.0, "glow_beta": 10.0} | changed
        defaults = {"weighting": "glow", "trajectories": "all", "glow_warmup_epochs": 1}
        record = stage_run("sft", 41.2, **(defaults | given | {"dataset_name": [source]}))
        record |= {"given": given, "data": data, "samples": 600, "trained_samples": 595, **facts}
        write_json(folder / arm / "sft" / "run.json", record)
        models = {stage: write_model(folder / arm / stage, f"{arm} {seed}") for stage in ("sft", "grpo")}
        first = first or models["sft"]
        selection = changed.get("trajectories", "all")
        loss[arm] = {"positive": 0.04, "negative": -0.2}.get(selection, -0.03 * place)
        ledger = folder / arm / "sft" / "ledger"
        losses = write_ledger(ledger, rng, {"positive": 1.0, "negative": 0.0}.get(selection, 0.5))
        weighting = changed.get("weighting", "glow")
        log = [{"step": i, "epoch": i / 20, "loss": 1 / i} for i in range(1, 20)]
        if weighting not in ("glow", "uniform"):
            tokens = weighting not in SAMPLE_WEIGHTINGS
            write_made_up_weights(ledger, rng, losses, tokens)
            log += [
                {"step": 20, "glow/epoch": 6, "glow/epoch_share_at_max": 0.0123, "glow/epoch_share_dropped": 0.0456}
            ]
        write_rows(folder / arm / "sft" / "log.jsonl", log)
        record = stage_run("grpo", 62.0, learning_rate=5e-4, beta=0.0) | {"data": models["sft"], **facts}
        write_json(folder / arm / "grpo" / "run.json", record)
        start = 0.5 + loss[arm]
        curve = start + (0.95 - start) * (1 - np.exp(-np.arange(steps) / 25)) + 0.03 * rng.standard_normal(steps)
        log = [
            {
                "step": i + 1,
                "reward": float(curve[i]),
                "entropy": float(0.3 * np.exp(-i / 40) + 0.1 + 0.01 * rng.standard_normal()),
                "completions/mean_length": float(27 + rng.standard_normal()),
                "completions/clipped_ratio": float(0.05 * np.exp(-i / 10)),
                "kl": 0.0,
            }
            for i in range(steps)
        ]
        write_rows(folder / arm / "grpo" / "log.jsonl", [*log, {"step": steps, "train_runtime": 60.0}])
        for stage, position in (("sft", 1), ("grpo", 2)):
            accuracy = {
                name: max(0.02, row[position] + (loss[arm] if stage == "sft" else loss[arm] / 5))
                for name, row in BENCHMARKS.items()
            }
            evaluation = folder / arm / f"{stage}_eval"
            # One benchmark's generations are missing, as of an evaluation whose files were deleted
            saved = {name: value for name, value in accuracy.items() if name in ("in-domain", "all words")}
            measured = accuracy | write_generations(evaluation, rng, saved)
            rows = {name: benchmark_row(rng, BENCHMARKS[name][0], value, n=40) for name, value in measured.items()}
            for name in saved:
                found = [json.loads(line) for line in (evaluation / f"entropy_{name}.jsonl").read_text().splitlines()]
                rows[name]["entropy"] = sum(row["entropy"] for row in found) / len(found)
            sampling = {"num_samples": 8, "temperature": 1.0, "top_p": 1.0, "max_new_tokens": 64, "seed": 1}
            write_json(evaluation / "results.json", {"sampling": sampling, "benchmarks": rows, "seconds": 9.5})
            write_json(evaluation / "run.json", stage_run("eval", 9.5) | {"data": models[stage]})
    write_annotation(folder / "annotation", trajectories, data)
    write_heldout(folder / "heldout_loss", data | first)
    write_json(folder / "run.json", stage_run("run", 300.0) | {"recipe": "recipes/quickstart", "arms": arms})
    return folder
