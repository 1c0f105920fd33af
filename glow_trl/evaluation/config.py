"""What `eval.yaml` may say."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..benchmarks import BenchmarkConfig, parse_entry
from ..errors import UserError
from ..generation import EngineConfig
from ..stages.config import nearest, setting


@dataclass
class EvalConfig(EngineConfig):
    r"""
    Configuration of an evaluation: [`~glow_trl.generation.EngineConfig`] with the checkpoint (sampled as in the paper,
    but for its `max_new_tokens` of 32768), and

    Parameters:
        output_dir (`str`):
            Where results and generations go. Started again with the same settings, the evaluation continues there.
        benchmarks (`list[str or dict]`):
            The test sets: names of those that ship with the package (see [`~glow_trl.benchmarks.benchmark_names`]),
            paths of YAML files, or mappings with the arguments of [`~glow_trl.benchmarks.BenchmarkConfig`], among them
            `base`, the one to start from.
        only (`list[str]`, *optional*):
            Evaluate just these of them.
        in_domain (`list[str]`, *optional*, defaults to `["math"]`):
            Which `domain` groups of the benchmarks count as in-domain; `in` and `out` speak for themselves.
        system_prompt (`str`, *optional*):
            System turn. By default the one that the checkpoint was trained with, where that is recorded beside it;
            an empty string for none.
        prompt_template (`str`, *optional*):
            Text of the user turn with `{problem}` in the place of the question. Defaults like `system_prompt`;
            `"{problem}"` for the bare question.
        num_samples (`int`, *optional*, defaults to `1`):
            Completions drawn for each question.
        seed (`int`, *optional*, defaults to `42`):
            Seed of the samples.
        k_values (`list[int]`, *optional*):
            The k of pass@k and majority@k; by default the powers of two up to `num_samples`.
        majority (`bool`, *optional*, defaults to `True`):
            Whether to compute majority@k, for every k of at least 2.
        entropy (`bool`, *optional*):
            Whether to measure the mean entropy per token of samples drawn at temperature 1. If the evaluation itself
            samples at temperature 1 and top-p 1, its completions serve; otherwise one more is drawn per question. By
            default it is measured where the engine has the model: a server gives no distributions.
        entropy_questions (`int`, *optional*, defaults to `200`):
            How many of a benchmark's questions those additional completions are drawn for.
        limit (`int`, *optional*):
            Only the first so many questions of every benchmark.
        on_bad_gold (`str`, *optional*, defaults to `"error"`):
            What to do about questions whose gold answer its own verifier rejects: `"error"` stops before anything is
            generated, `"drop"` leaves them out and counts them in the results.
        restated (`str`, *optional*, defaults to `"reject"`):
            What an answer is worth that only restates the question: `"reject"`, it is wrong;
            `"strict"`, so for one that is lightly edited; `"accept"`, it counts.
        rescore (`bool`, *optional*, defaults to `False`):
            Verify saved completions again instead of taking the saved verdicts. Nothing is generated for it.
    """

    output_dir: str | None = setting(None, "Where results and generations go.", required=True)
    # On the command line names; a YAML file may have mappings among them
    benchmarks: list[str] = setting(
        [],
        "The test sets: names of shipped ones, or YAML files.",
        changeable="recomputes",
        required=True,
        mappings=True,
    )
    only: list[str] | None = setting(None, "Evaluate just these benchmarks.", changeable="recomputes")
    in_domain: list[str] = setting(["math"], "Domain groups that count as in-domain.", changeable="recomputes")
    system_prompt: str | None = setting(None, "System turn (default: as trained).")
    prompt_template: str | None = setting(None, "User turn with {problem} in it (default: as trained).")
    num_samples: int = setting(1, "Completions for each question.")
    seed: int = setting(42, "Seed of the samples.")
    k_values: list[int] | None = setting(None, "The k of pass@k and majority@k.", changeable="recomputes")
    majority: bool = setting(True, "Whether to compute majority@k.", changeable="recomputes")
    entropy: bool | None = setting(
        None, "Whether to measure token entropy at temperature 1 (default: if possible).", changeable="recomputes"
    )
    entropy_questions: int = setting(
        200, "Questions for which completions at temperature 1 are drawn for it.", changeable="recomputes"
    )
    limit: int | None = setting(None, "Only the first so many questions of a benchmark.", changeable="recomputes")
    on_bad_gold: Literal["error", "drop"] = setting(
        "error", "Questions whose gold answer is unusable: error or drop.", changeable="recomputes"
    )
    restated: str = setting(
        "reject",
        "Answers that only restate the question: accept, reject or strict.",
        choices=["accept", "reject", "strict"],
        changeable="recomputes",
    )
    rescore: bool = setting(False, "Verify saved completions again.", changeable=True)

    @property
    def resolved_k_values(self) -> list[int]:
        """The k of pass@k and majority@k in ascending order; 1 is always among them."""
        if self.k_values is None:
            return [2**power for power in range(self.num_samples.bit_length())]
        return sorted({1, *self.k_values})

    def resolve(self) -> list[BenchmarkConfig]:
        """Check the configuration and return the benchmarks to evaluate.

        Raises:
            UserError: something is missing, unknown or contradictory.
        """
        for name in ("model_name_or_path", "output_dir"):
            if not getattr(self, name):
                raise UserError(f"{name} is not set: give it in the configuration file or as --{name}")
        if Path(self.output_dir).is_file():
            raise UserError(f"output_dir: {self.output_dir} is a file")
        if not self.benchmarks:
            raise UserError("benchmarks is empty: name at least one, or list test sets with `name` and `path`")
        parsed = [
            parse_entry(entry, f"benchmarks, entry {position}")
            for position, entry in enumerate(self.benchmarks, start=1)
        ]
        names = [benchmark.name for benchmark in parsed]
        for name in names:
            if names.count(name) > 1:
                raise UserError(f"benchmarks: two entries are named '{name}'")
        if self.only is not None:
            for name in self.only:
                if name not in names:
                    close = nearest(name, names) or f"; there are {', '.join(names)}"
                    raise UserError(f"only: there is no benchmark {name!r}{close}")
            parsed = [benchmark for benchmark in parsed if benchmark.name in self.only]
        if self.entropy and self.is_remote:
            raise UserError(
                f"entropy: the engine '{self.engine}' gives samples and no distributions; leave entropy out, or "
                "evaluate the checkpoint itself with the engine vllm or transformers"
            )
        wrong = [k for k in self.resolved_k_values if not 1 <= k <= self.num_samples]
        if wrong:
            raise UserError(
                f"k_values: k = {wrong[0]} needs num_samples of at least {wrong[0]}, not {self.num_samples}"
            )
        for name in ("limit", "entropy_questions"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}: it must be at least 1")
        return parsed

    @property
    def measures_entropy(self) -> bool:
        """Whether policy entropy is measured."""
        return self.entropy if self.entropy is not None else not self.is_remote

    def is_in_domain(self, benchmark: BenchmarkConfig) -> bool:
        """Whether a benchmark counts as in-domain."""
        return benchmark.domain == "in" or benchmark.domain in self.in_domain
