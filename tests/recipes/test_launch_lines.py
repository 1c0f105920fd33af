"""
Every line that README.md and recipes/README.md tell to run is run, in order, as it stands there: with the small model,
small data and few steps in the copies of the recipes that the lines name, and on CPU in the copies of the files for
accelerate. Where a line says how many processes, it is two with qwen2.5-3b-math, so that DeepSpeed is used for real,
else one, and what `accelerate launch` makes of such a line is then run in this process, to save its imports.
"""

import os
import random
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from accelerate.commands.launch import launch_command_parser

from glow_trl.cli import main
from glow_trl.data import write_jsonl
from glow_trl.stages.command import run_command
from glow_trl.stages.record import read_run


pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
# Lines that are no launch lines, and those that other tests run
ELSEWHERE = {
    "source .venv/bin/activate": "a shell's own",
    "pip install .": "installs this package",
    "make test": "runs this test",
    "make lint": "the gate runs it",
    "make bench": "measures speed; tests/bench/test_bench_smoke.py starts each",
    "VLLM_SERVER_DEV_MODE=1 vllm serve": "tests/training/test_grpo_vllm.py",
}
# Takes the place of what a stage's file says, where it says so
SMALL = {
    "dtype": "float32",
    "engine": "transformers",
    "eos_token": "<|im_end|>",
    "columns": {},
    "benchmarks": [{"name": "small", "path": "data/trajectories.jsonl", "domain": "in"}],
    "num_samples": 2,
    "max_new_tokens": 8,
    "entropy_questions": 2,
    "per_label": 2,
    "num_judgements": 1,
    "max_retries": 0,
    "use_vllm": False,
    "attn_implementation": "eager",
}
LEFT_OUT = {
    *("dataset_train_split", "dataset_config", "limit", "kind", "engine_options", "chat_template_path", "vllm_mode"),
    *("decontaminate", "max_tokens", "max_model_len", "chat_template_kwargs", "near_duplicate_threshold", "truncated"),
}
TRAINING = {
    "use_cpu": True,
    "bf16": False,
    "dtype": "float32",
    "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 1,
    "gradient_checkpointing": False,
    "max_steps": 2,
    "logging_steps": 1,
    "report_to": "none",
    "disable_tqdm": True,
}
# A collapse is no surprise after two steps
GRPO = {"num_generations": 4, "max_completion_length": 8, "guard_patience": 1000}


def launch_lines(document: str) -> list[str]:
    """The lines of the shell blocks, in order; continued ones are one."""
    lines = []
    for block in re.findall(r"^```shell\n(.*?)^```", (ROOT / document).read_text(), re.MULTILINE | re.DOTALL):
        block = re.sub(r"\s*\\\n\s*", " ", block)
        lines += [line.partition("  #")[0].strip() for line in block.splitlines() if line.strip()]
    return [line for line in lines if not line.startswith((*ELSEWHERE, "sbatch "))]


def shrink_stage(path: Path, model: str) -> None:
    settings = yaml.safe_load(path.read_text()) or {}
    settings = {key: SMALL.get(key, value) for key, value in settings.items() if key not in LEFT_OUT}
    if not str(settings.get("model_name_or_path", "outputs/")).startswith("outputs/"):
        settings["model_name_or_path"] = model
    if not str(settings.get("dataset_name", "outputs/")).startswith("outputs/"):
        settings["dataset_name"] = "data/trajectories.jsonl"
    if path.stem in ("sft", "grpo"):
        settings |= TRAINING | (GRPO if path.stem == "grpo" else {})
    path.write_text(yaml.safe_dump(settings, sort_keys=False))


def shrink_recipe(path: Path) -> None:
    recipe = yaml.safe_load(path.read_text())
    recipe.pop("built_model_settings", None)
    if "quickstart" in recipe:
        recipe["quickstart"] |= {"train_questions": 20, "rl_questions": 16, "test_questions": 4}
    path.write_text(yaml.safe_dump(recipe, sort_keys=False))


def shrink_accelerate(path: Path, num_processes: int) -> None:
    config = yaml.safe_load(path.read_text()) | {"use_cpu": True, "mixed_precision": "no"}
    if num_processes == 1 or config["num_processes"] == 1:
        config |= {"distributed_type": "NO", "num_processes": 1}
        config.pop("deepspeed_config", None)
    else:
        config["num_processes"] = num_processes
    path.write_text(yaml.safe_dump(config, sort_keys=False))


@pytest.fixture(scope="module")
def workplace(tiny_model, tmp_path_factory) -> Path:
    """What the lines find around them."""
    folder = tmp_path_factory.mktemp("workplace")
    shutil.copytree(ROOT / "recipes", folder / "recipes")
    rng = random.Random(0)
    rows = []
    for i in range(12):
        a, b = rng.randrange(10), rng.randrange(10)
        completion = f"{a}+{b}={a + b + i % 2}; \\boxed{{{a + b + i % 2}}}"
        rows.append({"problem": f"{a}+{b}=?", "completion": completion, "answer": str(a + b)})
    (folder / "data").mkdir()
    write_jsonl(folder / "data" / "trajectories.jsonl", rows)
    for path in folder.glob("recipes/*/*.yaml"):
        if path.stem == "recipe":
            shrink_recipe(path)
        else:
            shrink_stage(path, tiny_model)
    return folder


def run_line(line: str, workplace: Path) -> None:
    """Run one line in the workplace."""
    num_processes = 2 if "qwen2.5-3b-math" in line else 1
    line = re.sub(r"--num_processes \d+", f"--num_processes {num_processes}", line)
    shutil.rmtree(workplace / "accelerate_configs", ignore_errors=True)
    shutil.copytree(ROOT / "accelerate_configs", workplace / "accelerate_configs")
    for path in (workplace / "accelerate_configs").glob("*.yaml"):
        shrink_accelerate(path, num_processes)
    words = shlex.split(line)
    if line == "make demo":
        plan = subprocess.run(
            ["make", "--no-print-directory", "--dry-run", "demo"], cwd=ROOT, capture_output=True, text=True, check=True
        )
        words = shlex.split(plan.stdout.splitlines()[-1])
        assert words[0].endswith("bin/glow-trl")
        words[0] = "glow-trl"
    if words[0] == "glow-trl":
        # In this process, which has imported everything
        assert main(words[1:]) == 0
        return
    if words[0] == "accelerate" and "--num_processes" in words and num_processes == 1:
        args = launch_command_parser().parse_args(words[2:])
        assert args.module and Path(args.config_file).is_file()
        assert run_command(args.training_script.removeprefix("glow_trl."), args.training_script_args) == 0
        return
    if words[0] == "accelerate":
        line = shlex.join([sys.executable, "-m", "accelerate.commands.accelerate_cli", *words[1:]])
    elif words[0] != "echo":
        pytest.fail(f"this test does not know how to run {line!r}")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    run = subprocess.run(["bash", "-ec", line], cwd=workplace, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, f"{line}\n{run.stderr[-4000:]}"


def check_complete(workplace: Path) -> list[str]:
    """Every stage's folder is complete; their names."""
    runs = [path.parent for path in (workplace / "outputs").rglob("run.json")]
    assert all(read_run(folder)["status"] == "complete" for folder in runs), runs
    return [str(folder.relative_to(workplace / "outputs")) for folder in runs]


def test_lines_of_the_readme(workplace, monkeypatch):
    """In order, as the later ones need what the earlier ones leave."""
    lines = launch_lines("README.md")
    assert len(lines) >= 7
    monkeypatch.chdir(workplace)
    for line in lines:
        run_line(line, workplace)
    assert {
        "quickstart/glow/grpo_eval",
        "quickstart/negative/grpo",
        "beta20/glow/grpo",
        "gsm8k/glow/grpo",
        "again",
    } <= {*check_complete(workplace)}
    assert (workplace / "outputs" / "verdicts.jsonl").is_file()
    shutil.rmtree(workplace / "outputs")


def lines_by_recipe() -> dict[str, list[str]]:
    lines = {}
    for line in launch_lines("recipes/README.md"):
        lines.setdefault(re.search(r"(?:recipes|outputs)/([\w.-]+)", line)[1], []).append(line)
    return lines


def test_every_recipe_has_its_lines():
    lines = lines_by_recipe()
    assert lines.keys() == {path.name for path in ROOT.glob("recipes/*/")}
    for name, recipe_lines in lines.items():
        launched = [line for line in recipe_lines if line.startswith(("accelerate launch", "glow-trl run"))]
        assert bool(launched) == (ROOT / "recipes" / name / "sft.yaml").is_file()


@pytest.mark.parametrize("recipe", lines_by_recipe())
def test_lines_of_the_recipes(recipe, workplace, monkeypatch):
    """Likewise. Stage 1 of gsm8k leaves an adapter here, for the line that merges it."""
    path = workplace / "recipes" / "gsm8k" / "sft.yaml"
    if recipe == "gsm8k":
        path.write_text(path.read_text() + "use_peft: true\nlora_target_modules: all-linear\n")
    monkeypatch.chdir(workplace)
    shutil.rmtree(workplace / "outputs", ignore_errors=True)
    for line in lines_by_recipe()[recipe]:
        run_line(line, workplace)
    complete = {*check_complete(workplace)}
    if (ROOT / "recipes" / recipe / "sft.yaml").is_file():
        assert {f"{recipe}/glow/sft", f"{recipe}/glow/grpo", f"{recipe}/glow/grpo_eval"} <= complete
    assert complete
    if recipe == "qwen2.5-3b-math":
        sft = workplace / "outputs" / recipe / "glow" / "sft"
        assert len(list(sft.glob("checkpoint-2/global_step2/*_optim_states.pt"))) == 2
    if recipe == "gsm8k":
        assert (workplace / "outputs" / recipe / "glow" / "merged" / "model.safetensors").is_file()


def test_slurm_example(workplace, monkeypatch, tmp_path):
    """
    The job script of recipes/README.md, with stand-ins for `srun`, which starts two tasks here instead of one on each
    machine, and `scontrol`; the tasks find each other and train together.
    """
    (script,) = re.findall(r"^```bash\n(.*?)^```", (ROOT / "recipes" / "README.md").read_text(), re.M | re.S)
    script = script.replace("$((8 * SLURM_NNODES))", "$SLURM_NNODES")
    job = tmp_path / "train.sbatch"
    job.write_text(script)
    shutil.rmtree(workplace / "outputs" / "qwen2.5-7b-math", ignore_errors=True)
    shutil.rmtree(workplace / "accelerate_configs", ignore_errors=True)
    shutil.copytree(ROOT / "accelerate_configs", workplace / "accelerate_configs")
    shrink_accelerate(workplace / "accelerate_configs" / "multi_node.yaml", 2)
    assert (
        main(
            [
                "label",
                "--dataset_name",
                str(workplace / "data" / "trajectories.jsonl"),
                "--output_dir",
                str(workplace / "outputs" / "qwen2.5-7b-math" / "label"),
            ]
        )
        == 0
    )
    stubs = {
        "srun": 'SLURM_NODEID=0 "$@" & first=$!; SLURM_NODEID=1 "$@" && wait $first',
        "scontrol": "echo 127.0.0.1; echo 127.0.0.2",
        "accelerate": f'exec {shlex.quote(sys.executable)} -m accelerate.commands.accelerate_cli "$@"',
    }
    for name, content in stubs.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{content}\n")
        (tmp_path / name).chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "SLURM_NNODES": "2",
        "SLURM_JOB_NODELIST": "made-up[1-2]",
    }
    run = subprocess.run(["bash", job], cwd=workplace, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-4000:]
    folder = workplace / "outputs" / "qwen2.5-7b-math" / "glow" / "sft"
    assert read_run(folder)["status"] == "complete"
    assert len(list(folder.glob("checkpoint-2/global_step2/*_optim_states.pt"))) == 2
