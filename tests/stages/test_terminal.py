"""Nothing from data, models, judges and servers reaches the terminal that could take it over."""

import json
import logging
import os
import re
import subprocess
import sys

import pytest

from glow_trl.cli import main
from glow_trl.stages.console import visible
from glow_trl.stages.terminal import _safe
from helpers.launching import CPU, environment


# Clear the screen, set the title, write to the clipboard, back over what was printed, C1, DEL, direction
HOSTILE = "\x1b[2J\x1b]0;owned\x07\x1b]52;c;aGk=\x1b\\\rover\x08\x9b31m\x7f\u202eevil\u2066\x00\u2028"
DANGEROUS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


@pytest.fixture
def said(capsys):
    """Run a command in this process: exit code, and all that it prints or logs."""
    handler = logging._StderrHandler(logging.WARNING)
    logging.getLogger().addHandler(handler)

    def run(*argv):
        code = main([str(part) for part in argv])
        output = capsys.readouterr()
        # Bars of other packages are drawn with it, whatever the place
        text = re.sub(r"\rLoading weights[^\r\n]*", "", output.out + output.err)
        assert not DANGEROUS.search(text), repr(text)
        return code, text

    yield run
    logging.getLogger().removeHandler(handler)


def row(**changes):
    texts = {
        "problem": f"1+1=? {HOSTILE}",
        "completion": f"\\boxed{{2}} {HOSTILE}",
        "source": HOSTILE,
        "model": HOSTILE,
    }
    return texts | {"answer": "2", "is_correct": True, "sample_id": HOSTILE} | changes


@pytest.fixture
def hostile(tmp_path):
    """A file of rows, all of whose texts are hostile; two that are faulty, each in its way; and what is no row."""

    def write(*more, name="rows\x1b[2J.jsonl"):
        path = tmp_path / name
        rows = [row(sample_id=f"{number}{HOSTILE}", is_correct=number % 2 == 0) for number in range(4)]
        path.write_text("".join(json.dumps(item) + "\n" for item in (*rows, *more)))
        return path

    return write


@pytest.fixture
def commands(tiny_model, tmp_path):
    def of(name, path):
        data = ["--dataset_name", path, "--output_dir", tmp_path / f"out-{name}"]
        model = ["--model_name_or_path", tiny_model, "--max_new_tokens", 4]
        benchmark = f"[{{name: b, path: {json.dumps(str(path))}}}]"
        return {
            "label": data,
            "mix": data,
            "collect": [*data, *model, "--num_samples", 1],
            "verify": [path, "--output", tmp_path / "judged.jsonl", "--keep_going"],
            "loss": [*data, *model[:2], "--by", "source", "model"],
            "audit": [path, *data[2:]],
            "annotate": [*data, "--judge", "rule", "--taxonomy", "quickstart"],
            "eval": ["--benchmarks", benchmark, *model, "--output_dir", tmp_path / "out-eval"],
            "entropy": [tiny_model, "--benchmarks", benchmark, *model[2:], "--output_dir", tmp_path / "out-entropy"],
            "ready": [
                *(tiny_model, "--questions", path, *model[2:], "--num_samples", 1),
                *("--output_dir", tmp_path / "out-ready"),
            ],
            "sft": [*data, *model[:2], *CPU, "--max_steps", 1, "--per_device_train_batch_size", 4],
            "grpo": [*data, *model[:2], *CPU, "--max_steps", 1, "--num_generations", 8, "--max_completion_length", 2],
        }[name]

    return of


COMMANDS = [
    "label",
    "mix",
    "collect",
    "verify",
    "audit",
    "loss",
    "annotate",
    "eval",
    "entropy",
    "ready",
    "sft",
    "grpo",
]
FAULTS = {
    "kind": row(sample_id="a", kind=HOSTILE),
    "answer": row(sample_id="b", answer={HOSTILE: HOSTILE}),
    "no text": row(sample_id="c", problem=[HOSTILE]),
    "gold": row(sample_id="d", answer=HOSTILE),
    "choices": row(sample_id="e", choices=HOSTILE, kind="choice"),
    "repeated": row(sample_id=f"0{HOSTILE}"),
    "column": {HOSTILE: HOSTILE},
}


@pytest.mark.parametrize("name", COMMANDS)
def test_hostile_data(said, commands, hostile, name):
    """Rows that can be used, then each fault among them, then lines that are none."""
    code, text = said(name, *commands(name, hostile()))
    assert code in (0, 2) and text
    for number, fault in enumerate(FAULTS.values()):
        said(name, *commands(name, hostile(fault, name=f"{number}.jsonl")))
    path = hostile(name="broken.jsonl")
    with path.open("a") as file:
        file.write(f'{{"{HOSTILE}": \n{HOSTILE}\n')
    said(name, *commands(name, path))


def test_hostile_arguments_and_files(said, tmp_path):
    for argv in (
        [HOSTILE],
        ["label", f"--{HOSTILE}"],
        ["label", HOSTILE],
        ["label", "--config", f"no{HOSTILE}".replace("\0", "")],
        ["eval", "--model_name_or_path", "x", "--output_dir", tmp_path, "--benchmarks", HOSTILE.replace("\0", "")],
        ["run", HOSTILE.replace("\0", "")],
        ["report", HOSTILE.replace("\0", "")],
        ["compare", HOSTILE.replace("\0", ""), "b"],
    ):
        code, text = said(*argv)
        assert code == 2 and "\\x1b" in text
    (tmp_path / "label.yaml").write_text(json.dumps({HOSTILE: 1, "output_dir": "x"}))
    code, text = said("label", "--config", tmp_path / "label.yaml")
    assert code == 2 and "\\x1b" in text


def test_a_hostile_run_is_reported(said, tmp_path):
    results = {"benchmarks": {HOSTILE: {"domain": HOSTILE, "n": 1, "pass@1": 0.5, "version": HOSTILE}}}
    for stage in ("sft", "sft_eval"):
        (tmp_path / "glow" / stage).mkdir(parents=True)
        (tmp_path / "glow" / stage / "run.json").write_text(json.dumps({"stage": stage[:3], "status": HOSTILE}))
    (tmp_path / "glow" / "sft_eval" / "results.json").write_text(json.dumps(results))
    (tmp_path / "run.json").write_text(json.dumps({"stage": "run", "recipe": HOSTILE, "arms": {"glow": {}}}))
    code, text = said("report", tmp_path)
    assert code == 0 and "owned" in text


def test_visible_text_keeps_what_it_says():
    text = "Zürich 数 naïve \U0001f600 e\u0301 a\tb\n"
    assert visible(text) == text and visible("\x1b[1m\u202e\x00") == "\\x1b[1m\\u202e\\x00"


@pytest.mark.parametrize(
    "drawn", ["\x1b[1;32mgreen\x1b[0m", "\x1b[1A\x1b[2K", "\x1b[?25l", "\r 50%|##  |", "\n\x1b[A"]
)
def test_bars_and_colors_are_drawn(drawn):
    assert _safe(drawn) == drawn


def test_whoever_prints(tmp_path):
    """A library's warning, its log and the traceback of an error, in a process of its own."""
    code = """if True:
        import logging, sys, warnings
        from glow_trl.stages.command import guarded
        text = sys.stdin.read()
        def command():
            warnings.warn(text)
            logging.getLogger("a.library").warning(text)
            print(text)
            raise RuntimeError(text)
        guarded(command)
    """
    text = HOSTILE.encode("utf-8", "surrogatepass").decode()
    result = subprocess.run([sys.executable, "-c", code], input=text.encode(), capture_output=True, env=environment())
    output = (result.stdout + result.stderr).decode().replace("\r", "")
    assert output.count("owned") >= 4 and not DANGEROUS.search(output), repr(output)
    assert os.linesep == "\n"
