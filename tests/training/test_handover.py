"""The hand-over: a checkpoint that stage 2 would prompt in another way than stage 1 did is turned down."""

import shutil

import pytest
from datasets import Dataset
from transformers import AutoTokenizer

from glow_trl.errors import UserError
from glow_trl.training.handover import check_end_token, check_handover, end_token_share, write_handover


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
        (None, "Q: {problem}", "system_prompt is None, stage 1 trained with 'Be brief.'"),
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


def test_a_checkpoint_without_a_tokenizer_is_turned_down(checkpoint, tmp_path):
    path, tokenizer = checkpoint
    for file in (tmp_path / "checkpoint").glob("tokenizer*"):
        file.unlink()
    with pytest.raises(UserError, match="no tokenizer is saved"):
        check_handover(path, tokenizer, "Be brief.", "Q: {problem}")


def test_an_end_token_that_was_not_learned_is_turned_down(checkpoint):
    path, tokenizer = checkpoint
    write_handover(path, tokenizer, "Be brief.", "Q: {problem}", 0.1)
    with pytest.raises(UserError, match="only 10% of the samples .* ended with the end token"):
        check_handover(path, tokenizer, "Be brief.", "Q: {problem}")
    tokenizer.eos_token = "<|endoftext|>"
    with pytest.raises(UserError, match="the chat template ends an assistant's turn with '<|im_end|>'"):
        check_handover(path, tokenizer, "Be brief.", "Q: {problem}")


def test_everything_that_does_not_fit_is_said_at_once(checkpoint):
    with pytest.raises(UserError) as error:
        check_handover(*checkpoint, "Another.", None)
    assert "system_prompt" in str(error.value) and "prompt_template" in str(error.value)


def test_a_checkpoint_from_elsewhere_is_said_to_be_unchecked(tiny_model):
    (warning,) = check_handover(tiny_model, AutoTokenizer.from_pretrained(tiny_model), None, None)
    assert "could not be checked" in warning


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
