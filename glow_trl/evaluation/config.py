"""What `eval.yaml` may say."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..benchmarks import BenchmarkConfig, parse_entry
from ..errors import UserError
from ..generation import SamplingConfig, engine_class
from ..stages.config import nearest


@dataclass
class EvalConfig:
    r"""
    Configuration of an evaluation.

    Args:
        model_name_or_path (`str`):
            A checkpoint's folder (full model or PEFT adapter) or a model id on the Hub.
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
        temperature (`float`, *optional*, defaults to `0.6`):
            Sampling temperature, the paper's by default. `0` decodes greedily.
        top_p (`float`, *optional*, defaults to `0.95`):
            Share of the probability that nucleus sampling keeps, the paper's by default.
        max_new_tokens (`int`, *optional*, defaults to `4096`):
            Completions are cut after this many tokens. The paper uses 32768.
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
        engine (`str`, *optional*, defaults to `"transformers"`):
            `"transformers"`, `"vllm"`, `"server"` (OpenAI's API; `model_name_or_path` is then the name that the
            server gives the model), or `package.module:Class`.
        engine_options (`dict`, *optional*):
            Further arguments of the engine, `{tensor_parallel_size: 2}` for example.
        batch_size (`int`, *optional*, defaults to `512`):
            Most sequences in a batch of the transformers engine.
        batch_tokens (`int`, *optional*, defaults to `65536`):
            Most tokens in such a batch. Lower it if memory runs out.
        dtype (`str`, *optional*, defaults to `"auto"`):
            Precision of the weights: `"auto"` (as saved), `"float32"`, `"bfloat16"` or `"float16"`.
        trust_remote_code (`bool`, *optional*, defaults to `False`):
            Whether code that comes with the checkpoint may run.
        limit (`int`, *optional*):
            Only the first so many questions of every benchmark.
        on_bad_gold (`str`, *optional*, defaults to `"error"`):
            What to do about questions whose gold answer its own verifier rejects: `"error"` stops before anything is
            generated, `"drop"` leaves them out and counts them in the results.
        rescore (`bool`, *optional*, defaults to `False`):
            Verify saved completions again instead of taking the saved verdicts. Nothing is generated for it.
    """

    model_name_or_path: str | None = field(default=None, metadata={"help": "Checkpoint folder or model id."})
    output_dir: str | None = field(default=None, metadata={"help": "Where results and generations go."})
    # On the command line names; a YAML file may have mappings among them
    benchmarks: list[str] = field(
        default_factory=list,
        metadata={"help": "The test sets: names of shipped ones, or YAML files.", "changeable": "recomputes"},
    )
    only: list[str] | None = field(
        default=None, metadata={"help": "Evaluate just these benchmarks.", "changeable": "recomputes"}
    )
    in_domain: list[str] = field(
        default_factory=lambda: ["math"],
        metadata={"help": "Domain groups that count as in-domain.", "changeable": "recomputes"},
    )
    system_prompt: str | None = field(default=None, metadata={"help": "System turn (default: as trained)."})
    prompt_template: str | None = field(
        default=None, metadata={"help": "User turn with {problem} in it (default: as trained)."}
    )
    num_samples: int = field(default=1, metadata={"help": "Completions for each question."})
    temperature: float = field(default=0.6, metadata={"help": "Sampling temperature; 0 is greedy."})
    top_p: float = field(default=0.95, metadata={"help": "Nucleus sampling."})
    max_new_tokens: int = field(default=4096, metadata={"help": "Completions are cut after this many tokens."})
    seed: int = field(default=42, metadata={"help": "Seed of the samples."})
    k_values: list[int] | None = field(
        default=None, metadata={"help": "The k of pass@k and majority@k.", "changeable": "recomputes"}
    )
    majority: bool = field(
        default=True, metadata={"help": "Whether to compute majority@k.", "changeable": "recomputes"}
    )
    entropy: bool | None = field(
        default=None,
        metadata={
            "help": "Whether to measure token entropy at temperature 1 (default: if possible).",
            "changeable": "recomputes",
        },
    )
    entropy_questions: int = field(
        default=200,
        metadata={
            "help": "Questions for which completions at temperature 1 are drawn for it.",
            "changeable": "recomputes",
        },
    )
    engine: str = field(
        default="transformers", metadata={"help": "transformers, vllm, server or package.module:Class."}
    )
    engine_options: dict[str, Any] | str | None = field(
        default=None, metadata={"help": "Further arguments of the engine."}
    )
    batch_size: int = field(
        default=512, metadata={"help": "Most sequences in a batch (transformers engine).", "changeable": True}
    )
    batch_tokens: int = field(
        default=65536, metadata={"help": "Most tokens in a batch (transformers engine).", "changeable": True}
    )
    dtype: str = field(default="auto", metadata={"help": "auto, float32, bfloat16 or float16."})
    trust_remote_code: bool = field(default=False, metadata={"help": "Whether the checkpoint's code may run."})
    limit: int | None = field(
        default=None, metadata={"help": "Only the first so many questions of a benchmark.", "changeable": "recomputes"}
    )
    on_bad_gold: Literal["error", "drop"] = field(
        default="error",
        metadata={"help": "Questions whose gold answer is unusable: error or drop.", "changeable": "recomputes"},
    )
    rescore: bool = field(default=False, metadata={"help": "Verify saved completions again.", "changeable": True})

    @property
    def sampling(self) -> SamplingConfig:
        """How completions are drawn."""
        return SamplingConfig(self.num_samples, self.temperature, self.top_p, self.max_new_tokens, self.seed)

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
        _ = self.sampling
        if self.entropy and engine_class(self.engine).takes_messages:
            raise UserError(
                f"entropy: the engine '{self.engine}' gives samples and no distributions; leave entropy out, or "
                "evaluate the checkpoint itself with the engine vllm or transformers"
            )
        wrong = [k for k in self.resolved_k_values if not 1 <= k <= self.num_samples]
        if wrong:
            raise UserError(
                f"k_values: k = {wrong[0]} needs num_samples of at least {wrong[0]}, not {self.num_samples}"
            )
        for name in ("limit", "batch_size", "batch_tokens", "entropy_questions"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}: it must be at least 1")
        return parsed

    @property
    def measures_entropy(self) -> bool:
        """Whether policy entropy is measured."""
        return self.entropy if self.entropy is not None else not engine_class(self.engine).takes_messages

    def is_in_domain(self, benchmark: BenchmarkConfig) -> bool:
        """Whether a benchmark counts as in-domain."""
        return benchmark.domain == "in" or benchmark.domain in self.in_domain
