"""The command: quick to answer, one line for each fault, and the exit codes of the contract."""

import errno
import os
import subprocess
import sys

import pytest

from glow_trl import cli
from glow_trl.errors import MissingExtraError, TrainingCollapsed, UserError
from glow_trl.stages.command import guarded
from glow_trl.stages.registry import COMMANDS
from helpers.launching import ROOT


def glow_trl(*argv, **kwargs):
    return subprocess.run(
        [sys.executable, "-m", "glow_trl", *map(str, argv)], capture_output=True, text=True, **kwargs
    )


def test_help_needs_no_heavy_import():
    code = (
        "import sys, glow_trl.cli as cli; cli.main(['--help']);"
        "print(sorted({'torch','transformers','trl','datasets','numpy','rich','yaml'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "usage: glow-trl" in result.stdout and result.stdout.strip().endswith("[]"), result.stderr


@pytest.mark.parametrize("module", ["glow_trl", "glow_trl.verifiers", "glow_trl.data", "glow_trl.stages.config"])
def test_light_modules_stay_light(module):
    code = (
        f"import sys, {module}; print(sorted({{'torch','transformers','trl','datasets','sympy'}} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "[]", result.stderr


def test_public_names_import():
    from glow_trl import GLOWConfig, GLOWTrainer, LossLedger  # noqa: F401
    from glow_trl.evaluation import evaluate, majority_at_k, pass_at_k  # noqa: F401
    from glow_trl.rewards import accuracy_reward, answer_format_reward  # noqa: F401
    from glow_trl.verifiers import Verdict, VerifierPool, verify, verify_batch  # noqa: F401
    from glow_trl.weighting import glow_weights  # noqa: F401


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["lable"], "unknown command 'lable'; did you mean label?"),
        (["label"], "dataset_name is required"),
        (["label", "--dataset_name", "none.jsonl", "--output_dir", "OUT"], "none.jsonl: cannot be read"),
        (["label", "--config", "none.yaml"], "none.yaml: cannot be read"),
        (["run"], "recipe"),
        (["run", "none"], "there is no such recipe folder"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(argv, message, tmp_path, capsys):
    code = cli.main([str(tmp_path / "out") if part == "OUT" else part for part in argv])
    captured = capsys.readouterr()
    assert code == 2 and message in captured.err
    assert captured.err.count("\n") == 1 and "Traceback" not in captured.err


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_module_answers_a_file_that_is_not_there(name, tmp_path):
    for module in (["glow_trl", name], [COMMANDS[name].module]):
        result = subprocess.run(
            [sys.executable, "-m", *module, "--config", "nowhere.yaml"], capture_output=True, text=True, timeout=300
        )
        assert result.returncode == 2 and result.stdout == "", result
        assert result.stderr == "glow-trl: error: nowhere.yaml: cannot be read (No such file or directory)\n"


def test_exit_codes_of_errors(capsys):
    def raising(error):
        def main():
            raise error

        return main

    assert guarded(raising(UserError("what\nwhere"))) == 2
    assert guarded(raising(MissingExtraError("vllm", "vllm", "the vllm engine"))) == 2
    assert guarded(raising(TrainingCollapsed("gone", "Mend it."))) == 1
    assert guarded(raising(KeyboardInterrupt())) == 130
    assert guarded(raising(OSError(errno.ENOSPC, "no space", "/full/file"))) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "glow-trl: error: what where" and "pip install 'glow-trl[vllm]'" in lines[1]
    assert "No space left on device (/full/file)" in lines[4]
    with pytest.raises(ZeroDivisionError):
        guarded(raising(ZeroDivisionError()))
    assert guarded(lambda: None) == 0


def test_a_full_disk_is_found_behind_the_errors_of_libraries(capsys):
    def saving():
        try:
            raise OSError(errno.ENOSPC, "no space")
        except OSError:
            raise RuntimeError("unexpected pos 64 vs 0")  # noqa: B904 (as torch.save does)

    assert guarded(saving) == 1
    assert "cannot write: No space left on device; make room" in capsys.readouterr().err


def test_as_a_program():
    result = glow_trl("--version")
    assert (result.returncode, result.stdout.split()[0]) == (0, "glow-trl")
    assert glow_trl().returncode == 2


def test_the_current_folder_is_no_password(tmp_path):
    """`PWD` is: paths in it were hidden from messages and files."""
    (tmp_path / "rows.jsonl").write_text('{"prediction": "7", "gold": "7"}\n')
    result = glow_trl(
        *("verify", tmp_path / "rows.jsonl", "--output", tmp_path / "out.jsonl"),
        cwd=tmp_path,
        env={**os.environ, "PWD": str(tmp_path), "PYTHONPATH": str(ROOT)},
    )
    assert result.stdout.splitlines()[-1] == f"results: {tmp_path / 'out.jsonl'}", result
