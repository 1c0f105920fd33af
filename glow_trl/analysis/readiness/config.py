"""Configuration of `glow-trl ready`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ...benchmarks import parse_entry
from ...data.config import RowsConfig
from ...data.paths import FILE_SUFFIXES, is_local
from ...errors import UserError
from ...evaluation.config import EvalConfig
from ...stages.config import setting
from ...stages.recipe_file import PROMPT, resolve_stage_file
from .generations import has_generations
from .measures import BUDGET, COVERAGE, ENTROPY, INFORMATIVE, LOSS
from .ranking import COMPOSITE


# What can rank beside the composite and pass@k, if the starts have it, and which way is better
MEASURES: dict[str, str] = dict.fromkeys((INFORMATIVE, BUDGET, ENTROPY), "higher")
MEASURES |= dict.fromkeys((COVERAGE, f"{LOSS}_all", f"{LOSS}_positive", "truncated", "no_answer"), "lower")
_PASS = re.compile(r"pass@([1-9]\d*)")
# TRL's, for what grpo.yaml leaves out
_GRPO_DEFAULTS = {"num_generations": 8, "temperature": 1.0, "top_p": 1.0, "max_completion_length": 512}
_GROUP_SIZE, _MAX_NEW_TOKENS = 8, 4096
_LEAST_SAMPLES = 16
# Settings that the sampling of a checkpoint is told as they are
_SHARED = (
    *("dtype", "trust_remote_code", "batch_size", "batch_tokens", "engine", "engine_options", "max_model_len"),
    *("temperature", "top_p", "max_new_tokens", "num_samples", "seed", *PROMPT, "on_bad_gold", "restated"),
)


def _names(better: str) -> str:
    return ", ".join(name for name, way in MEASURES.items() if way == better)


KNOWN_MEASURES = (
    f"pass@1, pass@2, pass@4, ..., {_names('higher')} (the higher the better), {_names('lower')} (the lower)"
)


def is_measure(name: str) -> bool:
    """Whether starts can be ranked by what bears this name in `ready.json`."""
    passed = _PASS.fullmatch(name)
    return name in MEASURES or (passed is not None and int(passed[1]).bit_count() == 1)


def taken_from_grpo(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Of the settings of stage 2 those that `grpo` is read for."""
    names = {*(item.name for item in fields(RowsConfig)), *PROMPT, *_GRPO_DEFAULTS}
    return {name: value for name, value in settings.items() if name in names}


@dataclass
class ReadyConfig:
    r"""
    Which starts for RL to measure, on which questions: checkpoints, which are sampled, and saved generations.

    Parameters:
        checkpoints (`list[str]`):
            Folders of checkpoints or model ids; also the first arguments of the command.
        generations (`list[str]`, *optional*):
            Saved generations of further starts: folders that `eval` or `collect` wrote.
        only (`list[str]`, *optional*):
            Of saved evaluations just these benchmarks: those whose questions are like those of stage 2.
        base (`str`, *optional*):
            The base model, for the coverage ratio: a checkpoint, or a folder of saved generations.
        output_dir (`str`):
            Where to write `ready.json` and `questions.jsonl`, and what is sampled. Started again with the same
            settings, it goes on there.
        grpo (`str` or `dict`, *optional*):
            `grpo.yaml` of the recipe: its questions, prompts, sampling and group size are the defaults here. Or what
            stands in it, as a mapping.
        questions (`list[str]`, *optional*):
            The questions that checkpoints are asked, in place of those of `grpo`: names of benchmarks, their YAML
            files, or data with `problem` and `answer`.
        num_questions (`int`, *optional*, defaults to `200`):
            So many of them, drawn at random.
        held_out (`float`, *optional*, defaults to `0.25`):
            The share of the questions that does not rank: it tells whether the first place holds on others.
        trajectories (`list[str]`, *optional*):
            Labelled trajectories that no start was trained on: the loss on them is measured, by label.
        group_size (`int`, *optional*):
            Samples of a group in stage 2; by default `num_generations` of `grpo`, else 8.
        num_samples (`int`, *optional*):
            Completions for each question; by default 16, or the group size where that is larger.
        rank_by (`str`, *optional*, defaults to `"composite"`):
            What ranks: a measure, or `"composite"`, pass@2: what predicted the outcome of RL best where that was
            tried, see docs/ready.md.
        budget (`float`, *optional*):
            Tokens that may be sampled for a question on average, for `pass@budget`; by default as many as all starts
            have drawn.
        coverage_k (`int`, *optional*):
            The K of the coverage ratio; by default the largest k of pass@k.
        temperature, top_p, max_new_tokens (*optional*):
            How completions are drawn; by default as in `grpo`, else at temperature 1, top-p 1, and at most 4096
            tokens.
        engine, engine_options, max_model_len, seed, system_prompt, prompt_template, on_bad_gold, restated, dtype,
        trust_remote_code, batch_size, batch_tokens:
            As in [`~glow_trl.evaluation.EvalConfig`].
    """

    checkpoints: list[str] = setting([], "Folders of checkpoints or model ids.", positional=True)
    generations: list[str] = setting([], "Folders of saved generations, of eval or collect.")
    only: list[str] | None = setting(None, "Of saved evaluations just these benchmarks.", changeable="recomputes")
    base: str | None = setting(None, "The base model, or a folder of its generations.")
    output_dir: str | None = setting(None, "Where to write the results.", required=True)
    grpo: dict[str, Any] | str | None = setting(
        None, "grpo.yaml whose questions, prompts, sampling and group size hold."
    )
    questions: list[str] = setting([], "Benchmarks, or data with problem and answer (default: those of grpo).")
    num_questions: int = setting(200, "Questions that are asked, drawn at random.")
    held_out: float = setting(0.25, "Share of the questions that does not rank.", changeable="recomputes")
    trajectories: list[str] = setting([], "Held-out labelled trajectories to measure the loss on.")
    group_size: int | None = setting(
        None, "Samples of a group in stage 2 (default: grpo's, or 8).", changeable="recomputes"
    )
    num_samples: int | None = setting(None, "Completions for each question (default: 16, or the group size).")
    rank_by: str = setting(COMPOSITE, "composite, or the measure that ranks.", changeable="recomputes")
    budget: float | None = setting(None, "Tokens for a question, for pass@budget.", changeable="recomputes")
    coverage_k: int | None = setting(None, "The K of the coverage ratio.", changeable="recomputes")
    engine: str = setting("transformers", "transformers, vllm, server or package.module:Class.")
    engine_options: dict[str, Any] | str | None = setting(None, "Further arguments of the engine.")
    max_model_len: int | None = setting(None, "Most tokens of a prompt with its completion (default: the model's).")
    temperature: float | None = setting(None, "Sampling temperature (default: grpo's, or 1).")
    top_p: float | None = setting(None, "Nucleus sampling (default: grpo's, or 1).")
    max_new_tokens: int | None = setting(None, "Completions are cut after this many tokens (default: grpo's).")
    seed: int = setting(42, "Seed of questions and samples.")
    system_prompt: str | None = setting(None, "System turn (default: grpo's, or as trained).")
    prompt_template: str | None = setting(None, "User turn with {problem} in it (default: grpo's, or as trained).")
    on_bad_gold: str = setting(
        "error", "Questions whose gold answer is unusable: error or drop.", choices=["error", "drop"]
    )
    restated: str = setting(
        "reject",
        "Answers that only restate the question: accept, reject or strict.",
        choices=["accept", "reject", "strict"],
    )
    dtype: str = setting("auto", "auto, float32, bfloat16 or float16.")
    trust_remote_code: bool = setting(False, "Whether the checkpoint's code may run.")
    batch_size: int = setting(512, "Most sequences in a batch.", changeable=True)
    batch_tokens: int = setting(65536, "Most tokens in a batch.", changeable=True)

    def __post_init__(self):
        for name in (*self.checkpoints, *self.generations):
            if [*self.checkpoints, *self.generations].count(name) > 1:
                raise UserError(f"{name} is named twice")
        if not self.output_dir:
            raise UserError("output_dir is required: where to write the results")
        self._of_grpo = self._take_grpo()
        for name in ("num_questions", "group_size", "num_samples", "coverage_k"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}: it must be at least 1")
        if self.group_size < 2:
            raise UserError(f"group_size is {self.group_size}: it must be at least 2")
        if self.rank_by != COMPOSITE and not is_measure(self.rank_by):
            raise UserError(f"rank_by is {self.rank_by!r}: it must be {COMPOSITE}, or a measure: {KNOWN_MEASURES}")
        if not 0 <= self.held_out < 1:
            raise UserError(f"held_out is {self.held_out}: it must be 0 or more, and below 1")
        if self.budget is not None and not self.budget > 0:
            raise UserError(f"budget is {self.budget}: it must be more than 0")
        self.engine_options = self.evaluation("", []).engine_options

    def _take_grpo(self) -> dict[str, Any]:
        """What `grpo.yaml` says, and what is left open here as it says, or TRL does."""
        if isinstance(self.grpo, Mapping):
            said, where = dict(self.grpo), "grpo"
        else:
            said, where = resolve_stage_file(Path(self.grpo), PROMPT) if self.grpo else {}, self.grpo
        known = (_GRPO_DEFAULTS | said) if self.grpo else {}
        group = known.get("num_generations", _GROUP_SIZE)
        defaults: dict[str, Any] = {
            "group_size": group,
            "temperature": known.get("temperature", 1.0),
            "top_p": known.get("top_p", 1.0),
            "max_new_tokens": known.get("max_completion_length", _MAX_NEW_TOKENS),
            **{name: known.get(name) for name in PROMPT},
        }
        for name, value in defaults.items():
            if getattr(self, name) is None:
                if value is not None and type(value) not in ((str,) if name in PROMPT else (int, float)):
                    raise UserError(f"{where}: {name} is {value!r}, which cannot be used; give it as --{name}")
                setattr(self, name, value)
        if self.num_samples is None:
            self.num_samples = max(_LEAST_SAMPLES, self.group_size)
        return said

    @property
    def samples(self) -> list[str]:
        """The checkpoints that are sampled: also the base model, where it is no folder of generations."""
        base = [self.base] if self.base and self.base not in self.checkpoints else []
        return [*self.checkpoints, *(name for name in base if not has_generations(Path(name)))]

    def check_complete(self) -> None:
        """Raise a `UserError` where there is nothing to measure, nothing to ask, or nothing to rank by."""
        if not self.checkpoints and not self.generations:
            raise UserError(
                "checkpoints and generations are empty: name at least one start: glow-trl ready CHECKPOINT"
            )
        if self.samples and not self.questions and not self._of_grpo.get("dataset_name"):
            raise UserError("questions is not set, nor grpo with its data: say what the checkpoints are asked")
        by = f"rank_by is {self.rank_by}"
        passed = _PASS.fullmatch(self.rank_by)
        if passed and self.samples and int(passed[1]) > self.num_samples:
            raise UserError(f"{by}: it needs num_samples of at least {passed[1]}, found {self.num_samples}")
        if self.rank_by == COVERAGE and not self.base:
            raise UserError(f"{by}: it needs base, the model that coverage is lost or gained against")
        if self.rank_by.startswith(f"{LOSS}_") and not self.trajectories:
            raise UserError(f"{by}: it needs trajectories, which no start was trained on")
        if self.rank_by == ENTROPY and self.samples and self.evaluation("", []).is_remote:
            raise UserError(f"{by}: the engine {self.engine!r} gives samples and no distributions")

    def evaluation(self, model: str, benchmarks: list[Any], output_dir: str | Path = "") -> EvalConfig:
        """The evaluation that samples a checkpoint."""
        shared = {name: getattr(self, name) for name in _SHARED}
        return EvalConfig(
            model_name_or_path=model, benchmarks=benchmarks, output_dir=str(output_dir), majority=False, **shared
        )

    def identity(self) -> dict[str, Any]:
        """As of [`~glow_trl.generation.EngineConfig`]."""
        return self.evaluation("", []).identity()

    def question_files(self) -> list[str]:
        """The local files that the questions stand in."""
        if not self.samples:
            return []
        sources = self.question_sources().values()
        return [
            file
            for source in sources
            for file in (source.files if isinstance(source, RowsConfig) else [source.source().path])
            if is_local(file)
        ]

    def question_sources(self) -> dict[str, Any]:
        """By name a benchmark, or a [`RowsConfig`] of data."""
        sources: dict[str, Any] = {}
        for entry in self.questions:
            if entry.endswith(FILE_SUFFIXES):
                sources[Path(entry).stem] = RowsConfig(dataset_name=[entry])
            else:
                benchmark = parse_entry(entry, "questions")
                sources[benchmark.name] = benchmark
        if not self.questions:
            names = {item.name for item in fields(RowsConfig)}
            sources["questions"] = RowsConfig(**{key: self._of_grpo[key] for key in names & self._of_grpo.keys()})
        return sources
