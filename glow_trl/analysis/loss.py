"""Loss of a checkpoint on trajectories that it need not have been trained on: `glow-trl loss --config FILE`."""

import dataclasses
import itertools
import json
import logging
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute
from datasets import Dataset
from rich.console import Console
from rich.progress import track

from ..data import read_jsonl, write_jsonl
from ..data.append_log import AppendLog
from ..data.log_probs import COMPLETION_IDS, LOG_PROBS, encode_log_probs, encode_token_ids
from ..data.loss_history import LABEL_COLUMN, LossHistory
from ..data.table import RowTable
from ..errors import UserError
from ..stages.command import run_command
from ..stages.config import Settings, parse_command
from ..stages.console import say_results
from ..stages.files import read_json, write_json
from ..stages.frame import stage_run
from ..stages.record import StageRun
from ..statistics.estimates import grouped_mean
from .groups import TELLING_COLUMNS, all_groups
from .loss_config import LossConfig
from .loss_samples import TrainedAs, tokenize
from .tables import loss_table


logger = logging.getLogger(__name__)

LOSSES_FILE = "losses.jsonl"
RESULTS_FILE = "results.json"
TRAJECTORIES_FILE = "trajectories.jsonl"
_WORK_FILE = "losses.work.jsonl"


def measure(config: LossConfig, run: StageRun) -> dict[str, Any]:
    """Measure the loss of every trajectory, write what comes out and return the content of `results.json`."""
    rows = config.load(["problem", "completion"])
    columns = _columns(config, rows)
    tokenizer = config.load_tokenizer(samples=False)
    trained = TrainedAs.of(config)
    samples = tokenize(rows, tokenizer, trained)
    # The first token of a sequence is never predicted
    prompt_lengths, lengths = (_lengths(samples, name) for name in ("prompt", "targets"))
    targets = np.where(prompt_lengths > 0, lengths, np.maximum(lengths - 1, 0)).tolist()
    losses: dict[int, float] = {}
    with AppendLog(run.output_dir / _WORK_FILE) as log:
        known = (row for _, row in log.rows() if row["row"] < len(rows))
        losses.update((row["row"], row["loss"]) for row in known if LOG_PROBS in row or not config.write_log_probs)
        missing = [index for index, count in enumerate(targets) if count and index not in losses]
        for batch in _measured(config, samples.select(missing)):
            found = [measured | {"row": missing[position]} for position, measured in batch]
            log.append(*found)
            losses.update((row["row"], row["loss"]) for row in found)
    kept = [index for index, count in enumerate(targets) if count]
    if not kept:
        raise UserError(f"none of the {len(rows)} trajectories has a token left to predict: raise max_length")
    results = {
        "model_name_or_path": config.model_name_or_path,
        "data": config.dataset_name,
        "prompting": dataclasses.asdict(trained),
        "trajectories": len(rows),
        "without_target": len(rows) - len(kept),
        "groups": _summaries(rows, kept, losses, targets, columns, config.most_values),
    }
    if config.write_log_probs:
        kept_log_probs = _KeptLogProbs(run.output_dir / _WORK_FILE)
        write_jsonl(run.output_dir / TRAJECTORIES_FILE, _with_log_probs(rows, samples, kept_log_probs))
    write_jsonl(run.output_dir / LOSSES_FILE, _loss_rows(rows, losses, targets, columns))
    write_json(run.output_dir / RESULTS_FILE, results)
    (run.output_dir / _WORK_FILE).unlink()
    return results


def _lengths(samples: Dataset, column: str) -> np.ndarray:
    """How many values each list of a column has."""
    return pyarrow.compute.list_value_length(samples.data[column]).to_numpy()


def _measured(config: LossConfig, samples: Dataset) -> Iterator[list[tuple[int, dict[str, Any]]]]:
    """Positions of the samples and their losses, with their log-probabilities if asked for, batch by batch."""
    from ..generation.forward import completion_forwards

    if not len(samples):
        return
    model = config.load_model()
    columns = samples["prompt"], samples["targets"]
    forwards = completion_forwards(model, *columns, (), config.batch_tokens, config.batch_size)
    hidden = not sys.stderr.isatty()
    for batch, output in track(forwards, description="loss", console=Console(stderr=True), disable=hidden):
        log_probs = output.log_probs.float().cpu().numpy()
        found = []
        for position, row in zip(batch, log_probs, strict=True):
            start, count = len(columns[0][position]), len(columns[1][position])
            # The token of the first place is predicted by none
            predicted = row[max(start - 1, 0) : start + count - 1]
            measured: dict[str, Any] = {"loss": float(-predicted.sum(dtype=np.float64) / len(predicted))}
            if config.write_log_probs:
                measured[LOG_PROBS] = encode_log_probs([*([] if start else [None]), *predicted.tolist()])
            found.append((position, measured))
        yield found


class _KeptLogProbs:
    """The log-probabilities that stand in a file of measured rows, by row: in memory is where each begins."""

    def __init__(self, path: Path):
        self._path = path
        self._places: dict[int, int] = {}
        with path.open("rb") as file:
            while line := file.readline():
                row = json.loads(line)
                if LOG_PROBS in row:
                    self._places[row["row"]] = file.tell() - len(line)

    def __enter__(self) -> "_KeptLogProbs":
        self._file = self._path.open("rb")
        return self

    def __exit__(self, *_: Any) -> None:
        self._file.close()

    def __getitem__(self, row: int) -> str:
        if row not in self._places:  # nothing was to be predicted
            return ""
        self._file.seek(self._places[row])
        return json.loads(self._file.readline())[LOG_PROBS]


def _with_log_probs(rows: RowTable, samples: Dataset, log_probs: _KeptLogProbs) -> Iterator[dict[str, Any]]:
    """The rows with the log-probabilities of their targets, and these."""
    with log_probs:
        for index, (row, sample) in enumerate(zip(rows, samples, strict=True)):
            yield row | {LOG_PROBS: log_probs[index], COMPLETION_IDS: encode_token_ids(sample["targets"])}


def _columns(config: LossConfig, rows: RowTable) -> list[str]:
    if config.by is None:
        values: dict[str, set[str]] = {name: set() for name in (LABEL_COLUMN, *TELLING_COLUMNS)}
        for row in rows:
            for name, known in values.items():
                known.add(json.dumps(row.get(name)))
        return [name for name, known in values.items() if len(known) > 1]
    for entry in config.by:
        for name in entry.split("+"):
            if name not in rows.types:
                raise UserError(f"by: the trajectories have no column {name!r} (there are {', '.join(rows.types)})")
    return list(dict.fromkeys(config.by))


def _summaries(
    rows: RowTable,
    kept: Sequence[int],
    losses: dict[int, float],
    targets: Sequence[int],
    columns: Sequence[str],
    most: int,
) -> dict[str, dict[str, dict[str, Any]]]:
    values = np.array([losses[index] for index in kept])
    counts = np.array([targets[index] for index in kept])
    problems = rows.problems[kept]
    names = {name for column in columns for name in column.split("+")}
    found: dict[str, list[Any]] = {name: [] for name in names}
    for row in rows.select(kept):
        for name in names:
            found[name].append(row.get(name))
    samples = LossHistory(epochs=[1], losses=values[None], is_correct=rows.labels[kept], columns=found)
    return {
        column: {value: _summary(values[mask], counts[mask], problems[mask]) for value, mask in masks.items()}
        for column, masks in all_groups(samples, columns, most).items()
    }


def _summary(losses: np.ndarray, counts: np.ndarray, problems: np.ndarray) -> dict[str, Any]:
    estimate = grouped_mean(losses, problems)
    quartiles = np.quantile(losses, [0.25, 0.5, 0.75])
    return {
        "samples": int(losses.size),
        "problems": estimate.n_groups,
        "tokens": int(counts.sum()),
        **estimate.as_entry("loss"),
        "loss_std": float(losses.std()),
        **{f"loss_{name}": float(mark) for name, mark in zip(("q25", "median", "q75"), quartiles, strict=True)},
        "token_loss": float((losses * counts).sum() / counts.sum()),
    }


def _loss_rows(
    rows: RowTable, losses: dict[int, float], targets: Sequence[int], columns: Sequence[str]
) -> Iterator[dict[str, Any]]:
    names = list(dict.fromkeys([LABEL_COLUMN, *(name for column in columns for name in column.split("+"))]))
    for index, row in enumerate(rows):
        yield {
            "sample_id": row["sample_id"],
            **{name: row[name] for name in names if row.get(name) is not None},
            "loss": losses.get(index),
            "n_tokens": targets[index],
        }


def run_loss(settings: Settings) -> dict[str, Any]:
    """Measure in the folder that the settings of the command name, or go on there; the content of `results.json`."""
    config: LossConfig = settings.config
    folder = config.checkpoint_folder()
    with stage_run(settings, config.output_dir, [*config.files, folder]) as run:
        results = read_json(run.output_dir / RESULTS_FILE) if run.is_complete else None
        if results is None:
            # A run that was killed has measured more than an earlier one left
            if (run.output_dir / LOSSES_FILE).is_file() and not (run.output_dir / _WORK_FILE).is_file():
                _keep_losses(run.output_dir)
            run.start()
            results = measure(config, run)
            run.complete()
    return results


def main(argv: Sequence[str] | None = None) -> None:
    """Run `glow-trl loss` with the arguments `argv`, by default those of the command line."""
    settings = parse_command("loss", sys.argv[1:] if argv is None else argv)
    results = run_loss(settings)
    Console().print(loss_table(results))
    say_results(Path(settings.config.output_dir))


def _keep_losses(output_dir: Path) -> None:
    """Take up again what was measured, to tell the losses apart by other columns or to have the log-probabilities."""
    losses = (row["loss"] for _, row in read_jsonl(output_dir / LOSSES_FILE))
    log_probs: Iterator[dict[str, Any]] = itertools.repeat({})
    if (output_dir / TRAJECTORIES_FILE).is_file():
        log_probs = ({LOG_PROBS: row[LOG_PROBS]} for _, row in read_jsonl(output_dir / TRAJECTORIES_FILE))
    rows = enumerate(zip(losses, log_probs, strict=False))
    write_jsonl(
        output_dir / _WORK_FILE,
        ({"row": index, "loss": loss} | kept for index, (loss, kept) in rows if loss is not None),
    )


if __name__ == "__main__":
    sys.exit(run_command("loss"))
