"""Settings of an audit."""

from dataclasses import dataclass

from ...errors import UserError
from ...generation import EngineConfig, engine_class
from ...stages.config import as_mapping, setting
from ...verifiers import load_kind


@dataclass
class AuditConfig(EngineConfig):
    r"""
    Which rollouts to audit, and how. With `model_name_or_path` a model judges the sample, too, on an engine of
    [`~glow_trl.generation.EngineConfig`].

    Parameters:
        source (`str`):
            A file with trajectories (JSONL or Parquet), or a folder with rollouts anywhere in it: what GRPO saves with
            `log_completions`, the generations of `eval`, trajectories. Also the first argument of the command.
        output_dir (`str`):
            Where to write `results.json`, `audit.html`, `disagreements.jsonl` (the rows on which the judges differ),
            `relabelled.jsonl` (all rows with `is_correct`, `extracted` and `reason` as judged now; `is_correct` is
            null where `label` would reject the row), `rejects.jsonl` and `to_label.jsonl`, the sample: put `true` or
            `false` for `label` there (is the final answer right?), and run the command again.
        columns (`dict[str, str]`, *optional*):
            Columns that are named otherwise in the data; `gold`, `solution`, `prompt`, `question` and `prediction` are
            found without it.
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
        limit (`int`, *optional*):
            Number of rows to use at most, from the first on.
        per_cell (`int`, *optional*, defaults to `30`):
            How many rows of each cell (what the judges say, together) are drawn by `seed` for the sample.
        model_name_or_path (`str`, *optional*):
            A model that judges the sample. Its answers are kept in `answers-*.jsonl`.
        max_new_tokens (`int`, *optional*, defaults to `1024`):
            Its answers are cut after this many tokens.
        temperature (`float`, *optional*, defaults to `0.0`):
            Its sampling temperature.
    """

    source: str = setting("", "A file or folder with rollouts.", positional=True, required=True)
    output_dir: str | None = setting(None, "Where to write what is found.", required=True)
    columns: dict[str, str] | str | None = setting(None, "Columns that are named otherwise: {answer: gold}.")
    kind: str = setting("math", "Verifier of the rows without a `kind` of their own.")
    kinds: list[str] = setting([], "Verifiers of your own that rows name: my_module:my_function.")
    restated: str = setting(
        "reject",
        "Answers that only restate the question: accept, reject or strict.",
        choices=["accept", "reject", "strict"],
    )
    timeout: float = setting(5.0, "Limit of one comparison, in seconds of the processor.")
    workers: int | None = setting(None, "Number of verifier processes.", changeable=True)
    limit: int | None = setting(None, "Number of rows to use at most.")
    per_cell: int = setting(30, "Rows of the sample from each cell.")
    model_name_or_path: str | None = setting(None, "A model that judges the sample.")
    max_new_tokens: int = setting(1024, "The model's answers are cut after this many tokens.")
    temperature: float = setting(0.0, "The model's sampling temperature.")

    def __post_init__(self):
        super().__post_init__()
        if not self.source or not self.output_dir:
            raise UserError("name what to audit (source) and where to write it: audit RUN_OR_FILE --output_dir DIR")
        self.columns = as_mapping(self.columns, "columns")
        for name in ("workers", "limit", "per_cell"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"{name} is {value}: it must be at least 1")
        for kind in (self.kind, *self.kinds):
            load_kind(kind)
        if self.model_name_or_path:
            engine_class(self.engine)
