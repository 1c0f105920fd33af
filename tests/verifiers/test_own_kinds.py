"""A kind, a reward, an engine of the user's own, in a module of the current folder, whatever started the process.

The commands run with `python -P`: as the script `glow-trl` does, it does not put the current folder on the path.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from glow_trl.benchmarks import get_benchmark, load_questions
from glow_trl.data import read_jsonl, write_jsonl
from glow_trl.errors import UserError
from glow_trl.recipes.recipe import write_settings
from glow_trl.stages.dotted import load_dotted
from glow_trl.verifiers import KINDS, load_kind, verify


ROOT = Path(__file__).resolve().parents[2]
MODULE = """
import os
from pathlib import Path

def ends_alike(prediction, gold, options):
    Path(f"judged_by_{os.getpid()}").touch()
    return prediction.endswith(gold)

def brevity(completions, **columns):
    return [-float(len(completion)) for completion in completions]

not_a_function = 5
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "own_things.py").write_text(MODULE)
    (tmp_path / "not_wanted.py").write_text("from pathlib import Path\nPath('imported').touch()\n")
    return tmp_path


def run(folder: Path, *argv: object) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-P", "-m", *map(str, argv)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


def test_label_judges_by_it_in_every_process(folder):
    rows = [{"problem": "p", "completion": text, "answer": "ba"} for text in ("abba", "abca")] * 1500
    write_jsonl(folder / "rows.jsonl", rows)
    options = ["--dataset_name", "rows.jsonl", "--kind", "own_things:ends_alike", "--workers", 2]
    result = run(folder, "glow_trl", "label", *options, "--output_dir", "out")
    assert result.returncode == 0 and "1,500 positive, 1,500 negative" in result.stderr, result.stderr
    assert len(list(folder.glob("judged_by_*"))) >= 2


def test_rows_may_name_only_what_the_settings_name(folder):
    """What a row names is not imported by itself: data do not run code."""
    rows = [{"problem": "p", "completion": "abba", "answer": "ba", "kind": "own_things:ends_alike"}] * 2
    rows.append({"problem": "p", "completion": "abba", "answer": "r", "kind": "not_wanted:judge"})
    rows.append({"problem": "p", "completion": "true", "answer": "r", "kind": "os:popen"})
    write_jsonl(folder / "rows.jsonl", rows)
    options = ["--dataset_name", "rows.jsonl", "--kinds", "own_things:ends_alike"]
    result = run(folder, "glow_trl", "label", *options, "--output_dir", "out")
    assert result.returncode == 0 and "2 positive, 0 negative, 2 could not be judged" in result.stderr, result.stderr
    for _, reject in read_jsonl(folder / "out" / "rejects.jsonl"):
        assert "only those that the settings name (`kinds`) are imported" in reject["detail"]
    options = ["--output", "out.jsonl", "--kinds", "own_things:ends_alike", "--keep_going"]
    result = run(folder, "glow_trl", "verify", "rows.jsonl", *options)
    assert result.returncode == 2 and "2 malformed lines left out" in result.stdout, result.stderr
    assert [row["correct"] for _, row in read_jsonl(folder / "out.jsonl")] == [True, True]
    assert not (folder / "imported").exists()


@pytest.mark.slow
def test_training_that_is_launched_has_kinds_and_rewards_of_the_current_folder(folder, tiny_model):
    """With two processes, each of which judges."""
    rows = [{"problem": f"{a}+1=?", "answer": str(a + 1), "kind": "own_things:ends_alike"} for a in range(8)]
    write_jsonl(folder / "rows.jsonl", rows)
    config = {"compute_environment": "LOCAL_MACHINE", "distributed_type": "MULTI_GPU", "use_cpu": True}
    write_settings(folder / "accelerate.yaml", config | {"mixed_precision": "no", "num_processes": 2})
    launcher = ["accelerate.commands.accelerate_cli", "launch", "--config_file", "accelerate.yaml"]
    launcher += ["-m", "glow_trl.grpo"]
    options = ["--model_name_or_path", tiny_model, "--dataset_name", "rows.jsonl", "--output_dir", "out"]
    options += ["--reward_funcs", "accuracy_reward", "own_things.brevity", "--kinds", "own_things:ends_alike"]
    options += ["--num_generations", 2, "--per_device_train_batch_size", 2, "--max_completion_length", 4]
    options += ["--use_cpu", "true", "--bf16", "false", "--max_steps", 1, "--logging_steps", 1]
    result = run(folder, *launcher, *options)
    assert result.returncode == 0, result.stderr[-3000:]
    log = [row for _, row in read_jsonl(folder / "out" / "log.jsonl")]
    assert {"rewards/accuracy_reward/mean", "rewards/brevity/mean"} <= log[0].keys()
    assert len(list(folder.glob("judged_by_*"))) == 2


def test_a_benchmark_judges_by_it(folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    monkeypatch.setattr(KINDS, "_judges", dict(KINDS._judges))
    write_jsonl(folder / "rows.jsonl", [{"problem": "p", "answer": "ba"}])
    (folder / "mine.yaml").write_text("domain: words\npath: rows.jsonl\nkind: own_things:ends_alike\n")
    (question,) = load_questions(get_benchmark("mine.yaml"))
    assert verify("abba", question["answer"], question["kind"]).correct is True


def test_what_is_wrong_with_a_path_is_said(folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    for path, problem in (
        ("own_thing:ends_alike", "own_thing cannot be imported"),
        ("own_things:end_alike", "there is no end_alike in own_things; did you mean ends_alike?"),
        ("own_things:not_a_function", "expected a function, found int"),
        ("own_things:", "no dotted path"),
        (":judge", "no dotted path"),
        ("mth", "did you mean math?"),
    ):
        with pytest.raises(UserError) as caught:
            load_kind(path)
        assert problem in str(caught.value)
    assert load_dotted("own_things.brevity", "reward_funcs") is load_dotted("own_things:brevity", "reward_funcs")


def test_a_loaded_kind_stands_under_its_path(folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    monkeypatch.setattr(KINDS, "_judges", dict(KINDS._judges))
    load_kind("own_things:ends_alike")
    verdict = verify("abba", "ba", "own_things:ends_alike")
    assert (verdict.correct, verdict.kind) == (True, "own_things:ends_alike")
