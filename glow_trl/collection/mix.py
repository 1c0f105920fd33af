"""Mixes labelled trajectories into a training set, a validation set and the questions for stage 2."""

import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from ..stages.command import run_command
from ..stages.config import parse_command
from ..stages.console import say_results
from ..stages.frame import stage_run
from .mixing.config import MixConfig


logger = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> None:
    """Run `glow-trl mix` with the arguments `argv`, by default those of the command line."""
    from ..data.paths import is_local
    from .mixing.benchmarks import resolve_benchmarks
    from .mixing.run import mix, summary

    settings = parse_command("mix", sys.argv[1:] if argv is None else argv)
    config: MixConfig = settings.config
    benchmarks, _ = resolve_benchmarks(config.decontaminate)
    inputs = [*config.files, *(item.path for item in benchmarks if is_local(item.path))]
    if config.ledger:
        inputs += sorted(path for path in Path(config.ledger).glob("*") if path.suffix in (".npy", ".jsonl"))
    with stage_run(settings, config.output_dir, inputs) as run:
        if run.is_complete:
            return
        run.start()
        facts = mix(config, run.output_dir)
        run.complete(**facts)
    logger.warning("mix: %s", summary(facts))
    say_results(run.output_dir)


if __name__ == "__main__":
    sys.exit(run_command("mix"))
