"""One benchmark of an evaluation: its questions, its files, and what they were made from."""

import contextlib
import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..benchmarks import BenchmarkConfig
from ..generation import Prompt
from ..stages.files import make_writable, write_json
from ..version import __version__
from .config import EvalConfig


_WORK = "work"


@dataclass
class Job:
    """One benchmark on its way through the evaluation."""

    benchmark: BenchmarkConfig
    questions: list[dict[str, Any]]
    dropped: int
    prompts: list[Prompt]
    fingerprints: dict[str, str]
    folder: Path

    @property
    def generations_file(self) -> Path:
        return self.folder / f"generations_{self.benchmark.name}.jsonl"

    @property
    def entropy_file(self) -> Path:
        return self.folder / f"entropy_{self.benchmark.name}.jsonl"

    @property
    def samples_file(self) -> Path:
        return self.folder / _WORK / f"{self.benchmark.name}.samples.jsonl"

    @property
    def entropy_samples_file(self) -> Path:
        return self.folder / _WORK / f"{self.benchmark.name}.entropy_samples.jsonl"


class OutputState:
    """What the files of an output folder were made from, in `state.json`."""

    def __init__(self, folder: Path):
        make_writable(folder)
        self.path = folder / "state.json"
        self._clock = time.perf_counter()
        self._content: dict[str, Any] = {"seconds": 0.0, "benchmarks": {}}
        if self.path.exists():
            self._content |= json.loads(self.path.read_text(encoding="utf-8"))

    def open(self, job: Job) -> None:
        """Remove what was generated from something else."""
        known = self._content["benchmarks"].setdefault(job.benchmark.name, {})
        stale = {
            "generation": (job.generations_file, job.samples_file),
            "entropy": (job.entropy_file, job.entropy_samples_file),
        }
        for purpose, files in stale.items():
            if known.get(purpose) != job.fingerprints[purpose]:
                for file in files:
                    file.unlink(missing_ok=True)
                known[purpose] = job.fingerprints[purpose]
        self._save()

    def is_scored(self, job: Job) -> bool:
        """Whether the saved verdicts are this package's on these gold answers."""
        return self._content["benchmarks"][job.benchmark.name].get("scoring") == job.fingerprints["scoring"]

    def mark_scored(self, job: Job) -> None:
        self._content["benchmarks"][job.benchmark.name]["scoring"] = job.fingerprints["scoring"]
        self.add_time()

    def add_time(self) -> None:
        """Add the time since the last call, or since opening, to that of all starts of this evaluation."""
        now = time.perf_counter()
        self._content["seconds"] += now - self._clock
        self._clock = now
        self._save()

    @property
    def seconds(self) -> float:
        return round(self._content["seconds"], 3)

    def clean(self, jobs: list[Job]) -> None:
        """Remove the working files of finished benchmarks."""
        for job in jobs:
            job.samples_file.unlink(missing_ok=True)
            job.entropy_samples_file.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            (self.path.parent / _WORK).rmdir()

    def _save(self) -> None:
        write_json(self.path, self._content)


def job_fingerprints(config: EvalConfig, questions: list[dict[str, Any]], prompts: list[Prompt]) -> dict[str, str]:
    """What a benchmark's completions, their verdicts and their entropy follow from."""
    source = {
        **config.model_identity(),
        "prompts": prompts,
        "sampling": config.sampling.identity,
    }
    generation = _digest(source)
    gold = [[row["answer"], row["kind"], row.get("choices"), row.get("tolerance")] for row in questions]
    protocol = None if config.sampling.is_untempered else config.entropy_questions
    return {
        "generation": generation,
        "scoring": _digest([generation, gold, config.restated, __version__]),
        "entropy": _digest([generation, protocol]),
    }


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:20]
