"""
The table of bad inputs: what is wrong, and what the one line that refuses it must say. Every case is run as a user
would run it, and must end with exit code 2 and one line, change nothing that was there,
and leave nothing that stands in the way of the corrected command.
"""

import json
import os
import random
import subprocess
import sys

import pytest
from stages.conftest import check

from glow_trl.stages.registry import COMMANDS
from helpers.bad_inputs import (
    GOOD,
    PREDICTIONS,
    QUESTIONS,
    REQUIRED,
    ROWS,
    Case,
    command_line,
    copy_of,
    holding,
    lines,
    placed,
    truncated,
    with_keys,
    without,
)
from helpers.launching import environment


TRAINING = ("sft", "grpo")
TABLE: list[Case] = []


def bad(command: str, name: str, says: str, *argv: str, **options):
    """Add a case to the table; `options` are those of [`Case`], and settings of the command."""
    given = {key: options.pop(key) for key in ("files", "config", "code", "bare", "begun") if key in options}
    TABLE.append(Case(command, name, says, options, argv=argv, **given))


def each(commands: str, name: str, says: str, *argv: str, **options):
    """Add a case for each of several commands."""
    for command in commands.split():
        bad(command, name, says, *argv, **options)


# --- Studies ---

bad("study", "a study that is not there", "none.yaml", study="{here}/none.yaml")
bad("study", "no job at a time", "jobs is 0", jobs="0")
bad("study", "two things at once", "give one of them", dry_run="true")
_STUDY = "recipe: {good}/recipe\narms: [glow]\nseeds: [1]\ncontrol: glow\nmeasures: {l: {stage: sft, curve: loss}}\n"
for name, says, lines_of_it in (
    ("without a primary measure", "primary is missing", ""),
    ("whose primary measure there is not", "primary: there is no 'm'", "primary: [m]\n"),
    ("with a seed twice", "seeds' is there twice", "primary: [l]\nseeds: [1]\n"),
    ("that evaluates nothing", "has no eval.yaml", "primary: [e]\n"),
):
    text = _STUDY + lines_of_it
    text = text.replace("measures: {", "measures: {e: {stage: sft}, ") if "evaluates" in name else text
    bad("study", f"a study {name}", says, files={"study.yaml": text}, study="{here}/study.yaml")

# --- The command line ---

SAYS_WITHOUT = {
    "run": "which recipe?",
    "merge": "name the adapter",
    "compare": "name two evaluations",
    "report": "name the run's folder",
    "dynamics": "name the folder of an SFT stage",
    "verify": "name the file to judge",
    "study": "which study?",
}
for command, names in REQUIRED.items():
    for name in names:
        says = "at least one checkpoint" if name == "models" else SAYS_WITHOUT.get(command, name)
        bad(command, f"no {name}", says, **{name: None})
        # Where a command can do without the setting, it says itself what it cannot do without
        says = name if command in ("run", "merge", "verify", "study") or name == "models" else says
        bad(command, f"{name} is empty", says, config=f"{name}:\n", **{name: None})

for command, settings in GOOD.items():
    name = next(
        key for key in settings if key not in ("recipe", "file", "first", "run_dir", "adapter") or len(settings) == 1
    )
    bad(command, "an option with a letter too many", f"did you mean --{name}?", f"--{name}s_", "x")
    bad(command, "an unknown option", "unknown option --frobnicate", "--frobnicate", "x")
    bad(command, "an unknown key in the file", f"did you mean {name}?", config=f"{name}x: 1\n")
    bad(command, "a word too many", "", "--", "surplus")

bad("mix", "a value without a name", "unexpected argument 'surplus'", "surplus", bare=True)
bad("label", "an option without a value", "output_dir", "--output_dir")
bad("label", "--config without a file", "--config needs the path", "--config")
bad("label", "--config twice", "--config", "--config", "{good}/bench.yaml", "--config", "{good}/bench.yaml")
bad("sft", "a negative flag of a setting that is none", "unknown option --no_max_steps", "--no_max_steps")

# --- Values of the wrong type ---

for value in ("five", "1.5", "1e400", "nan", "", "٣x", "0x10", "[1]", "{a: 1}"):
    bad("label", f"limit is {value!r}", "limit", limit=value)
for value in ("fast", "nan", "inf", "1e400", "-1", "0", ""):
    each("label audit", f"timeout is {value!r}", "timeout", timeout=value)
each("label eval grpo verify audit ready", "restated that there is not", "restated", restated="rejects")
for value in ("0", "-1"):
    each("collect label mix sft grpo loss annotate", f"limit is {value}", "limit", limit=value)
    bad("eval", f"limit is {value}", "limit", limit=value)
    each("label audit", f"workers is {value}", "workers", workers=value)
    bad("audit", f"limit is {value}", "limit", limit=value)
    bad("audit", f"per_cell is {value}", "per_cell", per_cell=value)
    bad("verify", f"workers is {value}", "workers", workers=value)
    each("collect eval annotate loss ready", f"batch_size is {value}", "batch_size", batch_size=value)
    each(
        "collect eval annotate entropy audit ready",
        f"max_new_tokens is {value}",
        "max_new_tokens",
        max_new_tokens=value,
    )
    each("collect eval ready", f"num_samples is {value}", "num_samples", num_samples=value)
    for name in ("num_questions", "group_size", "coverage_k", "budget"):
        bad("ready", f"{name} is {value}", name, **{name: value})
    each("eval entropy", f"entropy_questions is {value}", "entropy_questions", entropy_questions=value)
for value in ("-0.1", "nan", "inf", "hot"):
    each("collect eval audit ready", f"temperature is {value}", "temperature", temperature=value)
for value in ("0", "1.5", "nan"):
    bad("eval", f"top_p is {value}", "top_p", top_p=value)
bad("eval", "a bool that is a word", "perhaps", rescore="perhaps")
bad("eval", "a choice that there is not", "on_bad_gold", on_bad_gold="ignore")
bad("eval", "k beyond the samples", "k_values", k_values="4")
bad("eval", "k is 0", "k_values", k_values="0")
bad("eval", "k is a word", "k_values", k_values="many")
bad("eval", "dtype that there is not", "dtype", dtype="float8")
bad("loss", "dtype that there is not", "dtype", dtype="double")
bad("entropy", "dtype that there is not", "dtype", dtype="int")
bad("eval", "only what is not there", "only", only="c")
bad("eval", "max_model_len is 0", "max_model_len", max_model_len="0")
bad("ready", "dtype that there is not", "dtype", dtype="int")
bad("ready", "a checkpoint twice", "named twice", checkpoints=["{good}/model", "{good}/model"])
bad("ready", "a group of one", "group_size", group_size="1")
bad("ready", "all is held out", "held_out", held_out="1")
bad("ready", "held_out is nan", "held_out", held_out="nan")
bad("ready", "no grpo.yaml", "none.yaml", grpo="{here}/none.yaml")
bad(
    "ready",
    "a grpo.yaml with a group that is a word",
    "group_size",
    files={"g.yaml": "num_generations: many\n"},
    grpo="{here}/g.yaml",
)
bad("ready", "a folder without generations", "no generations are there", checkpoints=None, generations="{good}/model")
bad("ready", "generations that are not there", "no generations are there", generations="{here}/none")
bad("ready", "a benchmark that there is not", "gsm8k", questions="gsm8")
bad("ready", "questions that are not there", "none.jsonl", questions="{here}/none.jsonl")
bad(
    "ready", "questions without answers", "answer", questions="{here}/q.jsonl", files={"q.jsonl": '{"problem": "1"}\n'}
)
bad("ready", "trajectories that are not there", "none.jsonl", trajectories="{here}/none.jsonl")
bad("ready", "a measure that there is not", "informative_groups", rank_by="pas@1")
bad("ready", "a measure that needs more samples", "num_samples", rank_by="pass@4")
bad("ready", "a measure that needs a base model", "base", rank_by="coverage_ratio")
bad("ready", "a measure that needs trajectories", "trajectories", rank_by="loss_all")
bad("grpo", "a share above one", "min_informative_share", min_informative_share="1.5")
bad("grpo", "a choice of what to do that there is not", "on_few_informative", on_few_informative="stop")
bad("grpo", "measurements that are not there", "ready.json", readiness="{here}/none")
bad("entropy", "a checkpoint twice", "named twice", models=["{good}/model", "{good}/model"])
bad("mix", "a mixture that there is not", "mixture", mixture="some")
bad("mix", "a share above 1", "validation_split", validation_split="1.5")
bad("mix", "a share that is nan", "validation_split", validation_split="nan")
bad("mix", "a share of all", "validation_split", validation_split="1")
bad("mix", "bounds the wrong way round", "min_pass_rate", min_pass_rate="0.9", max_pass_rate="0.1")
bad("mix", "near_duplicate_threshold too low", "near_duplicate_threshold", near_duplicate_threshold="0.1")
bad("mix", "contamination_ngram is 0", "contamination_ngram", contamination_ngram="0")
bad("mix", "max_per_question is 0", "max_per_question", max_per_question="0")
bad("mix", "min_tokens above max_tokens", "min_tokens", min_tokens="9", max_tokens="3")
bad("loss", "max_length is -1", "max_length", max_length="-1")
bad("loss", "most_values is 1", "most_values", most_values="1")
bad("dynamics", "min_improvement is nan", "min_improvement", min_improvement="nan")
bad("dynamics", "an epoch that was not recorded", "reference_epoch", reference_epoch="7")
bad("dynamics", "an export that is no Parquet file", ".parquet", export="{here}/out.csv")
bad("dynamics", "a column that is not there", "by", by="weather")
bad("loss", "a column that is not there", "by", by="weather")
bad("annotate", "num_judgements is 0", "num_judgements", num_judgements="0")
bad("annotate", "max_retries is -1", "max_retries", max_retries="-1")
bad("annotate", "a taxonomy that there is not", "taxonomy", taxonomy="quikstart")
bad("annotate", "a truth column that is not there", "truth_column", truth_column="truth")
bad("collect", "min_p above 1", "min_p", min_p="1.5")
bad("collect", "top_k is -1", "top_k", top_k="-1")
bad("collect", "questions_per_shard is 0", "questions_per_shard", questions_per_shard="0")
bad("collect", "a prompt format that there is not", "prompt_format", prompt_format="chatty")
bad("collect", "a chat template that is not there", "chat_template_path", chat_template_path="{here}/none.jinja")
bad(
    "collect",
    "a chat template that is none",
    "template",
    chat_template_path="{here}/t.jinja",
    files={"t.jinja": "{% if"},
)
each("collect sft grpo eval loss", "a template without a place", "{problem}", prompt_template="Answer!")
for name, value in {
    "max_steps": ("five", "1.5", "nan"),
    "learning_rate": ("nan", "inf", "1e400", "-1", "fast"),
    "num_train_epochs": ("nan", "inf", "0", "-2"),
    "per_device_train_batch_size": ("0", "-1"),
    "gradient_accumulation_steps": ("0", "-1"),
    "max_grad_norm": ("nan", "-1"),
    "warmup_steps": ("-1", "nan"),
    "weight_decay": ("nan", "-1"),
    "lr_scheduler_type": ("bumpy",),
    "optim": ("adamx",),
    "bf16": ("perhaps",),
    "dtype": ("float8",),
    "save_strategy": ("sometimes",),
    "logging_steps": ("0", "-1", "nan"),
    "seed": ("-1", "x"),
}.items():
    for item in value:
        bad(
            "sft",
            f"{name} is {item}",
            name,
            **{name: item} | ({"max_steps": None} if name == "num_train_epochs" else {}),
        )
for name, item in (
    ("glow_beta", "nan"),
    ("glow_beta", "-1"),
    ("glow_alpha", "nan"),
    ("glow_alpha", "-1"),
    ("weighting", "heavy"),
    ("negative_answer", "cut"),
    ("max_length", "0"),
    ("max_length", "-5"),
    ("trajectories", "some"),
    ("eos_token", "<none>"),
    ("chat_template_path", "{here}/none.jinja"),
    ("lora_r", "x"),
):
    bad("sft", f"{name} is {item}", name, **{name: item})
for name, item in (
    ("num_generations", "3"),
    ("num_generations", "0"),
    ("max_completion_length", "0"),
    ("temperature", "nan"),
    ("temperature", "-1"),
    ("beta", "nan"),
    ("beta", "-1"),
    ("on_bad_gold", "ignore"),
    ("guard_patience", "0"),
    ("guard_max_clipped_ratio", "nan"),
    ("reward_weights", "nan"),
    ("scale_rewards", "perhaps"),
):
    bad("grpo", f"{name} is {item}", name, **{name: item})

bad("grpo", "loss_type is best", "Unknown loss type: best", loss_type="best")
text = "save_strategy: sometimes\n"
bad("sft", "save_strategy: sometimes", "not a valid SaveStrategy", config=text, save_strategy=None)
bad("sft", "report_to is paper", "paper is not supported", report_to="paper")
bad("grpo", "num_generations is 1", "at least 2 generations", num_generations="1")
bad("grpo", "weights of more rewards than there are", "reward weights (2)", reward_weights="[1, 2]")

# --- YAML ---

for kind, name, command, values in (
    ("an integer", "limit", "label", ("[1]", "{a: 1}", "1.5", "true", "five", "2020-01-01", ".nan", ".inf")),
    ("a number", "timeout", "label", ("[1.0]", "{a: 1}", "true", "fast", ".nan", ".inf", "2020-01-01")),
    ("a bool", "prompts", "mix", ("[true]", "{a: 1}", "5", "perhaps", "1.5")),
    ("a text", "output_dir", "label", ("5", "[a, b]", "{a: 1}", "true", "1.5", "2020-01-01", "!!binary aGk=")),
    ("a list", "decontaminate", "mix", ("5", "{a: 1}", "true", "[[a]]", "[1]", "[null]", "[{a: 1}]")),
    (
        "a mapping",
        "columns",
        "label",
        ("5", "[a]", "true", "{answer: 3}", "{answer: [a]}", "{answer: null}", "{3: a}"),
    ),
    ("a choice", "mixture", "mix", ("5", "[all]", "some", "{all: 1}", "true")),
):
    for value in values:
        bad(command, f"{kind}, {name}: {value}", name, config=f"{name}: {value}\n", **{name: None})
for command in TRAINING:
    for line in (
        "max_steps: [1]",
        "max_steps: 1.5",
        "learning_rate: [1.0e-5]",
        "learning_rate: .nan",
        "bf16: [false]",
        "output_dir: 5",
        "output_dir: [a]",
        "model_name_or_path: 5",
        "model_name_or_path: [a]",
        "dataset_name: {a: 1}",
        "dataset_name: 5",
        "gradient_checkpointing_kwargs: [1]",
    ):
        name = line.partition(":")[0]
        bad(command, line, name, config=line + "\n", **{name: None})
for line in ("reward_funcs: 5", "reward_funcs: [5]", "reward_funcs: {a: 1}", "kinds: 5", "num_generations: two"):
    name = line.partition(":")[0]
    bad("grpo", line, name, config=line + "\n", **{name: None})
for line in ("benchmarks: 5", "benchmarks: {name: b}", "benchmarks: [5]", "benchmarks: [[b]]", "benchmarks: [null]"):
    each("eval entropy", line, "benchmarks", config=line + "\n", benchmarks=None)
for line in ("in_domain: 5", "k_values: [a]", "k_values: {a: 1}", "engine_options: [1]", "engine_options: 5"):
    bad("eval", line, line.partition(":")[0], config=line + "\n")
for command, name in (
    ("run", "recipe"),
    ("merge", "adapter"),
    ("compare", "first"),
    ("verify", "file"),
    ("report", "run_dir"),
):
    for value in ("5", "[a, b]", "{a: 1}"):
        bad(command, f"{name}: {value}", name, config=f"{name}: {value}\n", **{name: None})
bad("run", "arms: {a: 1}", "arms", config="arms: {a: 1}\n")
bad("run", "seed: one", "seed", config="seed: one\n")

BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 40))
for name, says, content in (
    ("a key twice", "line 3", "limit: 1\nkind: math\nlimit: 2\n"),
    ("a key twice, deeper", "line 3", "columns:\n  answer: a\n  answer: b\n"),
    ("a key twice, in a list", "line 1", "kinds: [{a: 1, a: 2}]\n"),
    ("a key twice, in quotes", "line 2", 'limit: 1\n"limit": 2\n'),
    ("aliases that multiply", "alias", BOMB),
    ("an alias of itself", "", "columns: &a {answer: *a}\n"),
    ("an alias without an anchor", "alias", "limit: *a\n"),
    ("brackets without an end", "line 2", "limit: [1\n"),
    ("a tab", "line 1", "\tlimit: 1\n"),
    ("text without a key", "mapping", "just some words\n"),
    ("a list", "mapping", "- limit\n"),
    ("a number", "mapping", "5\n"),
    ("keys that are numbers", "names as keys", "1: 2\n"),
    ("no UTF-8", "UTF-8", b"limit: 1 # \xff\xfe\n"),
    ("UTF-16", "UTF-8", "limit: 1\n".encode("utf-16")),
    ("binary", "", bytes(range(256)) * 4),
    ("a NUL byte", "", b"limit: 1\x00\n"),
    ("two documents", "document", "limit: 1\n---\nlimit: 2\n"),
    ("a Python object", "", "limit: !!python/object/apply:os.getcwd []\n"),
    ("an unknown tag", "", "limit: !secret x\n"),
    ("nested too deeply", "", "limit: " + "[" * 5000 + "\n"),
    ("an environment that is a list", "env", "env: [A]\n"),
    ("a variable that is a mapping", "env", "env: {A: {b: 1}}\n"),
    ("a variable without a name", "env", "env: {'': x}\n"),
    ("a variable with =", "env", "env: {A=B: x}\n"),
    ("a variable with a NUL byte", "env", 'env: {A: "x\\0y"}\n'),
):
    bad("label", f"YAML with {name}", says, config=content)
bad("label", "a configuration that is not there", "cannot be read", "--config", "{here}/none.yaml")
bad("label", "a configuration that is a folder", "cannot be read", "--config", "{good}")
bad("label", "a configuration that is a FIFO", "FIFO", config=lambda path, _: os.mkfifo(path))
bad("label", "a configuration without an end", "device", "--config", "/dev/zero")
for text, says in (
    ("{answer: 3}", "columns"),
    ("{answer: a", "not valid YAML"),
    ("{answer: a, answer: b}", "twice"),
    ("[a]", "columns"),
    ("answer", "columns"),
    ('{"answer": 3}', "columns"),
    ('{"answer": null}', "columns"),
    ("{answer: [a, b]}", "columns"),
):
    bad("label", f"--columns {text}", says, "--columns", text)

# --- Recipes ---

SFT = (
    "dataset_name: {good}/rows.jsonl\nmodel_name_or_path: {good}/model\noutput_dir: outputs/r/sft\n"
    "use_cpu: true\nbf16: false\n"
)


def recipe(name: str, says: str, *argv: str, text: str = "", sft: str | None = SFT, files=None, **options):
    found = {"r/recipe.yaml": text} | ({} if sft is None else {"r/sft.yaml": sft}) | (files or {})
    bad("run", name, says, *argv, files=found, recipe="{here}/r", **options)


recipe("a recipe without sft.yaml", "has no sft.yaml", sft=None)
recipe("a recipe with an unknown key", "unknown key 'sed'", text="sed: 1\n")
recipe("a recipe with a key twice", "line 2", text="seed: 1\nseed: 2\n")
recipe("a stage with a key twice", "line 6", sft=SFT + "output_dir: b\n")
recipe("a seed that is a word", "seed", text="seed: one\n")
recipe("a seed that is true", "seed", text="seed: true\n")
recipe("a description that is a list", "description", text="description: [a]\n")
recipe("arms that are a list", "arms", text="arms: [a]\n")
recipe("an arm that is a number", "arms: a", text="arms: {a: 5}\n")
recipe("an arm with the name of a command", "cannot be the name", text="arms: {report: {}}\n")
recipe("an arm with a slash", "cannot be the name", text="arms: {a/b: {}}\n")
recipe("an arm with an unknown key", "unknown key 'learning_rat'", text="arms: {a: {learning_rat: 1}}\n")
recipe("an arm with a value of another type", "max_steps", text="arms: {a: {max_steps: [1]}}\n")
recipe("an arm that there is not", "no arm 'glw'", "--arms", "glw")
recipe("a base that there is not", "no recipe 'quikstart'", text="base: quikstart\n")
recipe("a base that is a list", "base", text="base: [a]\n")
recipe("a base that is this recipe", "builds on this recipe", text="base: ../r\n")
recipe("bases in a circle", "builds on this recipe", text="base: ../s\n", files={"s/recipe.yaml": "base: ../r\n"})
recipe("an environment that is a list", "env", text="env: [A]\n")
recipe("built_model with an unknown key", "hidden_sise", text="built_model: {hidden_sise: 8}\n")
recipe("built_model of another type", "hidden_size", text="built_model: {hidden_size: wide}\n")
recipe("built_model_settings of no stage", "built_model_settings", text="built_model_settings: {sftt: {}}\n")
recipe("quickstart with an unknown key", "quickstart", text="quickstart: {qestions: 8}\n")
recipe("quickstart of another type", "quickstart", text="quickstart: {questions: many}\n")
recipe("a prompt without a place", "{problem}", text="prompt_template: Answer!\n")
recipe("a stage with an unknown key", "unknown key 'max_step'", sft=SFT + "max_step: 1\n")
recipe("a stage with a value of another type", "max_steps", sft=SFT + "max_steps: [1]\n")
recipe("a stage whose data are not there", "none.jsonl", begun=True, sft=SFT.replace("rows.jsonl", "none.jsonl"))
recipe("a stage whose model is not there", "none", begun=True, sft=SFT.replace("good}/model", "here}/none"))
recipe("a stage that asks otherwise", "system_prompt", text="system_prompt: a\n", sft=SFT + "system_prompt: b\n")
recipe("a reward that there is not", "reward_funcs", files={"r/grpo.yaml": "reward_funcs: [accuracy_rewards]\n" + SFT})
recipe("generations that do not divide", "num_generations", files={"r/grpo.yaml": "num_generations: 7\n" + SFT})
recipe(
    "a benchmark that there is not",
    "gsm8",
    files={"r/eval.yaml": "benchmarks: [gsm8]\noutput_dir: a\nmodel_name_or_path: b\n"},
)
recipe("a setting of an unknown stage", "no stage 'sff'", "--sff.max_steps", "1")
recipe("a setting of a stage that is not there", "no stage 'grpo'", "--grpo.num_generations", "7")
recipe("a setting that a stage does not know", "unknown key 'max_step'", "--sft.max_step", "1")
recipe("a setting without a value", "needs a value", "--sft.max_steps")
recipe("a setting that is no YAML", "not valid YAML", "--sft.max_steps", "[1")
recipe("a setting with a key twice", "twice", "--sft.columns", "{answer: a, answer: b}")
recipe("a setting of another type", "max_steps", "--sft.max_steps", "[1]")
recipe("a configuration of accelerate that is not there", "accelerate_config", "--accelerate_config", "singel_gpu")
recipe(
    "a configuration of accelerate that is no YAML",
    "a.yaml",
    "--accelerate_config",
    "{here}/a.yaml",
    files={"a.yaml": "a: ["},
)
bad("run", "a recipe that is not there", "no such recipe", recipe="{here}/none")
bad("run", "a recipe that is misspelt", "did you mean", recipe="quikstart")
bad("run", "a recipe that is a file", "", recipe="{good}/recipe/sft.yaml")
bad(
    "run",
    "--overwrite of a folder that is no run",
    "nothing was deleted",
    "--overwrite",
    files={"out/notes.txt": "mine"},
)

# --- Data ---

READERS = {
    "collect": ("dataset_name", QUESTIONS, "answer"),
    "label": ("dataset_name", ROWS, "answer"),
    "mix": ("dataset_name", ROWS, "answer"),
    "sft": ("dataset_name", ROWS, "completion"),
    "grpo": ("dataset_name", QUESTIONS, "answer"),
    "loss": ("dataset_name", ROWS, "completion"),
    "annotate": ("dataset_name", ROWS, "completion"),
    "audit": ("source", ROWS, "answer"),
    "verify": ("file", PREDICTIONS, "prediction"),
}


def all_with(rows, column, value):
    return lines([{**row, column: value} for row in rows])


for command, (setting, rows, column) in READERS.items():
    text = lines(rows).encode()

    def data(name, says, content, file="rows.jsonl", command=command, setting=setting, **options):
        bad(command, f"data: {name}", says, files={file: content}, **{setting: f"{{here}}/{file}"}, **options)

    bad(command, "data: no such file", "none.jsonl", **{setting: "{here}/none.jsonl"})
    if command != "audit":  # which finds the rollouts in a folder
        bad(command, "data: a folder", "", **{setting: "{good}"})
    data("an empty file", "empty", b"")
    data("nothing but blank lines", "empty", b"\n \n\n")
    data("no JSON", "line 1: not valid JSON", b"problem,answer\n1,2\n")
    data("UTF-16", "line 1", text.decode().encode("utf-16"))
    data("binary", "line 1", bytes(range(256)) * 10)
    data("lists", "line 1: expected an object", lines([[1], [2]]))
    data(
        "a column is missing",
        f"{column!r}" if command != "verify" else column,
        lines([{k: v for k, v in row.items() if k != column} for row in rows]),
    )
    data("a column is null", column, all_with(rows, column, None))
    data("a column is NaN", column, all_with(rows, column, float("nan")))
    data("a column is a mapping", column, all_with(rows, column, {"a": 1}))
    data("messages in place of a text", column, all_with(rows, column, [{"role": "user", "content": "1"}]))
    data("a FIFO", "FIFO", lambda path, _: os.mkfifo(path))
    bad(command, "data: a device", "device", **{setting: "/dev/zero"})
for command in ("sft", "grpo", "loss", "annotate"):
    _, rows, column = READERS[command]
    text = lines(rows).encode()
    for name, says, content in (
        (
            "the second line cut off",
            "line 2: not valid JSON",
            lines(rows[:1]) + lines(rows[1:2])[:-9] + "\n" + lines(rows[2:]),
        ),
        ("the third line no UTF-8", "line 3: not valid UTF-8", lines(rows[:2]).encode() + b'{"problem": "\xff"}\n'),
        ("an id twice", "was used at 1 already", lines([{**row, "sample_id": "a"} for row in rows])),
    ):
        bad(command, f"data: {name}", says, files={"rows.jsonl": content}, dataset_name="{here}/rows.jsonl")
for file, name, says, content in (
    (
        "rows.parquet",
        "Parquet cut off",
        "Parquet",
        copy_of("rows.parquet", lambda path: path.write_bytes(path.read_bytes()[:-40])),
    ),
    ("rows.parquet", "Parquet that is text", "Parquet", lines(ROWS)),
    ("rows.parquet", "Parquet that is empty", "Parquet", b""),
    ("rows.json", "JSON that is cut off", "not valid JSON", json.dumps(ROWS)[:-20]),
    ("rows.json", "JSON that is a mapping", "expected a list", json.dumps(ROWS[0])),
    ("rows.json", "JSON that is lines", "named .jsonl", lines(ROWS)),
    ("rows.json", "JSON that is an empty list", "empty", "[]"),
    ("rows.json", "JSON nested too deeply", "not valid JSON", "[" * 100_000),
    ("rows.csv", "CSV", "unknown kind of file", "problem,completion\n1,2\n"),
    ("rows.jsonl.gz", "a compressed file", "unknown kind of file", b"\x1f\x8b\x08\x00"),
):
    each("label sft", f"data: {name}", says, files={file: content}, dataset_name=f"{{here}}/{file}")
    bad("audit", f"data: {name}", says, files={file: content}, source=f"{{here}}/{file}")
    if file == "rows.parquet":
        table = "run/completions/completions_00001.parquet"
        bad("audit", f"data: {name} in a run", says, files={table: content}, source="{here}/run")
bad("audit", "data: a folder without rollouts", "log_completions", files={"run/a.txt": "a"}, source="{here}/run")
bad("audit", "data: a NUL byte", "source", config='source: "a\\0b.jsonl"\n', source=None)
bad("audit", "data: a column that is not there", "no column 'gold'", columns="{answer: gold}")
for content, says in (
    ('{"id": "a", "label": "yes"}\n', "line 1: `label` is 'yes'"),
    ('{"id": "a", "label": true}\n{"id": "a", "label": false}\n', "line 2: the row a has another `label`"),
    ('{"label": true}\n', "line 1: it has no `id`"),
    ('{"id": "a", "label": tru\n', "line 1: not valid JSON"),
    ("[true]\n", "line 1: expected an object"),
):
    bad("audit", f"labels: {content!r}", says, files={"out/to_label.jsonl": content}, begun=True)
each("label sft", "data: a pattern that nothing matches", "no file matches", dataset_name="{here}/*.jsonl")
each("label sft", "data: a variable that is not set", "NOT_SET_ANYWHERE", dataset_name="${NOT_SET_ANYWHERE}/a.jsonl")
each("label sft", "data: a folder that is not there", "none", dataset_name="{here}/none/rows.jsonl")
each("label sft grpo", "data: a column that is not there", "no column 'gold'", columns="{answer: gold}")
each(
    "label mix",
    "data: a label that is a text",
    "is_correct",
    files={"r.jsonl": all_with(ROWS, "is_correct", "yes")},
    dataset_name="{here}/r.jsonl",
)
each(
    "sft loss",
    "data: a label that is a number",
    "is_correct",
    files={"r.jsonl": all_with(ROWS, "is_correct", 1)},
    dataset_name="{here}/r.jsonl",
)
bad(
    "sft",
    "data: no label to choose by",
    "label",
    trajectories="positive",
    files={"r.jsonl": all_with(ROWS, "is_correct", None)},
    dataset_name="{here}/r.jsonl",
)
bad(
    "sft",
    "data: none is positive",
    "is positive",
    trajectories="positive",
    files={"r.jsonl": all_with(ROWS, "is_correct", False)},
    dataset_name="{here}/r.jsonl",
)
bad(
    "mix",
    "data: no positive to balance with",
    "",
    mixture="balanced",
    files={"r.jsonl": all_with(ROWS, "is_correct", False)},
    dataset_name="{here}/r.jsonl",
)
bad("mix", "data: nothing is left", "", min_tokens="1000")
bad(
    "mix",
    "data: tokens are not counted",
    "n_tokens",
    min_tokens="2",
    files={"r.jsonl": lines([{k: v for k, v in row.items() if k != "n_tokens"} for row in ROWS])},
    dataset_name="{here}/r.jsonl",
)
bad("mix", "a ledger that is not there", "ledger", ledger="{here}/none", prompt_order="easy_first")
bad("mix", "a ledger of other data", "", ledger="{good}/sft/ledger", prompt_order="easy_first")
for column, value, says in (
    ("kind", "maths", "names no verifier"),
    ("kind", 5, "kind"),
    ("tolerance", "wide", "tolerance"),
    ("tolerance", -1, "tolerance"),
    ("tolerance", float("inf"), "tolerance"),
    ("tolerance", True, "tolerance"),
    ("choices", "A, B", "choices"),
    ("choices", [None, "a"], "choices"),
    ("choices", ["a"] * 27, "choices"),
    ("choices", [["a"], ["b"]], "choices"),
    ("answer", float("inf"), "answer"),
):
    for command in ("label", "grpo", "verify"):
        setting, rows, _ = READERS[command]
        column = "gold" if command == "verify" and column == "answer" else column
        bad(
            command,
            f"data: {column} is {value!r:.20}",
            says if column != "gold" else "gold",
            files={"r.jsonl": all_with(rows, column, value)},
            **{setting: "{here}/r.jsonl"},
        )
bad(
    "grpo",
    "data: no gold answer is usable",
    "gold answers are unusable",
    files={"r.jsonl": all_with(QUESTIONS, "answer", "")},
    dataset_name="{here}/r.jsonl",
)
bad(
    "label",
    "data: no gold answer is usable",
    "could be judged",
    files={"r.jsonl": all_with(ROWS, "answer", "$")},
    dataset_name="{here}/r.jsonl",
)
bad(
    "verify",
    "data: the second line is cut off",
    "line 2",
    files={"p.jsonl": lines(PREDICTIONS)[:50]},
    file="{here}/p.jsonl",
)
bad("dynamics", "data to join that are not there", "none.jsonl", data="{here}/none.jsonl", by="weather")
bad("dynamics", "data to join of other samples", "sample_id", data="{good}/rows.jsonl", by="n_tokens")

# --- Folders that other commands have left ---

bad("report", "no such folder", "no such run folder", run_dir="{here}/none")
bad("report", "a folder that is no run", "", run_dir="{good}/model")
bad("report", "a file", "", run_dir="{good}/rows.jsonl")
bad("dynamics", "no such folder", "no such folder", run_dir="{here}/none")
bad("dynamics", "a folder without losses", "no losses found", run_dir="{good}/model")
bad("dynamics", "a file", "no such folder", run_dir="{good}/rows.jsonl")
bad(
    "dynamics",
    "losses that are cut off",
    "can be read",
    run_dir="{here}/sft",
    files={"sft": copy_of("sft", *(holding(f"ledger/epoch-00{i}.npy", b"\x93NUM") for i in (1, 2, 3)))},
)
bad("compare", "no such folder", "no finished evaluation", second="{here}/none")
bad("compare", "a folder without results", "no finished evaluation", second="{good}/model")
bad(
    "compare",
    "results that are cut off",
    "no finished evaluation",
    second="{here}/e",
    files={"e": copy_of("eval_b", truncated("results.json"))},
)
bad(
    "compare",
    "results without benchmarks",
    "no finished evaluation",
    second="{here}/e",
    files={"e": copy_of("eval_b", with_keys("results.json", benchmarks={}))},
)
bad(
    "compare",
    "results that are a list",
    "no finished evaluation",
    second="{here}/e",
    files={"e": copy_of("eval_b", holding("results.json", "[1]"))},
)
bad(
    "compare",
    "results whose benchmarks are a list",
    "",
    second="{here}/e",
    files={"e": copy_of("eval_b", with_keys("results.json", benchmarks=["b"]))},
)
bad(
    "compare",
    "no common benchmark",
    "no benchmark in common",
    second="{here}/e",
    files={"e": copy_of("eval_b", with_keys("results.json", benchmarks={"c": {"n": 1}}))},
)
bad(
    "compare",
    "no completions",
    "generations_b",
    second="{here}/e",
    files={"e": copy_of("eval_b", without("generations_b.jsonl"))},
)
bad(
    "compare",
    "completions that are cut off",
    "generations_b",
    second="{here}/e",
    files={"e": copy_of("eval_b", truncated("generations_b.jsonl"))},
)
bad(
    "compare",
    "completions of other rows",
    "generations_b",
    second="{here}/e",
    files={"e": copy_of("eval_b", holding("generations_b.jsonl", '{"a": 1}\n'))},
)

# --- Models ---

LOADERS = {
    "eval": "model_name_or_path",
    "loss": "model_name_or_path",
    "sft": "model_name_or_path",
    "grpo": "model_name_or_path",
    "collect": "model_name_or_path",
    "entropy": "models",
    "ready": "checkpoints",
}
INDEX = json.dumps(
    {"metadata": {"total_size": 1}, "weight_map": {"lm_head.weight": "model-00001-of-00002.safetensors"}}
)
for command, setting in LOADERS.items():
    for name, says, *changes in (
        ("weights cut off", "model", truncated("model.safetensors")),
        ("weights cut off in their header", "model", truncated("model.safetensors", 0.001)),
        ("weights empty", "model", holding("model.safetensors", b"")),
        (
            "weights that are text",
            "model",
            holding("model.safetensors", "version https://git-lfs.github.com/spec/v1\n"),
        ),
        ("no weights", "model", without("model.safetensors")),
        (
            "an index of shards that are not there",
            "model",
            without("model.safetensors"),
            holding("model.safetensors.index.json", INDEX),
        ),
        (
            "an index that is no JSON",
            "model",
            without("model.safetensors"),
            holding("model.safetensors.index.json", "{"),
        ),
        ("config.json cut off", "config.json", truncated("config.json")),
        ("config.json that is a list", "config.json", holding("config.json", "[1]")),
        ("config.json that is empty", "config.json", holding("config.json", "")),
        ("config.json of no model", "model", holding("config.json", "{}")),
        ("config.json of an unknown model", "model", with_keys("config.json", model_type="gpt9")),
        ("no config.json", "config.json", without("config.json")),
        ("tokenizer.json cut off", "tokenizer", truncated("tokenizer.json")),
        ("tokenizer.json of another kind", "tokenizer", holding("tokenizer.json", "[]")),
        ("no tokenizer", "tokenizer", without("tokenizer.json", "tokenizer_config.json")),
    ):
        bad(command, f"model: {name}", says, files={"model": copy_of("model", *changes)}, **{setting: "{here}/model"})
    # transformers reports all the tensors, and then refuses
    other = with_keys("config.json", hidden_size=64, vocab_size=7)
    files = {"model": copy_of("model", other)}
    bad(command, "model: config.json of other sizes", "model", files=files, begun=True, **{setting: "{here}/model"})
    bad(command, "model: no such folder", "none", **{setting: "{here}/none"})
    bad(command, "model: a file", "is a file", **{setting: "{good}/rows.jsonl"})
    bad(command, "model: an empty name", "model", **{setting: ""})
    bad(command, "model: not on the Hub", "no-such-model", **{setting: "no-such-model"})
    bad(
        command,
        "model: an adapter without its model",
        "gone",
        files={"adapter": copy_of("adapter", with_keys("adapter_config.json", base_model_name_or_path="/gone/model"))},
        **{setting: "{here}/adapter"},
    )
    bad(
        command,
        "model: an adapter whose weights are cut off",
        "adapter",
        files={"adapter": copy_of("adapter", truncated("adapter_model.safetensors"))},
        **{setting: "{here}/adapter"},
    )
    bad(
        command,
        "model: an adapter without weights",
        "adapter",
        files={"adapter": copy_of("adapter", without("adapter_model.safetensors"))},
        **{setting: "{here}/adapter"},
    )
    bad(
        command,
        "model: an adapter's configuration that is no JSON",
        "adapter_config.json",
        files={"adapter": copy_of("adapter", truncated("adapter_config.json"))},
        **{setting: "{here}/adapter"},
    )
    bad(
        command,
        "model: an adapter's configuration that is a list",
        "adapter_config.json",
        files={"adapter": copy_of("adapter", holding("adapter_config.json", "[]"))},
        **{setting: "{here}/adapter"},
    )
each(
    "eval sft grpo collect loss",
    "model: no chat template",
    "chat template",
    files={"model": copy_of("model", without("chat_template.jinja"))},
    model_name_or_path="{here}/model",
)
for name, says, change in (
    ("weights cut off", "adapter", truncated("adapter_model.safetensors")),
    ("no weights", "adapter", without("adapter_model.safetensors")),
    ("no configuration", "adapter_config.json", without("adapter_config.json")),
    ("a configuration cut off", "adapter_config.json", truncated("adapter_config.json")),
    ("a configuration that is a list", "adapter_config.json", holding("adapter_config.json", "[1]")),
    (
        "a base that is not there",
        "/gone/model",
        with_keys("adapter_config.json", base_model_name_or_path="/gone/model"),
    ),
    (
        "a base that is a number",
        "base_model_name_or_path",
        with_keys("adapter_config.json", base_model_name_or_path=5),
    ),
    ("another kind of adapter", "cannot be merged", with_keys("adapter_config.json", peft_type="LORAX")),
    ("other ranks than its weights", "cannot be merged", with_keys("adapter_config.json", r=3)),
    ("no tokenizer", "tokenizer", without("tokenizer.json", "tokenizer_config.json")),
):
    bad("merge", f"adapter: {name}", says, files={"a": copy_of("adapter", change)}, adapter="{here}/a")
bad("merge", "adapter: a whole model", "not an adapter", adapter="{good}/model")
bad("merge", "adapter: no such folder", "no such folder", adapter="{here}/none")
bad("merge", "adapter: a file", "no such folder", adapter="{good}/rows.jsonl")
bad(
    "merge",
    "a base that is cut off",
    "m",
    base_model="{here}/m",
    files={"m": copy_of("model", truncated("model.safetensors"))},
)

# --- Checkpoints ---


SAVING = {"max_steps": 2, "save_strategy": "steps", "save_steps": 1}


def checkpoint(name: str, says: str, *changes, **options):
    files = {"c": copy_of("checkpoints/checkpoint-1", *changes)}
    bad("sft", f"checkpoint: {name}", says, files=files, resume_from_checkpoint="{here}/c", **SAVING, **options)


bad("sft", "checkpoint: no such folder", "none", resume_from_checkpoint="{here}/none")
bad("sft", "checkpoint: a model", "checkpoint", resume_from_checkpoint="{good}/model")
bad("sft", "checkpoint: none there", "no complete checkpoint", resume_from_checkpoint="true", begun=True)
for name, says, *changes in (
    ("trainer_state.json cut off", "trainer_state.json", truncated("trainer_state.json")),
    ("trainer_state.json that is a list", "trainer_state.json", holding("trainer_state.json", "[]")),
    ("trainer_state.json that is empty", "trainer_state.json", holding("trainer_state.json", "")),
    ("no trainer_state.json", "trainer_state.json", without("trainer_state.json")),
    ("no optimizer", "optimizer.pt", without("optimizer.pt")),
    ("the optimizer cut off", "optimizer.pt", truncated("optimizer.pt")),
    ("no scheduler", "scheduler.pt", without("scheduler.pt")),
    ("the state of the random numbers cut off", "rng_state.pth", truncated("rng_state.pth")),
    ("no state of the random numbers", "rng_state.pth", without("rng_state.pth")),
    ("the weights cut off", "model.safetensors", truncated("model.safetensors")),
    ("no weights", "model.safetensors", without("model.safetensors")),
):
    checkpoint(name, says, *changes)
# These are read when the training resumes, which it says first
checkpoint("the ledger cut off", "ledger.safetensors", truncated("glow/ledger.safetensors"), begun=True)
checkpoint("no ledger", "ledger.safetensors", without("glow/ledger.safetensors"), begun=True)
bad(
    "sft",
    "checkpoint: of other data",
    "samples",
    begun=True,
    files={"c": copy_of("checkpoints/checkpoint-1"), "r.jsonl": lines(ROWS[:5])},
    **SAVING,
    resume_from_checkpoint="{here}/c",
    dataset_name="{here}/r.jsonl",
)
bad(
    "sft",
    "checkpoint: of an adapter",
    "",
    begun=True,
    **SAVING,
    resume_from_checkpoint="{good}/checkpoints/checkpoint-1",
    use_peft=True,
    lora_target_modules="all-linear",
)

# --- Benchmarks ---


QUESTIONS_FILE = "{good}/questions.jsonl"


def benchmark(name: str, says: str, entry: str, **files):
    """A benchmark as a file, and as an entry of eval.yaml."""
    bad("eval", f"benchmark: {name}", says, config=f"benchmarks: [{entry}]\n", benchmarks=None, files=files)


benchmark("no such name", "did you mean gsm8k?", "gsm8")
benchmark("a name of 300 characters", "no benchmark", "x" * 300)
benchmark("a name of 300 characters, with data", "name", f"{{name: {'x' * 300}, path: {{good}}/questions.jsonl}}")
benchmark("a path of 5000 characters", "", f"{{name: b, path: {'x' * 5000}.jsonl}}")
benchmark("no such file", "none.yaml", "{here}/none.yaml")
benchmark("a folder", "", "{good}")
benchmark("no data", "path", "{name: b}")
benchmark("data that are not there", "none.jsonl", "{name: b, path: {here}/none.jsonl}")
benchmark("data that are a folder", "", "{name: b, path: {good}}")
benchmark("an unknown key", "unknown key 'pth'", "{name: b, path: {good}/questions.jsonl, pth: a}")
benchmark(
    "a pattern that matches nothing",
    "matches nothing",
    f"{{name: b, path: {QUESTIONS_FILE}, patterns: {{answer: '#### (.+)'}}}}",
)
benchmark("a key twice", "line 1", "{name: b, name: c, path: a.jsonl}")
benchmark("a name with a slash", "file name", "{name: a/b, path: {good}/questions.jsonl}")
benchmark("a name that is a number", "name", "{name: 5, path: {good}/questions.jsonl}")
benchmark("a name that is empty", "name", "{name: '', path: {good}/questions.jsonl}")
benchmark("a name with a control character", "name", '{name: "a\\nb", path: {good}/questions.jsonl}')
benchmark("two of one name", "two entries", "{good}/bench.yaml, {good}/bench.yaml")
for key, value in (
    ("path", "5"),
    ("path", "[a]"),
    ("version", "new"),
    ("version", ".nan"),
    ("version", ".inf"),
    ("version", "-1"),
    ("limit", "0"),
    ("limit", "many"),
    ("limit", "true"),
    ("split", "5"),
    ("config_name", "5"),
    ("config_name", "[]"),
    ("config_name", "{a: b}"),
    ("columns", "[a]"),
    ("columns", "{answer: 5}"),
    ("columns", "{answer: gold}"),
    ("patterns", "{answer: '('}"),
    ("patterns", "{answer: 5}"),
    ("patterns", "[a]"),
    ("choice_pattern", "'('"),
    ("choice_columns", "[a]"),
    ("choice_columns", "[a, b]"),
    ("choice_text", "5"),
    ("shuffle_choices", "-1"),
    ("kind", "5"),
    ("kind", "maths"),
    ("kind_patterns", "{number: '['}"),
    ("kind_patterns", "{nmber: '1'}"),
    ("subjects", "{includ: [a]}"),
    ("subjects", "{include: a}"),
    ("subjects", "{include: [a]}"),
    ("split_by_subject", "perhaps"),
    ("exclude", "{good}/questions.jsonl"),
    ("exclude", "{here}/none.jsonl"),
    ("prompt_template", "Answer!"),
    ("domain", "5"),
    ("base", "gsm8"),
    ("base", "5"),
    ("local", "5"),
    ("local", "{path: a, colums: {}}"),
):
    path = "" if key == "path" else "path: {good}/questions.jsonl, "
    says = {
        "exclude": "exclud" if "good" in value else "none.jsonl",
        "base": "bench",
        "prompt_template": "{problem}",
    }.get(key, key)
    says = {
        "{answer: gold}": "gold",
        "{include: [a]}": "subject",
        "[a, b]": "'a'",
        "maths": "'maths'",
        "{nmber: '1'}": "nmber",
    }.get(value, says)
    benchmark(f"{key}: {value}", says, f"{{name: b, {path}{key}: {value}}}")
for name, says, content in (
    ("a file that is empty", "", b""),
    ("a file that is a list", "mapping", b"[a]"),
    ("a file that is no YAML", "line 1", b"name: ["),
    ("a file with a key twice", "line 3", b"name: b\npath: a.jsonl\nname: c\n"),
    ("a file that starts from itself", "leads to no benchmark", b"base: BENCH\n"),
):

    def make(path, _, content=content):
        path.write_bytes(content.replace(b"BENCH", str(path).encode()))

    each("eval entropy", f"benchmark: {name}", says, files={"b.yaml": make}, benchmarks=["{here}/b.yaml"])
for name, says, rows in (
    ("empty data", "empty", []),
    ("data without answers", "answer", [{"problem": "1"}]),
    ("data whose answers are gaps", "answer", [{"problem": "1", "answer": float("nan")}]),
    ("data whose problem is blank", "problem", [{"problem": " ", "answer": "1"}]),
    ("data whose gold answers are unusable", "unusable", [{"problem": "1", "answer": ""}]),
    ("data whose choices are a text", "choices", [{"problem": "1", "answer": "A", "choices": "ab"}]),
    ("data with one choice", "choices", [{"problem": "1", "answer": "A", "choices": ["a"]}]),
    ("data with an id twice", "was used", [{"problem": "1", "answer": "1", "sample_id": 1}] * 2),
):
    each(
        "eval entropy",
        f"benchmark: {name}",
        says,
        files={"q.jsonl": lines(rows), "b.yaml": "name: b\npath: {here}/q.jsonl\n"},
        benchmarks=["{here}/b.yaml"],
    )
bad("mix", "decontaminate: no such benchmark", "gsm8", decontaminate="gsm8")
bad("mix", "decontaminate: no such file", "none.jsonl", decontaminate="{here}/none.jsonl")
bad("mix", "decontaminate: an empty file", "empty", decontaminate="{here}/q.jsonl", files={"q.jsonl": b""})

# --- Objects by dotted path ---

OWN = {
    "own_raises.py": "raise RuntimeError('not today')\n",
    "own_syntax.py": "def reward(:\n",
    "own_exits.py": "import sys; sys.exit(0)\n",
    "own_good.py": "NUMBER = 5\ndef reward(completions, **kwargs):\n    return [1.0] * len(completions)\n",
}
for path, says in (
    ("no_such_module.reward", "no_such_module"),
    ("own_good.rewrd", "did you mean reward?"),
    ("own_good.NUMBER", "own_good.NUMBER"),
    ("own_raises.reward", "not today"),
    ("own_syntax.reward", "own_syntax"),
    ("own_exits.reward", "own_exits"),
    ("own_good.", "dotted path"),
    (".reward", "dotted path"),
    ("own good.reward", "dotted path"),
    ("accuracy_rewards", "did you mean accuracy_reward?"),
    ("", "reward"),
):
    bad("grpo", f"reward {path!r}", says, files=OWN, reward_funcs=path)
for path, says in (
    ("no_such_module:judge", "no_such_module"),
    ("own_good:judg", "own_good"),
    ("own_good:NUMBER", "expected a function"),
    ("own_raises:judge", "not today"),
    ("own_syntax:judge", "own_syntax"),
    ("maths", "did you mean math?"),
):
    each("label verify audit", f"kind {path!r}", says, files=OWN, kind=path)
for path, says in (
    ("transformer", "did you mean transformers?"),
    ("no_such_module:Engine", "no_such_module"),
    ("own_good:NUMBER", "own_good:NUMBER"),
    ("own_good:reward", "own_good:reward"),
    ("own_raises:Engine", "not today"),
):
    each("eval collect", f"engine {path!r}", says, files=OWN, engine=path)
    bad("audit", f"engine of the judge {path!r}", says, files=OWN, engine=path, model_name_or_path="{good}/model")
bad("annotate", "judge that there is not", "judge", judge="rul")
bad("annotate", "judge that is no class", "own_good:NUMBER", judge="own_good:NUMBER", files=OWN)
bad("annotate", "judge that raises at import", "not today", judge="own_raises:Judge", files=OWN)
# An evaluation makes its engine when it has read its questions
options = "{colour: red}"
each("eval collect", "an engine's option that it does not know", "'colour'", engine_options=options, begun=True)
each("eval collect", "an engine's option of another type", "engine_options", engine_options="[1]")

# --- Outputs ---

INTO_FOLDER = "run collect label mix sft grpo eval entropy ready dynamics loss annotate audit"
each(INTO_FOLDER, "output: a file", "notes", files={"notes": "mine"}, output_dir="{here}/notes")
each(INTO_FOLDER, "output: in a file", "notes", files={"notes": "mine"}, output_dir="{here}/notes/out")
each(INTO_FOLDER, "output: a name of 300 characters", "xxx", output_dir="{here}/" + "x" * 300)
each(INTO_FOLDER, "output: where nobody can write", "/proc", output_dir="/proc/out")
each("run label mix audit", "output: empty", "output_dir", output_dir="")
each("merge verify compare", "output: the root", "/", output="/")
each("merge verify compare", "output: in a file", "notes", files={"notes": "mine"}, output="{here}/notes/out")
each("merge verify compare", "output: a name of 300 characters", "xxx", output="{here}/" + "x" * 300)
each("verify compare", "output: a folder", "folder", files={"folder/notes": "mine"}, output="{here}/folder")
each(
    "merge",
    "output: a folder with something in it",
    "not empty",
    files={"folder/notes": "mine"},
    output="{here}/folder",
)
bad("verify", "output: the input", "overwrite", output="{good}/predictions.jsonl")
each("label mix audit", "output: the folder of another run", "holds a run of sft", output_dir="{good}/checkpoints")
each(
    "label mix eval loss audit ready",
    "output: a run.json that is cut off",
    "run.json",
    files={"out/run.json": '{"stage": "la'},
)
each("label mix eval loss audit", "output: a NUL byte", "output_dir", config='output_dir: "a\\0b"\n', output_dir=None)
bad("verify", "output: a NUL byte", "output", config='output: "a\\0b"\n', output=None)
bad("label", "input: a NUL byte", "dataset_name", config='dataset_name: "a\\0b.jsonl"\n', dataset_name=None)
bad("eval", "model: a NUL byte", "model_name_or_path", config='model_name_or_path: "a\\0b"\n', model_name_or_path=None)

# --- Servers ---

SERVER = {"engine": "server", "model_name_or_path": "m"}
for name, says, options in (
    ("no address", "base_url", "{}"),
    ("an address that is a number", "base_url", "{base_url: 5}"),
    ("an address of another scheme", "base_url", "{base_url: 'ftp://localhost/v1'}"),
    ("an address without a host", "base_url", "{base_url: 'http://'}"),
    ("a port that is none", "base_url", "{base_url: 'http://localhost:99999/v1'}"),
    ("a port that is a word", "base_url", "{base_url: 'http://localhost:http/v1'}"),
    ("concurrency of 0", "concurrency", "{base_url: 'http://localhost:1/v1', concurrency: 0}"),
    ("a timeout of nan", "timeout", "{base_url: 'http://localhost:1/v1', timeout: .nan}"),
    ("a timeout that is a word", "timeout", "{base_url: 'http://localhost:1/v1', timeout: long}"),
    ("a key in the settings", "api_key_env", "{base_url: 'http://localhost:1/v1', api_key: abc}"),
):
    each("eval collect", f"server: {name}", says, engine_options=options, begun=True, **SERVER)
each(
    "eval collect",
    "server: nobody listens",
    "localhost:1",
    engine_options="{base_url: 'http://localhost:1/v1', max_retries: 0}",
    begun=True,
    **SERVER,
)
bad(
    "eval",
    "server: entropy",
    "entropy",
    "--entropy",
    "true",
    engine_options="{base_url: 'http://localhost:1/v1'}",
    **SERVER,
)
bad("grpo", "vLLM's server without vLLM's settings", "start_vllm_server", start_vllm_server="true")


def by_turns(table: list[Case], most: int = 1) -> list[Case]:
    """
    The table, with each fault in so many commands at most: all that read rows, say, read them in one way. Each
    fault meets some commands, and each command some faults.
    """
    groups: dict[str, list[Case]] = {}
    for case in table:
        groups.setdefault(case.name, []).append(case)
    chosen = []
    for number, cases in enumerate(groups.values()):
        step = max(1, len(cases) // most)
        chosen += (cases[number % len(cases) :] + cases[: number % len(cases)])[::step][:most]
    return chosen


TABLE = by_turns(TABLE)


@pytest.mark.parametrize("case", TABLE, ids=lambda case: case.id)
def test_a_bad_input_is_refused_in_one_line(bench, case):
    bench.refuse(case)


def test_the_table_is_as_large_as_it_says():
    """300 cases, of every command, and no two of one name."""
    assert len(TABLE) >= 300 and len({case.id for case in TABLE}) == len(TABLE)
    assert {case.command for case in TABLE} == set(COMMANDS)


@pytest.mark.parametrize("case", random.Random(7).sample(TABLE, 4), ids=lambda case: case.id)
def test_a_process_of_its_own_refuses_it_as_well(bench, case):
    """The cases above run in processes that are forked; some run as a user's does, with its imports and its end."""
    here = bench.new_folder()
    argv = case.prepare(here, bench.good)
    command = [sys.executable, "-m", "glow_trl.cli", *argv]
    run = subprocess.run(command, cwd=here, env=environment(), capture_output=True, text=True)
    check(run.returncode, run.stderr, case)


@pytest.mark.parametrize("command", sorted(set(GOOD) - {"run", "report"}))
def test_the_corrected_command_takes_the_same_folder(bench, command):
    """What is refused late, when files were read already, claims no folder: with good settings it ends well there."""
    cases = [case for case in TABLE if case.command == command and not case.bare and case.code == 2]
    late = [case for case in cases if ":" in case.name and not {"output_dir", "output", "run_dir"} & set(case.options)]
    late = [case for case in late if not any(name.startswith("out/") for name in case.files)]
    for case in random.Random(command).sample(late or cases, 1):
        bench.succeed(command, bench.refuse(case))


def test_no_room_for_the_optimizer_is_one_line(bench):
    """The weights of a checkpoint still have room, its optimizer has not; the same command ends well when it has."""
    here = bench.new_folder()
    here.mkdir()
    argv = [placed(part, here, bench.good) for part in command_line({**GOOD["sft"], **SAVING})]
    weights = (bench.good / "model" / "model.safetensors").stat().st_size
    answer = bench.worker(argv=["sft", *argv], cwd=str(here), largest=weights + 1000)
    assert answer["code"] == 1 and "Traceback" not in answer["err"], answer["err"][-3000:]
    assert answer["err"].strip().splitlines()[-1].startswith("glow-trl: error: cannot write: "), answer["err"]
    bench.succeed("sft", here, **SAVING)
