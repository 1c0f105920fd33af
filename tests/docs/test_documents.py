"""
Every block of README.md, docs/ and recipes/README.md is done, in order, as it stands there: with the small model,
small data and few steps in the copies of the recipes that the lines name, and on CPU in the copies of the files for
accelerate. Where a line says how many processes, it is two with qwen2.5-3b-math, so that DeepSpeed is used for real,
else one. The guides are done in test_guides.py, the examples in tests/examples.
"""

import os
import random
import re
import shlex
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from glow_trl.benchmarks import parse_entry
from glow_trl.cli import main
from glow_trl.data import write_jsonl
from glow_trl.recipes.recipe import Recipe
from glow_trl.stages.config import check_keys, command_types
from glow_trl.stages.record import read_run
from helpers.documents import DOCUMENTS, ELSEWHERE, ROOT, blocks, perform, shell_lines


# In the order in which they are done: later ones need what the quickstart of the first leaves
PAGES = [
    "README.md",
    "docs/glow.md",
    "docs/weightings.md",
    "docs/data.md",
    "docs/scale.md",
    "docs/evaluation.md",
    "docs/ready.md",
    "docs/analysis.md",
    "docs/study.md",
    "docs/statistics.md",
]
PAGES += [
    "docs/architecture.md",
    "docs/training.md",
    "docs/verifiers.md",
    "docs/use-elsewhere.md",
    "docs/gpu.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
]
# Takes the place of what a stage's file says, where it says so
SMALL = {
    "dtype": "float32",
    "engine": "transformers",
    "eos_token": "<|im_end|>",
    "columns": {},
    "patterns": {},
    "local_copy": {},
    "mixture": "all",
    "prompts_never_solved": "keep",
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
    "num_train_epochs",
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
    for key in ("built_model_settings", "built_model_training"):
        recipe.pop(key, None)
    for name in recipe.keys() & {"quickstart", "miniature"}:
        recipe[name] |= {"train_questions": 20, "rl_questions": 16, "test_questions": 4}
    if "miniature" in recipe:
        recipe["miniature"]["pretraining_tasks"] = 40
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


def accelerate_configs(workplace: Path, num_processes: int) -> None:
    """Copies of the files for accelerate, for so many processes on CPU."""
    shutil.rmtree(workplace / "accelerate_configs", ignore_errors=True)
    shutil.copytree(ROOT / "accelerate_configs", workplace / "accelerate_configs")
    for path in (workplace / "accelerate_configs").glob("*.yaml"):
        shrink_accelerate(path, num_processes)


def check_complete(workplace: Path) -> list[str]:
    """Every stage's folder is complete; their names."""
    runs = [path.parent for path in (workplace / "outputs").rglob("run.json")]
    assert all(read_run(folder)["status"] == "complete" for folder in runs), runs
    return [str(folder.relative_to(workplace / "outputs")) for folder in runs]


def test_every_document_is_done_somewhere():
    guides = [document for document in DOCUMENTS if document.startswith("docs/add-a-")]
    assert {*PAGES, *guides, "recipes/README.md", "examples/README.md"} == {*DOCUMENTS}
    for document in DOCUMENTS:
        for block in blocks(document):
            assert block.language in ("shell", "python", "yaml", "text") or block.file, block.place


def test_what_is_not_run_is_said_somewhere():
    text = "\n".join((ROOT / document).read_text() for document in DOCUMENTS)
    assert [line for line in ELSEWHERE if f"\n{line}" not in text] == []


def test_links_lead_somewhere():
    for document in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", (ROOT / document).read_text()):
            if not target.startswith("http"):
                assert (ROOT / document).parent.joinpath(target).exists(), f"{document}: {target}"


def yaml_blocks():
    documents = [document for document in DOCUMENTS if not document.startswith("docs/add-a-")]
    return [block for document in documents for block in blocks(document) if block.language == "yaml"]


@pytest.mark.parametrize("block", yaml_blocks(), ids=lambda block: block.place)
def test_settings_of_a_block_are_known(block, tmp_path):
    """Those of a recipe.yaml, or else of a stage that knows them all."""
    content = yaml.safe_load(block.text)
    if "arms" in content:
        (tmp_path / "recipe.yaml").write_text(block.text)
        for stage in () if "base" in content else ("sft", "grpo"):
            (tmp_path / f"{stage}.yaml").write_text("bf16: false\n")
        Recipe(tmp_path).check_keys()
        return
    known = []
    for stage in ("collect", "label", "mix", "sft", "ready", "grpo", "eval"):
        try:
            check_keys(None, content, command_types(stage), stage)
            known.append(stage)
        except Exception as error:
            assert "unknown key" in str(error)
    assert known
    for entry in content.get("benchmarks", []):
        if not str(entry).endswith(".yaml"):
            parse_entry(entry, block.place)


@pytest.mark.slow
def test_the_pages(workplace):
    """In order, as the later ones need what the earlier ones leave."""
    found = [block for page in PAGES if (ROOT / page).is_file() for block in blocks(page)]
    found = [block for block in found if block.language in ("shell", "python")]
    assert sum(len(shell_lines(block)) for block in found) >= 15
    accelerate_configs(workplace, 1)
    perform(found, workplace)
    assert {
        "quickstart/glow/grpo_eval",
        "quickstart/negative/grpo",
        "quickstart/annotation",
        "beta20/glow/grpo",
        "gsm8k/glow/grpo",
        "again",
        "mix",
        "entropy",
        "ready",
        "quickstart/ready",
    } <= {*check_complete(workplace)}
    assert (workplace / "outputs" / "verdicts.jsonl").is_file()
    assert "summary" in (workplace / "outputs" / "quickstart" / "report.html").read_text()
    shutil.rmtree(workplace / "outputs")


def blocks_by_recipe() -> dict[str, list]:
    """The blocks of recipes/README.md that name a recipe; the example of Slurm has a test of its own."""
    found = {}
    for block in blocks("recipes/README.md"):
        name = re.search(r"(?:recipes|outputs)/([\w.-]+)", block.text)
        if block.language == "shell" and shell_lines(block) and name:
            found.setdefault(name[1], []).append(block)
    return found


def test_every_recipe_has_its_lines():
    lines = {
        name: [line for block in found for line in shell_lines(block)] for name, found in blocks_by_recipe().items()
    }
    assert lines.keys() == {path.name for path in ROOT.glob("recipes/*/")}
    for name, recipe_lines in lines.items():
        launched = [line for line in recipe_lines if line.startswith(("accelerate launch", "glow-trl run"))]
        assert bool(launched) == (ROOT / "recipes" / name / "sft.yaml").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("recipe", blocks_by_recipe())
def test_lines_of_the_recipes(recipe, workplace):
    """Likewise. Stage 1 of gsm8k leaves an adapter here, for the line that merges it."""
    path = workplace / "recipes" / "gsm8k" / "sft.yaml"
    if recipe == "gsm8k":
        path.write_text(path.read_text() + "use_peft: true\nlora_target_modules: all-linear\n")
    shutil.rmtree(workplace / "outputs", ignore_errors=True)
    num_processes = 2 if recipe == "qwen2.5-3b-math" else 1
    accelerate_configs(workplace, num_processes)
    perform(
        blocks_by_recipe()[recipe],
        workplace,
        lambda line: re.sub(r"--num_processes \d+", f"--num_processes {num_processes}", line),
    )
    complete = {*check_complete(workplace)}
    if (ROOT / "recipes" / recipe / "sft.yaml").is_file():
        assert {f"{recipe}/glow/sft", f"{recipe}/glow/grpo", f"{recipe}/glow/grpo_eval"} <= complete
    assert complete
    if recipe == "qwen2.5-3b-math":
        sft = workplace / "outputs" / recipe / "glow" / "sft"
        assert len(list(sft.glob("checkpoint-2/global_step2/*_optim_states.pt"))) == 2
    if recipe == "gsm8k":
        assert (workplace / "outputs" / recipe / "glow" / "merged" / "model.safetensors").is_file()


@pytest.mark.slow
def test_slurm_example(workplace, tmp_path):
    """
    The job script of recipes/README.md and the line that submits it, with stand-ins for `sbatch`, for `srun`, which
    starts two tasks here instead of one on each machine, and `scontrol`; the tasks find each other and train together.
    """
    found = [block for block in blocks("recipes/README.md") if block.file == "train.sbatch" or "sbatch " in block.text]
    found = [replace(block, text=block.text.replace("$((8 * SLURM_NNODES))", "$SLURM_NNODES")) for block in found]
    assert len(found) == 2
    shutil.rmtree(workplace / "outputs", ignore_errors=True)
    accelerate_configs(workplace, 2)
    data = str(workplace / "data" / "trajectories.jsonl")
    output = str(workplace / "outputs" / "qwen2.5-7b-math" / "label")
    assert main(["label", "--dataset_name", data, "--output_dir", output]) == 0
    stubs = {
        "sbatch": 'exec bash "$@"',
        "srun": 'SLURM_NODEID=0 "$@" & first=$!; SLURM_NODEID=1 "$@" && wait $first',
        "scontrol": "echo 127.0.0.1; echo 127.0.0.2",
        "accelerate": f'exec {shlex.quote(sys.executable)} -m accelerate.commands.accelerate_cli "$@"',
    }
    for name, content in stubs.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{content}\n")
        (tmp_path / name).chmod(0o755)
    variables = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_NNODES": "2"}
    perform(found, workplace, SLURM_JOB_NODELIST="made-up[1-2]", **variables)
    folder = workplace / "outputs" / "qwen2.5-7b-math" / "glow" / "sft"
    assert read_run(folder)["status"] == "complete"
    assert len(list(folder.glob("checkpoint-2/global_step2/*_optim_states.pt"))) == 2
