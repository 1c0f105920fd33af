"""What a study's file says, checked before anything is run."""

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..errors import UserError
from ..recipes.recipe import build
from ..stages.registry import TRAINING_STAGES
from ..stages.secrets import without_secrets
from ..stages.yaml_file import nearest, read_yaml


# Beside pass@k
METRICS = ("entropy", "response_length", "truncated", "no_answer")
# Of samples by label, which the SFT stage records; any other name is that of a figure in the stage's log
LOSSES = ("loss_positive", "loss_negative")
DOMAINS = ("in", "out", "all")


@dataclass
class Measure:
    r"""
    A figure of a run that the study looks at: what an evaluation found, a point of a curve, or a number in a file.

    Parameters:
        stage (`str`, *optional*):
            The training stage after which it was evaluated, or whose curve it is: `sft` or `grpo`.
        benchmarks (`str` or `list[str]`, *optional*, defaults to `"all"`):
            `in`, `out` or `all`, or names of benchmarks. Each counts the same.
        metric (`str`, *optional*, defaults to `"pass@1"`):
            `pass@K`, `entropy` (nats per token), `response_length` (tokens), `truncated` or `no_answer` (shares).
        curve (`str`, *optional*):
            In place of an evaluation: a figure of the stage's `log.jsonl`, or `loss_positive` or `loss_negative`, the
            mean loss of the samples of a label in each epoch.
        take (`str`, *optional*, defaults to `"last"`):
            Of the curve: its `first`, `last`, `mean`, `min` or `max` value, its `drop` from the first to the last, or
            its largest `rise` above what was its lowest value before: 0 for one that never rises.
        file (`str`, *optional*):
            In place of both: a JSON file in the run's folder; `{arm}` in it is the arm's name.
        key (`str`, *optional*):
            The number in that file, as keys joined by dots.
    """

    stage: str | None = None
    benchmarks: list[str] = field(default_factory=lambda: ["all"])
    metric: str = "pass@1"
    curve: str | None = None
    take: Literal["first", "last", "mean", "min", "max", "drop", "rise"] = "last"
    file: str | None = None
    key: str | None = None

    def __post_init__(self):
        if (self.file is None) != (self.key is None):
            raise UserError("file and key go together")
        if (self.file is None) == (self.stage is None):
            raise UserError("give either stage, one of sft and grpo, or file")
        if self.stage is not None and self.stage not in TRAINING_STAGES:
            raise UserError(f"stage: there is no training stage {self.stage!r}{nearest(self.stage, TRAINING_STAGES)}")
        if self.curve in LOSSES and self.stage != "sft":
            raise UserError(f"curve: {self.curve} is recorded by sft alone")
        if not re.fullmatch(r"pass@[1-9]\d*", self.metric) and self.metric not in METRICS:
            close = nearest(self.metric, METRICS) or f"; there are pass@K, {', '.join(METRICS)}"
            raise UserError(f"metric: there is no metric {self.metric!r}{close}")

    @property
    def k(self) -> int | None:
        """The k of pass@k."""
        return int(self.metric[5:]) if self.metric.startswith("pass@") else None

    @property
    def is_evaluation(self) -> bool:
        return self.file is None and self.curve is None

    @property
    def bounds(self) -> tuple[float, float] | None:
        is_share = self.is_evaluation and (self.k is not None or self.metric in ("truncated", "no_answer"))
        return (0.0, 1.0) if is_share else None

    def describe(self) -> str:
        """In words: `pass@1 after SFT, out of domain`."""
        if self.file is not None:
            return f"{self.key} in {self.file}"
        stage = str(self.stage).upper()
        if self.curve is not None:
            return f"{self.curve} of {stage}, {self.take}"
        names = {"in": "in domain", "out": "out of domain", "all": "all benchmarks"}
        return f"{self.metric} after {stage}, {', '.join(names.get(name, name) for name in self.benchmarks)}"


@dataclass
class Claim:
    r"""
    Something that the study is to decide.

    Parameters:
        name (`str`):
            What is claimed, in words.
        measure (`str`):
            Of which measure.
        arm (`str`):
            Of which arm.
        versus (`str`, *optional*):
            Arm that it is compared with.
        threshold (`float`, *optional*):
            Or a number that it is compared with.
        direction (`str`, *optional*, defaults to `"higher"`):
            `higher` or `lower`.
        margin (`float`, *optional*, defaults to 0):
            The smallest difference that matters.
    """

    name: str
    measure: str
    arm: str
    versus: str | None = None
    threshold: float | None = None
    direction: Literal["higher", "lower"] = "higher"
    margin: float = 0.0

    def __post_init__(self):
        if (self.versus is None) == (self.threshold is None):
            raise UserError("give either versus, an arm, or threshold, a number")
        if self.versus == self.arm:
            raise UserError(f"versus: {self.arm!r} would be compared with itself")
        if self.margin < 0:
            raise UserError(f"margin is {self.margin}: it must be at least 0")

    @property
    def sign(self) -> int:
        return 1 if self.direction == "higher" else -1


@dataclass
class StudyFile:
    r"""
    The file of a study.

    Parameters:
        recipes (`str` or `list[str]`):
            Recipes, by folder or by name; also as `recipe`.
        arms (`list[str]`):
            Arms of the recipes to train.
        seeds (`list[int]`):
            Seeds, each of data, model and all stages.
        models (`list[str]`, *optional*):
            Models to start from, in place of the recipe's.
        control (`str`):
            The arm that all others are compared with.
        measures (`dict[str, dict]`):
            What is looked at, by a name of your choice, see [`Measure`].
        primary (`list[str]`):
            The measures that the study is about.
        claims (`list[dict]`, *optional*):
            What it is to decide, see [`Claim`].
        overrides (`dict[str, dict]`, *optional*):
            Stage to settings that replace those of the recipes.
        accelerate_config (`str`, *optional*):
            File of `accelerate` to launch the training stages with.
        alpha (`float`, *optional*, defaults to 0.05):
            Significance level of all claims together, and of all comparisons together.
        correction (`str`, *optional*, defaults to `"holm"`):
            `holm` or `none`.
        description (`str`, *optional*):
            What the study is for.
    """

    recipes: list[str] = field(default_factory=list)
    recipe: str | None = None
    arms: list[str] = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)
    models: list[str] = field(default_factory=list)
    control: str = ""
    measures: dict[str, Any] = field(default_factory=dict)
    primary: list[str] = field(default_factory=list)
    claims: list[Any] = field(default_factory=list)
    overrides: dict[str, Any] = field(default_factory=dict)
    accelerate_config: str | None = None
    alpha: float = 0.05
    correction: Literal["holm", "none"] = "holm"
    description: str = ""

    def __post_init__(self):
        if self.recipe is not None:
            self.recipes = [self.recipe, *self.recipes]
        for name in ("recipes", "arms", "seeds", "control", "measures", "primary"):
            if not getattr(self, name):
                raise UserError(f"{name} is missing")
        for name in ("recipes", "arms", "seeds", "models", "primary"):
            values = getattr(self, name)
            doubled = next((value for value in values if values.count(value) > 1), None)
            if doubled is not None:
                raise UserError(f"{name}: {doubled} is there twice")
        if any(seed < 0 for seed in self.seeds):
            raise UserError(f"seeds: {min(self.seeds)} is no seed: take numbers from 0")
        _check_name("control", self.control, self.arms)
        if not 0 < self.alpha < 1:
            raise UserError(f"alpha is {self.alpha}: it must lie between 0 and 1")
        for stage, settings in self.overrides.items():
            if not isinstance(settings, dict):
                raise UserError(f"overrides: {stage} must be a mapping, found {type(settings).__name__}")
            if without_secrets(settings) != settings:
                raise UserError(
                    f"overrides: {stage}: a study is kept as it is, so it can hold no secret: set it in the "
                    "environment, or in the recipe's file"
                )
        self.measures = {
            str(name): _built(Measure, content, f"measures: {name}") for name, content in self.measures.items()
        }
        for name in self.primary:
            _check_name("primary", name, self.measures)
        claims = [_built(Claim, item, f"claims, entry {number}") for number, item in enumerate(self.claims, start=1)]
        for number, claim in enumerate(claims, start=1):
            where = f"claims, entry {number}"
            _check_name(f"{where}: measure", claim.measure, self.measures)
            for key in ("arm", "versus"):
                if (arm := getattr(claim, key)) is not None:
                    _check_name(f"{where}: {key}", arm, self.arms)
            if claim.name in [other.name for other in claims[: number - 1]]:
                raise UserError(f"{where}: name: {claim.name!r} is there twice")
        self.claims = claims


def read_study(path: Path) -> StudyFile:
    """The study in a file. Raises `UserError` for what is wrong with it: file, key and what to do."""
    return build(StudyFile, read_yaml(path), str(path))


def _built(cls: type, content: Any, where: str) -> Any:
    if not isinstance(content, dict):
        raise UserError(f"{where} must be a mapping, found {type(content).__name__}")
    for name in ("name", "measure", "arm") if cls is Claim else ():
        if not content.get(name):
            raise UserError(f"{where}: {name} is missing")
    return build(cls, content, where)


def _check_name(where: str, name: str, known: Collection[str]) -> None:
    if name not in known:
        close = nearest(name, known) or f"; there are {', '.join(known)}"
        raise UserError(f"{where}: there is no {name!r}{close}")
