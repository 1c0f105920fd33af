"""An SFT stage's folder as the stage leaves it, with losses that are made up."""

import json
from pathlib import Path

import numpy as np


def write_sft_folder(folder: Path, losses: np.ndarray, rows: list[dict], config: dict | None = None) -> Path:
    """Write the ledger of `losses`, shape (epochs, samples), and return the folder."""
    ledger = folder / "ledger"
    ledger.mkdir(parents=True)
    for epoch, values in enumerate(losses, start=1):
        np.save(ledger / f"epoch-{epoch:03d}.npy", values.astype(np.float32))
    (ledger / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    record = {"stage": "sft", "status": "complete", "config": config or {}}
    (folder / "run.json").write_text(json.dumps(record))
    return folder


def made_up(samples: int = 240, epochs: int = 5, seed: int = 0) -> tuple[np.ndarray, list[dict]]:
    """Losses with gaps, and samples with a label, a source, a model and, if negative, a pattern."""
    rng = np.random.default_rng(seed)
    level = 0.3 + rng.random(samples)
    losses = level * np.exp(-0.3 * np.arange(epochs)[:, None]) + 0.05 * rng.standard_normal((epochs, samples))
    losses = np.abs(losses)
    losses[:, 20:30] = losses[0, 20:30] + 0.1 * np.arange(epochs)[:, None]  # never better
    losses[rng.random(losses.shape) < 0.05] = np.nan
    losses[:, :3] = np.nan  # cut away by truncation
    rows = []
    for index in range(samples):
        good = bool(rng.random() < 0.6)
        row = {"sample_id": f"train:{index + 1}", "is_correct": good, "source": f"s{rng.integers(3)}", "model": "t"}
        if not good:
            row["pattern"] = ["slip", "stale"][int(rng.integers(2))]
        rows.append(row)
    return losses.astype(np.float32).astype(np.float64), rows
