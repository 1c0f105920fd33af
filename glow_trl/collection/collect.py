"""Collects trajectories: lets a teacher answer each question several times."""

import contextlib
import logging
import sys
import time
from collections.abc import Sequence
from typing import Any

from ..data import Reject, RejectsFile
from ..data.handover import other_prompts, read_handover
from ..data.log_probs import row_columns
from ..errors import ServiceError, UserError
from ..generation import Engine, Generation
from ..stages.command import run_command
from ..stages.config import as_mapping, parse_command
from ..stages.console import progress, say_results
from ..stages.dotted import own_code
from ..stages.frame import stage_run
from ..stages.record import StageRun
from .collecting.config import CollectConfig
from .collecting.questions import Prompts, questions_to_ask, read_template
from .collecting.shards import SampleShards


logger = logging.getLogger(__name__)


def collect(config: CollectConfig, run: StageRun, engine: Engine | None = None) -> dict[str, Any]:
    """
    Ask for the samples that are missing, write each as it comes, and return the facts for the record of the run. An
    `engine` that is given takes the place of the one that `config` names, and is not closed.
    """
    asks_messages = config.is_remote if engine is None else engine.takes_messages
    template = read_template(config.chat_template_path)
    tokenizer = None
    if config.prompt_format == "chat" and not asks_messages:
        tokenizer = config.load_tokenizer()
        tokenizer.chat_template = template or tokenizer.chat_template
        for other in other_prompts(
            read_handover(config.model_name_or_path), config.system_prompt, config.prompt_template
        ):
            logger.warning("%s: %s", config.model_name_or_path, other)
    with RejectsFile(run.output_dir / "rejects.jsonl") as rejects:
        questions, places, repeated = questions_to_ask(config, rejects)
        prompts = Prompts(questions, config, tokenizer)
        problems = [question["problem"] for question in questions]
        if tokenizer is not None:
            _ = prompts[0]  # a chat template that cannot be used is found before the model is loaded

        refused: set[int] = set()

        def refuse(index: int, reason: str) -> None:
            place = places[index]
            refused.add(index)
            rejects(Reject(place.file, place.number, "the teacher refuses it", f": {reason}", questions[index]))

        with SampleShards(run.output_dir, problems, config.num_samples, config.questions_per_shard) as shards:
            before, started, without = (shards.rows, shards.tokens), time.perf_counter(), 0
            if not shards.complete:
                with contextlib.ExitStack() as stack:
                    if engine is None:
                        engine = stack.enter_context(config.create_engine(**_for_messages(config, template)))
                    started = time.perf_counter()
                    without = _ask(engine, prompts, questions, config, shards, refuse)
            seconds = time.perf_counter() - started
            shards.finish()
        if shards.rows < (len(questions) - len(refused)) * config.num_samples:
            raise RuntimeError(f"the engine {config.engine!r} ended before it had drawn all samples")
        if not shards.rows:
            raise UserError(f"the teacher could not be asked any of {len(questions):,} questions, see rejects.jsonl")
    new_tokens = shards.tokens - before[1]
    return {
        "questions": len(questions),
        "repeated": repeated,
        "rejected": rejects.count,
        "reasons": dict(rejects.counts.most_common()),
        "samples": shards.rows,
        "tokens": shards.tokens,
        "truncated": shards.truncated / shards.rows,
        "new_samples": shards.rows - before[0],
        "new_tokens": new_tokens,
        **({"new_samples_without_log_probs": without} if config.log_probs else {}),
        "tokens_per_second": round(new_tokens / seconds, 1) if new_tokens else None,
        "files": [path.name for path in shards.paths if path.exists()],
    }


def _ask(engine, prompts, questions, config, shards, refuse) -> int:
    """Draw what is missing; returns how many samples came without the log-probabilities that were asked for."""
    without = 0
    model = config.model_name_or_path
    prefix = model.rstrip("/").rpartition("/")[2]
    with progress() as bars:
        task = bars.add_task("collect", total=len(questions) * config.num_samples, completed=shards.rows)
        samples = engine.stream_samples(prompts, config.sampling, done=shards, on_refused=refuse)
        with contextlib.closing(samples):
            for index, sample, generation in samples:
                question = questions[index]
                columns = _log_probs(generation) if config.log_probs else {}
                if config.log_probs and not columns:
                    without += 1
                    if without == 1:
                        logger.warning(
                            "log_probs: the engine %r does not tell the log-probabilities of all tokens, or not of "
                            "which; such rows have no columns log_probs and completion_ids",
                            config.engine,
                        )
                shards.append(
                    {
                        "sample_id": f"{prefix}/{question['question_id']}/{sample}",
                        **question,
                        "completion": generation.text,
                        "model": model,
                        "index": index,
                        "sample": sample,
                        "n_tokens": generation.n_tokens,
                        "finish_reason": generation.finish_reason,
                        **columns,
                    }
                )
                bars.advance(task)
    return without


def _log_probs(generation: Generation) -> dict[str, str]:
    """The two columns of what was sampled, where the engine tells both."""
    if generation.log_probs is None or (generation.n_tokens and not generation.token_ids):
        return {}
    return row_columns(generation.token_ids[: len(generation.log_probs)], generation.log_probs)


def _for_messages(config: CollectConfig, template: str | None) -> dict[str, Any]:
    """What an engine that is given conversations has to know about the chat template."""
    options: dict[str, Any] = {}
    if config.chat_template_kwargs:
        options["chat_template_kwargs"] = config.chat_template_kwargs
    if template is not None:
        extra = as_mapping(config.engine_options.get("extra_body"), "extra_body")
        options["extra_body"] = extra | {"chat_template": template}
    return options


def main(argv: Sequence[str] | None = None) -> None:
    """Run `glow-trl collect` with the arguments `argv`, by default those of the command line."""
    settings = parse_command("collect", sys.argv[1:] if argv is None else argv)
    config: CollectConfig = settings.config
    code = own_code([config.engine], "engine")
    inputs = [*config.files, config.checkpoint_folder(), config.chat_template_path, *code]
    with stage_run(settings, config.output_dir, inputs) as run:
        if run.is_complete:
            return
        run.start()
        try:
            facts = collect(config, run)
        except ServiceError as error:
            raise ServiceError(
                f"{error}; the samples so far are kept in {run.output_dir}, the same command continues"
            ) from error
        run.complete(**facts)
    logger.warning("collect: %s", summary(facts))
    say_results(run.output_dir)


def summary(facts: dict[str, Any]) -> str:
    """One line about what was collected."""
    text = f"{facts['samples']:,} trajectories on {facts['questions']:,} questions, {facts['tokens']:,} tokens"
    if facts["tokens_per_second"]:
        text += f" ({facts['tokens_per_second']:,.0f} a second)"
    text += f", {facts['truncated']:.1%} cut off"
    if facts["rejected"]:
        text += f"; {facts['rejected']:,} questions could not be asked (see rejects.jsonl)"
    return text


if __name__ == "__main__":
    sys.exit(run_command("collect"))
