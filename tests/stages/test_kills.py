"""
Every command, killed at a random moment and started again, ends with the bytes of one that was left alone: SIGKILL,
SIGTERM, and Ctrl-C, which the whole group of processes gets. `GLOW_TRL_KILLS=60` sets how many,
`GLOW_TRL_KILLS_FROM=60` from which seed on; a quarter of many are processes of their own from their first import on.
"""

import json
import os
import random
import re
import shutil
import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from glow_trl.data import write_jsonl
from glow_trl.stages.registry import COMMANDS
from helpers.launching import CPU, ROOT
from helpers.processes import Worker


pytestmark = pytest.mark.slow

NAMES = list(COMMANDS)
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
FIRST = int(os.environ.get("GLOW_TRL_KILLS_FROM", "0"))
COUNT = int(os.environ.get("GLOW_TRL_KILLS", len(NAMES)))

# A disk has at least a page
SPARE = 4096
# What says when something was done, how fast, and with which revision of a tree that is worked on
TIMES = {
    "seconds",
    "git",
    "started",
    "finished",
    "rows_per_second",
    "tokens_per_second",
    "new_samples",
    "new_tokens",
    "asked",
    "time",
}
TIMES |= {"evaluation_seconds", "step_time", "train_runtime", "train_samples_per_second", "train_steps_per_second"}


@dataclass
class Job:
    """One command, which writes into a folder of its own; `given` is what lies there before."""

    argv: list[str]
    folder: Path
    given: Path | None = None
    expected: dict[str, bytes] = field(default_factory=dict)
    seconds: float = 0.0
    space: int = 0

    def clear(self) -> None:
        for path in self.folder.iterdir() if self.folder.is_dir() else ():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        if self.given is not None:
            made = shutil.ignore_patterns("summary.json", "report.html")
            shutil.copytree(self.given, self.folder / "out", ignore=made)


def without_times(value):
    if isinstance(value, dict):
        return {key: without_times(item) for key, item in value.items() if key not in TIMES}
    return [without_times(item) for item in value] if isinstance(value, list) else value


def content(folder: Path) -> dict[str, bytes]:
    """All files, without what they say of times."""
    return {str(path.relative_to(folder)): plain(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def plain(path: Path) -> bytes:
    if path.suffix == ".json":
        return json.dumps(without_times(json.loads(path.read_bytes()))).encode()
    if path.name == "log.jsonl":
        return json.dumps([without_times(json.loads(line)) for line in path.read_text().splitlines()]).encode()
    if path.name == "README.md":
        # TRL has the tags of a model card in the order of a set
        return b"\n".join(sorted(path.read_bytes().splitlines()))
    if path.suffix == ".html":
        # Durations and dates of the stages
        return re.sub(rb"\d[\d.,]* (s|min|h)\b|\d{4}-\d\d-\d\d[T ][\d:+]*", b"", path.read_bytes())
    return path.read_bytes()


SMALL_RECIPE = {
    "recipe": {
        "quickstart": {"train_questions": 16, "samples_per_question": 2, "rl_questions": 8, "test_questions": 4},
        "built_model": {
            **{"hidden_size": 32, "intermediate_size": 64},
            **{"num_attention_heads": 2, "num_key_value_heads": 2},
        },
    },
    "sft": {"max_steps": 4, "per_device_train_batch_size": 8, "save_steps": 2, "warmup_steps": 0},
    "grpo": {
        **{"max_steps": 2, "per_device_train_batch_size": 8, "num_generations": 4, "max_completion_length": 8},
        **{"save_steps": 1, "guard_max_clipped_ratio": None, "guard_max_entropy": None},
    },
    "eval": {"num_samples": 1, "max_new_tokens": 8, "only": ["in_domain"]},
}


def make_recipe(folder: Path) -> Path:
    """The quickstart with everything made small."""
    shutil.copytree(ROOT / "recipes" / "quickstart", folder)
    for name, changes in SMALL_RECIPE.items():
        settings = yaml.safe_load((folder / f"{name}.yaml").read_text())
        for key, value in changes.items():
            settings[key] = {**settings[key], **value} if name == "recipe" else value
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(settings))
    return folder


def made_up_rows(count: int) -> list[dict]:
    """Labelled trajectories; of some only computer algebra can say whether they are right."""
    rng = random.Random(0)
    rows = []
    for index in range(count):
        a, b = rng.randrange(100), rng.randrange(2, 100)
        gold, answer = str(a + b), str(a + b + index % 2)
        if index % 5 == 0:
            gold, answer = rf"\sqrt{{{b}}}+{a}", rf"{a}+\frac{{{b + index % 2}}}{{\sqrt{{{b}}}}}"
        text = "; ".join(f"{n}+{a}={n + a}" for n in range(index % 20))
        rows.append(
            {
                "sample_id": f"r{index}",
                "problem": f"{a}+{b}=?",
                "completion": f"{text} so \\boxed{{{answer}}}",
                "answer": gold,
                "is_correct": index % 2 == 0,
                "model": "made-up",
            }
        )
    return rows


@pytest.fixture(scope="module")
def worker(tmp_path_factory):
    folder = tmp_path_factory.mktemp("worker")
    worker = Worker("helpers.command_worker", errors=folder / "stderr.txt")
    worker.folder = folder
    yield worker
    worker.close()


def run(worker: Worker, argv: list, **job) -> tuple[dict, str]:
    """Run a command; what the worker answers, and what the command said."""
    log = worker.folder / "said.txt"
    answer = worker(argv=[str(part) for part in argv], log=log, **job)
    return answer, log.read_text(errors="replace")


def run_to_the_end(worker: Worker, argv: list, **job) -> dict:
    answer, said = run(worker, argv, **job)
    assert answer["code"] == 0, said[-3000:]
    assert answer["strays"] == []
    return answer


@pytest.fixture(scope="module")
def jobs(worker, tiny_model, trajectories, tmp_path_factory) -> dict[str, Job]:
    folder = tmp_path_factory.mktemp("kills")
    rows, questions = folder / "rows.jsonl", folder / "questions.jsonl"
    write_jsonl(rows, made_up_rows(1500))
    write_jsonl(questions, [{"problem": f"{a}+{a}=", "answer": str(2 * a)} for a in range(24)])
    (folder / "sums.yaml").write_text(f"path: {questions}\n")
    model = ["--model_name_or_path", tiny_model]
    tokens = ["--max_new_tokens", "12", "--batch_size", "8"]
    data = ["--dataset_name", trajectories]
    sums = ["--benchmarks", str(folder / "sums.yaml")]
    # No step is as long as a save, so that many a kill hits one
    train = [*CPU, "--save_steps", "1", "--save_total_limit", "2", "--logging_steps", "1", "--warmup_steps", "0"]
    lora = ["--use_peft", "--lora_r", "4", "--lora_target_modules", "all-linear"]
    sft = ["sft", *model, *data, *train, "--per_device_train_batch_size", "8"]
    ready = folder / "made_before"
    for name, argv in {
        "sft": [*sft, "--max_steps", "6"],
        "adapter": [*sft, *lora, "--max_steps", "2"],
        "eval": ["eval", *model, *sums, *tokens],
    }.items():
        run_to_the_end(worker, [*argv, "--output_dir", ready / name])
    run_to_the_end(
        worker, ["eval", "--model_name_or_path", ready / "sft", *sums, *tokens, "--output_dir", ready / "eval2"]
    )
    recipe = make_recipe(folder / "recipes" / "quickstart")
    run_to_the_end(worker, ["run", recipe, "--output_dir", ready / "run"])
    study = folder / "study.yaml"
    study.write_text(
        f"recipe: {recipe}\narms: [glow]\nseeds: [1]\ncontrol: glow\nprimary: [accuracy]\n"
        "measures: {accuracy: {stage: grpo, benchmarks: in}}\n"
    )
    place = ready / "study" / "runs" / "quickstart" / "seed-1" / "glow"
    run_to_the_end(worker, ["run", recipe, "--output_dir", place, "--seed", "1", "--arms", "glow"])

    grpo = ["--max_steps", "3", "--num_generations", "4", "--max_completion_length", "8"]
    evaluated = [str(ready / "eval"), str(ready / "eval2")]
    argvs = {
        "run": ["run", str(recipe)],
        "collect": ["collect", *model, "--dataset_name", str(questions), *tokens, "--num_samples", "2"],
        "label": ["label", "--dataset_name", str(rows), "--workers", "2"],
        "mix": ["mix", "--dataset_name", str(rows), "--near_duplicate_threshold", "0.8", "--validation_split", "0.1"],
        "sft": [*sft, "--max_steps", "8"],
        "grpo": ["grpo", *model, *data, *train, *grpo, "--per_device_train_batch_size", "8"],
        "eval": ["eval", *model, *sums, *tokens, "--num_samples", "2"],
        "merge": ["merge", str(ready / "adapter")],
        "compare": ["compare", *evaluated],
        "entropy": ["entropy", tiny_model, str(ready / "sft"), *sums, "--max_new_tokens", "12"],
        "ready": [
            *("ready", tiny_model, str(ready / "sft"), "--base", tiny_model, "--questions", str(questions), *tokens),
            *("--num_samples", "2", "--trajectories", trajectories),
        ],
        "report": ["report"],
        "dynamics": ["dynamics", str(ready / "sft")],
        "loss": ["loss", *model, *data, "--batch_size", "4"],
        "annotate": [
            *("annotate", "--dataset_name", str(ready / "run" / "prepare" / "data" / "trajectories.jsonl")),
            *("--judge", "rule", "--taxonomy", "quickstart"),
        ],
        "audit": ["audit", str(rows), "--workers", "2"],
        "verify": ["verify", str(rows), "--workers", "2"],
        # Its page: how its runs end with it is tested in tests/study
        "study": ["study", str(study), "--assemble", "true"],
    }
    assert set(argvs) == set(NAMES)
    jobs = {}
    for name, argv in argvs.items():
        out = folder / name / "out"
        file = out.with_suffix({"compare": ".json", "verify": ".jsonl"}.get(name, ""))
        where = {"report": [str(out)]}
        where |= {key: ["--output", str(file)] for key in ("compare", "verify", "merge")}
        given = {"report": ready / "run", "study": ready / "study"}.get(name)
        jobs[name] = Job([*argv, *where.get(name, ["--output_dir", str(out)])], out.parent, given)
    return jobs


def check_same_end(job: Job) -> None:
    found = content(job.folder)
    assert found.keys() == job.expected.keys()
    for name in found:
        lines = (files[name].splitlines() for files in (found, job.expected))
        assert found[name] == job.expected[name], (
            name,
            [pair for pair in zip(*lines, strict=False) if len({*pair}) > 1],
        )


@pytest.fixture
def job(request, worker, jobs) -> Job:
    """One that was run to its end once, undisturbed."""
    job = jobs[request.param]
    if not job.expected:
        job.clear()
        job.seconds = run_to_the_end(worker, job.argv)["seconds"]
        job.expected, job.space = content(job.folder), space(job.folder)
        assert job.expected
    return job


@pytest.mark.parametrize(
    ("job", "seed"),
    [(NAMES[seed % len(NAMES)], seed) for seed in range(FIRST, FIRST + COUNT)],
    indirect=["job"],
)
def test_a_killed_command_ends_like_one_that_was_not(worker, job, seed):
    number = SIGNALS[(seed // len(NAMES) + seed) % len(SIGNALS)]
    alone = seed // len(NAMES) % 4 == 3
    rng = random.Random(seed)
    # It may be over before it is killed, or so nearly that it is done
    seconds = job.seconds if not alone else job.seconds + 10
    for _ in range(10):
        job.clear()
        kill = {"signal": number, "delay": rng.uniform(0, seconds)}
        killed, said = run(worker, job.argv, alone=alone, kill=kill)
        if killed["killed"] and killed["code"] != 0:
            break
        # The machine may have been busier before
        seconds = min(seconds, killed["seconds"])
    assert killed["strays"] == []
    assert killed["code"] == (-number if number == signal.SIGKILL else 128 + number), said[-3000:]
    if number != signal.SIGKILL:
        last = "continues where it stopped" if COMMANDS[job.argv[0]].continues else "starts over"
        lines = said.splitlines()
        assert lines.count(f"glow-trl: interrupted; the same command {last}") == 1 and "Traceback" not in said, said
        assert [path for path in job.folder.rglob("*") if path.name.endswith((".partial", ".lock"))] == []
    if not COMMANDS[job.argv[0]].continues:
        # Nobody looks at these again before they are replaced: what has its name is whole
        for name, text in content(job.folder).items():
            assert name.endswith("run.json") or job.expected.get(name, text) == text, name
    run_to_the_end(worker, job.argv, alone=alone)
    check_same_end(job)


@pytest.mark.parametrize("seed", range(FIRST, FIRST + max(1, COUNT // len(NAMES))))
def test_a_run_that_selects_its_start_survives_five_kills(worker, tmp_path, seed):
    """One after the other, at random moments: the epochs, what was measured of them, the choice and the weights."""
    recipe = make_recipe(tmp_path / "recipes" / "quickstart")
    for name, changes in {
        "recipe": {"arms": {"glow": {}}, "compare": ["glow"], "select_start": "ready"},
        "sft": {"max_steps": -1, "num_train_epochs": 3},
        "ready": {"num_questions": 6, "num_samples": 4},
    }.items():
        path = recipe / f"{name}.yaml"
        settings = yaml.safe_load(path.read_text()) if path.is_file() else {}
        path.write_text(yaml.safe_dump(settings | changes))
    (recipe / "eval.yaml").unlink()
    job = Job(["run", str(recipe), "--output_dir", str(tmp_path / "made" / "out")], tmp_path / "made")
    seconds = run_to_the_end(worker, job.argv)["seconds"]
    job.expected = content(job.folder)
    assert len(list(job.folder.glob("out/glow/ready/starts/*/results.json"))) == 3
    rng = random.Random(seed)
    job.clear()
    kills = 0
    while kills < 5:
        kill = {"signal": signal.SIGKILL, "delay": rng.uniform(0.05, 0.35) * seconds}
        killed, said = run(worker, job.argv, kill=kill)
        assert killed["code"] == (-signal.SIGKILL if killed["killed"] else 0) and killed["strays"] == [], said[-3000:]
        kills += killed["killed"]
        if not killed["killed"]:
            # It was over before its five kills: on a machine that was busier before
            job.clear()
            kills, seconds = 0, 0.7 * seconds
    run_to_the_end(worker, job.argv)
    check_same_end(job)


def pages(size: int) -> int:
    """Bytes that so many take on a disk."""
    return -(-size // 4096) * 4096


def space(folder: Path) -> int:
    return sum(pages(path.stat().st_size) for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def disk():
    """Puts a disk of its own at a folder; what it is called with again is its new size."""
    mounted: list[Path] = []

    def make(folder: Path, size: int) -> None:
        options = f"remount,size={size}" if folder in mounted else f"size={size}"
        folder.mkdir(exist_ok=True)
        if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True).returncode:
            pytest.skip("may not mount a disk here")
        mounted.append(folder)

    yield make
    for folder in set(mounted):
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.mark.parametrize(
    ("job", "seed"),
    [(NAMES[seed % len(NAMES)], seed) for seed in range(FIRST, FIRST + COUNT)],
    indirect=["job"],
)
def test_a_command_whose_disk_was_full_ends_like_one_whose_was_not(worker, job, seed, disk):
    """The disk has room for a random part of what the command writes; then there is room."""
    disk(job.folder, 1 << 30)
    job.clear()
    before = space(job.folder)
    room = random.Random(seed).randrange(0, job.space - before, 4096)
    filler = job.folder / "filler"
    filler.write_bytes(bytes(SPARE))
    disk(job.folder, before + SPARE + room)
    ended, said = run(worker, job.argv)
    assert ended["code"] == 1 and ended["strays"] == [], said[-3000:]
    assert said.count("glow-trl: error: cannot write: No space left on device") == 1, said[-3000:]
    assert "Traceback" not in said, said[-3000:]
    filler.unlink()
    disk(job.folder, 1 << 30)
    run_to_the_end(worker, job.argv)
    check_same_end(job)
