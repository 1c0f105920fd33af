"""The hand-over: a checkpoint that stage 2 would prompt in another way than stage 1 did is turned down."""

import json
import shutil
from pathlib import Path

import pytest
from datasets import Dataset
from transformers import AutoTokenizer

from glow_trl.data.handover import (
    check_end_token,
    check_handover,
    check_vocabulary,
    end_token_share,
    read_handover,
    write_handover,
)
from glow_trl.errors import UserError
from glow_trl.generation.loading import load_tokenizer


@pytest.fixture
def checkpoint(tiny_model, tmp_path):
    shutil.copytree(tiny_model, tmp_path / "checkpoint")
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    write_handover(tmp_path / "checkpoint", tokenizer, "Be brief.", "Q: {problem}", 1.0)
    return str(tmp_path / "checkpoint"), tokenizer


def test_what_fits_passes(checkpoint):
    assert check_handover(*checkpoint, "Be brief.", "Q: {problem}") == []


@pytest.mark.parametrize(
    ("system_prompt", "prompt_template", "message"),
    [
        (None, "Q: {problem}", "system_prompt is None, stage 1 trained with 'Be brief.': set it to the latter"),
        ("Be brief.", "{problem}", "prompt_template is '{problem}', stage 1 trained with 'Q: {problem}'"),
    ],
)
def test_other_prompts_are_turned_down(checkpoint, system_prompt, prompt_template, message):
    with pytest.raises(UserError) as error:
        check_handover(*checkpoint, system_prompt, prompt_template)
    assert message in str(error.value)


def test_another_chat_template_is_turned_down(checkpoint):
    path, tokenizer = checkpoint
    tokenizer.chat_template = tokenizer.chat_template.replace("role", "content", 1)
    with pytest.raises(UserError, match="the chat template is not that of stage 1"):
        check_handover(path, tokenizer, "Be brief.", "Q: {problem}")


def test_another_vocabulary_is_turned_down(checkpoint):
    """Also with the same template and end token; a record of an earlier version has none to compare with."""
    path, tokenizer = checkpoint
    tokenizer.add_tokens("<think>")
    with pytest.raises(UserError, match="the vocabulary is not that of stage 1"):
        check_handover(path, tokenizer, "Be brief.", "Q: {problem}")
    record = read_handover(path)
    del record["vocabulary"]
    (Path(path) / "handover.json").write_text(json.dumps(record))
    assert check_handover(path, tokenizer, "Be brief.", "Q: {problem}") == []


def test_tokens_without_an_embedding_are_a_problem(tiny_model):
    """In a conversation, as padding, and those that were added; a special token that no conversation has may be."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    size = len(tokenizer)
    assert check_vocabulary(tokenizer, size) == []
    (problem,) = check_vocabulary(tokenizer, 5)
    assert "the model embeddings for 5" in problem
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    assert check_vocabulary(tokenizer, size) == []
    tokenizer.pad_token = "<image>"
    (problem,) = check_vocabulary(tokenizer, size)
    assert f"has '<image>' as token {size:,}" in problem
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.add_tokens("<think>")
    assert "'<think>'" in check_vocabulary(tokenizer, size)[0]


def test_a_checkpoint_without_a_tokenizer_is_turned_down(checkpoint, tmp_path):
    path, _ = checkpoint
    for file in (tmp_path / "checkpoint").glob("tokenizer*"):
        file.unlink()
    with pytest.raises(UserError, match="no tokenizer beside the model"):
        load_tokenizer(path)


def test_an_end_token_that_was_not_learned_is_turned_down(checkpoint):
    path, tokenizer = checkpoint
    write_handover(path, tokenizer, "Be brief.", "Q: {problem}", 0.1)
    with pytest.raises(UserError, match="only 10% of the samples .* ended with the end token"):
        check_handover(path, tokenizer, "Be brief.", "Q: {problem}")
    tokenizer.eos_token = "<|endoftext|>"
    with pytest.raises(UserError, match=r"the end token is '<\|endoftext\|>', stage 1 trained with '<\|im_end\|>'"):
        check_handover(path, tokenizer, "Be brief.", "Q: {problem}")


def test_everything_that_does_not_fit_is_said_at_once(checkpoint):
    with pytest.raises(UserError) as error:
        check_handover(*checkpoint, "Another.", None)
    assert "system_prompt" in str(error.value) and "prompt_template" in str(error.value)


def test_a_checkpoint_from_elsewhere_is_said_to_be_unchecked(tiny_model):
    (warning,) = check_handover(tiny_model, AutoTokenizer.from_pretrained(tiny_model), None, None)
    assert "could not be checked" in warning


def alter_template(folder) -> str:
    """In the file that transformers keeps it in; what a user who tries something else edits."""
    file = folder / "chat_template.jinja"
    file.write_text(file.read_text().replace("<|im_start|>", "<|im_start|> ", 1))
    return "the chat template is not that of stage 1"


def remove_end_token(folder) -> str:
    file = folder / "tokenizer_config.json"
    settings = json.loads(file.read_text())
    assert settings.pop("eos_token") == "<|im_end|>"
    file.write_text(json.dumps(settings))
    # The class of the tokenizer then has another
    return "stage 1 trained with '<|im_end|>'"


def unlearn_end_token(folder) -> str:
    record = json.loads((folder / "handover.json").read_text())
    (folder / "handover.json").write_text(json.dumps(record | {"end_token_share": 0.2}))
    return "only 20% of the samples of stage 1 ended with the end token"


def commands(model: Path, trajectories: str, folder: Path) -> dict[str, list[str]]:
    """All that run a model of this machine."""
    benchmark = folder / "sums.yaml"
    benchmark.write_text(f"path: {trajectories}\nlimit: 2\n")
    tokens = ["--max_new_tokens", "4", "--output_dir", str(folder / "out")]
    return {
        "eval": ["--model_name_or_path", str(model), "--benchmarks", str(benchmark), *tokens],
        "entropy": [str(model), "--benchmarks", str(benchmark), *tokens],
        "collect": ["--model_name_or_path", str(model), "--dataset_name", trajectories, "--limit", "2", *tokens],
        "loss": ["--model_name_or_path", str(model), "--dataset_name", trajectories, "--output_dir", tokens[-1]],
        "annotate": ["--model_name_or_path", str(model), "--dataset_name", trajectories, *tokens],
    }


@pytest.mark.parametrize("alter", [alter_template, remove_end_token, unlearn_end_token])
@pytest.mark.parametrize("command", ["eval", "entropy", "collect", "loss", "annotate"])
def test_no_command_runs_a_model_that_is_not_as_it_was_trained(
    checkpoint, trajectories, tmp_path, glow_trl, command, alter
):
    """
    Neither a stage's result nor a checkpoint within its folder. A loss does not need a model that stops: it is that of
    a training whose sequences were cut.
    """
    stage = Path(checkpoint[0])
    within = stage / "checkpoint-3"
    shutil.copytree(stage, within, ignore=shutil.ignore_patterns("handover.json"))
    for model in (stage, within):
        message = alter(model if alter is not unlearn_end_token else stage)
        code, said = glow_trl(
            command, *commands(model, trajectories, tmp_path)[command], "--output_dir", tmp_path / model.name / "out"
        )
        if command == "loss" and alter is unlearn_end_token:
            assert code == 0
            continue
        assert code == 2 and message in said and str(model) in said and "Traceback" not in said
        # The folder is free for what is right
        assert not (tmp_path / model.name / "out" / "run.json").exists()


def test_a_model_that_no_stage_has_made_is_taken_as_it_is(checkpoint, trajectories, tmp_path, glow_trl):
    stage = Path(checkpoint[0])
    alter_template(stage)
    (stage / "handover.json").unlink()
    assert glow_trl("eval", *commands(stage, trajectories, tmp_path)["eval"])[0] == 0


def test_other_prompts_than_those_of_training_are_said(checkpoint, trajectories, tmp_path, glow_trl):
    """An evaluation may ask otherwise, which is not what the checkpoint learned."""
    asked = commands(Path(checkpoint[0]), trajectories, tmp_path)
    for command in ("eval", "loss", "collect"):
        out = ["--output_dir", str(tmp_path / command), "--system_prompt", "Be long.", "--prompt_template"]
        _, said = glow_trl(command, *asked[command], *out, "Q: {problem}")
        assert (
            "system_prompt is 'Be long.', stage 1 trained with 'Be brief.'" in said
            and "prompt_template is" not in said
        )
    _, said = glow_trl("eval", *asked["eval"])
    assert "stage 1 trained with" not in said


def test_a_checkpoint_within_a_stages_folder_is_asked_as_that_was_trained(checkpoint):
    within = Path(checkpoint[0]) / "checkpoint-3"
    assert read_handover(within) == read_handover(checkpoint[0])
    assert read_handover(within.with_name("other")) is None


def test_a_tokenizer_without_template_is_a_problem(tiny_model):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    assert check_end_token(tokenizer) == []
    tokenizer.chat_template = None
    assert "no chat template" in check_end_token(tokenizer)[0]


def test_share_of_samples_that_end():
    plain = Dataset.from_dict({"labels": [[-100, 1, 9], [1, 9, 5], [1, 2, 3], [9, 1, 2, 3]]})
    assert end_token_share(plain, 9) == 0.5
    packed = Dataset.from_dict({"labels": [[-100, 1, 9, 1, 2], [3, 9]], "seq_lengths": [[3, 2], [2]]})
    assert end_token_share(packed, 9) == pytest.approx(2 / 3)
