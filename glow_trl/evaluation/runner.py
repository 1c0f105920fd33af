"""An evaluation from configuration to `results.json`, continuing where an earlier one stopped."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..data import read_jsonl, write_jsonl
from ..errors import UserError
from ..generation import Engine, Generation, SamplingConfig
from ..generation.forward import completion_entropies
from ..stages.console import progress as progress_bars
from ..stages.files import make_writable, write_json
from ..stages.record import jsonable
from .config import EvalConfig
from .job import Job, OutputState, job_fingerprints
from .metrics import benchmark_metrics, domain_averages, entropy_summary, subject_metrics
from .model_loader import ModelLoader
from .questions import checked_questions, render_prompts
from .store import SampleStore
from .voting import answer_groups


if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

_VERIFIED_AT_ONCE = 4096


def evaluate(
    config: EvalConfig,
    engine: Engine | None = None,
    console: "Console | None" = None,
    only_entropy: bool = False,
) -> dict[str, Any]:
    """Generate, judge and summarize.

    Everything that can be wrong with configuration and data is found before the model is loaded. Completions are
    saved as they come; called again with the same settings, model files and data, the evaluation goes on where it
    stopped, and takes finished benchmarks as they are.

    Args:
        config ([`EvalConfig`]):
            What to evaluate and how.
        engine ([`~glow_trl.generation.Engine`], *optional*):
            A loaded engine to use in place of the one that `config` names. It is not closed.
        console (`rich.console.Console`, *optional*):
            Where progress bars are drawn, if it is a terminal; none are without it.
        only_entropy (`bool`, *optional*, defaults to `False`):
            Measure policy entropy and nothing else; `results.json` is not written.

    Returns:
        `dict`: the content of `results.json`: `model_name_or_path`, `sampling`, `seconds`; `benchmarks`, by name what
        [`~glow_trl.evaluation.metrics.benchmark_metrics`] gives, and `domain` (`"in"` or `"out"`), `group` (the
        benchmark's own domain), `version` (the benchmark's), `source` (file or data set, and a note on it), `bad_gold`
        (questions left out), `refused` (questions too long for the model, which count as not answered), `entropy` with
        its interval and `entropy_protocol`, and for benchmarks that are split by subject `subjects` and
        `subject_groups`; and `domains`, the averages of [`~glow_trl.evaluation.metrics.domain_averages`].

    Raises:
        UserError: bad input or configuration, or an output folder that cannot be written to.
    """
    benchmarks = config.resolve()
    folder = Path(config.output_dir)
    make_writable(folder)
    loaded = [checked_questions(benchmark, config) for benchmark in benchmarks]
    asks_messages = config.is_remote if engine is None else engine.takes_messages
    tokenizer = None if asks_messages else config.load_tokenizer()
    jobs = []
    for benchmark, (questions, dropped) in zip(benchmarks, loaded, strict=True):
        prompts = render_prompts(questions, benchmark, config, tokenizer)
        prints = job_fingerprints(config, questions, prompts)
        jobs.append(Job(benchmark, questions, dropped, prompts, prints, folder))

    state = OutputState(folder)
    for job in jobs:
        state.open(job)
    with (
        progress_bars(console is not None and console.is_terminal, console) as progress,
        ModelLoader(config, engine) as models,
    ):
        for job in [] if only_entropy else jobs:
            if not job.generations_file.exists():
                samples = _generate(job, job.samples_file, len(job.questions), config.sampling, models, progress)
                _score_samples(job, samples, config, progress)
                state.mark_scored(job)
            elif config.rescore or not state.is_scored(job):
                _rescore(job, config, progress)
                state.mark_scored(job)
        if config.measures_entropy:
            _measure_entropy([job for job in jobs if not job.entropy_file.exists()], config, models, progress)
        if models.used:
            state.add_time()

    if only_entropy:
        state.clean(jobs)
        return {"benchmarks": {job.benchmark.name: _entropy_of(job, config) for job in jobs}, "seconds": state.seconds}
    summaries = {job.benchmark.name: _summarize(job, config) for job in jobs}
    results = {
        "model_name_or_path": config.model_name_or_path,
        "sampling": jsonable(config.sampling.identity),
        "benchmarks": summaries,
        "domains": domain_averages(summaries),
        "seconds": state.seconds,
    }
    write_json(folder / "results.json", results)
    state.clean(jobs)
    return results


def _generate(
    job: Job,
    file: Path,
    count: int,
    sampling: SamplingConfig,
    models: ModelLoader,
    progress: "Progress",
) -> dict[tuple[int, int], Generation]:
    """Completions of the first `count` questions, those from an earlier run included."""
    with SampleStore(file) as store:
        total = count * sampling.num_samples
        if len(store.samples) < total:
            task = progress.add_task(f"{job.benchmark.name}: generate", total=total, completed=len(store.samples))
            refused: dict[int, str] = {}
            stream = models.engine().stream_samples(
                job.prompts[:count], sampling, done=store.samples.keys(), on_refused=refused.__setitem__
            )
            for index, sample, generation in stream:
                store.add(index, sample, generation)
                progress.advance(task)
            if len(refused) == count:
                raise UserError(
                    f"benchmark '{job.benchmark.name}': no question can be asked: {next(iter(refused.values()))}"
                )
            # A question that is too long for the model is one that it does not answer
            for index in refused:
                for sample in range(sampling.num_samples):
                    store.add(index, sample, Generation("", [], 0, "length"))
        if len(store.samples) < total:
            raise RuntimeError(f"the engine ended before it had drawn all samples of '{job.benchmark.name}'")
        return dict(sorted(store.samples.items()))


def _score_samples(
    job: Job, samples: dict[tuple[int, int], Generation], config: EvalConfig, progress: "Progress"
) -> None:
    rows = [
        {
            **job.questions[index],
            "index": index,
            "benchmark": job.benchmark.name,
            "sample": sample,
            "completion": generation.text,
            "n_tokens": generation.n_tokens,
            "finish_reason": generation.finish_reason,
        }
        for (index, sample), generation in samples.items()
    ]
    write_jsonl(job.generations_file, _judged(rows, job.benchmark.name, config.restated, progress))


def _rescore(job: Job, config: EvalConfig, progress: "Progress") -> None:
    rows = [{**row, **job.questions[row["index"]]} for _, row in read_jsonl(job.generations_file)]
    write_jsonl(job.generations_file, _judged(rows, job.benchmark.name, config.restated, progress))


def _judged(rows: list[dict[str, Any]], name: str, restated: str, progress: "Progress") -> Iterator[dict[str, Any]]:
    from ..verifiers import verify_batch

    task = progress.add_task(f"{name}: verify", total=len(rows))
    for start in range(0, len(rows), _VERIFIED_AT_ONCE):
        chunk = rows[start : start + _VERIFIED_AT_ONCE]
        verdicts = verify_batch(
            [row["completion"] for row in chunk],
            [row["answer"] for row in chunk],
            [row["kind"] for row in chunk],
            choices=[row.get("choices") for row in chunk],
            tolerances=[row.get("tolerance") for row in chunk],
            problems=[row["problem"] for row in chunk],
            restated=restated,
        )
        for row, verdict in zip(chunk, verdicts, strict=True):
            yield {**row, "verdict": dataclasses.asdict(verdict)}
        progress.advance(task, len(chunk))


def _measure_entropy(jobs: list[Job], config: EvalConfig, models: ModelLoader, progress: "Progress") -> None:
    """Write the entropy of completions drawn at temperature 1: the evaluation's own, or one more per question."""
    drawn: list[tuple[Job, dict[tuple[int, int], Generation]]] = []
    for job in jobs:
        if config.sampling.is_untempered and job.samples_file.exists():
            with SampleStore(job.samples_file) as store:
                drawn.append((job, dict(sorted(store.samples.items()))))
        else:
            sampling = SamplingConfig(1, 1.0, 1.0, config.max_new_tokens, config.seed)
            count = min(config.entropy_questions, len(job.questions))
            drawn.append((job, _generate(job, job.entropy_samples_file, count, sampling, models, progress)))
    if not drawn:
        return
    model = models.transformers_model()
    for job, samples in drawn:
        kept = {key: generation for key, generation in samples.items() if generation.token_ids}
        rows = [
            {"index": index, "sample": sample, "n_tokens": len(generation.token_ids)}
            for (index, sample), generation in kept.items()
        ]
        task = progress.add_task(f"{job.benchmark.name}: entropy", total=len(rows))
        completions = [generation.token_ids for generation in kept.values()]
        prompts = [job.prompts[row["index"]] for row in rows]
        sums = completion_entropies(model, prompts, completions, config.batch_tokens, config.batch_size)
        for position, total in sums:
            rows[position]["entropy"] = total / rows[position]["n_tokens"]
            progress.advance(task)
        write_jsonl(job.entropy_file, rows)


def _summarize(job: Job, config: EvalConfig) -> dict[str, Any]:
    rows = [row for _, row in read_jsonl(job.generations_file)]
    votes = answer_groups(rows) if config.majority and config.resolved_k_values[-1] > 1 else None
    source = job.benchmark.source()
    summary = {
        "domain": "in" if config.is_in_domain(job.benchmark) else "out",
        "group": job.benchmark.domain,
        "version": job.benchmark.version,
        "source": {"path": source.path, "note": source.note},
        **benchmark_metrics(rows, config.resolved_k_values, votes),
        "bad_gold": job.dropped,
        "refused": len({row["index"] for row in rows if row["n_tokens"] == 0}),
    }
    if job.benchmark.split_by_subject:
        summary |= subject_metrics(rows, job.benchmark.subject_groups)
    if config.measures_entropy:
        summary |= _entropy_of(job, config)
    return summary


def _entropy_of(job: Job, config: EvalConfig) -> dict[str, Any]:
    return entropy_summary([row for _, row in read_jsonl(job.entropy_file)], config.max_new_tokens)
