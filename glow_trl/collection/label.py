"""Labels trajectories: is each one's final answer right?"""

import contextlib
import logging
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ..data import JsonlWriter, NoUsableRows, Place, Reject, RejectsFile
from ..data.config import RowsConfig
from ..errors import UserError
from ..stages.command import run_command
from ..stages.config import parse_command, setting
from ..stages.console import progress, say_results
from ..stages.dotted import own_code
from ..stages.frame import stage_run
from ..stages.record import StageRun
from ..verifiers import Verdict, load_kind
from ..verifiers.kinds.kind import Options
from ..verifiers.restated import without_copies
from ..verifiers.rows import find_judging_fault
from ..verifiers.workers.supervisor import available_cores
from .labelling.judging import Question, judge_in_order
from .labelling.pass_rates import PassRates


logger = logging.getLogger(__name__)

_UNJUDGED = {
    "bad_gold": "the gold answer is unusable",
    "timeout": "the comparison ran past its time limit",
    "error": "the comparison broke (out of memory, say)",
}


@dataclass
class LabelConfig(RowsConfig):
    r"""
    Which trajectories to label, and how: [`~glow_trl.data.config.RowsConfig`], and

    Parameters:
        output_dir (`str`):
            Where to write `trajectories.jsonl` (the rows with `is_correct`, `extracted` and `reason`),
            `pass_rates.jsonl` (for each question how many trajectories there are and how many are right),
            `rejects.jsonl` (the rows that could not be judged: where they stand, and why) and, when the rows bring an
            `is_correct` of their own, `disagreements.jsonl`.
        kind (`str`, *optional*, defaults to `"math"`):
            Verifier of the rows that have no `kind` of their own; `my_module:my_function` for one of yours.
        kinds (`list[str]`, *optional*):
            Verifiers of your own that rows name as their `kind`, likewise.
        restated (`str`, *optional*, defaults to `"reject"`):
            What an answer is worth that only restates the question: `"reject"`, it is wrong;
            `"strict"`, so for one that is lightly edited; `"accept"`, it counts.
        timeout (`float`, *optional*, defaults to `5.0`):
            Limit of one comparison, in seconds of the processor.
        workers (`int`, *optional*):
            Number of verifier processes; by default the number of cores.
    """

    output_dir: str | None = setting(None, "Where to write the labelled trajectories.", required=True)
    kind: str = setting("math", "Verifier of the rows without a `kind` of their own.")
    kinds: list[str] = setting([], "Verifiers of your own that rows name: my_module:my_function.")
    restated: str = setting(
        "reject",
        "Answers that only restate the question: accept, reject or strict.",
        choices=["accept", "reject", "strict"],
    )
    timeout: float = setting(5.0, "Limit of one comparison, in seconds of the processor.")
    workers: int | None = setting(None, "Number of verifier processes.", changeable=True)

    def __post_init__(self):
        super().__post_init__()
        if not self.output_dir:
            raise UserError("output_dir is required: where to write the labelled trajectories")
        if self.workers is not None and self.workers < 1:
            raise UserError(f"workers is {self.workers}: it must be at least 1")
        for kind in (self.kind, *self.kinds):
            load_kind(kind)


def label(config: LabelConfig, run: StageRun) -> dict[str, Any]:
    """
    Label the trajectories and write them, one after another: memory does not grow with their texts. A run that was
    interrupted starts over; it takes a minute for some 100,000 rows.

    Returns the facts for the record of the run. In these `unusable_gold` counts rows whose gold answer its own
    verifier turns down, `repeated_ids` ids that repeated another and were made unique, and `agreement` is the share of
    the labels in the data that agrees.
    """
    started = time.perf_counter()
    with (
        RejectsFile(run.output_dir / "rejects.jsonl") as rejects,
        _Output(run.output_dir / "trajectories.jsonl") as output,
        progress() as bars,
    ):
        judged = judge_in_order(_usable_rows(config, rejects), config.workers or available_cores(), config.timeout)
        for (place, row), judgement in bars.track(judged, description="label"):
            verdict = without_copies(judgement.verdict, row["answer"], row["problem"], config.restated)
            if not judgement.gold_is_usable:
                output.unusable_gold += 1
            if judgement.is_judged:
                output.add(row, verdict)
            else:
                reason = verdict.reason if not verdict.judged else "bad_gold"
                output.reasons[reason] += 1
                detail = f": {_UNJUDGED[reason]} ({row['answer']!r:.60})"
                rejects(Reject(place.file, place.number, reason, detail, row, unit=place.unit))
        if not output.judged:
            raise NoUsableRows(
                f"none of the {rejects.count:,} trajectories could be judged ({_counts(rejects.counts)}); see "
                f"{run.output_dir / 'rejects.jsonl'}"
            )
    rows = output.judged + rejects.count
    return {
        "rows": rows,
        "positive": output.positive,
        "negative": output.judged - output.positive,
        "rejected": rejects.count,
        "reject_reasons": dict(rejects.counts.most_common()),
        "unusable_gold": output.unusable_gold,
        "repeated_ids": output.repeated_ids,
        "reasons": dict(output.reasons.most_common()),
        "rows_per_second": round(rows / (time.perf_counter() - started), 1),
        **output.pass_rates.facts,
        **output.comparison,
    }


class _Output:
    """The files of the rows that were judged, and what there is to say about them."""

    def __init__(self, path):
        self._path = path
        self._ids: set[int] = set()
        self._stack = contextlib.ExitStack()
        self._disagreements: JsonlWriter | None = None
        self.judged = self.positive = self.compared = self.unusable_gold = self.repeated_ids = 0
        self.reasons: Counter[str] = Counter()

    def add(self, row: dict[str, Any], verdict: Verdict) -> None:
        given = row.get("is_correct")
        row = row | {
            "sample_id": self._unique(row["sample_id"]),
            "is_correct": verdict.correct,
            "extracted": verdict.extracted,
            "reason": verdict.reason,
        }
        self._rows.write(row)
        self.pass_rates.add(row, verdict.correct)
        self.judged += 1
        self.positive += verdict.correct
        self.reasons[verdict.reason] += 1
        if given is not None:
            if self._disagreements is None:
                file = JsonlWriter(self._path.with_name("disagreements.jsonl"))
                self._disagreements = self._stack.enter_context(file)
            self.compared += 1
            if given != verdict.correct:
                self._disagreements.write(row | {"is_correct_given": given})

    def _unique(self, sample_id: str) -> str:
        """The id, with a number behind it if another row has it. Of each id a hash of 8 bytes is kept."""
        name = sample_id
        while hash(name) in self._ids:
            name = f"{sample_id}#{self.judged + 1}" if name == sample_id else name + "#"
        self.repeated_ids += name != sample_id
        self._ids.add(hash(name))
        return name

    @property
    def comparison(self) -> dict[str, Any]:
        if not self.compared:
            return {}
        count = self._disagreements.count
        return {"compared": self.compared, "disagreements": count, "agreement": 1 - count / self.compared}

    def __enter__(self) -> "_Output":
        self._rows = self._stack.enter_context(JsonlWriter(self._path))
        self.pass_rates = self._stack.enter_context(PassRates(self._path.with_name("pass_rates.jsonl")))
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        self._stack.__exit__(kind, error, trace)


def _usable_rows(config: LabelConfig, rejects: RejectsFile) -> Iterator[tuple[tuple[Place, dict], str, Question]]:
    for place, row in config.iter_placed(("problem", "completion", "answer"), rejects):
        fault = find_judging_fault(row, config.kind)
        if fault is not None:
            rejects(Reject(place.file, place.number, *fault, row, unit=place.unit))
            continue
        options = Options.of(row.get("choices"), row.get("tolerance"))
        yield (place, row), row["completion"], Question(row["answer"], row.get("kind") or config.kind, options)


def _counts(counts: Counter[str]) -> str:
    return ", ".join(f"{count:,} {reason}" for reason, count in counts.most_common())


def main(argv: Sequence[str] | None = None) -> None:
    """Run `glow-trl label` with the arguments `argv`, by default those of the command line."""
    settings = parse_command("label", sys.argv[1:] if argv is None else argv)
    config: LabelConfig = settings.config
    code = own_code([config.kind, *config.kinds], "kind, kinds")
    with stage_run(settings, config.output_dir, [*config.files, *code]) as run:
        if run.is_complete:
            return
        run.start()
        facts = label(config, run)
        run.complete(**facts)
    logger.warning("label: %s", summary(facts))
    say_results(run.output_dir)


def summary(facts: dict[str, Any]) -> str:
    """One line about what was labelled."""
    text = f"{facts['rows']:,} trajectories: {facts['positive']:,} positive, {facts['negative']:,} negative"
    if facts["rejected"]:
        reasons = _counts(Counter(facts["reject_reasons"]))
        text += f", {facts['rejected']:,} could not be judged ({reasons}; see rejects.jsonl)"
    if "agreement" in facts:
        text += (
            f"; {facts['agreement']:.2%} agree with the labels in the data, {facts['disagreements']:,} do not (see "
            "disagreements.jsonl)"
        )
    return text


if __name__ == "__main__":
    sys.exit(run_command("label"))
