"""Labels trajectories: is each one's final answer right?"""

import logging
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..config import parse_stage
from ..data import write_jsonl
from ..data.config import RowsConfig
from ..errors import UserError
from ..runs import StageRun
from ..verifiers import Verdict, VerifierPool, check_gold


logger = logging.getLogger(__name__)

_CHUNK = 512


@dataclass
class LabelConfig(RowsConfig):
    r"""
    Which trajectories to label, and how: [`~glow_trl.data.config.RowsConfig`], and

    Parameters:
        output_dir (`str`):
            Where to write `trajectories.jsonl` (the rows with `is_correct`, `extracted` and `reason`),
            `rejects.jsonl` (the rows that could not be judged, and why) and, when the rows bring an `is_correct` of
            their own, `disagreements.jsonl`.
        kind (`str`, *optional*, defaults to `"math"`):
            Verifier of the rows that have no `kind` of their own.
        timeout (`float`, *optional*, defaults to `5.0`):
            Wall-clock limit of one comparison, in seconds.
        workers (`int`, *optional*):
            Number of verifier processes; by default the number of cores.
    """

    output_dir: str | None = field(default=None, metadata={"help": "Where to write the labelled trajectories."})
    kind: str = field(default="math", metadata={"help": "Verifier of the rows without a `kind` of their own."})
    timeout: float = field(default=5.0, metadata={"help": "Wall-clock limit of one comparison, in seconds."})
    workers: int | None = field(default=None, metadata={"help": "Number of verifier processes."})

    def __post_init__(self):
        super().__post_init__()
        if not self.output_dir:
            raise UserError("output_dir is required: where to write the labelled trajectories")


def label(config: LabelConfig, run: StageRun) -> dict[str, Any]:
    """
    Label the trajectories and write them.

    Args:
        config ([`LabelConfig`]): the configuration.
        run ([`~glow_trl.runs.StageRun`]): the record of the run.

    Returns:
        `dict`: counts of `rows`, `positive`, `negative`, `rejected`, and of the verdicts by `reason`; and with labels
        in the data `compared`, `disagreements` and `agreement` (their share that agrees).

    Raises:
        UserError: a row lacks something, or none of them can be judged.
    """
    from rich.progress import track

    rows = config.load(["problem", "completion", "answer"])
    with VerifierPool(workers=config.workers, timeout=config.timeout) as pool:
        gold = check_gold(rows, kind=config.kind, timeout=config.timeout, pool=pool)
        if not gold.usable:
            raise UserError(f"{gold.summary()}; correct the answers or their `kind`")
        chunks = range(0, len(rows), _CHUNK)
        verdicts: list[Verdict] = []
        for start in track(chunks, description="label", disable=not sys.stderr.isatty()):
            verdicts += _judge(rows[start : start + _CHUNK], config, pool)

    judged = [(row, verdict) for row, verdict in zip(rows, verdicts, strict=True) if verdict.judged]
    if not judged:
        raise UserError(f"none of the {len(rows)} trajectories could be judged")
    rejects = ((row, verdict) for row, verdict in zip(rows, verdicts, strict=True) if not verdict.judged)
    compared = [(row, verdict) for row, verdict in judged if row.get("is_correct") is not None]
    disagreements = [(row, verdict) for row, verdict in compared if row["is_correct"] != verdict.correct]
    write_jsonl(run.output_dir / "trajectories.jsonl", _labelled(judged))
    rejected = write_jsonl(run.output_dir / "rejects.jsonl", _labelled(rejects))
    positive = sum(verdict.correct is True for _, verdict in judged)
    facts = {
        "rows": len(rows),
        "positive": positive,
        "negative": len(judged) - positive,
        "rejected": rejected,
        "unusable_gold": len(gold.failures),
        "reasons": dict(Counter(verdict.reason for verdict in verdicts).most_common()),
    }
    if compared:
        write_jsonl(
            run.output_dir / "disagreements.jsonl",
            _labelled((row | {"is_correct_given": row["is_correct"]}, verdict) for row, verdict in disagreements),
        )
        facts |= {
            "compared": len(compared),
            "disagreements": len(disagreements),
            "agreement": 1 - len(disagreements) / len(compared),
        }
    return facts


def _judge(rows: list[dict[str, Any]], config: LabelConfig, pool: VerifierPool) -> list[Verdict]:
    return pool.verify_batch(
        [row["completion"] for row in rows],
        [row["answer"] for row in rows],
        [row.get("kind") or config.kind for row in rows],
        timeout=config.timeout,
        choices=[row.get("choices") for row in rows],
        tolerances=[row.get("tolerance") for row in rows],
    )


def _labelled(pairs: Iterable[tuple[dict[str, Any], Verdict]]) -> Iterator[dict[str, Any]]:
    for row, verdict in pairs:
        yield row | {"is_correct": verdict.correct, "extracted": verdict.extracted, "reason": verdict.reason}


def main(argv: Sequence[str] | None = None) -> None:
    """
    Run the stage.

    Args:
        argv (`list[str]`, *optional*): `--config FILE --key value ...`; by default the command line.

    Raises:
        UserError: something is wrong with configuration or data.
    """
    argv = sys.argv[1:] if argv is None else argv
    (config,), settings = parse_stage([LabelConfig], argv, "glow-trl label", "the label stage")
    run = StageRun("label", config.output_dir, settings, config.files)
    if run.is_complete:
        logger.warning("label: %s is complete, nothing to do", run.output_dir)
        return
    run.start()
    facts = label(config, run)
    run.complete(**facts)
    logger.warning("label: %s", summary(facts))


def summary(facts: dict[str, Any]) -> str:
    """One line about what was labelled."""
    text = f"{facts['rows']:,} trajectories: {facts['positive']:,} positive, {facts['negative']:,} negative"
    if facts["rejected"]:
        text += f", {facts['rejected']:,} could not be judged (see rejects.jsonl)"
    if "agreement" in facts:
        text += (
            f"; {facts['agreement']:.2%} agree with the labels in the data, {facts['disagreements']:,} do not (see "
            "disagreements.jsonl)"
        )
    return text
