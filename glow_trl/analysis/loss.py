"""Loss of a checkpoint on trajectories that it need not have been trained on: `glow-trl loss --config FILE`."""

import dataclasses
import json
import logging
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..config import parse_stage
from ..data import build_prompt, write_jsonl
from ..data.config import PromptedRowsConfig
from ..errors import UserError
from ..generation.loading import load_model, load_tokenizer, local_folder
from ..handover import read_handover
from ..runs import StageRun, read_run, write_json
from .append_log import AppendLog
from .dynamics import groups_of
from .ledger import LABEL_COLUMN, LedgerData


if TYPE_CHECKING:
    from rich.table import Table
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

LOSSES_FILE = "losses.jsonl"
RESULTS_FILE = "results.json"
_WORK_FILE = "losses.work.jsonl"
_DEFAULT_COLUMNS = ("source", "model", "pattern")
_INCIDENTAL = ("batch_size", "batch_tokens", "by", "most_values")
# `SFTConfig`'s default
_TRAINED_MAX_LENGTH = 1024


@dataclass
class LossConfig(PromptedRowsConfig):
    r"""
    Which checkpoint's loss to measure, on what: [`~glow_trl.data.config.PromptedRowsConfig`] with trajectories, and

    Parameters:
        model_name_or_path (`str`):
            The checkpoint: a folder (full model or PEFT adapter) or a model id on the Hub. Prompts are rendered with
            the tokenizer saved with it, and with the system turn and template that it was trained with, where that is
            recorded beside it and nothing else is set.
        output_dir (`str`):
            Where to write `losses.jsonl` and `results.json`. Started again with the same settings, what is measured
            already is kept.
        max_length (`int`, *optional*):
            Sequences are cut after so many tokens; 0 for no cut. By default as the checkpoint was trained, where that
            is recorded beside it, else no cut.
        by (`list[str]`, *optional*):
            Columns to tell the trajectories apart by; `a+b` for each combination of two. By default the label, and of
            `source`, `model` and `pattern` those that have more than one value.
        most_values (`int`, *optional*, defaults to `20`):
            Values of a column that are told apart.
        batch_size (`int`, *optional*, defaults to `512`):
            Most sequences in a batch.
        batch_tokens (`int`, *optional*, defaults to `65536`):
            Most tokens in a batch. Lower it if memory runs out.
        dtype (`str`, *optional*, defaults to `"auto"`):
            Precision of the weights: `"auto"` (as saved), `"float32"`, `"bfloat16"` or `"float16"`.
        trust_remote_code (`bool`, *optional*, defaults to `False`):
            Whether code that comes with the checkpoint may run.
    """

    model_name_or_path: str | None = field(default=None, metadata={"help": "Checkpoint folder or model id."})
    output_dir: str | None = field(default=None, metadata={"help": "Where to write the losses."})
    max_length: int | None = field(
        default=None, metadata={"help": "Tokens that sequences are cut after (default: as trained; 0: no cut)."}
    )
    by: list[str] | None = field(default=None, metadata={"help": "Columns to tell the trajectories apart by."})
    most_values: int = field(default=20, metadata={"help": "Values of a column that are told apart."})
    batch_size: int = field(default=512, metadata={"help": "Most sequences in a batch."})
    batch_tokens: int = field(default=65536, metadata={"help": "Most tokens in a batch."})
    dtype: str = field(default="auto", metadata={"help": "auto, float32, bfloat16 or float16."})
    trust_remote_code: bool = field(default=False, metadata={"help": "Whether the checkpoint's code may run."})

    def __post_init__(self):
        super().__post_init__()
        for name in ("model_name_or_path", "output_dir"):
            if not getattr(self, name):
                raise UserError(f"{name} is not set: give it in the configuration file or as --{name}")
        for name in ("batch_size", "batch_tokens"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}: it must be at least 1")
        if self.most_values < 2:
            raise UserError(f"most_values is {self.most_values}: it must be at least 2")
        if self.max_length is not None and self.max_length < 0:
            raise UserError(f"max_length is {self.max_length}: it must be 0 (no cut) or more")


@dataclass(frozen=True)
class TrainedAs:
    """How a checkpoint's training samples were made.

    Args:
        system_prompt (`str` or `None`), prompt_template (`str` or `None`): of the prompts.
        max_length (`int` or `None`): tokens that sequences are cut after.
        completion_only (`bool`): whether the loss leaves the prompt out.
    """

    system_prompt: str | None
    prompt_template: str | None
    max_length: int | None
    completion_only: bool

    @classmethod
    def of(cls, config: LossConfig) -> "TrainedAs":
        """What `config` says, and what it leaves open as it is recorded beside the checkpoint."""
        folder = local_folder(config.model_name_or_path)
        handover = (read_handover(folder) if folder is not None else None) or {}
        run = (read_run(folder) if folder is not None else None) or {}
        trained = (run.get("config") or {}) if run.get("stage") == "sft" else None
        recorded = None if trained is None else trained.get("max_length", _TRAINED_MAX_LENGTH)
        max_length = recorded if config.max_length is None else config.max_length or None

        def prompt(name: str) -> str | None:
            given = getattr(config, name)
            return (handover.get(name) if given is None else given) or None

        return cls(
            system_prompt=prompt("system_prompt"),
            prompt_template=prompt("prompt_template"),
            max_length=max_length,
            completion_only=(trained or {}).get("completion_only_loss") is not False,
        )


def tokenize(
    rows: Sequence[dict[str, Any]], tokenizer: "PreTrainedTokenizerBase", trained: TrainedAs
) -> list[tuple[list[int], list[int]]]:
    """
    Token ids of each trajectory's prompt and targets, as [`~trl.SFTTrainer`] makes them of a conversational
    prompt-completion sample: the targets begin where prompt and whole part, and the whole is cut at its end.

    Args:
        rows (`list[dict]`): trajectories.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]): the tokenizer, with a chat template.
        trained ([`TrainedAs`]): how the samples are made.

    Returns:
        `list[tuple[list[int], list[int]]]`: prompt and targets; no targets for a sample that the cut leaves none.
    """
    if tokenizer.chat_template is None:
        raise UserError("the tokenizer has no chat template; save the one that was used in training with it")
    prompts = [
        build_prompt(row["problem"], trained.system_prompt, trained.prompt_template, row.get("choices") or None)
        for row in rows
    ]
    wholes = [
        [*prompt, {"role": "assistant", "content": row["completion"]}]
        for prompt, row in zip(prompts, rows, strict=True)
    ]
    prompt_ids = tokenizer.apply_chat_template(prompts, add_generation_prompt=True, return_dict=False)
    whole_ids = tokenizer.apply_chat_template(wholes, return_dict=False)
    samples = []
    for prompt, whole in zip(prompt_ids, whole_ids, strict=True):
        length = 0
        if trained.completion_only:
            while length < min(len(prompt), len(whole)) and prompt[length] == whole[length]:
                length += 1
        whole = whole[: trained.max_length]
        samples.append((whole[:length], whole[length:]))
    return samples


def measure(config: LossConfig, run: StageRun) -> dict[str, Any]:
    """
    Measure the loss of every trajectory and write what comes out.

    Args:
        config ([`LossConfig`]): the configuration.
        run ([`~glow_trl.runs.StageRun`]): the record of the run.

    Returns:
        `dict`: the content of `results.json`.

    Raises:
        UserError: something is wrong with the data or the checkpoint.
    """
    rows = config.load(["problem", "completion"])
    columns = _columns(config, rows)
    tokenizer = load_tokenizer(config.model_name_or_path, config.trust_remote_code)
    trained = TrainedAs.of(config)
    samples = tokenize(rows, tokenizer, trained)
    # The first token of a sequence is never predicted
    targets = [len(ids) if prompt else max(0, len(ids) - 1) for prompt, ids in samples]
    losses: dict[int, float] = {}
    with AppendLog(run.output_dir / _WORK_FILE) as log:
        losses.update((row["row"], row["loss"]) for row in log.rows if row["row"] < len(rows))
        missing = [index for index, count in enumerate(targets) if count and index not in losses]
        for batch in _losses(config, [samples[index] for index in missing]):
            found = [
                {"row": missing[position], "loss": total / targets[missing[position]]} for position, total in batch
            ]
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
    write_jsonl(run.output_dir / LOSSES_FILE, _loss_rows(rows, losses, targets, columns))
    write_json(run.output_dir / RESULTS_FILE, results)
    (run.output_dir / _WORK_FILE).unlink()
    return results


def _losses(config: LossConfig, samples: Sequence[tuple[list[int], list[int]]]) -> Iterator[list[tuple[int, float]]]:
    """Positions of the samples and their summed losses, batch by batch."""
    from rich.console import Console
    from rich.progress import track

    from ..evaluation.entropy import completion_forwards

    if not samples:
        return
    model = load_model(config.model_name_or_path, config.dtype, trust_remote_code=config.trust_remote_code)
    prompts, completions = zip(*samples, strict=True)
    forwards = completion_forwards(model, prompts, completions, (), config.batch_tokens, config.batch_size)
    hidden = not sys.stderr.isatty()
    for batch, output in track(forwards, description="loss", console=Console(stderr=True), disable=hidden):
        sums = -output.log_probs.double().sum(dim=1)
        yield list(zip(batch, sums.tolist(), strict=True))


def _columns(config: LossConfig, rows: Sequence[dict[str, Any]]) -> list[str]:
    known = list(dict.fromkeys(name for row in rows for name in row))
    if config.by is None:
        return [
            name for name in (LABEL_COLUMN, *_DEFAULT_COLUMNS) if len({json.dumps(row.get(name)) for row in rows}) > 1
        ]
    for entry in config.by:
        for name in entry.split("+"):
            if name not in known:
                raise UserError(f"by: the trajectories have no column {name!r} (there are {', '.join(known)})")
    return list(dict.fromkeys(config.by))


def _summaries(
    rows: Sequence[dict[str, Any]],
    kept: Sequence[int],
    losses: dict[int, float],
    targets: Sequence[int],
    columns: Sequence[str],
    most: int,
) -> dict[str, dict[str, dict[str, Any]]]:
    values = np.array([losses[index] for index in kept])
    counts = np.array([targets[index] for index in kept])
    problems = np.array([rows[index]["problem"] for index in kept], dtype=object)
    labels = [rows[index].get(LABEL_COLUMN) for index in kept]
    samples = LedgerData(
        epochs=[1],
        losses=values[None],
        is_correct=np.array([-1 if label is None else int(label) for label in labels]),
        columns={
            name: [rows[index].get(name) for index in kept] for name in {n for c in columns for n in c.split("+")}
        },
    )
    groups = {"all": {"all": np.ones(len(kept), dtype=bool)}}
    groups |= {column: groups_of(samples, column, most) for column in columns}
    return {
        column: {value: _summary(values[mask], counts[mask], problems[mask]) for value, mask in masks.items()}
        for column, masks in groups.items()
    }


def _summary(losses: np.ndarray, counts: np.ndarray, problems: np.ndarray) -> dict[str, Any]:
    from ..evaluation.statistics import grouped_mean

    estimate = grouped_mean(losses, problems)
    quartiles = np.quantile(losses, [0.25, 0.5, 0.75])
    return {
        "samples": int(losses.size),
        "problems": estimate.n_groups,
        "tokens": int(counts.sum()),
        "loss": estimate.mean,
        "loss_ci": [estimate.low, estimate.high] if estimate.n_groups > 1 else None,
        "loss_std": float(losses.std()),
        **{f"loss_{name}": float(mark) for name, mark in zip(("q25", "median", "q75"), quartiles, strict=True)},
        "token_loss": float((losses * counts).sum() / counts.sum()),
    }


def _loss_rows(
    rows: Sequence[dict[str, Any]], losses: dict[int, float], targets: Sequence[int], columns: Sequence[str]
) -> Iterator[dict[str, Any]]:
    names = list(dict.fromkeys([LABEL_COLUMN, *(name for column in columns for name in column.split("+"))]))
    for index, row in enumerate(rows):
        yield {
            "sample_id": row["sample_id"],
            **{name: row[name] for name in names if row.get(name) is not None},
            "loss": losses.get(index),
            "n_tokens": targets[index],
        }


def main(argv: Sequence[str] | None = None) -> None:
    """
    Run the stage.

    Args:
        argv (`list[str]`, *optional*): `--config FILE --key value ...`; by default the command line.

    Raises:
        UserError: something is wrong with configuration, data or model.
    """
    from rich.console import Console
    from transformers.utils.logging import disable_progress_bar

    argv = sys.argv[1:] if argv is None else argv
    (config,), settings = parse_stage([LossConfig], argv, "glow-trl loss", "the loss stage")
    disable_progress_bar()
    folder = local_folder(config.model_name_or_path)
    inputs = [*config.files, *([] if folder is None else [folder])]
    lasting = {key: value for key, value in settings.items() if key not in _INCIDENTAL}
    run = StageRun("loss", config.output_dir, lasting, inputs)
    by = {"by": config.by, "most_values": config.most_values}
    results_file = Path(config.output_dir) / RESULTS_FILE
    if run.is_complete and run.record.get("shown") == by and results_file.is_file():
        logger.warning("loss: %s is complete, nothing to do", run.output_dir)
        results = json.loads(results_file.read_text(encoding="utf-8"))
    else:
        if run.is_complete:
            _keep_losses(run.output_dir)
        run.start()
        try:
            results = measure(config, run)
        except BaseException:
            run.interrupt()
            raise
        run.complete(shown=by)
    Console().print(loss_table(results))


def _keep_losses(output_dir: Path) -> None:
    """Take the measured losses up again, to tell them apart by other columns."""
    lines = (output_dir / LOSSES_FILE).read_text(encoding="utf-8").splitlines()
    rows = ((index, json.loads(line)["loss"]) for index, line in enumerate(lines))
    write_jsonl(output_dir / _WORK_FILE, ({"row": index, "loss": loss} for index, loss in rows if loss is not None))


def loss_table(results: dict[str, Any]) -> "Table":
    """The losses by column, as a table for the terminal."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from ..report.numbers import number

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("trajectories", min_width=22)
    for title in ("count", "loss", "95 %", "median", "per token"):
        table.add_column(title, justify="right", no_wrap=True)
    for column, groups in results["groups"].items():
        if column != "all":
            table.add_row(Text(f"by {column}", style="bold"))
        for value, row in groups.items():
            ends = "" if row["loss_ci"] is None else "–".join(number(end, 4) for end in row["loss_ci"])
            cells = [value if column == "all" else f"  {value}", f"{row['samples']:,}", number(row["loss"], 4), ends]
            table.add_row(*map(Text, [*cells, number(row["loss_median"], 4), number(row["token_loss"], 4)]))
    return table


if __name__ == "__main__":
    from ..cli import run_stage

    sys.exit(run_stage(main))
