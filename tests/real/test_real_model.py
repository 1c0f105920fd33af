"""
A real pretrained model, SmolLM2-135M-Instruct, on real questions, through all that the package does with a model. Two
free cores train 150 of its tokens a second and generate 120, so that rows are short, steps few, and results shared.
"""

import copy
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from glow_trl.data import read_jsonl, write_jsonl
from glow_trl.data.loss_history import LossHistory
from glow_trl.data.table import load_table
from glow_trl.generation.forward import completion_entropies
from glow_trl.glow import GLOWConfig, GLOWTrainer
from glow_trl.sft import to_dataset
from glow_trl.verifiers import verify
from helpers.launching import CPU, environment
from helpers.smollm2 import smollm2


pytestmark = pytest.mark.slow

TEMPLATE_SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
OURS = "Solve the problem in a few short steps."
STEPS = [*CPU, "--dtype", "float32", "--save_strategy", "no", "--logging_steps", "1", "--report_to", "none"]
LORA = ["--use_peft", "true", "--lora_r", "4", "--lora_target_modules", "q_proj", "v_proj"]


@pytest.fixture(scope="module")
def data(shared_data, tmp_path_factory) -> Path:
    """Short solutions of GSM8K by models, right and wrong, and short questions of its training set."""
    folder = tmp_path_factory.mktemp("gsm8k")
    solutions = [row for _, row in read_jsonl(shared_data / "traj_gsm8k_openai.jsonl")]
    solutions.sort(key=lambda row: len(row["problem"]) + len(row["completion"]))
    chosen = [next(row for row in solutions if row["is_correct"] is right) for right in (True, False)]
    chosen += [next(row for row in solutions if row["problem"] not in {one["problem"] for one in chosen})]
    chosen += [next(row for row in solutions if row["problem"] not in {one["problem"] for one in chosen})]
    write_jsonl(folder / "trajectories.jsonl", ({**row, "answer": row["gold"]} for row in chosen))
    questions = [row for _, row in read_jsonl(shared_data / "qa_gsm8k_train.jsonl")]
    questions.sort(key=lambda row: len(row["problem"]))
    write_jsonl(folder / "questions.jsonl", questions[:4])
    return folder


@dataclass
class Stages:
    """Runs the stages in this process; their exit code and what they said."""

    run: Callable
    model: Path
    data: Path

    def sft(self, output_dir: Path, *argv, model: Path | None = None):
        options = ["--model_name_or_path", model or self.model, "--dataset_name", self.data / "trajectories.jsonl"]
        options += ["--per_device_train_batch_size", 2, "--num_train_epochs", 2, "--learning_rate", 1e-5]
        return self.run("sft", *options, *STEPS, "--output_dir", output_dir, *argv)

    def grpo(self, output_dir: Path, model: Path, *argv):
        options = ["--model_name_or_path", model, "--dataset_name", self.data / "questions.jsonl"]
        options += ["--per_device_train_batch_size", 4, "--num_generations", 4, "--max_completion_length", 12]
        options += ["--max_steps", 2, "--learning_rate", 1e-5, "--reward_funcs", "helpers.letters.letters_reward"]
        options += ["--guard_max_clipped_ratio", 2]
        return self.run("grpo", *options, *STEPS, "--output_dir", output_dir, *argv)


@pytest.fixture
def stages(glow_trl, real_model, data) -> Stages:
    return Stages(glow_trl, real_model, data)


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """The folder of the results that tests share, each made by the first that needs it."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture
def full(stages, runs) -> Path:
    """Stage 1 of the whole model, with the system turn that the chat template writes."""
    if not (runs / "full").exists():
        code, said = stages.sft(runs / "full")
        assert code == 0, said
    return runs / "full"


@pytest.fixture
def adapter(stages, runs) -> Path:
    """Stage 1 of an adapter, with a system turn of our own."""
    if not (runs / "adapter").exists():
        code, said = stages.sft(runs / "adapter", *LORA, "--learning_rate", 1e-3, "--system_prompt", OURS)
        assert code == 0, said
    return runs / "adapter"


def copy_of(folder: Path, target: Path) -> Path:
    """A copy whose files of weights are links, as nobody changes them."""

    def copy(source, destination):
        return (os.link if source.endswith(".safetensors") else shutil.copy2)(source, destination)

    return Path(shutil.copytree(folder, target, copy_function=copy))


def change(path: Path, **values) -> None:
    """Values of a file in JSON; `None` takes one away."""
    content = json.loads(path.read_text()) | values
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def rendered(problem: str, system: str) -> str:
    """What the model is asked, written out."""
    return f"<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\n{problem}<|im_end|>\n<|im_start|>assistant\n"


def test_the_model_is_the_one_that_its_makers_publish(real_model):
    """It answers, and stops by itself; its tokenizer gives back any text, and has digits one by one."""
    tokenizer = AutoTokenizer.from_pretrained(real_model)
    model = AutoModelForCausalLM.from_pretrained(real_model)
    assert sum(parameter.numel() for parameter in model.parameters()) == 134_515_008
    inputs = tokenizer(rendered("What is the capital of France?", TEMPLATE_SYSTEM), return_tensors="pt")
    answer = model.generate(**inputs, do_sample=False, max_new_tokens=16)[0, inputs.input_ids.shape[1] :]
    assert tokenizer.decode(answer) == "The capital of France is Paris.<|im_end|>"
    assert tokenizer.tokenize("  1234") == ["ĠĠ", "1", "2", "3", "4"]
    assert tokenizer.decode(tokenizer(text := "  Zoë paid 12,50 €\n\n").input_ids) == text


def solution_losses(model, tokenizer, rows: list[dict], system: str) -> list[float]:
    """The mean loss of each answer's tokens, from the whole logits of one sequence."""
    found = []
    for row in rows:
        prompt = tokenizer(rendered(row["problem"], system)).input_ids
        answer = tokenizer(row["completion"] + "<|im_end|>\n").input_ids
        with torch.no_grad():
            logits = model(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1].double()
        found.append(torch.nn.functional.cross_entropy(logits, torch.tensor(answer)).item())
    return found


@pytest.fixture(scope="module")
def base(real_model):
    """Model and tokenizer, without the package."""
    return AutoModelForCausalLM.from_pretrained(real_model).eval(), AutoTokenizer.from_pretrained(real_model)


@pytest.mark.parametrize("system", [TEMPLATE_SYSTEM, OURS])
def test_stage_one_trains_on_the_models_own_conversations(full, adapter, data, base, system):
    """
    The losses of the first step are those of the conversations as written out here, end of turn included, and not of
    the prompts; in the second epoch they have fallen.
    """
    folder = full if system == TEMPLATE_SYSTEM else adapter
    history = LossHistory.read(folder / "ledger")
    expected = solution_losses(*base, [row for _, row in read_jsonl(data / "trajectories.jsonl")], system)
    first, second = history.losses
    same = [found == pytest.approx(other, abs=1e-4) for found, other in zip(first, expected, strict=True)]
    assert sum(same) >= 2, (first, expected)
    assert first == pytest.approx(expected, abs=0.5) and second.mean() < first.mean() < 4
    record = json.loads((folder / "handover.json").read_text())
    assert (record["end_token"], record["end_token_share"]) == ("<|im_end|>", 1.0)
    assert record["system_prompt"] == (None if system == TEMPLATE_SYSTEM else OURS)
    assert [row["is_correct"] for row in history_rows(folder)].count(True) >= 1


def history_rows(folder: Path) -> list[dict]:
    return [row for _, row in read_jsonl(folder / "ledger" / "samples.jsonl")]


def prompts_of(folder: Path) -> list[str]:
    """The prompts that `letters_reward` saw."""
    lines = (folder / "prompts-0.jsonl").read_text().splitlines()
    return [prompt for line in lines for _, prompt, _ in json.loads(line)]


def moved(before: Path, after: Path) -> set[str]:
    a, b = load_file(before), load_file(after)
    assert a.keys() == b.keys()
    return {name for name in a if not torch.equal(a[name], b[name])}


def test_stage_two_of_the_whole_model(stages, full, data, tmp_path, monkeypatch):
    """Every weight moves, and the questions are asked as they stand."""
    monkeypatch.setenv("GLOW_TRL_TEST_PROMPTS", str(tmp_path))
    code, said = stages.grpo(tmp_path / "grpo", full)
    assert code == 0, said
    weights = load_file(full / "model.safetensors")
    assert moved(full / "model.safetensors", tmp_path / "grpo" / "model.safetensors") == set(weights)
    assert set(prompts_of(tmp_path)) <= {row["problem"] for _, row in read_jsonl(data / "questions.jsonl")}
    record = json.loads((tmp_path / "grpo" / "handover.json").read_text())
    assert record == json.loads((full / "handover.json").read_text())


def test_stage_two_from_an_adapter(stages, adapter, base, tmp_path):
    """Trained further; and merged, the same model in one piece, which stage 2 takes as it takes any."""
    model, tokenizer = base
    options = ["--system_prompt", OURS]
    code, said = stages.grpo(tmp_path / "further", adapter, *options, "--max_steps", 1)
    assert code == 0, said
    name = "adapter_model.safetensors"
    assert moved(adapter / name, tmp_path / "further" / name) == set(load_file(adapter / name))

    code, said = stages.run("merge", adapter, "--output", tmp_path / "merged")
    assert code == 0, said
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    inputs = tokenizer(rendered("Why?", OURS), return_tensors="pt")
    with torch.no_grad():
        plain, whole = model(**inputs).logits, merged(**inputs).logits
        wrapped = PeftModel.from_pretrained(copy.deepcopy(model), adapter)
        assert (whole - wrapped(**inputs).logits).abs().max() < 1e-3 < (whole - plain).abs().max()
    again = [*options, *LORA, "--max_steps", 1, "--merge_adapter", "true"]
    code, said = stages.grpo(tmp_path / "again", adapter, *again)
    assert code == 0, said
    assert moved(tmp_path / "merged" / "model.safetensors", tmp_path / "again/merged_model/model.safetensors") == set()


def test_policy_entropy_equals_brute_force(base):
    """Over the whole vocabulary of 49,152 tokens, in double precision."""
    model, tokenizer = base
    texts = [("What is 2 + 2?", "2 + 2 = 4.<|im_end|>"), ("Why?", "Because."), ("Name a colour.", "Red<|im_end|>")]
    prompts = [tokenizer(rendered(question, TEMPLATE_SYSTEM)).input_ids for question, _ in texts]
    answers = [tokenizer(answer).input_ids for _, answer in texts]
    found = dict(completion_entropies(model, prompts, answers))
    for index, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        with torch.no_grad():
            logits = model(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1].double()
        distribution = logits.log_softmax(dim=-1)
        expected = -(distribution.exp() * distribution).sum().item()
        assert found[index] == pytest.approx(expected, abs=1e-3) and expected > 0.1


def test_evaluation_on_three_benchmarks(stages, full, shared_data, tmp_path, monkeypatch):
    """Real questions of GSM8K, SVAMP and MMLU: asked as in training, judged as their answers deserve, with entropy."""
    monkeypatch.setenv("GLOW_TRL_DATA", str(shared_data))
    names = ["gsm8k", "svamp", "mmlu"]
    options = ["--model_name_or_path", full, "--benchmarks", *names, "--limit", 3, "--temperature", 0]
    options += ["--max_new_tokens", 24, "--entropy_questions", 1, "--output_dir", tmp_path]
    code, said = stages.run("eval", *options)
    assert code == 0, said
    results = json.loads((tmp_path / "results.json").read_text())["benchmarks"]
    assert list(results) == names
    ends = []
    for name in names:
        rows = [row for _, row in read_jsonl(tmp_path / f"generations_{name}.jsonl")]
        verdicts = [
            verify(row["completion"], row["answer"], row["kind"], problem=row["problem"], choices=row.get("choices"))
            for row in rows
        ]
        assert [row["verdict"]["correct"] for row in rows] == [verdict.correct for verdict in verdicts]
        assert results[name]["pass@1"] == pytest.approx(sum(verdict.correct is True for verdict in verdicts) / 3)
        assert 0 < results[name]["entropy"] < 6
        ends += [row["finish_reason"] for row in rows]
    # It ends its turn by itself where there is room
    assert "stop" in ends


def test_collect_in_this_process(stages, real_model, data, tmp_path):
    """As a teacher, greedily: what the model answers without the package."""
    options = ["--model_name_or_path", real_model, "--dataset_name", data / "questions.jsonl", "--num_samples", 1]
    options += ["--temperature", 0, "--max_new_tokens", 12, "--limit", 2, "--output_dir", tmp_path]
    code, said = stages.run("collect", *options)
    assert code == 0, said
    rows = [row for path in tmp_path.glob("trajectories-*.jsonl") for _, row in read_jsonl(path)]
    model, tokenizer = AutoModelForCausalLM.from_pretrained(real_model), AutoTokenizer.from_pretrained(real_model)
    assert len(rows) == 2
    for row in rows:
        inputs = tokenizer(rendered(row["problem"], TEMPLATE_SYSTEM), return_tensors="pt")
        answer = model.generate(**inputs, do_sample=False, max_new_tokens=12)[0, inputs.input_ids.shape[1] :]
        assert row["completion"] == tokenizer.decode(answer, skip_special_tokens=True)


def test_our_rewards_in_plain_trl_grpo(real_model, data, tmp_path):
    """TRL's own command, with a data set of its shape."""
    (tmp_path / "data").mkdir()
    questions = [row for _, row in read_jsonl(data / "questions.jsonl")]
    rows = ({"prompt": [{"role": "user", "content": row["problem"]}], "answer": row["answer"]} for row in questions)
    write_jsonl(tmp_path / "data" / "train.jsonl", rows)
    options = ["--model_name_or_path", real_model, "--dataset_name", tmp_path / "data"]
    options += ["--output_dir", tmp_path / "run", "--use_cpu", "True", "--bf16", "False", "--dtype", "float32"]
    options += ["--reward_funcs", "glow_trl.rewards.accuracy_reward", "glow_trl.rewards.answer_format_reward"]
    options += ["--max_steps", 1, "--num_generations", 2, "--per_device_train_batch_size", 2, "--report_to", "none"]
    options += ["--max_completion_length", 12, "--logging_steps", 1, "--save_strategy", "no"]
    options += ["--gradient_checkpointing", "False", "--log_completions", "True"]
    command = [str(Path(sys.executable).with_name("trl")), "grpo", *map(str, options)]
    result = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-3000:]
    for name in ("rewards/accuracy_reward/mean", "rewards/answer_format_reward/mean", "accuracy/no_answer"):
        assert name in result.stdout + result.stderr


@pytest.fixture
def mistaken(request, tmp_path) -> Path:
    """A copy of the model, of a stage's result or of an adapter."""
    return copy_of(request.getfixturevalue(request.param), tmp_path / "mistaken")


def gguf_tokenizer(folder: Path) -> str:
    """As it comes with the weights, where nobody looks at it."""
    shutil.copytree(smollm2() / "gguf", folder, dirs_exist_ok=True)
    return "ends an assistant's turn with '<|im_end|>' and not with the end token '<|im_start|>': set eos_token to"


def gguf_tokenizer_later(folder: Path) -> str:
    gguf_tokenizer(folder)
    return "the end token is '<|im_start|>', stage 1 trained with '<|im_end|>'"


def token_without_embedding(folder: Path) -> str:
    """What many do where there is no padding token."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"pad_token": "<pad>"})
    tokenizer.save_pretrained(folder)
    return "the tokenizer has '<pad>' as token 49,152, and the model embeddings for 49,152"


def no_tokenizer(folder: Path) -> str:
    for file in folder.glob("tokenizer*"):
        file.unlink()
    return "no tokenizer beside the model"


def no_template(folder: Path) -> str:
    (folder / "chat_template.jinja").unlink()
    return "the tokenizer has no chat template"


def template_without_system_turn(folder: Path) -> str:
    """The template's own system turn left out, as it is no longer wanted."""
    file = folder / "chat_template.jinja"
    text = file.read_text()
    assert TEMPLATE_SYSTEM in text
    file.write_text("{% for message in messages %}" + text.partition("{% endif %}")[2])
    return "the chat template is not that of stage 1"


def base_end_token(folder: Path) -> str:
    """That of the base model."""
    change(folder / "tokenizer_config.json", eos_token="<|endoftext|>")
    return "the end token is '<|endoftext|>', stage 1 trained with '<|im_end|>'"


def more_tokens(folder: Path) -> str:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<think>"]})
    tokenizer.save_pretrained(folder)
    return "the vocabulary is not that of stage 1"


def no_base(folder: Path) -> str:
    change(folder / "adapter_config.json", base_model_name_or_path=str(folder / "gone"))
    return f"there is no folder {folder / 'gone'}"


def other_base(folder: Path) -> str:
    """Of the same shape: what the base model was before it was trained further."""
    base = copy_of(json_of(folder / "adapter_config.json")["base_model_name_or_path"], folder / "other")
    weights = load_file(base / "model.safetensors")
    weights["model.norm.weight"] *= 1.01
    (base / "model.safetensors").unlink()
    save_file(weights, base / "model.safetensors", metadata={"format": "pt"})
    change(folder / "adapter_config.json", base_model_name_or_path=str(base))
    return f"trained on other weights than {base} has now"


def json_of(path: Path) -> dict:
    return json.loads(path.read_text())


MISTAKES = [
    ("sft", "real_model", gguf_tokenizer),
    ("sft", "real_model", token_without_embedding),
    ("sft", "real_model", no_tokenizer),
    ("sft", "real_model", no_template),
    ("grpo", "real_model", gguf_tokenizer),
    ("grpo", "real_model", token_without_embedding),
    ("grpo", "full", gguf_tokenizer_later),
    ("grpo", "full", template_without_system_turn),
    ("grpo", "full", base_end_token),
    ("grpo", "full", more_tokens),
    ("grpo", "full", no_tokenizer),
    ("grpo", "adapter", no_tokenizer),
    ("grpo", "adapter", no_base),
    ("grpo", "adapter", other_base),
]


@pytest.mark.parametrize(
    ("stage", "mistaken", "mistake"),
    MISTAKES,
    ids=[f"{stage}-{what}-{mistake.__name__}" for stage, what, mistake in MISTAKES],
    indirect=["mistaken"],
)
def test_a_mistake_at_the_hand_over_is_said_before_training(stages, mistaken, stage, mistake, tmp_path):
    """In one line, with exit code 2, and no model is loaded for it."""
    message = mistake(mistaken)
    system = ["--system_prompt", OURS] if (mistaken / "adapter_config.json").exists() else []
    out = tmp_path / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("transformers.modeling_utils.PreTrainedModel.from_pretrained", None)
        if stage == "sft":
            code, said = stages.sft(out, model=mistaken)
        else:
            code, said = stages.grpo(out, mistaken, *system)
    assert code == 2 and message in said, said
    assert "Traceback" not in said and not list(out.glob("*.json*"))


@pytest.mark.parametrize(("what", "asked"), [("full", OURS), ("adapter", None), ("adapter", "Be brief.")])
def test_another_system_turn_is_said_before_training(stages, full, adapter, tmp_path, what, asked):
    """The template writes one of its own where none is set, so that leaving it out is not neutral."""
    code, said = stages.grpo(
        tmp_path / "out", full if what == "full" else adapter, *(["--system_prompt", asked] if asked else [])
    )
    taught = None if what == "full" else OURS
    assert code == 2 and f"system_prompt is {asked!r}, stage 1 trained with {taught!r}" in said


def test_samples_that_lose_their_end_are_said_before_training(stages, base, data, tmp_path):
    rows = [row for _, row in read_jsonl(data / "trajectories.jsonl")]
    texts = [rendered(row["problem"], TEMPLATE_SYSTEM) + row["completion"] for row in rows]
    shortest = min(len(base[1](text).input_ids) for text in texts)
    code, said = stages.sft(tmp_path / "out", "--max_length", shortest)
    assert code == 2 and "no sample ends with the end token '<|im_end|>' within max_length" in said


@pytest.mark.parametrize("padding", [None, "<|im_end|>"])
def test_the_end_token_is_learned_whatever_pads(real_model, data, tmp_path, padding):
    """Without a padding token, and with the end token for it, as the files on the Hub have it."""
    folder = copy_of(real_model, tmp_path / "model")
    change(folder / "tokenizer_config.json", pad_token=padding)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.pad_token == padding
    rows = load_table(str(data / "trajectories.jsonl"), required=["problem", "completion"])
    args = GLOWConfig(
        output_dir=str(tmp_path / "out"), use_cpu=True, bf16=False, per_device_train_batch_size=4, num_train_epochs=2
    )
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=49152, **sizes))
    dataset = to_dataset(rows, None, None)
    trainer = GLOWTrainer(model=model, args=args, train_dataset=dataset, processing_class=tokenizer)
    (batch,) = trainer.get_train_dataloader()
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert (batch["labels"] == end).sum(dim=1).tolist() == [1, 1, 1, 1]
    assert tokenizer.pad_token_id == end and (batch["labels"] == -100).any(dim=1).all()
