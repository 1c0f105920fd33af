"""Training dynamics of a run: `glow-trl dynamics FOLDER [--by COLUMN ...] [--export FILE.parquet]`."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from ..data import write_jsonl
from ..data.loss_history import HISTORY_DIR, LABEL_COLUMN, LossHistory, recorded_epochs
from ..errors import UserError
from ..stages.command import run_command
from ..stages.config import as_mapping, parse_command, setting
from ..stages.console import say_results
from ..stages.files import make_writable, write_json
from ..stages.frame import refuse_overwriting, stage_run, writing
from ..stages.record import provenance, read_run
from .data_map import DEFINITION, DataMap, data_map
from .export import long_table, sample_table, write_parquet
from .groups import ALL, all_groups, group_tables, telling_columns
from .tables import dynamics_table, token_weights_table
from .weights import RunWeighting, token_table


RESULTS_FILE = "dynamics.json"
SAMPLES_FILE = "samples.parquet"
LONG_FILE = "samples_long.parquet"
NEVER_IMPROVED_FILE = "never_improved.jsonl"


@dataclass
class DynamicsConfig:
    r"""
    What to analyze, and how.

    Parameters:
        run_dir (`str`):
            An SFT stage's folder, the folder of an arm, or a whole run's; also the first argument of the command.
        output_dir (`str`, *optional*):
            Where to write; by default `dynamics` in the folder of the SFT stage. With several arms, a folder for each
            is made in it.
        by (`list[str]`, *optional*):
            Columns to tell the samples apart by; `a+b` for each combination of two. By default the label, and of
            `source`, `model` and `pattern` those that have more than one value.
        data (`list[str]`, *optional*):
            Files with further columns of the trajectories, joined by `sample_id`. By default what the stage was
            trained on, when a column of `by` is only there.
        columns (`dict[str, str]`, *optional*):
            Columns that are named otherwise in these files.
        most_values (`int`, *optional*, defaults to `20`):
            Values of a column that are told apart; the rarer ones are put together.
        reference_epoch (`int`, *optional*):
            Epoch that later ones are compared with to find the samples that never improve; by default the first.
        min_improvement (`float`, *optional*, defaults to `0.0`):
            Fall of the loss, in nats per token, that counts as an improvement.
        export (`str`, *optional*):
            Where to write the table of the samples; by default `samples.parquet` in `output_dir`.
        long (`bool`, *optional*, defaults to `False`):
            Whether to write `samples_long.parquet` as well, one row for each sample and epoch.
    """

    run_dir: str | None = setting(None, "Folder of an SFT stage, an arm or a run.", positional=True, required=True)
    output_dir: str | None = setting(None, "Where to write (default: in the stage's folder).")
    by: list[str] | None = setting(None, "Columns to tell the samples apart by.")
    data: list[str] | None = setting(None, "Files with further columns of the samples.")
    columns: dict[str, str] | str | None = setting(None, "Columns named otherwise in these files.")
    most_values: int = setting(20, "Values of a column that are told apart.")
    reference_epoch: int | None = setting(None, "Epoch that later ones are compared with (default: the first).")
    min_improvement: float = setting(0.0, "Fall of the loss that counts, in nats per token.")
    export: str | None = setting(None, "Where to write the table of the samples.")
    long: bool = setting(False, "Whether to write one row a sample and epoch as well.")

    def __post_init__(self):
        if not self.run_dir:
            raise UserError("name the folder of an SFT stage or of a run: glow-trl dynamics outputs/quickstart")
        if self.most_values < 2:
            raise UserError(f"most_values is {self.most_values}: it must be at least 2")
        if not np.isfinite(self.min_improvement) or self.min_improvement < 0:
            raise UserError(f"min_improvement is {self.min_improvement}: it must be 0 or more, in nats per token")
        if self.export is not None and not self.export.endswith(".parquet"):
            raise UserError(f"export is {self.export!r}: the name must end in .parquet")
        self.columns = as_mapping(self.columns, "columns")


def sft_folders(folder: Path) -> dict[str, Path]:
    """
    The SFT stages in a folder that have recorded an epoch, by arm; one without a name (`""`) if the folder is a
    stage's or an arm's.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    for stage in (folder, folder / "sft"):
        if recorded_epochs(stage / HISTORY_DIR):
            return {"": stage}
    found = {stage.parent.name: stage for stage in folder.glob("*/sft") if recorded_epochs(stage / HISTORY_DIR)}
    if not found:
        raise UserError(
            f"{folder}: no losses found (looked for {HISTORY_DIR} in it, in sft and in */sft); GLOW SFT writes them "
            "at the end of each epoch"
        )
    return dict(sorted(found.items()))


def analyze(config: DynamicsConfig) -> dict[str, dict[str, Any]]:
    """Analyze the SFT stages of a folder, write what comes out and return each arm's `dynamics.json`, by arm."""
    results = {}
    for arm, (stage, output_dir) in _places(config).items():
        make_writable(output_dir)
        results[arm] = _analyze_stage(config, stage, output_dir)
    return results


def _places(config: DynamicsConfig) -> dict[str, tuple[Path, Path]]:
    """The folder of each arm's SFT stage, and where its analysis goes."""
    stages = sft_folders(Path(config.run_dir))
    if len(stages) > 1 and config.export is not None:
        raise UserError(
            f"export names one file and {config.run_dir} has {len(stages)} arms ({', '.join(stages)}); name the "
            "folder of one, or use output_dir"
        )
    return {
        arm: (stage, stage / "dynamics" if config.output_dir is None else Path(config.output_dir) / arm)
        for arm, stage in stages.items()
    }


def _analyze_stage(config: DynamicsConfig, stage: Path, output_dir: Path) -> dict[str, Any]:
    ledger = LossHistory.read(stage / HISTORY_DIR)
    if ledger is None:
        raise UserError(f"{stage / HISTORY_DIR}: none of the files of losses can be read")
    if config.reference_epoch is not None and config.reference_epoch not in ledger.epochs:
        raise UserError(
            f"reference_epoch: epoch {config.reference_epoch} was not recorded in {stage / HISTORY_DIR}, which has "
            f"{', '.join(map(str, ledger.epochs))}"
        )
    record = read_run(stage) or {}
    by = _columns(config, ledger, record.get("config") or {})
    weighting = RunWeighting.from_record(record)
    cartography = data_map(ledger, config.reference_epoch, config.min_improvement)
    results = {
        "samples": len(ledger),
        "visited": int((~np.isnan(ledger.losses)).any(axis=0).sum()),
        "epochs": ledger.epochs,
        "weighting": {"names": weighting.names, "parameters": weighting.parameters},
        "groups": group_tables(ledger, weighting, by, config.most_values),
        "token_weights": {epoch: token_table(weights, weighting) for epoch, weights in ledger.token_weights.items()},
        "data_map": _map_summary(ledger, cartography, by, config.most_values),
        **provenance(),
    }
    never = (_never_row(ledger, cartography, index) for index in cartography.hardest())
    write_jsonl(output_dir / NEVER_IMPROVED_FILE, never)
    export = output_dir / SAMPLES_FILE if config.export is None else Path(config.export)
    write_parquet(export, sample_table(ledger, weighting, cartography))
    if config.long:
        write_parquet(export.with_name(LONG_FILE), long_table(ledger, weighting))
    write_json(output_dir / RESULTS_FILE, results)
    return results | {"files": {"results": str(output_dir / RESULTS_FILE), "samples": str(export)}}


def _sources(config: DynamicsConfig, stage: Path) -> list[str]:
    """Where further columns come from: `data`, or what the stage was trained on."""
    sources = config.data or ((read_run(stage) or {}).get("config") or {}).get("dataset_name") or []
    return [sources] if isinstance(sources, str) else list(sources)


def _columns(config: DynamicsConfig, ledger: LossHistory, run: dict[str, Any]) -> list[str]:
    """The columns to tell the samples apart by, joined to the ledger where they come from other files."""
    wanted = list(config.by or [])
    names = list(dict.fromkeys(name for entry in wanted for name in entry.split("+")))
    # The label is always there, if only as "unknown"
    missing = [name for name in names if name not in (LABEL_COLUMN, *ledger.columns)]
    if config.data or missing:
        sources = config.data or run.get("dataset_name")
        if not sources:
            raise UserError(
                f"by: the samples have no column {missing[0]!r} (there are "
                f"{', '.join([LABEL_COLUMN, *ledger.columns])}); name the file that has it as --data"
            )
        mapping = config.columns if config.data else as_mapping(run.get("columns"), "columns")
        placed = {"split": run.get("dataset_train_split"), "config_name": run.get("dataset_config")}
        placed |= {} if config.data else {"patterns": run.get("patterns")}
        placed = {key: value for key, value in placed.items() if value is not None}
        from ..data.table import load_table

        rows = load_table(sources, columns=mapping, **placed)
        known = rows.types.keys()
        for name in missing:
            if name not in known:
                raise UserError(f"by: neither the samples nor {sources} have a column {name!r}")
        ledger.join(rows, missing if missing else [name for name in names if name in known])
    if wanted:
        return list(dict.fromkeys([LABEL_COLUMN, *wanted]))
    return telling_columns(ledger.columns)


def _map_summary(ledger: LossHistory, cartography: DataMap, by: Sequence[str], most: int) -> dict[str, Any]:
    return {
        "definition": DEFINITION,
        "reference_epoch": cartography.reference_epoch,
        "min_improvement": cartography.min_improvement,
        "groups": {
            column: {value: cartography.counts(mask) for value, mask in values.items()}
            for column, values in all_groups(ledger, by, most).items()
        },
    }


def _never_row(ledger: LossHistory, cartography: DataMap, index: int) -> dict[str, Any]:
    label = int(ledger.is_correct[index])
    return {
        "sample_id": ledger.sample_ids[index] if ledger.sample_ids else f"row {index}",
        **({} if label < 0 else {LABEL_COLUMN: bool(label)}),
        **{name: values[index] for name, values in ledger.columns.items() if values[index] is not None},
        "mean_loss": float(cartography.mean_loss[index]),
        "variability": float(cartography.variability[index]),
        "losses": {
            str(epoch): float(ledger.losses[row, index])
            for row, epoch in enumerate(ledger.epochs)
            if not np.isnan(ledger.losses[row, index])
        },
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Run `glow-trl dynamics` with the arguments `argv`, by default those of the command line."""
    settings = parse_command("dynamics", sys.argv[1:] if argv is None else argv)
    config: DynamicsConfig = settings.config
    console = Console()
    for arm, (stage, output_dir) in _places(config).items():
        sources = _sources(config, stage)
        refuse_overwriting(output_dir, sources)
        with writing(config.export, sources), stage_run(settings, output_dir, recomputes=True) as run:
            run.start()
            results = _analyze_stage(config, stage, output_dir)
            run.complete()
        console.print(dynamics_table(arm, results))
        if (tokens := token_weights_table(results)) is not None:
            console.print(tokens)
        counts = results["data_map"]["groups"][ALL][ALL]
        console.print(f"{counts['never_improved']:,} of {counts['comparable']:,} samples never improved")
        say_results(*results["files"].values())


if __name__ == "__main__":
    sys.exit(run_command("dynamics"))
