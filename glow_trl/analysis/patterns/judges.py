"""Judges: what names the patterns of a trajectory."""

import dataclasses
import re
from abc import ABC, abstractmethod
from collections.abc import Container, Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ...errors import UserError
from ...stages.config import naming, nearest
from ...stages.dotted import is_dotted, load_dotted
from ...stages.files import read_text
from .answers import REFUSED
from .taxonomy import Taxonomy


JUDGES = MappingProxyType(
    {
        "llm": "glow_trl.analysis.patterns.judges:LLMJudge",
        "rule": "glow_trl.quickstart.judge:RuleJudge",
    }
)

_PLACEHOLDERS = ("{taxonomy}", "{problem}", "{completion}")


@dataclasses.dataclass(frozen=True)
class Answer:
    """A judge's answer as it came.

    Args:
        text (`str`): the answer; the reason where there is none.
        finish_reason (`str`): `"stop"`, `"length"` if it was cut, `"refused"` if the trajectory cannot be judged.
    """

    text: str
    finish_reason: str = "stop"


class Judge(ABC):
    """
    Names the patterns of trajectories. A judge of your own is named in the configuration as `package.module:Class`.

    Args:
        taxonomy ([`Taxonomy`]): the patterns.
        settings (`dict`): the settings of the annotation stage, see [`AnnotateConfig`].
    """

    #: Whether a second judgement of a trajectory can differ from the first.
    repeats = True

    def __init__(self, taxonomy: Taxonomy, settings: Mapping[str, Any]):
        self.taxonomy = taxonomy

    @property
    def identity(self) -> dict[str, Any]:
        """What the answers follow from, besides the taxonomy and the trajectory; saved answers are kept by it."""
        return {"judge": f"{type(self).__module__}:{type(self).__qualname__}"}

    @abstractmethod
    def answers(
        self,
        trajectories: Sequence[Mapping[str, Any]],
        count: int,
        attempt: int,
        done: Container[tuple[int, int]],
    ) -> Iterator[tuple[int, int, Answer]]:
        """
        Judge.

        Args:
            trajectories (`list[dict]`): rows with `problem` and `completion`.
            count (`int`): judgements of each.
            attempt (`int`): 0; then 1, 2, ... for the judgements whose answers were invalid.
            done (`Container[tuple[int, int]]`): pairs of trajectory and judgement that are not wanted.

        Yields:
            `tuple[int, int, Answer]`: number of the trajectory, number of the judgement, and the answer, in any order.
        """

    def close(self) -> None:  # noqa: B027 (most judges hold nothing)
        """Free what the judge holds."""

    def __enter__(self) -> "Judge":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def create_judge(name: str, taxonomy: Taxonomy, settings: Mapping[str, Any]) -> Judge:
    """
    The judge called `name`: a key of `JUDGES`, or `"package.module:Class"`.

    Raises:
        UserError: there is no such judge, or it cannot be used with these settings.
    """
    path = JUDGES.get(name, name)
    if not is_dotted(path):
        raise UserError(
            f"judge: there is no {name!r}{nearest(name, set(JUDGES))}; known: {', '.join(JUDGES)}, or "
            "package.module:Class"
        )
    judge = load_dotted(path, "judge")
    if not (isinstance(judge, type) and issubclass(judge, Judge)):
        raise UserError(f"judge: {path}: expected a subclass of {Judge.__name__}, found {judge!r:.60}")
    return judge(taxonomy, settings)


class LLMJudge(Judge):
    """
    A language model, on any engine of [`glow_trl.generation`].

    The model is not told whether the trajectory's answer is right, so that positive and negative ones are judged
    alike; `show_answer` gives it the gold answer.

    Args:
        taxonomy ([`Taxonomy`]): the patterns.
        settings (`dict`): those of [`~glow_trl.generation.EngineConfig`], `prompt_file`, `show_answer` and
            `chat_template_kwargs`.
    """

    def __init__(self, taxonomy: Taxonomy, settings: Mapping[str, Any]):
        super().__init__(taxonomy, settings)
        from ...generation import EngineConfig
        from ...stages.config import as_mapping

        names = [item.name for item in dataclasses.fields(EngineConfig) if item.name in settings]
        self._config = EngineConfig(**{name: settings[name] for name in names})
        if not self._config.model_name_or_path:
            raise UserError("model_name_or_path is not set: the model that judges")
        self._is_remote = self._config.is_remote
        self._template_kwargs = as_mapping(settings["chat_template_kwargs"], "chat_template_kwargs")
        self._show_answer = settings["show_answer"]
        self.repeats = self._config.temperature > 0
        self._prompt = read_prompt(settings["prompt_file"])
        self._engine: Any = None
        self._tokenizer: Any = None

    @property
    def identity(self) -> dict[str, Any]:
        sampling = self._config.sampling.identity
        return {
            **super().identity,
            **self._config.model_identity(),
            "chat_template_kwargs": self._template_kwargs,
            "sampling": {key: value for key, value in sampling.items() if key != "num_samples"},
            "prompt": self._prompt,
            "show_answer": self._show_answer,
        }

    def answers(
        self,
        trajectories: Sequence[Mapping[str, Any]],
        count: int,
        attempt: int,
        done: Container[tuple[int, int]],
    ) -> Iterator[tuple[int, int, Answer]]:
        from ...generation.base import sample_seed

        refused: dict[int, str] = {}
        seed = self._config.seed if attempt == 0 else sample_seed(self._config.seed, -1, attempt)
        sampling = dataclasses.replace(self._config.sampling, num_samples=count, seed=seed)
        engine = self._loaded()
        prompts = [self._rendered(row) for row in trajectories]
        for index, sample, generation in engine.stream_samples(prompts, sampling, done, refused.__setitem__):
            yield index, sample, Answer(generation.text, generation.finish_reason)
        for index, reason in refused.items():
            for sample in range(count):
                if (index, sample) not in done:
                    yield index, sample, Answer(reason, REFUSED)

    def messages(self, row: Mapping[str, Any]) -> list[dict[str, str]]:
        """The conversation that asks about a trajectory."""
        from ...data import build_prompt

        question = build_prompt(row["problem"], choices=row.get("choices") or None)[0]["content"]
        reference = f"\nThe right answer is: {row.get('answer')}\n" if self._show_answer else ""
        parts = {
            "{taxonomy}": self.taxonomy.text(),
            "{problem}": question,
            "{completion}": row["completion"],
            "{reference}": reference,
        }
        return [{"role": "user", "content": _filled(self._prompt, parts)}]

    def close(self) -> None:
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    def _loaded(self) -> Any:
        if self._engine is None:
            kwargs = {"chat_template_kwargs": self._template_kwargs} if self._template_kwargs else {}
            if not self._is_remote:
                self._tokenizer = self._config.load_tokenizer()
            self._engine = self._config.create_engine(**kwargs)
        return self._engine

    def _rendered(self, row: Mapping[str, Any]) -> Any:
        from ...generation.prompts import render_conversation

        messages = self.messages(row)
        return messages if self._is_remote else render_conversation(messages, self._tokenizer, self._template_kwargs)


def read_prompt(path: str | None) -> str:
    """
    The text that asks a model for patterns: the shipped one, or a file's. `{taxonomy}`, `{problem}`, `{completion}`
    and, for the gold answer, `{reference}` stand for what goes there; other braces for themselves.

    Raises:
        UserError: the file cannot be read, or lacks one of the first three.
    """
    if path is None:
        return resources.files("glow_trl.analysis.patterns").joinpath("judge_prompt.md").read_text(encoding="utf-8")
    with naming("prompt_file"):
        text = read_text(Path(path).expanduser())
    for placeholder in _PLACEHOLDERS:
        if placeholder not in text:
            raise UserError(f"prompt_file {path}: {placeholder} is missing, where what is judged goes")
    return text


def _filled(template: str, parts: Mapping[str, str]) -> str:
    """Fill all placeholders at once: what is put in may hold braces, and even the name of a placeholder."""
    names = "|".join(map(re.escape, parts))
    return re.sub(names, lambda match: parts[match[0]], template)
