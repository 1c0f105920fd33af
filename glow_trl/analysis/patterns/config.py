"""What `annotate.yaml` may say."""

from dataclasses import dataclass
from typing import Any

from ...data.config import RowsConfig
from ...errors import UserError
from ...generation import EngineConfig
from ...stages.config import setting


@dataclass
class AnnotateConfig(EngineConfig, RowsConfig):
    r"""
    Which trajectories to annotate, with what: [`~glow_trl.data.config.RowsConfig`] with trajectories (`problem`,
    `completion`, and for a comparison of labels `is_correct`), [`~glow_trl.generation.EngineConfig`] with the model
    that judges, whose `seed` also chooses the trajectories and which at temperature 0 is asked once, and

    Parameters:
        output_dir (`str`):
            Where to write `annotations.jsonl` and `results.json`.
        taxonomy (`str`, *optional*, defaults to `"reasoning"`):
            `"reasoning"`, `"quickstart"`, or the path of a YAML file; see [`load_taxonomy`].
        judge (`str`, *optional*, defaults to `"llm"`):
            `"llm"`, `"rule"` (recomputes the quickstart's chains), or `package.module:Class`, a [`Judge`].
        max_new_tokens (`int`, *optional*, defaults to `2048`):
            Answers are cut after this many tokens.
        num_judgements (`int`, *optional*, defaults to `1`):
            Judgements of each trajectory. A pattern counts if more than half of the valid ones name it; with two or
            more their agreement is reported.
        max_retries (`int`, *optional*, defaults to `2`):
            Further attempts for a judgement whose answer is not of the required form. One that stays so is recorded
            as invalid and counted.
        require_quotes (`bool`, *optional*, defaults to `False`):
            Whether an answer is invalid if a quote does not stand in the trajectory. Otherwise such quotes are
            counted.
        show_answer (`bool`, *optional*, defaults to `False`):
            Whether the judge is told the gold answer. By default it knows neither that nor the label.
        chat_template_kwargs (`dict`, *optional*):
            Variables of the judge's chat template, `{enable_thinking: false}` for example.
        prompt_file (`str`, *optional*):
            A text with `{taxonomy}`, `{problem}` and `{completion}` in place of the shipped prompt.
        per_label (`int`, *optional*):
            At most so many positive and so many negative trajectories, drawn by `seed`; by default all.
        truth_column (`str`, *optional*):
            Column with the true patterns (a list of ids), to compare with.
        cache_dir (`str`, *optional*):
            Where answers are kept; by default `cache` in `output_dir`. Runs can share one.
    """

    output_dir: str | None = setting(None, "Where to write annotations and results.", required=True)
    model_name_or_path: str | None = setting(None, "The judge's model, for the judge llm.")
    taxonomy: str = setting("reasoning", "reasoning, quickstart, or a YAML file.")
    judge: str = setting("llm", "llm, rule, or package.module:Class.")
    max_new_tokens: int = setting(2048, "Answers are cut after this many tokens.")
    num_judgements: int = setting(1, "Judgements of each trajectory.", changeable="recomputes")
    max_retries: int = setting(2, "Further attempts for an invalid answer.", changeable="recomputes")
    require_quotes: bool = setting(False, "Whether quotes must stand in the trajectory.", changeable="recomputes")
    show_answer: bool = setting(False, "Whether the judge is told the gold answer.")
    chat_template_kwargs: dict[str, Any] | str | None = setting(None, "Variables of the judge's chat template.")
    prompt_file: str | None = setting(None, "A text in place of the shipped prompt.")
    limit: int | None = setting(None, "Number of rows to use at most.", changeable="recomputes")
    per_label: int | None = setting(None, "At most so many trajectories of each label.", changeable="recomputes")
    truth_column: str | None = setting(None, "Column with the true patterns.", changeable="recomputes")
    cache_dir: str | None = setting(None, "Where answers are kept.", changeable=True)

    def identity(self) -> dict[str, Any]:
        """What decides the judgements beside the settings: the content of the taxonomy."""
        from .taxonomy import load_taxonomy

        return super().identity() | {"taxonomy_digest": load_taxonomy(self.taxonomy).digest}

    def __post_init__(self):
        RowsConfig.__post_init__(self)
        EngineConfig.__post_init__(self)
        if not self.output_dir:
            raise UserError("output_dir is required: where to write the annotations")
        for name, least in (("num_judgements", 1), ("max_retries", 0), ("per_label", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise UserError(f"{name} is {value}: it must be at least {least}")
        if self.judge == "llm" and self.temperature == 0 and self.num_judgements > 1:
            raise UserError(
                f"num_judgements is {self.num_judgements}, but at temperature 0 the judge gives the same answer each "
                "time: set a temperature above 0"
            )
